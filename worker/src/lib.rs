//! The worker: leases in, sandboxed test processes, outcomes out.
//!
//! - [`session`]: the connection to the coordinator. [`Worker::start`] is where everything begins.
//! - `inputs`: what the cases of a run need before they can start.
//! - `slots`: the threads that run cases.
//! - [`exec`]: one process, from its start to its outcome.
//! - [`observe`]: what a case's processes read.
//! - `outputs`: what actions leave behind. `removal`: removing what cases have left.
//! - [`shard`]: a lease as a program of its own, for engines of the Remote Execution API.
//! - [`sandbox`]: a run's folders at the paths that they have on the client.
//!
//! Deliberately absent: the scheduler's decisions (the coordinator's), the session's (in `thresh-core`), and
//! anything that knows a test harness beyond how its arguments are put together.

pub mod exec;
mod inputs;
pub mod observe;
mod outputs;
mod removal;
pub mod sandbox;
pub mod session;
pub mod shard;
mod slots;

pub use exec::OutputLimit;
pub use inputs::DataDirError;
pub use session::{
    Coordinator, GivenTree, GivenTrees, InputsMode, Shipped, Site, Worker, WorkerConfig, WorkerError,
    WorkerHandle,
};
