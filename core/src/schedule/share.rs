//! Fair shares between submitters.
//!
//! Start-time fair queueing (Goyal, Vin, Cheng 1996) over slot time: each submitter's service is counted
//! divided by its share, and whoever has had least is served next. Who comes begins where the one that was
//! served last stood before that, so that a pause saves nothing up; who was served more stays behind, so that
//! many short runs get no more than one long one. Priorities are counted apart, and so are classes of workers,
//! which do not compete.
//!
//! Copies are charged by their estimates when they are granted, which is corrected when they end. Who began at
//! another's level while such copies were out follows their corrections downwards: it would wait for what others
//! were charged too much.

use std::collections::BTreeMap;

use super::class::ClassIndex;
use super::request::RunPriority;
use crate::time::Timestamp;

/// Those who wait for the same slots with the same priority.
pub(super) type Queue = (ClassIndex, RunPriority);

#[derive(Debug, Default)]
pub(super) struct Shares {
    of: BTreeMap<Queue, Submitters>,
}

#[derive(Debug, Default)]
struct Submitters {
    shares: BTreeMap<String, Share>,
    /// Who was served last, and what that was charged.
    last: Option<(String, u64)>,
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
    pub(super) fn enter(&mut self, queue: Queue, submitter: &str, share: u32, now: Timestamp) {
        let of = self.of.entry(queue).or_default();
        let level = of.level();
        let entry = of.shares.entry(submitter.to_owned()).or_insert(Share {
            service: 0,
            share: 1,
            runs: 0,
            out: 0,
            followers: Vec::new(),
        });
        entry.share = u64::from(share.max(1));
        entry.runs += 1;
        if let Some((level, leader)) = level
            && entry.runs == 1
            && entry.service < level
        {
            entry.service = level;
            of.follow(submitter, &leader, now);
        }
    }

    /// Ends a run. Who has none left is remembered while that could matter.
    pub(super) fn leave(&mut self, queue: Queue, submitter: &str) {
        let Some(of) = self.of.get_mut(&queue) else {
            return;
        };
        if let Some(share) = of.shares.get_mut(submitter) {
            share.runs = share.runs.saturating_sub(1);
        }
        let least = of.least().map(|(level, _)| level);
        let forgotten = of.shares.extract_if(.., |_, share| {
            share.runs == 0 && least.is_none_or(|least| share.service <= least)
        });
        let forgotten: Vec<String> = forgotten.map(|(submitter, _)| submitter).collect();
        for share in of.shares.values_mut() {
            share
                .followers
                .retain(|follower| !forgotten.contains(&follower.submitter));
        }
    }

    /// Counts a copy that is granted, in estimated microseconds of slots.
    pub(super) fn granted(&mut self, queue: Queue, submitter: &str, micros: u64) {
        let Some(of) = self.of.get_mut(&queue) else {
            return;
        };
        let Some(share) = of.shares.get_mut(submitter) else {
            return;
        };
        let part = micros / share.share;
        share.service = share.service.saturating_add(part);
        share.out += 1;
        match &mut of.last {
            Some((last, charged)) if *last == submitter => *charged = part,
            last => *last = Some((submitter.to_owned(), part)),
        }
    }

    /// Counts a copy that was granted at a time and is out no more: by how much more (or less) it took.
    pub(super) fn ended(&mut self, queue: Queue, submitter: &str, granted_at: Timestamp, correction: i64) {
        let Some(of) = self.of.get_mut(&queue) else {
            return;
        };
        let Some(share) = of.shares.get_mut(submitter) else {
            return;
        };
        let part = i64::try_from(share.share).map_or(0, |by| correction / by);
        share.service = share.service.saturating_add_signed(part);
        share.out = share.out.saturating_sub(1);
        if share.followers.is_empty() {
            return;
        }
        let is_out = share.out > 0;
        let mut followers = std::mem::take(&mut share.followers);
        for follower in followers
            .iter_mut()
            .filter(|follower| granted_at < follower.since)
        {
            follower.out = follower.out.saturating_sub(1);
            // Not upwards: others may have had less than the one whose case takes so long.
            if let Some(share) = of.shares.get_mut(&follower.submitter).filter(|_| part < 0) {
                share.service = share.service.saturating_add_signed(part);
            }
        }
        followers.retain(|follower| follower.out > 0 && is_out);
        if let Some(share) = of.shares.get_mut(submitter) {
            share.followers = followers;
        }
    }

    /// The service that a submitter has had.
    pub(super) fn service(&self, queue: Queue, submitter: &str) -> u64 {
        let of = self.of.get(&queue);
        of.and_then(|of| of.shares.get(submitter))
            .map_or(0, |share| share.service)
    }
}

impl Submitters {
    /// Where somebody new begins, and whose level that is. Of those with runs some may want nothing at present:
    /// theirs says little.
    fn level(&self) -> Option<(u64, String)> {
        let last = self.last.as_ref().and_then(|(last, charged)| {
            let share = self.shares.get(last)?;
            Some((share.service.saturating_sub(*charged), last.clone()))
        });
        last.or_else(|| self.least())
    }

    /// Who has had least, among those with runs, and how much.
    fn least(&self) -> Option<(u64, String)> {
        let active = self.shares.iter().filter(|(_, share)| share.runs > 0);
        let (submitter, share) = active.min_by_key(|(_, share)| share.service)?;
        Some((share.service, submitter.clone()))
    }

    /// Notes that a submitter begins at the level of another, and of those that this one follows.
    fn follow(&mut self, submitter: &str, leader: &str, now: Timestamp) {
        let follower = |since, out| Follower {
            submitter: submitter.to_owned(),
            since,
            out,
        };
        for (name, share) in &mut self.shares {
            share.followers.retain(|other| other.submitter != submitter);
            if name == leader && share.out > 0 {
                share.followers.push(follower(now, share.out));
            } else if let Some(shared) = share.followers.iter().find(|other| other.submitter == leader) {
                let shared = follower(shared.since, shared.out);
                share.followers.push(shared);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATE: Queue = (ClassIndex::FIRST, RunPriority::Gate);

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_micros(secs * 1_000_000)
    }

    fn levels<const N: usize>(shares: &Shares, of: [&str; N]) -> [u64; N] {
        of.map(|who| shares.service(GATE, who))
    }

    #[test]
    fn a_pause_saves_nothing_up_and_forgives_nothing() {
        let mut shares = Shares::default();
        shares.enter(GATE, "ann", 1, at(0));
        shares.granted(GATE, "ann", 1_000);
        shares.ended(GATE, "ann", at(0), 0);
        shares.granted(GATE, "ann", 100);
        shares.enter(GATE, "bob", 2, at(1));
        assert_eq!(
            levels(&shares, ["ann", "bob"]),
            [1_100, 1_000],
            "late, so level with the others, and next"
        );
        shares.granted(GATE, "bob", 600);
        assert_eq!(levels(&shares, ["bob"]), [1_300], "a double share counts half");
        shares.leave(GATE, "bob");
        shares.enter(GATE, "bob", 2, at(2));
        assert_eq!(
            levels(&shares, ["bob"]),
            [1_300],
            "ahead, so still behind the others"
        );
        shares.leave(GATE, "bob");
        shares.leave(GATE, "ann");
        assert!(shares.of[&GATE].shares.is_empty());
    }

    /// Ann has two copies out that are charged 1,000 each when bob comes.
    fn bob_beside_ann() -> Shares {
        let mut shares = Shares::default();
        shares.enter(GATE, "ann", 1, at(0));
        shares.granted(GATE, "ann", 1_000);
        shares.granted(GATE, "ann", 1_000);
        shares.enter(GATE, "bob", 1, at(1));
        shares
    }

    #[test]
    fn who_comes_does_not_wait_for_what_others_were_charged_too_much() {
        let mut shares = bob_beside_ann();
        shares.enter(GATE, "cyd", 1, at(1));
        shares.granted(GATE, "ann", 500);
        shares.ended(GATE, "ann", at(0), -900);
        shares.ended(GATE, "ann", at(2), -100);
        assert_eq!(
            levels(&shares, ["ann", "bob", "cyd"]),
            [1_500, 100, 100],
            "the third copy came later"
        );
        shares.ended(GATE, "ann", at(0), 600_000);
        assert_eq!(
            levels(&shares, ["ann", "bob"]),
            [601_500, 100],
            "not upwards with one that takes long"
        );
        assert!(shares.of[&GATE].shares["ann"].followers.is_empty());
    }

    #[test]
    fn a_correction_reaches_who_left_and_comes_back_and_once_only() {
        let mut shares = bob_beside_ann();
        shares.granted(GATE, "bob", 3_000);
        shares.leave(GATE, "bob");
        shares.ended(GATE, "ann", at(0), -999);
        assert_eq!(levels(&shares, ["ann", "bob"]), [1_001, 3_001]);
        shares.enter(GATE, "bob", 1, at(2));
        shares.ended(GATE, "ann", at(0), -1);
        assert_eq!(levels(&shares, ["ann", "bob"]), [1_000, 3_000]);
    }

    #[test]
    fn who_is_forgotten_follows_nobody() {
        let mut shares = bob_beside_ann();
        shares.leave(GATE, "bob");
        let of = &shares.of[&GATE].shares;
        assert!(!of.contains_key("bob") && of["ann"].followers.is_empty());
    }

    #[test]
    fn who_has_a_run_but_wants_nothing_sets_no_level() {
        let mut shares = Shares::default();
        shares.enter(GATE, "zoe", 1, at(0));
        shares.granted(GATE, "zoe", 10);
        shares.enter(GATE, "ann", 1, at(0));
        for _ in 0..600 {
            shares.granted(GATE, "ann", 1_000);
            shares.ended(GATE, "ann", at(0), 0);
        }
        shares.enter(GATE, "bob", 1, at(700));
        assert_eq!(levels(&shares, ["ann", "bob"]), [600_000, 599_000]);
    }
}
