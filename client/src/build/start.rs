//! Runs cargo: the build, rustc's two answers and `cargo metadata` at the same time.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;

use guppy::graph::PackageGraph;
use target_spec::Platform;

use super::artifacts::Messages;
use super::cargo_config::CargoConfig;
use super::error::BuildError;
use super::options::BuildOptions;
use super::platform::{Platforms, RustcQuestions, Toolchain};
use super::workspace::{Build, Workspace};
use super::wrapper::Wrapper;
use crate::surroundings::Surroundings;

/// A build under way. Dropping it ends cargo.
#[derive(Debug)]
pub struct Building {
    cargo: Cargo,
    messages: JoinHandle<std::io::Result<Messages>>,
}

#[derive(Debug)]
struct Cargo {
    child: Child,
    command: String,
}

impl Drop for Cargo {
    fn drop(&mut self) {
        // Both fail when cargo has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the build of the workspace that `surroundings` are in, and reads what it consists of meanwhile.
/// Cargo writes to the terminal itself. With a `wrapper`, what is linked is analysed.
///
/// # Errors
/// When there is no workspace, or cargo's configuration cannot be used.
pub fn start(
    options: &BuildOptions,
    surroundings: &Surroundings,
    wrapper: Option<&Wrapper>,
) -> Result<(Workspace, Building), BuildError> {
    let mut rustc = RustcQuestions::ask(surroundings);
    let cargo_config = CargoConfig::discover(&options.config, surroundings)?;
    // A wrapper that is not known would be replaced by this one.
    let wrapper = wrapper.filter(|_| !cargo_config.has_includes());
    let variables = wrapper.map_or_else(Vec::new, |wrapper| {
        wrapper.variables(cargo_config.compiler_wrapper(surroundings))
    });
    let mut building = Building::start(options, surroundings, variables)?;
    let asked = cargo_config.target(options.target.as_deref(), surroundings)?;
    // Nearly always the host is what Thresh itself was built for: then rustc's answer need not be waited for.
    let guess = Platform::build_target().ok().filter(|_| asked.is_none());
    let early = guess
        .map(|platform| Metadata::start(options, surroundings, platform.triple_str()))
        .transpose()?;
    let (host, version) = rustc.host()?;
    let asked = asked
        .map(|asked| rustc.target(&asked, &host, surroundings))
        .transpose()?;
    let triple = asked
        .as_ref()
        .map_or_else(|| host.triple_str(), |target| &target.argument);
    let metadata = match early.filter(|metadata| metadata.triple == triple) {
        Some(metadata) => metadata,
        None => Metadata::start(options, surroundings, triple)?,
    };
    let json = metadata.finish(&mut building)?;
    let graph = PackageGraph::from_json(json).map_err(|error| BuildError::Graph {
        message: error.to_string(),
    })?;
    let (sysroot, host_libdir) = rustc.folders();
    let (asked, asked_libdir) = asked.map(|target| (target.platform, target.libdir)).unzip();
    let workspace = Workspace {
        root: graph.workspace().root().to_owned(),
        graph,
        platforms: Platforms {
            host,
            asked,
            host_libdir,
            asked_libdir: asked_libdir.flatten(),
        },
        toolchain: Toolchain { version, sysroot },
        cargo_config,
    };
    Ok((workspace, building))
}

/// `cargo metadata` under way.
struct Metadata {
    child: Child,
    command: String,
    triple: String,
}

impl Metadata {
    fn start(options: &BuildOptions, surroundings: &Surroundings, triple: &str) -> Result<Self, BuildError> {
        let (mut command, text) = cargo(surroundings, &options.metadata_arguments(triple));
        if let Some(folder) = &options.target_dir {
            command.env("CARGO_TARGET_DIR", folder);
        }
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| BuildError::Run {
                command: text.clone(),
                source,
            })?;
        Ok(Self {
            child,
            command: text,
            triple: triple.to_owned(),
        })
    }

    /// Waits for the JSON.
    fn finish(self, building: &mut Building) -> Result<String, BuildError> {
        let Self { child, command, .. } = self;
        let Output {
            status,
            stdout,
            stderr,
        } = child.wait_with_output().map_err(|source| BuildError::Run {
            command: command.clone(),
            source,
        })?;
        if !status.success() {
            // The other cargo reads the same manifests, and its words are on the terminal already.
            let said = building.cargo.child.wait().is_ok_and(|status| !status.success());
            let stderr = if said {
                String::new()
            } else {
                String::from_utf8_lossy(&stderr).trim_end().to_owned()
            };
            return Err(BuildError::Metadata {
                command,
                ended: status.to_string(),
                stderr,
            });
        }
        String::from_utf8(stdout).map_err(|error| BuildError::Graph {
            message: error.to_string(),
        })
    }
}

impl Building {
    fn start(
        options: &BuildOptions,
        surroundings: &Surroundings,
        variables: Vec<(&'static str, OsString)>,
    ) -> Result<Self, BuildError> {
        let (mut command, text) = cargo(surroundings, &options.build_arguments());
        command.envs(variables);
        if options.cargo_quiet > 1 {
            command.stderr(Stdio::null());
        }
        let fault = |source| BuildError::Run {
            command: text.clone(),
            source,
        };
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(fault)?;
        let stdout = child
            .stdout
            .take()
            .expect("standard output was asked to be piped");
        // The pipe must be emptied while `cargo metadata` is waited for.
        let messages = std::thread::spawn(move || {
            let mut messages = Messages::default();
            for line in BufReader::new(stdout).lines() {
                messages.take(&line?);
            }
            Ok(messages)
        });
        Ok(Self {
            cargo: Cargo { child, command: text },
            messages,
        })
    }

    /// Waits for the end of the build.
    ///
    /// # Errors
    /// When cargo fails.
    pub fn finish(self, workspace: &Workspace) -> Result<Build, BuildError> {
        let Self { mut cargo, messages } = self;
        let fault = |source| BuildError::Run {
            command: cargo.command.clone(),
            source,
        };
        let messages = messages
            .join()
            .expect("reading messages does not panic")
            .map_err(fault)?;
        let status = cargo.child.wait().map_err(fault)?;
        if !status.success() {
            return Err(BuildError::Cargo {
                command: cargo.command.clone(),
                ended: status.to_string(),
            });
        }
        messages.into_build(&workspace.graph, &workspace.platforms)
    }
}

fn cargo(surroundings: &Surroundings, arguments: &[String]) -> (Command, String) {
    let program = surroundings.variable("CARGO").unwrap_or("cargo".as_ref());
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(&surroundings.directory)
        .stdin(Stdio::null());
    let words = std::iter::once("cargo").chain(arguments.iter().map(String::as_str));
    (command, shell_words::join(words))
}
