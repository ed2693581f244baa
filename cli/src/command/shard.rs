//! `thresh shard`: what an engine executes.

use std::path::Path;

use crate::args::ShardArgs;
use crate::failure::Failure;

/// Executes a shard and writes what came of it.
///
/// # Errors
/// Nothing is known of its cases.
pub(crate) async fn execute(args: ShardArgs) -> Result<(), Failure> {
    let executed = thresh_worker::shard::execute(Path::new("."), &args.run, &args.shard, &args.out).await;
    executed.map_err(|error| Failure::of(error.fault(), &error))
}
