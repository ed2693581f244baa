//! What is stored for reuse, and when; blobs; cached lists.

use thresh_core::digest::Digest;
use thresh_core::schedule::Policy;
use thresh_proto::v1;
use thresh_proto::v1::run_ended::Reason;
use thresh_proto::v1::run_event::Event;
use tonic::Code;

use crate::farm::*;

fn planned(events: &[Event]) -> (u32, u32) {
    match &events[0] {
        Event::Planned(planned) => (planned.cases, planned.reused),
        other => panic!("the plan comes first, not {other:?}"),
    }
}

pub(crate) async fn put(farm: &Farm, content: &[u8], digest: Digest) -> Result<(), tonic::Status> {
    let mut messages: Vec<v1::PutRequest> = content
        .chunks(1 << 20)
        .map(|chunk| v1::PutRequest {
            content: chunk.to_vec().into(),
            ..Default::default()
        })
        .collect();
    if messages.is_empty() {
        messages.push(v1::PutRequest::default());
    }
    messages[0].digest = digest.as_bytes().to_vec().into();
    messages[0].size_bytes = content.len() as u64;
    farm.blobs()
        .await
        .put(tokio_stream::iter(messages))
        .await
        .map(drop)
}

async fn get(farm: &Farm, digest: Digest) -> Result<Vec<u8>, tonic::Status> {
    let request = v1::GetRequest {
        digest: digest.as_bytes().to_vec().into(),
    };
    let mut stream = farm.blobs().await.get(request).await?.into_inner();
    let mut content = Vec::new();
    while let Some(reply) = stream.message().await? {
        content.extend_from_slice(&reply.content);
    }
    Ok(content)
}

#[tokio::test]
async fn passes_in_place_are_reused_only_when_inputs_were_confirmed() {
    let farm = Farm::start(Policy::default()).await;
    let mut worker = farm.worker("here").await;
    let mut client = farm.client().await;
    for (number, confirm) in [(1, false), (2, true)] {
        submit(&mut client, run(number, 2)).await.unwrap();
        let cases = worker.cases(2).await;
        worker.run(number, &cases[..1], &passed());
        worker.run(number, &cases[1..], &failed());
        let events = to_the_end(watch(&mut client, number).await).await;
        assert_eq!(planned(&events), (2, 0), "run {number}");
        if confirm {
            let request = v1::ConfirmInputsRequest { run_id: id(number) };
            let reply = client.confirm_inputs(request.clone()).await.unwrap().into_inner();
            assert_eq!(reply.stored, 1, "only the clean pass");
            assert_eq!(
                client.confirm_inputs(request).await.unwrap().into_inner().stored,
                0
            );
        }
    }
    let plan = client
        .plan(tokio_stream::iter([run(3, 2)]))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(plan.cases.iter().filter(|case| case.reused).count(), 1);
    assert!(plan.cases.iter().all(|case| case.estimate_source == "case"));
    assert_eq!(plan.slots, 2);

    submit(&mut client, run(3, 2)).await.unwrap();
    let cases = worker.cases(1).await;
    worker.run(3, &cases, &passed());
    let events = to_the_end(watch(&mut client, 3).await).await;
    assert_eq!(planned(&events), (2, 1));
    assert!(matches!(&events[1], Event::Reused(reused) if reused.cases.len() == 1));
    assert_eq!(end(&events).reason(), Reason::Complete);

    let mut without = run(4, 2);
    without.header.as_mut().unwrap().reuse = false;
    let plan = client
        .plan(tokio_stream::iter([without]))
        .await
        .unwrap()
        .into_inner();
    assert!(plan.cases.iter().all(|case| !case.reused));
    let mut changed = run(5, 2);
    changed.header.as_mut().unwrap().key_parts = vec![key_parts("another tree")];
    let plan = client
        .plan(tokio_stream::iter([changed]))
        .await
        .unwrap()
        .into_inner();
    assert!(plan.cases.iter().all(|case| !case.reused));

    let asked = ["case 0", "case 1", "case 9"].map(|name| v1::CaseName {
        binary_id: "demo::tests".into(),
        name: name.into(),
    });
    let request = v1::LastPassRequest {
        project: "demo".into(),
        cases: asked.into(),
    };
    let last = client.last_pass(request).await.unwrap().into_inner().passes;
    assert_eq!(last.iter().filter(|pass| pass.found).count(), 1);
    assert!(!last[2].found);
    let found = last.iter().find(|pass| pass.found).unwrap();
    assert_eq!(
        (found.run_id.clone(), found.parts.clone()),
        (id(2), Some(key_parts("tree")))
    );
}

#[tokio::test]
async fn a_pass_on_a_later_attempt_is_never_stored() {
    let farm = Farm::start(Policy::default()).await;
    let mut worker = farm.worker("here").await;
    let mut client = farm.client().await;
    let mut flaky = run(1, 1);
    flaky.header.as_mut().unwrap().settings[0].retries = Some(v1::RetryPolicy {
        count: 1,
        ..Default::default()
    });
    submit(&mut client, flaky).await.unwrap();
    let first = worker.cases(1).await;
    assert_eq!((first[0].attempt, first[0].attempts_max), (1, 2));
    worker.run(1, &first, &failed());
    let second = worker.cases(1).await;
    assert_eq!(second[0].attempt, 2);
    worker.run(1, &second, &passed());
    let events = to_the_end(watch(&mut client, 1).await).await;
    let told: Vec<_> = attempts(&events)
        .iter()
        .map(|attempt| (attempt.attempt, attempt.last))
        .collect();
    assert_eq!(told, [(1, false), (2, true)]);
    let reply = client
        .confirm_inputs(v1::ConfirmInputsRequest { run_id: id(1) })
        .await
        .unwrap();
    assert_eq!(reply.into_inner().stored, 0);
}

#[tokio::test]
async fn shipped_runs_need_their_manifests_and_store_passes_at_once() {
    let farm = Farm::start(Policy::default()).await;
    let mut worker = farm.worker_of_kind("far", false).await;
    let mut client = farm.client().await;
    let (request, manifests) = shipped_run(1, 1);
    let missing = submit(&mut client, request.clone()).await.unwrap_err();
    assert_eq!(missing.code(), Code::FailedPrecondition);
    assert!(missing.message().contains("the source tree"), "{missing}");

    let digests: Vec<_> = manifests
        .iter()
        .map(|manifest| Digest::of(manifest).as_bytes().to_vec().into())
        .collect();
    for manifest in &manifests[1..] {
        put(&farm, manifest, Digest::of(manifest)).await.unwrap();
    }
    let find = v1::FindMissingRequest {
        digests: digests.clone(),
    };
    let found = farm.blobs().await.find_missing(find).await.unwrap().into_inner();
    assert_eq!(found.digests, digests[..1]);
    put(&farm, &manifests[0], Digest::of(&manifests[0]))
        .await
        .unwrap();

    submit(&mut client, request).await.unwrap();
    let cases = worker.cases(1).await;
    worker.run(1, &cases, &passed());
    to_the_end(watch(&mut client, 1).await).await;
    submit(&mut client, shipped_run(2, 1).0).await.unwrap();
    let events = to_the_end(watch(&mut client, 2).await).await;
    assert_eq!(planned(&events), (1, 1));
    assert_eq!(end(&events).reason(), Reason::Complete);
}

#[tokio::test]
async fn blobs_travel_in_chunks_and_are_checked() {
    let farm = Farm::start(Policy::default()).await;
    let content: Vec<u8> = (0..5_000_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    for content in [&content[..], b""] {
        put(&farm, content, Digest::of(content)).await.unwrap();
        assert!(get(&farm, Digest::of(content)).await.unwrap() == content);
    }
    let wrong = put(&farm, b"content", Digest::of(b"other")).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    assert_eq!(
        get(&farm, Digest::of(b"other")).await.unwrap_err().code(),
        Code::NotFound
    );

    let name = Digest::of(&content).to_string();
    let file = farm.folder.path().join("blobs").join(&name[..2]).join(&name);
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, b"damaged").unwrap();
    assert_eq!(
        get(&farm, Digest::of(&content)).await.unwrap_err().code(),
        Code::DataLoss
    );
    assert_eq!(
        get(&farm, Digest::of(&content)).await.unwrap_err().code(),
        Code::NotFound,
        "it is dropped"
    );
}

#[tokio::test]
async fn test_lists_are_cached_by_key() {
    let farm = Farm::start(Policy::default()).await;
    let mut client = farm.client().await;
    let key = |text: &[u8]| prost::bytes::Bytes::copy_from_slice(Digest::of(text).as_bytes());
    let entry = v1::ListEntry {
        key: key(b"a"),
        list: b"one: test"[..].into(),
    };
    client
        .put_lists(v1::PutListsRequest { entries: vec![entry] })
        .await
        .unwrap();
    let reply = client
        .get_lists(v1::GetListsRequest {
            keys: vec![key(b"b"), key(b"a")],
        })
        .await
        .unwrap();
    assert_eq!(reply.into_inner().lists, [&b""[..], b"one: test"]);
    let bad = client
        .get_lists(v1::GetListsRequest {
            keys: vec![b"short"[..].into()],
        })
        .await
        .unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument);
}
