//! Asking another program.

use std::pin::pin;
use std::time::Duration;

use bazel_remote_apis::build::bazel::remote::execution::v2::capabilities_client::CapabilitiesClient;
use bazel_remote_apis::build::bazel::remote::execution::v2::{
    BatchUpdateBlobsResponse, CacheCapabilities, ExecutionCapabilities, GetCapabilitiesRequest,
    ServerCapabilities, digest_function,
};
use thresh_cas::{BlobName, DigestFunction};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status, Streaming};

use super::address::RemoteAddress;

/// Requests at once. Some servers have few threads, and refuse what comes beyond.
const AT_ONCE: usize = 16;
/// After the first refusal so long is waited, then twice as long, …, but never longer than the second.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often it is asked whether it is still there while it says nothing. gRPC servers take clients that ask more often
/// than every 5 min to be broken, and end their connections.
const KEEPALIVE: Duration = Duration::from_secs(310);
/// How long it may take to answer that.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// The same below HTTP/2, which no server counts: it finds out sooner, but only about the next machine, which may be a
/// proxy.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
const TCP_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const TCP_KEEPALIVE_RETRIES: u32 = 3;

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
    fn of(cache: &CacheCapabilities, execution: &ExecutionCapabilities) -> Result<Self, Status> {
        let one = [execution.digest_function];
        // A server of an older version names one function, and one that executes nothing none.
        let executes: &[i32] = match &execution.digest_functions[..] {
            [] if execution.digest_function != 0 => &one,
            several => several,
        };
        let offers = |value: digest_function::Value| {
            let value = i32::from(value);
            let is_executed = !execution.exec_enabled || executes.is_empty() || executes.contains(&value);
            cache.digest_functions.contains(&value) && is_executed
        };
        let function = if offers(digest_function::Value::Blake3) {
            DigestFunction::Blake3
        } else if offers(digest_function::Value::Sha256) || cache.digest_functions.is_empty() {
            DigestFunction::Sha256
        } else {
            let problem = "it offers neither BLAKE3 nor SHA256 for both its cache and its actions";
            return Err(Status::failed_precondition(problem));
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
        Self::with_keepalive(address, patience, KEEPALIVE, KEEPALIVE_TIMEOUT)
    }

    fn with_keepalive(
        address: RemoteAddress,
        patience: Patience,
        keepalive: Duration,
        keepalive_timeout: Duration,
    ) -> Result<Self, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(address.endpoint().to_owned())?;
        let channel = endpoint
            .connect_timeout(patience.answer)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(TCP_KEEPALIVE))
            .tcp_keepalive_interval(Some(TCP_KEEPALIVE_INTERVAL))
            .tcp_keepalive_retries(Some(TCP_KEEPALIVE_RETRIES))
            .http2_keep_alive_interval(keepalive)
            .keep_alive_timeout(keepalive_timeout)
            // Without streams nobody waits, and gRPC servers then count every question as one too many.
            .keep_alive_while_idle(false)
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
        let cache = cache.ok_or_else(|| Status::failed_precondition("it offers no cache"))?;
        let execution = told.execution_capabilities.clone().unwrap_or_default();
        let takes = Takes::of(cache, &execution)?;
        Ok((told, takes))
    }

    /// Asks, and again while it is busy.
    pub(crate) async fn patiently<T, F>(&self, ask: impl Fn() -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.patiently_while(|| 0, ask).await
    }

    /// The same, where the time for an answer begins anew whenever `progress` has changed.
    pub(crate) async fn patiently_while<T, F>(
        &self,
        progress: impl Fn() -> u64,
        ask: impl Fn() -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let (began, mut pause) = (Instant::now(), PAUSE);
        loop {
            let answer = {
                let _permit = self.requests.acquire().await;
                self.in_time(&progress, ask()).await
            };
            let status = match answer {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => status,
            };
            if !self.may_pass(&status) || began.elapsed() + pause > self.patience.busy {
                return Err(status);
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// The next message of a stream from which one is due.
    pub(crate) async fn next<T>(&self, messages: &mut Streaming<T>) -> Result<Option<T>, Status> {
        self.in_time(&|| 0, messages.message()).await
    }

    /// What comes of asking, unless for the time of an answer there is neither that nor progress.
    async fn in_time<T>(
        &self,
        progress: &impl Fn() -> u64,
        ask: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let mut ask = pin!(ask);
        let mut seen = progress();
        loop {
            if let Ok(answer) = timeout(self.patience.answer, &mut ask).await {
                return answer;
            }
            let now = progress();
            if now == seen {
                let seconds = self.patience.answer.as_secs();
                return Err(Status::deadline_exceeded(format!(
                    "it did not answer within {seconds} s"
                )));
            }
            seen = now;
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

/// An answer to blobs, unless one of them was not stored: servers say that of each by itself, and a busy one of some.
pub(crate) fn all_stored(
    reply: Response<BatchUpdateBlobsResponse>,
) -> Result<Response<BatchUpdateBlobsResponse>, Status> {
    let failed = reply.get_ref().responses.iter().find_map(|response| {
        let status = response.status.as_ref()?;
        (status.code != 0).then(|| Status::new(status.code.into(), status.message.clone()))
    });
    failed.map_or(Ok(reply), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bazel_remote_apis::build::bazel::remote::execution::v2::{
        ActionCacheUpdateCapabilities, batch_update_blobs_response,
    };
    use bazel_remote_apis::google::rpc;
    use prost::Message;
    use std::sync::atomic::{AtomicU64, Ordering};
    use thresh_proto::testing::fuzz;
    use tokio::net::TcpListener;

    /// Nobody is there, which does not matter.
    fn remote(answer: Duration) -> Remote {
        let patience = Patience {
            answer,
            busy: Duration::ZERO,
            waits_for_connection: false,
        };
        Remote::new("reapi://127.0.0.1:1".parse().unwrap(), patience).unwrap()
    }

    #[tokio::test]
    async fn a_connection_that_is_dead_is_noticed_by_those_who_wait_without_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("reapi://{}", listener.local_addr().unwrap());
        // It is connected to, and silent from then on.
        let held = tokio::spawn(async move { listener.accept().await.unwrap() });
        let patience = Patience {
            answer: Duration::from_secs(60),
            busy: Duration::ZERO,
            waits_for_connection: false,
        };
        let short = Duration::from_millis(10);
        let remote = Remote::with_keepalive(address.parse().unwrap(), patience, short, short).unwrap();
        let mut client = CapabilitiesClient::new(remote.channel());
        let asked = client.get_capabilities(GetCapabilitiesRequest::default()).await;
        assert!(asked.is_err());
        drop(held.await.unwrap());
    }

    #[test]
    fn names_are_made_with_what_both_the_cache_and_the_actions_know() {
        use digest_function::Value::{Blake3, Sha256};
        let cache = CacheCapabilities {
            digest_functions: vec![Sha256.into(), Blake3.into()],
            ..CacheCapabilities::default()
        };
        let with = |exec_enabled, one: i32, several: Vec<i32>| {
            let execution = ExecutionCapabilities {
                exec_enabled,
                digest_function: one,
                digest_functions: several,
                ..ExecutionCapabilities::default()
            };
            Takes::of(&cache, &execution).map(|takes| takes.function)
        };
        let (sha256, blake3) = (i32::from(Sha256), i32::from(Blake3));
        for (told, function) in [
            (with(false, sha256, vec![]), DigestFunction::Blake3),
            (with(true, 0, vec![]), DigestFunction::Blake3),
            (with(true, sha256, vec![]), DigestFunction::Sha256),
            (with(true, sha256, vec![sha256, blake3]), DigestFunction::Blake3),
            (with(true, 0, vec![sha256]), DigestFunction::Sha256),
        ] {
            assert_eq!(told.unwrap(), function);
        }
    }

    #[test]
    fn what_a_server_says_of_itself_is_a_function_that_it_offers_or_no_use() {
        use digest_function::Value::{Blake3, Md5, Sha256};
        let functions = vec![Md5.into(), Sha256.into(), Blake3.into()];
        let told = ServerCapabilities {
            cache_capabilities: Some(CacheCapabilities {
                digest_functions: functions.clone(),
                action_cache_update_capabilities: Some(ActionCacheUpdateCapabilities {
                    update_enabled: true,
                }),
                ..CacheCapabilities::default()
            }),
            execution_capabilities: Some(ExecutionCapabilities {
                digest_function: Sha256.into(),
                digest_functions: functions,
                exec_enabled: true,
                ..ExecutionCapabilities::default()
            }),
            ..ServerCapabilities::default()
        };
        let read = |told: &ServerCapabilities| {
            let execution = told.execution_capabilities.clone().unwrap_or_default();
            Takes::of(told.cache_capabilities.as_ref()?, &execution).ok()
        };
        let takes = Takes {
            function: DigestFunction::Blake3,
            results: true,
        };
        assert_eq!(read(&told), Some(takes));
        fuzz(2_000, &told.encode_to_vec(), |bytes| {
            let Ok(told) = ServerCapabilities::decode(bytes) else {
                return;
            };
            let Some(takes) = read(&told) else { return };
            let function: i32 = takes.function.to_wire().into();
            let offered = told.cache_capabilities.unwrap_or_default().digest_functions;
            assert!(offered.is_empty() || offered.contains(&function));
            let execution = told.execution_capabilities.unwrap_or_default();
            let executed = &execution.digest_functions;
            assert!(!execution.exec_enabled || executed.is_empty() || executed.contains(&function));
        });
    }

    #[tokio::test]
    async fn who_says_nothing_is_not_waited_for_without_end() {
        let remote = remote(Duration::from_millis(1));
        let late = remote.patiently(std::future::pending::<Result<Response<()>, Status>>);
        assert_eq!(late.await.unwrap_err().code(), Code::DeadlineExceeded);
    }

    #[tokio::test]
    async fn who_goes_on_is_waited_for_and_who_stops_is_not() {
        let remote = remote(Duration::from_millis(1));
        // Each look at the progress sees some, ten times.
        let looks = AtomicU64::new(0);
        let progress = || looks.fetch_add(1, Ordering::Relaxed).min(10);
        let late = remote.patiently_while(progress, std::future::pending::<Result<Response<()>, Status>>);
        assert_eq!(late.await.unwrap_err().code(), Code::DeadlineExceeded);
        assert_eq!(looks.load(Ordering::Relaxed), 12);
    }

    #[test]
    fn blobs_are_stored_when_all_of_them_are() {
        let reply = |codes: &[Code]| {
            let responses = codes.iter().map(|code| batch_update_blobs_response::Response {
                status: Some(rpc::Status {
                    code: (*code).into(),
                    ..rpc::Status::default()
                }),
                ..Default::default()
            });
            let responses = responses.collect();
            all_stored(Response::new(BatchUpdateBlobsResponse { responses })).map_err(|status| status.code())
        };
        assert!(reply(&[Code::Ok, Code::Ok]).is_ok());
        let refused = reply(&[Code::Ok, Code::ResourceExhausted]);
        assert_eq!(refused.unwrap_err(), Code::ResourceExhausted);
    }
}
