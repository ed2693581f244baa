//! The run itself.

use std::sync::Arc;
use std::time::Duration;

use thresh_cas::DigestMemo;
use thresh_core::id::RunId;
use tokio::runtime::Handle;
use tonic::Status;
use tonic::transport::Channel;

use super::Cancel;
use super::audit;
use super::error::RunError;
use super::fold::Fold;
use super::follow::{Follower, RECONNECT, now};
use super::loading::{Loaded, save, timed};
use super::prepare::Prepared;
use super::seen::{self, Observations};
use super::session::Session;
use super::submission::{Submission, fold_cases};
use crate::report::{ReportEvent, Reporters, RunStart, RunSummary};
use crate::reuse::{CaseKeys, InputWatch, KeyInputs, RecordFolder, case_keys};
use crate::ship::{Depot, Shipment};

/// What is kept of the code of binaries, in bytes: some hundred links of a large workspace.
const REACH_BYTES_MAX: u64 = 2 << 30;

/// What came of a run.
#[derive(Debug)]
pub enum Finished {
    /// Its cases were judged.
    Judged(Box<RunSummary>),
    /// It was only asked to build.
    OnlyBuilt,
    /// No case is selected.
    NoCases {
        /// Cases that the selection left out.
        skipped: usize,
    },
}

/// A suite ready to be submitted.
pub(super) struct Ready {
    pub(super) run: RunId,
    pub(super) project: String,
    pub(super) loaded: Loaded,
    /// None where passes are neither looked up nor stored.
    pub(super) keys: Option<CaseKeys>,
    /// None in place.
    pub(super) shipment: Option<Shipment>,
}

impl Ready {
    /// The keys of the cases.
    ///
    /// # Errors
    /// There are none.
    pub(super) fn known_keys(&self) -> Result<&CaseKeys, RunError> {
        self.keys.as_ref().ok_or(match &self.loaded.outside {
            Some(_) => RunError::ReuseOff,
            None => RunError::OutsideUnknown,
        })
    }
}

/// Gives up on what comes before a run is followed at the first interrupt. A submission that got through all the
/// same is cancelled by the coordinator, since nobody follows it.
async fn unless_interrupted<T>(
    cancel: &Cancel,
    work: impl Future<Output = Result<T, RunError>>,
) -> Result<T, RunError> {
    let mut cancel = cancel.clone();
    tokio::select! {
        done = work => done,
        _ = cancel.wait_for(|count| *count > 0) => Err(RunError::InterruptedEarly),
    }
}

impl Prepared {
    /// Waits for the build, ending there.
    ///
    /// # Errors
    /// The build fails.
    pub async fn only_build(self) -> Result<Finished, RunError> {
        blocking(move || {
            let mut prepared = self;
            prepared.finish_build().map(|()| Finished::OnlyBuilt)
        })
        .await
    }

    /// Brings the run to its end: lists, ships (to `depot`, where there is one), submits, follows, and tells `reporters` all along. Whether they could
    /// write everything is theirs to say ([`Reporters::finish`]), and never changes the verdict.
    ///
    /// # Errors
    /// The run could not be brought to its verdict; the error has an exit code.
    pub async fn run(
        self,
        channel: Channel,
        depot: Option<&dyn Depot>,
        reporters: &mut Reporters,
        cancel: Cancel,
    ) -> Result<Finished, RunError> {
        if self.options.no_run {
            return self.only_build().await;
        }
        let mut session = Session::hello(channel).await?;
        let (prepared, ready) = unless_interrupted(&cancel, self.ready(&mut session)).await?;
        let suite = &ready.loaded.suite;
        if suite.cases.is_empty() {
            return Ok(Finished::NoCases {
                skipped: suite.skipped.len(),
            });
        }
        prepared.keep_records(&ready);
        let shipping = unless_interrupted(&cancel, prepared.ship(&session, &ready, depot, reporters)).await?;
        let submission = prepared.submission(&ready).messages();
        let started = now();
        // Within the process a connection that broke cannot be made again.
        let patience = prepared.farm().map_or(Duration::ZERO, |_| RECONNECT);
        let note = |status: &Status| {
            let text = format!("the run is not taken yet, trying again: {}", status.message());
            reporters.event(now(), &ReportEvent::Note(&text));
        };
        unless_interrupted(&cancel, session.submit(submission, patience, note)).await?;

        let roster = Arc::new(prepared.roster(suite));
        let start = RunStart {
            run_id: ready.run,
            project: ready.project.clone(),
            profile: suite.profile.clone(),
            roster: Arc::clone(&roster),
            skipped: suite.skipped.len(),
        };
        reporters.event(started, &ReportEvent::RunStarted(&start));
        let watch = InputWatch::new(
            ready.loaded.snapshot.clone(),
            &ready.loaded.files,
            &ready.loaded.outside.clone().unwrap_or_default(),
        );
        let slots_of_one = if prepared.is_in_place() {
            prepared.slots()
        } else {
            session.slots / session.workers.max(1)
        };
        let mut fold = Fold::new(
            ready.run,
            roster,
            fold_cases(suite, slots_of_one.max(1)),
            suite.skipped.len(),
            Some(session.workers).filter(|workers| *workers > 0),
        );
        let mut observations = Observations::default();
        let follower = Follower {
            session: session.clone(),
            run: ready.run,
            fold: &mut fold,
            observations: &mut observations,
            reporters,
            cancel,
            patience,
        };
        match shipping {
            Some(shipping) => shipping.during(&session, ready.run, follower.follow()).await?,
            None => follower.follow().await?,
        }
        let confirmed = if prepared.is_in_place() || prepared.observes() {
            prepared.confirm(&mut session, ready, watch, observations).await
        } else {
            Ok(None)
        };
        for note in last_notes(confirmed, &fold) {
            reporters.event(now(), &ReportEvent::Note(&note));
        }
        let summary = fold
            .summary()
            .expect("a run that was followed to its end has ended")
            .clone();
        Ok(Finished::Judged(Box::new(summary)))
    }

    /// Makes the suite and everything that a submission needs of it.
    pub(super) async fn ready(self, session: &mut Session) -> Result<(Self, Ready), RunError> {
        let mut session = session.clone();
        let handle = Handle::current();
        blocking(move || {
            let mut prepared = self;
            let run = RunId::from_u128(uuid::Uuid::now_v7().as_u128());
            let mut loaded = prepared.load(Some(&mut session), run, &handle)?;
            let project = prepared.take_name();
            let in_place = prepared.is_in_place();
            let mut keys = timed("make keys", || prepared.keys(&loaded, in_place));
            if let Some(keys) = keys.as_mut().filter(|_| prepared.observes()) {
                prepared.look_up_seen(&mut session, &handle, &loaded, keys);
            }
            let shipment = if in_place {
                None
            } else {
                Some(prepared.pack(&mut loaded)?)
            };
            Ok((
                prepared,
                Ready {
                    run,
                    project,
                    loaded,
                    keys,
                    shipment,
                },
            ))
        })
        .await
    }

    fn keys(&self, loaded: &Loaded, in_place: bool) -> Option<CaseKeys> {
        let outside = loaded.outside.as_ref()?;
        let inputs = KeyInputs {
            suite: &loaded.suite,
            files: &loaded.files,
            sources: loaded.snapshot.manifest().digest(),
            code: &loaded.code,
            outside,
            variables: &self.options.surroundings.variables,
            policy: &self.project.environment_policy(),
            in_place,
            own_files: self.has_own_files(),
        };
        self.reuses().then(|| case_keys(&inputs))
    }

    /// Finds earlier passes that were seen to read only what is still so.
    fn look_up_seen(&self, session: &mut Session, handle: &Handle, loaded: &Loaded, keys: &mut CaseKeys) {
        let seen_keys = seen::seen_keys(&loaded.suite, keys);
        let kept = timed("look up what cases read", || {
            handle.block_on(seen::look_up(session, &seen_keys, self.place()))
        });
        timed("look at what cases read", || {
            let mut memo = DigestMemo::load(&self.state.digest_memo());
            seen::choose(keys, &seen_keys, &kept, &loaded.code, &mut memo);
            save(&mut memo, &self.state.digest_memo());
        });
    }

    pub(super) fn submission<'a>(&'a self, ready: &'a Ready) -> Submission<'a> {
        Submission {
            prepared: self,
            suite: &ready.loaded.suite,
            files: &ready.loaded.files,
            keys: ready.keys.as_ref(),
            shipment: ready.shipment.as_ref(),
            run: ready.run,
            project: &ready.project,
        }
    }

    pub(super) fn records(&self) -> RecordFolder {
        RecordFolder::new(self.state.records())
    }

    /// Keeps what is behind the keys, for later explanations, without holding up the run.
    fn keep_records(&self, ready: &Ready) {
        let Some(keys) = ready.keys.clone() else { return };
        let (folder, manifest) = (self.records(), ready.loaded.snapshot.manifest().clone());
        let reach = self.options.state.reach();
        tokio::task::spawn_blocking(move || {
            let kept = keys.records.values().try_for_each(|record| folder.keep(record));
            let encoded = manifest.encode();
            let digest = thresh_core::digest::Digest::of(&encoded);
            let kept = kept
                .and_then(|()| folder.keep_bytes(digest, || encoded))
                .and_then(|()| folder.trim());
            if let Err(error) = kept {
                tracing::warn!("later explanations will be shorter: failed to keep records: {error}");
            }
            if let Err(error) = thresh_reach::trim(&reach, REACH_BYTES_MAX) {
                tracing::warn!("failed to remove old files from {}: {error}", reach.display());
            }
        });
    }
}

/// What is left to say when a run is over and its passes are `confirmed`, or did not need to be.
fn last_notes(confirmed: Result<Option<String>, String>, fold: &Fold) -> Vec<String> {
    let disagreed = fold.disagreed();
    match confirmed {
        Ok(None) => audit::notes(fold.roster(), disagreed),
        Ok(Some(changed)) if !disagreed.is_empty() => vec![changed, audit::unclear(disagreed.len())],
        Ok(Some(note)) | Err(note) => vec![note],
    }
}

/// Runs what blocks on a thread that may.
pub(super) async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, RunError> + Send + 'static,
) -> Result<T, RunError> {
    tokio::task::spawn_blocking(act)
        .await
        .map_err(|error| RunError::Thread(error.to_string()))?
}
