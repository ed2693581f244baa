//! The scheduler: decides which worker runs which test case, and when.
//!
//! A pure state machine. [`Scheduler::apply`] takes one event, [`Scheduler::advance`] lets time pass; both
//! append [`Effect`]s for the shell to carry out. A rejected event changes nothing. One task owns it.
//!
//! How a case moves: *pending* → (granted) *leased* → *settled*; from leased back to pending when its worker
//! goes, or by way of *delayed* when a failed attempt is to be tried again.
//!
//! Which run comes next: see `order.rs`. Within a run: higher priority first, then the longer estimate. Each
//! worker is first filled to its slots, one case at a time to the worker with most room; then it gets cases
//! ahead, so many that its slots do not wait for the next lease. A long case, and one of a test group, is not
//! given ahead. While it is the next, only short ones of its own run are, and only while enough of them are left
//! for the end: else there would be no free slot for it. A case whose binary the worker holds is preferred while
//! those before it can wait. When nothing is pending, idle slots take over what waits at other workers, then
//! start second copies of cases that run unusually long.
//!
//! No decision looks at all workers or all cases: what is asked of either is kept in an index, so that the cost
//! of an outcome hardly grows with the farm.
//!
//! Deliberately absent: preemption (what runs is let to its end; a lease is short), the speed of workers
//! (history is free of it, and a slow worker asks less often), and persistence (the shell keeps what it needs
//! for [`Event::RunRestored`]).

mod attempts;
mod class;
mod effect;
mod event;
mod grant;
mod invariants;
mod lane;
mod learned;
mod mutation;
mod names;
mod order;
mod pick;
mod policy;
mod process;
mod recovery;
mod request;
mod run;
mod runs;
mod scheduler;
mod share;
mod spare;
#[cfg(test)]
mod tests;
mod witness;
mod worker;
mod workers;

pub use effect::{CaseGrant, Effect, GrantReason, LossCause, StopReason};
pub use event::{CordonReason, Event, Rejected};
pub use invariants::Violation;
#[cfg(feature = "mutations")]
pub use mutation::Mutation;
pub use names::INVARIANTS;
pub use policy::{Hedge, Policy};
pub use process::WorkerProcess;
pub use recovery::Recovery;
pub use request::{InvalidRunPriority, PlannedBinary, PlannedCase, RunPriority, RunRequest};
pub use scheduler::Scheduler;
pub use witness::Witness;
