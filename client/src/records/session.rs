//! The calls about the past.

use thresh_core::id::RunId;
use thresh_proto::convert::run_id_to_wire;
use thresh_proto::v1::records_client::RecordsClient;
use thresh_proto::{MESSAGE_BYTES_MAX, v1};
use tonic::Code;
use tonic::transport::Channel;

use crate::run::{RunError, Session};

/// How many cases one request names.
const CASES_AT_ONCE: usize = 1_000;

/// A coordinator that speaks our protocol, asked about the past.
pub(super) struct RecordsSession {
    records: RecordsClient<Channel>,
}

impl RecordsSession {
    /// Says hello over `channel`.
    pub(super) async fn open(channel: Channel) -> Result<Self, RunError> {
        Session::hello(channel.clone()).await?;
        let records = RecordsClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Self { records })
    }

    pub(super) async fn add_quarantine(
        &mut self,
        project: &str,
        cases: &[v1::NewQuarantine],
    ) -> Result<(), RunError> {
        for cases in cases.chunks(CASES_AT_ONCE) {
            let request = v1::AddQuarantineRequest {
                project: project.to_owned(),
                cases: cases.to_vec(),
            };
            let reply = self.records.add_quarantine(request).await;
            reply.map_err(|status| RunError::refused("put cases into quarantine", status))?;
        }
        Ok(())
    }

    pub(super) async fn quarantine(&mut self, project: &str) -> Result<v1::ListQuarantineReply, RunError> {
        let request = v1::ListQuarantineRequest {
            project: project.to_owned(),
        };
        let reply = self.records.list_quarantine(request).await;
        Ok(reply
            .map_err(|status| RunError::refused("look up the quarantine", status))?
            .into_inner())
    }

    /// Returns how many of the cases were in quarantine.
    pub(super) async fn expire_quarantine(
        &mut self,
        project: &str,
        cases: &[v1::CaseName],
    ) -> Result<u64, RunError> {
        let mut expired = 0;
        for cases in cases.chunks(CASES_AT_ONCE) {
            let request = v1::ExpireQuarantineRequest {
                project: project.to_owned(),
                cases: cases.to_vec(),
            };
            let reply = self.records.expire_quarantine(request).await;
            let reply = reply.map_err(|status| RunError::refused("end a quarantine", status))?;
            expired += reply.into_inner().expired;
        }
        Ok(expired)
    }

    /// Returns the parts of what audits found.
    pub(super) async fn audit_report(&mut self, project: &str) -> Result<Vec<v1::AuditReportPart>, RunError> {
        let refused = |status| RunError::refused("look up what audits found", status);
        let request = v1::AuditReportRequest {
            project: project.to_owned(),
        };
        let mut stream = self
            .records
            .audit_report(request)
            .await
            .map_err(refused)?
            .into_inner();
        let mut parts = Vec::new();
        while let Some(part) = stream.message().await.map_err(refused)? {
            parts.push(part);
        }
        Ok(parts)
    }

    pub(super) async fn trust_cases(
        &mut self,
        project: &str,
        cases: &[v1::CaseName],
    ) -> Result<(), RunError> {
        for cases in cases.chunks(CASES_AT_ONCE) {
            let request = v1::TrustCasesRequest {
                project: project.to_owned(),
                cases: cases.to_vec(),
            };
            let reply = self.records.trust_cases(request).await;
            reply.map_err(|status| RunError::refused("let cases be reused again", status))?;
        }
        Ok(())
    }

    pub(super) async fn latest_runs(
        &mut self,
        project: &str,
        runs_max: u32,
    ) -> Result<Vec<v1::PastRun>, RunError> {
        let request = v1::LatestRunsRequest {
            project: project.to_owned(),
            runs_max,
        };
        let reply = self.records.latest_runs(request).await;
        Ok(reply
            .map_err(|status| RunError::refused("look up past runs", status))?
            .into_inner()
            .runs)
    }

    /// Returns the parts of a run's timeline; none when nothing is known of the run.
    pub(super) async fn timeline(&mut self, run: RunId) -> Result<Vec<v1::TimelinePart>, RunError> {
        let refused = |status| RunError::refused("look up what happened in the run", status);
        let request = v1::TimelineRequest {
            run_id: run_id_to_wire(run),
        };
        let mut stream = match self.records.timeline(request).await {
            Ok(reply) => reply.into_inner(),
            Err(status) if status.code() == Code::NotFound => return Ok(Vec::new()),
            Err(status) => return Err(refused(status)),
        };
        let mut parts = Vec::new();
        while let Some(part) = stream.message().await.map_err(refused)? {
            parts.push(part);
        }
        Ok(parts)
    }
}
