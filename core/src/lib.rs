//! The decisions of Thresh: pure domain types and state machines.
//!
//! Nothing here reads a clock, a file, a socket, the environment or a random source; each of these is an
//! argument. Whatever decides (the scheduler, the worker's session, a verdict, a key) lives here and can be
//! tested with plain values; whatever acts lives in a shell crate (`coordinator`, `worker`, `client`).
//!
//! Deliberately absent: an async runtime, serialisation (see `thresh-proto`), hash maps (their order is
//! random), and any knowledge of Cargo or nextest.

pub mod case;
pub mod chunk;
pub mod digest;
pub mod environment;
pub mod estimate;
pub mod fault;
pub mod id;
pub mod observe;
pub mod outcome;
pub mod reading;
pub mod reuse;
pub mod schedule;
pub mod session;
pub mod spread;
pub mod time;
pub mod verdict;
