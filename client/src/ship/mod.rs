//! Bringing the inputs of a run to a farm.
//!
//! [`Shipment::new`] names every file that the cases may need, by digest, in manifests; [`upload()`] sends the
//! blobs that the farm does not have. In-place runs ship nothing.

mod shipment;
mod upload;

pub use shipment::{BlobSource, ShipError, Shipment};
pub use upload::{UploadError, UploadProgress, upload};
