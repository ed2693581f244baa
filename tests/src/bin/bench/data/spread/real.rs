//! Four real workers behind a relay that is as narrow as a coordinator's uplink.

use super::{BLOB_BYTES, BLOBS, UPLINK, WORKERS, Way};
use std::time::Instant;
use thresh_tests::farm::{Farm, FarmOptions, WorkerOptions, free_address};
use thresh_tests::gate::Gate;
use thresh_tests::proxy::Proxy;
use thresh_tests::s3::S3;
use thresh_tests::thresh::Thresh;
use thresh_tests::workspace::{Noise, Workspace};

/// From the plan until every worker has what its cases need, in seconds.
pub(super) fn seconds(way: Way) -> f64 {
    let workspace = Workspace::copy("gated");
    for seed in 0..BLOBS {
        let noise = Noise {
            seed,
            bytes: BLOB_BYTES,
        };
        workspace.add_noise(&format!("noise-{seed}.bin"), noise);
    }
    let temp = workspace.temp();
    let s3 = (way == Way::Objects).then(|| S3::start(&temp));
    // Of a cloud's store, too, all take together what it gives.
    let objects = s3.as_ref().map(|s3| Proxy::start(s3.address()));
    objects.iter().for_each(|objects| objects.narrow(UPLINK));
    let options = match &objects {
        Some(objects) => FarmOptions {
            arguments: vec!["--blobs".to_owned(), S3::url("farm")],
            variables: S3::variables(objects.address()),
            ..FarmOptions::default()
        },
        None => FarmOptions::default(),
    };
    let mut farm = Farm::start_as(&temp, |_| options);
    let uplink = Proxy::start(farm.address());
    uplink.narrow(UPLINK);
    for worker in 1..=WORKERS {
        let further = match way {
            Way::Peers => vec!["--peers".to_owned(), free_address().to_string()],
            Way::Coordinator | Way::Objects => Vec::new(),
        };
        farm.add(&WorkerOptions {
            url: Some(uplink.url()),
            further,
            ..WorkerOptions::new(&format!("worker-{worker}"), 1)
        });
    }
    let gate = Gate::open();
    let (name, value) = gate.variable();
    let thresh = Thresh::new(workspace.root(), temp.join("home")).var(name, value);
    let filter = "test(=held_0) + test(=held_1) + test(=held_2) + test(=held_3)";
    let mut run = thresh.start(&["--farm", &farm.url(), "--no-reuse", "-E", filter]);
    let patience = std::time::Duration::from_secs(300);
    run.event(patience, |event| event.kind() == "planned");
    let begun = Instant::now();
    let held = gate.take(WORKERS);
    let taken = begun.elapsed().as_secs_f64();
    held.into_iter().for_each(thresh_tests::gate::Held::pass);
    run.finish().expect_code(0).expect_all_passed();
    taken
}
