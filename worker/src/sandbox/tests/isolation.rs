//! Isolated cases, as root and as this machine has it.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;

const AT: &str = "/no-such/project";

/// A view of one folder whose processes are isolated.
struct Isolated {
    view: View,
    source: PathBuf,
    ground: Ground,
}

impl Isolated {
    fn new(isolation: Isolation) -> Self {
        let ground = Ground::new();
        let source = ground.folder("source", &["data.txt", "sub/x"]);
        let spec = ground.spec(&[(Path::new(AT), &source)], &[]);
        let scratch = ground.0.path().join("isolator");
        fs::create_dir_all(&scratch).unwrap();
        let (isolator, shortfalls) = Isolator::new(isolation, &scratch);
        assert_eq!(shortfalls, [""; 0]);
        assert_eq!(
            fs::read_dir(&scratch).unwrap().count(),
            0,
            "trying it out leaves nothing behind"
        );
        Self {
            view: View::build_isolated(&spec, isolator).unwrap(),
            source,
            ground,
        }
    }

    fn at(level: Level) -> Self {
        Self::new(Isolation::at(level))
    }

    fn run(&self, script: &str) -> Execution {
        shell(&self.view.isolated_case().unwrap(), Path::new(AT), script)
    }

    #[track_caller]
    fn written(&self, script: &str) -> String {
        let execution = self.run(script);
        let stderr = String::from_utf8_lossy(&execution.stderr.head).into_owned();
        assert_eq!(execution.outcome, Outcome::Passed, "{script}: {stderr}");
        String::from_utf8(execution.stdout.head).unwrap()
    }
}

#[test]
fn limits_that_do_not_hold_as_they_are_set_are_told() {
    let ground = Ground::new();
    let nowhere = ground.0.path().join("not-there");
    let told = |level, limits| {
        let isolation = Isolation {
            limits,
            ..Isolation::at(level)
        };
        let (isolator, shortfalls) = Isolator::new(isolation, &nowhere);
        assert!(isolator.is_none());
        shortfalls
    };
    let (memory_bytes, processes) = (Some(1 << 20), Some(1));
    let limits = |memory_bytes, processes| Limits {
        memory_bytes,
        processes,
        cpu_seconds: Some(1),
    };
    let alone = "the address space is limited for each process by itself";
    let both = format!("{alone}, their number not at all");
    let uncounted = "the number of processes is not limited";
    assert_eq!(told(Level::None, limits(memory_bytes, processes)), [&*both]);
    assert_eq!(told(Level::None, limits(memory_bytes, None)), [alone]);
    assert_eq!(told(Level::None, limits(None, processes)), [uncounted]);
    assert_eq!(told(Level::None, limits(None, None)), [""; 0]);
    let private = told(Level::Private, limits(memory_bytes, processes));
    assert!(private[0].starts_with("cases are not private: "), "{private:?}");
    assert_eq!(private.last(), Some(&both));
}

/// What uses more than [`FOR_EACH_PROCESS`] fails, and other things do not.
fn each_process_is_limited(run: impl Fn(&str) -> Outcome) {
    let eats = "head -c 200m /dev/zero | tail -c 200m > /dev/null; exit $?";
    assert!(!run(eats).passes());
    assert!(!run("while :; do :; done").passes());
    let fits = "head -c 1m /dev/zero | tail -c 1m > /dev/null; exit $?";
    assert_eq!(run(fits), Outcome::Passed);
}

const FOR_EACH_PROCESS: Limits = Limits {
    memory_bytes: Some(64 << 20),
    processes: None,
    cpu_seconds: Some(1),
};

#[test]
fn without_control_groups_limits_hold_for_each_process() {
    let ground = Ground::new();
    let isolation = Isolation {
        limits: FOR_EACH_PROCESS,
        ..Isolation::at(Level::Private)
    };
    let (isolator, _) = Isolator::new(isolation, ground.0.path());
    let mut isolator = Arc::into_inner(isolator.unwrap()).unwrap();
    isolator.groups = None;
    let source = ground.folder("source", &["data.txt"]);
    let spec = ground.spec(&[(Path::new(AT), &source)], &[]);
    let view = View::build_isolated(&spec, Some(Arc::new(isolator))).unwrap();
    each_process_is_limited(|script| shell(&view.isolated_case().unwrap(), Path::new(AT), script).outcome);
}

#[test]
fn without_isolation_limits_hold_for_each_process() {
    let ground = Ground::new();
    let source = ground.folder("source", &["data.txt"]);
    let spec = ground.spec(&[(Path::new(AT), &source)], &[]);
    let view = View::build(&spec).unwrap();
    let case = view.case().unwrap();
    for view in [Some(&case), None] {
        each_process_is_limited(|script| {
            let invocation = Invocation {
                limits: FOR_EACH_PROCESS,
                view,
                ..invocation(&case, Path::new("/"), script)
            };
            Executor::new()
                .run(&invocation, &Killer::new().unwrap(), &mut |_| {})
                .outcome
        });
    }
}

#[test]
fn what_a_private_case_writes_is_gone_with_it() {
    for scratch in [Scratch::Memory, Scratch::Disk] {
        writes_are_gone(&Isolated::new(Isolation {
            scratch,
            ..Isolation::at(Level::Private)
        }));
    }
}

fn writes_are_gone(isolated: &Isolated) {
    let setup = "echo prepared > from-script; cat from-script";
    assert_eq!(written(&isolated.view, Path::new(AT), setup), "prepared\n");
    let script = "cat from-script; echo changed > data.txt; rm -r sub; mv from-script moved; cat data.txt; ls; \
                  echo > /tmp/mine";
    assert_eq!(isolated.written(script), "prepared\nchanged\ndata.txt\nmoved\n");
    let script = "cat data.txt from-script; ls; ls -A /tmp";
    assert_eq!(
        isolated.written(script),
        "source/data.txt\nprepared\ndata.txt\nfrom-script\nsub\n"
    );
    assert_eq!(
        fs::read_to_string(isolated.source.join("data.txt")).unwrap(),
        "source/data.txt\n"
    );
}

#[test]
fn a_private_case_has_processes_of_its_own_which_end_with_it() {
    let isolated = Isolated::at(Level::Private);
    let mark = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
    let daemon = format!(
        "(exec >/dev/null 2>&1; setsid sh -c 'while :; do echo x >> {}; sleep 0.01; done') & \
         while ! [ -s {0} ]; do sleep 0.01; done; echo $PPID; echo $$; ls /proc | grep -c '^[0-9]'",
        mark.path().display()
    );
    let written = isolated.written(&daemon);
    let numbers: Vec<u32> = written.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(numbers[0], 1, "its parent is process 1");
    assert!(numbers[1] >= 1000, "its own number is one of many");
    assert!(numbers[2] < 10, "only its own are seen");
    assert_ne!(isolated.written("echo $$"), isolated.written("echo $$"));
    let path = mark.path().to_str().unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let command = |process: fs::DirEntry| fs::read(process.path().join("cmdline")).unwrap_or_default();
    let left = processes
        .filter(|process| process.path().join("cmdline").exists())
        .map(command);
    let left = left.filter(|command| String::from_utf8_lossy(command).contains(path));
    assert_eq!(left.count(), 0, "the daemon is gone");
}

#[test]
fn ends_are_told_as_they_are() {
    let isolated = Isolated::at(Level::Private);
    let crashed = |signal| Outcome::Crashed {
        signal,
        leaked: false,
    };
    let failed = |cause| Outcome::Failed { cause, leaked: false };
    for (script, outcome) in [
        ("exit 7", failed(FailureCause::ExitCode(7))),
        ("kill -ABRT $$", crashed(6)),
        ("kill -TERM $$", crashed(15)),
        ("kill -KILL $$", crashed(9)),
        ("kill -KILL 1; exit 0", Outcome::Passed),
        ("sleep 600 & exit 0", Outcome::Leaked { passes: true }),
    ] {
        assert_eq!(isolated.run(script).outcome, outcome, "{script}");
    }
    let case = isolated.view.isolated_case().unwrap();
    for (program, cwd, why) in [
        (
            "/no/such/program",
            AT,
            "start /no/such/program: No such file or directory (os error 2)",
        ),
        (
            "no-such-program",
            AT,
            "start no-such-program: No such file or directory (os error 2)",
        ),
        (
            "true",
            "/no/such/folder",
            "start true: change to its working directory /no/such/folder in the view: No such file or directory \
             (os error 2)",
        ),
    ] {
        let mut invocation = invocation(&case, Path::new(cwd), "");
        invocation.argv = vec![program.into()];
        let execution = Executor::new().run(&invocation, &Killer::new().unwrap(), &mut |_| {});
        assert_eq!(execution.outcome, failed(FailureCause::Exec(why.to_owned())));
    }
}

#[test]
fn a_slow_one_is_asked_to_end_and_then_ended() {
    let isolated = Isolated::at(Level::Private);
    let period = Duration::from_millis(100);
    let run = |script: &str, grace_period| {
        let case = isolated.view.isolated_case().unwrap();
        let mut invocation = invocation(&case, Path::new(AT), script);
        invocation.slow_timeout = SlowTimeout {
            period,
            terminate_after: std::num::NonZeroU32::new(1).map(Into::into),
            grace_period,
            ..SlowTimeout::default()
        };
        let execution = Executor::new().run(&invocation, &Killer::new().unwrap(), &mut |_| {});
        assert_eq!(execution.outcome, Outcome::TimedOut { passes: false });
        String::from_utf8(execution.stdout.head).unwrap()
    };
    let polite = "trap 'echo asked; exit 1' TERM; while :; do sleep 0.01; done";
    assert_eq!(run(polite, Duration::from_secs(60)), "asked\n");
    let started = Instant::now();
    run(
        "trap '' TERM; while :; do sleep 0.01; done",
        Duration::from_millis(50),
    );
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[test]
fn nothing_can_be_taken_apart_or_looked_into() {
    let hidden = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::write(hidden.path().join("secret"), "x").unwrap();
    let isolated = Isolated::new(Isolation {
        hidden: vec![hidden.path().to_owned(), "/no/such/folder".into()],
        ..Isolation::at(Level::Private)
    });
    let path = hidden.path().display();
    assert_eq!(isolated.written(&format!("ls -A {path}")), "");
    for script in [
        format!("umount {path}"),
        format!("umount -l {path}"),
        format!("umount -l {AT}"),
        "umount -l /tmp".to_owned(),
        format!("cat /proc/{}/environ", std::process::id()),
        "cat /proc/sys/kernel/core_pattern > /tmp/x && cat /tmp/x > /proc/sys/kernel/core_pattern".to_owned(),
        "echo 0 > /sys/fs/cgroup/unified/cgroup.procs || echo 0 > /sys/fs/cgroup/cgroup.procs".to_owned(),
        "mknod /tmp/loop b 7 0 && : < /tmp/loop".to_owned(),
        ": < /dev/kmsg".to_owned(),
        "mount -t tmpfs tmpfs /etc && mount --make-rshared / && mknod /tmp/disk b 8 0".to_owned(),
    ] {
        let outcome = isolated.run(&script).outcome;
        assert!(matches!(outcome, Outcome::Failed { .. }), "{script}: {outcome}");
    }
    let privileges = isolated.written("grep NoNewPrivs /proc/self/status");
    assert_eq!(privileges, "NoNewPrivs:\t1\n");
    assert!(isolated.ground.0.path().is_dir());
}

/// Tries to connect, as far as bash can.
fn connect(address: &str, port: u16) -> String {
    format!("timeout 5 bash -c 'exec 3<>/dev/tcp/{address}/{port}' 2>&1; echo")
}

#[test]
fn on_the_machines_network_the_metadata_service_and_the_farm_cannot_be_reached() {
    let (farm, other) = (
        TcpListener::bind("127.0.0.1:0").unwrap(),
        TcpListener::bind("127.0.0.1:0").unwrap(),
    );
    let isolated = Isolated::new(Isolation {
        unreachable: vec![farm.local_addr().unwrap()],
        ..Isolation::at(Level::Private)
    });
    let refused = "Operation not permitted";
    let said = isolated.written(&connect("169.254.169.254", 80));
    assert!(said.contains(refused), "{said}");
    let said = isolated.written(&connect("127.0.0.1", farm.local_addr().unwrap().port()));
    assert!(said.contains(refused), "{said}");
    let said = isolated.written(&connect("127.0.0.1", other.local_addr().unwrap().port()));
    assert_eq!(said, "\n");
}

#[test]
fn networks_are_as_they_are_set() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for (network, answer) in [(Network::Loopback, "refused"), (Network::Nothing, "unreachable")] {
        let isolated = Isolated::new(Isolation {
            network: Some(network),
            ..Isolation::at(Level::Private)
        });
        let said = isolated.written(&connect("127.0.0.1", port));
        assert!(said.contains(answer), "{said}");
        assert_eq!(
            isolated.written("grep -c : /proc/net/dev"),
            "1\n",
            "there is nothing but lo"
        );
    }
}

#[test]
fn limits_hold_for_all_processes_together() {
    let isolated = Isolated::new(Isolation {
        limits: Limits {
            memory_bytes: Some(64 << 20),
            processes: Some(8),
            cpu_seconds: Some(1),
        },
        ..Isolation::at(Level::Private)
    });
    let eats = "head -c 200m /dev/zero | tail -c 200m > /dev/null; exit $?";
    assert!(!isolated.run(eats).outcome.passes());
    let forks = "for n in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; wait";
    assert!(!isolated.run(forks).outcome.passes());
    assert!(!isolated.run("while :; do :; done").outcome.passes());
    assert_eq!(isolated.written("echo fits"), "fits\n");
}

#[test]
fn a_sealed_case_cannot_write_to_the_machine() {
    let isolated = Isolated::at(Level::Sealed);
    for path in ["/var/tmp/x", "/etc/x", "/usr/x"] {
        let outcome = isolated.run(&format!("echo > {path}")).outcome;
        assert!(!outcome.passes(), "{path}");
    }
    let script = "echo > data.txt; echo > /tmp/x; echo > /dev/shm/x; ls /run /root; cat sub/x";
    assert_eq!(isolated.written(script), "/root:\n\n/run:\nsource/sub/x\n");
}
