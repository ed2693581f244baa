//! Connections: a real coordinator with 200 workers that one process plays, and clients that follow their runs.

mod client;
mod farm;
mod measure;
mod session;
mod worker;

pub(super) use measure::measure;
