//! How long a test case may take, from history.
//!
//! The estimate of a case is a high quantile of its past durations, the latest counting most; a case without
//! history takes a higher quantile over its binary's cases, else over its package's, else over the whole
//! suite's, so that an unknown case is planned early rather than last. Durations are first divided by the
//! speed of the worker that measured them, so that the history of one machine type serves another.

mod estimates;
mod quantile;
mod speed;

pub use estimates::{CaseSamples, Estimate, EstimateSource, Estimates, Sample};
