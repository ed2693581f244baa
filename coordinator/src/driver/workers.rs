//! Workers that come, speak and go.

use std::sync::Arc;
use std::time::Duration;

use thresh_core::id::{RunId, WorkerId};
use thresh_core::schedule::{CordonReason, Event, LossCause};
use thresh_core::time::Timestamp;
use thresh_proto::convert::duration_to_wire;
use thresh_proto::v1;
use thresh_proto::v1::coordinator_message::Message;
use thresh_proto::v1::run_event::Event as News;
use thresh_proto::v1::worker_news::Kind;
use tonic::Status;

use super::Refusal;
use super::command::{Joined, Said, WorkerProfile};
use super::link::{Link, Outbound};
use super::task::Driver;

impl Driver {
    pub(super) fn join(
        &mut self,
        now: Timestamp,
        profile: WorkerProfile,
        outbound: Outbound,
    ) -> Result<Joined, Refusal> {
        let worker = WorkerId(self.last_worker + 1);
        self.apply(
            now,
            Event::WorkerJoined {
                worker,
                slots: profile.slots,
                cpus: profile.cpus,
                platform: profile.platform.clone(),
                in_place: profile.in_place,
                process: profile.process,
            },
        )?;
        self.last_worker = worker.0;
        let profile = WorkerProfile {
            name: self.free_name(profile.name),
            ..profile
        };
        let link = Link::new(profile, outbound);
        tracing::info!(
            "worker {worker} joined: {} with {} slots",
            link.describe(),
            link.slots()
        );
        link.send_now(Message::Welcome(v1::Welcome {
            heartbeat: Some(duration_to_wire(self.policy.heartbeat)),
            lease_ttl: Some(duration_to_wire(self.policy.lease_ttl)),
            worker_id: worker.0,
            coordinator_version: self.version.clone(),
        }));
        self.worker_news(now, &link, Kind::Joined, String::new(), &[]);
        self.links.insert(worker, link);
        Ok(Joined { worker })
    }

    /// The name of a worker in reports: with a number where another is connected under the same one.
    fn free_name(&self, name: Arc<str>) -> Arc<str> {
        let is_taken = |name: &str| self.links.values().any(|link| **link.name() == *name);
        if !is_taken(&name) {
            return name;
        }
        let numbered = (2..).map(|number| format!("{name}#{number}"));
        numbered
            .into_iter()
            .find(|name| !is_taken(name))
            .map_or(name, Arc::from)
    }

    pub(super) fn said(&mut self, now: Timestamp, worker: WorkerId, said: Said) {
        match said {
            Said::Heartbeat {
                sent_micros,
                round_trip,
            } => self.heartbeat(now, worker, sent_micros, round_trip),
            Said::Cordon(reason, message) => self.cordon(now, worker, reason, message),
            Said::Reports(reports) => {
                for report in reports {
                    self.report(now, worker, report);
                }
            }
        }
    }

    /// Answers, but only a worker that still has its leases: silence tells the others to end their processes.
    fn heartbeat(
        &mut self,
        now: Timestamp,
        worker: WorkerId,
        sent_micros: u64,
        round_trip: Option<Duration>,
    ) {
        let heartbeat = Event::WorkerHeartbeat { worker, round_trip };
        if self.apply(now, heartbeat).is_ok()
            && let Some(link) = self.links.get(&worker)
        {
            link.send_now(Message::Heartbeat(v1::HeartbeatReply { sent_micros }));
        }
    }

    fn cordon(&mut self, now: Timestamp, worker: WorkerId, reason: CordonReason, message: String) {
        if self.apply(now, Event::WorkerCordoned(worker, reason)).is_err() {
            return;
        }
        let Some(mut link) = self.links.remove(&worker) else {
            return;
        };
        tracing::info!(
            "worker {worker} ({}) takes no new leases: {reason:?}: {message}",
            link.name()
        );
        link.cordoned = true;
        self.worker_news(now, &link, Kind::Cordoned, message, &[]);
        self.links.insert(worker, link);
    }

    pub(super) fn leave(&mut self, now: Timestamp, worker: WorkerId) {
        // A rejection says that it was given up before.
        let _ = self.apply(now, Event::WorkerLeft(worker));
    }

    /// Ends the connection of a worker that left or was given up.
    pub(super) fn unlink(
        &mut self,
        now: Timestamp,
        worker: WorkerId,
        cause: LossCause,
        requeued: &[(RunId, u32)],
    ) {
        let Some(link) = self.links.remove(&worker) else {
            return;
        };
        let (kind, message) = match cause {
            LossCause::Silent => (Kind::Lost, format!("not heard for {:?}", self.policy.lease_ttl)),
            LossCause::Replaced => (Kind::Lost, "it has connected again".to_owned()),
            LossCause::Left if link.cordoned => (Kind::Left, "drained".to_owned()),
            LossCause::Left => (Kind::Lost, "its connection ended without a good-bye".to_owned()),
        };
        let name = link.name();
        tracing::info!(
            "worker {worker} ({name}) {}: {message}",
            kind.as_str_name().to_lowercase()
        );
        self.worker_news(now, &link, kind, message.clone(), requeued);
        if cause != LossCause::Left {
            link.close(Status::aborted(format!(
                "worker {worker} has lost its leases: {message}"
            )));
        }
    }

    /// Tells the runs that a worker is of use to.
    fn worker_news(
        &mut self,
        now: Timestamp,
        link: &Link,
        kind: Kind,
        message: String,
        requeued: &[(RunId, u32)],
    ) {
        for run in self
            .runs
            .values_mut()
            .filter(|run| link.suits_run(&run.submission))
        {
            let back = requeued
                .iter()
                .find(|(id, _)| *id == run.id())
                .map_or(0, |(_, cases)| *cases);
            let news = v1::WorkerNews {
                worker: link.name().to_string(),
                kind: kind.into(),
                message: message.clone(),
                requeued: back,
                slots: link.slots(),
            };
            run.publish(now, News::Worker(news));
        }
    }
}
