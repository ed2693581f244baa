//! One observed thread, and the thread that hears of its processes' calls.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use thresh_core::observe::{Observation, UnobservableKind};

use super::error::Unavailable;
use super::listener::{Listener, Received};
use super::memory;
use super::programs::Programs;
use super::tracer::Tracer;

/// Observes the processes that the thread starts on which it was itself started.
///
/// One case at a time: between [`Observer::begin`] and [`Observer::end`] all that is observed is the case's.
#[derive(Debug)]
pub struct Observer {
    running: Arc<Mutex<Option<Tracer>>>,
    is_spent: AtomicBool,
}

impl Observer {
    /// Observes all that the calling thread starts from now on, until it ends.
    ///
    /// The thread's own calls of that kind go a longer way from now on, and threads that it starts are heard of as well:
    /// let it start processes and do little else.
    ///
    /// # Errors
    ///
    /// When the kernel is too old or refuses, or this process is itself observed. Then nothing has changed.
    pub fn start() -> Result<Self, Unavailable> {
        if !can_continue() {
            return Err(Unavailable::Kernel);
        }
        let own = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
        if !memory::is_shown(own) {
            return Err(Unavailable::Other(io::Error::other(
                "/proc does not show this process",
            )));
        }
        let running = Arc::new(Mutex::new(None));
        let (give, given) = channel();
        let shared = Arc::clone(&running);
        // Before the filter, which it would inherit: then it would wait for itself.
        thread::Builder::new()
            .name("thresh-observer".to_owned())
            .spawn(move || hear(own, &shared, &given))
            .map_err(Unavailable::Other)?;
        let listener = Listener::install()?;
        // Fails only when the thread has ended, which it does not before it has got this.
        let _ = give.send(listener);
        Ok(Self {
            running,
            is_spent: AtomicBool::new(false),
        })
    }

    /// What is heard from now on is of a new case.
    pub fn begin(&self) {
        *lock(&self.running) = Some(Tracer::default());
    }

    /// The same for a case that is started in a view of its own: its paths are those that it has there.
    pub fn begin_in_a_view(&self) {
        *lock(&self.running) = Some(Tracer::in_a_view());
    }

    /// Returns what the case was seen to depend on. To be called when its first process has been waited for.
    pub fn end(&self) -> Observation {
        let ended = lock(&self.running).take();
        let Some(tracer) = ended else {
            return Observation::unobservable(UnobservableKind::Observer, "it had not begun");
        };
        let (observation, is_alone) = tracer.finish();
        if !is_alone {
            self.is_spent.store(true, Ordering::Relaxed);
        }
        observation
    }

    /// Whether processes of a case may be left, whose calls could not be told from the next one's. Then observe on
    /// another thread, one that was not started by this one.
    pub fn is_spent(&self) -> bool {
        self.is_spent.load(Ordering::Relaxed)
    }
}

/// Whether the kernel can let a call go on that it has told of: since Linux 5.5. Older ones take the answer for an error.
fn can_continue() -> bool {
    let system = rustix::system::uname();
    let release = system.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    let mut number = || numbers.next().and_then(|number| number.parse::<u32>().ok());
    (number(), number()) >= (Some(5), Some(5))
}

fn lock(running: &Mutex<Option<Tracer>>) -> MutexGuard<'_, Option<Tracer>> {
    // What a panic left behind has been given up.
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hears of calls until nobody is left who could make one, the observed thread and leftovers of its cases included.
fn hear(own: u32, running: &Mutex<Option<Tracer>>, given: &Receiver<Listener>) {
    let Ok(listener) = given.recv() else { return };
    let mut programs = Programs::default();
    loop {
        let told = match listener.receive() {
            Received::Gone => return,
            Received::Nothing => continue,
            Received::Call(told) => told,
        };
        // First of all: the observed thread may hold the lock.
        if told.thread == own {
            listener.go_on(told.id);
            continue;
        }
        let mut running = lock(running);
        let Some(tracer) = &mut *running else {
            listener.go_on(told.id);
            continue;
        };
        // A case must not hang because of a mistake here.
        if catch_unwind(AssertUnwindSafe(|| {
            tracer.handle(&told, &listener, &mut programs)
        }))
        .is_err()
        {
            tracer.give_up(UnobservableKind::Observer, "the observer failed");
        }
    }
}
