//! The one task that owns the scheduler, and what it needs to carry out the scheduler's effects.
//!
//! Everyone else holds a [`Handle`]. The task gathers commands, reads the clock once, feeds the scheduler, and
//! carries out what it says: events into the logs of runs, messages to workers, records to the
//! [`Recorder`](crate::recorder::Recorder). What others learn of leaves by the [`Outlet`]: on a farm only when
//! everything before it is in the journal. What the scheduler does not need to know (names, commands,
//! output) it keeps here, by position.
//!
//! Deliberately absent: decisions (`thresh_core::schedule`), validation (the services), waiting for the disk
//! (the recorder).

mod audit;
mod command;
mod effects;
mod followers;
mod handle;
mod link;
mod log;
mod outlet;
mod refusal;
mod reports;
mod run_state;
mod runs;
mod submission;
mod task;
mod unjournaled;
mod workers;

pub(crate) use command::{Confirmed, Joined, Measured, Report, ReportNews, Said, WorkerProfile};
pub(crate) use handle::Handle;
pub(crate) use log::{Chunk, RunLog};
#[cfg(test)]
pub(crate) use outlet::Departure;
pub(crate) use outlet::{JournalState, Outlet, Turn};
pub(crate) use refusal::Refusal;
pub(crate) use run_state::KEPT_AFTER_END;
pub(crate) use submission::{Audited, CasePlan, Submission};
pub(crate) use task::{Start, start};
