//! Blobs in an object store: read there by workers, found there by another coordinator, and done without.

use std::fs;
use std::time::Duration;

use thresh_tests::farm::{Farm, FarmOptions, WorkerOptions, free_address};
use thresh_tests::proxy::Proxy;
use thresh_tests::s3::S3;
use thresh_tests::wait;
use thresh_tests::workspace::{Noise, Workspace};

const NOISE: Noise = Noise {
    seed: 1,
    bytes: 4 << 20,
};

/// A farm whose blobs are in a bucket too, without workers.
fn farm(workspace: &Workspace, address: std::net::SocketAddr) -> Farm {
    Farm::start_as(&workspace.temp(), |_| FarmOptions {
        arguments: vec!["--blobs".to_owned(), S3::url("farm")],
        variables: S3::variables(address),
        ..FarmOptions::default()
    })
}

/// Adds a worker, and returns what its bytes from and to the coordinator go through.
fn add_worker(farm: &mut Farm, name: &str) -> Proxy {
    let proxy = Proxy::start(farm.address());
    farm.add(&WorkerOptions {
        url: Some(proxy.url()),
        ..WorkerOptions::new(name, 2)
    });
    proxy
}

#[test]
fn workers_read_blobs_where_they_are_kept_and_do_without() {
    let workspace = Workspace::copy("basic");
    workspace.add_noise("data/noise.bin", NOISE);
    let mut s3 = S3::start(&workspace.temp());
    let mut farm = farm(&workspace, s3.address());
    let first = add_worker(&mut farm, "first");
    let thresh = workspace.thresh();
    let url = farm.url();
    let run = || thresh.run(&["--farm", &url, "--no-reuse"]).expect_code(0);
    run().expect_all_passed();
    assert!(s3.parts_read() > 0, "nothing was read in the bucket");
    let from_coordinator = first.relayed().down;
    assert!(from_coordinator < NOISE.bytes / 2, "{from_coordinator}");

    // What was damaged there comes from the coordinator.
    s3.damage();
    let second = add_worker(&mut farm, "second");
    farm.worker("first").leave();
    farm.remove("first");
    run().expect_all_passed();
    assert!(second.relayed().down > NOISE.bytes);
    assert!(
        farm.log("second").contains("in the object store"),
        "{}",
        farm.log("second")
    );

    // So does everything while the store is away, and new blobs can be stored.
    s3.kill();
    workspace.add_noise("data/noise.bin", Noise { seed: 2, ..NOISE });
    run().expect_all_passed();
    assert!(
        farm.log("coordinator").contains("copy blobs"),
        "{}",
        farm.log("coordinator")
    );
    s3.restart();
    wait::until("what it lacks to be copied", Duration::from_secs(60), || {
        (!s3.objects().is_empty()).then_some(())
    });
    run().expect_all_passed();
}

#[test]
fn a_coordinator_with_an_empty_folder_finds_the_blobs_of_the_one_before() {
    let workspace = Workspace::copy("basic");
    workspace.add_noise("data/noise.bin", NOISE);
    let s3 = S3::start(&workspace.temp());
    let mut farm = farm(&workspace, s3.address());
    farm.add(&WorkerOptions::new("first", 2));
    let thresh = workspace.thresh();
    let url = farm.url();
    thresh.run(&["--farm", &url]).expect_code(0).expect_all_passed();
    farm.kill_coordinator();
    farm.worker("first").leave();
    farm.remove("first");
    fs::remove_dir_all(farm.coordinator_data().join("blobs")).unwrap();
    farm.restart_coordinator();
    farm.add(&WorkerOptions::new("second", 2));
    let proxy = Proxy::start(farm.address());
    let through = proxy.url();
    let run = thresh.run(&["--farm", &through, "--no-reuse"]).expect_code(0);
    run.expect_all_passed();
    let shipped = proxy.relayed().up;
    assert!(shipped < NOISE.bytes / 4, "{shipped} bytes were shipped again");
}

#[test]
fn an_object_store_that_cannot_be_used_is_named() {
    let workspace = Workspace::copy("basic");
    let nobody = free_address();
    let s3 = S3::start(&workspace.temp());
    for (address, bucket, part) in [
        (nobody, "s3://blobs/farm", "list the blobs in s3://blobs/farm"),
        (s3.address(), "s3://nowhere", "list the blobs in s3://nowhere"),
        (s3.address(), "blobs", "`blobs` names no bucket"),
    ] {
        let data = workspace.temp().join("data");
        let data = data.to_str().unwrap();
        let mut thresh = workspace.thresh();
        for (name, value) in S3::variables(address) {
            thresh = thresh.var(&name, value);
        }
        let refused = thresh.call(&[
            "coordinator",
            "--listen",
            "127.0.0.1:0",
            "--data",
            data,
            "--blobs",
            bucket,
        ]);
        refused.expect_code(96).expect_stderr(part);
    }
}
