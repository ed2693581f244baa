//! Whether reuse is right: a real suite under `thresh`, with reuse and for real, and what the difference means.

mod judge;
mod suite;

pub use judge::{Settled, passes_for_real, settle, suspects};
pub use suite::{End, How, Run, Suite};
