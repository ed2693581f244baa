//! Workers that isolate cases, and end without warning.

use crate::scene::{LIMIT, Scene};
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use thresh_tests::farm::{Farm, WorkerOptions};
use thresh_tests::namespace::{self, Mount};
use thresh_tests::wait;
use thresh_tests::workspace::Workspace;

/// What a worker process has left behind outside its data folder: its control groups.
fn groups(process: u32) -> Vec<PathBuf> {
    let name = format!("-{process}-");
    let walk = walkdir::WalkDir::new("/sys/fs/cgroup").max_depth(12).into_iter();
    let folders = walk
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_dir());
    let found = folders.filter(|entry| {
        let found = entry.file_name().to_string_lossy();
        found.starts_with("thresh-") && found.contains(&name)
    });
    found.map(|entry| entry.into_path()).collect()
}

/// Processes that have a folder as an argument, or below which they work.
fn processes_with(folder: &Path) -> usize {
    let folder = folder.to_str().unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let uses = |process: &fs::DirEntry| {
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(folder)
    };
    processes.filter(uses).count()
}

#[test]
fn a_killed_worker_leaves_no_process_mount_folder_or_group_behind() {
    let temp = tempfile::tempdir().unwrap();
    let mut farm = Farm::start(temp.path());
    let options = WorkerOptions {
        further: ["--case-processes", "1000", "--case-memory-mib", "4096"]
            .map(str::to_owned)
            .into(),
        ..WorkerOptions::new("killed", 2)
    };
    farm.add(&options);
    let mut scene = Scene::of(temp, farm);
    let mut run = scene.start(&["-E", "test(=leaves_a_session) + test(=held_0)"]);
    let held = scene.gate.take(3);
    let (data, process) = {
        let worker = scene.farm.worker("killed");
        (worker.data().to_owned(), worker.id())
    };
    let is_root = rustix::process::geteuid().is_root();
    assert_eq!(!groups(process).is_empty(), is_root, "only root makes groups");
    scene.farm.worker("killed").signal(Signal::KILL);
    for held in held {
        held.wait_dead(LIMIT);
    }
    run.event(LIMIT, |event| {
        event.kind() == "worker" && event.text("kind") == "lost"
    });
    scene.farm.remove("killed");
    wait::until("the end of its processes", Duration::from_secs(10), || {
        (processes_with(&data) == 0).then_some(())
    });
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(data.to_str().unwrap()), "{mounts}");

    scene.farm.add(&options);
    scene.gate.stay_open();
    run.finish().expect_code(0).expect_all_passed();
    assert_eq!(groups(process), Vec::<PathBuf>::new());
    scene.farm.worker("killed").leave();
    let runs = data.join("runs");
    let left: Vec<_> = fs::read_dir(&runs)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    assert_eq!(left, Vec::<PathBuf>::new());
}

#[test]
fn a_worker_that_cannot_isolate_says_so_at_its_start_and_in_the_report() {
    // Further mount namespaces there are, but no control groups.
    let mounts = vec![Mount::Hide("/sys/fs/cgroup".into())];
    if !namespace::allows(&mounts) {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let mut farm = Farm::start(temp.path());
    farm.add(&WorkerOptions {
        mounts,
        ..WorkerOptions::new("bare", 2)
    });
    let scene = Scene::of(temp, farm);
    let run = scene.start(&["-E", "test(=held_0)"]);
    scene.gate.next().pass();
    let finished = run.finish().expect_code(0);
    let shortfall = "cases can reach the metadata service, the farm and disks: ";
    let told: Vec<_> = finished
        .events()
        .into_iter()
        .filter(|event| event.kind() == "isolation-reduced")
        .collect();
    assert_eq!(told.len(), 1, "{finished}");
    assert_eq!(told[0].text("worker"), "bare");
    assert!(told[0].text("message").starts_with(shortfall), "{finished}");
    let warning = format!("worker bare: {shortfall}");
    assert!(finished.stderr.contains(&warning), "{finished}");
    assert!(scene.farm.log("bare").contains(shortfall));
}

#[test]
fn a_worker_without_rights_isolates_cases_all_the_same() {
    if !namespace::allows_nobody() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    // The worker is somebody else.
    fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let mut farm = Farm::start(temp.path());
    farm.add(&WorkerOptions {
        is_unprivileged: true,
        ..WorkerOptions::new("nobody", 1)
    });
    let worker = farm.worker("nobody");
    let user = fs::metadata(format!("/proc/{}", worker.id())).unwrap().uid();
    assert_ne!(user, 0);
    let data = worker.data().to_owned();
    let workspace = Workspace::copy("basic");
    workspace.write("tests/isolated.rs", &isolated(&data, user));
    let url = farm.url();
    let args = ["--farm", &url, "--retries", "0", "-E", "binary(isolated)"];
    let finished = workspace.thresh().run(&args).expect_code(0);
    finished.expect_all_passed();
    assert_eq!(finished.statuses().len(), 2, "{finished}");
    assert!(
        fs::read_dir(&data).unwrap().count() > 0,
        "there is something to hide"
    );
    wait::until("the end of what the cases began", Duration::from_secs(10), || {
        (processes_with(&data.join("mark")) == 0).then_some(())
    });
    // Of what is told of private cases only what needs root's rights is missing.
    let told = finished.events();
    let told: Vec<_> = (told.iter())
        .filter(|event| event.kind() == "isolation-reduced")
        .map(|event| event.text("message"))
        .collect();
    let only = "cases can reach the metadata service and the farm: ";
    assert!(
        matches!(told[..], [message] if message.starts_with(only)),
        "{told:?}"
    );
    assert!(farm.log("nobody").contains(only));
}

/// Two cases that are alike: whichever comes second would find what the first has left.
fn isolated(hidden: &Path, user: u32) -> String {
    format!(
        r#"
use std::os::unix::fs::MetadataExt;
use std::process::{{Command, Stdio}};

fn isolated() {{
    assert_eq!(std::fs::metadata("/proc/self").unwrap().uid(), {user});
    assert_eq!(std::os::unix::process::parent_id(), 1, "its processes are its own");
    let seen = std::fs::read_dir({hidden:?}).map_or(0, |entries| entries.count());
    assert_eq!(seen, 0, "the worker's folder is hidden");
    std::fs::write("data/left", "").unwrap();
    // As at home: also what came with the run can be written to, and copied to be changed.
    std::fs::write("src/lib.rs", "").unwrap();
    std::fs::copy("data/value.txt", "/tmp/value.txt").unwrap();
    std::fs::write("/tmp/value.txt", "other").unwrap();
    let mut daemon = Command::new("setsid");
    daemon.args(["sh", "-c", "while :; do sleep 0.1; done", {mark:?}]);
    daemon.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(daemon.spawn().unwrap().try_wait().unwrap().is_none());
}}

fn alone() {{
    assert!(!std::path::Path::new("data/left").exists(), "another case has left it");
    assert_ne!(std::fs::read("src/lib.rs").unwrap(), b"", "another case has replaced it");
    isolated();
}}

#[test]
fn one() {{ alone() }}

#[test]
fn other() {{ alone() }}
"#,
        mark = hidden.join("mark")
    )
}
