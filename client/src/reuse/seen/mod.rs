//! What passes were seen to read, and whether it is still so.
//!
//! A pass is kept with a record of all that its case read: each path, and in words what was there ([`SeenInputs`]). Under a
//! key of code, arguments, environment and platform the digests of such records are found ([`KnownInputs`]). If all that a
//! record says is still so, its digest stands in the case's key for all files, and the pass is found by that.
//!
//! On a farm the client compares what a worker met with what it has itself at the same paths: only where both are alike the record
//! is made, in the words of the client's files. It counts on farms only ([`Place`]). A worker's own system does not count
//! there, as it does not in a key with the whole workspace; files outside that count in such a key make the record unfit.
//!
//! A case that reads what another one writes depends on that one: it gets no record ([`Written`]).
//!
//! Why that is sound: a case with the same code, arguments and environment that finds the same in all places where it
//! looked last time does the same again, so it looks in the same places. What it may do otherwise without reading a file,
//! for the time of day, chance, the network or how its threads interleave, nobody sees, as with any other reuse.
//!
//! Deliberately absent: looking at processes (the worker's), and what makes an observation unfit (`thresh_core::observe`).

mod inputs;
mod kept;
mod known;
mod place;
mod state;
#[cfg(test)]
mod tests;
mod text;
mod written;

pub(crate) use inputs::SeenInputs;
pub(crate) use kept::{Kept, Learnt, learn};
pub(crate) use known::KnownInputs;
pub(crate) use place::{Place, Shipped};
pub(crate) use state::Programs;
pub(crate) use written::Written;
