//! One module for each command.

pub(crate) mod affected;
pub(crate) mod audit;
pub(crate) mod cas;
pub(crate) mod coordinator;
pub(crate) mod document;
pub(crate) mod history;
pub(crate) mod list;
pub(crate) mod quarantine;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod shard;
pub(crate) mod worker;
