//! `thresh replay`: what happened in a past run, rebuilt from what was recorded of it.
//!
//! ```text
//! timeline ─► Layout (who ran what when) ─► Links (what followed from what) ─► Replay ─► text, JSON, trace
//! ```
//!
//! Times of attempts are by their workers' clocks, those of grants by the coordinator's: between two machines they
//! may differ. Nothing here relies on their order; what would be negative is zero.

mod chart;
mod choice;
mod error;
mod idle;
mod json;
mod layout;
mod link;
mod past_run;
mod path;
mod show;
mod story;
mod timeline;
mod trace;

#[cfg(test)]
mod sample;

pub use choice::{InvalidRunChoice, RunChoice};
pub use error::ReplayError;
pub use past_run::{PastRun, latest_runs, write_runs};
pub use show::{ReplayOptions, write_replay};
pub use story::Replay;
pub use timeline::{Timeline, TimelineAttempt, timeline};
pub use trace::write_trace;
