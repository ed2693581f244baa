//! How a worker is set up.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::exec::OutputLimit;
use crate::sandbox::{Isolation, Level};

/// How a worker is set up.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// For people: shown in reports and kept in the history.
    pub name: String,
    /// How many processes run at once, at least 1. The coordinator may refuse very many.
    pub slots: u32,
    /// The target triple whose binaries it can run.
    pub platform: String,
    /// Where the inputs of its cases come from.
    pub inputs: InputsMode,
    /// How much of each stream of a process is kept.
    pub output_limit: OutputLimit,
    /// Whether to connect again when a session is over. An embedded worker ends instead.
    pub reconnect: bool,
    /// How long to go on trying to reach a coordinator that cannot be reached.
    pub patience: Duration,
    /// Whether this process is a worker and nothing else, so that it may adopt and reap orphans.
    pub dedicated: bool,
    /// Whether to observe what cases depend on, where that can be had and somebody wants to know.
    pub observe: bool,
}

impl WorkerConfig {
    /// How long to go on trying to reach a coordinator by default: 10 min.
    pub const PATIENCE_DEFAULT: Duration = Duration::from_secs(600);

    /// Settings of a worker inside the client's process: cases run where the client's files are, and the
    /// worker ends with its first session.
    pub fn in_place(name: impl Into<String>, slots: u32, platform: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            slots,
            platform: platform.into(),
            inputs: InputsMode::InPlace,
            output_limit: OutputLimit::default(),
            reconnect: false,
            patience: Self::PATIENCE_DEFAULT,
            dedicated: false,
            observe: false,
        }
    }

    /// Settings of a worker process on a farm.
    pub fn on_a_farm(
        name: impl Into<String>,
        slots: u32,
        platform: impl Into<String>,
        shipped: Shipped,
    ) -> Self {
        Self {
            inputs: InputsMode::Shipped(Box::new(shipped)),
            reconnect: true,
            dedicated: true,
            observe: true,
            ..Self::in_place(name, slots, platform)
        }
    }

    /// The target triple that programs of this machine usually have.
    pub fn native_platform() -> String {
        format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
    }
}

/// Where the inputs of a worker's cases come from.
#[derive(Clone, Debug)]
pub enum InputsMode {
    /// The client's own files, where they are. The worker takes in-place runs, and only those.
    InPlace,
    /// The coordinator's blobs. The worker takes runs whose inputs were shipped, and only those.
    Shipped(Box<Shipped>),
}

/// How shipped inputs are kept.
#[derive(Clone, Debug)]
pub struct Shipped {
    /// The worker's own folder: blobs kept for later runs, and a folder for each run. One worker a folder.
    pub data_dir: PathBuf,
    /// Between runs the blobs that were unused longest are dropped until at most so many bytes are kept.
    pub cache_bytes_max: u64,
    /// With less free space than this on its disk the worker prepares nothing and is cordoned.
    pub free_bytes_min: u64,
    /// How cases are isolated. The worker's own folder is hidden from them besides.
    pub isolation: Isolation,
    /// Other workers that blobs are fetched from and given to.
    pub site: Option<Site>,
    /// Set: the trees of the one run that there will be are here already; nothing is fetched.
    pub given: Option<GivenTrees>,
}

/// Workers that reach each other faster than the coordinator, and give blobs to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its name. Workers of other names are not asked.
    pub name: String,
    /// Where this worker listens, and others reach it.
    pub address: SocketAddr,
}

/// What somebody else has brought to this machine for a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenTrees {
    /// All that the run's cases see.
    pub trees: Vec<GivenTree>,
    /// Whether the root of the file system is this process's own, and gone with it, so that anything may be made there.
    pub root_is_own: bool,
}

/// A tree of a run that somebody else has brought to this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenTree {
    /// Where the client has it: an absolute path, without `..`.
    pub path: PathBuf,
    /// Where it is here. It is never written to.
    pub from: PathBuf,
}

impl Shipped {
    /// Bytes of blobs kept for later runs by default: 20 GiB.
    pub const CACHE_BYTES_MAX_DEFAULT: u64 = 20 << 30;
    /// Free space that a worker needs by default: 64 MiB.
    pub const FREE_BYTES_MIN_DEFAULT: u64 = 64 << 20;

    /// Keeps inputs in `data_dir`, within the default limits, and isolates privately.
    pub fn in_folder(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            cache_bytes_max: Self::CACHE_BYTES_MAX_DEFAULT,
            free_bytes_min: Self::FREE_BYTES_MIN_DEFAULT,
            isolation: Isolation::at(Level::Private),
            site: None,
            given: None,
        }
    }
}
