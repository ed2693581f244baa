//! The task that writes to the store, so that nobody who decides waits for the disk.
//!
//! Records gather for up to [`LINGER`], then go into one transaction. Writing takes at most half of the time, as
//! long as not too much has gathered: what decides about runs needs the processor more urgently. The end of a run
//! and whoever asks for a flush are served at once, and a run's end is published only when everything before it is
//! written. When
//! writing fails, runs go on: what may pass by itself is tried again for up to [`PATIENCE`]; then the fault is
//! logged once, and the end of every run concerned says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use thresh_core::reuse::CaseKey;
use thresh_core::time::Timestamp;
use thresh_proto::v1;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::clock::Clock;
use crate::driver::RunLog;
use crate::external::ExternalCache;
use crate::store::{AttemptRecord, AuditRecord, Batch, PassRecord, RunRecord, Store, StoreError};

/// How long an attempt may wait for others before it is written. A process that is killed loses this much.
const LINGER: Duration = Duration::from_millis(250);

/// So many entries are written at once without waiting for more.
const ENTRIES_MAX: usize = 4_096;

/// While more entries than this wait, writing does not pause.
const BACKLOG_MAX: usize = 250_000;

/// How long a database that is away or locked is waited for. What comes meanwhile gathers in memory.
const PATIENCE: Duration = Duration::from_secs(120);

/// How soon it is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Where records go. Unbounded, since the driver may not wait for the disk; an entry is some 200 bytes (but what an audit that
/// disagreed has kept of a case's output), and they come no faster than test processes end.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    entries: mpsc::UnboundedSender<Entry>,
    external: Option<ExternalCache>,
    urgency: Arc<Urgency>,
}

/// How many urgent entries are not yet written, and what wakes the task when one comes.
#[derive(Debug, Default)]
struct Urgency {
    entries: AtomicUsize,
    came: Notify,
}

/// The end of a run: recorded, then published.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) record: RunRecord,
    pub(crate) at: Timestamp,
    pub(crate) ended: v1::RunEnded,
    pub(crate) log: Arc<RunLog>,
}

#[derive(Debug)]
enum Entry {
    Attempt(AttemptRecord),
    Pass(PassRecord),
    Audit(AuditRecord),
    Used(Vec<CaseKey>),
    Run(RunRecord),
    End(Box<End>),
    Flush(oneshot::Sender<Result<(), String>>),
}

impl Recorder {
    /// Starts the task. It ends when every clone of the recorder is gone and everything is written.
    pub(crate) fn start(store: Arc<dyn Store>, clock: Clock, external: Option<ExternalCache>) -> Self {
        let (entries, inbox) = mpsc::unbounded_channel();
        let urgency = Arc::<Urgency>::default();
        let task = Task {
            store,
            clock,
            inbox,
            urgency: urgency.clone(),
            trouble: None,
        };
        tokio::spawn(task.run());
        Self {
            entries,
            external,
            urgency,
        }
    }

    pub(crate) fn attempt(&self, record: AttemptRecord) {
        self.send(Entry::Attempt(record));
    }

    pub(crate) fn pass(&self, record: PassRecord) {
        self.share(&record);
        self.send(Entry::Pass(record));
    }

    /// Notes what an audit found.
    pub(crate) fn audit(&self, record: AuditRecord) {
        self.send(Entry::Audit(record));
    }

    /// Notes a pass in the other cache alone, if there is one.
    pub(crate) fn share(&self, record: &PassRecord) {
        if let Some(external) = &self.external {
            external.store(record.key(), record.run);
        }
    }

    /// Notes that passes were used.
    pub(crate) fn used(&self, keys: Vec<CaseKey>) {
        if !keys.is_empty() {
            self.send(Entry::Used(keys));
        }
    }

    /// Notes a run that has ended, of which everyone was told before.
    pub(crate) fn run(&self, record: RunRecord) {
        self.send(Entry::Run(record));
    }

    pub(crate) fn end(&self, end: End) {
        self.send(Entry::End(Box::new(end)));
    }

    /// Has everything written that came before; the answer says why it could not be.
    pub(crate) fn flush(&self) -> oneshot::Receiver<Result<(), String>> {
        let (reply, answer) = oneshot::channel();
        self.send(Entry::Flush(reply));
        answer
    }

    fn send(&self, entry: Entry) {
        if entry.is_urgent() {
            self.urgency.entries.fetch_add(1, Ordering::Relaxed);
            self.urgency.came.notify_one();
        }
        // The task ends only after the last sender: a closed channel means that it panicked, which was told.
        let _ = self.entries.send(entry);
    }
}

struct Task {
    store: Arc<dyn Store>,
    clock: Clock,
    inbox: mpsc::UnboundedReceiver<Entry>,
    urgency: Arc<Urgency>,
    /// Why the last write failed, until one succeeds.
    trouble: Option<String>,
}

impl Task {
    async fn run(mut self) {
        while let Some(entries) = self.gather().await {
            let began = Instant::now();
            let urgent = entries.iter().filter(|entry| entry.is_urgent()).count();
            self.write(entries).await;
            self.urgency.entries.fetch_sub(urgent, Ordering::Relaxed);
            self.rest(began.elapsed()).await;
        }
    }

    /// Leaves the processor to others for a time, unless somebody waits.
    async fn rest(&self, time: Duration) {
        if self.inbox.len() > BACKLOG_MAX {
            return;
        }
        let deadline = Instant::now() + time;
        while self.urgency.entries.load(Ordering::Relaxed) == 0 {
            tokio::select! {
                () = sleep_until(deadline) => return,
                // Maybe of one that has been written by now.
                () = self.urgency.came.notified() => {}
            }
        }
    }

    /// Waits for entries, and for those that follow closely. `None` at the end.
    async fn gather(&mut self) -> Option<Vec<Entry>> {
        let mut entries = Vec::new();
        if self.inbox.recv_many(&mut entries, ENTRIES_MAX).await == 0 {
            return None;
        }
        let deadline = Instant::now() + LINGER;
        while entries.len() < ENTRIES_MAX && !entries.iter().any(Entry::is_urgent) {
            let room = ENTRIES_MAX - entries.len();
            match timeout_at(deadline, self.inbox.recv_many(&mut entries, room)).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => break,
            }
        }
        Some(entries)
    }

    async fn write(&mut self, entries: Vec<Entry>) {
        let mut batch = Batch::default();
        let (mut used, mut ends, mut flushes) = (Vec::new(), Vec::new(), Vec::new());
        for entry in entries {
            match entry {
                Entry::Attempt(record) => batch.attempts.push(record),
                Entry::Pass(record) => batch.passes.push(record),
                Entry::Audit(record) => batch.audits.push(record),
                Entry::Used(keys) => used.extend(keys),
                Entry::Run(record) => batch.runs.push(record),
                Entry::End(end) => {
                    batch.runs.push(end.record.clone());
                    ends.push(end);
                }
                Entry::Flush(reply) => flushes.push(reply),
            }
        }
        self.record(batch).await;
        let has_ends = !ends.is_empty();
        for end in ends {
            self.publish(*end);
        }
        for reply in flushes {
            // Whoever asked may be gone.
            let _ = reply.send(self.trouble.clone().map_or(Ok(()), Err));
        }
        self.tidy(used, has_ends).await;
    }

    async fn record(&mut self, batch: Batch) {
        if batch.is_empty() {
            return;
        }
        match self.record_patiently(&batch).await {
            Ok(()) => self.trouble = None,
            Err(error) => {
                if self.trouble.is_none() {
                    tracing::warn!("history is not being written: failed to {error}");
                }
                self.trouble = Some(error.to_string());
            }
        }
    }

    async fn record_patiently(&self, batch: &Batch) -> Result<(), StoreError> {
        // Who has waited in vain does not wait again until a write succeeds.
        let patience = if self.trouble.is_none() {
            PATIENCE
        } else {
            Duration::ZERO
        };
        let deadline = Instant::now() + patience;
        loop {
            match self.store.record(batch).await {
                Err(error) if error.is_transient() && Instant::now() < deadline => {
                    tracing::debug!("failed to {error}; trying again");
                    sleep(RETRY_PAUSE).await;
                }
                done => return done,
            }
        }
    }

    fn publish(&self, mut end: End) {
        if let Some(trouble) = &self.trouble {
            let text = format!("history was not written: failed to {trouble}");
            let message = &mut end.ended.message;
            *message = if message.is_empty() {
                text
            } else {
                format!("{message}; {text}")
            };
        }
        end.log.end(end.at, end.ended);
    }

    /// What nobody waits for, left until the others are served.
    async fn tidy(&self, used: Vec<CaseKey>, has_ends: bool) {
        let now = self.clock.now();
        if let Err(error) = self.store.touch_passes(&used, now).await {
            tracing::debug!("failed to {error}");
        }
        if has_ends && let Err(error) = self.store.sweep(now).await {
            tracing::warn!("old history was not removed: failed to {error}");
        }
    }
}

impl Entry {
    fn is_urgent(&self) -> bool {
        matches!(self, Self::End(_) | Self::Flush(_))
    }
}

#[cfg(test)]
mod tests;
