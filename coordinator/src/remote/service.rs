//! Asking another program.

use std::time::Duration;

use bazel_remote_apis::build::bazel::remote::execution::v2::capabilities_client::CapabilitiesClient;
use bazel_remote_apis::build::bazel::remote::execution::v2::{
    CacheCapabilities, GetCapabilitiesRequest, ServerCapabilities, digest_function,
};
use thresh_cas::{BlobName, DigestFunction};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

use super::address::RemoteAddress;

/// Requests at once. Some servers have few threads, and refuse what comes beyond.
const AT_ONCE: usize = 16;
/// After the first refusal so long is waited, then twice as long, …, but never longer than the second.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How long it is waited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For one answer.
    pub(crate) answer: Duration,
    /// For one that is no refusal of a busy server.
    pub(crate) busy: Duration,
    /// Whether a server that cannot be reached is waited for as one that is busy.
    pub(crate) waits_for_connection: bool,
}

/// Another program. What is asked of it goes over one connection, which is made when it is first needed.
#[derive(Debug)]
pub(crate) struct Remote {
    address: RemoteAddress,
    channel: Channel,
    patience: Patience,
    requests: Semaphore,
}

/// What a server's cache takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Takes {
    pub(crate) function: DigestFunction,
    /// Whether it lets us say what came of actions.
    pub(crate) results: bool,
}

impl Takes {
    fn of(cache: &CacheCapabilities) -> Result<Self, Status> {
        let offers = |value: digest_function::Value| cache.digest_functions.contains(&value.into());
        let function = if offers(digest_function::Value::Blake3) {
            DigestFunction::Blake3
        } else if offers(digest_function::Value::Sha256) || cache.digest_functions.is_empty() {
            DigestFunction::Sha256
        } else {
            return Err(Status::failed_precondition("it offers neither BLAKE3 nor SHA256"));
        };
        let updates = cache.action_cache_update_capabilities.unwrap_or_default();
        Ok(Self {
            function,
            results: updates.update_enabled,
        })
    }
}

impl Remote {
    /// Must be called within a tokio runtime.
    pub(crate) fn new(address: RemoteAddress, patience: Patience) -> Result<Self, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(address.endpoint().to_owned())?;
        let channel = endpoint
            .connect_timeout(patience.answer)
            .tcp_nodelay(true)
            .connect_lazy();
        Ok(Self {
            address,
            channel,
            patience,
            requests: Semaphore::new(AT_ONCE),
        })
    }

    pub(crate) fn address(&self) -> &RemoteAddress {
        &self.address
    }

    pub(crate) fn instance(&self) -> String {
        self.address.instance().to_owned()
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The name of a blob's stream: `kind` is `blobs`, or what the API has in its place.
    pub(crate) fn resource(&self, kind: &str, name: &BlobName) -> String {
        let instance = self.address.instance();
        let slash = if instance.is_empty() { "" } else { "/" };
        // Servers of the API's first versions know only the one function that needs no word.
        let function = match name.function {
            DigestFunction::Sha256 => String::new(),
            DigestFunction::Blake3 => format!("{}/", name.function.word()),
        };
        format!("{instance}{slash}{kind}/{function}{name}")
    }

    /// What it can do, and what its cache takes.
    pub(crate) async fn capabilities(&self) -> Result<(ServerCapabilities, Takes), Status> {
        let request = GetCapabilitiesRequest {
            instance_name: self.instance(),
        };
        let told = self.patiently(|| {
            let mut client = CapabilitiesClient::new(self.channel());
            let request = request.clone();
            async move { client.get_capabilities(request).await }
        });
        let told = told.await?;
        let cache = told.cache_capabilities.as_ref();
        let takes = Takes::of(cache.ok_or_else(|| Status::failed_precondition("it offers no cache"))?)?;
        Ok((told, takes))
    }

    /// Asks, and again while it is busy.
    pub(crate) async fn patiently<T, F>(&self, ask: impl Fn() -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let (began, mut pause) = (Instant::now(), PAUSE);
        loop {
            let answer = {
                let _permit = self.requests.acquire().await;
                timeout(self.patience.answer, ask()).await
            };
            let status = match answer {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) => status,
                Err(_) => {
                    let seconds = self.patience.answer.as_secs();
                    Status::deadline_exceeded(format!("it did not answer within {seconds} s"))
                }
            };
            if !self.may_pass(&status) || began.elapsed() + pause > self.patience.busy {
                return Err(status);
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Whether it may answer otherwise a little later.
    pub(crate) fn may_pass(&self, status: &Status) -> bool {
        match status.code() {
            Code::ResourceExhausted => true,
            Code::Unavailable => self.patience.waits_for_connection,
            _ => false,
        }
    }
}
