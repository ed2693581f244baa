//! buildbox-casd, an engine of the Remote Execution API on one machine.

use crate::farm::free_address;
use crate::reapi::peers;
use crate::running::signal_process;
use crate::wait;
use bazel_remote_apis::build::bazel::remote::execution::v2::{Digest, Directory, DirectoryNode};
use prost::Message;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;
use thresh_cas::{BlobName, DigestFunction};

/// How long it may take to start.
const START_LIMIT: Duration = Duration::from_secs(30);
/// An action sees nothing of the machine but what is bound into its input root.
const BOUND: [&str; 6] = ["bin", "dev", "etc", "lib", "lib64", "usr"];

/// An engine with its files below a folder. It ends when this is dropped.
#[derive(Debug)]
pub struct Casd {
    address: SocketAddr,
    folder: PathBuf,
    jobs: u32,
    process: Child,
}

impl Casd {
    /// Starts one that executes so many actions at a time, and waits until it answers.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn start(folder: &Path, jobs: u32) -> Self {
        let address = free_address();
        std::fs::create_dir_all(folder).expect("the folder can be written");
        let mut casd = Self {
            address,
            folder: folder.to_owned(),
            jobs,
            process: launch(address, folder, jobs),
        };
        casd.wait();
        casd
    }

    fn wait(&mut self) {
        wait::until("buildbox-casd", START_LIMIT, || {
            let ended = self.process.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "buildbox-casd ended: {ended:?}");
            TcpStream::connect(self.address).ok()
        });
    }

    /// Ends it, with what it executes, and starts it again at the same place with the same files.
    ///
    /// # Panics
    /// When it does not answer again.
    pub fn restart(&mut self) {
        self.end();
        self.process = launch(self.address, &self.folder, self.jobs);
        self.wait();
    }

    fn end(&mut self) {
        signal_process(self.process.id(), Signal::TERM);
        // It has nothing to lose.
        let _ = self.process.wait();
    }

    /// How many programs named `thresh` it executes.
    ///
    /// # Panics
    /// When the processes of this machine cannot be listed.
    pub fn runners(&self) -> usize {
        let processes = processes();
        let is_below = |mut id: u32| {
            while let Some((_, parent)) = processes.get(&id) {
                if *parent == self.process.id() {
                    return true;
                }
                id = *parent;
            }
            false
        };
        let named = processes.iter().filter(|(_, (name, _))| name == "thresh");
        named.filter(|(id, _)| is_below(**id)).count()
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its address, as `--engine` takes it.
    pub fn address(&self) -> String {
        format!("reapi://{}", self.address)
    }

    /// An input root with the places for what of the machine is bound into it, and the empty folder that they are.
    pub fn root() -> (Directory, Directory) {
        let empty = Directory::default();
        let name = BlobName::of(DigestFunction::Sha256, &empty.encode_to_vec());
        let place = |name: &&str, digest: Digest| DirectoryNode {
            name: (*name).to_owned(),
            digest: Some(digest),
        };
        let there = BOUND.iter().filter(|name| Path::new("/").join(name).is_dir());
        let root = Directory {
            directories: there
                .map(|place_name| place(place_name, name.to_wire()))
                .collect(),
            ..Directory::default()
        };
        (root, empty)
    }
}

impl Drop for Casd {
    fn drop(&mut self) {
        self.end();
    }
}

fn launch(address: SocketAddr, folder: &Path, jobs: u32) -> Child {
    let programs = peers();
    let mut log = File::options();
    let log = log.create(true).append(true).open(folder.join("casd.log"));
    let log = log.expect("the log can be written");
    let mut command = Command::new(programs.join("buildbox-casd"));
    command
        .arg(format!("--bind={address}"))
        .arg(format!(
            "--buildbox-run={}",
            programs.join("buildbox-run").display()
        ))
        .arg(format!("--jobs={jobs}"))
        // Else it holds a disk that others use, too, for its own cache, and waits until that is smaller.
        .args(["--quota-high=4G", "--reserved=64M"]);
    for name in BOUND.iter().filter(|name| Path::new("/").join(name).is_dir()) {
        command.arg(format!("--runner-arg=--bind-mount=/{name}:/{name}"));
    }
    let path = std::env::join_paths([&programs].into_iter().cloned().chain(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    )));
    command
        .arg(folder.join("cache"))
        .env("PATH", path.expect("folders of PATH have no colons"))
        .stdout(log.try_clone().expect("a file can be shared"))
        .stderr(log)
        .spawn()
        .expect("buildbox-casd can be started")
}

/// The name and the parent of each process.
fn processes() -> BTreeMap<u32, (String, u32)> {
    let entries = std::fs::read_dir("/proc").expect("processes can be listed");
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let look = |id: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        let (before, after) = stat.rsplit_once(')')?;
        let name = before.split_once('(')?.1.to_owned();
        let parent = after.split_whitespace().nth(1)?.parse().ok()?;
        Some((id, (name, parent)))
    };
    ids.filter_map(look).collect()
}
