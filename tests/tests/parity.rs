//! The parity fixture, which has every feature of nextest that Thresh honours: alone, on a farm and on an engine of
//! the Remote Execution API, each case must come to what the model says, and `cargo nextest` must agree with the model.

use std::time::Duration;
use thresh_tests::casd::Casd;
use thresh_tests::compare::assert_same;
use thresh_tests::events::Event;
use thresh_tests::farm::{Farm, WorkerOptions};
use thresh_tests::model::{SETTINGS, Setting};
use thresh_tests::namespace::{self, Mount};
use thresh_tests::oracle;
use thresh_tests::running::Finished;
use thresh_tests::thresh::Thresh;
use thresh_tests::workspace::{Kept, Workspace};

const ALL: [&str; 2] = ["--workspace", "--all-targets"];

fn oracle_args(setting: &Setting) -> Vec<String> {
    ALL.iter().chain(setting.args).map(ToString::to_string).collect()
}

fn run(thresh: &Thresh, args: &[&str]) -> Finished {
    let args: Vec<&str> = ALL
        .iter()
        .chain(&["--no-fail-fast", "--no-reuse"])
        .chain(args)
        .copied()
        .collect();
    thresh.run(&args)
}

fn check(thresh: &Thresh, setting: &Setting, further: &[&str]) {
    let args: Vec<&str> = setting.args.iter().chain(further).copied().collect();
    let finished = run(thresh, &args);
    assert_same(
        &format!("{}: {finished}", setting.name),
        &setting.statuses(),
        &finished.statuses(),
    );
    check_stream(&finished);
    finished.expect_code(100);
}

/// Checks what holds of every complete run's events.
fn check_stream(finished: &Finished) {
    let events = finished.events();
    let kinds: Vec<&str> = events.iter().map(Event::kind).collect();
    assert_eq!(kinds.first(), Some(&"run-started"));
    assert_eq!(kinds.last(), Some(&"run-ended"));
    let ended = finished.ended();
    let cases = finished.statuses().len() as u64;
    assert_eq!(ended.count("planned"), Some(cases), "{ended:?}");
    assert_eq!(ended.count("reported"), Some(cases), "{ended:?}");
    assert_eq!(ended.text("reason"), "complete");
    assert_eq!(ended.count("exit_code"), finished.code().map(|code| code as u64));
    let passing = finished
        .statuses()
        .values()
        .filter(|status| status.passes)
        .count() as u64;
    let failed = ended.count("failed").expect("run-ended has failed");
    assert_eq!(failed, cases - passing, "{ended:?}");
    let last = events
        .iter()
        .filter(|event| event.kind() == "attempt-ended" && event.is("last"))
        .count();
    assert_eq!(last as u64, cases, "each case has one last attempt");
    assert!(
        ended
            .number("packing")
            .is_some_and(|packing| (0.0..=1.0).contains(&packing)),
        "{ended:?}"
    );
}

#[test]
fn the_oracle_agrees_with_the_model() {
    let fixture = Kept::hold("parity");
    for setting in SETTINGS {
        let found = oracle::run(fixture.root(), &oracle_args(setting));
        assert_same(
            &format!("{}: {}", setting.name, found.report),
            &setting.statuses(),
            &found.statuses,
        );
        assert_eq!(found.code, Some(100), "{}", setting.name);
    }
}

#[test]
fn alone_every_case_comes_to_what_the_model_says() {
    let fixture = Kept::hold("parity");
    let home = tempfile::tempdir().unwrap();
    let thresh = Thresh::new(fixture.root(), home.path());
    for setting in SETTINGS {
        check(&thresh, setting, &[]);
    }
}

#[test]
fn on_a_farm_that_cannot_see_the_client_every_case_comes_to_what_the_model_says() {
    let fixture = Kept::hold("parity");
    let home = tempfile::tempdir().unwrap();
    let mut farm = Farm::start(home.path());
    let mounts = match namespace::available() {
        true => vec![Mount::Hide(fixture.root().to_owned())],
        false => Vec::new(),
    };
    for number in 1..=3 {
        let name = format!("worker-{number}");
        farm.add(&WorkerOptions {
            mounts: mounts.clone(),
            ..WorkerOptions::new(&name, 2)
        });
    }
    let thresh = Thresh::new(fixture.root(), home.path().join("home"));
    for setting in SETTINGS {
        check(&thresh, setting, &["--farm", &farm.url()]);
    }
}

#[test]
fn on_an_engine_every_case_comes_to_what_the_model_says() {
    let fixture = Kept::hold("parity");
    let home = tempfile::tempdir().unwrap();
    let engine = Casd::start(&home.path().join("casd"), 2);
    let thresh = Thresh::new(fixture.root(), home.path().join("home"));
    for setting in SETTINGS {
        check(&thresh, setting, &["--engine", &engine.address(), "-j", "4"]);
    }
}

#[test]
fn on_a_farm_as_an_engine_every_case_comes_to_what_the_model_says() {
    let fixture = Kept::hold("parity");
    let home = tempfile::tempdir().unwrap();
    let farm = Farm::with_workers(home.path(), 2, 2);
    let address = farm.url().replace("http:", "reapi:");
    let thresh = Thresh::new(fixture.root(), home.path().join("home"));
    for setting in SETTINGS {
        check(&thresh, setting, &["--engine", &address, "-j", "4"]);
    }
}

#[test]
fn priority_decides_the_order() {
    let fixture = Kept::hold("parity");
    let home = tempfile::tempdir().unwrap();
    let thresh = Thresh::new(fixture.root(), home.path());
    // Without the cases of groups: a blocked group lets others go first, with nextest too.
    let filter = "test(priority) or binary(=programs) or test(=in_no_group)";
    let finished = run(&thresh, &["-j", "1", "-E", filter]).expect_code(0);
    let events = finished.events();
    let started: Vec<&str> = events
        .iter()
        .filter(|event| event.kind() == "case-started")
        .map(|event| event.text("name"))
        .collect();
    assert_eq!(started.first(), Some(&"with_high_priority"), "{started:?}");
    assert_eq!(started.last(), Some(&"with_low_priority"), "{started:?}");
}

#[test]
fn timeouts_take_as_long_as_they_should() {
    let fixture = Kept::hold("parity");
    let home = tempfile::tempdir().unwrap();
    let thresh = Thresh::new(fixture.root(), home.path());
    let finished = run(&thresh, &["-P", "with-termination"]);
    let events = finished.events();
    let seconds = |name: &str| {
        let ended = events.iter().find(|event| event.is_about("attempt-ended", name));
        ended
            .and_then(|event| event.number("seconds"))
            .unwrap_or_else(|| panic!("{name} has no time"))
    };
    // Two periods of 500 ms, then up to 300 ms of grace.
    assert!((0.95..2.0).contains(&seconds("stays")), "{finished}");
    assert!(
        (1.25..3.0).contains(&seconds("stays_and_ignores_sigterm")),
        "{finished}"
    );
    let slow = events.iter().filter(|event| event.is_about("case-slow", "stays"));
    assert!(slow.count() >= 1, "{finished}");
}

#[test]
fn odd_output_survives_events_and_junit() {
    let fixture = Kept::hold("parity");
    let home = tempfile::tempdir().unwrap();
    let thresh = Thresh::new(fixture.root(), home.path());
    let junit = home.path().join("junit.xml");
    let filter = "test(odd_output) or binary_id(harness::custom)";
    let finished = run(&thresh, &["--junit", junit.to_str().unwrap(), "-E", filter]).expect_code(100);
    let events = finished.events();
    let odd = events
        .iter()
        .find(|event| event.is_about("attempt-ended", "fails_with_odd_output"))
        .unwrap();
    for stream in ["stdout", "stderr"] {
        assert!(odd.text(stream).contains("\u{fffd}\u{fffd} broken"), "{odd:?}");
        assert!(odd.text(stream).contains("\u{1b}[31mred"), "{odd:?}");
    }
    let report = std::fs::read_to_string(&junit).unwrap();
    let report = quick_junit::Report::deserialize_from_str(&report).expect("the report is well-formed");
    let cases: usize = report
        .test_suites
        .iter()
        .map(|suite| suite.test_cases.len())
        .sum();
    assert_eq!(cases, finished.statuses().len());
}

#[test]
fn an_archive_gives_the_same_outcomes() {
    let workspace = Workspace::copy("basic");
    let archive = workspace.temp().join("basic.tar.zst");
    let mut make = std::process::Command::new("cargo");
    thresh_tests::thresh::scrub(&mut make);
    make.args(["nextest", "archive", "--archive-file"])
        .arg(&archive)
        .current_dir(workspace.root());
    assert!(make.status().unwrap().success());
    std::fs::remove_dir_all(workspace.root().join("target")).unwrap();
    workspace.write("data/value.txt", "bad\n");
    let archive = archive.to_str().unwrap();
    let expected = oracle::run(
        &workspace.root(),
        &["--archive-file".to_owned(), archive.to_owned()],
    );
    let found = workspace
        .thresh()
        .run(&["--no-fail-fast", "--archive-file", archive]);
    assert_eq!(expected.statuses.len(), 6, "{}", expected.report);
    assert_same(&found.to_string(), &expected.statuses, &found.statuses());
    assert_eq!(found.code(), expected.code);
}

#[test]
fn the_list_is_that_of_the_oracle() {
    let fixture = Kept::hold("parity");
    let home = tempfile::tempdir().unwrap();
    let thresh = Thresh::new(fixture.root(), home.path());
    let names = |text: &str| {
        let list: serde_json::Value = serde_json::from_str(text).expect("a list is JSON");
        let suites = list["rust-suites"]
            .as_object()
            .expect("a list has suites")
            .clone();
        let mut names = Vec::new();
        for (binary_id, suite) in suites {
            for (name, case) in suite["testcases"].as_object().expect("a suite has cases") {
                names.push((
                    binary_id.clone(),
                    name.clone(),
                    case["filter-match"]["status"].clone(),
                ));
            }
        }
        names.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        names
    };
    let mut command = std::process::Command::new("cargo");
    thresh_tests::thresh::scrub(&mut command);
    command
        .args(["nextest", "list", "-T", "json"])
        .args(ALL)
        .current_dir(fixture.root());
    let expected = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let found = thresh
        .call(&["list", "-T", "json", "--workspace", "--all-targets"])
        .expect_code(0);
    assert_eq!(names(&found.stdout()), names(&expected));
    assert!(found.waited < Duration::from_secs(120));
}
