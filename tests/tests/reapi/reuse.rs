use super::Ground;
use std::path::Path;
use thresh_tests::buildgrid::BuildGrid;
use thresh_tests::farm::{Farm, WorkerOptions};
use thresh_tests::proxy::Proxy;
use thresh_tests::running::Finished;
use thresh_tests::status::Word;
use thresh_tests::thresh::Thresh;
use thresh_tests::workspace::Workspace;

/// Cases of the fixture that run by default.
const CASES: usize = 6;
/// Cases that are added to them where there have to be many.
const FURTHER: usize = 60;

fn reused(finished: &Finished) -> usize {
    reused_of(CASES, finished)
}

fn reused_of(cases: usize, finished: &Finished) -> usize {
    let statuses = finished.statuses();
    assert_eq!(statuses.len(), cases, "{finished}");
    statuses
        .values()
        .filter(|status| status.word == Word::Reused)
        .count()
}

/// Someone who remembers nothing of the workspace.
fn newcomer(workspace: &Workspace, home: &Path) -> Thresh {
    Thresh::new(workspace.root(), home)
}

#[test]
fn what_one_has_passed_another_reuses_from_buildgrid_however_often_it_refuses() {
    let workspace = Workspace::git("basic");
    // Many that are asked about at once.
    let further: String = (0..FURTHER)
        .map(|number| format!("#[test]\nfn further_{number}() {{}}\n"))
        .collect();
    workspace.write("tests/further.rs", &further);
    let cases = CASES + FURTHER;
    let reused = |finished: &Finished| reused_of(cases, finished);
    let temp = tempfile::tempdir().unwrap();
    // As few threads as it can have: it refuses what comes beyond.
    let cache = BuildGrid::start(temp.path(), 5);
    let proxy = Proxy::counting(cache.socket(), BuildGrid::REFUSAL);
    let address = proxy.url().replace("http:", "reapi:");
    let [first, second, third] =
        ["first", "second", "third"].map(|name| newcomer(&workspace, &temp.path().join(name)));
    let from = ["--reuse-from", &address];
    assert_eq!(reused(&first.run(&from).expect_code(0)), 0);
    let refused = proxy.found();
    assert!(
        refused > 0,
        "it never refused what was asked of it and sent to it"
    );
    let finished = second.run(&from).expect_code(0);
    assert_eq!(reused(&finished), cases, "{finished}");
    assert!(proxy.found() > refused, "it never refused what was asked of it");
    // By thresh.toml; and a change is a change for who did not link the binary.
    workspace.write("thresh.toml", &format!("[reuse]\nfrom = \"{address}\"\n"));
    assert_eq!(reused(&third.run::<&str>(&[]).expect_code(0)), 0);
    assert_eq!(reused(&second.run::<&str>(&[]).expect_code(0)), cases);
    // Without the cache the run goes on, and says what it lacks.
    drop((proxy, cache));
    let alone = newcomer(&workspace, &temp.path().join("alone"));
    let finished = alone
        .run::<&str>(&[])
        .expect_code(0)
        .expect_stderr("are not reused as they could be");
    assert_eq!(reused(&finished), 0);
}

#[test]
fn a_farm_is_a_cache_for_others_and_uses_one_itself() {
    let ground = Ground::new(0);
    let workspace = Workspace::git("basic");
    let temp = tempfile::tempdir().unwrap();
    let address = ground.farm.url().replace("http:", "reapi:");
    let trusted = format!("{address}/shop/trusted");
    let alone = |home: &str| newcomer(&workspace, &temp.path().join(home));
    assert_eq!(
        reused(&alone("first").run(&["--reuse-from", &trusted]).expect_code(0)),
        0
    );
    // Who is not trusted sees it, too, but adds nothing.
    let untrusted = ["--reuse-from", &format!("{address}/shop")];
    assert_eq!(reused(&alone("second").run(&untrusted).expect_code(0)), CASES);
    workspace.write("data/new.txt", "new\n");
    assert_eq!(reused(&alone("second").run(&untrusted).expect_code(0)), 0);
    assert_eq!(reused(&alone("third").run(&untrusted).expect_code(0)), 0);

    // Another farm has it as its cache.
    let mut farm = Farm::start_with(&temp.path().join("other"), &["--reuse-from", &trusted]);
    farm.add(&WorkerOptions::new("worker", 2));
    let url = farm.url();
    let on_farm = ["--farm", &url];
    assert_eq!(reused(&alone("fourth").run(&on_farm).expect_code(0)), 0);
    drop(farm);
    let mut farm = Farm::start_with(&temp.path().join("empty"), &["--reuse-from", &trusted]);
    farm.add(&WorkerOptions::new("worker", 2));
    assert_eq!(
        reused(&alone("fourth").run(&["--farm", &farm.url()]).expect_code(0)),
        CASES
    );
    alone("fifth")
        .run(&["--farm", &url, "--reuse-from", &trusted])
        .expect_code(96)
        .expect_stderr("give it to `thresh coordinator`");
    alone("sixth")
        .run(&["--reuse-from", "http://cache:80"])
        .expect_code(96)
        .expect_stderr("reapi://HOST:PORT");
}
