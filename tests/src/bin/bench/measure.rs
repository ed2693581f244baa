//! Running a command and reading what it cost.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;
use thresh_tests::thresh::{Thresh, scrub};

/// What something cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Wall time in seconds.
    pub(crate) wall: f64,
    /// User and system time in seconds, of the process and all that it waited for.
    pub(crate) cpu: f64,
}

/// Runs `work` and returns what it cost this process and the children that it waited for.
pub(crate) fn cost_of(work: impl FnOnce()) -> Cost {
    let cpu = cpu_so_far();
    let started = Instant::now();
    work();
    Cost {
        wall: started.elapsed().as_secs_f64(),
        cpu: cpu_so_far() - cpu,
    }
}

/// Runs a command to its end and returns what it cost.
///
/// # Panics
/// When it cannot be started, or does not succeed: then the figure would mean nothing.
pub(crate) fn cost(mut command: Command) -> Cost {
    let mut said = None;
    let cost = cost_of(|| {
        let output = command
            .stdin(Stdio::null())
            .output()
            .expect("the program is there");
        said = (!output.status.success()).then(|| {
            let (out, err) = (
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr),
            );
            format!("{}\n{out}\n{err}", output.status)
        });
    });
    assert!(
        said.is_none(),
        "{command:?} ended with {}",
        said.unwrap_or_default()
    );
    cost
}

/// CPU seconds of this process and of the children that it waited for; the kernel counts in hundredths.
fn cpu_so_far() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux has /proc");
    // The second field is a name in brackets, which may hold anything.
    let fields = stat
        .rsplit_once(')')
        .expect("the name is in brackets")
        .1
        .split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(4)
        .map(|field| field.parse::<u64>().expect("times are numbers"))
        .sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// Returns the middle one of the values.
///
/// # Panics
/// When there are none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        (values[middle - 1] + values[middle]) / 2.0
    }
}

/// Returns the medians of what something cost.
pub(crate) fn medians(costs: &[Cost]) -> Cost {
    Cost {
        wall: median(costs.iter().map(|cost| cost.wall)),
        cpu: median(costs.iter().map(|cost| cost.cpu)),
    }
}

/// Returns `cargo nextest run ARGS` in `folder`.
pub(crate) fn nextest(folder: &Path, double_spawn: bool, args: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    scrub(&mut command);
    command
        .current_dir(folder)
        .args(["nextest", "run", "--no-fail-fast", "--status-level=none"])
        .args(args);
    if !double_spawn {
        command.env("NEXTEST_DOUBLE_SPAWN", "0");
    }
    command
}

/// Returns `thresh run ARGS` in `folder`, with its state in `home`.
pub(crate) fn thresh(folder: &Path, home: &Path, args: &[&str]) -> Command {
    let mut command = Thresh::new(folder, home).command(&["run", "--no-fail-fast", "--status-level=none"]);
    command.args(args);
    command
}

/// Writes a package whose only test binary holds `code`, builds it, and returns the path of that binary.
///
/// # Panics
/// When it does not build.
pub(crate) fn generate(folder: &Path, code: &str) -> std::path::PathBuf {
    fs::create_dir_all(folder.join("src")).expect("a temp folder can be written");
    let manifest =
        "[package]\nname = \"generated\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n";
    fs::write(folder.join("Cargo.toml"), manifest).expect("a temp folder can be written");
    fs::write(folder.join("src/lib.rs"), code).expect("a temp folder can be written");
    build(folder);
    let found = fs::read_dir(folder.join("target/debug/deps")).expect("cargo has built it");
    let binaries = found.map(|entry| entry.expect("the folder can be read").path());
    let mut binaries = binaries.filter(|path| path.extension().is_none());
    binaries.next().expect("cargo has built a test binary")
}

/// Builds the tests of a workspace.
///
/// # Panics
/// When they do not build.
pub(crate) fn build(folder: &Path) {
    cost(freshness_check(folder));
}

/// Returns cargo's own check that everything is built.
pub(crate) fn freshness_check(folder: &Path) -> Command {
    let mut command = Command::new("cargo");
    scrub(&mut command);
    command
        .current_dir(folder)
        .args(["test", "--no-run", "--message-format=json-render-diagnostics"]);
    command
}
