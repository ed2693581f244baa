//! Connecting to an engine, and bringing runs' files there.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thresh_cas::{BlobName, DigestFunction};
use thresh_core::digest::Digest;
use tokio::task::JoinSet;

use super::blobs::{Blobs, Sent};
use super::content::{Content, Delivery, File};
use super::error::EngineError;
use super::inputs::Inputs;
use super::names;
use super::shard::Shards;
use super::slot::{self, Shared};
use super::suspects::Suspects;
use super::upload::Limits;
use crate::clock::Clock;
use crate::driver::{Handle, Refusal};
use crate::remote::{Patience, Remote, RemoteAddress};

/// Whether an engine is there is known soon.
const AT_FIRST: Patience = Patience {
    answer: Duration::from_secs(10),
    busy: Duration::from_secs(10),
    waits_for_connection: false,
};
/// Later it is waited for: a run is worth more than that.
const LATER: Patience = Patience {
    answer: Duration::from_secs(600),
    busy: Duration::from_secs(300),
    waits_for_connection: true,
};

/// An engine to be used.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Where it is.
    pub address: RemoteAddress,
    /// How many actions it is to execute at a time.
    pub slots: u32,
    /// What its machines have to be: properties of actions' platform, as the engine knows them.
    pub properties: Vec<(String, String)>,
    /// The target triple whose programs its machines run.
    pub platform: String,
    /// The program that executes shards there: this one.
    pub runner: PathBuf,
    /// A file in which it is remembered how the engine names files.
    pub names: PathBuf,
}

/// An engine of the Remote Execution API that executes shards. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    config: Arc<EngineConfig>,
    takes_results: bool,
}

/// How far a delivery is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Blobs that the engine did not have.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Of them, sent.
    pub sent_blobs: usize,
    /// Bytes of blobs sent.
    pub sent_bytes: u64,
}

impl Engine {
    /// Asks an engine what it can do.
    ///
    /// # Errors
    /// It does not answer, or does not execute actions, or this program cannot be read.
    pub async fn connect(config: EngineConfig) -> Result<Self, EngineError> {
        let address = config.address.clone();
        let remote = |patience| {
            Remote::new(address.clone(), patience).map_err(|error| EngineError::Address(error.to_string()))
        };
        let told = remote(AT_FIRST)?.capabilities().await;
        let (told, takes) = told.map_err(|status| EngineError::Refused {
            doing: "reach the engine",
            address: address.clone(),
            status: Box::new(status),
        })?;
        let execution = told.execution_capabilities.unwrap_or_default();
        if !execution.exec_enabled {
            let why = "it executes no actions; for its cache alone there is --reuse-from";
            return Err(EngineError::Unsuitable { address, why });
        }
        let limits = Limits::of(&told.cache_capabilities.unwrap_or_default());
        let blobs = Arc::new(Blobs::new(Arc::new(remote(LATER)?), takes.function, limits));
        let (path, adding) = (config.runner.clone(), blobs.clone());
        let runner = tokio::task::spawn_blocking(move || add_runner(&path, &adding));
        let runner = runner
            .await
            .map_err(|ended| EngineError::Unreadable(ended.to_string()))??;
        let shards = Shards {
            blobs,
            inputs: Inputs::default(),
            runner,
            properties: config.properties.clone(),
        };
        Ok(Self {
            shared: Arc::new(Shared {
                shards: Arc::new(shards),
                suspects: Suspects::default(),
                scripts: Default::default(),
                notes: Default::default(),
            }),
            config: Arc::new(config),
            takes_results: takes.results,
        })
    }

    /// Its cache of results, if that takes any.
    pub fn cache(&self) -> Option<RemoteAddress> {
        self.takes_results.then(|| self.config.address.clone())
    }

    /// Brings what the actions of a run need, before they are submitted.
    ///
    /// # Errors
    /// The engine refuses or goes away, or a file is not what it was.
    pub async fn deliver(
        &self,
        delivery: Delivery,
        mut progress: impl FnMut(Delivered),
    ) -> Result<Delivered, EngineError> {
        let Shards {
            blobs,
            inputs,
            runner,
            ..
        } = &*self.shared.shards;
        inputs.add(delivery.manifests);
        let (adding, files, memory) = (blobs.clone(), delivery.files, self.config.names.clone());
        let named = tokio::task::spawn_blocking(move || add_files(&adding, files, &memory));
        let mut names = named
            .await
            .map_err(|ended| EngineError::Unreadable(ended.to_string()))??;
        names.push(*runner);
        let mut last = Delivered::default();
        let told = |all: Sent, sent: Sent| {
            last = Delivered {
                blobs: all.blobs,
                bytes: all.bytes,
                sent_blobs: sent.blobs,
                sent_bytes: sent.bytes,
            };
            progress(last);
        };
        blobs.ensure(&names, told).await?;
        Ok(last)
    }

    /// Which of these manifests no run has delivered.
    pub(crate) fn find_missing(&self, manifests: &[Digest]) -> Vec<Digest> {
        let inputs = &self.shared.shards.inputs;
        let missing = manifests.iter().filter(|digest| !inputs.has(digest));
        missing.copied().collect()
    }

    /// Has its slots join the driver.
    pub(crate) async fn start(&self, driver: &Handle, clock: Clock) -> Result<JoinSet<()>, Refusal> {
        slot::start(
            &self.shared,
            self.config.slots,
            &self.config.platform,
            driver,
            clock,
        )
        .await
    }
}

/// Names the files. By another function than our own that takes reading them all, so it is remembered.
fn add_files(blobs: &Blobs, files: Vec<File>, memory: &Path) -> Result<Vec<BlobName>, EngineError> {
    let is_own = blobs.function() == DigestFunction::Blake3;
    let known = if is_own {
        BTreeMap::new()
    } else {
        names::load(memory, blobs.function())
    };
    let digests: Vec<Digest> = files.iter().map(|file| file.digest).collect();
    let learnt = blobs.add_files(files, &known)?;
    let named: BTreeMap<Digest, BlobName> = digests
        .iter()
        .map(|digest| Ok((*digest, blobs.name_of(digest)?)))
        .collect::<Result<_, EngineError>>()?;
    if !learnt.is_empty()
        && let Err(cause) = names::save(memory, &named)
    {
        tracing::warn!(
            "names of files are not remembered: write {}: {cause}",
            memory.display()
        );
    }
    Ok(named.into_values().collect())
}

/// This program, in a file.
#[derive(Debug)]
struct Program(PathBuf);

impl Content for Program {
    fn name(&self) -> String {
        self.0.display().to_string()
    }

    fn open(&self) -> io::Result<Box<dyn Read + '_>> {
        let file = fs::File::open(&self.0);
        let file = file.map_err(|cause| io::Error::other(format!("{}: {cause}", self.0.display())))?;
        Ok(Box::new(file))
    }
}

fn add_runner(path: &Path, blobs: &Blobs) -> Result<BlobName, EngineError> {
    let file = fs::File::open(path).map_err(EngineError::file(path))?;
    let size = file.metadata().map_err(EngineError::file(path))?.len();
    let mut reader = file;
    let (digest, _) = thresh_cas::digest_reader(&mut reader, size).map_err(EngineError::file(path))?;
    let file = File {
        digest,
        size,
        content: Arc::new(Program(path.to_owned())),
    };
    blobs.add_files(vec![file], &BTreeMap::new())?;
    blobs.name_of(&digest)
}
