//! What outlives runs, through the real program: quarantine, past runs, and what happened in one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::Value;
use thresh_tests::farm::Farm;
use thresh_tests::running::Finished;
use thresh_tests::thresh::Thresh;
use thresh_tests::workspace::Workspace;

const FLAKY: &str = "basic::cases flaky_on_request";

fn json_lines(finished: &Finished) -> Vec<Value> {
    let lines = finished.lines.iter();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The statuses with which the case that fails on request ended.
fn status(finished: &Finished) -> Vec<String> {
    let events = finished.events();
    let ended = events
        .iter()
        .filter(|event| event.is_about("case-ended", "flaky_on_request"));
    ended.map(|event| event.text("status").to_owned()).collect()
}

fn add(thresh: &Thresh, case: &str, until: &str) -> Finished {
    thresh.call(&["quarantine", "add", case, "--owner", "alice", "--until", until])
}

#[test]
fn a_quarantined_case_fails_its_run_before_and_after_but_not_meanwhile() {
    let workspace = Workspace::copy("basic");
    let thresh = workspace.thresh();
    workspace.write("data/flaky", "");
    add(&thresh, "flaky", "14d")
        .expect_code(4)
        .expect_stderr("has never run");
    let before = thresh.run::<&str>(&[]).expect_code(100);
    assert_eq!(status(&before), ["failed"]);

    add(&thresh, "flaky_on_reqest", "14d")
        .expect_code(4)
        .expect_stderr(FLAKY);
    add(&thresh, "on_request", "14d")
        .expect_code(96)
        .expect_stderr("--all");
    add(&thresh, "flaky", "2020-01-01")
        .expect_code(96)
        .expect_stderr("not in the future");
    add(&thresh, "flaky", "120d")
        .expect_code(96)
        .expect_stderr("90 days");
    assert!(
        thresh
            .call(&["quarantine", "list"])
            .expect_code(0)
            .lines
            .is_empty()
    );
    let added = add(&thresh, "flaky", "14d").expect_code(0);
    assert!(added.stdout().contains(FLAKY), "{added}");

    let meanwhile = thresh.run::<&str>(&[]).expect_code(0);
    assert_eq!(status(&meanwhile), ["quarantined"]);
    assert!(meanwhile.stderr.contains("QUARANTINED FAIL"), "{meanwhile}");
    let list = thresh.call(&["quarantine", "list"]).expect_code(0);
    assert!(
        list.stdout().contains("ACTIVE") && list.stdout().contains("alice"),
        "{list}"
    );

    thresh.call(&["quarantine", "expire", "something"]).expect_code(4);
    thresh.call(&["quarantine", "expire", FLAKY]).expect_code(0);
    let list = json_lines(&thresh.call(&["quarantine", "list", "--json"]).expect_code(0));
    assert_eq!((list.len(), &list[0]["state"]), (1, &"expired".into()));
    let after = thresh.run::<&str>(&[]).expect_code(100);
    assert_eq!(status(&after), ["failed"]);
}

#[test]
fn a_run_is_told_again() {
    let workspace = Workspace::copy("basic");
    let thresh = workspace.thresh();
    workspace.write("data/flaky", "");
    let empty = thresh.call(&["replay", "latest"]).expect_code(96);
    assert!(empty.stderr.contains("none that has ended"), "{empty}");
    let run = thresh.run(&["--profile", "twice"]).expect_code(0);
    let id = run.ended().text("run_id").to_owned();

    let history = thresh.call(&["history", "flaky", "--json"]).expect_code(0);
    let history = json_lines(&history);
    assert_eq!(
        (&history[0]["flaky_runs"], &history[0]["flake_rate"]),
        (&1.into(), &1.0.into())
    );

    let runs = json_lines(&thresh.call(&["replay", "--json"]).expect_code(0));
    assert_eq!(
        (&runs[0]["run_id"], &runs[0]["verdict"]),
        (&id.clone().into(), &"flaky".into())
    );

    let path = workspace.temp().join("trace.json");
    let trace = path.to_str().unwrap();
    let told = thresh
        .call(&["replay", "latest", "--trace", trace])
        .expect_code(0);
    let text = told.stdout();
    assert!(
        text.contains(&id) && text.contains("Tried again") && text.contains('█'),
        "{told}"
    );
    let saved = std::fs::read_to_string(&path).unwrap();
    let printed = thresh.call(&["replay", "latest", "--trace", "-"]).expect_code(0);
    assert_eq!(printed.stdout(), saved);
    let trace: Value = serde_json::from_str(&saved).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let count = |ph: &str| events.iter().filter(|event| event["ph"] == ph).count();
    assert_eq!((count("X"), count("s"), count("f")), (run.attempts(), 1, 1));

    let json = json_lines(&thresh.call(&["replay", &id[..20], "--json"]).expect_code(0));
    assert_eq!(json[0]["attempts"].as_array().unwrap().len(), run.attempts());
    let nowhere = workspace.temp().join("no/such/folder.json");
    let nowhere = nowhere.to_str().unwrap();
    thresh
        .call(&["replay", &id, "--trace", nowhere])
        .expect_code(96)
        .expect_stderr(nowhere);
    thresh
        .call(&["replay", "ffffffff"])
        .expect_code(96)
        .expect_stderr("begins with ffffffff");
    let unknown = "ffffffff-ffff-7fff-bfff-ffffffffffff";
    thresh
        .call(&["replay", unknown])
        .expect_code(96)
        .expect_stderr(unknown);
    thresh
        .call(&["replay", "yesterday"])
        .expect_code(96)
        .expect_stderr("`latest`");
}

#[test]
fn a_farm_keeps_the_records_of_its_runs() {
    let workspace = Workspace::copy("basic");
    workspace.write("data/flaky", "");
    let farm = Farm::with_workers(&workspace.temp(), 1, 2);
    let thresh = workspace.thresh().var("THRESH_FARM", farm.url());
    thresh.run::<&str>(&[]).expect_code(100);
    add(&thresh, FLAKY, "1d").expect_code(0);
    thresh.run::<&str>(&[]).expect_code(0);
    let told = thresh.call(&["replay", "latest"]).expect_code(0);
    assert!(
        told.stdout().contains("worker-1") && told.stdout().contains("1 quarantined"),
        "{told}"
    );

    let alone = workspace.thresh();
    for (command, told) in [
        (&["quarantine", "list"][..], "no case"),
        (&["replay"], "no run yet"),
        (&["history"], "nothing yet"),
    ] {
        let none = alone.call(command).expect_code(0).expect_stderr(told);
        assert!(none.lines.is_empty(), "{none}");
    }
}
