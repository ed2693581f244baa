//! What the cases of a run need before they can start.
//!
//! [`Inputs`] lives as long as the worker, a [`Preparation`] as long as a run is known. It brings the run's own
//! inputs into place once, runs the run's setup scripts once, then brings in the inputs of each binary as its
//! cases are leased, and hands out a [`Ready`] run. When the last of these is dropped, the run's folders go.
//!
//! Two modes: in place, where cases run on the client's files, and shipped, where trees are built from blobs, or given by an
//! engine whose action this is.
//! Shipped source trees and folders are hard links into the blob store below an overlay, shared between runs; the target folder is
//! made of copies, because files are added to it while cases run. Isolated cases have overlays over it all the same: the
//! kernel leaves open what a change below an overlay looks like to who has looked there before, so a file is only ever
//! added, under a new name and whole, before a case starts that needs it.
//! On machines without mount namespaces every tree is a copy, and the client's paths are replaced by the
//! trees' paths in arguments and variables.
//!
//! Invariants: no case can write to the blob store through its inputs; a blob is verified before it is used;
//! nothing of a run is left in the data folder when the run is over.
//!
//! Deliberately absent: deciding when to prepare (the session).

mod assembly;
mod brief;
mod data_dir;
mod elsewhere;
mod environment;
mod error;
mod fetch;
mod fill;
mod given;
mod janitor;
mod neighbours;
mod on_demand;
mod peers;
mod place;
mod preparation;
mod ready;
mod remap;
mod setup;
mod shipped;
mod source;
mod supply;
#[cfg(test)]
pub(crate) mod testing;
mod trees;

pub(crate) use brief::Brief;
pub use error::DataDirError;
pub(crate) use error::PrepareError;
#[cfg(test)]
pub(crate) use peers::PeerServer;
pub(crate) use preparation::{News, Preparation};
pub(crate) use ready::Ready;
pub(crate) use source::Inputs;
