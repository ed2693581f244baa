//! One repeat: a coordinator of its own, the workers, and runs from first to last.

use super::client::{self, Followed};
use super::session::Pace;
use super::worker::{Seen, Worker, hello};
use crate::measure::cpu_seconds;
use std::time::Duration;
use thresh_tests::farm::Farm;
use thresh_tests::running::peak_memory_kib;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// Threads of the process that plays the workers and clients.
const THREADS: usize = 2;

/// What a coordinator is put under.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) workers: usize,
    /// Of each worker.
    pub(super) slots: u32,
    /// Runs that are submitted together, each by a submitter of its own.
    pub(super) runs: u32,
    /// Of each run.
    pub(super) cases: u32,
    pub(super) pace: Pace,
}

/// What one repeat gave.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    /// From the first lease that a worker got to the last outcome that a client saw.
    pub(super) took: Duration,
    /// From there until every client has seen its run's end.
    pub(super) ending: Duration,
    /// See [`Seen::waits`]; sorted.
    pub(super) waits: Vec<Duration>,
    /// CPU seconds of the coordinator, from before the submissions until after the ends.
    pub(super) cpu: f64,
    /// The same of the process that plays the others.
    pub(super) players_cpu: f64,
    /// The most memory that the coordinator held, in MiB.
    pub(super) memory_mib: f64,
}

impl Load {
    pub(super) fn outcomes(&self) -> f64 {
        f64::from(self.runs) * f64::from(self.cases)
    }

    /// # Panics
    /// When a run does not pass, or anything else goes wrong: then figures would mean nothing.
    pub(super) fn measure(self) -> Measured {
        let temp = tempfile::tempdir().expect("a temp folder can be made");
        let farm = Farm::start(temp.path());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime can be made");
        runtime.block_on(self.play(&farm))
    }

    async fn play(self, farm: &Farm) -> Measured {
        let endpoint = Endpoint::from_shared(farm.url()).expect("a farm's URL is valid");
        let endpoint = endpoint.tcp_nodelay(true);
        let (stop, stopped) = watch::channel(());
        let mut workers = JoinSet::new();
        for number in 1..=self.workers {
            let hello = hello(number, self.slots, PLATFORM);
            let worker = Worker::connect(connect(&endpoint).await, hello, self.pace).await;
            workers.spawn(worker.serve(stopped.clone()));
        }
        let cpu = || {
            (
                cpu_seconds(farm.coordinator_id()),
                cpu_seconds(std::process::id()),
            )
        };
        let before = cpu();
        let mut clients = JoinSet::new();
        for number in 1..=self.runs {
            let channel = connect(&endpoint).await;
            clients.spawn(client::run(channel, number, self.cases, PLATFORM.to_owned()));
        }
        let followed: Vec<Followed> = clients.join_all().await;
        let after = cpu();
        stop.send_replace(());
        let seen: Vec<Seen> = workers.join_all().await;
        let first = (seen.iter().filter_map(|seen| seen.first_lease).min()).expect("a worker got a lease");
        let last = (followed.iter().map(|of| of.last_outcome).max()).expect("there is a run");
        let ended = (followed.iter().map(|of| of.ended).max()).expect("there is a run");
        let mut waits: Vec<Duration> = seen.into_iter().flat_map(|seen| seen.waits).collect();
        waits.sort_unstable();
        let memory = peak_memory_kib(farm.coordinator_id()).expect("the coordinator runs");
        Measured {
            took: last - first,
            ending: ended - last,
            waits,
            cpu: after.0 - before.0,
            players_cpu: after.1 - before.1,
            memory_mib: memory as f64 / 1024.0,
        }
    }
}

async fn connect(endpoint: &Endpoint) -> Channel {
    endpoint.connect().await.expect("the coordinator listens")
}
