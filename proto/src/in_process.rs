//! Connections within one process: the same services and messages, over streams in memory.

use std::future::Future;
use std::io;
use std::pin::Pin;

use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint, Error, Uri};

/// What one stream holds on its way, in bytes.
const STREAM_BYTES: usize = 1 << 20;

/// The server's ends of connections, to be served like those of a listener. They end when the last [`Dialer`] is gone.
pub type Connections = UnboundedReceiverStream<io::Result<DuplexStream>>;

/// Makes connections. Clones lead to the same server.
#[derive(Clone, Debug)]
pub struct Dialer(mpsc::UnboundedSender<io::Result<DuplexStream>>);

/// Makes a way to a server in this process.
pub fn in_process() -> (Dialer, Connections) {
    // Unbounded: a connection for each client and each session of a worker.
    let (sender, connections) = mpsc::unbounded_channel();
    (Dialer(sender), UnboundedReceiverStream::new(connections))
}

impl Dialer {
    /// Connects.
    ///
    /// # Errors
    /// The server has ended.
    pub fn dial(&self) -> impl Future<Output = Result<Channel, Error>> + Send + use<> {
        let connections = self.0.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let (ours, theirs) = tokio::io::duplex(STREAM_BYTES);
            let sent = connections.send(Ok(theirs));
            async move {
                sent.map(|()| TokioIo::new(ours))
                    .map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))
            }
        });
        // In a box, so that all of a client is compiled here, and not once in each crate that waits for it.
        let dialled: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(async {
            Endpoint::from_static("http://in-process")
                .connect_with_connector(connector)
                .await
        });
        dialled
    }
}
