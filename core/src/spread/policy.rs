//! What is tuned.

use std::time::Duration;

/// How blobs spread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpreadPolicy {
    /// How many of a site take one blob from the store at a time.
    pub from_store_max: u32,
    /// How many blobs a worker gives to others at a time.
    pub gives_max: u32,
    /// How many are remembered to have a blob; of more the last ones.
    pub holders_max: usize,
    /// How long someone waits for a peer before it is sent to the store all the same.
    pub patience: Duration,
    /// How many blobs are remembered; of more the longest known are forgotten.
    pub blobs_max: usize,
}

impl Default for SpreadPolicy {
    fn default() -> Self {
        Self {
            from_store_max: 2,
            gives_max: 3,
            holders_max: 64,
            patience: Duration::from_secs(10),
            blobs_max: 100_000,
        }
    }
}
