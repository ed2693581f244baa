//! A scheduler that makes a mistake is found out.

use std::panic::{AssertUnwindSafe, catch_unwind};

use thresh_core::schedule::{INVARIANTS, Mutation, Scheduler};
use thresh_tests::sim::Simulation;

/// So many farms are played at most until a mistake must have shown.
const SEEDS_MAX: u64 = 1_000;

/// Plays farms until a mistake shows, and returns the invariant that it breaks.
///
/// With a mistake a scheduler may also end in an arithmetic overflow, which counts as found.
fn found(mutation: Mutation) -> (u64, String) {
    for seed in 0..SEEDS_MAX {
        let make = |policy, seed, epoch| Scheduler::new(policy, seed, epoch).with_mutation(mutation);
        let simulation = Simulation::new(seed).with_scheduler(&make).from_outside();
        match catch_unwind(AssertUnwindSafe(|| simulation.play())) {
            Err(_) => return (seed, "no panic".to_owned()),
            Ok(played) => {
                if let Some(violation) = played.violation {
                    let named = INVARIANTS.iter().any(|(name, _)| *name == violation.invariant);
                    assert!(named, "{} has no definition", violation.invariant);
                    return (seed, violation.invariant.to_owned());
                }
            }
        }
    }
    panic!("{mutation:?} was not found in {SEEDS_MAX} farms");
}

/// What workers, clients and the store can see is enough: the scheduler's own state is not looked at.
#[test]
fn every_mistake_is_found() {
    for mutation in Mutation::ALL {
        let (seed, invariant) = found(mutation);
        println!("{mutation:?}: {invariant}, seed {seed}");
    }
}

/// The mistakes are compiled in for this package's own tests alone.
#[test]
fn programs_have_no_mistakes_compiled_in() {
    let metadata = cargo_metadata::MetadataCommand::new()
        .current_dir(thresh_tests::thresh::repository())
        .exec()
        .expect("cargo metadata works here");
    for package in metadata.workspace_packages() {
        for dependency in &package.dependencies {
            let test_only = dependency.kind == cargo_metadata::DependencyKind::Development;
            let asks = dependency.features.iter().any(|feature| feature == "mutations");
            let allowed = test_only && package.name.as_str() == "thresh-tests";
            assert!(!asks || allowed, "{} has the mutations compiled in", package.name);
        }
        let named = package
            .features
            .values()
            .flatten()
            .any(|feature| feature.contains("mutations"));
        assert!(!named, "a feature of {} turns the mutations on", package.name);
    }
}
