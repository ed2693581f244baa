//! Reuse by content: what runs again, what does not, and what is never stored.

use std::time::Duration;

use thresh_tests::farm::Farm;
use thresh_tests::running::{Finished, Running};
use thresh_tests::status::Word;
use thresh_tests::workspace::Workspace;

/// Cases of the fixture that run by default.
const CASES: usize = 6;

fn word(finished: &Finished, name: &str) -> Word {
    let statuses = finished.statuses();
    let found = statuses.iter().find(|((_, case), _)| case == name);
    found
        .unwrap_or_else(|| panic!("{name} is missing: {finished}"))
        .1
        .word
}

fn all_reused(finished: &Finished) {
    let statuses = finished.statuses();
    assert_eq!(statuses.len(), CASES, "{finished}");
    assert!(
        statuses.values().all(|status| status.word == Word::Reused),
        "{finished}"
    );
    assert_eq!(finished.attempts(), 0, "{finished}");
    assert_eq!(finished.ended().count("reused"), Some(CASES as u64));
    assert_eq!(finished.ended().text("verdict"), "pass");
}

fn none_reused(finished: &Finished) {
    assert!(
        finished
            .statuses()
            .values()
            .all(|status| status.word != Word::Reused),
        "{finished}"
    );
    assert!(finished.attempts() >= CASES, "{finished}");
}

/// Checks that only these cases ran, and that all others were reused.
fn only_ran(finished: &Finished, names: &[&str]) {
    let statuses = finished.statuses();
    let ran = (statuses.iter()).filter(|(_, status)| status.word != Word::Reused);
    let ran: Vec<&str> = ran.map(|((_, name), _)| name.as_str()).collect();
    assert_eq!(ran, names, "{finished}");
}

#[test]
fn an_unchanged_tree_is_green_at_once_and_an_edit_runs_what_reads_it() {
    let workspace = Workspace::git("basic");
    let thresh = workspace.thresh();
    let run = || thresh.run::<&str>(&[]).expect_code(0);
    none_reused(&run());
    all_reused(&run());

    workspace.write("data/value.txt", "good \n");
    only_ran(&run(), &["reads_a_file"]);
    // No case reads it.
    workspace.write("data/new.txt", "new\n");
    all_reused(&run());
    // Git ignores it, and a case looks for it all the same.
    workspace.write(".gitignore", "/target\nflaky\n");
    all_reused(&run());
    workspace.write("data/flaky", "");
    let flaky = thresh.run(&["--retries", "1"]).expect_code(0);
    assert_eq!(word(&flaky, "flaky_on_request"), Word::Flaky, "{flaky}");
    workspace.remove("data/flaky");
    // Back to what was tested, as after a revert or a merge.
    workspace.git_do(&["checkout", "--quiet", "--", "."]);
    all_reused(&run());
    // A bit that decides whether a file can be executed.
    let file = workspace.root().join("data/value.txt");
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    only_ran(&run(), &["reads_a_file"]);
    // And whoever wants no reuse gets none.
    none_reused(&thresh.run(&["--no-reuse"]).expect_code(0));
}

#[test]
fn where_files_are_not_to_be_observed_any_edit_runs_all_again() {
    let workspace = Workspace::git("basic");
    workspace.write("thresh.toml", "[reuse]\nfiles = \"workspace\"\n");
    let thresh = workspace.thresh();
    let run = || thresh.run::<&str>(&[]).expect_code(0);
    none_reused(&run());
    all_reused(&run());
    workspace.write("data/new.txt", "new\n");
    none_reused(&run());
    // A file that git ignores does not count.
    workspace.write(".gitignore", "/target\nignored.txt\n");
    none_reused(&run());
    workspace.write("ignored.txt", "whatever\n");
    all_reused(&run());
}

#[test]
fn code_arguments_and_environment_are_part_of_the_key() {
    let workspace = Workspace::git("basic");
    let thresh = workspace.thresh();
    none_reused(&thresh.run::<&str>(&[]).expect_code(0));
    none_reused(
        &thresh
            .clone()
            .var("DATABASE_URL", "elsewhere")
            .run::<&str>(&[])
            .expect_code(0),
    );
    all_reused(
        &thresh
            .clone()
            .var("GITHUB_RUN_ID", "12")
            .run::<&str>(&[])
            .expect_code(0),
    );
    none_reused(&thresh.run(&["--release"]).expect_code(0));
    // Only what can reach the function runs.
    let source = std::fs::read_to_string(workspace.root().join("src/lib.rs")).unwrap();
    workspace.write("src/lib.rs", &source.replace("    1\n", "    2\n"));
    only_ran(
        &thresh.run::<&str>(&[]).expect_code(0),
        &["tests::number_is_small"],
    );
    let told = || {
        let told = thresh.call(&["explain", "number_is_small"]).expect_code(0);
        told.stdout()
    };
    assert!(told().contains("is reused"), "{}", told());
    workspace.write("src/lib.rs", &source.replace("    1\n", "    3\n"));
    let differs = told();
    assert!(differs.contains("changed since its last pass: code"), "{differs}");
    assert!(differs.contains("number\n"), "the function is named: {differs}");
}

#[test]
fn cargo_and_thresh_take_turns_and_build_nothing_again() {
    let workspace = Workspace::git("basic");
    let thresh = workspace.thresh();
    none_reused(&thresh.run::<&str>(&[]).expect_code(0));
    let mut cargo = std::process::Command::new("cargo");
    thresh.surround(&mut cargo);
    let built = cargo.args(["test", "--no-run"]).output().unwrap();
    let said = String::from_utf8(built.stderr).unwrap();
    assert!(built.status.success() && !said.contains("Compiling"), "{said}");
    let again = thresh.run::<&str>(&[]).expect_code(0);
    assert!(!again.to_string().contains("Compiling"), "{again}");
    all_reused(&again);
    let explained = || thresh.call(&["explain", "always_passes"]).expect_code(0).stdout();
    assert!(!explained().contains("test binary counts"), "{}", explained());
    workspace.write("tests/cases.rs", "#[test] fn always_passes() {}\n");
    let built = cargo.output().unwrap();
    assert!(built.status.success(), "{built:?}");
    let whole = explained();
    assert!(whole.contains("did not see how it was linked"), "{whole}");
}

#[test]
fn who_reads_what_another_case_writes_runs_when_that_one_changes() {
    let workspace = Workspace::git("basic");
    let thresh = workspace.thresh();
    let source = "use std::{fs, path::{Path, PathBuf}};
        fn shared() -> PathBuf { Path::new(env!(\"CARGO_TARGET_TMPDIR\")).join(\"shared\") }
        fn own() -> PathBuf { Path::new(env!(\"CARGO_TARGET_TMPDIR\")).join(\"own\") }
        #[test] fn writes() { fs::write(shared(), \"one\").unwrap(); }
        #[test] fn reads() { let _ = fs::read(shared()); }
        #[test] fn apart() { let _ = fs::read(own()); }";
    workspace.write("tests/shared.rs", source);
    let one_after_the_other = || thresh.run(&["--test-threads", "1"]).expect_code(0);
    one_after_the_other();
    // The second time the file is there, and who wrote it first is seen to write over it.
    one_after_the_other();
    only_ran(&one_after_the_other(), &[]);
    workspace.write("tests/shared.rs", &source.replace("\"one\"", "\"two\""));
    only_ran(&one_after_the_other(), &["reads", "writes"]);
}

#[test]
fn only_clean_passes_are_stored() {
    let workspace = Workspace::git("basic");
    let thresh = workspace.thresh();
    workspace.write("data/value.txt", "bad\n");
    workspace.write("data/flaky", "");
    workspace.write("data/leaky", "");
    workspace.write("data/stuck", "");
    let args = ["-P", "short", "--retries", "1"];
    let first = thresh.run(&args).expect_code(100);
    let again = thresh.run(&args).expect_code(100);
    let expected = [
        ("reads_a_file", Word::Failed),
        ("flaky_on_request", Word::Flaky),
        ("leaky_on_request", Word::Leaked),
        ("stuck_on_request", Word::TimedOut),
    ];
    for (name, outcome) in expected {
        assert_eq!(word(&first, name), outcome, "{name} at first: {first}");
        assert_eq!(word(&again, name), outcome, "{name} the second time: {again}");
    }
    for name in ["always_passes", "tests::number_is_small"] {
        assert_eq!(word(&again, name), Word::Reused, "{again}");
    }
}

#[test]
fn a_tree_that_changes_during_the_run_stores_only_what_was_seen_not_to_depend_on_it() {
    let workspace = Workspace::git("basic");
    let thresh = workspace.thresh();
    workspace.write("data/leaky", "");
    let seen = workspace.temp().join("stuck");
    workspace.write("data/stuck", seen.to_str().unwrap());
    let run = thresh.start(&["-P", "default"]);
    thresh_tests::wait::until("stuck_on_request sees its file", Duration::from_secs(120), || {
        seen.exists().then_some(())
    });
    // The case looks for this file every second.
    workspace.remove("data/stuck");
    run.finish().expect_code(0);
    std::fs::remove_file(&seen).unwrap();
    let again = thresh.run(&["-P", "default"]).expect_code(0);
    assert_eq!(word(&again, "stuck_on_request"), Word::Passed, "{again}");
    for name in ["always_passes", "reads_a_file", "flaky_on_request"] {
        assert_eq!(word(&again, name), Word::Reused, "{again}");
    }
}

#[test]
fn two_runs_at_once_share_their_state() {
    let first = Workspace::git("basic");
    let second = Workspace::git("basic");
    let home = first.temp().join("home");
    let shared = |workspace: &Workspace| thresh_tests::thresh::Thresh::new(workspace.root(), &home);
    let runs: Vec<Running> = [&first, &second, &first]
        .iter()
        .map(|workspace| shared(workspace).start::<&str>(&[]))
        .collect();
    for run in runs {
        let finished = run.finish().expect_code(0);
        assert_eq!(finished.statuses().len(), CASES);
    }
    all_reused(&shared(&second).run::<&str>(&[]).expect_code(0));
}

#[test]
fn explain_names_what_differs_and_a_plan_what_would_run() {
    let workspace = Workspace::git("basic");
    let thresh = workspace.thresh();
    let explain = |case: &str| thresh.call(&["explain", case]).expect_code(0).stdout();
    let never = explain("reads_a_file");
    assert!(never.contains("runs: no clean pass of it is stored"), "{never}");
    let run = thresh.run::<&str>(&[]).expect_code(0);
    let past = format!("last pass: run {}", run.ended().text("run_id"));
    let unchanged = explain("reads_a_file");
    assert!(
        unchanged.contains("is reused:") && unchanged.contains(&past),
        "{unchanged}"
    );

    workspace.write("data/value.txt", "good \n");
    let source = std::fs::read_to_string(workspace.root().join("src/lib.rs")).unwrap();
    workspace.write("src/lib.rs", &source.replace("u32 {\n    1", "u32 {\n    2"));
    let plan = thresh.call(&["run", "--plan"]).expect_code(0).stdout();
    let word_of = |case: &str| {
        let line = plan.lines().find(|line| line.ends_with(case));
        line.and_then(|line| line.split_whitespace().next())
            .unwrap_or_default()
    };
    let edited = ["reads_a_file", "number_is_small"];
    for case in edited {
        assert_eq!(word_of(case), "RUN", "{plan}");
    }
    for case in ["flaky_on_request", "always_passes"] {
        assert_eq!(word_of(case), "REUSE", "{plan}");
    }
    let file = explain("reads_a_file");
    assert!(
        file.contains("changed since its last pass: files") && file.contains("data/value.txt (was: content"),
        "{file}"
    );
    let code = explain("number_is_small");
    for part in [
        "changed since its last pass: code",
        "  basic::number\n",
        "reached by: basic::tests::number_is_small -> basic::number",
        &past,
    ] {
        assert!(code.contains(part), "{part:?} is missing: {code}");
    }
    let run = thresh.run::<&str>(&[]).expect_code(0);
    only_ran(&run, &["tests::number_is_small", "reads_a_file"]);
}

#[test]
fn affected_are_the_cases_that_a_change_since_a_commit_concerns() {
    let workspace = Workspace::git("basic");
    let thresh = workspace.thresh();
    thresh.run::<&str>(&[]).expect_code(0);
    let affected = |args: &[&str]| {
        let called = thresh.call(&[&["affected"], args].concat()).expect_code(0);
        let lines = called.stdout();
        lines.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let since = |revision: &str| affected(&["--base", revision]);
    assert_eq!(affected(&[]), [""; 0]);
    assert_eq!(since("HEAD"), [""; 0]);
    workspace.write("data/value.txt", "good \n");
    assert_eq!(affected(&[]), ["basic::cases reads_a_file"]);
    assert_eq!(since("HEAD"), ["basic::cases reads_a_file"]);
    workspace.git_do(&["commit", "--quiet", "--all", "--message=second"]);
    // What it reads next with that file is known only when it has run.
    thresh.run::<&str>(&[]).expect_code(0);
    let source = std::fs::read_to_string(workspace.root().join("src/lib.rs")).unwrap();
    workspace.write("src/lib.rs", &source.replace("u32 {\n    1", "u32 {\n    2"));
    assert_eq!(since("HEAD"), ["basic tests::number_is_small"]);
    let both = ["basic tests::number_is_small", "basic::cases reads_a_file"];
    assert_eq!(since("HEAD~1"), both);
    thresh.run::<&str>(&[]).expect_code(0);
    assert_eq!(since("HEAD~1"), both);
    assert_eq!(affected(&[]), [""; 0]);
    let json = thresh
        .call(&["affected", "--base=HEAD", "--message-format=json"])
        .expect_code(0);
    let answer: serde_json::Value = serde_json::from_str(&json.stdout()).unwrap();
    assert_eq!(answer["selected"], CASES);
    assert_eq!(answer["affected"][0]["because"], serde_json::json!(["code"]));
    let unknown = thresh.call(&["affected", "--base", "nosuch"]).expect_code(96);
    unknown.expect_stderr("find the commit `nosuch`");
}

#[test]
fn a_farm_reuses_what_anybody_passed() {
    let workspace = Workspace::git("basic");
    let farm = Farm::with_workers(&workspace.temp(), 1, 2);
    let url = farm.url();
    none_reused(&workspace.thresh().run(&["--farm", &url]).expect_code(0));
    let other = workspace.thresh();
    all_reused(&other.run(&["--farm", &url]).expect_code(0));
}

#[test]
fn on_a_farm_too_an_edit_runs_only_what_it_concerns() {
    let workspace = Workspace::git("basic");
    let farm = Farm::with_workers(&workspace.temp(), 1, 2);
    let url = farm.url();
    let thresh = workspace.thresh();
    let run = || thresh.run(&["--farm", &url]).expect_code(0);
    none_reused(&run());
    all_reused(&run());
    workspace.write("data/value.txt", "good \n");
    only_ran(&run(), &["reads_a_file"]);
    workspace.write("data/new.txt", "new\n");
    all_reused(&run());
    let told = thresh
        .call(&["explain", "--farm", &url, "always_passes"])
        .expect_code(0);
    let told = told.stdout();
    assert!(told.contains("its code can open no file"), "{told}");
    // Git ignores it, so no worker is shown it: a case that looks for it does not find it there, and here it would.
    workspace.write(".gitignore", "/target\nflaky\n");
    workspace.write("data/flaky", "");
    only_ran(&run(), &["flaky_on_request"]);
    // What passed there says nothing of a run here.
    workspace.remove("data/flaky");
    let here = thresh.run::<&str>(&[]).expect_code(0);
    assert_eq!(word(&here, "reads_a_file"), Word::Passed, "{here}");
}

#[test]
fn history_knows_what_ran() {
    let workspace = Workspace::git("basic");
    let thresh = workspace.thresh();
    thresh.run::<&str>(&[]).expect_code(0);
    let history = thresh.call(&["history", "always_passes"]).expect_code(0).stdout();
    assert!(history.contains("always_passes"), "{history}");
    assert!(!history.contains("reads_a_file"), "{history}");
    let nothing = thresh.call(&["history", "nosuch"]).expect_code(4);
    nothing.expect_stderr("find a case that matches `nosuch`");
    let planned = thresh.run(&["--no-reuse"]).expect_code(0);
    let events = planned.events();
    let plan = events.iter().find(|event| event.kind() == "planned").unwrap();
    assert_eq!(plan.count("known"), Some(CASES as u64), "{plan:?}");
}

#[test]
fn an_audit_runs_what_could_be_reused_and_finds_what_the_key_misses() {
    const MISSED: &str = "basic::cases flaky_on_request";
    let workspace = Workspace::git("basic");
    // So that no key has the file that git ignores.
    workspace.write(
        "thresh.toml",
        "[reuse]\nfiles = \"workspace\"\naudit = \"100%\"\n",
    );
    workspace.write(".gitignore", "/target\nflaky\n");
    let thresh = workspace.thresh();
    let nothing = thresh.call(&["audit", "report"]).expect_code(0);
    assert!(nothing.stdout().contains("nothing yet"), "{nothing}");
    let first = thresh.run::<&str>(&[]).expect_code(0);
    none_reused(&first);
    all_reused(&thresh.run(&["--audit", "0%"]).expect_code(0));
    thresh
        .run(&["--audit", "120%"])
        .expect_code(96)
        .expect_stderr("at most 100%");

    let agreed = thresh.run(&["--audit", "100%"]).expect_code(0);
    none_reused(&agreed);
    let findings = |finished: &Finished| -> Vec<(String, String)> {
        let events = finished.events();
        let audited = events.iter().filter(|event| event.kind() == "case-audited");
        let mut found: Vec<_> = audited
            .map(|event| (event.text("name").to_owned(), event.text("finding").to_owned()))
            .collect();
        found.sort();
        found
    };
    let found = findings(&agreed);
    assert_eq!(found.len(), CASES, "{agreed}");
    assert!(found.iter().all(|(_, finding)| finding == "agreed"), "{agreed}");
    assert!(agreed.stderr.contains(&format!("({CASES} audited)")), "{agreed}");

    workspace.write("data/flaky", "");
    let disagreed = thresh.run::<&str>(&[]).expect_code(100);
    assert_eq!(word(&disagreed, "flaky_on_request"), Word::Failed, "{disagreed}");
    let last = agreed.ended().text("run_id").to_owned();
    let note = format!(
        "reuse was wrong: {MISSED} does not pass, though its pass of run {last} is stored under the same key; it is not \
         reused any more (thresh audit report)"
    );
    assert!(disagreed.stderr.contains(&note), "{disagreed}");
    let wrong: Vec<_> = findings(&disagreed)
        .into_iter()
        .filter(|(_, finding)| finding == "disagreed")
        .collect();
    assert_eq!(wrong, [("flaky_on_request".to_owned(), "disagreed".to_owned())]);

    let report = thresh.call(&["audit", "report"]).expect_code(0);
    for part in ["12 cases: 11 agreed, 0 flaky, 1 disagreed", MISSED, "panicked at"] {
        assert!(report.stdout().contains(part), "{part}: {report}");
    }
    let json = thresh
        .call(&["audit", "report", "--json"])
        .expect_code(0)
        .stdout();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let told = &json["disagreements"][0];
    assert_eq!(
        (&json["disagreed"], &told["past_run"], &told["name"]),
        (&1.into(), &last.into(), &"flaky_on_request".into())
    );

    workspace.remove("data/flaky");
    let quiet = || thresh.run(&["--audit", "0%"]).expect_code(0);
    for _ in 0..2 {
        only_ran(&quiet(), &["flaky_on_request"]);
    }
    let why = thresh.call(&["explain", "flaky_on_request"]).expect_code(0);
    assert!(why.stdout().contains("an audit disagreed"), "{why}");
    thresh
        .call(&["audit", "trust", "reads_a_file"])
        .expect_code(4)
        .expect_stderr("thresh audit report");
    let trusted = thresh.call(&["audit", "trust", MISSED]).expect_code(0);
    assert!(trusted.stdout().contains("may be reused again"), "{trusted}");
    all_reused(&quiet());
}
