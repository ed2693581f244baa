//! Other programs that serve the Remote Execution API, asked with patience.
//!
//! Deliberately absent: what is asked of them. Caches of passes are asked by `external`, engines by `engine`.

mod address;
mod service;

pub use address::{InvalidAddress, RemoteAddress};
pub(crate) use service::{Patience, Remote, Takes, all_stored};
