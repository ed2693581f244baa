//! Farms without mistakes: every invariant holds, and everything that can happen does.

use std::sync::atomic::{AtomicU64, Ordering};

use thresh_tests::sim::{Counts, Simulation};

/// The farms that every test run plays.
const SEEDS: u64 = 300;

/// What happens in them, each at least once.
const EXERCISED: &[&str] = &[
    "a copy is cancelled",
    "a worker is lost",
    "attempt: cancelled",
    "attempt: crashed",
    "attempt: failed",
    "attempt: leaked",
    "attempt: lost",
    "attempt: passed",
    "attempt: timed out",
    "client: cancels",
    "client: leaves",
    "coordinator: a run goes on",
    "coordinator: crashed after a commit, before its effects",
    "coordinator: crashed before a commit",
    "cordoned: disk full",
    "cordoned: drain",
    "fault: a clock jumps",
    "fault: a connection breaks",
    "fault: a disk is full",
    "fault: a one-way partition",
    "fault: a partition",
    "fault: a worker crashes",
    "fault: a worker drains",
    "fault: a worker freezes",
    "fault: chaos",
    "fault: the coordinator crashes",
    "fault: the store stalls",
    "granted: affinity",
    "granted: ahead",
    "granted: first",
    "granted: hedge",
    "granted: lost",
    "granted: retry",
    "granted: returned",
    "granted: stolen",
    "network: delayed by a partition",
    "network: lost",
    "network: out of order",
    "network: twice",
    "refused: a run that has ended",
    "refused: a worker that was given up",
    "refused: stale",
    "revoked: a run's cases",
    "revoked: single cases",
    "run ended: Cancelled",
    "run ended: Complete",
    "run ended: GlobalTimeout",
    "run ended: MaxFail",
    "run ended: SetupScriptFailed",
    "run ended: Stranded",
    "settled: crashed",
    "settled: failed",
    "settled: flaky",
    "settled: leaked",
    "settled: not run",
    "settled: passed",
    "settled: quarantined",
    "settled: reused",
    "settled: timed out",
    "worker: an outcome late",
    "worker: an outcome of the session before",
    "worker: an outcome twice",
    "worker: gives cases back",
    "worker: taken down by a case",
];

#[test]
fn every_invariant_holds_and_everything_happens() {
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let play = || {
        let (mut counts, mut failed) = (Counts::default(), Vec::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SEEDS {
                return (counts, failed);
            }
            let played = Simulation::new(seed).play();
            counts.merge(&played.counts);
            if played.violation.is_some() {
                failed.push(played.to_string());
            }
        }
    };
    let parts = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(play)).collect();
        let parts = threads
            .into_iter()
            .map(|thread| thread.join().expect("a farm is played to its end"));
        parts.collect::<Vec<_>>()
    });
    let (mut counts, mut failed) = (Counts::default(), Vec::new());
    for (of, lines) in parts {
        counts.merge(&of);
        failed.extend(lines);
    }
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
    let missing: Vec<_> = EXERCISED.iter().filter(|what| counts.of(what) == 0).collect();
    assert!(missing.is_empty(), "never happened: {missing:?}\n{counts}");
}

#[test]
fn the_same_seed_gives_the_same_transcript() {
    for seed in [1, 14, 29, 77, 213] {
        let first = Simulation::new(seed).recorded().play();
        let second = Simulation::new(seed).recorded().play();
        assert!(
            first.transcript.lines().count() > 10,
            "seed {seed}:\n{}",
            first.transcript
        );
        assert!(first == second, "seed {seed} gave two transcripts");
        let silent = Simulation::new(seed).play();
        assert_eq!((silent.steps, silent.micros), (first.steps, first.micros));
    }
}

#[test]
fn different_seeds_give_different_farms() {
    let [first, second] = [3, 4].map(|seed| Simulation::new(seed).recorded().play().transcript);
    assert_ne!(first, second);
}
