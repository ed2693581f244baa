//! Fair shares between submitters.
//!
//! Start-time fair queueing (Goyal, Vin, Cheng 1996) over slot time: each submitter's service is counted
//! divided by its share, and whoever has had least is served next. Who comes back after a pause begins where
//! the least served stands, so that nothing is saved up; who was served more than that stays behind, so that
//! many short runs get no more than one long one. Priorities are counted apart.
//!
//! Copies are charged by their estimates when they are granted, which is corrected when they end. Who began at
//! another's level while such copies were out follows their corrections: it would wait for what others were
//! charged too much.

use std::collections::BTreeMap;

use super::request::RunPriority;
use crate::time::Timestamp;

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
    /// Copies that are out.
    out: u32,
    /// Those that began at this one's level.
    followers: Vec<Follower>,
}

#[derive(Debug)]
struct Follower {
    submitter: String,
    since: Timestamp,
    /// How many of the copies that were out then still are.
    out: u32,
}

impl Shares {
    /// Begins a run.
    pub(super) fn enter(&mut self, priority: RunPriority, submitter: &str, share: u32, now: Timestamp) {
        let submitters = self.of.entry(priority).or_default();
        let least = least(submitters);
        let entry = submitters.entry(submitter.to_owned()).or_insert(Share {
            service: 0,
            share: 1,
            runs: 0,
            out: 0,
            followers: Vec::new(),
        });
        entry.share = u64::from(share.max(1));
        entry.runs += 1;
        let Some((level, leader)) = least.filter(|(level, _)| entry.runs == 1 && entry.service < *level)
        else {
            return;
        };
        entry.service = level;
        let follower = |since, out| Follower {
            submitter: submitter.to_owned(),
            since,
            out,
        };
        let mut was_served = false;
        for (of, share) in submitters.iter_mut() {
            if *of == leader && share.out > 0 {
                share.followers.push(follower(now, share.out));
                was_served = true;
            } else if let Some(shared) = share.followers.iter().find(|other| other.submitter == leader) {
                let shared = follower(shared.since, shared.out);
                share.followers.push(shared);
            }
        }
        // Of two at one level it is the turn of who comes, unless the other waits for its first turn as well.
        if let Some(entry) = submitters.get_mut(submitter).filter(|_| was_served) {
            entry.service = level.saturating_sub(1);
        }
    }

    /// Ends a run. Who has none left is remembered while that could matter.
    pub(super) fn leave(&mut self, priority: RunPriority, submitter: &str) {
        let Some(submitters) = self.of.get_mut(&priority) else {
            return;
        };
        if let Some(share) = submitters.get_mut(submitter) {
            share.runs = share.runs.saturating_sub(1);
            if share.runs == 0 {
                for other in submitters.values_mut() {
                    other.followers.retain(|follower| follower.submitter != submitter);
                }
            }
        }
        let least = least(submitters).map(|(level, _)| level);
        submitters.retain(|_, share| share.runs > 0 || least.is_some_and(|least| share.service > least));
    }

    /// Counts a copy that is granted, in estimated microseconds of slots.
    pub(super) fn granted(&mut self, priority: RunPriority, submitter: &str, micros: u64) {
        let submitters = self.of.get_mut(&priority);
        if let Some(share) = submitters.and_then(|of| of.get_mut(submitter)) {
            share.service = share.service.saturating_add(micros / share.share);
            share.out += 1;
        }
    }

    /// Counts a copy that was granted at a time and is out no more: by how much more (or less) it took.
    pub(super) fn ended(
        &mut self,
        priority: RunPriority,
        submitter: &str,
        granted_at: Timestamp,
        correction: i64,
    ) {
        let Some(submitters) = self.of.get_mut(&priority) else {
            return;
        };
        let Some(share) = submitters.get_mut(submitter) else {
            return;
        };
        let part = i64::try_from(share.share).map_or(0, |by| correction / by);
        share.service = share.service.saturating_add_signed(part);
        share.out = share.out.saturating_sub(1);
        if share.followers.is_empty() {
            return;
        }
        let mut followers = std::mem::take(&mut share.followers);
        let is_out = share.out > 0;
        for follower in followers
            .iter_mut()
            .filter(|follower| granted_at < follower.since)
        {
            follower.out = follower.out.saturating_sub(1);
            if let Some(share) = submitters.get_mut(&follower.submitter) {
                share.service = share.service.saturating_add_signed(part);
            }
        }
        followers.retain(|follower| follower.out > 0 && is_out);
        if let Some(share) = submitters.get_mut(submitter) {
            share.followers = followers;
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

/// Who has had least, among those with runs, and how much.
fn least(submitters: &BTreeMap<String, Share>) -> Option<(u64, String)> {
    let active = submitters.iter().filter(|(_, share)| share.runs > 0);
    let (submitter, share) = active.min_by_key(|(_, share)| share.service)?;
    Some((share.service, submitter.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATE: RunPriority = RunPriority::Gate;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_micros(secs * 1_000_000)
    }

    #[test]
    fn a_pause_saves_nothing_up_and_forgives_nothing() {
        let mut shares = Shares::default();
        shares.enter(GATE, "ann", 1, at(0));
        shares.granted(GATE, "ann", 1_000);
        shares.ended(GATE, "ann", at(0), 0);
        shares.enter(GATE, "bob", 2, at(1));
        assert_eq!(
            shares.service(GATE, "bob"),
            1_000,
            "late, so level with the others"
        );
        shares.granted(GATE, "bob", 600);
        assert_eq!(shares.service(GATE, "bob"), 1_300, "a double share counts half");
        shares.leave(GATE, "bob");
        shares.enter(GATE, "bob", 2, at(2));
        assert_eq!(
            shares.service(GATE, "bob"),
            1_300,
            "ahead, so still behind the others"
        );
        shares.leave(GATE, "bob");
        shares.leave(GATE, "ann");
        assert!(shares.of[&GATE].is_empty());
    }

    #[test]
    fn who_comes_does_not_wait_for_what_others_were_charged_too_much() {
        let mut shares = Shares::default();
        shares.enter(GATE, "ann", 1, at(0));
        shares.granted(GATE, "ann", 1_000);
        shares.granted(GATE, "ann", 1_000);
        shares.enter(GATE, "bob", 1, at(1));
        shares.enter(GATE, "cyd", 1, at(1));
        shares.granted(GATE, "ann", 500);
        shares.ended(GATE, "ann", at(0), -900);
        shares.ended(GATE, "ann", at(2), -100);
        shares.ended(GATE, "ann", at(0), 200);
        assert_eq!(
            ["ann", "bob", "cyd"].map(|who| shares.service(GATE, who)),
            [1_700, 1_299, 1_299],
            "the third case came later"
        );
        assert!(shares.of[&GATE]["ann"].followers.is_empty());
    }
}
