//! Streams that a thread fills, and clients that do not read them.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// How long a client may take no message. What is kept for it (a thread, a place among streams) is then for others.
const PATIENCE: Duration = Duration::from_secs(60);
/// Messages between a thread and its connection.
const MESSAGES_AHEAD: usize = 4;

/// The end of a stream at which a thread sends.
#[derive(Debug)]
pub(super) struct Outgoing<T> {
    messages: mpsc::Sender<Result<T, Status>>,
    /// Its client is told why the stream ends, however full it is.
    last: mpsc::OwnedPermit<Result<T, Status>>,
    patience: Duration,
    runtime: Handle,
}

/// Why nothing more is sent.
#[derive(Debug)]
pub(super) enum Unsent {
    /// Nobody listens.
    Gone,
    /// The client is told.
    Failed(Status),
}

impl From<Status> for Unsent {
    fn from(status: Status) -> Self {
        Self::Failed(status)
    }
}

impl<T: Send + 'static> Outgoing<T> {
    /// Has a thread fill a stream. Must be called within a tokio runtime.
    pub(super) fn start(
        fill: impl FnOnce(&Self) -> Result<(), Unsent> + Send + 'static,
    ) -> ReceiverStream<Result<T, Status>> {
        Self::start_with(PATIENCE, fill)
    }

    fn start_with(
        patience: Duration,
        fill: impl FnOnce(&Self) -> Result<(), Unsent> + Send + 'static,
    ) -> ReceiverStream<Result<T, Status>> {
        let (messages, stream) = mpsc::channel(MESSAGES_AHEAD + 1);
        let last = messages.clone().try_reserve_owned();
        let outgoing = Self {
            messages,
            last: last.expect("there is room in an empty channel"),
            patience,
            runtime: Handle::current(),
        };
        tokio::task::spawn_blocking(move || {
            if let Err(Unsent::Failed(status)) = fill(&outgoing) {
                outgoing.last.send(Err(status));
            }
        });
        ReceiverStream::new(stream)
    }

    /// Waits for something else. Blocks.
    pub(super) fn wait_for<R>(&self, something: impl Future<Output = R>) -> R {
        self.runtime.block_on(something)
    }

    /// Sends a message. Blocks until there is room for it.
    pub(super) fn send(&self, message: T) -> Result<(), Unsent> {
        let sending = async { timeout(self.patience, self.messages.send(Ok(message))).await };
        match self.wait_for(sending) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Unsent::Gone),
            Err(_) => Err(Unsent::Failed(Status::deadline_exceeded(format!(
                "nothing was read for {} s",
                self.patience.as_secs()
            )))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;
    use tokio_stream::StreamExt;
    use tonic::Code;

    #[tokio::test]
    async fn a_client_that_does_not_read_is_told_and_holds_nothing() {
        let (permit, released) = oneshot::channel::<()>();
        let mut stream = Outgoing::start_with(Duration::from_millis(1), move |outgoing| {
            let _permit = permit;
            loop {
                outgoing.send(7)?;
            }
        });
        // Although the stream is still there.
        assert!(released.await.is_err());
        let mut messages = Vec::new();
        while let Some(message) = stream.next().await {
            messages.push(message.map_err(|status| status.code()));
        }
        assert_eq!(messages.pop(), Some(Err(Code::DeadlineExceeded)));
        assert_eq!(messages, vec![Ok(7); MESSAGES_AHEAD]);
    }

    #[tokio::test]
    async fn what_is_read_comes_whole_and_an_end_is_an_end() {
        let stream = Outgoing::start(|outgoing| (0..100).try_for_each(|number| outgoing.send(number)));
        let numbers: Vec<_> = stream.map(|message| message.ok()).collect().await;
        assert_eq!(numbers, (0..100).map(Some).collect::<Vec<_>>());
        let (ended, end) = oneshot::channel();
        drop(Outgoing::start(move |outgoing| {
            let sent = (0..).try_for_each(|number| outgoing.send(number));
            ended.send(matches!(sent, Err(Unsent::Gone))).ok();
            sent
        }));
        assert!(end.await.unwrap());
    }
}
