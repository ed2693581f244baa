//! Audits of reuse: which cases run although a stored pass could stand for them, and what that finds.

use std::fmt;
use std::str::FromStr;

use crate::digest::FieldHasher;
use crate::id::{CaseIndex, RunId};
use crate::outcome::{FailureCause, Outcome};
use crate::schedule::RunPriority;
use crate::verdict::CaseStatus;

/// What a share is counted in.
const MILLION: u32 = 1_000_000;

/// Parts per million in one percent.
const PER_PERCENT: u32 = MILLION / 100;

/// Digits after the point that a percentage can have.
const DECIMALS_MAX: usize = 4;

/// The share of the reusable cases that run all the same, in parts per million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditShare(u32);

/// Why a text or a number is no share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAuditShare {
    /// It is not a number and a percent sign.
    #[error("expected a percentage of the reusable cases, like 5% or 0.5%")]
    NoPercentage,
    /// It is more than all.
    #[error("more than all reusable cases cannot be audited: give at most 100%")]
    OverAll,
    /// It has more than four decimals.
    #[error("the finest step is 0.0001%: give at most four digits after the point")]
    TooFine,
}

impl AuditShare {
    /// No case is audited.
    pub const NONE: Self = Self(0);

    /// The share where nobody has said one: 5 % where a run decides whether a change may land, else none.
    pub fn usual(priority: RunPriority) -> Self {
        match priority {
            RunPriority::Gate => Self(5 * PER_PERCENT),
            RunPriority::Speculative
            | RunPriority::Interactive
            | RunPriority::Trunk
            | RunPriority::TrunkFix => Self::NONE,
        }
    }

    /// A share of so many parts per million.
    ///
    /// # Errors
    /// [`InvalidAuditShare::OverAll`] when there are more than a million.
    pub fn from_ppm(ppm: u32) -> Result<Self, InvalidAuditShare> {
        (ppm <= MILLION)
            .then_some(Self(ppm))
            .ok_or(InvalidAuditShare::OverAll)
    }

    /// How many parts per million it is.
    pub const fn as_ppm(self) -> u32 {
        self.0
    }

    /// Whether a reusable case of a run is audited. Each is with the same chance, and with the same answer whenever this is
    /// asked.
    pub fn picks(self, run: RunId, case: CaseIndex) -> bool {
        if self == Self::NONE {
            return false;
        }
        let mut hasher = FieldHasher::new("thresh audit v1: which cases of a run");
        hasher
            .field(&run.as_u128().to_le_bytes())
            .field(&case.0.to_le_bytes());
        let digest = hasher.finish();
        let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
        let drawn = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        // From 0 to 999,999, each equally often but for one part in 10^13.
        let drawn = (u128::from(drawn) * u128::from(MILLION)) >> u64::BITS;
        drawn < u128::from(self.0)
    }
}

impl FromStr for AuditShare {
    type Err = InvalidAuditShare;

    /// Reads a percentage: `5%`, `0.5%`, `100%`.
    fn from_str(text: &str) -> Result<Self, InvalidAuditShare> {
        let number = text.strip_suffix('%').ok_or(InvalidAuditShare::NoPercentage)?;
        let (whole, decimals) = match number.split_once('.') {
            Some((whole, decimals)) if !decimals.is_empty() => (whole, decimals),
            Some(_) => return Err(InvalidAuditShare::NoPercentage),
            None => (number, ""),
        };
        let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !is_number(whole) || !is_number(decimals) {
            return Err(InvalidAuditShare::NoPercentage);
        }
        let decimals = decimals.trim_end_matches('0');
        if decimals.len() > DECIMALS_MAX {
            return Err(InvalidAuditShare::TooFine);
        }
        // Digits that do not fit are far more than 100.
        let whole: u32 = whole.parse().map_err(|_| InvalidAuditShare::OverAll)?;
        let parts: u32 = format!("{decimals:0<DECIMALS_MAX$}").parse().unwrap_or(0);
        Self::from_ppm(whole.saturating_mul(PER_PERCENT).saturating_add(parts))
    }
}

impl fmt::Display for AuditShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, parts) = (self.0 / PER_PERCENT, self.0 % PER_PERCENT);
        let parts = format!("{parts:0>DECIMALS_MAX$}");
        match parts.trim_end_matches('0') {
            "" => write!(f, "{whole}%"),
            parts => write!(f, "{whole}.{parts}%"),
        }
    }
}

/// What the audit of a case has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditFinding {
    /// It passed cleanly again.
    Agreed,
    /// It passes, but not cleanly: at a later attempt, or with a leak or a timeout that its settings let pass. Whether
    /// the key misses something or the case is unsteady cannot be told.
    Flaky,
    /// It does not pass, though its pass is stored under its key: reuse would have been wrong.
    Disagreed(Outcome),
}

impl AuditFinding {
    /// What the status of an audited case has found; `None` where it says nothing about the case, since it did not run
    /// to its end or could not be started.
    pub fn of(status: &CaseStatus) -> Option<Self> {
        match status {
            CaseStatus::Passed => Some(Self::Agreed),
            CaseStatus::Flaky { .. } => Some(Self::Flaky),
            CaseStatus::Reused | CaseStatus::NotRun => None,
            CaseStatus::Ended(outcome) | CaseStatus::Quarantined(outcome) => match outcome {
                Outcome::Lost | Outcome::Cancelled => None,
                Outcome::Failed {
                    cause: FailureCause::Exec(_),
                    ..
                } => None,
                outcome if outcome.passes() => Some(Self::Flaky),
                outcome => Some(Self::Disagreed(outcome.clone())),
            },
        }
    }

    /// The one word for it, the same in reports and in the store.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Agreed => "agreed",
            Self::Flaky => "flaky",
            Self::Disagreed(_) => "disagreed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(text: &str) -> Result<u32, InvalidAuditShare> {
        text.parse().map(AuditShare::as_ppm)
    }

    #[test]
    fn runs_of_the_gate_are_audited_unless_somebody_says_otherwise() {
        let audited = |priority: &RunPriority| AuditShare::usual(*priority) != AuditShare::NONE;
        let audited: Vec<_> = RunPriority::ALL.into_iter().filter(audited).collect();
        assert_eq!(audited, [RunPriority::Gate]);
        assert_eq!(AuditShare::usual(RunPriority::Gate).to_string(), "5%");
    }

    #[test]
    fn percentages_are_read_and_written() {
        for (text, ppm) in [
            ("0%", 0),
            ("0.0001%", 1),
            ("0.5%", 5_000),
            ("5%", 50_000),
            ("12.345%", 123_450),
            ("100%", 1_000_000),
        ] {
            assert_eq!(share(text), Ok(ppm), "{text}");
            assert_eq!(AuditShare(ppm).to_string(), text);
        }
        assert_eq!(share("005.50000000%"), Ok(55_000));
    }

    #[test]
    fn what_is_no_percentage_is_refused_by_its_fault() {
        for text in [
            "", "5", "%", ".5%", "5.%", "-5%", "+5%", "5 %", "5%%", "1e1%", "five%", "5,5%",
        ] {
            assert_eq!(share(text), Err(InvalidAuditShare::NoPercentage), "{text}");
        }
        for text in ["100.0001%", "101%", "99999999999999999999%"] {
            assert_eq!(share(text), Err(InvalidAuditShare::OverAll), "{text}");
        }
        assert_eq!(share("0.00001%"), Err(InvalidAuditShare::TooFine));
        assert_eq!(AuditShare::from_ppm(1_000_001), Err(InvalidAuditShare::OverAll));
    }

    #[test]
    fn a_share_of_the_cases_is_picked_and_the_same_ones_each_time() {
        const CASES: u32 = 20_000;
        let picked = |share: &str, run: u128| -> Vec<u32> {
            let share: AuditShare = share.parse().unwrap();
            let run = RunId::from_u128(run);
            (0..CASES)
                .filter(|case| share.picks(run, CaseIndex(*case)))
                .collect()
        };
        assert!(picked("0%", 1).is_empty());
        assert_eq!(picked("100%", 1).len(), CASES as usize);
        let some = picked("5%", 1);
        assert_eq!(some, picked("5%", 1));
        assert_ne!(some, picked("5%", 2));
        assert!((900..1_100).contains(&some.len()), "{}", some.len());
        let more = picked("10%", 1);
        assert!(some.iter().all(|case| more.contains(case)), "a larger share adds");
    }

    #[test]
    fn a_status_finds_something_only_where_it_is_about_the_case() {
        let failed = |cause| Outcome::Failed { cause, leaked: false };
        let exit = failed(FailureCause::ExitCode(101));
        let disagreed = |outcome: &Outcome| Some(AuditFinding::Disagreed(outcome.clone()));
        let of = |outcome: &Outcome| AuditFinding::of(&CaseStatus::Ended(outcome.clone()));
        assert_eq!(AuditFinding::of(&CaseStatus::Passed), Some(AuditFinding::Agreed));
        for passes in [true, false] {
            let flaky = AuditFinding::of(&CaseStatus::Flaky { passes });
            assert_eq!(flaky, Some(AuditFinding::Flaky));
        }
        assert_eq!(of(&Outcome::Leaked { passes: true }), Some(AuditFinding::Flaky));
        assert_eq!(of(&exit), disagreed(&exit));
        let excused = AuditFinding::of(&CaseStatus::Quarantined(exit.clone()));
        assert_eq!(excused, disagreed(&exit));
        for outcome in [
            Outcome::TimedOut { passes: false },
            Outcome::Leaked { passes: false },
            Outcome::TookWorker,
        ] {
            assert_eq!(of(&outcome), disagreed(&outcome));
        }
        for outcome in [
            Outcome::Lost,
            Outcome::Cancelled,
            failed(FailureCause::Exec("no memory".into())),
        ] {
            assert_eq!(of(&outcome), None, "{outcome}");
        }
        for status in [CaseStatus::Reused, CaseStatus::NotRun] {
            assert_eq!(AuditFinding::of(&status), None);
        }
    }
}
