//! What can go wrong with an object store.

use thresh_core::fault::Fault;

use super::BucketAddress;

/// The object store could not be used.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The settings make no store.
    #[error("use {address}: {cause}; the store and its credentials are named by AWS_* variables")]
    Settings {
        /// The bucket.
        address: BucketAddress,
        /// What is wrong.
        cause: Box<object_store::Error>,
    },
    /// The store refuses, or does not answer.
    #[error("{action} {address}: {cause}")]
    Store {
        /// What was tried.
        action: &'static str,
        /// The bucket.
        address: BucketAddress,
        /// What it says.
        cause: Box<object_store::Error>,
    },
    /// What is to be copied cannot be read or sealed.
    #[error("copy blobs to {address}: {cause}")]
    Blobs {
        /// The bucket.
        address: BucketAddress,
        /// Why not.
        cause: String,
    },
}

impl BucketError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Settings { .. } => Fault::Input,
            Self::Store { .. } | Self::Blobs { .. } => Fault::Environment,
        }
    }
}
