//! Where the inputs of runs come from.

use super::DataDirError;
use super::shipped::ShippedInputs;
use crate::exec::OutputLimit;
use crate::sandbox::Limits;
use crate::session::{Coordinator, InputsMode};

/// Where the worker's inputs come from. Clones are cheap and share everything.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    pub(super) mode: Mode,
    pub(super) output_limit: OutputLimit,
}

#[derive(Clone, Debug)]
pub(super) enum Mode {
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

    /// What a case may use where it is not isolated.
    pub(super) fn limits(&self) -> Limits {
        match &self.mode {
            Mode::InPlace => Limits::default(),
            Mode::Shipped(shipped) => shipped.limits(),
        }
    }

    /// Waits until the folders of all dropped runs are gone. Blocks.
    pub(crate) fn close(self) {
        if let Mode::Shipped(shipped) = self.mode {
            shipped.close();
        }
    }
}
