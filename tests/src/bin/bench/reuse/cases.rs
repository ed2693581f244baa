//! Cases one after another on one thread, observed or not.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use thresh_core::case::{LeakTimeout, SlowTimeout};
use thresh_worker::OutputLimit;
use thresh_worker::exec::{Block, Capture, Environment, Executor, Invocation, Killer};
use thresh_worker::observe::Observer;
use thresh_worker::sandbox::Limits;

/// A case of a test binary.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    argv: Vec<OsString>,
    cwd: PathBuf,
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

/// Runs cases on a thread of its own, and returns how many seconds that took.
///
/// # Panics
/// When they cannot be observed here.
pub(crate) fn run(cases: &[Case], is_observed: bool) -> f64 {
    thread::scope(|scope| {
        let running = scope.spawn(|| {
            let observer = is_observed.then(|| Observer::start().expect("cases can be observed here"));
            let mut executor = Executor::new();
            let environment = Environment {
                common: Block::inherited().with(&[library_path(cases)]).into(),
                set: Vec::new(),
            };
            let started = Instant::now();
            for case in cases {
                if let Some(observer) = &observer {
                    observer.begin();
                }
                let invocation = invocation(case, &environment);
                let killer = Killer::new().expect("an event can be made");
                executor.run(&invocation, &killer, &mut |_| {});
                if let Some(observer) = &observer {
                    let seen = observer.end();
                    assert!(seen.unobservable.is_none(), "{:?}", seen.unobservable);
                }
            }
            started.elapsed().as_secs_f64()
        });
        running.join().expect("nothing panics there")
    })
}

/// Where cargo and nextest have libraries looked for. The loader does so in many folders before it finds one, and each is a
/// call that is observed.
fn library_path(cases: &[Case]) -> (OsString, OsString) {
    let binary = cases.first().map(|case| Path::new(&case.argv[0]));
    let built = binary
        .into_iter()
        .flat_map(|binary| binary.ancestors().skip(1).take(2));
    let toolchain = ["target-libdir", "sysroot"].map(|what| {
        let mut rustc = Command::new("rustc");
        let said = rustc
            .args(["--print", what])
            .output()
            .expect("rustc is there")
            .stdout;
        PathBuf::from(String::from_utf8(said).expect("the path is UTF-8").trim())
    });
    let [target, sysroot] = toolchain;
    let folders = built.map(Path::to_path_buf).chain([target, sysroot.join("lib")]);
    let path = std::env::join_paths(folders).expect("no folder has a colon in its name");
    ("LD_LIBRARY_PATH".into(), path)
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
        limits: Limits::default(),
        view: None,
    }
}
