//! Bringing the inputs of a run to a farm.
//!
//! [`Shipment::new`] names every file that the cases may need, by digest, in manifests; [`upload()`] sends the
//! blobs that the farm does not have, and of large ones the chunks that it does not have. A [`Memory`] of what was
//! shipped before makes it less: a chunk is packed against those of the version before. The debug sections of programs
//! travel apart, when a worker asks for them ([`supply()`]). In-place runs ship nothing. An engine that executes the
//! cases in a farm's place is a [`Depot`], which takes a shipment in its own way.

mod apart;
mod content;
mod depot;
mod large;
mod lean;
mod memory;
mod packer;
mod put;
mod shipment;
mod short;
mod supply;
mod upload;

pub use apart::LeanFile;
pub use depot::{Delivering, Depot};
pub use memory::{Memory, Shipped};
pub use packer::Memos;
pub use shipment::{BlobSource, ShipError, Shipment};
pub use supply::{Supplies, supply};
pub use upload::{UploadError, UploadProgress, Uploaded, upload};
