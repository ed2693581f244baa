//! A worker that inherits orphans. A program of its own: from here on every child of it counts as one.

use std::path::Path;
use std::time::{Duration, Instant};

use thresh_core::case::{LeakTimeout, SlowTimeout};
use thresh_core::outcome::Outcome;
use thresh_worker::exec::{
    Block, Capture, Environment, Executor, Invocation, Killer, OutputLimit, become_subreaper, kill_leftovers,
    reap_orphans,
};
use thresh_worker::sandbox::Limits;

fn state(pid: &str) -> Option<char> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

#[test]
fn orphans_are_found_killed_and_reaped() {
    become_subreaper().unwrap();
    // Each has closed its output, so neither is a leak.
    let script = "(sleep 0.05 & echo $!) 2>&1 >/dev/null; \
                  (setsid sleep 0.05 >/dev/null 2>&1 & echo $!); (setsid sleep 600 >/dev/null 2>&1 & echo $!)";
    let invocation = Invocation {
        argv: ["/bin/sh", "-c", script].map(Into::into).into(),
        cwd: "/".into(),
        environment: Environment {
            common: Block::inherited().into(),
            set: Vec::new(),
        },
        slow_timeout: SlowTimeout::default(),
        leak_timeout: LeakTimeout {
            period: Duration::from_secs(60),
            leak_passes: true,
        },
        capture: Capture::SPLIT,
        output_limit: OutputLimit::default(),
        kill_leaked: true,
        limits: Limits::default(),
        view: None,
    };
    let execution = Executor::new().run(&invocation, &Killer::new().unwrap(), &mut |_| {});
    assert_eq!(execution.outcome, Outcome::Passed);
    let written = String::from_utf8(execution.stdout.head).unwrap();
    let [short, long] = written.lines().collect::<Vec<_>>()[..] else {
        panic!("{written}")
    };

    let deadline = Instant::now() + Duration::from_secs(30);
    while state(short).is_some() {
        assert!(Instant::now() < deadline, "{short} was not reaped");
        reap_orphans();
    }
    assert!(state(long).is_some_and(|state| state != 'Z'));
    kill_leftovers();
    assert_eq!(state(long), None);
}
