//! Bringing the inputs of a run to a farm.
//!
//! [`Shipment::new`] names every file that the cases may need, by digest, in manifests; [`upload()`] sends the
//! blobs that the farm does not have, and of large ones the chunks that it does not have. A [`Memory`] of what was
//! shipped before makes it less: a chunk is packed against those of the version before. In-place runs ship nothing.

mod content;
mod large;
mod memory;
mod put;
mod shipment;
mod short;
mod upload;

pub use memory::{Memory, Shipped};
pub use shipment::{BlobSource, ShipError, Shipment};
pub use upload::{UploadError, UploadProgress, Uploaded, upload};
