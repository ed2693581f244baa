//! What is known of a run before it is connected, while cargo builds.

use std::path::PathBuf;
use std::thread::JoinHandle;

use camino::Utf8Path;
use thresh_cas::{DigestMemo, Snapshot};
use thresh_core::case::ThreadsRequired;
use thresh_core::reuse::AuditShare;

use super::error::RunError;
use super::options::RunOptions;
use crate::build::{self, Build, Building, Workspace, Wrapper, open_archive};
use crate::list::Selection;
use crate::nextest::{NextestConfig, Profile, default_profile_name};
use crate::project::{ProjectConfig, ReuseFiles, WorkspaceState, project_name};
use crate::reuse::seen::Place;

/// How many actions an engine executes at a time for a run, unless it is told: it has more machines than one.
const ENGINE_SLOTS: u32 = 16;

/// A run that can be connected: its workspace and configuration are read and its cargo is building.
#[derive(Debug)]
pub struct Prepared {
    pub(super) options: RunOptions,
    pub(super) workspace: Workspace,
    pub(super) source: BuildSource,
    pub(super) config: NextestConfig,
    pub(super) profile: Profile,
    pub(super) selection: Selection,
    pub(super) project: ProjectConfig,
    pub(super) state: WorkspaceState,
    name: JoinHandle<String>,
    /// Hashes the workspace's files while cargo builds, and so teaches the memo.
    pub(super) memo: JoinHandle<DigestMemo>,
}

/// Where test binaries come from.
#[derive(Debug)]
pub(super) enum BuildSource {
    Cargo(Building),
    Archive(Box<Build>),
    /// The run has it.
    Taken,
}

impl Prepared {
    /// Starts the build and reads the configuration meanwhile. Blocks for as long as `cargo metadata` takes.
    ///
    /// # Errors
    /// There is no workspace, or a configuration or the selection cannot be used.
    pub fn new(options: RunOptions) -> Result<Self, RunError> {
        let surroundings = &options.surroundings;
        let (workspace, source) = match &options.archive {
            None => {
                let wrapper = wrapper(&options);
                let (workspace, building) = build::start(&options.build, surroundings, wrapper.as_ref())?;
                (workspace, BuildSource::Cargo(building))
            }
            Some(archive) => {
                let (workspace, build) = open_archive(archive, surroundings)?;
                (workspace, BuildSource::Archive(Box::new(build)))
            }
        };
        let root = workspace.root.as_std_path();
        let project = ProjectConfig::load(root)?;
        let state = options.state.workspace(root)?;
        let explicit = options.project.clone().or_else(|| project.project.clone());
        let root = root.to_owned();
        let name = std::thread::spawn({
            let root = root.clone();
            move || project_name(explicit.as_deref(), &root)
        });
        let memo = std::thread::spawn({
            let (excluded, memo) = (excluded(&options, &workspace), state.digest_memo());
            move || {
                let mut memo = DigestMemo::load(&memo);
                // What cannot be read now is told when the snapshot that counts is taken, after the build.
                let _ = Snapshot::of_workspace(&root, &excluded, &mut memo);
                memo
            }
        });
        let config = NextestConfig::load(&workspace.root, &workspace.graph, &options.nextest)?;
        let default = default_profile_name(surroundings);
        let profile = options.profile.as_deref().unwrap_or(default);
        let profile = config.profile(profile, &workspace.platforms)?;
        let selection = Selection::new(&options.selection, &profile, &workspace.graph)?;
        let prepared = Self {
            options,
            workspace,
            source,
            config,
            profile,
            selection,
            project,
            state,
            name,
            memo,
        };
        prepared.check_farm()?;
        Ok(prepared)
    }

    fn check_farm(&self) -> Result<(), RunError> {
        match self.farm() {
            _ if self.no_capture() && !self.is_in_place() => Err(RunError::NotOnAFarm {
                flag: "--no-capture",
                why: "cases elsewhere write to no terminal; leave the flag, or the farm or engine out",
            }),
            Some(_) if self.options.test_threads.is_some() => Err(RunError::NotOnAFarm {
                flag: "--test-threads (or NEXTEST_TEST_THREADS)",
                why: "each worker has the slots that it was started with; leave the flag or the farm out",
            }),
            _ => Ok(()),
        }
    }

    /// The coordinator's address, if the cases are to run on a farm.
    pub fn farm(&self) -> Option<&str> {
        self.options
            .farm
            .as_deref()
            .or(self
                .project
                .farm
                .url
                .as_deref()
                .filter(|_| self.options.engine.is_none()))
            .filter(|url| !url.is_empty())
    }

    /// The address of the engine of the Remote Execution API that is to execute the cases, if one is.
    pub fn engine(&self) -> Option<&str> {
        self.options
            .engine
            .as_deref()
            .or(self
                .project
                .engine
                .url
                .as_deref()
                .filter(|_| self.farm().is_none()))
            .filter(|url| !url.is_empty())
    }

    /// Whether workers are to observe what cases read.
    pub fn observes(&self) -> bool {
        // An engine's machines are not ours; what a shared target folder holds on a worker is not known here.
        let can_be_told =
            self.engine().is_none() && !(self.farm().is_some() && self.project.farm.shared_target);
        can_be_told && self.reuses() && self.has_own_files()
    }

    /// Where they do.
    pub(super) fn place(&self) -> Place {
        if self.is_in_place() {
            Place::Here
        } else {
            Place::Workers
        }
    }

    /// Whether what a case is known to read takes the place of the workspace's files.
    pub(super) fn has_own_files(&self) -> bool {
        self.project.reuse.files == ReuseFiles::Seen
    }

    /// Whether passes are looked up and stored.
    pub(super) fn reuses(&self) -> bool {
        self.options.reuse && self.project.reuse.enabled && !self.no_capture()
    }

    /// The share of the reusable cases that run all the same.
    pub(super) fn audit(&self) -> AuditShare {
        let said = self.options.audit.or(self.project.reuse.audit);
        said.unwrap_or_else(|| AuditShare::usual(self.options.priority))
    }

    /// Whether the cases run where their files are: on this machine.
    pub fn is_in_place(&self) -> bool {
        self.farm().is_none() && self.engine().is_none()
    }

    /// How many actions an engine is to execute at a time.
    pub fn engine_slots(&self) -> u32 {
        match self.options.test_threads {
            Some(ThreadsRequired::Count(count)) => count.max(1),
            Some(ThreadsRequired::NumCpus | ThreadsRequired::NumTestThreads) => {
                self.options.surroundings.cpus.max(1)
            }
            None => ENGINE_SLOTS,
        }
    }

    /// A file for what is remembered of names that another digest function gives.
    pub fn names_file(&self) -> PathBuf {
        self.state.engine_names()
    }

    /// The cache that `thresh.toml` has passes of runs on this machine looked up in.
    pub fn reuse_from(&self) -> Option<&str> {
        self.project.reuse.from.as_deref()
    }

    /// How many slots an embedded worker is to have.
    pub fn slots(&self) -> u32 {
        if self.no_capture() {
            return 1;
        }
        let cpus = self.options.surroundings.cpus.max(1);
        let of_project = self
            .project
            .run
            .slots
            .map(|slots| ThreadsRequired::Count(slots.get()));
        match self
            .options
            .test_threads
            .or(of_project)
            .unwrap_or(self.profile.test_threads())
        {
            ThreadsRequired::Count(count) => count.max(1),
            ThreadsRequired::NumCpus | ThreadsRequired::NumTestThreads => cpus,
        }
    }

    /// The platform that an embedded worker is to offer.
    pub fn platform(&self) -> &str {
        self.workspace.platforms.target().triple_str()
    }

    /// Whether cases write to the terminal themselves.
    pub fn no_capture(&self) -> bool {
        self.options.no_capture || self.selection.no_capture
    }

    /// nextest's profile.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// What is worth saying about nextest's configuration.
    pub fn warnings(&self) -> &[String] {
        self.config.warnings()
    }

    /// What `thresh.toml` says.
    pub fn project(&self) -> &ProjectConfig {
        &self.project
    }

    /// The workspace's root.
    pub fn workspace_root(&self) -> &Utf8Path {
        &self.workspace.root
    }

    /// Where cargo's output is: what it builds, and what it builds that from.
    pub fn output_folders(&self) -> [PathBuf; 2] {
        let graph = self.workspace.graph.workspace();
        let target = graph.target_directory();
        [target, graph.build_directory().unwrap_or(target)].map(|folder| folder.as_std_path().to_owned())
    }

    /// A folder for the workspace as it was at another commit.
    pub fn base_folder(&self) -> PathBuf {
        self.state.base()
    }

    /// The flags that a rerun of a case needs to find it in the same build, without those that select packages.
    pub fn rerun_flags(&self) -> Vec<String> {
        let mut flags = rerun_flags(&self.options, self.profile.name());
        if self.selection.runs_ignored() {
            flags.extend(["--run-ignored", "all"].map(str::to_owned));
        }
        flags
    }

    pub(super) fn take_name(&mut self) -> String {
        let name = std::mem::replace(&mut self.name, std::thread::spawn(String::new));
        name.join().expect("making the project's name does not panic")
    }

    pub(super) fn excluded(&self) -> Vec<PathBuf> {
        let mut excluded = excluded(&self.options, &self.workspace);
        excluded.extend(
            self.profile
                .junit()
                .map(|junit| junit.path.as_std_path().to_owned()),
        );
        excluded
    }
}

/// What has links analysed. Where that cannot be, builds go on as they would without.
fn wrapper(options: &RunOptions) -> Option<Wrapper> {
    let program = options.program.as_deref()?;
    let made = Wrapper::new(program, options.state.reach());
    let told = |error: &std::io::Error| {
        let folder = options.state.reach();
        tracing::warn!(
            "reuse is coarse: failed to write to {}: {error}",
            folder.display()
        );
    };
    made.inspect_err(told).ok()
}

/// What is no input, wherever it is: cargo's output, Thresh's own state, reports.
fn excluded(options: &RunOptions, workspace: &Workspace) -> Vec<PathBuf> {
    let graph = workspace.graph.workspace();
    let mut excluded = vec![graph.target_directory().as_std_path().to_owned()];
    excluded.extend(
        graph
            .build_directory()
            .map(|folder| folder.as_std_path().to_owned()),
    );
    excluded.push(options.state.root().to_owned());
    let directory = options.surroundings.directory.as_std_path();
    excluded.extend(options.outputs.iter().map(|path| directory.join(path)));
    excluded
}

fn rerun_flags(options: &RunOptions, profile: &str) -> Vec<String> {
    let build = &options.build;
    let mut flags = Vec::new();
    let mut option = |name: &str, value: Option<&str>| {
        flags.extend(
            value
                .into_iter()
                .flat_map(|value| [name.to_owned(), value.to_owned()]),
        );
    };
    option(
        "--manifest-path",
        build.manifest_path.as_deref().map(Utf8Path::as_str),
    );
    option("--cargo-profile", build.cargo_profile.as_deref());
    option("--target", build.target.as_deref());
    option("--target-dir", build.target_dir.as_deref().map(Utf8Path::as_str));
    for (name, values) in [
        ("--bin", &build.bin),
        ("--example", &build.example),
        ("--test", &build.test),
        ("--bench", &build.bench),
        ("--features", &build.features),
        ("--config", &build.config),
        ("-Z", &build.unstable),
    ] {
        values.iter().for_each(|value| option(name, Some(value)));
    }
    option(
        "--archive-file",
        options.archive.as_ref().map(|archive| archive.file.as_str()),
    );
    let remap = options
        .archive
        .as_ref()
        .and_then(|archive| archive.workspace_remap.as_deref());
    option("--workspace-remap", remap.map(Utf8Path::as_str));
    option(
        "--config-file",
        options.nextest.config_file.as_deref().map(Utf8Path::as_str),
    );
    for file in &options.nextest.tool_files {
        option(
            "--tool-config-file",
            Some(&format!("{}:{}", file.tool, file.path)),
        );
    }
    option("--profile", (profile != "default").then_some(profile));
    option("--farm", options.farm.as_deref());
    option("--engine", options.engine.as_deref());
    for (name, on) in [
        ("--lib", build.lib),
        ("--bins", build.bins),
        ("--examples", build.examples),
        ("--tests", build.tests),
        ("--benches", build.benches),
        ("--all-targets", build.all_targets),
        ("--release", build.release),
        ("--all-features", build.all_features),
        ("--no-default-features", build.no_default_features),
        ("--ignore-default-filter", options.selection.ignore_default_filter),
    ] {
        if on {
            flags.push(name.to_owned());
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::StateFolder;
    use crate::surroundings::Surroundings;

    #[test]
    fn a_rerun_has_all_flags_that_made_the_case_exist() {
        let state = StateFolder::at("/state".into());
        let mut options = RunOptions::new(Surroundings::default(), state);
        assert!(rerun_flags(&options, "default").is_empty());
        options.build.all_targets = true;
        options.build.config = vec!["env.A='1'".into()];
        options.build.bench = vec!["fast".into()];
        options.selection.ignore_default_filter = true;
        options.nextest.config_file = Some("other.toml".into());
        assert_eq!(
            rerun_flags(&options, "ci").join(" "),
            "--bench fast --config env.A='1' --config-file other.toml --profile ci --all-targets \
             --ignore-default-filter"
        );
    }
}
