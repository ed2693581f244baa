//! Running a command and reading what it cost.

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;
use thresh_tests::thresh::{Thresh, scrub};

/// What something cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Wall time in seconds.
    pub(crate) wall: f64,
    /// User and system time in seconds, of the process and all that it waited for.
    pub(crate) cpu: f64,
    /// What the process itself used of that.
    pub(crate) own: f64,
}

impl Cost {
    /// Returns what one of `count` equal parts cost.
    pub(crate) fn per(self, count: usize) -> Self {
        let share = |cost: f64| cost / count as f64;
        Self {
            wall: share(self.wall),
            cpu: share(self.cpu),
            own: share(self.own),
        }
    }

    /// Returns how much more this cost.
    pub(crate) fn beyond(self, other: Self) -> Self {
        Self {
            wall: self.wall - other.wall,
            cpu: self.cpu - other.cpu,
            own: self.own - other.own,
        }
    }
}

/// Runs a command to its end and returns what it cost.
///
/// # Panics
/// When it cannot be started, or does not succeed: then the figure would mean nothing.
pub(crate) fn cost(mut command: Command) -> Cost {
    let mut said = tempfile::tempfile().expect("a temp file can be made");
    let copy = |file: &File| file.try_clone().expect("a file has room for another handle");
    command
        .stdin(Stdio::null())
        .stdout(copy(&said))
        .stderr(copy(&said));
    let started = Instant::now();
    let mut child = command.spawn().expect("the program is there");
    let used = cpu_at_end(&child);
    let status = child.wait().expect("a child can be waited for");
    let wall = started.elapsed().as_secs_f64();
    if !status.success() {
        let mut text = Vec::new();
        said.rewind()
            .and_then(|()| said.read_to_end(&mut text))
            .expect("a temp file can be read");
        let text = String::from_utf8_lossy(&text);
        panic!("{command:?} ended with {status}\n{text}");
    }
    Cost {
        wall,
        cpu: used.own + used.children,
        own: used.own,
    }
}

/// Spawns the binary once per case, on so many threads and in the order given, as nextest and thresh do, but looks
/// at nothing else. The standard library spawns by `posix_spawn`, which is vfork and exec.
///
/// # Panics
/// When a case fails.
pub(crate) fn bare_loop(binary: &Path, cases: &[String], threads: usize) -> Cost {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut command = Command::new(binary);
            command
                .args(["--exact", case, "--nocapture"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let status = command.status().expect("the binary is there");
            assert!(status.success(), "{case} fails");
        }
    };
    let (before, started) = (cpu_of("self"), Instant::now());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let (after, wall) = (cpu_of("self"), started.elapsed().as_secs_f64());
    let own = after.own - before.own;
    Cost {
        wall,
        cpu: own + after.children - before.children,
        own,
    }
}

/// The cores, which is how many cases run at a time.
pub(crate) fn slots() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// CPU seconds of a process and of the children that it waited for.
struct Cpu {
    own: f64,
    children: f64,
}

/// Waits for the end of a child and returns what it used; the child remains to be waited for, since the kernel
/// forgets how the two differ with that.
fn cpu_at_end(child: &Child) -> Cpu {
    waitid(
        WaitId::Pid(Pid::from_child(child)),
        WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
    )
    .expect("a child can be waited for");
    cpu_of(&child.id().to_string())
}

/// Returns the CPU seconds that a process has used so far, without its children.
///
/// # Panics
/// When it is gone.
pub(crate) fn cpu_seconds(process: u32) -> f64 {
    cpu_of(&process.to_string()).own
}

/// Reads what a process has used; the kernel counts in hundredths.
fn cpu_of(process: &str) -> Cpu {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("Linux has /proc");
    // The second field is a name in brackets, which may hold anything.
    let fields = stat
        .rsplit_once(')')
        .expect("the name is in brackets")
        .1
        .split_whitespace();
    let ticks: Vec<u64> = fields
        .skip(11)
        .take(4)
        .map(|field| field.parse().expect("times are numbers"))
        .collect();
    let seconds =
        |ticks: &[u64]| ticks.iter().sum::<u64>() as f64 / rustix::param::clock_ticks_per_second() as f64;
    Cpu {
        own: seconds(&ticks[..2]),
        children: seconds(&ticks[2..]),
    }
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

/// Measures two sides `repeats` times each, in turns and each first as often as the other, so that what else the machine does
/// meets both. `side` gets whether it is the second.
pub(crate) fn in_turns<T>(repeats: usize, mut side: impl FnMut(bool) -> T) -> [Vec<T>; 2] {
    let mut measured = [const { Vec::new() }; 2];
    for repeat in 0..repeats {
        let mut order = [false, true];
        order.rotate_left(repeat % 2);
        for is_second in order {
            measured[usize::from(is_second)].push(side(is_second));
        }
    }
    measured
}

/// Returns the medians of what something cost.
pub(crate) fn medians(costs: &[Cost]) -> Cost {
    Cost {
        wall: median(costs.iter().map(|cost| cost.wall)),
        cpu: median(costs.iter().map(|cost| cost.cpu)),
        own: median(costs.iter().map(|cost| cost.own)),
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
