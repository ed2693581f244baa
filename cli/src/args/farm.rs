//! Flags that name a farm, and the farm's own parts.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueHint};

/// Flags that name a farm.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct FarmArgs {
    /// The coordinator's address, like http://farm:8980; without it the run stays in this process
    #[arg(long, value_name = "URL", env = "THRESH_FARM", help_heading = "Farm")]
    pub(crate) farm: Option<String>,
    /// Whose history this is; by default the origin of the git repository
    #[arg(long, value_name = "NAME", env = "THRESH_PROJECT", help_heading = "Farm")]
    pub(crate) project: Option<String>,
}

/// `thresh coordinator`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CoordinatorArgs {
    /// Where to listen. There is no authentication yet: keep it inside a trusted network
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8980")]
    pub(crate) listen: SocketAddr,
    /// Folder for history, reusable passes and blobs
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) data: PathBuf,
}

/// `thresh worker`.
#[derive(Clone, Debug, Args)]
pub(crate) struct WorkerArgs {
    /// The coordinator's address, like http://farm:8980
    #[arg(long, value_name = "URL", env = "THRESH_FARM")]
    pub(crate) farm: String,
    /// How many cases to run at once; by default one for each core
    #[arg(long, value_name = "N")]
    pub(crate) slots: Option<u32>,
    /// Folder for inputs and scratch files; by default below the state folder
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) data: Option<PathBuf>,
    /// How reports name this worker; by default its host name
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}
