//! Actions on a farm whose blobs are in an object store, too.

use std::fs;

use bazel_remote_apis::build::bazel::remote::execution::v2::{Action, Command, Directory};
use thresh_cas::{BlobName, DigestFunction};
use thresh_tests::farm::{Farm, FarmOptions, WorkerOptions};
use thresh_tests::proxy::Proxy;
use thresh_tests::reapi::{Client, shell};
use thresh_tests::s3::S3;

use super::{BOTH, noise};

/// So much fits a message.
const LARGE: usize = 2 << 20;

#[test]
fn inputs_come_from_an_object_store_and_outputs_go_there() {
    let temp = tempfile::tempdir().unwrap();
    let s3 = S3::start(temp.path());
    let mut farm = Farm::start_as(temp.path(), |_| FarmOptions {
        arguments: vec!["--blobs".to_owned(), S3::url("farm")],
        variables: S3::variables(s3.address()),
        ..FarmOptions::default()
    });
    let proxy = Proxy::start(farm.address());
    farm.add(&WorkerOptions {
        url: Some(proxy.url()),
        ..WorkerOptions::new("worker", 1)
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = farm.url();
    let connect = |function| runtime.block_on(Client::connect(&url, "shop", function)).unwrap();
    let inputs = BOTH.map(|function| noise(60 + function as u8, LARGE));
    let mut executed = Vec::new();
    for (function, input) in BOTH.into_iter().zip(&inputs) {
        let client = connect(function);
        let before = (s3.parts_read(), proxy.relayed().down);
        let action = runtime.block_on(execute(&client, input));
        executed.push((function, action));
        assert!(s3.parts_read() > before.0, "nothing was read in the bucket");
        let from_coordinator = proxy.relayed().down - before.1;
        assert!(from_coordinator < LARGE as u64 / 2, "{from_coordinator}");
    }
    // What an action left is copied before the next begins.
    runtime.block_on(execute(&connect(DigestFunction::Blake3), b"little"));

    // A coordinator without a blob of its own knows the results, and has what they name.
    farm.kill_coordinator();
    fs::remove_dir_all(farm.coordinator_data().join("blobs")).unwrap();
    farm.restart_coordinator();
    for ((function, action), input) in executed.into_iter().zip(&inputs) {
        let client = connect(function);
        runtime.block_on(async {
            let result = client.result(&action).await.unwrap();
            let name = BlobName::from_wire(function, result.output_files[0].digest.as_ref().unwrap());
            let output = client.read(&name.unwrap(), 0, 0, false).await.unwrap();
            assert!(output.into_iter().eq(input.iter().map(|byte| byte ^ 0x80)));
        });
    }
}

/// Executes an action that flips a bit of each byte of `input`, and returns its name.
async fn execute(client: &Client, input: &[u8]) -> BlobName {
    let root = Directory {
        files: vec![client.file("in", input, false).await.unwrap()],
        ..Directory::default()
    };
    let command = Command {
        output_paths: vec!["out".to_owned()],
        ..shell(r"LC_ALL=C tr '\0-\177\200-\377' '\200-\377\0-\177' < in > out")
    };
    let action = client.put_action(&command, &root, Action::default()).await;
    let action = action.unwrap();
    let response = client.execute(&action, false).await.unwrap();
    assert_eq!(response.result.unwrap().exit_code, 0);
    action
}
