//! The coordinator's side of a worker's session.

use std::time::Duration;

use thresh_core::id::{CaseIndex, Generation, WorkerId};
use thresh_core::schedule::{CordonReason, WorkerProcess};
use thresh_core::time::Timestamp;
use thresh_proto::convert::{InvalidMessage, duration_or_zero, outcome_from_wire, run_id_from_wire};
use thresh_proto::v1;
use thresh_proto::v1::cordon::Reason;
use thresh_proto::v1::work_server::Work;
use thresh_proto::v1::worker_message::Message;
use thresh_proto::v1::worker_report::Report as WireReport;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Shared, status, version};
use crate::driver::{Handle, Joined, Measured, Report, ReportNews, Said, WorkerProfile};

/// How long a new connection may take to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest name of a worker, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// The longest text on why a worker shows files at other paths, in bytes: every run's log gets it.
const CAUSE_BYTES_MAX: usize = 4 << 10;

/// More things than these cannot be missing from a worker's isolation.
const SHORTFALLS_MAX: usize = 16;

type Outgoing = Result<v1::CoordinatorMessage, Status>;

/// See [`Work`].
pub(crate) struct WorkService {
    shared: Shared,
}

impl WorkService {
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared }
    }

    async fn read_profile(
        &self,
        messages: &mut Streaming<v1::WorkerMessage>,
    ) -> Result<WorkerProfile, Status> {
        let first = timeout(HELLO_TIMEOUT, messages.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("the worker did not say who it is"))??;
        let Some(Message::Hello(hello)) = first.and_then(|first| first.message) else {
            return Err(InvalidMessage::new("hello", "is missing in the first message").into());
        };
        version::check("worker", hello.protocol, &hello.version, &self.shared.version)?;
        profile_from_wire(hello).map_err(Status::from)
    }
}

#[tonic::async_trait]
impl Work for WorkService {
    type SessionStream = UnboundedReceiverStream<Outgoing>;

    async fn session(
        &self,
        request: Request<Streaming<v1::WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut messages = request.into_inner();
        let profile = self.read_profile(&mut messages).await?;
        let (outbound, stream) = mpsc::unbounded_channel();
        let weak = outbound.downgrade();
        let driver = self.shared.driver.clone();
        let Joined { worker } = driver.join(profile, outbound).await.map_err(status::of_refusal)?;
        tokio::spawn(listen(driver, worker, messages, weak));
        Ok(Response::new(UnboundedReceiverStream::new(stream)))
    }
}

/// Passes on what a worker says until it says no more. It goes on when the worker was given up: what comes
/// then is refused by the scheduler, and shows in the log.
async fn listen(
    driver: Handle,
    worker: WorkerId,
    mut messages: Streaming<v1::WorkerMessage>,
    outbound: mpsc::WeakUnboundedSender<Outgoing>,
) {
    loop {
        let message = match messages.message().await {
            Ok(Some(message)) => message,
            Ok(None) => break,
            Err(status) => {
                tracing::debug!("the connection of worker {worker} broke: {status}");
                break;
            }
        };
        match said_from_wire(message) {
            Ok(said) => driver.said(worker, said).await,
            Err(invalid) => {
                tracing::warn!("worker {worker} is disconnected: {invalid}");
                if let Some(outbound) = outbound.upgrade() {
                    // The stream may have ended already.
                    let _ = outbound.send(Err(invalid.into()));
                }
                break;
            }
        }
    }
    driver.leave(worker).await;
}

fn profile_from_wire(hello: v1::WorkerHello) -> Result<WorkerProfile, InvalidMessage> {
    if hello.name.is_empty() || hello.name.len() > NAME_BYTES_MAX || hello.name.contains('\0') {
        let problem = format!("is empty, longer than {NAME_BYTES_MAX} bytes or has a NUL in it");
        return Err(InvalidMessage::new("hello.name", problem));
    }
    if hello
        .remap_cause
        .as_ref()
        .is_some_and(|cause| cause.len() > CAUSE_BYTES_MAX)
    {
        let problem = format!("is longer than {CAUSE_BYTES_MAX} bytes");
        return Err(InvalidMessage::new("hello.remap_cause", problem));
    }
    let shortfalls = &hello.isolation_shortfalls;
    if shortfalls.len() > SHORTFALLS_MAX || shortfalls.iter().any(|text| text.len() > CAUSE_BYTES_MAX) {
        let problem =
            format!("are more than {SHORTFALLS_MAX}, or one is longer than {CAUSE_BYTES_MAX} bytes");
        return Err(InvalidMessage::new("hello.isolation_shortfalls", problem));
    }
    if hello.platform.is_empty() || hello.platform.len() > NAME_BYTES_MAX {
        let problem = format!("is empty or longer than {NAME_BYTES_MAX} bytes");
        return Err(InvalidMessage::new("hello.platform", problem));
    }
    Ok(WorkerProfile {
        name: hello.name.into(),
        slots: hello.slots,
        cpus: hello.cpus.max(1),
        platform: hello.platform,
        in_place: hello.in_place,
        remap_cause: hello.remap_cause,
        shortfalls: hello.isolation_shortfalls,
        process: (hello.process != 0 && hello.connection != 0).then_some(WorkerProcess {
            id: hello.process,
            connection: hello.connection,
        }),
    })
}

fn said_from_wire(message: v1::WorkerMessage) -> Result<Said, InvalidMessage> {
    match message.message {
        None => Err(InvalidMessage::new("message", "is missing or of an unknown kind")),
        Some(Message::Hello(_)) => Err(InvalidMessage::new("hello", "comes twice")),
        Some(Message::Heartbeat(heartbeat)) => {
            let micros = heartbeat.round_trip_micros;
            Ok(Said::Heartbeat {
                sent_micros: heartbeat.sent_micros,
                round_trip: (micros > 0).then(|| Duration::from_micros(micros)),
            })
        }
        Some(Message::Cordon(cordon)) => {
            let reason = match cordon.reason() {
                Reason::Drain => CordonReason::Drain,
                Reason::DiskFull => CordonReason::DiskFull,
                Reason::Fault | Reason::Unknown => CordonReason::Fault,
            };
            Ok(Said::Cordon(reason, cordon.message))
        }
        Some(Message::Batch(batch)) => {
            let reports = batch
                .reports
                .into_iter()
                .map(report_from_wire)
                .collect::<Result<_, _>>()?;
            Ok(Said::Reports(reports))
        }
    }
}

/// Reads what a worker says of a run.
pub(crate) fn report_from_wire(report: v1::WorkerReport) -> Result<Report, InvalidMessage> {
    let run = run_id_from_wire(&report.run_id)?;
    let news = match report.report {
        None => return Err(InvalidMessage::new("report", "is missing or of an unknown kind")),
        Some(WireReport::Started(started)) => ReportNews::Started {
            case: CaseIndex(started.case),
            generation: Generation(started.generation),
        },
        Some(WireReport::Attempt(attempt)) => ReportNews::Attempt {
            case: CaseIndex(attempt.case),
            generation: Generation(attempt.generation),
            outcome: outcome_from_wire(attempt.outcome.as_ref())?,
            measured: Measured {
                started: Timestamp::from_micros(attempt.started_micros),
                took: duration_or_zero(attempt.took),
                output: attempt.output,
                outputs: attempt.outputs,
                observed: attempt.observed,
            },
        },
        Some(WireReport::SetupScript(ended)) => ReportNews::SetupScript {
            outcome: outcome_from_wire(ended.outcome.as_ref())?,
            ended,
        },
        Some(WireReport::Returned(returned)) => {
            let cases = returned
                .cases
                .iter()
                .map(|case| (CaseIndex(case.case), Generation(case.generation)));
            ReportNews::Returned {
                cases: cases.collect(),
                message: returned.message,
            }
        }
        Some(WireReport::Slow(slow)) => ReportNews::Slow {
            case: CaseIndex(slow.case),
            generation: Generation(slow.generation),
            elapsed: duration_or_zero(slow.elapsed),
            will_terminate: slow.will_terminate,
        },
    };
    Ok(Report { run, news })
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use thresh_core::outcome::Outcome;
    use thresh_proto::convert::{duration_to_wire, outcome_to_wire};
    use thresh_proto::testing::fuzz;

    use super::*;

    #[test]
    fn what_a_worker_says_is_understood_or_refused() {
        let hello = v1::WorkerHello {
            name: "worker".to_owned(),
            slots: 4,
            platform: "x86_64-unknown-linux-gnu".to_owned(),
            remap_cause: Some("no namespaces".to_owned()),
            isolation_shortfalls: vec!["no control groups".to_owned()],
            process: 7,
            connection: 8,
            ..Default::default()
        };
        let profile = |bytes: &[u8]| profile_from_wire(v1::WorkerHello::decode(bytes).ok()?).ok();
        let valid = hello.encode_to_vec();
        assert_eq!(profile(&valid).unwrap().slots, 4);
        fuzz(2_000, &valid, |bytes| {
            if let Some(profile) = profile(bytes) {
                assert!(!profile.name.is_empty() && !profile.name.contains('\0') && profile.cpus > 0);
                assert!(profile.shortfalls.len() <= SHORTFALLS_MAX);
            }
        });
    }

    #[test]
    fn reports_are_as_many_as_were_sent_or_refused() {
        let took = Some(duration_to_wire(Duration::from_secs(2)));
        let outcome = Some(outcome_to_wire(&Outcome::Crashed {
            signal: 6,
            leaked: true,
        }));
        let reports = [
            WireReport::Started(v1::Started {
                case: 1,
                generation: 2,
            }),
            WireReport::Slow(v1::Slow {
                case: 1,
                generation: 2,
                elapsed: took,
                will_terminate: true,
            }),
            WireReport::Attempt(v1::Attempt {
                case: 1,
                generation: 2,
                outcome: outcome.clone(),
                took,
                ..Default::default()
            }),
            WireReport::SetupScript(v1::SetupScriptEnded {
                id: "script".to_owned(),
                outcome,
                took,
                ..Default::default()
            }),
            WireReport::Returned(v1::Returned {
                cases: vec![v1::CaseGrant {
                    case: 3,
                    generation: 4,
                }],
                message: "leaving".to_owned(),
            }),
        ];
        let reports = reports.map(|report| v1::WorkerReport {
            run_id: vec![7; 16].into(),
            report: Some(report),
        });
        let batch = v1::WorkerBatch {
            reports: reports.to_vec(),
        };
        let valid = v1::WorkerMessage {
            message: Some(Message::Batch(batch)),
        };
        assert!(matches!(said_from_wire(valid.clone()), Ok(Said::Reports(read)) if read.len() == 5));
        fuzz(2_000, &valid.encode_to_vec(), |bytes| {
            let Ok(message) = v1::WorkerMessage::decode(bytes) else {
                return;
            };
            if let Ok(Said::Reports(read)) = said_from_wire(message.clone()) {
                let Some(Message::Batch(batch)) = message.message else {
                    panic!("{message:?}")
                };
                assert_eq!(read.len(), batch.reports.len());
            }
        });
    }
}
