//! A farm in one thread: the real scheduler and the real session of every worker over a modelled network.
//!
//! [`Simulation`] draws a whole farm from one seed (machines, runs, clients, faults) and plays it event by event
//! on a virtual clock. After every event the scheduler checks its own state, a
//! [`Witness`](thresh_core::schedule::Witness) checks what it did over time, and a ledger what only an onlooker
//! of both sides can see. The same seed gives the same transcript, byte for byte.
//!
//! Modelled here, and not real: the shells. A coordinator gathers what has arrived, applies it, commits the batch
//! to a journal and only then lets its effects leave; a crash in between loses either the batch or only its
//! effects. A worker has processes, a clock of its own and a disk.
//!
//! Deliberately absent: blobs and output, which decide nothing.

mod clock;
mod commit;
mod coordinator;
mod counts;
mod draw;
mod fault;
mod follow;
mod journal;
mod ledger;
mod live;
mod machine;
mod message;
mod network;
mod process;
mod random;
mod simulation;
mod step;
mod weather;
mod workload;
mod world;

pub use counts::Counts;
pub use random::Random;
pub use simulation::{Played, Simulation};
