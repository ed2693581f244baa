//! What is stored for reuse, and when; blobs; cached lists.

use thresh_cas::{Cutter, pack, pack_against};
use thresh_core::chunk::{Frame, Recipe};
use thresh_core::digest::Digest;
use thresh_core::schedule::Policy;
use thresh_proto::convert::{
    digest_to_wire, digests_from_wire, frame_from_wire, frame_to_wire, recipe_from_wire, recipe_to_wire,
};
use thresh_proto::v1;
use thresh_proto::v1::records_client::RecordsClient;
use thresh_proto::v1::run_ended::Reason;
use thresh_proto::v1::run_event::Event;
use thresh_proto::v1::runs_client::RunsClient;
use tonic::Code;
use tonic::transport::Channel;

use crate::farm::*;

fn planned(events: &[Event]) -> (u32, u32) {
    match &events[0] {
        Event::Planned(planned) => (planned.cases, planned.reused),
        other => panic!("the plan comes first, not {other:?}"),
    }
}

/// Puts a blob that is one chunk.
pub(crate) async fn put(farm: &Farm, content: &[u8], digest: Digest) -> Result<(), tonic::Status> {
    put_chunk(farm, pack(digest, content)).await
}

async fn put_chunk(farm: &Farm, frame: Frame) -> Result<(), tonic::Status> {
    let message = v1::PutRequest {
        frames: vec![frame_to_wire(frame)],
    };
    farm.blobs()
        .await
        .put(tokio_stream::iter([message]))
        .await
        .map(drop)
}

async fn get(farm: &Farm, digest: Digest, bases: &[Digest]) -> Result<Frame, tonic::Status> {
    let wanted = v1::Wanted {
        digest: digest_to_wire(digest),
        bases: bases.iter().copied().map(digest_to_wire).collect(),
    };
    let request = v1::GetRequest {
        chunks: vec![wanted],
        elsewhere: false,
    };
    let mut stream = farm.blobs().await.get(request).await?.into_inner();
    let mut reply = stream.message().await?.unwrap();
    Ok(frame_from_wire(reply.frames.remove(0)).unwrap())
}

async fn put_blob(
    farm: &Farm,
    digest: Digest,
    recipe: &Recipe,
    frames: Vec<Frame>,
) -> Result<Vec<Digest>, tonic::Status> {
    let first = v1::PutBlobRequest {
        digest: digest_to_wire(digest),
        recipe: Some(recipe_to_wire(recipe)),
        ..Default::default()
    };
    let further = frames.into_iter().map(|frame| v1::PutBlobRequest {
        frames: vec![frame_to_wire(frame)],
        ..Default::default()
    });
    let messages: Vec<_> = std::iter::once(first).chain(further).collect();
    let reply = farm
        .blobs()
        .await
        .put_blob(tokio_stream::iter(messages))
        .await?
        .into_inner();
    Ok(digests_from_wire("missing", &reply.missing).unwrap())
}

async fn missing(farm: &Farm, digest: Digest) -> bool {
    let request = v1::FindMissingRequest {
        digests: vec![digest_to_wire(digest)],
    };
    let reply = farm.blobs().await.find_missing(request).await.unwrap();
    !reply.into_inner().digests.is_empty()
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
            let request = v1::ConfirmInputsRequest {
                run_id: id(number),
                ..Default::default()
            };
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
        .confirm_inputs(v1::ConfirmInputsRequest {
            run_id: id(1),
            ..Default::default()
        })
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
async fn chunks_are_checked_when_they_come_and_when_they_go() {
    let farm = Farm::start(Policy::default()).await;
    for content in [&b"content"[..], b""] {
        let digest = Digest::of(content);
        put(&farm, content, digest).await.unwrap();
        assert_eq!(get(&farm, digest, &[]).await.unwrap(), pack(digest, content));
    }
    let wrong = put(&farm, b"content", Digest::of(b"other")).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    let absent = get(&farm, Digest::of(b"other"), &[]).await.unwrap_err();
    assert_eq!(absent.code(), Code::NotFound);
    let unknown_base = Frame {
        bases: vec![Digest::of(b"other")],
        ..pack(Digest::of(b"new"), b"new")
    };
    let refused = put_chunk(&farm, unknown_base).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);

    let digest = Digest::of(b"content");
    let pack = farm.folder.path().join("blobs").join("00000001.pack");
    let mut bytes = std::fs::read(&pack).unwrap();
    let at = bytes.windows(7).position(|window| window == b"content").unwrap();
    bytes[at] = b'C';
    std::fs::write(&pack, bytes).unwrap();
    let damaged = get(&farm, digest, &[]).await.unwrap_err();
    assert_eq!(damaged.code(), Code::DataLoss);
    assert!(missing(&farm, digest).await, "it is dropped");
    put(&farm, b"content", digest).await.unwrap();
    assert!(!missing(&farm, digest).await);
}

#[tokio::test]
async fn large_blobs_are_put_together_and_checked() {
    let farm = Farm::start(Policy::default()).await;
    let content: Vec<u8> = (0..20_000u32)
        .flat_map(|n| *Digest::of(&n.to_le_bytes()).as_bytes())
        .collect();
    let pieces: Vec<_> = Cutter::new(&content[..]).map(Result::unwrap).collect();
    let recipe = Recipe::new(pieces.iter().map(|piece| piece.part).collect()).unwrap();
    let recipe = recipe.with_base(Some(Digest::of(b"older")));
    let digest = Digest::of(&content);
    let frames = pieces[1..]
        .iter()
        .map(|piece| pack(piece.part.digest, &piece.content))
        .collect();
    let first = &pieces[0];
    let absent = put_blob(&farm, digest, &recipe, frames).await.unwrap();
    assert_eq!(absent, [first.part.digest]);
    assert!(missing(&farm, digest).await);
    // It comes as what differs from one that is there.
    let base = &pieces[1];
    let delta = pack_against(
        first.part.digest,
        &first.content,
        vec![base.part.digest],
        &base.content,
    );
    let other = put_blob(&farm, Digest::of(b"other"), &recipe, vec![delta])
        .await
        .unwrap_err();
    assert_eq!(other.code(), Code::InvalidArgument);
    assert_eq!(put_blob(&farm, digest, &recipe, Vec::new()).await.unwrap(), []);
    assert!(!missing(&farm, digest).await);
    let request = v1::RecipesRequest {
        digests: vec![digest_to_wire(digest)],
    };
    let reply = farm.blobs().await.recipes(request).await.unwrap().into_inner();
    assert_eq!(recipe_from_wire(&reply.recipes[0]), Ok(recipe));
}

#[tokio::test]
async fn what_clients_learn_is_kept_by_kind_and_key() {
    let farm = Farm::start(Policy::default()).await;
    let mut client = farm.client().await;
    let key = |text: &[u8]| prost::bytes::Bytes::copy_from_slice(Digest::of(text).as_bytes());
    for (kept, content) in [(v1::Kept::TestLists, "one: test"), (v1::Kept::Seen, "files")] {
        let entry = v1::KeptEntry {
            key: key(b"a"),
            content: content.into(),
        };
        client
            .put_kept(v1::PutKeptRequest {
                kept: kept.into(),
                entries: vec![entry],
            })
            .await
            .unwrap();
    }
    let mut get = async |kept: i32, keys: Vec<prost::bytes::Bytes>| {
        let reply = client.get_kept(v1::GetKeptRequest { kept, keys }).await;
        reply.map(|reply| reply.into_inner().contents)
    };
    let lists = get(v1::Kept::TestLists.into(), vec![key(b"b"), key(b"a")]).await;
    assert_eq!(lists.unwrap(), [&b""[..], b"one: test"]);
    assert_eq!(
        get(v1::Kept::Seen.into(), vec![key(b"a")]).await.unwrap(),
        [&b"files"[..]]
    );
    let short = get(v1::Kept::Seen.into(), vec![b"short"[..].into()]).await;
    assert_eq!(short.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(get(9, vec![]).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_pass_is_found_by_its_own_code_and_by_what_was_seen() {
    let farm = Farm::start(Policy::default()).await;
    let mut worker = farm.worker("here").await;
    let mut client = farm.client().await;
    let digest = |text: &str| digest_to_wire(Digest::of(text.as_bytes()));
    let with = |number: u128, code: &str, seen: Option<&str>| {
        let mut run = run(number, 2);
        for case in &mut run.cases {
            // A text `a in b` is the code `a` in the environment `b`.
            let (code, environment) = code.split_once(" in ").unwrap_or((code, "environment"));
            case.code = digest(code);
            case.environment = digest(environment);
            case.seen = seen.map(digest).unwrap_or_default();
        }
        run
    };
    submit(&mut client, with(1, "code", None)).await.unwrap();
    let cases = worker.cases(2).await;
    worker.run(1, &cases, &passed());
    to_the_end(watch(&mut client, 1).await).await;
    // The files changed, so that only the pass of which it is known what it read is stored.
    let request = v1::ConfirmInputsRequest {
        run_id: id(1),
        seen: vec![v1::SeenInputs {
            case: cases[0].case,
            digest: digest("files"),
        }],
        changed: true,
    };
    assert_eq!(
        client.confirm_inputs(request).await.unwrap().into_inner().stored,
        1
    );
    for (code, seen, reused) in [
        ("code", Some("files"), 1),
        ("code", Some("other files"), 0),
        ("other code", Some("files"), 0),
        ("code in another", Some("files"), 0),
        ("code", None, 0),
    ] {
        let asked = tokio_stream::iter([with(2, code, seen)]);
        let plan = client.plan(asked).await.unwrap().into_inner();
        let found = plan.cases.iter().filter(|case| case.reused).count();
        assert_eq!(found, reused, "{code} {seen:?}");
    }
    let mut short = run(3, 1);
    short.cases[0].seen = b"short"[..].into();
    let refused = submit(&mut client, short).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

pub(crate) fn audited(mut request: v1::SubmitRequest) -> v1::SubmitRequest {
    request.header.as_mut().unwrap().audit_ppm = 1_000_000;
    request
}

/// What audits found: how often they found what, and the disagreements.
pub(crate) async fn audit_report(farm: &Farm) -> ([u64; 4], Vec<v1::AuditDisagreement>) {
    let request = v1::AuditReportRequest {
        project: "demo".into(),
    };
    let mut client = RecordsClient::new(farm.connect().await);
    let mut parts = client.audit_report(request).await.unwrap().into_inner();
    let first = soon("the report", parts.message()).await.unwrap().unwrap();
    let counts = first.counts.unwrap();
    let counts = [counts.audited, counts.agreed, counts.flaky, counts.disagreed];
    (counts, first.disagreements)
}

async fn confirm(client: &mut RunsClient<Channel>, run: u128, changed: bool) {
    let request = v1::ConfirmInputsRequest {
        run_id: id(run),
        changed,
        ..Default::default()
    };
    client.confirm_inputs(request).await.unwrap();
}

/// Submits a run of which so many cases are leased, in which `failing` does not pass; returns its events.
async fn run_with_failing(
    client: &mut RunsClient<Channel>,
    worker: &mut Worker,
    (number, request): (u128, v1::SubmitRequest),
    leased: usize,
    failing: &str,
) -> Vec<Event> {
    submit(client, request).await.unwrap();
    for case in worker.cases(leased).await {
        let outcome = if case.name == failing { failed() } else { passed() };
        worker.run(number, &[case], &outcome);
    }
    to_the_end(watch(client, number).await).await
}

#[tokio::test]
async fn a_case_whose_audit_disagrees_is_not_reused_until_it_is_trusted() {
    let farm = Farm::start(Policy::default()).await;
    let mut worker = farm.worker("here").await;
    let mut client = farm.client().await;
    run_with_failing(&mut client, &mut worker, (1, run(1, 2)), 2, "none").await;
    confirm(&mut client, 1, false).await;

    let nothing = ([0; 4], Vec::new());
    for (number, changed) in [(2, true), (3, false)] {
        let request = (number, audited(run(number, 2)));
        let events = run_with_failing(&mut client, &mut worker, request, 2, "case 1").await;
        let Event::Planned(planned) = &events[0] else {
            panic!("the plan comes first, not {:?}", events[0])
        };
        let past = |case| v1::AuditedCase {
            case,
            past_run: id(1),
        };
        assert_eq!(planned.audited, [past(0), past(1)]);
        assert_eq!(planned.reused, 0);
        // Nothing counts before it is known that no file changed.
        assert_eq!(audit_report(&farm).await, nothing, "run {number}");
        confirm(&mut client, number, changed).await;
    }
    let (counts, disagreements) = audit_report(&farm).await;
    assert_eq!(counts, [2, 1, 0, 1]);
    let found = &disagreements[0];
    assert_eq!(found.case.as_ref().unwrap().name, "case 1");
    assert_eq!((&found.run_id, &found.past_run), (&id(3), &id(1)));
    assert_eq!(found.outcome, Some(failed()));
    let stdout = found.output.clone().unwrap().stdout.unwrap();
    assert_eq!((&*stdout.head, found.trusted_micros), (&b"said"[..], 0));

    let asked = tokio_stream::iter([run(4, 2)]);
    let plan = client.plan(asked).await.unwrap().into_inner().cases;
    let told: Vec<_> = plan.iter().map(|case| (case.reused, case.distrusted)).collect();
    assert_eq!(told, [(true, false), (false, true)]);
    let events = run_with_failing(&mut client, &mut worker, (4, run(4, 2)), 1, "none").await;
    assert_eq!(planned(&events), (2, 1), "its pass is stored, and not used");
    confirm(&mut client, 4, false).await;

    let mut records = RecordsClient::new(farm.connect().await);
    for trusted in [1, 0] {
        let request = v1::TrustCasesRequest {
            project: "demo".into(),
            cases: plan.iter().map(|case| name_of(case.case)).collect(),
        };
        let reply = records.trust_cases(request).await.unwrap().into_inner();
        assert_eq!(reply.trusted, trusted);
    }
    submit(&mut client, run(5, 2)).await.unwrap();
    let events = to_the_end(watch(&mut client, 5).await).await;
    assert_eq!(planned(&events), (2, 2));
    assert!(audit_report(&farm).await.1[0].trusted_micros > 0);
}

fn name_of(case: u32) -> v1::CaseName {
    v1::CaseName {
        binary_id: "demo::tests".into(),
        name: format!("case {case}"),
    }
}

#[tokio::test]
async fn a_plan_audits_nothing_and_a_share_over_all_is_refused() {
    let farm = Farm::start(Policy::default()).await;
    let mut worker = farm.worker("here").await;
    let mut client = farm.client().await;
    run_with_failing(&mut client, &mut worker, (1, run(1, 1)), 1, "none").await;
    confirm(&mut client, 1, false).await;
    let asked = tokio_stream::iter([audited(run(2, 1))]);
    let plan = client.plan(asked).await.unwrap().into_inner().cases;
    assert!(plan.iter().all(|case| case.reused));
    let mut over = audited(run(2, 1));
    over.header.as_mut().unwrap().audit_ppm += 1;
    let refused = submit(&mut client, over).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let mut records = RecordsClient::new(farm.connect().await);
    let none = v1::TrustCasesRequest {
        project: "demo".into(),
        cases: Vec::new(),
    };
    let refused = records.trust_cases(none).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}
