//! `thresh worker`.

use std::io::Write;
use std::path::PathBuf;

use thresh_worker::{Coordinator, Shipped, Site, Worker, WorkerConfig};

use crate::args::WorkerArgs;
use crate::failure::Failure;
use crate::interrupt::interrupts;
use crate::options::state;

/// Works for a farm until the program is asked to end: once lets what runs finish, twice ends it.
///
/// # Errors
/// The farm refuses the worker or cannot be reached, or its folder cannot be used.
pub(crate) async fn work(args: WorkerArgs) -> Result<(), Failure> {
    if let Some(flag) = args.isolation.in_vain() {
        return Err(Failure::input(format!(
            "{flag} does nothing with --isolation none; leave one of them out"
        )));
    }
    let cores = std::thread::available_parallelism()
        .map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX));
    let slots = args.slots.unwrap_or(cores);
    let name = args.name.unwrap_or_else(host_name);
    let data = match args.data {
        Some(data) => data,
        None => default_data(&name)?,
    };
    let mut unreachable = args.farm.sockets().await;
    unreachable.extend(args.peers);
    // Without one there is nothing to hide.
    let state = state().ok().map(|state| state.root().to_owned());
    let isolation = args.isolation.isolation(state, unreachable);
    let level = isolation.level;
    let shipped = Shipped {
        isolation,
        site: args.peers.map(|address| Site {
            name: args.site,
            address,
        }),
        ..Shipped::in_folder(data.clone())
    };
    let config = WorkerConfig::on_a_farm(name.clone(), slots, WorkerConfig::native_platform(), shipped);
    let mut interrupts =
        interrupts().map_err(|cause| Failure::environment(format!("catch signals: {cause}")))?;
    let farm = args.farm.clone();
    let coordinator = Coordinator::by(args.farm.to_string(), move || {
        let farm = farm.clone();
        async move { farm.connect().await.map_err(Into::into) }
    });
    let mut worker = Worker::start(coordinator, config);
    let _ = writeln!(
        std::io::stderr(),
        "thresh worker {} `{name}`: {slots} slots for {}, isolation {level}, data in {}",
        crate::version::LONG,
        args.farm,
        data.display()
    );
    loop {
        tokio::select! {
            ended = worker.ended() => return ended.map_err(|error| Failure::of(error.fault(), &error)),
            _ = interrupts.changed() => {
                if *interrupts.borrow_and_update() > 1 { worker.stop() } else { worker.drain() }
            }
        }
    }
}

fn default_data(name: &str) -> Result<PathBuf, Failure> {
    let plain: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    Ok(state()?.root().join("worker").join(plain))
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
