//! Runs that an engine executes.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use thresh_tests::buildgrid::BuildGrid;
use thresh_tests::casd::Casd;
use thresh_tests::status::Word;
use thresh_tests::thresh::Thresh;
use thresh_tests::wait;
use thresh_tests::workspace::Workspace;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn what_an_engine_has_passed_others_reuse() {
    let workspace = Workspace::git("basic");
    let temp = tempfile::tempdir().unwrap();
    let engine = Casd::start(temp.path(), 2);
    let address = engine.address();
    let run = |home: &str, further: &[&str]| {
        let mut args = vec!["--engine", &address];
        args.extend(further);
        let finished = Thresh::new(workspace.root(), temp.path().join(home)).run(&args);
        let statuses = finished.statuses();
        let count = |word| statuses.values().filter(|status| status.word == word).count();
        (
            finished.code(),
            count(Word::Passed),
            count(Word::Reused),
            count(Word::Failed),
        )
    };
    assert_eq!(run("first", &[]), (Some(0), 6, 0, 0));
    assert_eq!(run("second", &[]), (Some(0), 0, 6, 0));
    assert_eq!(run("third", &["--no-reuse"]), (Some(0), 6, 0, 0));
    // casd remembers also what failed; nobody may be told so.
    workspace.write("data/value.txt", "bad\n");
    for home in ["first", "fourth"] {
        let (code, _, _, failed) = run(home, &[]);
        assert_eq!((code, failed), (Some(100), 1), "{home}");
    }
    workspace.write("data/value.txt", "good\n");
    assert_eq!(run("fifth", &[]), (Some(0), 0, 6, 0));
}

#[test]
fn what_is_no_engine_is_told_at_once() {
    let workspace = Workspace::copy("basic");
    let temp = tempfile::tempdir().unwrap();
    let cache = BuildGrid::start(temp.path(), 10);
    let thresh = Thresh::new(workspace.root(), temp.path().join("home"));
    let refused = |args: &[&str], part: &str| {
        thresh.run(args).expect_code(96).expect_stderr(part);
    };
    refused(
        &["--engine", "reapi://127.0.0.1:1"],
        "reach the engine at reapi://127.0.0.1:1/",
    );
    refused(
        &["--engine", &cache.address()],
        "it executes no actions; for its cache alone",
    );
    refused(
        &["--engine", "http://127.0.0.1:1"],
        "is no address of the Remote Execution API",
    );
    refused(
        &["--engine", "reapi://127.0.0.1:1", "--farm", "http://127.0.0.1:1"],
        "cannot be used with",
    );
    refused(
        &["--engine", "reapi://127.0.0.1:1", "--no-capture"],
        "--no-capture",
    );
    workspace.write("thresh.toml", "[engine]\nurl = \"reapi://127.0.0.1:1\"\n");
    refused(&[], "reach the engine");
}

/// Ends the runner in whose action it is.
const FATAL: &str = r#"
#[test]
fn takes_its_action_down() {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let parent = stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap();
    std::process::Command::new("kill").args(["-9", parent]).status().unwrap();
    loop {
        std::thread::park();
    }
}
"#;

#[test]
fn a_case_that_takes_its_action_down_takes_no_other_with_it() {
    let workspace = Workspace::copy("basic");
    workspace.write("tests/fatal.rs", FATAL);
    let temp = tempfile::tempdir().unwrap();
    let engine = Casd::start(temp.path(), 2);
    let thresh = Thresh::new(workspace.root(), temp.path().join("home"));
    // One action at a time, so that others are in it, too.
    let finished = thresh
        .run(&["--engine", &engine.address(), "-j", "1"])
        .expect_code(100);
    let statuses = finished.statuses();
    for ((binary, name), status) in &statuses {
        let expected = if name == "takes_its_action_down" {
            Word::Crashed
        } else {
            Word::Passed
        };
        assert_eq!(status.word, expected, "{binary} {name}: {finished}");
    }
    assert_eq!(statuses.len(), 7);
}

#[test]
fn an_interrupted_run_leaves_nothing_at_the_engine() {
    let workspace = Workspace::copy("basic");
    workspace.write("data/stuck", "");
    let temp = tempfile::tempdir().unwrap();
    let engine = Casd::start(temp.path(), 2);
    let thresh = Thresh::new(workspace.root(), temp.path().join("home"));
    let running = thresh.start(&["--engine", &engine.address()]);
    wait::until("an action", PATIENCE, || (engine.runners() > 0).then_some(()));
    running.signal(Signal::INT);
    running.finish().expect_code(106);
    wait::until("the end of all actions", PATIENCE, || {
        (engine.runners() == 0).then_some(())
    });
}

/// Waits until a file is gone that the engine's sandbox shows, too.
fn waits_for(gone: &Path) -> String {
    format!(
        "#[test]\nfn takes_its_time() {{\n    while std::path::Path::new({gone:?}).exists() {{\n        \
         std::thread::park_timeout(std::time::Duration::from_millis(10));\n    }}\n}}\n"
    )
}

#[test]
fn a_run_outlives_its_engine() {
    let workspace = Workspace::copy("basic");
    // Shared memory is the machine's.
    let held = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
    workspace.write("tests/slow.rs", &waits_for(held.path()));
    let temp = tempfile::tempdir().unwrap();
    let mut engine = Casd::start(temp.path(), 2);
    let thresh = Thresh::new(workspace.root(), temp.path().join("home"));
    let running = thresh.start(&["--engine", &engine.address(), "-E", "test(takes_its_time)"]);
    wait::until("an action", PATIENCE, || (engine.runners() > 0).then_some(()));
    engine.restart();
    drop(held);
    let finished = running.finish().expect_code(0);
    assert_eq!(finished.statuses().len(), 1, "{finished}");
}
