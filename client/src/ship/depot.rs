//! Another place than a farm's blobs to bring a run's inputs to.

use std::fmt;
use std::pin::Pin;

use super::shipment::Shipment;
use super::upload::{UploadError, UploadProgress};

/// The end of a delivery.
pub type Delivering<'a> = Pin<Box<dyn Future<Output = Result<(), UploadError>> + 'a>>;

/// A place that takes a run's inputs by itself: the engine that will execute its cases.
pub trait Depot: fmt::Debug {
    /// Brings everything there that the cases may need, blobs on demand included, and tells `progress` as it arrives.
    fn deliver<'a>(
        &'a self,
        shipment: &'a Shipment,
        progress: &'a mut dyn FnMut(UploadProgress),
    ) -> Delivering<'a>;
}
