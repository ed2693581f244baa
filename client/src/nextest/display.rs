//! What a profile says about reporting: levels, output, JUnit.

use camino::Utf8PathBuf;

/// How much is said of each case while the run goes on; each level includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatusLevel {
    /// Nothing.
    None,
    /// Failed cases.
    Fail,
    /// Attempts that are tried again.
    Retry,
    /// Slow cases.
    Slow,
    /// Leaky cases.
    Leak,
    /// Passed cases.
    Pass,
    /// Skipped cases.
    Skip,
    /// Everything.
    All,
}

/// How much is said of each case at the end; each level includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FinalStatusLevel {
    /// Nothing.
    None,
    /// Failed cases.
    Fail,
    /// Flaky cases.
    Flaky,
    /// Slow cases.
    Slow,
    /// Skipped cases.
    Skip,
    /// Leaky cases.
    Leak,
    /// Passed cases.
    Pass,
    /// Everything.
    All,
}

/// When the output of a case is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutputDisplay {
    /// When the case ends.
    Immediate,
    /// When the case ends, and at the end of the run.
    ImmediateFinal,
    /// At the end of the run.
    Final,
    /// Not at all.
    Never,
}

/// Which skipped cases a JUnit report names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReportSkipped {
    /// None.
    None,
    /// Those that `--run-ignored` left out.
    Ignored,
    /// All.
    All,
}

/// How a JUnit report shows a case that passed on a later attempt but fails for being flaky.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlakyFailStatus {
    /// As a failure.
    Failure,
    /// As a success.
    Success,
}

/// What is said of one case, and what of it goes into a JUnit report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReportSettings {
    /// When the output of a passed case is shown.
    pub success_output: OutputDisplay,
    /// When the output of a failed case is shown.
    pub failure_output: OutputDisplay,
    /// Whether the JUnit report holds the output of the case when it passed.
    pub junit_store_success_output: bool,
    /// Whether the JUnit report holds the output of the case when it failed.
    pub junit_store_failure_output: bool,
    /// Whether the JUnit report names the case when it is skipped.
    pub junit_report_skipped: ReportSkipped,
    /// How the JUnit report shows the case when it fails for being flaky.
    pub junit_flaky_fail_status: FlakyFailStatus,
}

/// The JUnit report that a profile asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JunitSettings {
    /// Where to write it, absolute.
    pub path: Utf8PathBuf,
    /// Its name.
    pub report_name: String,
}
