//! One farm from one seed, and how it went.

use std::fmt;

use thresh_core::schedule::{Policy, Scheduler, Violation};

use super::counts::Counts;
use super::world::World;

/// Makes a coordinator's scheduler from its policy, seed and epoch.
pub(super) type Make<'a> = &'a dyn Fn(Policy, u64, u32) -> Scheduler;

/// A farm to be played, decided by its seed.
#[derive(Clone, Copy)]
pub struct Simulation<'a> {
    pub(super) seed: u64,
    pub(super) records: bool,
    pub(super) looks_inside: bool,
    pub(super) make: Make<'a>,
}

/// How a simulation went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Played {
    /// Its seed.
    pub seed: u64,
    /// The invariant that did not hold, if any.
    pub violation: Option<Violation>,
    /// What it exercised.
    pub counts: Counts,
    /// A line for each step, if it was to be recorded.
    pub transcript: String,
    /// The steps.
    pub steps: u64,
    /// How long it took by the virtual clock, in microseconds.
    pub micros: u64,
}

impl Simulation<'static> {
    /// The farm of a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            records: false,
            looks_inside: true,
            make: &Scheduler::new,
        }
    }
}

impl<'a> Simulation<'a> {
    /// Records a transcript.
    #[must_use]
    pub fn recorded(self) -> Self {
        Self {
            records: true,
            ..self
        }
    }

    /// Checks only what the scheduler does, not the state that it keeps.
    #[must_use]
    pub fn from_outside(self) -> Self {
        Self {
            looks_inside: false,
            ..self
        }
    }

    /// Takes another scheduler than [`Scheduler::new`].
    #[must_use]
    pub fn with_scheduler<'b>(self, make: Make<'b>) -> Simulation<'b> {
        let Self {
            seed,
            records,
            looks_inside,
            ..
        } = self;
        Simulation {
            seed,
            records,
            looks_inside,
            make,
        }
    }

    /// Plays it to its end, or to the first violation.
    pub fn play(self) -> Played {
        World::new(self).play()
    }
}

/// One line; after a violation, one that says how to have it again.
impl fmt::Display for Played {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seed = self.seed;
        match &self.violation {
            Some(violation) => write!(
                f,
                "seed {seed}: {violation}; replay: scripts/sim --seed {seed} --transcript"
            ),
            None => {
                let (secs, millis) = (self.micros / 1_000_000, self.micros / 1_000 % 1_000);
                write!(
                    f,
                    "seed {seed}: every invariant held over {} steps, {secs}.{millis:03} s",
                    self.steps
                )
            }
        }
    }
}
