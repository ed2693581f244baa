//! The scheduler: decides which worker runs which test case, and when.
//!
//! A pure state machine. [`Scheduler::apply`] takes one event, [`Scheduler::advance`] lets time pass; both
//! append [`Effect`]s for the shell to carry out. A rejected event changes nothing. One task owns it.
//!
//! How a case moves: *pending* → (granted) *leased* → *settled*; from leased back to pending when its worker
//! goes, or by way of *delayed* when a failed attempt is to be tried again.
//!
//! Order: higher priority first, then the longer estimate first. Each worker is first filled to its slots,
//! one case at a time to the worker with most room; then it gets cases ahead, enough short ones that its
//! slots do not wait for the next lease.
//!
//! Deliberately absent: priorities and fair shares between runs (runs are served in the order of their
//! submission), stealing, hedging, affinity to workers that hold a binary, and persistence.

mod apply;
mod effect;
mod event;
mod grant;
mod invariants;
mod policy;
mod run;
mod scheduler;
#[cfg(test)]
mod tests;
mod worker;

pub use effect::{CaseGrant, Effect, StopReason};
pub use event::{CordonReason, Event, PlannedCase, Rejected, RunRequest};
pub use invariants::Violation;
pub use policy::Policy;
pub use scheduler::Scheduler;
