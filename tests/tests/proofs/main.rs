//! The tools that look for wrong reuse find it: with programs in the place of `thresh` that reuse wrongly, or do not.

mod program;
mod replay;
mod soundness;
