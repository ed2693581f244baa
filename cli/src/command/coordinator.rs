//! `thresh coordinator`.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thresh_coordinator::{Coordinator, CoordinatorConfig, StartError};
use thresh_core::schedule::Policy;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::args::CoordinatorArgs;
use crate::failure::Failure;
use crate::interrupt::interrupts;

/// Who does not lead after this time is told to stand by.
const SOON: Duration = Duration::from_secs(2);

/// How soon a store that is away is asked for again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Serves a farm until the program is asked to end. While another coordinator leads on the same store, it stands
/// by, and listens nowhere.
///
/// # Errors
/// The address, the data folder or the store cannot be used.
pub(crate) async fn serve(args: CoordinatorArgs) -> Result<(), Failure> {
    let mut interrupts =
        interrupts().map_err(|cause| Failure::environment(format!("catch signals: {cause}")))?;
    let shares = shares(&args)?;
    raise_file_limit();
    let mut listen = args.listen;
    let mut has_led = false;
    loop {
        let mut starting = pin!(start(&args, &shares, has_led));
        let mut is_told = false;
        let started = loop {
            tokio::select! {
                started = &mut starting => break started,
                _ = interrupts.changed() => return Ok(()),
                () = tokio::time::sleep(SOON), if !is_told => {
                    is_told = true;
                    tell("standing by: another coordinator leads on this store, or the store does not answer");
                }
            }
        };
        let coordinator = started.map_err(|error| Failure::of(error.fault(), &error))?;
        has_led = true;
        let served = lead(&coordinator, &mut listen, &args, &mut interrupts).await;
        match served {
            Ok(End::Superseded) => {
                tell("the lead was lost; standing by");
                coordinator.give_up().await;
            }
            ended => {
                tokio::select! {
                    () = coordinator.shutdown() => {}
                    // Asked twice: the next coordinator finds what it needs in the journal.
                    _ = interrupts.changed() => {}
                }
                return ended.map(drop);
            }
        }
    }
}

/// Every pack of blobs is an open file, and so is every connection: as many as the system allows.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // Where it is not allowed the limit stays as it is.
    let _ = setrlimit(Resource::Nofile, raised);
}

/// Why a coordinator no longer serves.
enum End {
    /// It was asked to end.
    Asked,
    /// Another one leads.
    Superseded,
}

fn tell(news: &str) {
    // Nobody may read it.
    let _ = writeln!(std::io::stderr(), "thresh coordinator: {news}");
}

/// Waits for the lead. One that has led or stood by waits for its database and its object store, too: what was used
/// before is there.
async fn start(
    args: &CoordinatorArgs,
    shares: &BTreeMap<String, u32>,
    has_led: bool,
) -> Result<Coordinator, StartError> {
    let (mut is_told, begun) = (false, Instant::now());
    loop {
        match Coordinator::start(config(args, shares.clone())).await {
            Err(error) if (has_led || begun.elapsed() > SOON) && error.is_transient() => {
                if !std::mem::replace(&mut is_told, true) {
                    tell(&format!("waiting for the store: failed to {error}"));
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            started => return started,
        }
    }
}

/// The submitters' parts, each named once.
fn shares(args: &CoordinatorArgs) -> Result<BTreeMap<String, u32>, Failure> {
    let mut shares = BTreeMap::new();
    for (name, weight) in &args.shares {
        if let Some(other) = shares.insert(name.clone(), *weight) {
            let message = format!("start: --share names `{name}` twice, with {other} and with {weight}");
            return Err(Failure::input(message));
        }
    }
    Ok(shares)
}

fn config(args: &CoordinatorArgs, shares: BTreeMap<String, u32>) -> CoordinatorConfig {
    CoordinatorConfig {
        data_dir: args.data.clone(),
        store: args.store.clone(),
        policy: Policy {
            shares,
            ..Policy::default()
        },
        blobs: Some(args.blobs_max_gib.saturating_mul(1 << 30)),
        engine: None,
        bucket: args.bucket.clone(),
        reuse_from: args.reuse_from.clone(),
        version: crate::version::LONG.to_owned(),
    }
}

/// Serves at `listen`, which is made definite.
async fn lead(
    coordinator: &Coordinator,
    listen: &mut SocketAddr,
    args: &CoordinatorArgs,
    interrupts: &mut watch::Receiver<u32>,
) -> Result<End, Failure> {
    let listener = TcpListener::bind(*listen).await.map_err(|cause| {
        Failure::environment(format!(
            "listen on {listen}: {cause}; choose another address with --listen, or end what listens there"
        ))
    })?;
    *listen = listener
        .local_addr()
        .map_err(|cause| Failure::environment(format!("listen: {cause}")))?;
    let mut serving = tokio::spawn(coordinator.serve(listener));
    let data = args.data.display();
    let store = match &args.store {
        Some(store) => format!(", store {store}"),
        None => String::new(),
    };
    // Whoever started the program may wait for this line to learn the port.
    let _ = writeln!(
        std::io::stderr(),
        "thresh coordinator {} listens on http://{listen}, data in {data}{store}",
        crate::version::LONG,
    );
    tokio::select! {
        served = &mut serving => match served {
            Ok(Ok(())) => Ok(End::Asked),
            Ok(Err(error)) => Err(Failure::of(error.fault(), &error)),
            Err(cause) => Err(Failure::internal(format!("serve: {cause}"))),
        },
        () = coordinator.superseded() => Ok(End::Superseded),
        _ = interrupts.changed() => Ok(End::Asked),
    }
}
