//! What a run's inputs need before it and beside it.

use thresh_cas::DigestMemo;
use thresh_core::id::RunId;
use tokio::task::JoinHandle;

use super::error::RunError;
use super::follow::now;
use super::loading::{Loaded, timed};
use super::prepare::Prepared;
use super::session::Session;
use super::work::{Ready, blocking};
use crate::project::DebugSections;
use crate::report::{ReportEvent, Reporters};
use crate::ship::{Depot, Memory, Memos, Shipment, Supplies, UploadProgress, Uploaded, supply, upload};

/// What goes on after the inputs are on the farm.
#[derive(Debug)]
pub(super) struct Shipping {
    /// Remembers what was shipped.
    keeping: JoinHandle<()>,
    supplies: Supplies,
}

impl Shipping {
    /// Brings what workers ask for while `follow` goes on.
    pub(super) async fn during(
        self,
        session: &Session,
        run: RunId,
        follow: impl Future<Output = Result<(), RunError>>,
    ) -> Result<(), RunError> {
        tokio::select! {
            followed = follow => followed?,
            never = supply(session.channel(), run, self.supplies) => match never {},
        }
        if let Err(error) = self.keeping.await {
            tracing::warn!("what was shipped is not remembered: {error}");
        }
        Ok(())
    }
}

impl Prepared {
    /// Names the inputs.
    pub(super) fn pack(&self, loaded: &mut Loaded) -> Result<Shipment, RunError> {
        let Loaded {
            suite,
            files,
            snapshot,
            memo,
            ..
        } = loaded;
        let path = self.state.lean_digests();
        let apart = self.project.farm.debug_sections == DebugSections::Apart;
        let mut lean = apart.then(|| DigestMemo::load(&path));
        let shipment = timed("pack the inputs", || {
            let memos = Memos {
                files: memo,
                lean: lean.as_mut(),
            };
            Shipment::new(suite, files, snapshot, memos)
        });
        if let Some(Err(error)) = lean.map(|mut lean| lean.save(&path)) {
            tracing::warn!("digests are not remembered: failed to {error}");
        }
        Ok(shipment?)
    }

    /// Sends the inputs, if they are to be sent.
    pub(super) async fn ship(
        &self,
        session: &Session,
        ready: &Ready,
        depot: Option<&dyn Depot>,
        reporters: &mut Reporters,
    ) -> Result<Option<Shipping>, RunError> {
        let Some(shipment) = &ready.shipment else {
            return Ok(None);
        };
        let mut announced = false;
        if let Some(depot) = depot {
            let mut progress = |progress: UploadProgress| announce(progress, &mut announced, reporters);
            depot.deliver(shipment, &mut progress).await?;
            return Ok(None);
        }
        let memory = blocking({
            let folder = self.state.shipped();
            move || Ok(Memory::open(&folder))
        });
        let memory = memory
            .await?
            .inspect_err(|error| tracing::warn!("what was shipped before is not known: failed to {error}"))
            .ok();
        let progress = |progress: UploadProgress| announce(progress, &mut announced, reporters);
        let Uploaded { progress, shipped } =
            upload(session.channel(), &shipment.blobs, memory.as_ref(), progress).await?;
        if progress.shipped_bytes > 0 {
            let note = format!(
                "shipped {:.1} MiB as {:.1} MiB: {} of {} chunks of large files were there",
                mebibytes(progress.bytes),
                mebibytes(progress.shipped_bytes),
                progress.reused_chunks,
                progress.chunks
            );
            reporters.event(now(), &ReportEvent::Note(&note));
        }
        let supplies = Supplies {
            blobs: shipment.on_demand.clone(),
            memory: memory.clone(),
        };
        // It need not hold up the run.
        let keeping = tokio::task::spawn_blocking(move || {
            if let Some(memory) = memory.filter(|_| !shipped.is_empty()) {
                memory.remember(&shipped);
            }
        });
        Ok(Some(Shipping { keeping, supplies }))
    }
}

/// Says once how much there is to ship.
fn announce(progress: UploadProgress, announced: &mut bool, reporters: &mut Reporters) {
    if progress.blobs > 0 && !std::mem::replace(announced, true) {
        let note = format!(
            "shipping {} files, {:.1} MiB",
            progress.blobs,
            mebibytes(progress.bytes)
        );
        reporters.event(now(), &ReportEvent::Note(&note));
    }
    reporters.tick(now());
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
