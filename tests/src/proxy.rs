//! A TCP relay whose connections can be cut, fall silent, or be slow.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// Relays every connection to one address until it is cut. Dropping it cuts.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    heard_again: Condvar,
    up: AtomicU64,
    down: AtomicU64,
    /// What is counted among what comes down.
    wanted: Vec<u8>,
    found: AtomicU64,
}

/// What went through a relay, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relayed {
    /// From those who connected.
    pub up: u64,
    /// To them.
    pub down: u64,
}

#[derive(Debug, Default)]
struct State {
    cut: bool,
    silent: bool,
    /// What all connections together may bring down, in bytes a second; `None`: all that comes.
    down_rate: Option<f64>,
    /// When what has been brought down so far is paid for.
    paid_until: Option<Instant>,
    streams: Vec<TcpStream>,
}

impl Proxy {
    /// Listens on a free port of the loopback interface and relays to `target`.
    ///
    /// # Panics
    /// When no port can be had.
    pub fn start(target: SocketAddr) -> Self {
        Self::counting(target, "")
    }

    /// The same, which counts how often `wanted` comes down.
    ///
    /// # Panics
    /// When no port can be had.
    pub fn counting(target: SocketAddr, wanted: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            wanted: wanted.as_bytes().to_vec(),
            ..Shared::default()
        });
        let relaying = Arc::clone(&shared);
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let _ = relay(near, target, &relaying);
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL that goes through the relay.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What has gone through so far.
    pub fn relayed(&self) -> Relayed {
        Relayed {
            up: self.shared.up.load(Ordering::Relaxed),
            down: self.shared.down.load(Ordering::Relaxed),
        }
    }

    /// How often what is counted has come down so far.
    pub fn found(&self) -> u64 {
        self.shared.found.load(Ordering::Relaxed)
    }

    /// Lets all connections together bring down so many bytes a second, as a narrow uplink of the target does.
    pub fn narrow(&self, down_rate: u64) {
        #[expect(clippy::cast_precision_loss, reason = "a rate needs few digits")]
        let rate = down_rate as f64;
        self.shared.state().down_rate = Some(rate);
    }

    /// Ends every connection and lets no new one through.
    pub fn cut(&self) {
        let mut state = self.shared.state();
        state.cut = true;
        for stream in state.streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.shared.let_through(state);
    }

    /// Passes nothing on any more, as a network that is partitioned does: connections stay open, and new ones can
    /// be made, but nothing comes through them.
    pub fn fall_silent(&self) {
        self.shared.state().silent = true;
    }

    /// Lets new connections through again, and passes on what was held back.
    pub fn mend(&self) {
        let mut state = self.shared.state();
        state.cut = false;
        self.shared.let_through(state);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    fn let_through(&self, mut state: MutexGuard<'_, State>) {
        state.silent = false;
        self.heard_again.notify_all();
    }

    /// Waits until so many bytes may be brought down.
    fn pay(&self, bytes: usize) {
        let mut state = self.state();
        let Some(rate) = state.down_rate else { return };
        let now = Instant::now();
        #[expect(clippy::cast_precision_loss, reason = "a buffer is short")]
        let takes = Duration::from_secs_f64(bytes as f64 / rate);
        let paid = state.paid_until.map_or(now, |until| until.max(now)) + takes;
        state.paid_until = Some(paid);
        while let Some(left) = paid
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
        {
            let waited = self.heard_again.wait_timeout(state, left);
            state = waited.expect("no holder panics").0;
        }
    }

    /// Counts what is wanted in what has come down now and, where it may have begun there, just `before`.
    fn count(&self, before: &mut Vec<u8>, now: &[u8]) {
        let length = self.wanted.len();
        if length == 0 {
            return;
        }
        before.extend_from_slice(now);
        let found = before.windows(length).filter(|part| *part == self.wanted);
        self.found.fetch_add(found.count() as u64, Ordering::Relaxed);
        before.drain(..before.len().saturating_sub(length - 1));
    }

    fn wait_while_silent(&self) {
        let state = self.state();
        let waited = self.heard_again.wait_while(state, |state| state.silent);
        drop(waited.expect("no holder panics"));
    }
}

fn relay(near: TcpStream, target: SocketAddr, shared: &Arc<Shared>) -> io::Result<()> {
    let mut state = shared.state();
    if state.cut {
        return near.shutdown(Shutdown::Both);
    }
    let far = TcpStream::connect(target)?;
    state.streams.extend([near.try_clone()?, far.try_clone()?]);
    let (up, down) = ((near.try_clone()?, far.try_clone()?), (far, near));
    for ((from, to), way) in [(up, Way::Up), (down, Way::Down)] {
        let shared = Arc::clone(shared);
        thread::spawn(move || pump(from, to, way, &shared));
    }
    Ok(())
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug)]
enum Way {
    Up,
    Down,
}

fn pump(mut from: TcpStream, mut to: TcpStream, way: Way, shared: &Shared) {
    let relayed = match way {
        Way::Up => &shared.up,
        Way::Down => &shared.down,
    };
    let mut buffer = [0; 16 << 10];
    let mut before = Vec::new();
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        shared.wait_while_silent();
        if matches!(way, Way::Down) {
            shared.pay(read);
            shared.count(&mut before, &buffer[..read]);
        }
        relayed.fetch_add(read as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
