//! An engine of the Remote Execution API in a farm's place.

use std::io::{self, Read};
use std::sync::Arc;

use thresh_client::run::Prepared;
use thresh_client::ship::{BlobSource, Delivering, Depot, Shipment, UploadError, UploadProgress};
use thresh_coordinator::{Content, Delivered, Delivery, Engine, EngineConfig, EngineFile, InvalidAddress};

use crate::failure::Failure;

/// Connects to the engine that the run asks for, if it asks for one.
///
/// # Errors
/// Its address is none, it does not answer or does not execute actions.
pub(crate) async fn connect(
    prepared: &Prepared,
    properties: &[(String, String)],
) -> Result<Option<Engine>, Failure> {
    let Some(text) = prepared.engine() else {
        return Ok(None);
    };
    let address = text
        .parse()
        .map_err(|error: InvalidAddress| Failure::input(format!("use the engine: {error}")))?;
    let runner = std::env::current_exe()
        .map_err(|cause| Failure::environment(format!("find this program: {cause}")))?;
    let of_project = prepared.project().engine.properties.iter();
    let mut all: Vec<(String, String)> = of_project
        .filter(|(name, _)| properties.iter().all(|(given, _)| given != *name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .chain(properties.iter().cloned())
        .collect();
    // The API wants them so.
    all.sort();
    let config = EngineConfig {
        address,
        slots: prepared.engine_slots(),
        properties: all,
        platform: prepared.platform().to_owned(),
        runner,
        names: prepared.names_file(),
    };
    let engine = Engine::connect(config).await;
    engine
        .map(Some)
        .map_err(|error| Failure::of(error.fault(), &error))
}

/// Reads `NAME=VALUE`.
pub(crate) fn property(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = parts.ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The engine as the client sees it.
#[derive(Debug)]
pub(crate) struct Destination(pub(crate) Engine);

impl Depot for Destination {
    fn deliver<'a>(
        &'a self,
        shipment: &'a Shipment,
        progress: &'a mut dyn FnMut(UploadProgress),
    ) -> Delivering<'a> {
        Box::pin(async move {
            let delivery = delivery(shipment)?;
            let told = |delivered: Delivered| {
                progress(UploadProgress {
                    blobs: delivered.blobs,
                    bytes: delivered.bytes,
                    sent_blobs: delivered.sent_blobs,
                    sent_bytes: delivered.sent_bytes,
                    ..UploadProgress::default()
                });
            };
            let delivered = self.0.deliver(delivery, told).await;
            delivered.map(drop).map_err(|error| UploadError::Depot {
                fault: error.fault(),
                message: error.to_string(),
            })
        })
    }
}

fn delivery(shipment: &Shipment) -> Result<Delivery, UploadError> {
    let manifests = shipment.manifests();
    let mut delivery = Delivery::default();
    for (digest, source) in shipment.blobs.iter().chain(&shipment.on_demand) {
        if manifests.contains(digest) {
            let mut bytes = Vec::new();
            let read = source.open()?.read_to_end(&mut bytes);
            read.map_err(|cause| UploadError::Unreadable {
                path: source.name().into(),
                cause,
            })?;
            delivery.manifests.push(bytes);
        }
        // A manifest may be a file's content, too.
        delivery.files.push(EngineFile {
            digest: *digest,
            size: source.size(),
            content: Arc::new(Source(source.clone())),
        });
    }
    Ok(delivery)
}

/// A file of the client's.
#[derive(Debug)]
struct Source(BlobSource);

impl Content for Source {
    fn name(&self) -> String {
        self.0.name()
    }

    fn open(&self) -> io::Result<Box<dyn Read + '_>> {
        self.0.open().map_err(io::Error::other)
    }
}
