//! What a run is asked to do.

use std::path::PathBuf;
use std::time::Duration;

use thresh_core::case::{MaxFail, ThreadsRequired};
use thresh_core::reuse::AuditShare;
use thresh_core::schedule::RunPriority;

use crate::build::{ArchiveOptions, BuildOptions};
use crate::list::SelectionOptions;
use crate::nextest::{ConfigSources, OutputDisplay};
use crate::project::StateFolder;
use crate::suite::ForcedSettings;
use crate::surroundings::Surroundings;

/// What a run is asked to do. Where a field is an `Option`, `None` leaves it to `thresh.toml`, then to nextest's
/// configuration.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Working directory, environment, cores.
    pub surroundings: Surroundings,
    /// Where Thresh remembers things on this machine.
    pub state: StateFolder,
    /// This program's file, which cargo is to call in rustc's place: it acts as [`thresh_reach::is_compiler`] and
    /// [`thresh_reach::is_wrapper`] say. Without it cases count by their whole binaries.
    pub program: Option<PathBuf>,
    /// How to build.
    pub build: BuildOptions,
    /// A cargo-nextest archive instead of a build.
    pub archive: Option<ArchiveOptions>,
    /// Which cases.
    pub selection: SelectionOptions,
    /// nextest's profile; without it `default`, or `default-miri` under Miri.
    pub profile: Option<String>,
    /// nextest's configuration files.
    pub nextest: ConfigSources,
    /// Settings for all cases.
    pub forced: ForcedSettings,
    /// When the output of passing cases is shown.
    pub success_output: Option<OutputDisplay>,
    /// When the output of failing cases is shown.
    pub failure_output: Option<OutputDisplay>,
    /// After how many failures to stop.
    pub max_fail: Option<MaxFail>,
    /// Slots of an embedded worker.
    pub test_threads: Option<ThreadsRequired>,
    /// Cases write to the terminal themselves, one at a time.
    pub no_capture: bool,
    /// Only build.
    pub no_run: bool,
    /// `false` neither looks up nor stores passes.
    pub reuse: bool,
    /// The share of the reusable cases that run all the same.
    pub audit: Option<AuditShare>,
    /// The coordinator's address.
    pub farm: Option<String>,
    /// The address of an engine of the Remote Execution API that executes the cases in a farm's place.
    pub engine: Option<String>,
    /// Whose history it is.
    pub project: Option<String>,
    /// Who asks: submitters share a farm.
    pub submitter: String,
    /// What the run is for.
    pub priority: RunPriority,
    /// Its verdict is wanted within this time from its submission.
    pub deadline: Option<Duration>,
    /// Files that the program writes itself during the run (reports), absolute or relative to the working
    /// directory: they are no inputs of the cases.
    pub outputs: Vec<PathBuf>,
    /// What the user asked for, for display.
    pub title: String,
}

impl RunOptions {
    /// Everything in the workspace that `surroundings` are in, with the defaults.
    pub fn new(surroundings: Surroundings, state: StateFolder) -> Self {
        Self {
            nextest: ConfigSources {
                cpus: surroundings.cpus,
                ..ConfigSources::default()
            },
            surroundings,
            state,
            program: None,
            build: BuildOptions::default(),
            archive: None,
            selection: SelectionOptions::default(),
            profile: None,
            forced: ForcedSettings::default(),
            success_output: None,
            failure_output: None,
            max_fail: None,
            test_threads: None,
            no_capture: false,
            no_run: false,
            reuse: true,
            audit: None,
            farm: None,
            engine: None,
            project: None,
            outputs: Vec::new(),
            submitter: String::new(),
            priority: RunPriority::default(),
            deadline: None,
            title: String::new(),
        }
    }
}
