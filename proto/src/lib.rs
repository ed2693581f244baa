//! The wire between client, coordinator and worker.
//!
//! [`v1`] is generated from `proto/thresh/v1/*.proto`. [`convert`] turns wire values into the core's types and
//! back; every message from outside passes through it, so nothing behind it sees an impossible value.

mod causes;
pub mod convert;
mod https;
mod in_process;
#[cfg(feature = "testing")]
pub mod testing;

pub use causes::causes;
pub use https::{Https, HttpsError};
pub use in_process::{Connections, Dialer, in_process};

/// The generated messages, clients and servers.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes,
    clippy::missing_errors_doc,
    reason = "generated; documented in the .proto files"
)]
pub mod v1 {
    tonic::include_proto!("thresh.v1");
}

/// The version of the protocol. Equal versions can talk; it grows with every change that an older part would
/// misunderstand.
pub const PROTOCOL: u32 = 7;

/// The longest message that a part accepts, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// The most data of chunks that one message carries, in bytes.
pub const FRAMES_BYTES_MAX: usize = 1 << 20;
