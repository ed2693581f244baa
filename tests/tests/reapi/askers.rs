//! What clients say of themselves, and what that does.

use super::Ground;
use bazel_remote_apis::build::bazel::remote::execution::v2::{Action, Directory, RequestMetadata};
use std::time::Duration;
use thresh_cas::{BlobName, DigestFunction};
use thresh_core::id::RunId;
use thresh_proto::convert::run_id_to_wire;
use thresh_proto::v1::run_event::Event;
use thresh_proto::v1::runs_client::RunsClient;
use thresh_proto::v1::{HistoryRequest, Planned, WatchRequest};
use thresh_tests::farm::WorkerOptions;
use thresh_tests::reapi::{Client, finish, shell};
use thresh_tests::wait;

const LIMIT: Duration = Duration::from_secs(60);

fn asker(invocation: &str, mnemonic: &str, target: &str) -> RequestMetadata {
    RequestMetadata {
        tool_invocation_id: invocation.to_owned(),
        action_mnemonic: mnemonic.to_owned(),
        target_id: target.to_owned(),
        ..RequestMetadata::default()
    }
}

async fn put(client: &Client, script: &str) -> BlobName {
    let (command, root) = (shell(script), Directory::default());
    client
        .put_action(&command, &root, Action::default())
        .await
        .unwrap()
}

/// What the farm expects of an action when it comes.
async fn planned(client: &Client, asker: &RequestMetadata, script: &str) -> Planned {
    let action = put(client, script).await;
    let mut operations = client.begin_for(asker, &action).await.unwrap();
    let name = operations.message().await.unwrap().unwrap().name;
    let (_, rest) = name.split_once("operations/").unwrap();
    let run: RunId = rest.split('/').next().unwrap().parse().unwrap();
    let watch = WatchRequest {
        run_id: run_id_to_wire(run),
        after: 0,
    };
    let mut runs = RunsClient::new(client.channel.clone());
    let mut events = runs.watch(watch).await.unwrap().into_inner();
    loop {
        if let Some(Event::Planned(planned)) = events.message().await.unwrap().unwrap().event {
            return planned;
        }
    }
}

#[test]
fn an_action_is_estimated_by_what_its_target_and_mnemonic_took_before() {
    let mut ground = Ground::new(1);
    let client = ground.client("shop", DigestFunction::Sha256);
    let [slow, quick] = [
        asker("first", "Compile", "//app:main"),
        asker("first", "Link", "//app:tool"),
    ];
    for (asker, script) in [(&slow, "sleep 2"), (&quick, "true")] {
        ground.block_on(async {
            let action = put(&client, script).await;
            finish(client.begin_for(asker, &action).await.unwrap())
                .await
                .unwrap();
        });
    }
    let known = wait::until("both in history", LIMIT, || {
        let request = HistoryRequest {
            project: "shop".to_owned(),
            ..HistoryRequest::default()
        };
        let mut runs = RunsClient::new(client.channel.clone());
        let reply = ground.block_on(runs.history(request)).unwrap().into_inner();
        (reply.cases.len() == 2).then_some(reply.cases)
    });
    let mut known: Vec<_> = known
        .iter()
        .map(|case| (case.binary_id.as_str(), case.name.as_str()))
        .collect();
    known.sort_unstable();
    assert_eq!(known, [("Compile", "//app:main"), ("Link", "//app:tool")]);

    // A coordinator looks at its history anew every half a minute, and when it starts.
    ground.farm.kill_coordinator();
    ground.farm.restart_coordinator();
    let client = ground.client("shop", DigestFunction::Sha256);
    for (mnemonic, target, is_known, is_slow) in [
        ("Compile", "//app:main", true, true),
        ("Link", "//app:tool", true, false),
        // Of others there is what their mnemonic took.
        ("Compile", "//app:tool", false, true),
        ("Link", "//app:main", false, false),
    ] {
        let asker = asker("second", mnemonic, target);
        let script = format!(": {mnemonic} {target}");
        let planned = ground.block_on(planned(&client, &asker, &script));
        assert_eq!((planned.cases, planned.known == 1), (1, is_known), "{asker:?}");
        let micros = planned.total.unwrap().micros;
        assert_eq!(micros >= 1_000_000, is_slow, "{asker:?}: {micros} µs");
    }
}

/// Has an action come for `invocation` while the first of three of the invocation "usual" is run on the only slot;
/// returns which turn it gets after that.
fn turn_of(invocation: &str) -> usize {
    let mut ground = Ground::new(0);
    ground.farm.add(&WorkerOptions::new("worker", 1));
    let client = ground.client("shop", DigestFunction::Sha256);
    // Actions see a /tmp of their own.
    let temp = tempfile::tempdir_in("/var/tmp").unwrap();
    let (marks, gate) = (temp.path().join("marks"), temp.path().join("gate"));
    let begin = |invocation: &str, name: &str| {
        let script = format!(
            "echo {name} >> {}; while [ ! -e {} ]; do sleep 0.05; done",
            marks.display(),
            gate.display()
        );
        let asker = asker(invocation, "Test", name);
        ground.block_on(async {
            client
                .begin_for(&asker, &put(&client, &script).await)
                .await
                .unwrap()
        })
    };
    let begun = || std::fs::read_to_string(&marks).unwrap_or_default();
    let mut running = vec![begin("usual", "first")];
    wait::until("the first action's start", LIMIT, || {
        (begun() == "first\n").then_some(())
    });
    running.extend(["second", "third"].map(|name| begin("usual", name)));
    running.push(begin(invocation, "other"));
    std::fs::write(&gate, "").unwrap();
    for operations in running {
        let result = ground.block_on(finish(operations)).unwrap().result.unwrap();
        assert_eq!(result.exit_code, 0);
    }
    begun().lines().position(|name| name == "other").unwrap()
}

#[test]
fn each_invocation_has_its_share_however_much_another_asks_for() {
    assert_eq!(turn_of("usual"), 3);
    assert_eq!(turn_of("another"), 1);
}
