use bazel_remote_apis::build::bazel::remote::execution::v2::{ActionResult, ExecuteResponse, OutputFile};
use bazel_remote_apis::google::longrunning::Operation;
use bazel_remote_apis::google::longrunning::operation::Result as Done;
use bazel_remote_apis::google::protobuf::Any;
use prost::Message;
use thresh_proto::convert::{duration_to_wire, outcome_to_wire, run_id_to_wire};
use thresh_proto::testing::fuzz;
use thresh_proto::v1::worker_report::Report as WireReport;
use thresh_proto::v1::{self, WorkerReport};
use tokio::runtime::Runtime;

use super::super::execution;
use super::*;

const RUN: RunId = RunId::from_u128(7);

fn grants() -> BTreeMap<CaseIndex, Generation> {
    [(1, 4), (2, 5), (3, 6)]
        .map(|(case, generation)| (CaseIndex(case), Generation(generation)))
        .into()
}

/// What a runner says of the first two cases that are granted; it says nothing of the third.
fn reports() -> ShardReports {
    let report = |report| WorkerReport {
        run_id: run_id_to_wire(RUN),
        report: Some(report),
    };
    let passed = Some(outcome_to_wire(&Outcome::Passed));
    let took = Some(duration_to_wire(Duration::from_millis(20)));
    ShardReports {
        reports: vec![
            report(WireReport::SetupScript(v1::SetupScriptEnded {
                id: "script".to_owned(),
                outcome: passed.clone(),
                took,
                ..Default::default()
            })),
            report(WireReport::Attempt(v1::Attempt {
                case: 1,
                generation: 4,
                outcome: passed,
                took,
                ..Default::default()
            })),
            report(WireReport::Returned(v1::Returned {
                cases: vec![v1::CaseGrant {
                    case: 2,
                    generation: 5,
                }],
                message: "no room".to_owned(),
            })),
        ],
        isolation_shortfalls: vec!["no namespaces".to_owned()],
        ..Default::default()
    }
}

/// The engine's word that the action has ended with these reports.
fn operation(reports: &ShardReports) -> Operation {
    let outcomes = OutputFile {
        path: "outcomes".to_owned(),
        contents: reports.encode_to_vec(),
        ..Default::default()
    };
    let response = ExecuteResponse {
        result: Some(ActionResult {
            output_files: vec![outcomes],
            ..Default::default()
        }),
        ..Default::default()
    };
    Operation {
        name: "operation".to_owned(),
        done: true,
        result: Some(Done::Response(Any {
            value: response.encode_to_vec(),
            ..Default::default()
        })),
        ..Default::default()
    }
}

/// Each case that was granted is decided or comes back, once, and no other one.
fn check_news(shared: &Shared, reports: ShardReports) {
    let running = Running {
        run: RUN,
        cases: grants(),
        all: grants().into_keys().collect(),
        began: Instant::now(),
        cancel: watch::Sender::new(false),
        task: tokio::spawn(async { Ok(ShardEnd::Cancelled) }),
    };
    let (news, _) = shared.news(running, reports);
    let mut decided: Vec<Grant> = news
        .into_iter()
        .flat_map(|news| match news {
            ReportNews::Attempt { case, generation, .. } => vec![(case, generation)],
            ReportNews::Returned { cases, .. } => cases,
            ReportNews::SetupScript { .. } => vec![],
            other => panic!("{other:?}"),
        })
        .collect();
    decided.sort();
    assert_eq!(decided, grants().into_iter().collect::<Vec<_>>());
}

#[test]
fn whatever_an_engine_answers_each_case_is_decided_once_or_none_is() {
    let runtime = Runtime::new().unwrap();
    let _entered = runtime.enter();
    let shared = Shared {
        shards: Arc::new(Shards::of_nobody()),
        suspects: Suspects::default(),
        scripts: Mutex::default(),
        notes: Mutex::default(),
    };
    let end = |bytes: &[u8]| {
        let operation = Operation::decode(bytes).ok()?;
        let response = execution::ended(operation).ok()?;
        let result = response.result.clone().unwrap_or_default();
        let end = runtime.block_on(shared.shards.end(response)).ok()?;
        match &end {
            ShardEnd::Reports(_) => assert_eq!(result.exit_code, 0),
            ShardEnd::WentDown(_) => assert!(!(0..128).contains(&result.exit_code)),
            ShardEnd::Cancelled => panic!("nobody wanted that"),
        }
        Some(end)
    };
    let valid = operation(&reports()).encode_to_vec();
    assert!(matches!(end(&valid), Some(ShardEnd::Reports(read)) if read == reports()));
    fuzz(2_000, &valid, |bytes| {
        if let Some(ShardEnd::Reports(reports)) = end(bytes) {
            check_news(&shared, reports);
        }
    });
    // Most of what an answer consists of is not the runner's words.
    fuzz(2_000, &reports().encode_to_vec(), |bytes| {
        if let Ok(reports) = ShardReports::decode(bytes) {
            check_news(&shared, reports);
        }
    });
}
