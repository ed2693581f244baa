//! The threads that run cases.
//!
//! Each slot is one OS thread with one [`Executor`](crate::exec::Executor). The session tells a slot what to
//! start, and the slot says how it went; everything that can be done there (building the invocation, converting
//! the outcome) is done on the slot's thread, so that the session's task stays short.
//!
//! Deliberately absent: choosing the next case, which is the session's.

mod pool;
mod wire;

pub(crate) use pool::{Assignment, Pool, Said, Word};
pub(crate) use wire::output_to_wire;
