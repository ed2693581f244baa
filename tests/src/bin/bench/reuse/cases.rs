//! Cases one after another on one thread, observed or not.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use thresh_core::case::{LeakTimeout, SlowTimeout};
use thresh_core::observe::Observation;
use thresh_worker::OutputLimit;
use thresh_worker::exec::{Block, Capture, Environment, Executor, Invocation, Killer};
use thresh_worker::observe::Observer;

/// A case of a test binary.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    argv: Vec<OsString>,
    cwd: PathBuf,
}

/// What running cases took, and what was seen.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) seconds: f64,
    pub(crate) observations: Vec<Observation>,
}

/// Lists the cases of a test binary whose package is in `cwd`.
///
/// # Panics
/// When it cannot be listed.
pub(crate) fn listed(binary: &Path, cwd: &Path) -> Vec<Case> {
    let mut list = Command::new(binary);
    list.args(["--list", "--format", "terse"]).current_dir(cwd);
    let listed = list.output().expect("the binary is there").stdout;
    let listed = String::from_utf8(listed).expect("names are UTF-8");
    let names = listed.lines().filter_map(|line| line.strip_suffix(": test"));
    let case = |name: &str| Case {
        argv: [
            binary.as_os_str(),
            "--exact".as_ref(),
            name.as_ref(),
            "--nocapture".as_ref(),
        ]
        .map(OsString::from)
        .into(),
        cwd: cwd.to_path_buf(),
    };
    names.map(case).collect()
}

/// Runs cases on a thread of its own.
///
/// # Panics
/// When they cannot be observed here.
pub(crate) fn run(cases: &[Case], is_observed: bool) -> Ran {
    thread::scope(|scope| {
        let running = scope.spawn(|| {
            let observer = is_observed.then(|| Observer::start().expect("cases can be observed here"));
            let mut executor = Executor::new();
            let environment = Environment {
                common: Block::inherited().into(),
                set: Vec::new(),
            };
            let mut observations = Vec::new();
            let started = Instant::now();
            for case in cases {
                if let Some(observer) = &observer {
                    observer.begin();
                }
                let invocation = invocation(case, &environment);
                let killer = Killer::new().expect("an event can be made");
                executor.run(&invocation, &killer, &mut |_| {});
                observations.extend(observer.as_ref().map(Observer::end));
            }
            Ran {
                seconds: started.elapsed().as_secs_f64(),
                observations,
            }
        });
        running.join().expect("nothing panics there")
    })
}

fn invocation(case: &Case, environment: &Environment) -> Invocation<'static> {
    Invocation {
        argv: case.argv.clone(),
        cwd: case.cwd.clone(),
        environment: environment.clone(),
        slow_timeout: SlowTimeout::default(),
        leak_timeout: LeakTimeout {
            period: Duration::from_millis(100),
            leak_passes: true,
        },
        capture: Capture::SPLIT,
        output_limit: OutputLimit::default(),
        kill_leaked: true,
        view: None,
    }
}
