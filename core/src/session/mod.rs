//! The worker's side of the protocol: what to prepare, start, end and give back.
//!
//! A pure state machine over one connection to the coordinator. The shell feeds it what the coordinator says
//! and what processes do, and carries out its [`Effect`]s. When the connection is gone, or the coordinator has
//! been silent for longer than the lease's time to live, every process dies and the session is
//! [over](Effect::Over); the shell begins another one once all its slots are idle.
//!
//! Cases start in the order of their leases. A case waits until its inputs are there, without holding up
//! others; a case that takes several slots waits until they are free, and holds up those behind it.

mod effect;
mod event;
mod machine;
mod slots;
#[cfg(test)]
mod tests;

pub use effect::Effect;
pub use event::{Event, LeasedCase};
pub use machine::{Session, Terms};
pub use slots::Slots;
