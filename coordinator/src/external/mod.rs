//! Passes in a cache that others share: any cache of the Remote Execution API.
//!
//! A clean pass is the result of an action that nobody executes: its command is the case's key, its result says which
//! run passed. What the cache does not have, or does not answer in time, is not known: it costs reuse, no verdict.

mod cache;
mod entry;

pub(crate) use cache::ExternalCache;
