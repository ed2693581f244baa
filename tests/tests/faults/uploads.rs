//! Inputs on their way to a farm: cut off, too large for its disk, empty and huge.

use rustix::process::Signal;
use std::fs::File;
use std::time::Duration;
use thresh_tests::farm::{Farm, FarmOptions, WorkerOptions};
use thresh_tests::namespace::{self, Mount};
use thresh_tests::proxy::Proxy;
use thresh_tests::wait;
use thresh_tests::workspace::{Noise, Workspace};

const NOISE_FILE: &str = "data/noise.bin";
const NOISE: Noise = Noise {
    seed: 0,
    bytes: 32 << 20,
};

#[test]
fn an_upload_that_was_cut_off_goes_on_where_it_was() {
    let workspace = Workspace::copy("basic");
    workspace.add_noise(NOISE_FILE, NOISE);
    let farm = Farm::with_workers(&workspace.temp(), 1, 2);
    let proxy = Proxy::start(farm.address());
    let thresh = workspace.thresh();
    let url = proxy.url();
    let killed = thresh.start(&["--farm", &url]);
    wait::until("a part of the upload", Duration::from_secs(120), || {
        (proxy.relayed().up > NOISE.bytes / 4).then_some(())
    });
    killed.signal(Signal::KILL);
    assert_eq!(killed.finish().code(), None, "it was killed in the middle");
    let before = proxy.relayed().up;
    assert!(before < NOISE.bytes, "{before}");
    thresh.run(&["--farm", &url]).expect_code(0).expect_all_passed();
    let rest = proxy.relayed().up - before;
    assert!(
        rest < NOISE.bytes - NOISE.bytes / 8,
        "{rest} bytes were sent after {before}"
    );
}

#[test]
fn a_disk_that_is_full_is_named_and_what_fits_still_runs() {
    let room = |data: &std::path::Path| vec![Mount::Small(data.to_owned(), 20 << 10)];
    if !namespace::allows(&room("/tmp".as_ref())) {
        return;
    }
    let workspace = Workspace::copy("basic");
    let mut farm = Farm::start_as(&workspace.temp(), |data| FarmOptions {
        mounts: room(data),
        ..FarmOptions::default()
    });
    farm.add(&WorkerOptions::new("worker", 2));
    let thresh = workspace.thresh();
    let url = farm.url();
    thresh.run(&["--farm", &url]).expect_code(0);
    workspace.add_noise(NOISE_FILE, NOISE);
    let refused = thresh.run(&["--farm", &url]).expect_code(96);
    refused.expect_stderr("the disk is full");
    workspace.remove(NOISE_FILE);
    thresh
        .run(&["--farm", &url, "--no-reuse"])
        .expect_code(0)
        .expect_all_passed();
}

#[test]
fn a_disk_that_gets_full_while_inputs_come_costs_the_worker_and_not_the_run() {
    // More than a worker wants to be free at least, and less than the inputs.
    let (room_kib, noise_bytes) = (72 << 10, 80 << 20);
    let workspace = Workspace::copy("basic");
    let noise = Noise {
        bytes: noise_bytes,
        ..NOISE
    };
    workspace.add_noise(NOISE_FILE, noise);
    let data = workspace.temp().join("small");
    std::fs::create_dir_all(&data).unwrap();
    let mounts = vec![Mount::Small(data.clone(), room_kib)];
    if !namespace::allows(&mounts) {
        return;
    }
    let mut farm = Farm::start(&workspace.temp());
    farm.add(&WorkerOptions {
        mounts,
        data: Some(data),
        ..WorkerOptions::new("small", 2)
    });
    let url = farm.url();
    let mut run = workspace.thresh().start(&["--farm", &url]);
    let cordoned = run.event(Duration::from_secs(120), |event| {
        event.kind() == "worker" && event.text("kind") == "cordoned"
    });
    assert!(cordoned.text("message").contains("disk is full"), "{cordoned:?}");
    farm.launch(&WorkerOptions::new("roomy", 2));
    run.finish().expect_code(0).expect_all_passed();
}

#[test]
fn an_empty_file_and_one_of_5_gib_arrive() {
    const BYTES: u64 = 5 << 30;
    let workspace = Workspace::copy("basic");
    workspace.write("data/empty", "");
    let sparse = File::create(workspace.root().join("data/sparse")).unwrap();
    sparse.set_len(BYTES).unwrap();
    workspace.write(
        "tests/sizes.rs",
        &format!(
            "#[test]\nfn sizes() {{\n    let size = |path| std::fs::metadata(path).unwrap().len();\n    \
             assert_eq!([size(\"data/empty\"), size(\"data/sparse\")], [0, {BYTES}]);\n}}\n"
        ),
    );
    let farm = Farm::with_workers(&workspace.temp(), 1, 2);
    let finished = workspace.thresh().run(&["--farm", &farm.url()]);
    finished.expect_code(0).expect_all_passed();
    let kib = thresh_tests::running::peak_memory_kib(farm.coordinator_id()).unwrap();
    assert!(kib < 256 << 10, "the coordinator held {kib} KiB");
}
