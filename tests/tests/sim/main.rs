//! Simulated farms: see `thresh_tests::sim`. `scripts/sim` plays more of them.

mod documented;
mod farms;
mod mutations;
