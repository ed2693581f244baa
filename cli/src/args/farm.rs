//! Flags that name a farm, and the farm's own parts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};
use thresh_coordinator::store::Location;
use thresh_coordinator::{BucketAddress, RemoteAddress};
use thresh_core::schedule::{Policy, RunPriority};
use thresh_worker::sandbox::{Isolation, Level, Limits, Network, Scratch};

use crate::engine::property;
use crate::farm_address::FarmAddress;

/// Flags that name a farm.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct FarmArgs {
    /// The coordinator's address, like http://farm:8980, or several with commas between where others stand by;
    /// without it all happens on this machine
    #[arg(long, value_name = "URL", env = "THRESH_FARM", help_heading = "Farm")]
    pub(crate) farm: Option<String>,
    /// Whose history this is; by default the origin of the git repository
    #[arg(long, value_name = "NAME", env = "THRESH_PROJECT", help_heading = "Farm")]
    pub(crate) project: Option<String>,
}

/// Flags that name an engine.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct EngineArgs {
    /// Have an engine of the Remote Execution API, reapi://HOST:PORT[/INSTANCE], run the cases, shard by shard as actions; -j
    /// says how many at a time (16). Passes are reused through its cache, unless --reuse-from names another
    #[arg(
        long = "engine",
        value_name = "URL",
        env = "THRESH_ENGINE",
        conflicts_with = "farm",
        help_heading = "Farm"
    )]
    pub(crate) url: Option<String>,
    /// What the engine's machines have to be, as it knows them: OSFamily=linux, or container-image=… Can be repeated
    #[arg(long = "engine-property", value_name = "NAME=VALUE", value_parser = property, help_heading = "Farm")]
    pub(crate) properties: Vec<(String, String)>,
}

/// How a run stands to others on a farm.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct StandingArgs {
    /// What the run is for: speculative, interactive, trunk, gate or trunk-fix. A later one in this list is
    /// always served before an earlier one
    #[arg(
        long = "run-priority",
        value_name = "PRIORITY",
        env = "THRESH_RUN_PRIORITY",
        default_value_t,
        help_heading = "Farm"
    )]
    pub(crate) priority: RunPriority,
    /// When the verdict is wanted, like 10m or 90s from now. A run that is pressed goes before others of its
    /// priority, unless its deadline could not be met from the start
    #[arg(long, value_name = "TIME", value_parser = deadline, help_heading = "Farm")]
    pub(crate) deadline: Option<Duration>,
    /// Who asks: submitters get equal parts of a farm; by default the user's name
    #[arg(long, value_name = "NAME", env = "THRESH_SUBMITTER", help_heading = "Farm")]
    pub(crate) submitter: Option<String>,
}

/// Reads when a verdict is wanted.
fn deadline(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("there has to be some time until then, like 10m".to_owned()),
        Ok(duration) => Ok(duration),
        Err(cause) => Err(cause.to_string()),
    }
}

/// `thresh coordinator`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CoordinatorArgs {
    /// Where to listen. There is no authentication yet: keep it inside a trusted network
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8980")]
    pub(crate) listen: SocketAddr,
    /// Folder for blobs, and for the database if --store names no other
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) data: PathBuf,
    /// The database for history, reusable passes and the runs that go on: postgres://USER@HOST/DATABASE, or the
    /// path of a file. Further coordinators on the same database stand by, and the first of them takes over
    /// when the one that serves is gone; they need the same blobs
    #[arg(long, value_name = "URL", env = "THRESH_STORE")]
    pub(crate) store: Option<Location>,
    /// An S3-compatible object store, s3://BUCKET[/PREFIX], in which blobs are kept besides. Workers read them there, and
    /// not through the coordinator; a coordinator on another machine finds them. AWS_* variables name the store
    /// (AWS_ENDPOINT_URL, AWS_REGION) and who asks. One farm a prefix
    #[arg(long = "blobs", value_name = "URL", env = "THRESH_BLOBS")]
    pub(crate) bucket: Option<BucketAddress>,
    /// How much disk the blobs may take, in GiB: beyond it what was longest unused is dropped, but nothing that a run
    /// needs
    #[arg(long, value_name = "GIB", default_value_t = 50)]
    pub(crate) blobs_max_gib: u64,
    /// A cache of the Remote Execution API, reapi://HOST:PORT[/INSTANCE], in which passes of cases are looked up and
    /// stored besides the database
    #[arg(long, value_name = "URL", env = "THRESH_REUSE_FROM")]
    pub(crate) reuse_from: Option<RemoteAddress>,
    /// A submitter's part of the farm, in relation to others that wait with the same priority; 1 for whoever is
    /// not named. Can be given for several
    #[arg(long = "share", value_name = "NAME=WEIGHT", value_parser = share)]
    pub(crate) shares: Vec<(String, u32)>,
}

/// Reads a submitter and its weight.
fn share(text: &str) -> Result<(String, u32), String> {
    let (name, weight) = text
        .rsplit_once('=')
        .ok_or("expected NAME=WEIGHT, like release=3")?;
    if name.is_empty() {
        return Err("a submitter has a name".to_owned());
    }
    match weight.parse() {
        Ok(0) => Err("a weight is at least 1".to_owned()),
        Ok(weight) => Ok((name.to_owned(), weight)),
        Err(cause) => Err(format!("weight `{weight}`: {cause}")),
    }
}

/// `thresh worker`.
#[derive(Clone, Debug, Args)]
pub(crate) struct WorkerArgs {
    /// The coordinator's address, like http://farm:8980, or several with commas between where others stand by
    #[arg(long, value_name = "URL", env = "THRESH_FARM")]
    pub(crate) farm: FarmAddress,
    /// How many cases to run at once; by default one for each core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(Policy::SLOTS_MAX)))]
    pub(crate) slots: Option<u32>,
    /// Folder for inputs and scratch files; by default below the state folder
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) data: Option<PathBuf>,
    /// How reports name this worker; by default its host name
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Where other workers of the site reach this one, which listens there: they fetch blobs from each other, and only
    /// a few from the coordinator
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = peers)]
    pub(crate) peers: Option<SocketAddr>,
    /// Whose workers reach each other faster than the coordinator
    #[arg(long, value_name = "NAME", default_value = "default", requires = "peers", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) site: String,
    #[command(flatten)]
    pub(crate) isolation: IsolationArgs,
}

/// Reads where others reach a worker.
fn peers(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| {
        "expected a numeric address and a port, like 10.0.0.7:8981 or [fd00::7]:8981".to_owned()
    })?;
    if address.ip().is_unspecified() || address.port() == 0 {
        return Err("others have to reach it: name this machine's own address and a port".to_owned());
    }
    Ok(address)
}

/// How a worker keeps cases from its machine and from one another.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Isolation")]
pub(crate) struct IsolationArgs {
    /// How far. none: cases see what others of their run wrote. private: what a case writes to the run's folders is
    /// gone with it, its processes end with it, it gets no further privileges and does not see this worker's folder.
    /// sealed: besides, it cannot write to the machine, sees no home folders, and has a loopback network only
    #[arg(long, value_name = "LEVEL", default_value_t = Level::Private)]
    pub(crate) isolation: Level,
    /// Which network cases have: host (without cloud metadata services and the farm), loopback or none; by default
    /// host, and with --isolation sealed loopback
    #[arg(long, value_name = "NETWORK")]
    pub(crate) network: Option<Network>,
    /// Where what cases write to the run's folders is kept while they run: memory (at most half of the machine's for
    /// a case) or disk, which costs some milliseconds more for each case
    #[arg(long, value_name = "WHERE", default_value_t = Scratch::Memory)]
    pub(crate) scratch: Scratch,
    /// A folder that cases do not see; may be given several times. This worker's own and the state folder are hidden anyway: name
    /// those of other workers and of a coordinator on this machine
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) hide: Vec<PathBuf>,
    /// How much memory a case may use with all its processes, in MiB; beyond it the kernel kills. Without control groups, or
    /// with --isolation none: each of its processes
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    pub(crate) case_memory_mib: Option<u64>,
    /// How many processes and threads a case may have at a time; needs control groups
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) case_processes: Option<u32>,
    /// How much CPU time each process of a case may use, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) case_cpu_seconds: Option<u64>,
}

impl IsolationArgs {
    /// A flag that was given and says nothing, as what it asks for is isolation.
    pub(crate) fn in_vain(&self) -> Option<&'static str> {
        if self.isolation != Level::None {
            return None;
        }
        let given = [
            ("--hide", !self.hide.is_empty()),
            ("--network", self.network.is_some()),
            ("--case-processes", self.case_processes.is_some()),
        ];
        given
            .iter()
            .find_map(|(flag, is_given)| is_given.then_some(*flag))
    }

    /// What they say. No case sees the folder `state` or may connect to what is `unreachable`.
    pub(crate) fn isolation(&self, state: Option<PathBuf>, unreachable: Vec<SocketAddr>) -> Isolation {
        Isolation {
            level: self.isolation,
            network: self.network,
            limits: Limits {
                memory_bytes: self.case_memory_mib.map(|mib| mib << 20),
                processes: self.case_processes,
                cpu_seconds: self.case_cpu_seconds,
            },
            scratch: self.scratch,
            hidden: self.hide.iter().cloned().chain(state).collect(),
            unreachable,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        isolation: IsolationArgs,
    }

    #[test]
    fn what_does_nothing_without_isolation_is_named() {
        let named = |level, flag: &str, value| {
            let line = ["worker", "--isolation", level, flag, value];
            Line::try_parse_from(line).unwrap().isolation.in_vain()
        };
        assert_eq!(named("none", "--case-processes", "9"), Some("--case-processes"));
        assert_eq!(named("private", "--case-processes", "9"), None);
        for flag in ["--case-memory-mib", "--case-cpu-seconds"] {
            assert_eq!(
                named("none", flag, "9"),
                None,
                "each process has the limit for itself"
            );
        }
        assert_eq!(named("none", "--hide", "/x"), Some("--hide"));
        assert_eq!(named("none", "--network", "none"), Some("--network"));
        assert_eq!(named("none", "--scratch", "disk"), None);
    }
}
