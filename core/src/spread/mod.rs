//! How a blob spreads among the workers of a site: who takes it from where.
//!
//! A site is a number of workers that reach each other faster than the coordinator. Of each blob only a few of them take
//! a copy from where blobs are kept; the others take it from those who have it by then, so that the number of copies
//! grows fourfold with each round (each gives three at a time), and what a site needs of the coordinator's uplink does not grow with the site.
//!
//! Invariants: nobody gives more than [`SpreadPolicy::gives_max`] blobs at a time; nobody is sent to itself or to whom it
//! has found unable; every wish is answered: at the latest after [`SpreadPolicy::patience`], by the store.
//!
//! Absent: who holds what is a hint. A worker that has dropped a blob, or is gone, is found out by whoever is sent to
//! it, and is not named again, for this blob or another, before it says anew what it has.

mod policy;
mod state;
#[cfg(test)]
mod tests;

pub use policy::SpreadPolicy;
pub use state::{Assigned, Source, Spread, Wish};
