//! A farm of processes on this machine: a coordinator and workers.

use crate::namespace::{self, Mount};
use crate::nobody;
use crate::running::signal_process;
use crate::thresh::{binary, scrub};
use crate::wait;
use rustix::process::Signal;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use thresh_proto::v1::runs_client::RunsClient;
use thresh_proto::v1::work_client::WorkClient;
use thresh_proto::v1::{HelloReply, HelloRequest, WorkerHello, WorkerMessage, worker_message};
use tonic::transport::{Channel, Endpoint};

/// The coordinator's data folder, in the farm's.
const COORDINATOR: &str = "coordinator";

/// A coordinator, with the workers that were started. All of them are killed when this is dropped.
#[derive(Debug)]
pub struct Farm {
    folder: PathBuf,
    program: PathBuf,
    /// What the coordinator is like.
    options: FarmOptions,
    address: SocketAddr,
    coordinator: Child,
    standby: Option<(SocketAddr, Child)>,
    workers: Vec<WorkerProcess>,
}

/// What a coordinator is like.
#[derive(Clone, Debug, Default)]
pub struct FarmOptions {
    /// Further arguments.
    pub arguments: Vec<String>,
    /// Further variables of its environment.
    pub variables: Vec<(String, String)>,
    /// What is done in a mount namespace of its own before it starts; empty: no namespace.
    pub mounts: Vec<Mount>,
}

/// A worker process. It is killed when this is dropped.
#[derive(Debug)]
pub struct WorkerProcess {
    name: String,
    data: PathBuf,
    child: Child,
}

/// What a new worker is like.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// Its name.
    pub name: String,
    /// Its slots.
    pub slots: u32,
    /// What is done in a mount namespace of its own before it starts; empty: no namespace.
    pub mounts: Vec<Mount>,
    /// Where it connects to; `None` is straight to the coordinator.
    pub url: Option<String>,
    /// Where it keeps its files; `None` is a folder of its own, by its name.
    pub data: Option<PathBuf>,
    /// Whether it runs as a user without rights, in no namespace; its data folder is then that user's.
    pub is_unprivileged: bool,
    /// Further arguments.
    pub further: Vec<String>,
}

impl WorkerOptions {
    /// Returns a plain worker.
    pub fn new(name: &str, slots: u32) -> Self {
        Self {
            name: name.to_owned(),
            slots,
            mounts: Vec::new(),
            url: None,
            data: None,
            is_unprivileged: false,
            further: Vec::new(),
        }
    }
}

impl Farm {
    /// Starts a coordinator on a free loopback port, with its files and the workers' below `folder`, and waits
    /// until it answers.
    ///
    /// # Panics
    /// When it does not answer within 30 seconds.
    pub fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[])
    }

    /// The same, with further arguments for the coordinator.
    ///
    /// # Panics
    /// When it does not answer within 30 seconds.
    pub fn start_with(folder: &Path, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let options = FarmOptions {
            arguments,
            ..FarmOptions::default()
        };
        Self::start_as(folder, |_| options)
    }

    /// The same, with a coordinator that is like this; it is said where its data folder is.
    ///
    /// # Panics
    /// When it does not answer within 30 seconds.
    pub fn start_as(folder: &Path, options: impl FnOnce(&Path) -> FarmOptions) -> Self {
        let folder = folder.join("farm");
        fs::create_dir_all(&folder).expect("the folder can be written");
        // Workers may be made unable to see the target folder that the binary was built in.
        let program = folder.join("thresh");
        fs::copy(binary(), &program).expect("the binary can be copied");
        let address = free_address();
        let data = folder.join(COORDINATOR);
        fs::create_dir_all(&data).expect("the folder can be written");
        let options = options(&data);
        let coordinator = coordinator(&folder, &program, &options, address);
        let farm = Self {
            folder,
            program,
            options,
            address,
            coordinator,
            standby: None,
            workers: Vec::new(),
        };
        farm.wait_for_coordinator();
        farm
    }

    /// The coordinator's data folder.
    pub fn coordinator_data(&self) -> PathBuf {
        self.folder.join(COORDINATOR)
    }

    /// Waits until a coordinator answers.
    ///
    /// # Panics
    /// When none does within 30 seconds.
    pub fn wait_for_coordinator(&self) {
        wait::until("the coordinator's answer", Duration::from_secs(30), || {
            self.hello()
        });
    }

    /// Kills the coordinator, as a crash of its machine would. A standby takes its place from now on.
    pub fn kill_coordinator(&mut self) {
        let _ = self.coordinator.kill();
        let _ = self.coordinator.wait();
        if self.standby.is_some() {
            self.change_places();
            self.standby = None;
        }
    }

    /// What is said of the coordinator is said of the standby from now on, and the other way round.
    ///
    /// # Panics
    /// When there is no standby.
    pub fn change_places(&mut self) {
        let (address, child) = self.standby.as_mut().expect("a standby was started");
        std::mem::swap(address, &mut self.address);
        std::mem::swap(child, &mut self.coordinator);
    }

    /// Starts the coordinator that was killed once more.
    pub fn restart_coordinator(&mut self) {
        self.coordinator = coordinator(&self.folder, &self.program, &self.options, self.address);
        self.wait_for_coordinator();
    }

    /// Starts a second coordinator with the same files, which waits for the end of the first.
    pub fn stand_by(&mut self) {
        let address = free_address();
        let child = coordinator(&self.folder, &self.program, &self.options, address);
        self.standby = Some((address, child));
    }

    /// Starts a coordinator and `count` workers, `worker-1` and so on, with `slots` each, and waits for them.
    ///
    /// # Panics
    /// When they do not join within 30 seconds.
    pub fn with_workers(folder: &Path, count: u32, slots: u32) -> Self {
        let mut farm = Self::start(folder);
        for number in 1..=count {
            farm.add(&WorkerOptions::new(&format!("worker-{number}"), slots));
        }
        farm
    }

    /// Returns the farm's URL; with that of the standby, where there is one.
    pub fn url(&self) -> String {
        let standby = self
            .standby
            .as_ref()
            .map(|(address, _)| format!(",http://{address}"));
        format!("http://{}{}", self.address, standby.unwrap_or_default())
    }

    /// Returns the coordinator's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the coordinator's process id.
    pub fn coordinator_id(&self) -> u32 {
        self.coordinator.id()
    }

    /// Starts a worker and waits until one more has joined.
    ///
    /// # Panics
    /// When it does not join within 30 seconds.
    pub fn add(&mut self, options: &WorkerOptions) {
        let before = self.workers_joined();
        self.launch(options);
        wait::until("a new worker", Duration::from_secs(30), || {
            (self.workers_joined() > before).then_some(())
        });
    }

    /// Starts a worker.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn launch(&mut self, options: &WorkerOptions) {
        let data = options
            .data
            .clone()
            .unwrap_or_else(|| self.folder.join(&options.name));
        fs::create_dir_all(&data).expect("the folder can be written");
        let mut command = if options.is_unprivileged {
            nobody::give(&data);
            nobody::command("KILL", &self.program)
        } else if options.mounts.is_empty() {
            Command::new(&self.program)
        } else {
            namespace::command(&options.mounts, &self.program)
        };
        let url = options.url.clone().unwrap_or_else(|| self.url());
        command.args(["worker", "--farm", &url, "--slots", &options.slots.to_string()]);
        command.args(["--name", &options.name, "--data"]).arg(&data);
        command.args(&options.further);
        let child = spawn(command, &self.folder, &options.name, &[]);
        self.workers.push(WorkerProcess {
            name: options.name.clone(),
            data,
            child,
        });
    }

    /// Returns a worker by its name.
    ///
    /// # Panics
    /// When there is none.
    pub fn worker(&mut self, name: &str) -> &mut WorkerProcess {
        self.workers
            .iter_mut()
            .find(|worker| worker.name == name)
            .expect("the worker was started")
    }

    /// Forgets a worker that has ended.
    pub fn remove(&mut self, name: &str) {
        self.workers.retain(|worker| worker.name != name);
    }

    /// Asks the coordinator for its greeting; `None` when it does not answer.
    pub fn hello(&self) -> Option<HelloReply> {
        hello(&format!("http://{}", self.address), thresh_proto::PROTOCOL).ok()
    }

    /// Returns what a part of the farm wrote to its standard error.
    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(format!("{name}.log"))).unwrap_or_default()
    }

    fn workers_joined(&self) -> u32 {
        self.hello().map_or(0, |reply| reply.workers)
    }
}

impl WorkerProcess {
    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the folder where it keeps its files.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        signal_process(self.id(), signal);
    }

    /// Asks it to leave and waits until it has.
    ///
    /// # Panics
    /// When it is still there after 30 seconds.
    pub fn leave(&mut self) {
        self.signal(Signal::TERM);
        wait::until("the worker's end", Duration::from_secs(30), || {
            self.child.try_wait().ok().flatten()
        });
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        self.workers.clear();
        if let Some((_, standby)) = &mut self.standby {
            let _ = standby.kill();
            let _ = standby.wait();
        }
        let _ = self.coordinator.kill();
        let _ = self.coordinator.wait();
    }
}

/// Greets a coordinator as a client with a protocol number does, and returns its answer.
///
/// # Errors
/// When it cannot be reached, or refuses.
pub fn hello(url: &str, protocol: u32) -> Result<HelloReply, tonic::Status> {
    block_on(async {
        let mut client = RunsClient::new(connect(url).await?);
        let request = HelloRequest {
            protocol,
            version: "0.0.0-test".into(),
        };
        Ok(client.hello(request).await?.into_inner())
    })
}

/// Greets a coordinator as a worker with a protocol number does, and waits for its welcome.
///
/// # Errors
/// When it cannot be reached, or refuses.
pub fn join(url: &str, protocol: u32) -> Result<(), tonic::Status> {
    block_on(async {
        let mut client = WorkClient::new(connect(url).await?);
        let hello = WorkerHello {
            protocol,
            version: "0.0.0-test".into(),
            name: "of another version".into(),
            slots: 1,
            cpus: 1,
            platform: "x86_64-unknown-linux-gnu".into(),
            in_place: false,
            remap_cause: None,
            isolation_shortfalls: Vec::new(),
            process: 0,
            connection: 0,
        };
        let message = WorkerMessage {
            message: Some(worker_message::Message::Hello(hello)),
        };
        let mut answers = client.session(tokio_stream::iter([message])).await?.into_inner();
        answers.message().await.map(|_| ())
    })
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be made").block_on(work)
}

async fn connect(url: &str) -> Result<Channel, tonic::Status> {
    let endpoint = Endpoint::from_shared(url.to_owned());
    let endpoint = endpoint.map_err(|error| tonic::Status::invalid_argument(error.to_string()))?;
    endpoint
        .connect()
        .await
        .map_err(|error| tonic::Status::unavailable(error.to_string()))
}

fn coordinator(folder: &Path, program: &Path, options: &FarmOptions, address: SocketAddr) -> Child {
    let mut command = if options.mounts.is_empty() {
        Command::new(program)
    } else {
        namespace::command(&options.mounts, program)
    };
    command
        .args(["coordinator", "--listen", &address.to_string(), "--data"])
        .arg(folder.join(COORDINATOR))
        .args(&options.arguments);
    spawn(command, folder, "coordinator", &options.variables)
}

/// A port of the loopback interface that nobody uses now.
///
/// # Panics
/// When there is none.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
    listener.local_addr().expect("a bound socket has an address")
}

fn spawn(mut command: Command, folder: &Path, name: &str, variables: &[(String, String)]) -> Child {
    scrub(&mut command);
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join(format!("{name}.log")));
    command
        .env("THRESH_HOME", folder.join(format!("{name}.home")))
        .envs(variables.iter().cloned())
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.expect("the folder can be written"));
    command.spawn().expect("the binary is there")
}
