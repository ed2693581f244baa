//! A suite as plain values.

use camino::Utf8PathBuf;
use nextest_metadata::{
    BuildPlatform, MismatchReason, RustBuildMetaSummary, RustTestBinarySummary, RustTestSuiteStatusSummary,
};
use thresh_core::case::{CaseSettings, LeakTimeout, SlowTimeout, TestGroup};

use crate::command::{CommandTemplate, SetupCommand};
use crate::nextest::ReportSettings;

/// All test cases found in one build, and how to run those that are selected.
#[derive(Clone, Debug)]
pub struct Suite {
    /// The workspace's root.
    pub workspace_root: Utf8PathBuf,
    /// Cargo's target directory.
    pub target_directory: Utf8PathBuf,
    /// The profile's name.
    pub profile: String,
    /// The triple of the platform that most binaries were built for.
    pub platform: String,
    /// What `rustc -vV` prints.
    pub rustc_version: String,
    /// What nextest's metadata says of the build.
    pub rust_build_meta: RustBuildMetaSummary,
    /// All test binaries, also those without a selected case, sorted as nextest sorts them.
    pub binaries: Vec<SuiteBinary>,
    /// The selected cases, sorted by binary and name.
    pub cases: Vec<SuiteCase>,
    /// The cases of listed binaries that are not selected, sorted likewise.
    pub skipped: Vec<SkippedCase>,
    /// Distinct settings.
    pub settings: Vec<CaseSettings>,
    /// Distinct report settings.
    pub reports: Vec<ReportSettings>,
    /// Distinct commands.
    pub commands: Vec<CommandTemplate>,
    /// The setup scripts that a selected case needs, in the order in which they run.
    pub setup_scripts: Vec<SetupScript>,
    /// The test groups.
    pub groups: Vec<TestGroup>,
    /// The programs and dynamic libraries that the build put into the target directory besides test binaries,
    /// absolute: a case may use any of them.
    pub programs: Vec<Utf8PathBuf>,
    /// The dynamic libraries that the build made, absolute.
    pub dynamic_libraries: Vec<Utf8PathBuf>,
    /// The folders where cases find dynamic libraries, in the order in which they are searched.
    pub library_folders: Vec<Utf8PathBuf>,
}

impl Suite {
    /// How a case is named to people, and remembered from run to run: by its binary's id and its own name.
    pub fn name_of(&self, case: &SuiteCase) -> String {
        format!("{} {}", self.binaries[case.binary].id, case.name)
    }

    /// Whether there is such a case, selected or not, or may be: not all binaries are listed in each run.
    pub fn may_have(&self, name: &str) -> bool {
        let selected = self.cases.iter().map(|case| (case.binary, &case.name));
        let skipped = self.skipped.iter().map(|case| (case.binary, &case.name));
        let Some((id, name)) = name.split_once(' ') else {
            return false;
        };
        let mut of_binary = selected
            .chain(skipped)
            .filter(|(binary, _)| self.binaries[*binary].id == id)
            .peekable();
        of_binary.peek().is_none() || of_binary.any(|(_, of_case)| of_case == name)
    }
}

/// A test binary.
#[derive(Clone, Debug, PartialEq)]
pub struct SuiteBinary {
    /// nextest's id.
    pub id: String,
    /// Its package's name.
    pub package: String,
    /// Where it is, absolute.
    pub path: Utf8PathBuf,
    /// Its package's folder: where its cases run.
    pub cwd: Utf8PathBuf,
    /// What nextest calls its kind: `lib`, `test`, `bin` and so on.
    pub kind: String,
    /// Whether it was built for the target or, as tests of procedural macros are, for the host.
    pub build_platform: BuildPlatform,
    /// The programs that its cases are told of by `CARGO_BIN_EXE_…`, absolute.
    pub programs: Vec<Utf8PathBuf>,
    /// The output folder of its package's build script, absolute.
    pub out_dir: Option<Utf8PathBuf>,
    /// What nextest's metadata says of it.
    pub summary: RustTestBinarySummary,
    /// Whether it was listed, or why not.
    pub status: RustTestSuiteStatusSummary,
}

/// A selected case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuiteCase {
    /// Position of its binary.
    pub binary: usize,
    /// Its name.
    pub name: String,
    /// Whether it is marked as ignored, so that it needs `--ignored`.
    pub ignored: bool,
    /// Whether it is a benchmark, run once as a test.
    pub benchmark: bool,
    /// Position of its settings.
    pub settings: usize,
    /// Position of its report settings.
    pub report: usize,
    /// Position of its command.
    pub command: usize,
}

/// A case that is not selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedCase {
    /// Position of its binary.
    pub binary: usize,
    /// Its name.
    pub name: String,
    /// Whether it is marked as ignored.
    pub ignored: bool,
    /// Whether it is a benchmark.
    pub benchmark: bool,
    /// Why it is not selected.
    pub reason: MismatchReason,
    /// Position of its report settings.
    pub report: usize,
}

/// A setup script.
#[derive(Clone, Debug, PartialEq)]
pub struct SetupScript {
    /// Its name in the configuration.
    pub id: String,
    /// How to run it.
    pub command: SetupCommand,
    /// When it is slow and when it is ended.
    pub slow_timeout: SlowTimeout,
    /// How long handles may stay open after it.
    pub leak_timeout: LeakTimeout,
    /// Whether its standard output is captured.
    pub capture_stdout: bool,
    /// Whether its standard error is captured.
    pub capture_stderr: bool,
    /// Whether a JUnit report holds its output when it passed.
    pub junit_store_success_output: bool,
    /// Whether a JUnit report holds its output when it failed.
    pub junit_store_failure_output: bool,
}
