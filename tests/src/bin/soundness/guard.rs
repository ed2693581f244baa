//! Bounds for mutants, which may loop or grow without end.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// What one process may hold, in bytes.
const MEMORY_MAX: u64 = 6 << 30;

/// A case of a mutant may always take this long, in seconds.
const CASE_SECONDS_MIN: f64 = 20.0;

/// Cases of a mutant may together always take this long, in seconds.
const RUN_SECONDS_MIN: f64 = 300.0;

/// Bounds the memory of this process and of all that it will start.
pub(crate) fn bound_memory() {
    let limits = getrlimit(Resource::Data);
    let current = Some(limits.current.unwrap_or(u64::MAX).min(MEMORY_MAX));
    // Where the system refuses, mutants are unbounded, as any program is.
    let _ = setrlimit(
        Resource::Data,
        Rlimit {
            current,
            maximum: limits.maximum,
        },
    );
}

/// Writes nextest settings that end cases and runs that take far longer than those of the unchanged suite, which are
/// given in seconds. What the suite itself sets comes first.
///
/// # Errors
/// What the system says of the file.
pub(crate) fn write_settings(path: &Path, longest: f64, all: f64) -> std::io::Result<()> {
    let case = (10.0 * longest).max(CASE_SECONDS_MIN).ceil();
    let run = run_limit(all).as_secs();
    fs::write(
        path,
        format!(
            "[profile.default]\nslow-timeout = {{ period = \"{case}s\", terminate-after = 1 }}\n\
             global-timeout = \"{run}s\"\n"
        ),
    )
}

/// How long the cases of a mutant may take together, when those of the unchanged suite took so many seconds.
pub(crate) fn run_limit(all: f64) -> Duration {
    Duration::from_secs_f64((5.0 * all).max(RUN_SECONDS_MIN))
}
