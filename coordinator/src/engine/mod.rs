//! An engine of the Remote Execution API in a worker's place: shards go there as actions.
//!
//! ```text
//! client ─ deliver ─► Blobs ─ FindMissing, upload ─► engine
//! driver ─ lease ─► slot ─► Shard file + input root ─ Execute ─► engine: thresh shard ─► ShardReports ─► driver
//! ```
//!
//! To the driver each slot of the engine is a worker of one slot, so scheduling, retries, estimates and takeover are the same.
//! What a worker says case by case comes here when the action has ended. An action runs `thresh shard`, which is a worker with
//! one lease: cases see what they would see on any other worker.
//!
//! * Outcomes are never the engine's to remember: every action is salted and `do_not_cache`. Passes are reused case by case,
//!   through [`external`](crate::external).
//! * What the engine cannot do (no room, no machine, an action that goes down) is never a failure of a case: its cases
//!   come back, and those of an action that went down are tried one by one.
//!
//! Deliberately absent: chunks (the API's own splitting is optional, and rare), debug sections on demand.

mod blobs;
mod content;
mod error;
mod execution;
mod inputs;
mod names;
mod offer;
mod shard;
mod slot;
mod suspects;
#[cfg(test)]
mod tests;
mod upload;

pub use content::{Content, Delivery, File};
pub use error::EngineError;
pub use offer::{Delivered, Engine, EngineConfig};
