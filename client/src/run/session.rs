//! The calls of one client to one coordinator.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use thresh_core::digest::Digest;
use thresh_core::id::RunId;
use thresh_core::time::Timestamp;
use thresh_proto::convert::{digest_to_wire, key_parts_from_wire, run_id_from_wire, run_id_to_wire};
use thresh_proto::v1::runs_client::RunsClient;
use thresh_proto::{MESSAGE_BYTES_MAX, PROTOCOL, v1};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::error::RunError;
use super::follow::RECONNECT_PAUSE;
use crate::reuse::PastPass;

/// Bytes to be kept in one message.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// A coordinator that speaks our protocol.
#[derive(Clone, Debug)]
pub struct Session {
    runs: RunsClient<Channel>,
    channel: Channel,
    /// Slots that the coordinator has now.
    pub slots: u32,
    /// Workers that it has now.
    pub workers: u32,
}

impl Session {
    /// Says hello over `channel`.
    ///
    /// # Errors
    /// The coordinator cannot be reached, or speaks another version of the protocol.
    pub async fn hello(channel: Channel) -> Result<Self, RunError> {
        let mut runs = RunsClient::new(channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let own = env!("CARGO_PKG_VERSION");
        let request = v1::HelloRequest {
            protocol: PROTOCOL,
            version: own.to_owned(),
        };
        let reply = match runs.hello(request).await {
            Ok(reply) => reply.into_inner(),
            Err(status) if status.code() == Code::FailedPrecondition => {
                return Err(RunError::Version(status.message().to_owned()));
            }
            Err(status) => return Err(RunError::refused("greet the coordinator", status)),
        };
        if reply.protocol != PROTOCOL {
            let upgrade = if reply.protocol > PROTOCOL {
                "client"
            } else {
                "coordinator"
            };
            return Err(RunError::Version(format!(
                "version mismatch: this client is thresh {own} (protocol {PROTOCOL}), the coordinator is thresh {} \
                 (protocol {}); upgrade the {upgrade}",
                reply.version, reply.protocol
            )));
        }
        Ok(Self {
            runs,
            channel,
            slots: reply.slots,
            workers: reply.workers,
        })
    }

    /// The connection, for blobs.
    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Submits a run; while the coordinator cannot be reached or takes none, again for up to `patience`. `note` is
    /// told why.
    pub(super) async fn submit(
        &mut self,
        messages: Vec<v1::SubmitRequest>,
        patience: Duration,
        mut note: impl FnMut(&Status),
    ) -> Result<(), RunError> {
        let started = Instant::now();
        let mut again = false;
        loop {
            let status = match self.runs.submit(tokio_stream::iter(messages.clone())).await {
                Ok(_) => return Ok(()),
                // The answer to an earlier attempt was lost on its way.
                Err(status) if again && status.code() == Code::AlreadyExists => return Ok(()),
                Err(status) => status,
            };
            let may_pass = matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled);
            if !may_pass || started.elapsed() >= patience {
                return Err(RunError::refused("submit the run", status));
            }
            if !std::mem::replace(&mut again, true) {
                note(&status);
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    }

    pub(super) async fn plan(&mut self, messages: Vec<v1::SubmitRequest>) -> Result<v1::PlanReply, RunError> {
        let reply = self.runs.plan(tokio_stream::iter(messages)).await;
        Ok(reply
            .map_err(|status| RunError::refused("plan the run", status))?
            .into_inner())
    }

    pub(super) async fn watch(&mut self, run: RunId, after: u64) -> Result<Streaming<v1::RunEvent>, Status> {
        let request = v1::WatchRequest {
            run_id: run_id_to_wire(run),
            after,
        };
        Ok(self.runs.watch(request).await?.into_inner())
    }

    pub(super) async fn cancel(&mut self, run: RunId) -> Result<(), Status> {
        self.runs
            .cancel(v1::CancelRequest {
                run_id: run_id_to_wire(run),
            })
            .await
            .map(|_| ())
    }

    /// Says what cases were seen to read, and whether the inputs of an in-place run changed; returns how many passes were
    /// stored for it.
    pub(super) async fn confirm_inputs(
        &mut self,
        run: RunId,
        seen: &BTreeMap<u32, Digest>,
        changed: bool,
    ) -> Result<u32, RunError> {
        let seen = seen.iter().map(|(case, digest)| v1::SeenInputs {
            case: *case,
            digest: digest_to_wire(*digest),
        });
        let request = v1::ConfirmInputsRequest {
            run_id: run_id_to_wire(run),
            seen: seen.collect(),
            changed,
        };
        let reply = self.runs.confirm_inputs(request).await;
        let reply = reply.map_err(|status| RunError::refused("store the run's passes", status))?;
        Ok(reply.into_inner().stored)
    }

    /// Returns what is kept of `keys`. `asked` are the most keys of one question, by how long their contents may be.
    pub(super) async fn kept(
        &mut self,
        kept: v1::Kept,
        keys: &[Digest],
        asked: usize,
    ) -> Result<BTreeMap<Digest, Vec<u8>>, RunError> {
        let mut found = BTreeMap::new();
        for keys in keys.chunks(asked) {
            let request = v1::GetKeptRequest {
                kept: kept.into(),
                keys: keys.iter().map(|key| digest_to_wire(*key)).collect(),
            };
            let reply = self.runs.get_kept(request).await;
            let contents = reply
                .map_err(|status| RunError::refused("look up what is kept", status))?
                .into_inner()
                .contents;
            let contents = keys
                .iter()
                .zip(contents)
                .filter(|(_, content)| !content.is_empty());
            found.extend(contents.map(|(key, content)| (*key, content.into())));
        }
        Ok(found)
    }

    /// Keeps entries, for this client and others.
    pub(super) async fn keep(
        &mut self,
        kept: v1::Kept,
        entries: Vec<(Digest, Vec<u8>)>,
    ) -> Result<(), RunError> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        for (key, content) in entries {
            bytes += content.len();
            batch.push(v1::KeptEntry {
                key: digest_to_wire(key),
                content: content.into(),
            });
            if bytes > KEPT_BYTES_MAX {
                bytes = 0;
                self.keep_batch(kept, std::mem::take(&mut batch)).await?;
            }
        }
        if batch.is_empty() {
            Ok(())
        } else {
            self.keep_batch(kept, batch).await
        }
    }

    async fn keep_batch(&mut self, kept: v1::Kept, entries: Vec<v1::KeptEntry>) -> Result<(), RunError> {
        let request = v1::PutKeptRequest {
            kept: kept.into(),
            entries,
        };
        let reply = self.runs.put_kept(request).await;
        reply
            .map(|_| ())
            .map_err(|status| RunError::refused("keep what was learnt", status))
    }

    /// Returns the last stored pass of each case, in the order asked.
    pub(super) async fn last_passes(
        &mut self,
        project: &str,
        cases: Vec<v1::CaseName>,
    ) -> Result<Vec<Option<PastPass>>, RunError> {
        let request = v1::LastPassRequest {
            project: project.to_owned(),
            cases,
        };
        let reply = self.runs.last_pass(request).await;
        let passes = reply
            .map_err(|status| RunError::refused("look up past passes", status))?
            .into_inner()
            .passes;
        passes.into_iter().map(past_pass).collect()
    }

    pub(super) async fn history(
        &mut self,
        request: v1::HistoryRequest,
    ) -> Result<v1::HistoryReply, RunError> {
        let reply = self.runs.history(request).await;
        Ok(reply
            .map_err(|status| RunError::refused("look up history", status))?
            .into_inner())
    }
}

fn past_pass(pass: v1::LastPass) -> Result<Option<PastPass>, RunError> {
    if !pass.found {
        return Ok(None);
    }
    Ok(Some(PastPass {
        run_id: run_id_from_wire(&pass.run_id)?,
        at: Timestamp::from_micros(pass.at_micros),
        parts: key_parts_from_wire(&pass.parts.unwrap_or_default())?,
    }))
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use thresh_proto::convert::key_parts_to_wire;
    use thresh_proto::testing::fuzz;

    use super::*;

    #[test]
    fn a_past_pass_is_understood_or_refused() {
        let parts = v1::KeyParts {
            code: vec![1; 32].into(),
            arguments: vec![2; 32].into(),
            environment: vec![3; 32].into(),
            platform: vec![4; 32].into(),
            files: vec![5; 32].into(),
            programs: vec![6; 32].into(),
        };
        let wire = v1::LastPass {
            found: true,
            run_id: vec![7; 16].into(),
            at_micros: 1_800_000_000_000_000,
            parts: Some(parts),
        };
        let read = |bytes: &[u8]| past_pass(v1::LastPass::decode(bytes).ok()?).ok();
        let valid = wire.encode_to_vec();
        assert!(read(&valid).flatten().is_some());
        fuzz(2_000, &valid, |bytes| {
            if let Some(Some(pass)) = read(bytes) {
                let wire = v1::LastPass::decode(bytes).unwrap();
                assert!(wire.found);
                assert_eq!(Some(key_parts_to_wire(&pass.parts)), wire.parts);
            }
        });
    }
}
