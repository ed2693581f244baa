//! Damaged blobs, full disks, parts of another version, farms that are not there.

use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;
use thresh_tests::farm::{self, Farm, WorkerOptions};
use thresh_tests::namespace::{self, Mount};
use thresh_tests::running::{Finished, Running};
use thresh_tests::thresh::{Thresh, scrub};
use thresh_tests::wait;
use thresh_tests::workspace::{Kept, Workspace};
use walkdir::WalkDir;

/// Flips a byte in the middle of every large file below `folder`, without a trace in the file's times, and
/// returns how many there were.
fn damage(folder: &Path) -> usize {
    let mut damaged = 0;
    for entry in WalkDir::new(folder).into_iter().map(Result::unwrap) {
        let size = entry.metadata().unwrap().len();
        let name = entry.file_name().to_string_lossy().into_owned();
        if !entry.file_type().is_file() || size < 10_000 || name.contains("sqlite") || name.contains(".db") {
            continue;
        }
        let times = entry.metadata().unwrap();
        let times = fs::FileTimes::new()
            .set_modified(times.modified().unwrap())
            .set_accessed(times.accessed().unwrap());
        let mode = entry.metadata().unwrap().permissions();
        let mut writable = mode.clone();
        std::os::unix::fs::PermissionsExt::set_mode(&mut writable, 0o600);
        fs::set_permissions(entry.path(), writable).unwrap();
        let file = fs::File::options()
            .read(true)
            .write(true)
            .open(entry.path())
            .unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, size / 2).unwrap();
        file.write_all_at(&[byte[0] ^ 0xff], size / 2).unwrap();
        file.set_times(times).unwrap();
        fs::set_permissions(entry.path(), mode).unwrap();
        damaged += 1;
    }
    damaged
}

#[test]
fn a_damaged_blob_is_fetched_again_and_never_executed() {
    let fixture = Kept::hold("basic");
    let temp = tempfile::tempdir().unwrap();
    let mut farm = Farm::with_workers(temp.path(), 1, 2);
    let thresh = Thresh::new(fixture.root(), temp.path().join("home"));
    let url = farm.url();
    thresh.run(&["--farm", &url, "--no-reuse"]).expect_code(0);

    farm.worker("worker-1").leave();
    let data = farm.worker("worker-1").data().to_owned();
    farm.remove("worker-1");
    assert!(
        damage(&data) > 0,
        "the worker keeps no blobs in {}",
        data.display()
    );
    farm.add(&WorkerOptions {
        data: Some(data),
        ..WorkerOptions::new("worker-2", 2)
    });
    thresh
        .run(&["--farm", &url, "--no-reuse"])
        .expect_code(0)
        .expect_all_passed();
}

/// Flips the last byte of a coordinator's blobs, which belongs to what was stored last.
fn damage_last(blobs: &Path) {
    let files = fs::read_dir(blobs).unwrap().map(|entry| entry.unwrap().path());
    let packs = files.filter(|file| file.extension().is_some_and(|extension| extension == "pack"));
    let last = packs.max().expect("there is a pack");
    let pack = fs::File::options().read(true).write(true).open(last).unwrap();
    let end = pack.metadata().unwrap().len();
    let mut byte = [0];
    pack.read_exact_at(&mut byte, end - 1).unwrap();
    pack.write_all_at(&[byte[0] ^ 0xff], end - 1).unwrap();
}

#[test]
fn damaged_blobs_of_a_coordinator_are_found_and_sent_again() {
    let fixture = Kept::hold("basic");
    let temp = tempfile::tempdir().unwrap();
    let mut farm = Farm::with_workers(temp.path(), 1, 2);
    let thresh = Thresh::new(fixture.root(), temp.path().join("home"));
    let url = farm.url();
    thresh.run(&["--farm", &url, "--no-reuse"]).expect_code(0);
    farm.remove("worker-1");

    let data = farm.coordinator_data();
    let text = data.to_str().unwrap();
    let cas = |command: &str| thresh.call(&["cas", command, "--data", text, "--message-format", "json"]);
    let told =
        |finished: &Finished| -> serde_json::Value { serde_json::from_str(&finished.stdout()).unwrap() };
    let stat = told(&cas("stat"));
    assert!(
        stat["content_bytes"].as_u64() > stat["stored_bytes"].as_u64(),
        "{stat}"
    );
    cas("verify").expect_code(0);
    damage_last(&data.join("blobs"));
    let check = cas("verify").expect_code(96);
    assert_eq!(told(&check)["damaged"].as_array().unwrap().len(), 1);
    farm.kill_coordinator();
    farm.restart_coordinator();
    farm.launch(&WorkerOptions::new("worker-2", 2));
    thresh
        .run(&["--farm", &url, "--no-reuse"])
        .expect_code(0)
        .expect_all_passed();
    cas("verify").expect_code(0);
    let gc = || thresh.call(&["cas", "gc", "--max-gib", "0", "--data", text]);
    gc().expect_code(96).expect_stderr("another process uses them");
    farm.kill_coordinator();
    let dropped = gc().expect_code(0).stdout();
    assert!(dropped.contains(" dropped; "), "{dropped}");
    let nowhere = thresh
        .call(&["cas", "stat", "--data", "/nowhere"])
        .expect_code(96);
    nowhere.expect_stderr("/nowhere");
}

#[test]
fn a_worker_with_a_full_disk_is_cordoned_and_the_run_goes_on() {
    if !namespace::available() {
        return;
    }
    let fixture = Kept::hold("basic");
    let temp = tempfile::tempdir().unwrap();
    let mut farm = Farm::start(temp.path());
    let data = temp.path().join("small");
    let mounts = vec![Mount::Small(data.clone(), 100)];
    farm.add(&WorkerOptions {
        mounts,
        data: Some(data),
        ..WorkerOptions::new("full", 2)
    });
    let thresh = Thresh::new(fixture.root(), temp.path().join("home"));
    let url = farm.url();
    let mut run = thresh.start(&["--farm", &url, "--no-reuse"]);
    let news = run.event(Duration::from_secs(60), |event| {
        event.kind() == "worker" && event.text("kind") == "cordoned"
    });
    assert_eq!(news.text("worker"), "full");
    let message = news.text("message").to_lowercase();
    assert!(
        message.contains("space") || message.contains("disk") || message.contains("full"),
        "{news:?}"
    );
    farm.launch(&WorkerOptions::new("roomy", 2));
    run.finish().expect_code(0).expect_all_passed();
}

#[test]
fn a_farm_that_is_not_there_is_said_to_be() {
    let fixture = Kept::hold("basic");
    let temp = tempfile::tempdir().unwrap();
    let thresh = Thresh::new(fixture.root(), temp.path());
    thresh
        .run(&["--farm", "http://127.0.0.1:1"])
        .expect_code(96)
        .expect_stderr("127.0.0.1:1");
    thresh.run(&["--farm", "no url at all"]).expect_code(96);
}

#[test]
fn a_client_of_another_version_is_told_both_versions() {
    let temp = tempfile::tempdir().unwrap();
    let farm = Farm::start(temp.path());
    for (protocol, who) in [
        (thresh_proto::PROTOCOL + 1, "coordinator"),
        (thresh_proto::PROTOCOL - 1, "client"),
    ] {
        let refused = farm::hello(&farm.url(), protocol).expect_err("another protocol is refused");
        let message = refused.message();
        for part in [
            &protocol.to_string(),
            &thresh_proto::PROTOCOL.to_string(),
            "0.0.0-test",
            who,
        ] {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    }
}

#[test]
fn a_worker_of_another_version_is_told_both_versions() {
    let temp = tempfile::tempdir().unwrap();
    let farm = Farm::start(temp.path());
    let refused =
        farm::join(&farm.url(), thresh_proto::PROTOCOL + 1).expect_err("another protocol is refused");
    for part in [
        &(thresh_proto::PROTOCOL + 1).to_string(),
        &thresh_proto::PROTOCOL.to_string(),
        "0.0.0-test",
    ] {
        assert!(
            refused.message().contains(part),
            "{part:?} is not in {:?}",
            refused.message()
        );
    }
    assert_eq!(farm.hello().map(|reply| reply.workers), Some(0));
}

#[test]
fn a_worker_cannot_have_no_slots_and_no_farm() {
    let temp = tempfile::tempdir().unwrap();
    let thresh = Thresh::new(temp.path(), temp.path());
    let finished = thresh.call(&["worker", "--farm", "http://127.0.0.1:1", "--slots", "0"]);
    assert!(matches!(finished.code(), Some(2 | 96)), "{finished}");
    finished.expect_stderr("slots");
}

#[test]
fn two_coordinators_cannot_share_an_address() {
    let temp = tempfile::tempdir().unwrap();
    let farm = Farm::start(temp.path());
    let address = farm.address().to_string();
    let thresh = Thresh::new(temp.path(), temp.path().join("home"));
    let data = temp.path().join("other");
    let finished = thresh
        .call(&[
            "coordinator",
            "--listen",
            &address,
            "--data",
            data.to_str().unwrap(),
        ])
        .expect_code(96);
    finished.expect_stderr(&address);
}

#[test]
fn a_coordinator_ends_when_asked() {
    let temp = tempfile::tempdir().unwrap();
    let farm = Farm::start(temp.path());
    thresh_tests::running::signal_process(farm.coordinator_id(), Signal::TERM);
    wait::until("the coordinator's end", Duration::from_secs(20), || {
        farm.hello().is_none().then_some(())
    });
}

#[test]
fn a_read_only_workspace_can_be_tested() {
    if !namespace::available() {
        return;
    }
    let workspace = Workspace::copy("basic");
    let target = workspace.temp().join("target");
    let thresh = workspace.thresh();
    let mounts = [Mount::ReadOnly(workspace.root())];
    let mut command = namespace::command(&mounts, thresh_tests::thresh::binary());
    thresh.surround(&mut command);
    scrub(&mut command);
    command.env("THRESH_HOME", workspace.temp().join("home"));
    command
        .args(["run", "--message-format", "json", "--locked", "--target-dir"])
        .arg(target);
    let finished = Running::start(command).finish().expect_code(0);
    assert_eq!(finished.statuses().len(), 6);
}
