//! Fair shares between submitters.
//!
//! Start-time fair queueing (Goyal, Vin, Cheng 1996) over slot time: each submitter's service is counted
//! divided by its share, and whoever has had least is served next. Who comes back after a pause begins where
//! the least served stands, so that nothing is saved up; who was served more than that stays behind, so that
//! many short runs get no more than one long one. Priorities are counted apart.

use std::collections::BTreeMap;

use super::request::RunPriority;

#[derive(Debug, Default)]
pub(super) struct Shares {
    of: BTreeMap<RunPriority, BTreeMap<String, Share>>,
}

#[derive(Debug)]
struct Share {
    /// Microseconds of slots, divided by the share.
    service: u64,
    share: u64,
    /// Runs under way.
    runs: u32,
}

impl Shares {
    /// Begins a run.
    pub(super) fn enter(&mut self, priority: RunPriority, submitter: &str, share: u32) {
        let submitters = self.of.entry(priority).or_default();
        let least = least(submitters);
        let entry = submitters.entry(submitter.to_owned()).or_insert(Share {
            service: 0,
            share: 1,
            runs: 0,
        });
        entry.share = u64::from(share.max(1));
        if entry.runs == 0 {
            entry.service = entry.service.max(least);
        }
        entry.runs += 1;
    }

    /// Ends a run. Who has none left is remembered while that could matter.
    pub(super) fn leave(&mut self, priority: RunPriority, submitter: &str) {
        let Some(submitters) = self.of.get_mut(&priority) else {
            return;
        };
        if let Some(share) = submitters.get_mut(submitter) {
            share.runs = share.runs.saturating_sub(1);
        }
        let active = submitters.values().any(|share| share.runs > 0);
        let least = least(submitters);
        submitters.retain(|_, share| share.runs > 0 || (active && share.service > least));
    }

    /// Counts service, in microseconds of slots; less than nothing takes back what was counted too much.
    pub(super) fn charge(&mut self, priority: RunPriority, submitter: &str, micros: i64) {
        let submitters = self.of.get_mut(&priority);
        if let Some(share) = submitters.and_then(|of| of.get_mut(submitter)) {
            let part = i64::try_from(share.share).map_or(0, |by| micros / by);
            share.service = share.service.saturating_add_signed(part);
        }
    }

    /// The service that a submitter has had.
    pub(super) fn service(&self, priority: RunPriority, submitter: &str) -> u64 {
        let submitters = self.of.get(&priority);
        submitters
            .and_then(|of| of.get(submitter))
            .map_or(0, |share| share.service)
    }
}

/// The service of who has had least, among those with runs.
fn least(submitters: &BTreeMap<String, Share>) -> u64 {
    let active = submitters.values().filter(|share| share.runs > 0);
    active.map(|share| share.service).min().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATE: RunPriority = RunPriority::Gate;

    #[test]
    fn a_pause_saves_nothing_up_and_forgives_nothing() {
        let mut shares = Shares::default();
        shares.enter(GATE, "ann", 1);
        shares.charge(GATE, "ann", 1_000);
        shares.enter(GATE, "bob", 2);
        assert_eq!(
            shares.service(GATE, "bob"),
            1_000,
            "late, so level with the others"
        );
        shares.charge(GATE, "bob", 600);
        assert_eq!(shares.service(GATE, "bob"), 1_300, "a double share counts half");
        shares.leave(GATE, "bob");
        shares.enter(GATE, "bob", 2);
        assert_eq!(
            shares.service(GATE, "bob"),
            1_300,
            "ahead, so still behind the others"
        );
        shares.leave(GATE, "bob");
        shares.leave(GATE, "ann");
        assert!(shares.of[&GATE].is_empty());
    }
}
