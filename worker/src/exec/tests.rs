//! Real processes, run by a shell.

use std::sync::mpsc;
use std::time::Duration;

use crate::sandbox::Limits;
use thresh_core::case::{LeakTimeout, SlowTimeout};
use thresh_core::outcome::{FailureCause, Outcome};

use super::*;

pub(super) const LONG: Duration = Duration::from_secs(600);

pub(super) fn shell(script: &str) -> Invocation<'static> {
    Invocation {
        argv: ["/bin/sh", "-c", script].map(Into::into).into(),
        cwd: "/".into(),
        environment: Environment {
            common: Block::inherited().into(),
            set: Vec::new(),
        },
        slow_timeout: SlowTimeout::default(),
        leak_timeout: LeakTimeout {
            period: LONG,
            leak_passes: true,
        },
        capture: Capture::SPLIT,
        output_limit: OutputLimit::default(),
        kill_leaked: true,
        limits: Limits::default(),
        view: None,
    }
}

pub(super) fn run(invocation: &Invocation<'_>) -> Execution {
    Executor::new().run(invocation, &Killer::new().unwrap(), &mut |_| {})
}

fn exec_failure(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Failed {
            cause: FailureCause::Exec(why),
            leaked: false,
        } => why,
        outcome => panic!("{outcome} is no failure to execute"),
    }
}

pub(super) fn is_alive(pid: &str) -> bool {
    procfs::process(pid.trim().parse().unwrap()).is_some_and(|process| !process.ended)
}

#[test]
fn passes_and_keeps_both_streams_apart_as_bytes() {
    let execution = run(&shell(r"printf 'out\377'; printf 'err\000' >&2; cat"));
    assert_eq!(execution.outcome, Outcome::Passed);
    assert_eq!(
        execution.stdout,
        Kept {
            head: b"out\xff".into(),
            ..Kept::default()
        }
    );
    assert_eq!(
        execution.stderr,
        Kept {
            head: b"err\0".into(),
            ..Kept::default()
        }
    );
    assert!(execution.started.as_micros() > 0 && execution.took > Duration::ZERO);
}

#[test]
fn exit_codes_and_signals_are_told_apart() {
    let outcome = run(&shell("exit 42")).outcome;
    assert_eq!(
        outcome,
        Outcome::Failed {
            cause: FailureCause::ExitCode(42),
            leaked: false
        }
    );
    assert_eq!(
        run(&shell("kill -9 $$")).outcome,
        Outcome::Crashed {
            signal: 9,
            leaked: false
        }
    );
}

#[test]
fn the_environment_is_what_was_asked_for() {
    let mut invocation = shell("/usr/bin/env; pwd");
    invocation.environment = Environment {
        set: vec![("A".into(), "x y".into())],
        ..Environment::default()
    };
    invocation.cwd = "/usr".into();
    let written = String::from_utf8(run(&invocation).stdout.head).unwrap();
    let names: Vec<_> = written
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|pair| pair.0)
        .collect();
    assert!(
        written.contains("A=x y\n") && written.ends_with("/usr\n"),
        "{written}"
    );
    assert!(
        names
            .iter()
            .all(|name| ["A", "PWD", "_", "SHLVL", "OLDPWD", MARK].contains(name)),
        "{written}"
    );
}

#[test]
fn runs_in_a_process_group_of_its_own() {
    let execution = run(&shell("cut -d' ' -f1,5 /proc/$$/stat"));
    let written = String::from_utf8(execution.stdout.head).unwrap();
    let (pid, group) = written.trim().split_once(' ').unwrap();
    assert_eq!(pid, group);
}

#[test]
fn a_broken_pipe_ends_it_and_no_signal_is_blocked() {
    let execution = run(&shell("grep ^Sig /proc/self/status"));
    let written = String::from_utf8(execution.stdout.head).unwrap();
    let set = |name| {
        let line = written.lines().find_map(|line| line.strip_prefix(name));
        u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
    };
    let broken_pipe = 1 << (libc::SIGPIPE - 1);
    assert_eq!(
        (set("SigBlk:"), set("SigIgn:") & broken_pipe),
        (0, 0),
        "{written}"
    );
}

#[test]
fn a_name_without_a_slash_is_looked_up_in_its_own_path() {
    let mut invocation = shell("");
    invocation.argv = vec!["program".into()];
    assert!(exec_failure(&run(&invocation).outcome).starts_with("start program: "));
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/bin/true", folder.path().join("program")).unwrap();
    invocation.environment.set = vec![("PATH".into(), folder.path().into())];
    assert_eq!(run(&invocation).outcome, Outcome::Passed);
    invocation = shell("exit 3");
    invocation.argv[0] = "sh".into();
    let outcome = run(&invocation).outcome;
    assert!(matches!(
        outcome,
        Outcome::Failed {
            cause: FailureCause::ExitCode(3),
            ..
        }
    ));
}

#[test]
fn what_is_not_captured_is_not_kept() {
    let mut invocation = shell("echo kept >&2; exec 2>/dev/null; sleep 0.2 &");
    invocation.capture = Capture {
        stdout: false,
        stderr: true,
    };
    let execution = run(&invocation);
    assert_eq!(execution.outcome, Outcome::Passed);
    assert_eq!(
        (execution.stdout, execution.stderr.head),
        (Kept::default(), b"kept\n".to_vec())
    );
    let mut invocation = shell("sleep 0.2 &");
    invocation.capture = Capture::NONE;
    invocation.leak_timeout.period = Duration::ZERO;
    assert_eq!(run(&invocation).outcome, Outcome::Passed);
}

#[test]
fn a_missing_program_or_folder_is_named() {
    let mut invocation = shell("");
    invocation.argv[0] = "/nonexistent/program".into();
    let outcome = run(&invocation).outcome;
    assert!(
        exec_failure(&outcome).starts_with("start /nonexistent/program: "),
        "{outcome}"
    );
    invocation = shell("");
    invocation.cwd = "/nonexistent/folder".into();
    let outcome = run(&invocation).outcome;
    assert!(
        exec_failure(&outcome).contains("working directory /nonexistent/folder"),
        "{outcome}"
    );
    invocation.argv.clear();
    assert!(exec_failure(&run(&invocation).outcome).contains("argument list is empty"));
}

#[test]
fn a_zero_byte_is_told_with_where_it_is() {
    let mut argument = shell("");
    argument.argv.push("a\0b".into());
    let mut folder = shell("");
    folder.cwd = "/a\0b".into();
    let mut variable = shell("");
    variable.environment.set = vec![("A".into(), "a\0b".into())];
    for (invocation, place) in [
        (argument, "its arguments"),
        (folder, "its working directory"),
        (variable, "its environment variables"),
    ] {
        let outcome = run(&invocation).outcome;
        assert!(
            exec_failure(&outcome).starts_with(&format!("start /bin/sh: {place}: nul byte found")),
            "{outcome}"
        );
    }
}

#[test]
fn it_gets_no_other_descriptors_than_from_the_standard_library() {
    let list = "exec ls /proc/self/fd";
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", list]).stdin(std::process::Stdio::null());
    let expected = command.output().unwrap().stdout;
    let invocation = shell(list);
    let listed = || (0..50).all(|_| run(&invocation).stdout.head == expected);
    // Others start theirs, and have pipes open, at the same time.
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(listed)).collect();
        assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
    });
}

#[test]
fn open_handles_are_a_leak() {
    for (exit, outcome) in [
        ("exit 0", Outcome::Leaked { passes: false }),
        (
            "exit 3",
            Outcome::Failed {
                cause: FailureCause::ExitCode(3),
                leaked: true,
            },
        ),
        (
            "kill -6 $$",
            Outcome::Crashed {
                signal: 6,
                leaked: true,
            },
        ),
    ] {
        let mut invocation = shell(&format!("sleep 600 & echo $!; {exit}"));
        invocation.leak_timeout = LeakTimeout {
            period: Duration::from_millis(20),
            leak_passes: false,
        };
        let execution = run(&invocation);
        assert_eq!(execution.outcome, outcome);
        assert!(!is_alive(std::str::from_utf8(&execution.stdout.head).unwrap()));
    }
}

#[test]
fn what_a_leaky_process_left_can_be_spared() {
    let mut invocation = shell("sleep 600 & echo $!");
    invocation.leak_timeout.period = Duration::ZERO;
    invocation.kill_leaked = false;
    let execution = run(&invocation);
    assert_eq!(execution.outcome, Outcome::Leaked { passes: true });
    let pid = String::from_utf8(execution.stdout.head).unwrap();
    assert!(is_alive(&pid));
    assert!(
        std::process::Command::new("kill")
            .arg(pid.trim())
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn handles_closed_in_time_are_no_leak() {
    let execution = run(&shell("(sleep 0.05; echo late) &"));
    assert_eq!(execution.outcome, Outcome::Passed);
    assert_eq!(execution.stdout.head, b"late\n");
}

#[test]
fn hundreds_of_megabytes_are_cut_in_the_middle() {
    let bytes = 300 << 20;
    let execution = run(&shell(&format!(
        "echo first; head -c {bytes} /dev/zero; echo last"
    )));
    assert_eq!(execution.outcome, Outcome::Passed);
    let Kept {
        head,
        tail,
        omitted_bytes,
    } = execution.stdout;
    assert!(head.starts_with(b"first\n\0") && tail.ends_with(b"\0last\n"));
    let end = OutputLimit::END_BYTES_DEFAULT;
    assert_eq!((head.capacity(), tail.capacity()), (end, end));
    assert_eq!(
        omitted_bytes,
        bytes + "first\nlast\n".len() as u64 - 2 * end as u64
    );
    assert!(execution.took < Duration::from_secs(60), "{:?}", execution.took);
}

#[test]
fn a_program_that_is_being_written_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    std::fs::copy("/bin/true", &program).unwrap();
    let writer = std::fs::OpenOptions::new().append(true).open(&program).unwrap();
    let closing = std::thread::spawn(move || {
        let (_open, never) = mpsc::channel::<()>();
        never.recv_timeout(Duration::from_millis(30)).unwrap_err();
        drop(writer);
    });
    let mut invocation = shell("");
    invocation.argv = vec![program.into()];
    assert_eq!(run(&invocation).outcome, Outcome::Passed);
    closing.join().unwrap();
}
