//! Mistakes on purpose, to see that the simulation finds them. Without the feature `mutations` there are none,
//! and what asks for one compiles to nothing.

use super::scheduler::Scheduler;
#[cfg(feature = "mutations")]
use crate::id::Generation;

/// A mistake that a scheduler can be told to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "mutations"),
    expect(unreachable_pub, reason = "it is exported with the feature alone")
)]
pub enum Mutation {
    /// An outcome counts under whatever generation it carries.
    SkipGenerationCheck,
    /// An outcome counts from whomever it comes.
    SkipHolderCheck,
    /// What a worker held when it went is not put back into the queue.
    ForgetRequeue,
    /// A status is told twice.
    SettleTwice,
    /// Test groups are not limited.
    IgnoreGroupLimit,
    /// The slots of a case are not given back.
    KeepSlots,
    /// A retry that waits for its time is never made.
    ForgetDelayedRetry,
    /// The copy of a case that was slower is not ended.
    KeepLoser,
    /// A case that was settled under the coordinator before is run again.
    ForgetSettled,
    /// A case is granted to the next worker before the last one gave it back.
    GrantBeforeReturn,
    /// A silent worker keeps its leases.
    KeepSilentWorkers,
    /// A coordinator gives generations that the one before gave.
    #[cfg(feature = "mutations")]
    ReuseGenerations,
    /// A case may take down workers without end.
    ForgetLosses,
    /// What a stopped run did not try has passed.
    PassUntried,
}

impl Scheduler {
    /// Makes a mistake from now on.
    #[cfg(feature = "mutations")]
    #[must_use]
    pub fn with_mutation(mut self, mutation: Mutation) -> Self {
        if mutation == Mutation::ReuseGenerations {
            self.generation = Generation::before_epoch(0);
        }
        self.mutation = Some(mutation);
        self
    }

    /// Whether a mistake is to be made.
    #[inline]
    pub(super) fn mutated(&self, mutation: Mutation) -> bool {
        #[cfg(feature = "mutations")]
        {
            self.mutation == Some(mutation)
        }
        #[cfg(not(feature = "mutations"))]
        {
            let _ = mutation;
            false
        }
    }
}

#[cfg(feature = "mutations")]
impl Mutation {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::SkipGenerationCheck,
        Self::SkipHolderCheck,
        Self::ForgetRequeue,
        Self::SettleTwice,
        Self::IgnoreGroupLimit,
        Self::KeepSlots,
        Self::ForgetDelayedRetry,
        Self::KeepLoser,
        Self::ForgetSettled,
        Self::GrantBeforeReturn,
        Self::KeepSilentWorkers,
        Self::ReuseGenerations,
        Self::ForgetLosses,
        Self::PassUntried,
    ];
}
