//! A lease as a program of its own: what an engine of the Remote Execution API executes as one action.
//!
//! [`execute()`] reads a [`Shard`](thresh_proto::v1::Shard), plays the coordinator to a worker in this process that has just this
//! lease, and writes what it reported. So everything about a case (its environment, timeouts, isolation, what is
//! left of it when it has ended) is as on any other worker.
//!
//! Deliberately absent: retries and all else that decides; whoever made the shard reads the reports and decides.

mod error;
mod execute;
mod script;
#[cfg(test)]
mod tests;

pub use error::ShardError;
pub use execute::execute;
