//! Workers of a site, which fetch blobs from each other.

use std::time::Duration;

use rustix::process::Signal;
use thresh_tests::farm::{Farm, WorkerOptions, free_address};
use thresh_tests::gate::Gate;
use thresh_tests::proxy::Proxy;
use thresh_tests::thresh::Thresh;
use thresh_tests::wait;
use thresh_tests::workspace::{Noise, Workspace};

const NOISE: Noise = Noise {
    seed: 3,
    bytes: 4 << 20,
};

/// Adds a worker of the site, and returns what its bytes from and to the coordinator go through.
fn add(farm: &mut Farm, name: &str) -> Proxy {
    let proxy = Proxy::start(farm.address());
    farm.add(&WorkerOptions {
        url: Some(proxy.url()),
        further: vec![
            "--peers".to_owned(),
            free_address().to_string(),
            "--site".to_owned(),
            "here".to_owned(),
        ],
        ..WorkerOptions::new(name, 1)
    });
    proxy
}

#[test]
fn a_site_fetches_little_of_the_coordinator_and_does_without_who_is_gone() {
    let workspace = Workspace::copy("gated");
    workspace.add_noise("noise.bin", NOISE);
    let temp = tempfile::tempdir().unwrap();
    let mut farm = Farm::start(temp.path());
    let gate = Gate::open();
    let (name, value) = gate.variable();
    let thresh = Thresh::new(workspace.root(), temp.path().join("home")).var(name, value);
    let url = farm.url();
    let start = |filter| thresh.start(&["--farm", &url, "--no-reuse", "--no-fail-fast", "-E", filter]);

    // One has all that there is.
    let mut proxies = vec![add(&mut farm, "worker-1")];
    let run = start("test(=held_0)");
    gate.next().pass();
    run.finish().expect_code(0);
    let alone = proxies[0].relayed().down;
    assert!(alone > NOISE.bytes, "{alone}");

    // Those who come get it from there.
    for number in 2..=4 {
        proxies.push(add(&mut farm, &format!("worker-{number}")));
    }
    let run = start("test(=held_0) + test(=held_1) + test(=held_2) + test(=held_3)");
    gate.take(4).into_iter().for_each(|held| held.pass());
    run.finish().expect_code(0).expect_all_passed();
    let others: Vec<u64> = proxies[1..].iter().map(|proxy| proxy.relayed().down).collect();
    assert!(others.iter().all(|down| *down < NOISE.bytes / 2), "{others:?}");

    // Who has it is frozen or gone; a new one goes to the coordinator.
    farm.worker("worker-1").signal(Signal::STOP);
    for number in 2..=4 {
        farm.remove(&format!("worker-{number}"));
    }
    wait::until("an empty farm", Duration::from_secs(30), || {
        (farm.hello()?.workers == 0).then_some(())
    });
    let last = add(&mut farm, "worker-5");
    let run = start("test(=held_0)");
    gate.next().pass();
    run.finish().expect_code(0).expect_all_passed();
    assert!(last.relayed().down > NOISE.bytes);
}

#[test]
fn an_address_that_others_cannot_reach_is_refused() {
    let workspace = Workspace::copy("basic");
    let thresh = workspace.thresh();
    for (address, part) in [
        ("0.0.0.0:8981", "others have to reach it"),
        ("127.0.0.1:0", "others have to reach it"),
        ("here", "expected a numeric address and a port"),
    ] {
        let refused = thresh.call(&["worker", "--farm", "http://127.0.0.1:1", "--peers", address]);
        refused.expect_code(96).expect_stderr(part);
    }
}
