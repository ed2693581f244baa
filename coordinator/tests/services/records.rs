//! Quarantine, past runs, and what happened in them.

use std::time::{Duration, SystemTime};

use thresh_core::schedule::Policy;
use thresh_proto::v1;
use thresh_proto::v1::records_client::RecordsClient;
use thresh_proto::v1::run_event::Event;
use tonic::Code;
use tonic::transport::Channel;

use crate::farm::*;
use crate::steps::*;

async fn records(farm: &Farm) -> RecordsClient<Channel> {
    RecordsClient::new(farm.connect().await)
}

fn case(number: u32) -> v1::CaseName {
    v1::CaseName {
        binary_id: "demo::tests".into(),
        name: format!("case {number}"),
    }
}

/// A quarantine of one day.
fn quarantine(number: u32) -> v1::NewQuarantine {
    let until = SystemTime::now() + Duration::from_secs(24 * 60 * 60);
    let since_epoch = until.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    v1::NewQuarantine {
        case: Some(case(number)),
        owner: "alice".into(),
        reason: "port clash".into(),
        until_micros: u64::try_from(since_epoch.as_micros()).unwrap(),
    }
}

fn add(cases: Vec<v1::NewQuarantine>) -> v1::AddQuarantineRequest {
    v1::AddQuarantineRequest {
        project: "demo".into(),
        cases,
    }
}

async fn listed(client: &mut RecordsClient<Channel>) -> v1::ListQuarantineReply {
    let request = v1::ListQuarantineRequest {
        project: "demo".into(),
    };
    client.list_quarantine(request).await.unwrap().into_inner()
}

async fn latest(client: &mut RecordsClient<Channel>, project: &str) -> Vec<v1::PastRun> {
    let request = v1::LatestRunsRequest {
        project: project.into(),
        runs_max: 5,
    };
    client.latest_runs(request).await.unwrap().into_inner().runs
}

async fn timeline(client: &mut RecordsClient<Channel>, run: u128) -> Vec<v1::TimelinePart> {
    let request = v1::TimelineRequest { run_id: id(run) };
    let mut stream = client.timeline(request).await.unwrap().into_inner();
    let mut parts = Vec::new();
    while let Some(part) = soon("a part of the timeline", stream.message()).await.unwrap() {
        parts.push(part);
    }
    parts
}

#[tokio::test]
async fn a_quarantined_case_does_not_fail_its_run_until_it_is_let_out() {
    let farm = Farm::start(Policy::default()).await;
    let mut worker = farm.worker("here").await;
    let (mut runs, mut client) = (farm.client().await, records(&farm).await);
    client
        .add_quarantine(add(vec![quarantine(0), quarantine(7)]))
        .await
        .unwrap();
    let list = listed(&mut client).await;
    assert_eq!(list.cases.len(), 2);
    assert_eq!(list.cases[0].case, Some(case(0)));
    assert_eq!(
        (&*list.cases[0].owner, &*list.cases[0].reason),
        ("alice", "port clash")
    );
    assert!(list.cases.iter().all(|case| case.until_micros > list.now_micros));

    for (run_id, excused) in [(1, vec![0]), (2, vec![])] {
        submit(&mut runs, run(run_id, 1)).await.unwrap();
        let events = watch(&mut runs, run_id).await;
        let cases = worker.cases(1).await;
        worker.run(run_id, &cases, &failed());
        let events = to_the_end(events).await;
        let Event::Planned(planned) = &events[0] else {
            panic!("the plan comes first, not {:?}", events[0])
        };
        assert_eq!(planned.quarantined, excused);
        let tally = latest(&mut client, "demo").await[0].tally.unwrap();
        assert_eq!(
            (tally.quarantined, tally.failed),
            if excused.is_empty() { (0, 1) } else { (1, 0) }
        );
        let expire = v1::ExpireQuarantineRequest {
            project: "demo".into(),
            cases: vec![case(0), case(9)],
        };
        let expired = client
            .expire_quarantine(expire)
            .await
            .unwrap()
            .into_inner()
            .expired;
        assert_eq!(expired, excused.len() as u64, "only those that did not count");
    }
    let list = listed(&mut client).await;
    assert!(
        list.cases[0].until_micros <= list.now_micros,
        "it is kept for a while"
    );
    assert!(list.cases[1].until_micros > list.now_micros);
}

#[tokio::test]
async fn runs_and_what_happened_in_them_are_told() {
    let (farm, mut worker, mut runs) = submitted(Policy::default(), 3).await;
    let mut client = records(&farm).await;
    let unknown = client.timeline(v1::TimelineRequest { run_id: id(RUN) }).await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
    assert!(latest(&mut client, "demo").await.is_empty(), "it has not ended");

    let events = watch(&mut runs, RUN).await;
    let cases = worker.cases(2).await;
    worker.run(RUN, &cases[..1], &failed());
    worker.run(RUN, &cases[1..], &passed());
    let third = worker.cases(1).await;
    worker.run(RUN, &third, &passed());
    to_the_end(events).await;

    let ended = latest(&mut client, "demo").await;
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].run_id, id(RUN));
    assert_eq!(ended[0].reason(), v1::run_ended::Reason::Complete);
    assert_eq!(ended[0].tally.unwrap().planned, 3);
    assert_eq!(latest(&mut client, "").await, ended, "of all projects");
    assert!(latest(&mut client, "other").await.is_empty());

    let parts = timeline(&mut client, RUN).await;
    assert_eq!(parts[0].run.as_ref(), Some(&ended[0]));
    let attempts: Vec<_> = parts.iter().flat_map(|part| &part.attempts).collect();
    assert_eq!(attempts.len(), 3);
    for attempt in attempts {
        assert!(!attempt.why.is_empty() && attempt.granted_micros > 0 && attempt.lease > 0);
        assert_eq!(attempt.outcome.as_ref().unwrap().worker, "here");
    }
}

#[tokio::test]
async fn a_long_timeline_comes_in_parts() {
    let cases = 5_000;
    let (farm, mut worker, mut runs) = submitted(Policy::default(), cases).await;
    let events = watch(&mut runs, RUN).await;
    let mut done = 0;
    while done < cases as usize {
        let leased = worker.lease().await.cases;
        worker.run(RUN, &leased, &passed());
        done += leased.len();
    }
    to_the_end(events).await;
    let parts = timeline(&mut records(&farm).await, RUN).await;
    assert!(parts.len() > 1);
    assert_eq!(
        parts.iter().map(|part| part.attempts.len()).sum::<usize>(),
        cases as usize
    );
    assert!(parts[1..].iter().all(|part| part.run.is_none()));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let farm = Farm::start(Policy::default()).await;
    let mut client = records(&farm).await;
    let refused = [
        (add(vec![]), "`cases` is empty"),
        (add(vec![quarantine(0); 10_001]), "`cases` has over 10000 entries"),
        (
            v1::AddQuarantineRequest {
                project: String::new(),
                ..add(vec![quarantine(0)])
            },
            "`project` is empty",
        ),
        (
            add(vec![v1::NewQuarantine {
                case: None,
                ..quarantine(0)
            }]),
            "`case` is missing",
        ),
        (
            add(vec![v1::NewQuarantine {
                owner: "\t ".into(),
                ..quarantine(0)
            }]),
            "`owner` is empty",
        ),
        (
            add(vec![v1::NewQuarantine {
                until_micros: 1,
                ..quarantine(0)
            }]),
            "`until_micros` is not in the future",
        ),
        (
            add(vec![v1::NewQuarantine {
                until_micros: u64::MAX,
                ..quarantine(0)
            }]),
            "`until_micros` is more than 90 days ahead",
        ),
    ];
    for (request, why) in refused {
        let status = client.add_quarantine(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(why), "{status} lacks {why}");
    }
    assert!(listed(&mut client).await.cases.is_empty());
    let short = v1::TimelineRequest {
        run_id: b"short"[..].into(),
    };
    assert_eq!(
        client.timeline(short).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let nothing = v1::ExpireQuarantineRequest {
        project: "demo".into(),
        cases: vec![],
    };
    let status = client.expire_quarantine(nothing).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}
