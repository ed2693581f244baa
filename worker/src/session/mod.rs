//! A worker's side of its connection to the coordinator.
//!
//! [`Worker::start`] begins a task that connects, says hello, and then serves one session after another. What
//! happens in a session is decided by [`thresh_core::session::Session`]; this is its shell: it feeds it the
//! coordinator's messages, the slots' and preparations' words and the time, and carries out its effects.
//!
//! Invariants:
//!
//! * Time is told to the session before every event, so that a worker that was stopped for too long notices
//!   before it does or says anything.
//! * Everything to be sent belongs to one session and goes with it; the next connection is made only when every
//!   slot is idle and every setup script of the last session has ended.
//!
//! Deliberately absent: retries, and any knowledge of how inputs are had or processes are run.

mod backoff;
mod clock;
mod config;
mod connection;
mod coordinator;
mod effects;
mod error;
mod live;
mod messages;
mod outbox;
mod serve;
#[cfg(test)]
mod tests;
mod worker;

pub use config::{GivenTree, GivenTrees, InputsMode, Shipped, Site, WorkerConfig};
pub use coordinator::{ConnectError, Coordinator};
pub use error::WorkerError;
pub use worker::{Worker, WorkerHandle};
