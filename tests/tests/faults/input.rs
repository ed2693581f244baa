//! Bad input: workspaces, filters, profiles, configuration.

use thresh_tests::oracle;
use thresh_tests::running::Finished;
use thresh_tests::thresh::Thresh;
use thresh_tests::workspace::Workspace;

/// Runs `thresh run` on a fixture that something is wrong with.
fn run(fixture: &str, args: &[&str]) -> Finished {
    Workspace::copy(fixture).thresh().run(args)
}

#[test]
fn a_folder_without_a_workspace() {
    let folder = tempfile::tempdir().unwrap();
    let thresh = Thresh::new(folder.path(), folder.path().join("home"));
    thresh
        .run::<&str>(&[])
        .expect_code(102)
        .expect_stderr("Cargo.toml");
}

#[test]
fn code_that_does_not_build() {
    run("broken/build-error", &[])
        .expect_code(101)
        .expect_stderr("mismatched types");
}

#[test]
fn a_workspace_without_cases() {
    run("broken/no-tests", &[]).expect_code(4);
    run("broken/no-tests", &["--no-tests", "pass"]).expect_code(0);
    run("basic", &["no_case_has_this_in_its_name"]).expect_code(4);
}

#[test]
fn a_harness_that_prints_garbage_for_a_list() {
    let finished = run("broken/garbage-list", &[])
        .expect_code(104)
        .expect_stderr("garbage-list::listed");
    finished.expect_stderr("hello, this is not a list of cases");
}

#[test]
fn a_harness_that_cannot_list() {
    let finished = run("broken/failing-list", &[])
        .expect_code(104)
        .expect_stderr("failing-list::listed");
    finished.expect_stderr("unknown argument --list");
}

#[test]
fn a_setup_script_that_fails() {
    let finished = run("broken/setup-fails", &[]).expect_code(105);
    assert_eq!(finished.ended().text("reason"), "setup-script-failed");
    finished.expect_stderr("broken");
}

#[test]
fn a_setting_that_nobody_knows() {
    run("broken/unknown-setting", &[]).expect_stderr("slow-timeuot");
}

#[test]
fn a_filterset_that_cannot_be_read() {
    run("basic", &["-E", "tset(reads)"])
        .expect_code(94)
        .expect_stderr("tset");
}

#[test]
fn a_profile_that_is_not_there() {
    run("basic", &["-P", "shrt"])
        .expect_code(96)
        .expect_stderr("short");
}

#[test]
fn a_package_that_is_not_there() {
    let finished = run("basic", &["-p", "basci"]);
    assert!(matches!(finished.code(), Some(96 | 101 | 102)), "{finished}");
    finished.expect_stderr("basci");
}

#[test]
fn a_configuration_that_cannot_be_read() {
    let workspace = Workspace::copy("basic");
    workspace.write("thresh.toml", "[run]\nslots = = 3\n");
    workspace
        .thresh()
        .run::<&str>(&[])
        .expect_code(96)
        .expect_stderr("thresh.toml:2:9");
    workspace.write("thresh.toml", "[run]\nslts = 3\n");
    workspace
        .thresh()
        .run::<&str>(&[])
        .expect_code(96)
        .expect_stderr("slots");
}

#[test]
fn arguments_that_make_no_sense() {
    let folder = tempfile::tempdir().unwrap();
    let thresh = Thresh::new(folder.path(), folder.path().join("home"));
    let data = folder.path().join("data");
    let data = data.to_str().unwrap();
    for (args, said) in [
        (&["run", "--deadline", "0s"][..], "some time"),
        (&["history", "--limit", "51"], "50"),
        (&["replay", "--limit", "0"], "1..=10000"),
        (
            &["coordinator", "--data", data, "--share", "=3"],
            "a submitter has a name",
        ),
        (
            &["coordinator", "--data", data, "--share", "x=1", "--share", "x=2"],
            "names `x` twice",
        ),
    ] {
        thresh.call(args).expect_code(96).expect_stderr(said);
    }
}

#[test]
fn no_slots() {
    let finished = run("basic", &["-j", "0"]);
    assert!(matches!(finished.code(), Some(2 | 96)), "{finished}");
}

#[test]
fn a_run_stops_at_the_first_failure_unless_told_otherwise() {
    let workspace = Workspace::copy("basic");
    workspace.write("data/value.txt", "bad\n");
    let first = "[[profile.default.overrides]]\nfilter = 'test(reads_a_file)'\npriority = 9\n";
    workspace.write(".config/nextest.toml", first);
    let thresh = workspace.thresh();
    let finished = thresh
        .run(&["--no-reuse", "-j", "1", "--fail-fast"])
        .expect_code(100);
    assert_eq!(finished.ended().text("reason"), "max-fail");
    let all = thresh
        .run(&["--no-reuse", "-j", "1", "--no-fail-fast"])
        .expect_code(100);
    assert_eq!(all.ended().count("not_run"), Some(0));
    assert_eq!(all.ended().count("failed"), Some(1));
}

#[test]
fn a_plan_runs_nothing() {
    let workspace = Workspace::copy("basic");
    let planned = workspace.thresh().call(&["run", "--plan"]).expect_code(0);
    assert!(
        planned.stdout().contains("reads_a_file") || planned.stderr.contains("reads_a_file"),
        "{planned}"
    );
    let history = workspace.thresh().call(&["history"]).expect_code(0);
    assert!(!history.stdout().contains("reads_a_file"), "{history}");
}

#[test]
fn the_human_report_says_what_failed_and_how_to_run_it_again() {
    let workspace = Workspace::copy("basic");
    workspace.write("data/value.txt", "bad\n");
    let finished = workspace
        .thresh()
        .call(&["run", "--no-fail-fast"])
        .expect_code(100);
    let text = format!("{}\n{}", finished.stdout(), finished.stderr);
    for part in ["reads_a_file", "left: \"bad\"", "thresh run", "packing", "Floor"] {
        assert!(text.contains(part), "{part:?} is missing: {finished}");
    }
    assert!(
        !text.contains('\u{1b}'),
        "colours although nobody is at a terminal: {finished}"
    );
}

#[test]
fn partitions_and_filters_select_what_the_oracle_selects() {
    let workspace = Workspace::copy("basic");
    let thresh = workspace.thresh();
    let selections: &[&[&str]] = &[
        &["--partition", "hash:1/2"],
        &["--partition", "count:2/3"],
        &["--partition", "slice:1/2"],
        &["-E", "test(request) - test(/^stuck/)"],
        &["request", "--", "--skip", "leaky_on_request"],
        &["--", "--exact", "always_passes"],
        &["--lib"],
        &["--test", "cases", "always", "reads"],
    ];
    for selection in selections {
        let args: Vec<String> = selection.iter().map(ToString::to_string).collect();
        let expected = oracle::run(&workspace.root(), &args);
        let found = thresh.run(&[&["--no-fail-fast", "--no-reuse"], *selection].concat());
        assert_eq!(expected.statuses, found.statuses(), "{selection:?}");
        assert_eq!(expected.code, found.code(), "{selection:?}");
    }
}
