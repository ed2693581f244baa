//! Ctrl-C and its like.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Counts the signals that ask the program to end: SIGINT, SIGTERM, SIGHUP, SIGQUIT.
///
/// The first asks for an orderly end, the second for an end at once.
///
/// # Errors
/// The signals cannot be caught.
pub(crate) fn interrupts() -> std::io::Result<watch::Receiver<u32>> {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
        SignalKind::quit(),
    ];
    let signals = kinds
        .into_iter()
        .map(signal)
        .collect::<std::io::Result<Vec<Signal>>>()?;
    let (sender, receiver) = watch::channel(0);
    for mut signal in signals {
        let sender = sender.clone();
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                sender.send_modify(|count| *count += 1);
            }
        });
    }
    Ok(receiver)
}
