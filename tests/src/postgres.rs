//! A private server of PostgreSQL.

use crate::nobody;
use crate::thresh::repository;
use crate::wait;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long the server may take to start; it may have to recover what an immediate stop left.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A server with an empty database, reached by a socket in a folder of its own. It ends when this is dropped, or
/// with the thread that started it.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    folder: tempfile::TempDir,
    server: Option<Child>,
}

impl Postgres {
    /// Makes a database and starts a server, which is installed when it is missing.
    ///
    /// # Panics
    /// When that is impossible.
    pub fn start() -> Self {
        let programs = programs();
        let folder = tempfile::Builder::new()
            .prefix("pg")
            .tempdir()
            .expect("the temporary folder can be written");
        // The server refuses to run as root.
        nobody::give(folder.path());
        let mut postgres = Self {
            programs,
            folder,
            server: None,
        };
        let mut initdb = postgres.command("initdb");
        initdb
            .args([
                "--username=thresh",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                "--pgdata",
            ])
            .arg(postgres.data());
        let output = initdb.output().expect("initdb can be started");
        assert!(
            output.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        postgres.resume();
        postgres
    }

    /// Starts the server again after [`stop`](Self::stop).
    ///
    /// # Panics
    /// When it does not start.
    pub fn resume(&mut self) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("the log can be written");
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(self.folder.path())
            // Nothing here outlives the machine; no port is taken.
            .args([
                "-h",
                "",
                "-F",
                "-c",
                "shared_buffers=32MB",
                "-c",
                "max_connections=50",
            ])
            .stdout(Stdio::null())
            .stderr(log);
        self.server = Some(command.spawn().expect("postgres can be started"));
        let socket = self.folder.path().join(".s.PGSQL.5432");
        wait::until("the server of PostgreSQL", START_LIMIT, || {
            self.assert_running();
            UnixStream::connect(&socket).ok()?;
            let log = fs::read_to_string(self.log()).ok()?;
            let started = log.rfind("starting PostgreSQL")?;
            log[started..]
                .contains("ready to accept connections")
                .then_some(())
        });
    }

    fn assert_running(&mut self) {
        let server = self.server.as_mut().expect("a server was started");
        if let Some(status) = server.try_wait().expect("a child can be waited for") {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            panic!("postgres ended with {status}:\n{log}");
        }
    }

    /// Ends the server at once: connections break, what was committed stays.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop(&mut self) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        let pid = Pid::from_child(&server);
        // It may have ended by itself.
        let _ = kill_process(pid, Signal::QUIT);
        server.wait().expect("a child can be waited for");
    }

    /// Returns the URL of the server's one database.
    pub fn url(&self) -> String {
        format!(
            "postgres://thresh@localhost/postgres?host={}",
            self.folder.path().display()
        )
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// A program that ends with the thread that starts it, as a user that may run it.
    fn command(&self, program: &str) -> Command {
        let mut command = nobody::command("QUIT", &self.programs.join(program));
        command
            .current_dir(self.folder.path())
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

fn programs() -> PathBuf {
    let script: &Path = &repository().join("scripts/postgres");
    let output = Command::new(script)
        .output()
        .expect("scripts/postgres can be started");
    assert!(
        output.status.success(),
        "scripts/postgres: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().into()
}
