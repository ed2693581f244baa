//! Where the real `thresh` binary is, and how to start it.

use crate::running::{Finished, Running};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Returns the path of the binary: `$THRESH_BIN`, else the one that cargo builds in the same target folder and
/// profile as the program that asks. It is built at most once per process.
///
/// # Panics
/// When it cannot be built.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("THRESH_BIN") {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
}

fn build() -> PathBuf {
    let exe = std::env::current_exe().expect("the system knows this program's path");
    let folder = exe.parent().expect("a file is in a folder");
    let folder = if folder.ends_with("deps") {
        folder.parent().expect("deps is in a folder")
    } else {
        folder
    };
    let profile = match folder.file_name().and_then(OsStr::to_str) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let mut command = Command::new("cargo");
    scrub(&mut command);
    command
        .args([
            "build",
            "--quiet",
            "--package=thresh-cli",
            "--profile",
            profile,
            "--target-dir",
        ])
        .arg(
            folder
                .parent()
                .expect("a profile's folder is in the target folder"),
        )
        .current_dir(repository());
    let output = command.output().expect("cargo is installed");
    assert!(
        output.status.success(),
        "thresh does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    folder.join("thresh")
}

/// Returns the root of this repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests package is in the repository")
}

/// Removes from a command's environment what cargo and nextest gave to this test, and what would change how
/// fixtures are built and what they print. A program that was started from a shell keeps the latter.
pub fn scrub(command: &mut Command) {
    const KEPT: &[&str] = &[
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTRIES_",
        "CARGO_REGISTRY_",
    ];
    const GOES: &[&str] = &[
        "CARGO",
        "NEXTEST",
        "THRESH_",
        "OUT_DIR",
        "LD_LIBRARY_PATH",
        "GITHUB_",
    ];
    const GOES_IN_TESTS: &[&str] = &["RUSTFLAGS", "RUST_BACKTRACE", "RUSTC_"];
    let in_test = std::env::var_os("CARGO_MANIFEST_DIR").is_some();
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let begins = |list: &[&str]| list.iter().any(|beginning| text.starts_with(beginning));
        if (begins(GOES) && !begins(KEPT)) || (in_test && begins(GOES_IN_TESTS)) {
            command.env_remove(&name);
        }
    }
}

/// How to start `thresh`: with a state folder of its own.
#[derive(Clone, Debug)]
pub struct Thresh {
    home: PathBuf,
    folder: PathBuf,
    vars: Vec<(String, String)>,
}

impl Thresh {
    /// Prepares to start `thresh` in `folder` with its state below `home`.
    pub fn new(folder: impl Into<PathBuf>, home: impl Into<PathBuf>) -> Self {
        Self {
            home: home.into(),
            folder: folder.into(),
            vars: Vec::new(),
        }
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn var(mut self, name: &str, value: impl Into<String>) -> Self {
        self.vars.push((name.to_owned(), value.into()));
        self
    }

    /// Returns the command for `args`.
    pub fn command<A: AsRef<OsStr>>(&self, args: &[A]) -> Command {
        let mut command = Command::new(binary());
        self.surround(&mut command);
        command.args(args);
        command
    }

    /// Gives a command that will start `thresh` in some other way the folder and the environment.
    pub fn surround(&self, command: &mut Command) {
        scrub(command);
        command
            .env("THRESH_HOME", &self.home)
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        command.envs(self.vars.iter().map(|(name, value)| (name, value)));
    }

    /// Runs `thresh ARGS` to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn call<A: AsRef<OsStr>>(&self, args: &[A]) -> Finished {
        Running::start(self.command(args)).finish()
    }

    /// Runs `thresh run --message-format json ARGS` to its end.
    pub fn run<A: AsRef<OsStr>>(&self, args: &[A]) -> Finished {
        self.start(args).finish()
    }

    /// Starts `thresh run --message-format json ARGS`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start<A: AsRef<OsStr>>(&self, args: &[A]) -> Running {
        let mut command = self.command(&["run", "--message-format", "json"]);
        command.args(args);
        Running::start(command)
    }
}
