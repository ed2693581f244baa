//! Following a run to its end, over broken connections and through interruptions.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use thresh_core::id::RunId;
use thresh_core::schedule::StopReason;
use thresh_core::time::Timestamp;
use thresh_proto::v1;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tonic::{Code, Status, Streaming};

use super::Cancel;
use super::error::{Disconnected, RunError};
use super::fold::Fold;
use super::seen::Observations;
use super::session::Session;
use crate::report::{ReportEvent, Reporters};

/// How long a connection that broke is tried again: another coordinator may take over, or this one may have to wait
/// for its database.
pub(super) const RECONNECT: Duration = Duration::from_secs(120);
/// Between two attempts.
pub(super) const RECONNECT_PAUSE: Duration = Duration::from_millis(250);
/// How often reporters hear that time passes.
const TICK: Duration = Duration::from_millis(100);
/// How long a coordinator may take to answer a cancellation before an interrupted client goes without.
const CANCEL_PATIENCE: Duration = Duration::from_secs(2);

const CLOSED: &str = "the coordinator closed the connection before the run's end";

/// A run that is being followed.
pub(super) struct Follower<'a> {
    pub(super) session: Session,
    pub(super) run: RunId,
    pub(super) fold: &'a mut Fold,
    pub(super) observations: &'a mut Observations,
    pub(super) reporters: &'a mut Reporters,
    pub(super) cancel: Cancel,
    /// For how long a broken connection is tried again.
    pub(super) patience: Duration,
}

enum Step {
    Event(Box<Option<Result<v1::RunEvent, Status>>>),
    Interrupted,
    Tick,
}

impl Follower<'_> {
    /// Follows the run until it has ended.
    pub(super) async fn follow(mut self) -> Result<(), RunError> {
        let mut events = match self.session.watch(self.run, self.fold.seen()).await {
            Ok(events) => events,
            Err(status) => self.reconnect(status).await?,
        };
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut cancelled = false;
        while self.fold.summary().is_none() {
            let step = tokio::select! {
                biased;
                () = interrupted(&mut self.cancel, u32::from(cancelled) + 1) => Step::Interrupted,
                event = events.message() => Step::Event(Box::new(event.transpose())),
                _ = ticks.tick() => Step::Tick,
            };
            match step {
                Step::Interrupted if cancelled => return self.leave().await,
                Step::Interrupted => {
                    cancelled = true;
                    self.ask_to_cancel().await;
                }
                Step::Tick => self.reporters.tick(now()),
                Step::Event(event) => match *event {
                    Some(Ok(event)) => self.take(event)?,
                    Some(Err(status)) => events = self.reconnect(status).await?,
                    None => events = self.reconnect(Status::unavailable(CLOSED)).await?,
                },
            }
        }
        Ok(())
    }

    fn take(&mut self, mut event: v1::RunEvent) -> Result<(), RunError> {
        self.observations.take(&mut event);
        let reporters = &mut *self.reporters;
        Ok(self
            .fold
            .apply(event, &mut |at, event| reporters.event(at, event))?)
    }

    fn note(&mut self, text: &str) {
        self.reporters.event(now(), &ReportEvent::Note(text));
    }

    async fn ask_to_cancel(&mut self) {
        self.note("interrupted: cancelling the run; interrupt again to leave at once");
        let asked = tokio::time::timeout(CANCEL_PATIENCE, self.session.cancel(self.run)).await;
        if let Ok(Err(status)) = asked {
            self.note(&format!(
                "the coordinator was not told to cancel: {}",
                status.message()
            ));
        }
    }

    /// Ends at once: what is not known now will not be known.
    async fn leave(mut self) -> Result<(), RunError> {
        self.abandon(StopReason::Cancelled, "interrupted twice".to_owned());
        Err(RunError::Interrupted { run: self.run })
    }

    fn abandon(&mut self, reason: StopReason, message: String) {
        let reporters = &mut *self.reporters;
        self.fold.abandon(now(), reason, message, &mut |at, event| {
            reporters.event(at, event)
        });
    }

    /// Follows the run again from the last event that was seen. Gives up at once where that is pointless.
    async fn reconnect(&mut self, first: Status) -> Result<Streaming<v1::RunEvent>, RunError> {
        let started = Instant::now();
        let mut attempts = 0;
        let mut last = first.clone();
        if !self.patience.is_zero() && is_transient(&first) {
            self.note(&format!(
                "the connection broke, following the run again: {}",
                first.message()
            ));
        }
        while is_transient(&last) && started.elapsed() < self.patience {
            let pause = async {
                tokio::select! {
                    () = interrupted(&mut self.cancel, 2) => true,
                    () = sleep(RECONNECT_PAUSE) => false,
                }
            };
            if pause.await {
                self.abandon(StopReason::Cancelled, "interrupted twice".to_owned());
                return Err(RunError::Interrupted { run: self.run });
            }
            attempts += 1;
            // A black hole answers nothing at all: the time for one attempt is bounded, too.
            let left = self
                .patience
                .saturating_sub(started.elapsed())
                .max(RECONNECT_PAUSE);
            match tokio::time::timeout(left, self.session.watch(self.run, self.fold.seen())).await {
                Ok(Ok(events)) => return Ok(events),
                Ok(Err(status)) => last = status,
                Err(_) => last = Status::deadline_exceeded("no answer"),
            }
        }
        let lost = Disconnected {
            run: self.run,
            first,
            attempts,
            tried_for: started.elapsed(),
            last,
        };
        self.abandon(
            StopReason::Stranded,
            "the connection to the coordinator was lost".to_owned(),
        );
        Err(Box::new(lost).into())
    }
}

/// Waits until the count of interruptions is at least `count`.
async fn interrupted(cancel: &mut Cancel, count: u32) {
    if cancel
        .wait_for(|interruptions| *interruptions >= count)
        .await
        .is_err()
    {
        // Whoever could interrupt is gone.
        std::future::pending::<()>().await;
    }
}

/// Whether another attempt may have another result. An unknown run will not become known.
fn is_transient(status: &Status) -> bool {
    !matches!(
        status.code(),
        Code::NotFound
            | Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::Unimplemented
            | Code::PermissionDenied
    )
}

/// The wall clock.
pub(super) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX))
}
