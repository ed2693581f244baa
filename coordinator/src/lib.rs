//! The coordinator: an async shell around the scheduler of thresh-core.
//!
//! [`Coordinator`] opens the [`store`], starts the driver (the one task that owns the scheduler) and the
//! recorder (the one that writes history) and, on a farm, the committer (the one that makes decisions durable
//! before they leave), and serves the gRPC services `Runs`, `Work`, `Blobs`, `Records` and `Sites`, and on a farm the Remote Execution
//! API (`reapi`), over any connections: a listener's, or in-memory ones of the same process.
//!
//! What is kept in memory: runs that go on with all their events, and those that ended within the last 3 min. On a
//! farm a coordinator that starts takes both from the journal, which is all that it needs to carry them on.
//!
//! Deliberately absent: scheduling decisions (`thresh_core::schedule`), starting processes (`thresh-worker`),
//! building and listing (`thresh-client`), authentication.

mod audit;
mod bucket;
mod clock;
mod committer;
mod coordinator;
mod demand;
mod driver;
mod engine;
mod external;
mod peers;
mod reapi;
mod recorder;
mod remote;
mod restore;
mod services;
pub mod store;
mod sweeper;

pub use bucket::{BucketAddress, BucketError, InvalidBucket};
pub use coordinator::{BLOBS, Coordinator, CoordinatorConfig, ServeError, StartError};
pub use engine::{Content, Delivered, Delivery, Engine, EngineConfig, EngineError, File as EngineFile};
pub use remote::{InvalidAddress, RemoteAddress};
pub use services::{ATTEMPTS_MAX, RUNS_MAX};
