//! The variables that commands get, in nextest's order of precedence.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;

use camino::Utf8Path;
use guppy::graph::PackageMetadata;
use nextest_metadata::{BuildPlatform, GLOBAL_TEST_GROUP};

use super::launcher::Launcher;
use super::library_path::{LibraryPathError, library_variables};
use crate::build::{Build, BuildError, Workspace};
use crate::list::TestBinary;
use crate::nextest::{NextestConfig, ORACLE_VERSION, Profile};
use crate::surroundings::Surroundings;

/// Variables by name.
pub(crate) type Variables = BTreeMap<String, OsString>;

/// What all commands of a run have in common.
#[derive(Debug)]
pub struct CommandContext<'a> {
    pub(crate) workspace: &'a Workspace,
    pub(crate) build: &'a Build,
    profile: &'a str,
    launcher: Launcher,
    cargo: Vec<(String, OsString)>,
    libraries: Vec<(String, OsString)>,
    versions: [(String, OsString); 3],
    host_runner: Option<Vec<String>>,
    target_runner: Option<Vec<String>>,
}

/// The commands of a run cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The library path.
    #[error(transparent)]
    LibraryPath(#[from] LibraryPathError),
    /// The target runner.
    #[error(transparent)]
    Runner(#[from] BuildError),
}

impl CommandError {
    /// Whose fault this is.
    pub fn fault(&self) -> thresh_core::fault::Fault {
        thresh_core::fault::Fault::Input
    }
}

impl<'a> CommandContext<'a> {
    /// Works out what all commands have in common.
    ///
    /// # Errors
    /// When a folder's name holds the separator of paths, or the target runner is empty.
    pub fn new(
        workspace: &'a Workspace,
        build: &'a Build,
        config: &NextestConfig,
        profile: &'a Profile,
        surroundings: &Surroundings,
    ) -> Result<Self, CommandError> {
        let launcher = Launcher::new(&workspace.toolchain, surroundings);
        let platforms = &workspace.platforms;
        let host_runner = workspace.cargo_config.runner(&platforms.host, surroundings)?;
        let target_runner = match &platforms.asked {
            Some(platform) => workspace.cargo_config.runner(platform, surroundings)?,
            None => host_runner.clone(),
        };
        let (required, recommended) = config.versions();
        let version = |version: Option<String>| version.unwrap_or_else(|| "none".to_owned()).into();
        Ok(Self {
            workspace,
            build,
            profile: profile.name(),
            cargo: workspace.cargo_config.variables(surroundings),
            libraries: library_variables(workspace, build, &launcher, surroundings)?,
            launcher,
            versions: [
                ("NEXTEST_VERSION".to_owned(), ORACLE_VERSION.into()),
                (
                    "NEXTEST_REQUIRED_VERSION".to_owned(),
                    version(required.map(ToString::to_string)),
                ),
                (
                    "NEXTEST_RECOMMENDED_VERSION".to_owned(),
                    version(recommended.map(ToString::to_string)),
                ),
            ],
            host_runner,
            target_runner,
        })
    }

    /// Returns what runs binaries that were built for `platform`.
    pub(super) fn runner(&self, platform: BuildPlatform) -> &[String] {
        let runner = match platform {
            BuildPlatform::Host => &self.host_runner,
            BuildPlatform::Target => &self.target_runner,
        };
        runner.as_deref().unwrap_or_default()
    }

    /// Returns the variables with which `binary` is listed.
    pub(super) fn list_variables(&self, binary: &TestBinary<'_>, wrapper: &[(String, String)]) -> Variables {
        self.binary_variables(binary, wrapper, "list")
    }

    /// Returns the variables with which the cases of `binary` that are in `group` run, less those that the
    /// worker sets.
    pub(super) fn run_variables(
        &self,
        binary: &TestBinary<'_>,
        wrapper: &[(String, String)],
        group: Option<&str>,
    ) -> Variables {
        let mut variables = self.binary_variables(binary, wrapper, "run");
        set(&mut variables, "NEXTEST_RUN_MODE", "test");
        set(&mut variables, "NEXTEST_STRESS_CURRENT", "none");
        set(&mut variables, "NEXTEST_STRESS_TOTAL", "none");
        set(
            &mut variables,
            "NEXTEST_TEST_GROUP",
            group.unwrap_or(GLOBAL_TEST_GROUP),
        );
        variables
    }

    /// Returns the variables with which a setup script runs, less those that the worker sets.
    pub(super) fn setup_variables(&self, own: &[(String, String)]) -> Variables {
        let mut variables = Variables::new();
        self.before_nextest(&mut variables, own);
        set(&mut variables, "NEXTEST", "1");
        set(&mut variables, "NEXTEST_PROFILE", self.profile);
        variables.extend(self.libraries.iter().cloned());
        set(&mut variables, "NEXTEST_RUN_MODE", "test");
        self.after_nextest(&mut variables);
        variables
    }

    fn binary_variables(
        &self,
        binary: &TestBinary<'_>,
        wrapper: &[(String, String)],
        phase: &str,
    ) -> Variables {
        let mut variables = Variables::new();
        self.before_nextest(&mut variables, wrapper);
        self.build_script_variables(&mut variables, binary.package_id());
        set(&mut variables, "NEXTEST", "1");
        set(&mut variables, "NEXTEST_EXECUTION_MODE", "process-per-test");
        set(&mut variables, "NEXTEST_PROFILE", self.profile);
        set(&mut variables, "CARGO_MANIFEST_DIR", binary.folder.as_str());
        set(&mut variables, "NEXTEST_TEST_PHASE", phase);
        package_variables(&mut variables, &binary.package);
        variables.extend(self.libraries.iter().cloned());
        for (name, path) in &binary.programs {
            set(&mut variables, &format!("CARGO_BIN_EXE_{name}"), path.as_str());
            set(&mut variables, &format!("NEXTEST_BIN_EXE_{name}"), path.as_str());
            // Some shells drop variables with hyphens.
            set(
                &mut variables,
                &format!("NEXTEST_BIN_EXE_{}", name.replace('-', "_")),
                path.as_str(),
            );
        }
        set(&mut variables, "NEXTEST_BINARY_ID", binary.id().as_str());
        self.after_nextest(&mut variables);
        variables
    }

    fn before_nextest(&self, variables: &mut Variables, script: &[(String, String)]) {
        variables.extend(self.launcher.variables.iter().cloned());
        variables.extend(self.cargo.iter().cloned());
        variables.extend(script.iter().map(|(name, value)| (name.clone(), value.into())));
    }

    fn after_nextest(&self, variables: &mut Variables) {
        set(variables, "NEXTEST_WORKSPACE_ROOT", self.workspace.root.as_str());
        variables.extend(self.versions.iter().cloned());
    }

    fn build_script_variables(&self, variables: &mut Variables, package: &str) {
        let meta = &self.build.binaries.rust_build_meta;
        let Some(out_dir) = meta.build_script_out_dirs.get(package) else {
            return;
        };
        let out_dir = self.build.build_directory().join(out_dir);
        set(variables, "OUT_DIR", out_dir.as_str());
        match &meta.build_script_info {
            Some(infos) => {
                for (name, value) in infos.get(package).into_iter().flat_map(|info| &info.envs) {
                    set(variables, name, value);
                }
            }
            // An archive of an older nextest: the build script's own output tells.
            None => {
                let output = out_dir.parent().map(|folder| folder.join("output"));
                let text = output.and_then(|path| fs::read(path).ok()).unwrap_or_default();
                for (name, value) in rustc_env(&String::from_utf8_lossy(&text)) {
                    set(variables, name, value);
                }
            }
        }
    }
}

fn set(variables: &mut Variables, name: &str, value: &str) {
    variables.insert(name.to_owned(), value.into());
}

/// Returns the `rustc-env` variables in the output of a build script.
fn rustc_env(output: &str) -> impl Iterator<Item = (&str, &str)> {
    output.lines().filter_map(|line| {
        let line = line
            .strip_prefix("cargo::rustc-env=")
            .or_else(|| line.strip_prefix("cargo:rustc-env="))?;
        line.split_once('=')
    })
}

/// Sets what `cargo test` sets for each package.
fn package_variables(variables: &mut Variables, package: &PackageMetadata<'_>) {
    let version = package.version();
    let mut cargo = |name: &str, value: &str| set(variables, &format!("CARGO_PKG_{name}"), value);
    cargo("VERSION", &version.to_string());
    cargo("VERSION_MAJOR", &version.major.to_string());
    cargo("VERSION_MINOR", &version.minor.to_string());
    cargo("VERSION_PATCH", &version.patch.to_string());
    cargo("VERSION_PRE", version.pre.as_str());
    cargo("AUTHORS", &package.authors().join(":"));
    cargo("NAME", package.name());
    cargo("DESCRIPTION", package.description().unwrap_or_default());
    cargo("HOMEPAGE", package.homepage().unwrap_or_default());
    cargo("LICENSE", package.license().unwrap_or_default());
    cargo(
        "LICENSE_FILE",
        package.license_file().map_or("", Utf8Path::as_str),
    );
    cargo("REPOSITORY", package.repository().unwrap_or_default());
    cargo(
        "RUST_VERSION",
        &package
            .minimum_rust_version()
            .map(ToString::to_string)
            .unwrap_or_default(),
    );
}

#[cfg(test)]
mod tests;
