//! Cases on the client's files.

use thresh_core::outcome::{FailureCause, Outcome};
use thresh_proto::convert::run_id_to_wire;
use thresh_proto::v1::coordinator_message::Message as Order;
use thresh_proto::v1::worker_report::Report;
use thresh_proto::v1::{self, EnvVar, Forget, Output, Revoke, cordon};

use super::*;
use crate::inputs::testing::{in_place_header, shell};

fn failed(code: i32) -> Outcome {
    Outcome::Failed {
        cause: FailureCause::ExitCode(code),
        leaked: false,
    }
}

fn stdout(output: &Output) -> String {
    let stream = output.stdout.clone().unwrap_or_default();
    String::from_utf8([stream.head, stream.tail].concat()).unwrap()
}

fn revoke(kill_running: bool) -> Order {
    Order::Revoke(Revoke {
        run_id: run_id_to_wire(RUN),
        cases: vec![],
        kill_running,
    })
}

#[tokio::test]
async fn cases_are_run_and_reported() {
    let mut fake = Fake::start().await;
    let (mut worker, mut session) = connected(&mut fake).await;
    let cases = vec![
        case(0, "echo unwanted"),
        case(1, "echo why; exit 3"),
        case(2, "kill -9 $$"),
    ];
    session.lease(in_place_header(RUN), cases);
    let (mut started, mut outcomes) = (Vec::new(), std::collections::BTreeMap::new());
    while outcomes.len() < 3 {
        match session.next().await.unwrap() {
            Report::Started(case) => started.push(case.case),
            Report::Attempt(attempt) => {
                assert!(started.contains(&attempt.case) && attempt.generation == 1);
                assert!(attempt.started_micros > 1_600_000_000_000_000);
                let outcome = thresh_proto::convert::outcome_from_wire(attempt.outcome.as_ref()).unwrap();
                outcomes.insert(
                    attempt.case,
                    (outcome, attempt.output.map(|output| stdout(&output))),
                );
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(outcomes[&0], (Outcome::Passed, None));
    assert_eq!(outcomes[&1], (failed(3), Some("why\n".to_owned())));
    assert_eq!(
        outcomes[&2].0,
        Outcome::Crashed {
            signal: 9,
            leaked: false
        }
    );

    session.tell(Order::Forget(Forget {
        run_id: run_id_to_wire(RUN),
    }));
    worker.stop();
    worker.ended().await.unwrap();
    assert_eq!(session.rest().await, []);
}

#[tokio::test]
async fn a_process_gets_nextests_arguments_and_environment() {
    let mut fake = Fake::start().await;
    let (_worker, mut session) = connected(&mut fake).await;
    let script = "printf '%s\\n' \"$@\"; echo --; pwd; env";
    let command = v1::Command {
        before: ["/bin/sh", "-c", script, "bin", "--exact"]
            .map(String::from)
            .to_vec(),
        after: ["--nocapture", "--extra"].map(String::from).to_vec(),
        cwd: "/usr".into(),
        env: vec![EnvVar {
            name: "NEXTEST".into(),
            value: "1".into(),
        }],
        ..Default::default()
    };
    let mut header = in_place_header(RUN);
    header.commands = vec![command];
    header.keep_passing_output = true;
    header.groups = vec![v1::TestGroup {
        name: "serial".into(),
        max_threads: None,
    }];
    header.settings[0].group = 1;
    let mut case = case(7, "a name::with spaces");
    (case.ignored, case.attempt, case.attempts_max, case.group_slot) = (true, 2, 3, 1);
    session.lease(header, vec![case]);
    let (_, outcome, output) = session.attempt().await;
    assert_eq!(outcome, Outcome::Passed);
    let text = stdout(&output);
    let (arguments, rest) = text.split_once("--\n").unwrap();
    assert_eq!(
        arguments.lines().collect::<Vec<_>>(),
        [
            "--exact",
            "a name::with spaces",
            "--nocapture",
            "--ignored",
            "--extra"
        ]
    );
    let (cwd, variables) = rest.split_once('\n').unwrap();
    assert_eq!(cwd, "/usr");
    let mut variables: Vec<&str> = variables
        .lines()
        .filter(|line| line.starts_with("NEXTEST"))
        .collect();
    variables.sort_unstable();
    let run = "00000000-0000-0000-0000-000000001234";
    let expected = [
        "NEXTEST=1".to_owned(),
        "NEXTEST_ATTEMPT=2".to_owned(),
        format!("NEXTEST_ATTEMPT_ID={run}:pkg::bin$a name::with spaces#2"),
        "NEXTEST_BINARY_ID=pkg::bin".to_owned(),
        format!("NEXTEST_RUN_ID={run}"),
        "NEXTEST_STRESS_CURRENT=none".to_owned(),
        "NEXTEST_STRESS_TOTAL=none".to_owned(),
        "NEXTEST_TEST_GLOBAL_SLOT=0".to_owned(),
        "NEXTEST_TEST_GROUP=serial".to_owned(),
        "NEXTEST_TEST_GROUP_SLOT=0".to_owned(),
        "NEXTEST_TEST_NAME=a name::with spaces".to_owned(),
        "NEXTEST_TEST_THREADS=4".to_owned(),
        "NEXTEST_TOTAL_ATTEMPTS=3".to_owned(),
    ];
    let own = |line: &&str| std::env::var(line.split('=').next().unwrap()).is_err() || line.contains("1234");
    let variables: Vec<&str> = variables
        .into_iter()
        .filter(|line| own(line) || expected.contains(&line.to_string()))
        .collect();
    assert_eq!(variables, expected);
}

#[tokio::test]
async fn revocation_gives_back_what_waits_and_kills_what_runs() {
    let mut fake = Fake::start().await;
    let (_worker, mut session) = connected(&mut fake).await;
    let (command, mark) = endless("exec");
    session.lease(
        in_place_header(RUN),
        vec![case(0, &command), case(1, "sleep 1000"), case(2, "true")],
    );
    session.started(1).await;
    until("the case runs", || runs(&mark)).await;
    session.tell(revoke(false));
    assert_eq!(session.returned().await.0, [2]);
    session.tell(revoke(true));
    let mut cancelled = [session.attempt().await, session.attempt().await];
    cancelled.sort_by_key(|(case, ..)| *case);
    assert_eq!(
        cancelled.map(|(case, outcome, _)| (case, outcome)),
        [(0, Outcome::Cancelled), (1, Outcome::Cancelled)]
    );
    assert!(!runs(&mark));
    session.lease_more(RUN, vec![case(2, "exit 5")]);
    assert_eq!(session.attempt().await.1, failed(5));
}

#[tokio::test]
async fn a_forgotten_run_is_killed_and_not_reported() {
    let mut fake = Fake::start().await;
    let (_worker, mut session) = connected(&mut fake).await;
    let (command, mark) = endless("setsid -w");
    session.lease(in_place_header(RUN), vec![case(0, &command)]);
    until("the case runs", || runs(&mark)).await;
    session.started(0).await;
    session.tell(Order::Forget(Forget {
        run_id: run_id_to_wire(RUN),
    }));
    until("the case is dead", || !runs(&mark)).await;
    let other = RunId::from_u128(9);
    session.lease(in_place_header(other), vec![case(3, "exit 1")]);
    assert_eq!(session.attempt().await.0, 3);
}

#[tokio::test]
async fn stopping_does_not_wait_for_the_grace_of_revoked_cases() {
    let mut fake = Fake::start().await;
    let (mut worker, mut session) = connected(&mut fake).await;
    let (script, mark) = endless("trap '' TERM; exec");
    let mut header = in_place_header(RUN);
    let hour = v1::Duration {
        micros: 3_600_000_000,
    };
    header.settings[0].slow_timeout.as_mut().unwrap().grace_period = Some(hour);
    session.lease(header, vec![case(0, &script)]);
    until("the case runs", || runs(&mark)).await;
    session.tell(revoke(true));
    // The order of the revocation has been obeyed when what comes after it is answered.
    session.lease_more(RunId::from_u128(77), vec![case(1, "true")]);
    session.returned().await;
    worker.stop();
    let ended = tokio::time::timeout(Duration::from_secs(60), worker.ended()).await;
    ended.expect("the case was killed").unwrap();
    assert!(!runs(&mark));
}

#[tokio::test]
async fn drain_finishes_what_runs_and_gives_back_the_rest() {
    let mut fake = Fake::start().await;
    let (mut worker, mut session) = connected(&mut fake).await;
    let fifo = tempfile::tempdir().unwrap();
    let gate = fifo.path().join("gate");
    let waits = format!("until [ -e {} ]; do sleep 0.01; done", gate.display());
    session.lease(
        in_place_header(RUN),
        vec![case(0, &waits), case(1, &waits), case(2, "true")],
    );
    session.started(1).await;
    worker.drain();
    let (returned, why) = session.returned().await;
    assert_eq!((returned, why.as_str()), (vec![2], "asked to"));
    assert_eq!(session.cordons[0].reason(), cordon::Reason::Drain);
    session.lease_more(RUN, vec![case(4, "true")]);
    assert_eq!(session.returned().await.0, [4]);
    std::fs::write(&gate, "").unwrap();
    let rest = session.rest().await;
    assert_eq!(rest.len(), 2, "{rest:?}");
    worker.ended().await.unwrap();
}

#[tokio::test]
async fn setup_scripts_run_once_and_hand_on_their_variables() {
    let mut fake = Fake::start().await;
    let (_worker, mut session) = connected(&mut fake).await;
    let count = tempfile::tempdir().unwrap();
    let script = |id: &str, text: String| v1::SetupScript {
        id: id.into(),
        argv: vec!["/bin/sh".into(), "-c".into(), text],
        cwd: "/".into(),
        capture_stdout: true,
        ..Default::default()
    };
    let mut header = in_place_header(RUN);
    header.setup_scripts = vec![
        script(
            "one",
            format!(
                "echo x >> {}/count; echo A=1 > $NEXTEST_ENV; echo said",
                count.path().display()
            ),
        ),
        script("two", "echo B=$NEXTEST_TEST_THREADS > $NEXTEST_ENV".into()),
    ];
    header.binaries.push(Default::default());
    header.keep_passing_output = true;
    header.commands = vec![
        v1::Command {
            setup_scripts: vec![0, 1],
            ..shell()
        },
        v1::Command {
            setup_scripts: vec![1],
            ..shell()
        },
    ];
    let mut other = case(1, "echo $A$B");
    (other.binary, other.command) = (1, 1);
    session.lease(header, vec![case(0, "echo $A$B")]);
    session.lease_more(RUN, vec![other]);
    let (mut scripts, mut said) = (Vec::new(), std::collections::BTreeMap::new());
    while said.len() < 2 {
        match session.next().await.unwrap() {
            Report::SetupScript(script) => scripts.push((script.id, script.worker, script.output.unwrap())),
            Report::Attempt(attempt) => {
                assert_eq!(scripts.len(), 2);
                said.insert(attempt.case, stdout(&attempt.output.unwrap()));
            }
            Report::Started(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((scripts[0].0.as_str(), scripts[0].1.as_str()), ("one", "here"));
    assert_eq!(stdout(&scripts[0].2), "said\n");
    assert_eq!(
        said.into_iter().collect::<Vec<_>>(),
        [(0, "14\n".to_owned()), (1, "4\n".to_owned())]
    );
    assert_eq!(
        std::fs::read_to_string(count.path().join("count")).unwrap(),
        "x\n"
    );
}

#[tokio::test]
async fn a_failed_setup_script_is_reported_before_the_cases_come_back() {
    for text in ["exit 7", "echo nonsense > $NEXTEST_ENV"] {
        let mut fake = Fake::start().await;
        let (_worker, mut session) = connected(&mut fake).await;
        let mut header = in_place_header(RUN);
        header.setup_scripts = vec![v1::SetupScript {
            id: "bad".into(),
            argv: vec!["/bin/sh".into(), "-c".into(), text.into()],
            cwd: "/".into(),
            ..Default::default()
        }];
        session.lease(header, vec![case(0, "true"), case(1, "true")]);
        let Some(Report::SetupScript(script)) = session.next().await else {
            panic!("no report")
        };
        let outcome = thresh_proto::convert::outcome_from_wire(script.outcome.as_ref()).unwrap();
        assert!(!outcome.passes(), "{outcome}");
        let (cases, why) = session.returned().await;
        assert_eq!(cases, [0, 1]);
        assert!(why.contains("`bad` failed"), "{why}");
        assert_eq!(session.cordons, []);
    }
}

#[tokio::test]
async fn words_that_cannot_be_understood_come_back() {
    let mut fake = Fake::start().await;
    let (_worker, mut session) = connected(&mut fake).await;
    session.lease_more(RUN, vec![case(0, "true")]);
    assert!(session.returned().await.1.contains("was not told of the run"));
    let mut lost = case(1, "true");
    lost.command = 5;
    session.lease(in_place_header(RUN), vec![lost, case(2, "exit 2")]);
    let (cases, why) = session.returned().await;
    assert_eq!(cases, [1]);
    assert!(why.contains("cases.command"), "{why}");
    assert_eq!(session.attempt().await.1, failed(2));
}
