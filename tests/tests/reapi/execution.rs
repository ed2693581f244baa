use super::{BOTH, Ground};
use bazel_remote_apis::build::bazel::remote::execution::v2::platform::Property;
use bazel_remote_apis::build::bazel::remote::execution::v2::{
    Action, ActionResult, Command, Directory, DirectoryNode, ExecuteRequest, GetActionResultRequest,
    Platform, SymlinkNode, Tree, UpdateActionResultRequest, WaitExecutionRequest, digest_function,
};
use bazel_remote_apis::google::longrunning::operations_client::OperationsClient;
use bazel_remote_apis::google::longrunning::{CancelOperationRequest, GetOperationRequest};
use prost::Message;
use rustix::process::Signal;
use std::time::Duration;
use thresh_cas::{BlobName, DigestFunction};
use thresh_tests::farm::WorkerOptions;
use thresh_tests::reapi::{Client, finish, shell};
use thresh_tests::wait;
use tonic::{Code, Status};

const LIMIT: Duration = Duration::from_secs(60);

async fn put_script(client: &Client, script: &str, outputs: &[&str]) -> BlobName {
    let command = Command {
        output_paths: outputs.iter().map(|&path| path.to_owned()).collect(),
        ..shell(script)
    };
    client
        .put_action(&command, &Directory::default(), Action::default())
        .await
        .unwrap()
}

#[test]
fn an_action_sees_its_inputs_and_leaves_its_outputs() {
    let ground = Ground::new(1);
    for function in BOTH {
        let client = ground.client("shop", function);
        ground.block_on(async {
            let inner = Directory {
                files: vec![
                    client.file("data", b"inner data", false).await.unwrap(),
                    client
                        .file("tool", b"#!/bin/sh\necho tool $1\n", true)
                        .await
                        .unwrap(),
                ],
                symlinks: vec![SymlinkNode {
                    name: "up".to_owned(),
                    target: "../top".to_owned(),
                    node_properties: None,
                }],
                ..Directory::default()
            };
            let folder = |name: &str, digest: BlobName| DirectoryNode {
                name: name.to_owned(),
                digest: Some(digest.to_wire()),
            };
            let root = Directory {
                files: vec![client.file("top", b"top data", false).await.unwrap()],
                directories: vec![
                    folder("empty", client.put_message(&Directory::default()).await.unwrap()),
                    folder("inner", client.put_message(&inner).await.unwrap()),
                ],
                ..Directory::default()
            };
            let script = "set -e; cat data up > made/here/file; ./tool x; echo bad >&2; ls ../empty; \
                          chmod +x made/here/file; mkdir -p all/deep all/none; echo 1 > all/deep/one; \
                          ln -s deep/one all/link; ln -s made/here link; echo changed >> data; exit 3";
            let command = Command {
                working_directory: "inner".to_owned(),
                output_paths: ["all", "absent", "data", "link", "made/here/file"]
                    .map(str::to_owned)
                    .into(),
                ..shell(script)
            };
            let action = client
                .put_action(&command, &root, Action::default())
                .await
                .unwrap();
            let response = client.execute(&action, false).await.unwrap();
            let result = response.result.unwrap();
            assert_eq!((result.exit_code, response.cached_result), (3, false));
            assert_eq!(result.stdout_raw, b"tool x\n");
            let stderr = result.stderr_digest.as_ref().unwrap();
            let stderr = BlobName::from_wire(function, stderr).unwrap();
            assert_eq!(client.read(&stderr, 0, 0, false).await.unwrap(), b"bad\n");
            let files = result
                .output_files
                .iter()
                .map(|file| (file.path.as_str(), file.is_executable));
            assert_eq!(
                files.collect::<Vec<_>>(),
                [("data", false), ("made/here/file", true)]
            );
            let made =
                BlobName::from_wire(function, result.output_files[1].digest.as_ref().unwrap()).unwrap();
            assert_eq!(
                client.read(&made, 0, 0, false).await.unwrap(),
                b"inner datatop data"
            );
            let links = result
                .output_symlinks
                .iter()
                .map(|link| (link.path.as_str(), link.target.as_str()));
            assert_eq!(links.collect::<Vec<_>>(), [("link", "made/here")]);
            assert_eq!(result.output_directories.len(), 1);
            let tree = result.output_directories[0].tree_digest.as_ref().unwrap();
            let tree = BlobName::from_wire(function, tree).unwrap();
            let tree = Tree::decode(&client.read(&tree, 0, 0, false).await.unwrap()[..]).unwrap();
            let root = tree.root.unwrap();
            let folders = root.directories.iter().map(|folder| folder.name.as_str());
            assert_eq!(folders.collect::<Vec<_>>(), ["deep", "none"]);
            assert_eq!((root.symlinks[0].name.as_str(), tree.children.len()), ("link", 2));
            // It was no clean pass.
            assert_eq!(client.result(&action).await.unwrap_err().code(), Code::NotFound);
            let metadata = result.execution_metadata.unwrap();
            assert!(!metadata.worker.is_empty() && metadata.execution_start_timestamp.is_some());
            // What it did to its inputs, it did to its own.
            let action = put_like(&client, &command, &action, "cat data").await;
            assert_eq!(
                client
                    .execute(&action, false)
                    .await
                    .unwrap()
                    .result
                    .unwrap()
                    .stdout_raw,
                b"inner data"
            );
        });
    }
}

/// An action with the inputs of another.
async fn put_like(client: &Client, command: &Command, action: &BlobName, script: &str) -> BlobName {
    let content = client.read(action, 0, 0, false).await.unwrap();
    let command = Command {
        working_directory: command.working_directory.clone(),
        ..shell(script)
    };
    let action = Action {
        command_digest: Some(client.put_message(&command).await.unwrap().to_wire()),
        ..Action::decode(&content[..]).unwrap()
    };
    client.put_message(&action).await.unwrap()
}

#[test]
fn clean_results_are_kept_and_others_are_not() {
    let ground = Ground::new(1);
    let client = ground.client("shop", DigestFunction::Sha256);
    ground.block_on(async {
        let action = put_script(&client, "echo $$ > out", &["out"]).await;
        let first = client.execute(&action, false).await.unwrap();
        let again = client.execute(&action, false).await.unwrap();
        assert!(!first.cached_result && again.cached_result);
        assert_eq!(
            first.result.unwrap().output_files,
            again.result.unwrap().output_files
        );
        assert!(!client.execute(&action, true).await.unwrap().cached_result);
        // It is the instance's own: the trusted do not see what the untrusted had executed.
        let trusted = Client {
            instance: "shop/trusted".to_owned(),
            ..client.clone()
        };
        assert_eq!(trusted.result(&action).await.unwrap_err().code(), Code::NotFound);
        assert!(!trusted.execute(&action, false).await.unwrap().cached_result);
        // Who asks at the same moment gets the same.
        let action = put_script(&client, "sleep 0.5; echo $$ > out", &["out"]).await;
        let (first, second) = tokio::join!(client.begin(&action, true), client.begin(&action, true));
        let (mut first, mut second) = (first.unwrap(), second.unwrap());
        let (one, other) = (
            first.message().await.unwrap().unwrap(),
            second.message().await.unwrap().unwrap(),
        );
        assert_eq!(one.name, other.name);
        let salted = Action {
            do_not_cache: true,
            ..Action::default()
        };
        let uncached = client
            .put_action(&shell("true"), &Directory::default(), salted)
            .await
            .unwrap();
        client.execute(&uncached, false).await.unwrap();
        assert_eq!(client.result(&uncached).await.unwrap_err().code(), Code::NotFound);
    });
}

#[test]
fn actions_that_cannot_be_executed_say_why() {
    let ground = Ground::new(1);
    let client = ground.client("shop", DigestFunction::Blake3);
    let refused = async |action: &BlobName| -> Status { client.execute(action, false).await.unwrap_err() };
    ground.block_on(async {
        let gone = client.name(b"gone");
        let status = refused(&gone).await;
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(
            String::from_utf8_lossy(status.details()).contains(&format!("blobs/{gone}")),
            "{status:?}"
        );
        // Its command is missing.
        let command = Command::default().encode_to_vec();
        let command = client.name(&[&command[..], b"never sent"].concat());
        let lost = Action {
            command_digest: Some(command.to_wire()),
            ..Action::default()
        };
        let status = refused(&client.put_message(&lost).await.unwrap()).await;
        assert_eq!(status.code(), Code::FailedPrecondition);
        let named = format!("blobs/{command}");
        assert!(
            String::from_utf8_lossy(status.details()).contains(&named),
            "{status:?}"
        );
        // It is longer than actions are.
        let long = Action {
            salt: vec![0; 5 << 20],
            ..Action::default()
        };
        let long = long.encode_to_vec();
        let name = client.name(&long);
        let resource = format!("uploads/1/{}", client.resource(&name, false));
        let pieces = long.chunks(1 << 20).map(<[u8]>::to_vec).collect();
        client.write(&resource, 0, pieces, true).await.unwrap();
        let status = refused(&name).await;
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("longer than 4194304 bytes"), "{status}");
        // A file of the root is missing.
        let mut file = client.file("a", b"here", false).await.unwrap();
        file.digest = Some(gone.to_wire());
        let root = Directory {
            files: vec![file],
            ..Directory::default()
        };
        let action = client
            .put_action(&shell("true"), &root, Action::default())
            .await
            .unwrap();
        let status = refused(&action).await;
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(String::from_utf8_lossy(status.details()).contains("MISSING"));

        let content = client.put(b"x").await.unwrap();
        let entry = |name: &str| Directory {
            symlinks: vec![SymlinkNode {
                name: name.to_owned(),
                target: "/etc/passwd".to_owned(),
                node_properties: None,
            }],
            ..Directory::default()
        };
        let command = |change: fn(&mut Command)| {
            let mut command = shell("true");
            change(&mut command);
            command
        };
        let nothing = Directory::default();
        let with_name = |name: &str| Directory {
            directories: vec![DirectoryNode {
                name: name.to_owned(),
                digest: Some(content.to_wire()),
            }],
            ..Directory::default()
        };
        for (what, command, root) in [
            ("leads out", shell("true"), entry("l")),
            ("not the name", shell("true"), with_name("..")),
            ("not the name", shell("true"), with_name("/abs")),
            (
                "no arguments",
                command(|command| command.arguments.clear()),
                nothing.clone(),
            ),
            (
                "output path",
                command(|command| command.output_paths = vec!["../x".to_owned()]),
                nothing.clone(),
            ),
            (
                "output path",
                command(|command| command.output_paths = vec!["/x".to_owned()]),
                nothing.clone(),
            ),
            (
                "working directory",
                command(|command| command.working_directory = "..".to_owned()),
                nothing.clone(),
            ),
        ] {
            let action = client
                .put_action(&command, &root, Action::default())
                .await
                .unwrap();
            let status = refused(&action).await;
            assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status}");
            assert!(status.message().contains(what), "{what}: {status}");
        }
        let windows = Action {
            platform: Some(Platform {
                properties: vec![Property {
                    name: "OSFamily".to_owned(),
                    value: "windows".to_owned(),
                }],
            }),
            ..Action::default()
        };
        let action = client
            .put_action(&shell("true"), &nothing, windows)
            .await
            .unwrap();
        assert_eq!(refused(&action).await.code(), Code::FailedPrecondition);
        let absent = Command {
            arguments: vec!["./absent".to_owned()],
            ..Command::default()
        };
        let action = client
            .put_action(&absent, &nothing, Action::default())
            .await
            .unwrap();
        let status = refused(&action).await;
        assert!(status.message().contains("absent"), "{status}");
        // Ended by a signal, as shells tell it; and by its timeout.
        let action = put_script(&client, "kill -9 $$", &[]).await;
        assert_eq!(
            client
                .execute(&action, false)
                .await
                .unwrap()
                .result
                .unwrap()
                .exit_code,
            137
        );
        let late = Action {
            timeout: Some(bazel_remote_apis::google::protobuf::Duration { seconds: 1, nanos: 0 }),
            ..Action::default()
        };
        let action = client
            .put_action(&shell("sleep 600"), &nothing, late)
            .await
            .unwrap();
        assert_eq!(refused(&action).await.code(), Code::DeadlineExceeded);
    });
}

#[test]
fn a_digest_function_that_is_not_served_is_told_with_those_that_are() {
    let ground = Ground::new(0);
    let client = ground.client("shop/trusted", DigestFunction::Sha256);
    ground.block_on(async {
        let action = put_script(&client, "true", &[]).await;
        let md5 = digest_function::Value::Md5.into();
        for (function, word) in [(md5, "MD5"), (77, "77")] {
            let execute = ExecuteRequest {
                instance_name: client.instance.clone(),
                action_digest: Some(action.to_wire()),
                digest_function: function,
                ..ExecuteRequest::default()
            };
            let get = GetActionResultRequest {
                instance_name: client.instance.clone(),
                action_digest: Some(action.to_wire()),
                digest_function: function,
                ..GetActionResultRequest::default()
            };
            let update = UpdateActionResultRequest {
                instance_name: client.instance.clone(),
                action_digest: Some(action.to_wire()),
                action_result: Some(ActionResult::default()),
                digest_function: function,
                ..UpdateActionResultRequest::default()
            };
            let refused = [
                client.execution().execute(execute).await.map(drop).unwrap_err(),
                client
                    .results()
                    .get_action_result(get)
                    .await
                    .map(drop)
                    .unwrap_err(),
                client
                    .results()
                    .update_action_result(update)
                    .await
                    .map(drop)
                    .unwrap_err(),
            ];
            for status in refused {
                assert_eq!(status.code(), Code::InvalidArgument);
                let said = status.message();
                assert!(
                    said.contains(word) && said.contains("SHA256 and BLAKE3"),
                    "{status}"
                );
            }
        }
    });
}

#[test]
fn a_result_is_kept_though_its_client_has_gone() {
    let ground = Ground::new(1);
    let client = ground.client("shop", DigestFunction::Sha256);
    let action = ground.block_on(async {
        let action = put_script(&client, "sleep 0.5; echo done", &[]).await;
        let mut operations = client.begin(&action, true).await.unwrap();
        operations.message().await.unwrap().unwrap();
        action
    });
    wait::until("the result is kept", Duration::from_secs(30), || {
        ground.block_on(client.result(&action)).ok()
    });
}

#[test]
fn outputs_are_not_looked_for_outside_of_the_action() {
    let ground = Ground::new(1);
    let client = ground.client("shop", DigestFunction::Sha256);
    ground.block_on(async {
        let script =
            "ln -s /etc out; ln -s /etc/passwd file; mkdir d; ln -s ../../../../etc d/up; mkfifo pipe";
        let outputs = ["out/passwd", "file", "d/up/passwd", "pipe"];
        let action = put_script(&client, script, &outputs).await;
        let result = client.execute(&action, false).await.unwrap().result.unwrap();
        assert_eq!(result.output_files, []);
        assert_eq!(result.output_symlinks.len(), 1);
        assert_eq!(result.output_symlinks[0].target, "/etc/passwd");
    });
}

#[test]
fn an_action_is_waited_for_cancelled_and_survives_its_worker() {
    let mut ground = Ground::new(0);
    let client = ground.client("shop", DigestFunction::Sha256);
    for name in ["first", "second"] {
        ground.farm.add(&WorkerOptions::new(name, 1));
    }
    let action = ground.block_on(put_script(&client, "echo begun; sleep 600", &[]));
    let name = ground.block_on(async {
        let mut operations = client.begin(&action, true).await.unwrap();
        let operation = operations.message().await.unwrap().unwrap();
        assert!(!operation.done);
        operation.name
    });
    // Whoever asks for the same follows the same.
    ground.block_on(async {
        let mut operations = client.begin(&action, true).await.unwrap();
        assert_eq!(operations.message().await.unwrap().unwrap().name, name);
        let wait = WaitExecutionRequest { name: name.clone() };
        let waiting = client
            .execution()
            .wait_execution(wait)
            .await
            .unwrap()
            .into_inner();
        let mut calls = OperationsClient::new(client.channel.clone());
        let get = GetOperationRequest { name: name.clone() };
        assert!(!calls.get_operation(get.clone()).await.unwrap().into_inner().done);
        // Who cancels it leaves it to others who want it.
        let cancel = CancelOperationRequest { name: name.clone() };
        calls.cancel_operation(cancel.clone()).await.unwrap();
        assert!(!calls.get_operation(get.clone()).await.unwrap().into_inner().done);
        drop(operations);
        // The coordinator hears of that a little later.
        while !calls.get_operation(get.clone()).await.unwrap().into_inner().done {
            calls.cancel_operation(cancel.clone()).await.unwrap();
        }
        assert_eq!(finish(waiting).await.unwrap_err().code(), Code::Cancelled);
        assert!(calls.get_operation(get).await.unwrap().into_inner().done);
        let unknown = GetOperationRequest {
            name: "operations/x".to_owned(),
        };
        assert_eq!(
            calls.get_operation(unknown).await.unwrap_err().code(),
            Code::NotFound
        );
    });
    // The worker that executes it dies; the other one takes over.
    // Actions see a /tmp of their own.
    let temp = tempfile::tempdir_in("/var/tmp").unwrap();
    let (marks, gate) = (temp.path().join("marks"), temp.path().join("gate"));
    let script = format!(
        "echo x >> {}; while [ ! -e {} ]; do sleep 0.05; done; echo > out",
        marks.display(),
        gate.display()
    );
    let action = ground.block_on(put_script(&client, &script, &["out"]));
    let operations = ground.block_on(client.begin(&action, true)).unwrap();
    let begun = |count: usize| {
        wait::until("the action's start", LIMIT, || {
            let text = std::fs::read_to_string(&marks).ok()?;
            (text.lines().count() >= count).then_some(())
        });
    };
    begun(1);
    let busy = ["first", "second"].into_iter().find(|name| {
        let runs = ground.farm.worker(name).data().join("runs");
        std::fs::read_dir(runs).is_ok_and(|runs| runs.count() > 0)
    });
    ground.farm.worker(busy.unwrap()).signal(Signal::KILL);
    begun(2);
    std::fs::write(&gate, "").unwrap();
    let result = ground.block_on(finish(operations)).unwrap().result.unwrap();
    assert_eq!((result.exit_code, result.output_files.len()), (0, 1));
}

#[test]
fn what_a_name_says_is_not_believed() {
    let ground = Ground::new(1);
    let client = ground.client("shop", DigestFunction::Sha256);
    ground.block_on(async {
        let (evil, good) = (
            put_script(&client, "echo evil > out", &["out"]).await,
            put_script(&client, "echo good > out", &["out"]).await,
        );
        let mut operations = client.begin(&evil, true).await.unwrap();
        let name = operations.message().await.unwrap().unwrap().name;
        finish(operations).await.unwrap();
        let forged = [
            name.replace("shop/", "shop/trusted/"),
            name.replace(&evil.to_string(), &good.to_string()),
            name.replace("sha256", "blake3"),
            format!("{name}/uncached"),
        ];
        let mut calls = OperationsClient::new(client.channel.clone());
        for name in forged {
            let wait = WaitExecutionRequest { name: name.clone() };
            let refused = client.execution().wait_execution(wait).await.unwrap_err();
            assert_eq!(refused.code(), Code::NotFound, "{name}");
            let get = GetOperationRequest { name: name.clone() };
            assert_eq!(calls.get_operation(get).await.unwrap_err().code(), Code::NotFound);
            let cancel = CancelOperationRequest { name };
            assert_eq!(
                calls.cancel_operation(cancel).await.unwrap_err().code(),
                Code::NotFound
            );
        }
        let wait = WaitExecutionRequest { name };
        finish(
            client
                .execution()
                .wait_execution(wait)
                .await
                .unwrap()
                .into_inner(),
        )
        .await
        .unwrap();
        let trusted = Client {
            instance: "shop/trusted".to_owned(),
            ..client.clone()
        };
        for action in [&evil, &good] {
            assert_eq!(trusted.result(action).await.unwrap_err().code(), Code::NotFound);
        }
        assert_eq!(client.result(&good).await.unwrap_err().code(), Code::NotFound);
    });
}

#[test]
fn no_action_takes_a_worker_out_of_service() {
    let ground = Ground::new(1);
    let client = ground.client("shop", DigestFunction::Sha256);
    ground.block_on(async {
        let link = |name: &str, target: &str| SymlinkNode {
            name: name.to_owned(),
            target: target.to_owned(),
            node_properties: None,
        };
        let root = Directory {
            files: vec![client.file("file", b"x", false).await.unwrap()],
            symlinks: vec![link("dangling", "nowhere"), link("loop", "loop")],
            ..Directory::default()
        };
        for (output, folder) in [
            ("file/out", ""),
            ("dangling/out", ""),
            ("loop/out", ""),
            ("out", "file"),
            ("out", "dangling"),
        ] {
            let command = Command {
                output_paths: vec![output.to_owned()],
                working_directory: folder.to_owned(),
                ..shell("true")
            };
            let action = client
                .put_action(&command, &root, Action::default())
                .await
                .unwrap();
            let status = client.execute(&action, true).await.unwrap_err();
            assert_eq!(
                status.code(),
                Code::FailedPrecondition,
                "{output} in {folder}: {status}"
            );
        }
        let long = "x".repeat(256);
        let command = Command {
            output_paths: vec![long.clone()],
            ..shell("true")
        };
        let action = client
            .put_action(&command, &Directory::default(), Action::default())
            .await
            .unwrap();
        assert_eq!(
            client.execute(&action, true).await.unwrap_err().code(),
            Code::InvalidArgument
        );
        let root = Directory {
            files: vec![client.file(&long, b"x", false).await.unwrap()],
            ..Directory::default()
        };
        let action = client
            .put_action(&shell("true"), &root, Action::default())
            .await
            .unwrap();
        assert_eq!(
            client.execute(&action, true).await.unwrap_err().code(),
            Code::InvalidArgument
        );
        // Folders without end, and more bytes than anybody wants.
        let deep = "i=0; while [ $i -lt 1500 ]; do mkdir d && cd d || exit 1; i=$((i+1)); done";
        for script in [
            format!("mkdir out; cd out; {deep}"),
            "truncate -s 4T out".to_owned(),
        ] {
            let action = put_script(&client, &script, &["out"]).await;
            let status = client.execute(&action, true).await.unwrap_err();
            assert!(status.message().contains("keep output"), "{status}");
        }
        let action = put_script(&client, "echo alive", &[]).await;
        assert_eq!(
            client
                .execute(&action, true)
                .await
                .unwrap()
                .result
                .unwrap()
                .stdout_raw,
            b"alive\n"
        );
    });
}

#[test]
fn output_of_which_some_is_left_out_is_not_kept_for_others() {
    let ground = Ground::new(1);
    let client = ground.client("shop", DigestFunction::Sha256);
    ground.block_on(async {
        let action = put_script(&client, "yes | head -c 12000000", &[]).await;
        let result = client.execute(&action, false).await.unwrap().result.unwrap();
        assert_eq!(result.exit_code, 0);
        let stdout =
            BlobName::from_wire(DigestFunction::Sha256, result.stdout_digest.as_ref().unwrap()).unwrap();
        let stdout = client.read(&stdout, 0, 0, false).await.unwrap();
        assert!(String::from_utf8_lossy(&stdout).contains("are left out here"));
        assert_eq!(client.result(&action).await.unwrap_err().code(), Code::NotFound);
    });
}
