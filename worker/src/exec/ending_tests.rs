//! Processes that are ended: for slowness, or by a killer.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use thresh_core::case::SlowTimeout;
use thresh_core::outcome::Outcome;

use super::tests::{LONG, is_alive, run, shell};
use super::*;

/// Twice this is long enough for a shell to set its traps.
const PERIOD: Duration = Duration::from_millis(250);

fn timing_out(script: &str, grace_period: Duration) -> Invocation<'static> {
    let slow_timeout = SlowTimeout {
        period: PERIOD,
        terminate_after: Some(2),
        grace_period,
        on_timeout_passes: false,
    };
    Invocation {
        slow_timeout,
        ..shell(script)
    }
}

/// Runs until the file `ready` in `folder` has a line, then acts, and returns what became of the process.
fn run_and_act(invocation: Invocation<'static>, ready: &Path, act: impl FnOnce(&Killer)) -> Execution {
    assert!(
        std::process::Command::new("mkfifo")
            .arg(ready)
            .status()
            .unwrap()
            .success()
    );
    let killer = Killer::new().unwrap();
    let (send, receive) = mpsc::channel();
    let thread = std::thread::spawn({
        let killer = killer.clone();
        move || {
            send.send(Executor::new().run(&invocation, &killer, &mut |_| {}))
                .unwrap()
        }
    });
    std::fs::read_to_string(ready).unwrap();
    act(&killer);
    let execution = receive.recv_timeout(Duration::from_secs(30)).unwrap();
    thread.join().unwrap();
    execution
}

#[test]
fn a_slow_process_is_asked_to_end_after_its_periods() {
    let invocation = timing_out("trap 'echo bye; exit 0' TERM; while :; do sleep 0.01; done", LONG);
    let mut slow = Vec::new();
    let execution = Executor::new().run(&invocation, &Killer::new().unwrap(), &mut |it| slow.push(it));
    assert_eq!(execution.outcome, Outcome::TimedOut { passes: false });
    assert_eq!(execution.stdout.head, b"bye\n");
    assert_eq!(
        slow,
        [
            Slow {
                elapsed: PERIOD,
                will_terminate: false
            },
            Slow {
                elapsed: 2 * PERIOD,
                will_terminate: true
            }
        ]
    );
}

#[test]
fn a_slow_process_that_ignores_sigterm_is_killed() {
    let mut invocation = timing_out(
        "trap '' TERM; echo here; sleep 600 & wait",
        Duration::from_millis(50),
    );
    invocation.slow_timeout.on_timeout_passes = true;
    let execution = run(&invocation);
    assert_eq!(execution.outcome, Outcome::TimedOut { passes: true });
    assert_eq!(execution.stdout.head, b"here\n");
}

#[test]
fn without_grace_a_slow_process_is_killed_unasked() {
    let invocation = timing_out("trap 'echo asked' TERM; sleep 600 & wait", Duration::ZERO);
    let mut slow = 0;
    let execution = Executor::new().run(&invocation, &Killer::new().unwrap(), &mut |_| slow += 1);
    assert_eq!(execution.outcome, Outcome::TimedOut { passes: false });
    assert_eq!((execution.stdout, slow), (Kept::default(), 0));
}

#[test]
fn a_process_that_left_its_session_and_its_parent_dies_too() {
    // One daemon leaves the tree but keeps its environment; the other drops that but has a living parent.
    let script = "setsid sh -c 'setsid sleep 600 >/dev/null 2>&1 & echo $!'; \
                  env -i setsid sleep 600 >/dev/null 2>&1 & echo $!";
    for end in [Killer::kill, Killer::terminate] {
        let folder = tempfile::tempdir().unwrap();
        let ready = folder.path().join("ready");
        let script = format!("{script}; echo go >{}; exec sleep 600", ready.display());
        let execution = run_and_act(shell(&script), &ready, end);
        assert_eq!(execution.outcome, Outcome::Cancelled);
        let written = String::from_utf8(execution.stdout.head).unwrap();
        assert_eq!(written.lines().count(), 2, "{written}");
        assert!(!written.lines().any(is_alive), "{written}");
    }
    let mut invocation = timing_out("setsid sleep 600 >/dev/null 2>&1 & echo $!; exec sleep 600", LONG);
    invocation.slow_timeout.on_timeout_passes = true;
    let execution = run(&invocation);
    assert_eq!(execution.outcome, Outcome::TimedOut { passes: true });
    assert!(
        !std::str::from_utf8(&execution.stdout.head)
            .unwrap()
            .lines()
            .any(is_alive)
    );
}

#[test]
fn a_cancelled_process_may_end_in_its_own_way() {
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready");
    let script = format!(
        "trap 'echo bye; exit 0' TERM; echo go >{}; while :; do sleep 0.01; done",
        ready.display()
    );
    let execution = run_and_act(shell(&script), &ready, Killer::terminate);
    assert_eq!(
        (execution.outcome, execution.stdout.head),
        (Outcome::Cancelled, b"bye\n".to_vec())
    );
}

#[test]
fn a_killed_process_dies_at_once_even_within_its_grace() {
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready");
    let mut invocation = shell(&format!(
        "trap '' TERM; setsid sleep 600 & echo $! >{}; wait",
        ready.display()
    ));
    invocation.slow_timeout.grace_period = LONG;
    let execution = run_and_act(invocation, &ready, |killer| {
        killer.terminate();
        killer.kill();
    });
    assert_eq!(execution.outcome, Outcome::Cancelled);
    assert!(execution.took < LONG);
}

#[test]
fn a_kill_ends_the_wait_for_leaked_handles() {
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready");
    // Waiting for this end of the pipe keeps the leak open until after the exit of the shell.
    let script = format!(
        "(trap '' TERM; sleep 0.05; echo go >{}; exec sleep 600) & exit 0",
        ready.display()
    );
    let execution = run_and_act(shell(&script), &ready, Killer::kill);
    assert_eq!(execution.outcome, Outcome::Cancelled);
}

#[test]
fn a_killer_used_before_the_start_prevents_it() {
    let killer = Killer::new().unwrap();
    killer.terminate();
    let mut invocation = shell("");
    invocation.argv[0] = "/nonexistent/program".into();
    assert_eq!(
        Executor::new().run(&invocation, &killer, &mut |_| {}).outcome,
        Outcome::Cancelled
    );
}
