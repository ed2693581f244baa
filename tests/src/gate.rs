//! The gate at which the cases of `fixtures/gated` wait, so that a test decides when and how each ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// A listener that every case of the fixture reports to.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    arrivals: Receiver<Held>,
}

/// A process that waits at the gate.
#[derive(Debug)]
pub struct Held {
    /// The case's name.
    pub name: String,
    /// The attempt as the case knows it.
    pub attempt: String,
    stream: TcpStream,
}

impl Gate {
    /// Opens a gate on a free port of the loopback interface.
    ///
    /// # Panics
    /// When no port can be had.
    pub fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (sender, arrivals) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let sender = sender.clone();
                thread::spawn(move || greet(stream).map(|held| sender.send(held)));
            }
        });
        Self { address, arrivals }
    }

    /// Returns the variable that leads a case here, and its value.
    pub fn variable(&self) -> (&'static str, String) {
        ("GATE_ADDRESS", self.address.to_string())
    }

    /// Waits for the next process.
    ///
    /// # Panics
    /// When none comes within a minute.
    #[track_caller]
    pub fn next(&self) -> Held {
        self.arrivals
            .recv_timeout(Duration::from_secs(60))
            .expect("a case comes to the gate within a minute")
    }

    /// Lets everybody pass who comes from now on.
    pub fn stay_open(self) {
        thread::spawn(move || self.arrivals.into_iter().for_each(Held::pass));
    }

    /// Waits for the next `count` processes.
    ///
    /// # Panics
    /// When they do not come within a minute each.
    #[track_caller]
    pub fn take(&self, count: usize) -> Vec<Held> {
        (0..count).map(|_| self.next()).collect()
    }
}

fn greet(stream: TcpStream) -> Option<Held> {
    let mut line = String::new();
    BufReader::new(stream.try_clone().ok()?)
        .read_line(&mut line)
        .ok()?;
    let (name, attempt) = line.trim_end().split_once(' ')?;
    Some(Held {
        name: name.to_owned(),
        attempt: attempt.to_owned(),
        stream,
    })
}

impl Held {
    /// Lets the case pass.
    pub fn pass(self) {
        self.answer("pass\n");
    }

    /// Makes the case fail.
    pub fn fail(self) {
        self.answer("fail\n");
    }

    fn answer(mut self, answer: &str) {
        // The process may be dead: then there is nobody to tell.
        let _ = self.stream.write_all(answer.as_bytes());
    }

    /// Waits until the process is dead.
    ///
    /// # Panics
    /// When it still lives after `limit`.
    #[track_caller]
    pub fn wait_dead(mut self, limit: Duration) {
        self.stream
            .set_read_timeout(Some(limit))
            .expect("the limit is not zero");
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            other => panic!("{} still lives after {limit:?} ({other:?})", self.name),
        }
    }
}
