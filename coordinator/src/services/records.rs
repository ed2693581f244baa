//! What a client asks about the past, and says about cases that are not to count or to be reused again.

use thresh_proto::convert::{
    InvalidMessage, case_name_from_wire, duration_to_wire, outcome_to_wire, past_run_to_wire,
    project_from_wire, quarantine_from_wire, run_id_to_wire, stop_reason_to_wire, tally_to_wire,
};
use thresh_proto::v1;
use thresh_proto::v1::records_server::Records;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Shared;
use super::plan::or_status;
use super::runs::past_outcome;
use super::submission::run_id;
use crate::audit;
use crate::store::{AuditReport, CaseId, Disagreement, Quarantine, RunRecord, RunTimeline, TimelineAttempt};

/// The most cases that one request puts into quarantine, lets out of it, or trusts.
const CASES_MAX: usize = 10_000;

/// The most runs that are listed.
pub const RUNS_MAX: u32 = 10_000;

/// The bytes of names and outputs after which a part of an answer is sent, roughly.
const PART_BYTES: usize = 1 << 20;

/// The most attempts or disagreements in a part of an answer.
const PART_ENTRIES: usize = 4_096;

/// The most disagreements that are told with their outputs.
const OUTPUTS_MAX: u32 = 200;

/// Parts that wait for a slow reader.
const PARTS_AHEAD: usize = 2;

/// See [`Records`].
pub(crate) struct RecordsService {
    shared: Shared,
}

impl RecordsService {
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared }
    }
}

#[tonic::async_trait]
impl Records for RecordsService {
    async fn add_quarantine(
        &self,
        request: Request<v1::AddQuarantineRequest>,
    ) -> Result<Response<v1::AddQuarantineReply>, Status> {
        let v1::AddQuarantineRequest { project, cases } = request.into_inner();
        let project = project_from_wire(&project)?;
        check_count(cases.len())?;
        let now = self.shared.clock.now();
        let quarantine = |mut case: v1::NewQuarantine| -> Result<Quarantine, InvalidMessage> {
            let until = quarantine_from_wire(&case, now)?;
            Ok(Quarantine {
                case: case_id(case.case.take())?,
                owner: case.owner,
                reason: case.reason,
                since: now,
                until,
            })
        };
        let cases = cases.into_iter().map(quarantine).collect::<Result<Vec<_>, _>>()?;
        or_status(self.shared.store.add_quarantine(project, &cases).await)?;
        Ok(Response::new(v1::AddQuarantineReply {}))
    }

    async fn list_quarantine(
        &self,
        request: Request<v1::ListQuarantineRequest>,
    ) -> Result<Response<v1::ListQuarantineReply>, Status> {
        let project = request.into_inner().project;
        let cases = self.shared.store.quarantine(project_from_wire(&project)?).await;
        let cases = or_status(cases)?
            .into_iter()
            .map(|quarantine| v1::QuarantinedCase {
                case: Some(case_name(&quarantine.case)),
                owner: quarantine.owner,
                reason: quarantine.reason,
                since_micros: quarantine.since.as_micros(),
                until_micros: quarantine.until.as_micros(),
            });
        Ok(Response::new(v1::ListQuarantineReply {
            cases: cases.collect(),
            now_micros: self.shared.clock.now().as_micros(),
        }))
    }

    async fn expire_quarantine(
        &self,
        request: Request<v1::ExpireQuarantineRequest>,
    ) -> Result<Response<v1::ExpireQuarantineReply>, Status> {
        let v1::ExpireQuarantineRequest { project, cases } = request.into_inner();
        let project = project_from_wire(&project)?;
        let cases = case_ids(cases)?;
        let now = self.shared.clock.now();
        let expired = self.shared.store.expire_quarantine(project, &cases, now).await;
        Ok(Response::new(v1::ExpireQuarantineReply {
            expired: or_status(expired)?,
        }))
    }

    async fn latest_runs(
        &self,
        request: Request<v1::LatestRunsRequest>,
    ) -> Result<Response<v1::LatestRunsReply>, Status> {
        let v1::LatestRunsRequest { project, runs_max } = request.into_inner();
        let project = match project.as_str() {
            "" => None,
            project => Some(project_from_wire(project)?),
        };
        let runs = self.shared.store.runs(project, runs_max.min(RUNS_MAX)).await;
        Ok(Response::new(v1::LatestRunsReply {
            runs: or_status(runs)?.into_iter().map(past_run).collect(),
        }))
    }

    type TimelineStream = ReceiverStream<Result<v1::TimelinePart, Status>>;

    async fn timeline(
        &self,
        request: Request<v1::TimelineRequest>,
    ) -> Result<Response<Self::TimelineStream>, Status> {
        let run = run_id(&request.into_inner().run_id)?;
        let Some(timeline) = or_status(self.shared.store.timeline(run).await)? else {
            return Err(Status::not_found(format!("nothing is known of run {run}")));
        };
        let (parts, stream) = mpsc::channel(PARTS_AHEAD);
        tokio::spawn(send_parts(timeline, parts));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    type AuditReportStream = ReceiverStream<Result<v1::AuditReportPart, Status>>;

    async fn audit_report(
        &self,
        request: Request<v1::AuditReportRequest>,
    ) -> Result<Response<Self::AuditReportStream>, Status> {
        let project = request.into_inner().project;
        let project = project_from_wire(&project)?;
        let report = or_status(self.shared.store.audit_report(project, OUTPUTS_MAX).await)?;
        let (parts, stream) = mpsc::channel(PARTS_AHEAD);
        tokio::spawn(send_report(report, parts));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn trust_cases(
        &self,
        request: Request<v1::TrustCasesRequest>,
    ) -> Result<Response<v1::TrustCasesReply>, Status> {
        let v1::TrustCasesRequest { project, cases } = request.into_inner();
        let project = project_from_wire(&project)?;
        let cases = case_ids(cases)?;
        let now = self.shared.clock.now();
        let trusted = or_status(self.shared.store.trust(project, &cases, now).await)?;
        Ok(Response::new(v1::TrustCasesReply { trusted }))
    }
}

/// Sends what audits found in parts that fit into messages, until the end or until nobody listens.
async fn send_report(report: AuditReport, parts: mpsc::Sender<Result<v1::AuditReportPart, Status>>) {
    let counts = v1::AuditCounts {
        audited: report.counts.audited(),
        agreed: report.counts.agreed,
        flaky: report.counts.flaky,
        disagreed: report.counts.disagreed,
    };
    let mut part = v1::AuditReportPart {
        counts: Some(counts),
        disagreements: Vec::new(),
    };
    let mut bytes = 0;
    for disagreement in report.disagreements {
        let case = &disagreement.case;
        bytes += case.binary_id.len() + case.name.len() + disagreement.output.len();
        part.disagreements.push(audit_disagreement(disagreement));
        if bytes >= PART_BYTES || part.disagreements.len() >= PART_ENTRIES {
            bytes = 0;
            if parts.send(Ok(std::mem::take(&mut part))).await.is_err() {
                return;
            }
        }
    }
    if part.counts.is_some() || !part.disagreements.is_empty() {
        // Nobody may listen any more.
        let _ = parts.send(Ok(part)).await;
    }
}

fn audit_disagreement(disagreement: Disagreement) -> v1::AuditDisagreement {
    v1::AuditDisagreement {
        case: Some(case_name(&disagreement.case)),
        run_id: run_id_to_wire(disagreement.run),
        at_micros: disagreement.at.as_micros(),
        past_run: past_run_to_wire(disagreement.past_run),
        outcome: Some(outcome_to_wire(&disagreement.outcome)),
        output: audit::decode(&disagreement.output),
        trusted_micros: disagreement.trusted.map_or(0, |at| at.as_micros()),
    }
}

/// Sends a timeline in parts that fit into messages, until the end or until nobody listens.
async fn send_parts(timeline: RunTimeline, parts: mpsc::Sender<Result<v1::TimelinePart, Status>>) {
    let mut part = v1::TimelinePart {
        run: timeline.record.map(past_run),
        attempts: Vec::new(),
    };
    let mut bytes = 0;
    for attempt in timeline.attempts {
        bytes += attempt.case.binary_id.len() + attempt.case.name.len() + attempt.attempt.worker.len();
        part.attempts.push(past_grant(attempt));
        if bytes >= PART_BYTES || part.attempts.len() >= PART_ENTRIES {
            bytes = 0;
            if parts.send(Ok(std::mem::take(&mut part))).await.is_err() {
                return;
            }
        }
    }
    if part.run.is_some() || !part.attempts.is_empty() {
        // Nobody may listen any more.
        let _ = parts.send(Ok(part)).await;
    }
}

fn check_count(count: usize) -> Result<(), InvalidMessage> {
    match count {
        0 => Err(InvalidMessage::new("cases", "is empty")),
        1..=CASES_MAX => Ok(()),
        _ => Err(InvalidMessage::new(
            "cases",
            format!("has over {CASES_MAX} entries"),
        )),
    }
}

/// Reads the cases that a request names.
fn case_ids(cases: Vec<v1::CaseName>) -> Result<Vec<CaseId>, Status> {
    check_count(cases.len())?;
    let ids = cases.into_iter().map(|case| case_id(Some(case)));
    Ok(ids.collect::<Result<_, InvalidMessage>>()?)
}

fn case_id(case: Option<v1::CaseName>) -> Result<CaseId, InvalidMessage> {
    let (binary_id, name) = case_name_from_wire(case)?;
    Ok(CaseId {
        binary_id: binary_id.into(),
        name: name.into(),
    })
}

fn case_name(case: &CaseId) -> v1::CaseName {
    v1::CaseName {
        binary_id: case.binary_id.to_string(),
        name: case.name.to_string(),
    }
}

fn past_run(record: RunRecord) -> v1::PastRun {
    v1::PastRun {
        run_id: run_id_to_wire(record.run),
        project: record.project.to_string(),
        title: record.title,
        started_micros: record.started.as_micros(),
        took: Some(duration_to_wire(record.took)),
        reason: stop_reason_to_wire(record.reason).into(),
        tally: Some(tally_to_wire(&record.tally)),
    }
}

fn past_grant(attempt: TimelineAttempt) -> v1::PastGrant {
    let outcome = v1::PastOutcome {
        run_id: Default::default(),
        ..past_outcome(attempt.attempt)
    };
    v1::PastGrant {
        case: Some(case_name(&attempt.case)),
        outcome: Some(outcome),
        granted_micros: attempt.granted.map_or(0, |at| at.as_micros()),
        why: attempt.why,
        lease: attempt.lease.map_or(0, |lease| lease.0.saturating_add(1)),
    }
}
