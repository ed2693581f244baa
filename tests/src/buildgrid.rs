//! BuildGrid as a cache: results of actions and blobs, in memory.

use crate::farm::free_address;
use crate::reapi::peers;
use crate::running::signal_process;
use crate::wait;
use rustix::process::Signal;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

/// How long it may take to start.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A cache. It ends when this is dropped.
#[derive(Debug)]
pub struct BuildGrid {
    address: SocketAddr,
    process: Child,
}

impl BuildGrid {
    /// Starts one that answers so many requests at a time (5 at least) and refuses others, and waits until it
    /// listens.
    ///
    /// # Panics
    /// When it does not.
    pub fn start(folder: &Path, threads: u32) -> Self {
        let address = free_address();
        fs::create_dir_all(folder).expect("the folder can be written");
        let config = folder.join("buildgrid.yml");
        fs::write(&config, configuration(address, threads)).expect("the folder can be written");
        let log = File::create(folder.join("buildgrid.log")).expect("the log can be written");
        let process = Command::new(peers().join("bgd"))
            .args(["server", "start"])
            .arg(config)
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log)
            .spawn()
            .expect("bgd can be started");
        let mut server = Self { address, process };
        wait::until("BuildGrid", START_LIMIT, || {
            let ended = server.process.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "bgd ended: {ended:?}");
            TcpStream::connect(address).ok()
        });
        server
    }

    /// What it says to those whom it refuses since it has no thread for them.
    pub const REFUSAL: &str = "Concurrent RPC limit exceeded!";

    /// Its address, as `--reuse-from` takes it.
    pub fn address(&self) -> String {
        format!("reapi://{}", self.address)
    }

    /// Where it listens.
    pub fn socket(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for BuildGrid {
    fn drop(&mut self) {
        signal_process(self.process.id(), Signal::KILL);
        let _ = self.process.wait();
    }
}

fn configuration(address: SocketAddr, threads: u32) -> String {
    format!(
        "server:
  - !channel
    address: {address}
    insecure-mode: true
instances:
  - name: ''
    storages:
      - !lru-storage &cas
        size: 256MB
    caches:
      - !lru-action-cache &results
        storage: *cas
        max-cached-refs: 100000
        allow-updates: true
    services:
      - !action-cache
        cache: *results
      - !cas
        storage: *cas
      - !bytestream
        storage: *cas
thread-pool-size: {threads}
"
    )
}
