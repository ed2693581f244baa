//! Which run is meant.

use std::str::FromStr;

use thresh_core::id::RunId;

use super::error::ReplayError;
use super::past_run::PastRun;

/// A run, as users name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunChoice {
    /// The one that was submitted last, of those that have ended.
    Latest,
    /// This one.
    Id(RunId),
    /// The only one whose id begins so: hexadecimal digits, hyphens are passed over.
    Beginning(String),
}

/// The text names no run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected the id of a run, its beginning, or `latest`")]
pub struct InvalidRunChoice;

impl FromStr for RunChoice {
    type Err = InvalidRunChoice;

    fn from_str(text: &str) -> Result<Self, InvalidRunChoice> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        if let Ok(run) = text.parse() {
            return Ok(Self::Id(run));
        }
        let digits = digits(text);
        let is_hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if digits.is_empty() || digits.len() > 32 || !is_hexadecimal {
            return Err(InvalidRunChoice);
        }
        Ok(Self::Beginning(digits))
    }
}

fn digits(text: &str) -> String {
    text.replace('-', "").to_ascii_lowercase()
}

/// Finds the run among those of `project` that have ended, newest first.
pub(super) fn choose(choice: &RunChoice, runs: &[PastRun], project: &str) -> Result<RunId, ReplayError> {
    let beginning = match choice {
        RunChoice::Id(run) => return Ok(*run),
        RunChoice::Latest => {
            let project = project.to_owned();
            return runs
                .first()
                .map(|run| run.run)
                .ok_or(ReplayError::NoRuns { project });
        }
        RunChoice::Beginning(beginning) => beginning,
    };
    let found: Vec<&PastRun> = runs
        .iter()
        .filter(|run| digits(&run.run.to_string()).starts_with(beginning))
        .collect();
    match found[..] {
        [] => Err(ReplayError::NoneBegins {
            beginning: beginning.clone(),
            project: project.to_owned(),
        }),
        [run] => Ok(run.run),
        _ => Err(ReplayError::SeveralBegin {
            beginning: beginning.clone(),
            runs: found.into_iter().cloned().collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: u128) -> PastRun {
        PastRun {
            run: RunId::from_u128(id),
            ..PastRun::default()
        }
    }

    fn parse(text: &str) -> RunChoice {
        text.parse().unwrap()
    }

    #[test]
    fn runs_are_named_in_three_ways() {
        assert_eq!(parse("latest"), RunChoice::Latest);
        assert_eq!(
            parse("01a20866-329A-73dd-8144-250e8b8be069"),
            RunChoice::Id(RunId::from_u128(0x01a2_0866_329a_73dd_8144_250e_8b8b_e069))
        );
        assert_eq!(parse("01a2-0866-"), RunChoice::Beginning("01a20866".into()));
        for bad in ["", "-", "newest", "01a2g", &"0".repeat(33)] {
            assert_eq!(bad.parse::<RunChoice>(), Err(InvalidRunChoice), "{bad}");
        }
    }

    #[test]
    fn a_beginning_must_be_that_of_one_run() {
        let runs = [
            run(0x01a2_0000 << 96),
            run(0x01a2_0001 << 96),
            run(0x0200_0000 << 96),
        ];
        let chosen = |text: &str| choose(&parse(text), &runs, "demo");
        assert_eq!(chosen("latest").unwrap(), runs[0].run);
        assert_eq!(chosen("02").unwrap(), runs[2].run);
        assert_eq!(chosen("01A20001").unwrap(), runs[1].run);
        let several = chosen("01a2").unwrap_err().to_string();
        assert!(
            several.contains("2 runs") && several.contains(&runs[1].run.to_string()),
            "{several}"
        );
        let none = chosen("ff").unwrap_err().to_string();
        assert!(
            none.contains("begins with ff") && none.contains("still going on"),
            "{none}"
        );
        let empty = choose(&RunChoice::Latest, &[], "demo").unwrap_err().to_string();
        assert!(empty.contains("demo"), "{empty}");
    }
}
