//! From the shard's file to the file of its reports.

use std::fs;
use std::path::{Component, Path, PathBuf};

use prost::Message;
use thresh_proto::convert::InvalidMessage;
use thresh_proto::v1::{Lease, PlacedTree, RunBrief, Shard};

use super::error::ShardError;
use super::script::Script;
use crate::session::{GivenTree, GivenTrees, Shipped, Worker, WorkerConfig};

/// The folder for the worker's own files, made beside the trees.
const SCRATCH: &str = "thresh-scratch";

/// Executes the shard in file `shard` of the run in file `run`. Its trees lie below `folder`. Writes what came of its cases to
/// `out`.
///
/// Cases run one after the other. Afterwards nothing of them runs.
///
/// # Errors
/// The files cannot be read or written, or no worker can be started here. Then nothing is known of the cases.
pub async fn execute(folder: &Path, run: &Path, shard: &Path, out: &Path) -> Result<(), ShardError> {
    let here = fs::canonicalize(folder).map_err(ShardError::file("find", folder))?;
    let Opened { run, lease, trees } = open(&here, (run, &read(run)?), (shard, &read(shard)?))?;
    let shipped = Shipped {
        given: Some(GivenTrees {
            trees,
            // Engines that make the input root the root make it for each action.
            root_is_own: here == Path::new("/"),
        }),
        // The engine's machine is the engine's to look after.
        free_bytes_min: 0,
        ..Shipped::in_folder(here.join(SCRATCH))
    };
    let platform = platform(&run);
    let config = WorkerConfig {
        reconnect: false,
        // Nobody asks what is seen on an engine's machine.
        observe: false,
        ..WorkerConfig::on_a_farm("shard", 1, platform, shipped)
    };
    let script = Script::new(run, lease);
    let mut worker = Worker::start(script.serve(), config);
    tokio::select! {
        () = script.done() => {}
        // Before all cases are done only for a reason.
        ended = worker.ended() => ended?,
    }
    worker.stop();
    if let Err(error) = worker.ended().await {
        tracing::warn!("failed to {error}");
    }
    let reports = script.reports().encode_to_vec();
    fs::write(out, reports).map_err(ShardError::file("write", out))
}

/// A shard and its run, checked as far as it can be before a worker reads them.
pub(super) struct Opened {
    pub(super) run: RunBrief,
    pub(super) lease: Lease,
    pub(super) trees: Vec<GivenTree>,
}

/// Reads a run and a shard, whose trees lie below folder `here`. Each comes with the file that it is in.
pub(super) fn open(here: &Path, run: (&Path, &[u8]), shard: (&Path, &[u8])) -> Result<Opened, ShardError> {
    let run = decode(run)?;
    let Shard {
        lease,
        trees,
        salt: _,
    } = decode(shard)?;
    let lease = lease
        .filter(|lease| !lease.cases.is_empty())
        .ok_or_else(|| InvalidMessage::new("shard.lease", "is missing or has no case"))?;
    let trees = trees.into_iter().map(|tree| given(tree, here));
    Ok(Opened {
        run,
        lease,
        trees: trees.collect::<Result<_, _>>()?,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, ShardError> {
    fs::read(path).map_err(ShardError::file("read", path))
}

fn decode<M: Message + Default>((path, bytes): (&Path, &[u8])) -> Result<M, ShardError> {
    M::decode(bytes).map_err(|cause| ShardError::Unreadable {
        path: path.to_owned(),
        cause,
    })
}

fn platform(run: &RunBrief) -> String {
    let header = run.header.as_ref();
    header.map_or_else(WorkerConfig::native_platform, |header| header.platform.clone())
}

fn given(tree: PlacedTree, here: &Path) -> Result<GivenTree, InvalidMessage> {
    let is_normal = |path: &Path| {
        path.components()
            .all(|part| matches!(part, Component::Normal(_) | Component::RootDir))
    };
    let (path, at) = (PathBuf::from(tree.path), PathBuf::from(tree.at));
    if !path.is_absolute() || !is_normal(&path) {
        return Err(InvalidMessage::new(
            "shard.trees.path",
            "is no absolute path without `..`",
        ));
    }
    if at.is_absolute() || !is_normal(&at) {
        return Err(InvalidMessage::new(
            "shard.trees.at",
            "is no path below the runner's folder",
        ));
    }
    Ok(GivenTree {
        path,
        from: here.join(at),
    })
}
