//! Brings the inputs of one run into place.

use std::sync::Arc;

use thresh_core::fault::Fault;
use thresh_core::id::BinaryIndex;
use thresh_proto::v1;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::brief::Brief;
use super::environment::base;
use super::error::PrepareError;
use super::fetch::blocking;
use super::place::Place;
use super::ready::Ready;
use super::setup::run_setup_scripts;
use super::shipped::Built;
use super::source::{Inputs, Mode};
use crate::exec::{Environment, Killer};
use crate::outputs::Outputs;

/// What a preparation says.
#[derive(Debug)]
pub(crate) enum News {
    /// A setup script ended.
    SetupScript(Box<v1::SetupScriptEnded>),
    /// The inputs of a binary are in place, or cannot be had.
    Prepared {
        binary: BinaryIndex,
        result: Result<Arc<Ready>, PrepareError>,
    },
}

/// Brings the inputs of one run into place, in a task of its own.
#[derive(Debug)]
pub(crate) struct Preparation {
    /// Unbounded: holds at most one entry a binary of the run.
    binaries: mpsc::UnboundedSender<BinaryIndex>,
    cancel: watch::Sender<bool>,
    killer: Killer,
    task: JoinHandle<()>,
}

impl Preparation {
    /// Starts the task. It does nothing until it is asked for a binary.
    pub(crate) fn start(
        inputs: Inputs,
        brief: Arc<Brief>,
        report: impl Fn(News) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let killer = Killer::new()?;
        let (binaries, asked) = mpsc::unbounded_channel();
        let (cancel, cancelled) = watch::channel(false);
        let work = Work {
            inputs,
            brief,
            report: Arc::new(report),
            cancelled,
            killer: killer.clone(),
        };
        Ok(Self {
            binaries,
            cancel,
            killer,
            task: tokio::spawn(work.run(asked)),
        })
    }

    /// Asks for the inputs of a binary.
    pub(crate) fn prepare(&self, binary: BinaryIndex) {
        // Fails only when it was cancelled, and then nobody waits for the answer.
        let _ = self.binaries.send(binary);
    }

    /// Gives up, and kills the setup script that runs.
    pub(crate) fn cancel(&self) {
        self.cancel.send_replace(true);
        self.killer.kill();
    }

    /// Waits until no process of it is left. To be called after [`cancel`](Self::cancel).
    pub(crate) async fn ended(self) {
        drop(self.binaries);
        if let Err(ended) = self.task.await {
            tracing::error!("the preparation of a run ended early: {ended}");
        }
    }
}

struct Work {
    inputs: Inputs,
    brief: Arc<Brief>,
    report: Arc<dyn Fn(News) + Send + Sync>,
    cancelled: watch::Receiver<bool>,
    killer: Killer,
}

/// A run without the inputs of its binaries.
struct Base {
    ready: Arc<Ready>,
    built: Option<Built>,
}

impl Work {
    async fn run(self, mut asked: mpsc::UnboundedReceiver<BinaryIndex>) {
        let mut base = None;
        while let Ok(Some(binary)) = self.unless_cancelled(async { Ok(asked.recv().await) }).await {
            if base.is_none() {
                base = Some(self.base().await);
            }
            let result = match &base {
                Some(Ok(base)) => self.binary(base, binary).await,
                Some(Err(error)) => Err(error.clone()),
                None => Err(PrepareError::Cancelled),
            };
            (self.report)(News::Prepared { binary, result });
        }
    }

    async fn base(&self) -> Result<Base, PrepareError> {
        let (place, built) = match &self.inputs.mode {
            Mode::InPlace if self.brief.shipped.is_some() => {
                let message = "the run's inputs were shipped, but this worker runs on the client's files";
                return Err(PrepareError::other(Fault::Internal, message));
            }
            Mode::InPlace => (Arc::new(Place::Client), None),
            Mode::Shipped(shipped) => {
                let built = self.unless_cancelled(shipped.build(&self.brief)).await?;
                (built.place.clone(), Some(built))
            }
        };
        let outputs = match (&self.inputs.mode, &built) {
            (Mode::Shipped(shipped), Some(built)) => shipped.outputs(built, &self.brief)?,
            _ => None,
        };
        let ready = self.set_up(place, outputs).await?;
        Ok(Base {
            ready: Arc::new(ready),
            built,
        })
    }

    /// Runs the setup scripts. A cancellation kills them and does not just leave them, so that they have ended
    /// when the preparation has.
    async fn set_up(&self, place: Arc<Place>, outputs: Option<Outputs>) -> Result<Ready, PrepareError> {
        let (brief, report, killer) = (self.brief.clone(), self.report.clone(), self.killer.clone());
        let (in_place, output_limit) = (self.inputs.in_place(), self.inputs.output_limit);
        let limits = self.inputs.limits();
        let set_up = move || {
            // An action has the variables that it names, and no others.
            let base = if outputs.is_some() {
                Environment::default()
            } else {
                let mut base = base(in_place);
                base.set.extend(brief.variables());
                base
            };
            let report = |script| report(News::SetupScript(Box::new(script)));
            let scripts = run_setup_scripts(&brief, &place, &base, output_limit, &killer, &report)?;
            Ok(Ready::new(
                brief,
                place,
                &base,
                &scripts,
                output_limit,
                limits,
                outputs,
            ))
        };
        if self.brief.setup_scripts.is_empty() {
            set_up()
        } else {
            blocking(set_up).await?
        }
    }

    async fn binary(&self, base: &Base, binary: BinaryIndex) -> Result<Arc<Ready>, PrepareError> {
        let manifest = self
            .brief
            .binaries
            .get(binary.at())
            .and_then(|binary| binary.manifest);
        if let (Mode::Shipped(shipped), Some(built), Some(manifest)) =
            (&self.inputs.mode, &base.built, manifest)
        {
            self.unless_cancelled(shipped.add(built, manifest)).await?;
        }
        Ok(base.ready.clone())
    }

    async fn unless_cancelled<T>(
        &self,
        action: impl Future<Output = Result<T, PrepareError>>,
    ) -> Result<T, PrepareError> {
        let mut cancelled = self.cancelled.clone();
        tokio::select! {
            biased;
            _ = cancelled.wait_for(|&cancelled| cancelled) => Err(PrepareError::Cancelled),
            result = action => result,
        }
    }
}
