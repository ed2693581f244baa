//! How to reach the coordinator.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

/// No attempt to connect takes longer.
const CONNECT_MAX: Duration = Duration::from_secs(5);

type Connecting = Pin<Box<dyn Future<Output = Result<Channel, ConnectError>> + Send>>;

/// Why a connection could not be made.
pub type ConnectError = Box<dyn Error + Send + Sync>;

/// How to reach the coordinator, as often as it takes. Clones are cheap.
#[derive(Clone)]
pub struct Coordinator {
    address: Arc<str>,
    connect: Arc<dyn Fn() -> Connecting + Send + Sync>,
}

impl Coordinator {
    /// A coordinator on the network.
    pub fn at(endpoint: Endpoint) -> Self {
        let address = endpoint.uri().to_string();
        let endpoint = endpoint.connect_timeout(CONNECT_MAX).tcp_nodelay(true);
        Self::by(address, move || {
            let endpoint = endpoint.clone();
            async move { endpoint.connect().await.map_err(ConnectError::from) }
        })
    }

    /// A coordinator that is reached by calling `connect`. `address` names it in messages.
    pub fn by<F, C>(address: impl Into<String>, connect: C) -> Self
    where
        F: Future<Output = Result<Channel, ConnectError>> + Send + 'static,
        C: Fn() -> F + Send + Sync + 'static,
    {
        Self {
            address: address.into().into(),
            connect: Arc::new(move || Box::pin(connect())),
        }
    }

    /// Its name in messages.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Connects anew.
    pub(crate) async fn connect(&self) -> Result<Channel, ConnectError> {
        match tokio::time::timeout(CONNECT_MAX, (self.connect)()).await {
            Ok(connected) => connected,
            Err(_) => Err(format!("no connection within {} s", CONNECT_MAX.as_secs()).into()),
        }
    }
}

impl fmt::Debug for Coordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Coordinator").field(&self.address).finish()
    }
}
