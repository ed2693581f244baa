//! The coordinator's services over an in-memory transport, with scripted clients and workers.

#![expect(
    clippy::unwrap_used,
    reason = "a fault in a test's own helpers is a failed test"
)]

mod farm;
mod faults;
mod records;
mod remapped;
mod restart;
mod reuse;
mod runs;
mod steps;
