use super::Ground;
use bazel_remote_apis::build::bazel::remote::execution::v2::{
    ActionResult, OutputDirectory, OutputFile, UpdateActionResultRequest,
};
use thresh_cas::{BlobName, DigestFunction};
use thresh_tests::reapi::Client;
use tonic::{Code, Status};

async fn update(client: &Client, action: &BlobName, output: &BlobName) -> Result<(), Status> {
    let result = ActionResult {
        output_files: vec![OutputFile {
            path: "out".to_owned(),
            digest: Some(output.to_wire()),
            ..OutputFile::default()
        }],
        ..ActionResult::default()
    };
    let request = UpdateActionResultRequest {
        instance_name: client.instance.clone(),
        action_digest: Some(action.to_wire()),
        action_result: Some(result),
        digest_function: client.function(),
        ..UpdateActionResultRequest::default()
    };
    client.results().update_action_result(request).await.map(drop)
}

#[test]
fn results_are_seen_by_those_who_trust_their_origin_and_while_all_of_them_is_there() {
    let mut ground = Ground::new(0);
    let function = DigestFunction::Sha256;
    let [trusted, untrusted, other] =
        ["shop/trusted", "shop", "other/trusted"].map(|instance| ground.client(instance, function));
    let action = trusted.name(b"action");
    ground.block_on(async {
        assert_eq!(trusted.result(&action).await.unwrap_err().code(), Code::NotFound);
        let output = trusted.name(b"output");
        let refused = update(&untrusted, &action, &output).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(refused.message().contains("shop/trusted"), "{refused}");
        // What it names is not there yet.
        update(&trusted, &action, &output).await.unwrap();
        assert_eq!(trusted.result(&action).await.unwrap_err().code(), Code::NotFound);
        trusted.put(b"output").await.unwrap();
        for client in [&trusted, &untrusted] {
            assert_eq!(client.result(&action).await.unwrap().output_files[0].path, "out");
        }
        assert_eq!(other.result(&action).await.unwrap_err().code(), Code::NotFound);
        let mut longer = action;
        longer.size += 1;
        assert_eq!(trusted.result(&longer).await.unwrap_err().code(), Code::NotFound);
    });
    // They outlive the coordinator.
    ground.farm.kill_coordinator();
    ground.farm.restart_coordinator();
    let again = ground.client("shop", function);
    let result = ground.block_on(again.result(&action)).unwrap();
    assert_eq!(result.output_files[0].path, "out");
}

#[test]
fn results_with_endless_trees_are_refused() {
    let ground = Ground::new(0);
    let client = ground.client("shop/trusted", DigestFunction::Sha256);
    ground.block_on(async {
        let mut tree = client.name(b"tree");
        tree.size = (64 << 20) + 1;
        let result = ActionResult {
            output_directories: vec![OutputDirectory {
                tree_digest: Some(tree.to_wire()),
                ..OutputDirectory::default()
            }],
            ..ActionResult::default()
        };
        let request = UpdateActionResultRequest {
            instance_name: client.instance.clone(),
            action_digest: Some(client.name(b"action").to_wire()),
            action_result: Some(result),
            digest_function: client.function(),
            ..UpdateActionResultRequest::default()
        };
        let refused = client.results().update_action_result(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains("67108864 bytes at most"), "{refused}");
    });
}
