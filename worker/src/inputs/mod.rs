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
mod copy;
mod data_dir;
mod elsewhere;
mod environment;
mod error;
mod fetch;
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
mod supply;
#[cfg(test)]
pub(crate) mod testing;
mod trees;

use crate::exec::OutputLimit;
use crate::session::{Coordinator, InputsMode};
use shipped::ShippedInputs;

pub(crate) use brief::Brief;
pub use error::DataDirError;
pub(crate) use error::PrepareError;
#[cfg(test)]
pub(crate) use peers::PeerServer;
pub(crate) use preparation::{News, Preparation};
pub(crate) use ready::Ready;

/// Where the worker's inputs come from. Clones are cheap and share everything.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    mode: Mode,
    output_limit: OutputLimit,
}

#[derive(Clone, Debug)]
enum Mode {
    InPlace,
    Shipped(Box<ShippedInputs>),
}

impl Inputs {
    /// Opens what `mode` needs. Blocks.
    pub(crate) fn open(
        mode: &InputsMode,
        coordinator: &Coordinator,
        output_limit: OutputLimit,
    ) -> Result<Self, DataDirError> {
        let mode = match mode {
            InputsMode::InPlace => Mode::InPlace,
            InputsMode::Shipped(settings) => {
                Mode::Shipped(Box::new(ShippedInputs::open(settings, coordinator.clone())?))
            }
        };
        Ok(Self { mode, output_limit })
    }

    /// Whether cases run where the client's files are.
    pub(crate) fn in_place(&self) -> bool {
        matches!(self.mode, Mode::InPlace)
    }

    /// Why cases see the client's folders at other paths here; `None` when they do not.
    pub(crate) fn remap_cause(&self) -> Option<&str> {
        match &self.mode {
            Mode::InPlace => None,
            Mode::Shipped(shipped) => shipped.remap_cause(),
        }
    }

    /// What of the isolation that is wanted cannot be had here, and why.
    pub(crate) fn shortfalls(&self) -> &[String] {
        match &self.mode {
            Mode::InPlace => &[],
            Mode::Shipped(shipped) => shipped.shortfalls(),
        }
    }

    /// Waits until the folders of all dropped runs are gone. Blocks.
    pub(crate) fn close(self) {
        if let Mode::Shipped(shipped) = self.mode {
            shipped.close();
        }
    }
}
