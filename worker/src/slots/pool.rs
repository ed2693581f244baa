//! The slots' threads.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::ScopedJoinHandle;

use thresh_core::id::{CaseIndex, Generation, RunId};
use thresh_core::outcome::Outcome;
use thresh_proto::convert::digest_to_wire;
use thresh_proto::v1;
use thresh_proto::v1::outcome::Kind;
use thresh_proto::v1::{Attempt, LeasedCase};
use tokio::sync::mpsc::UnboundedSender;

use super::wire::attempt_to_wire;
use crate::exec::{Executor, Killer, Slow};
use crate::inputs::Ready;
use crate::observe::Observer;
use crate::outputs::OutputsError;

/// What a slot is told to run.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) run: RunId,
    pub(crate) ready: Arc<Ready>,
    pub(crate) case: LeasedCase,
    pub(crate) killer: Killer,
    /// Who wants to know. Unbounded: a slot says one last word for each assignment, and the session gives it
    /// the next only then; slow periods are seconds apart.
    pub(crate) said: UnboundedSender<Said>,
}

/// What a slot says about its case.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) run: RunId,
    pub(crate) case: CaseIndex,
    pub(crate) generation: Generation,
    pub(crate) word: Word,
}

/// What happened to a case.
#[derive(Debug)]
pub(crate) enum Word {
    /// A slow period has passed.
    Slow(Slow),
    /// It has ended.
    Ended(Box<Attempt>),
    /// It could not be started, for a reason that is not about the case.
    NotStarted(io::Error),
    /// What it left could not be kept, for a reason that is not about it.
    NotKept(String),
}

/// The slots' threads. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Pool {
    slots: Vec<Slot>,
}

/// The threads of a slot. It has one case at a time, so only one of them does something.
#[derive(Debug)]
struct Slot {
    /// For cases that are not to be observed.
    plain: Sender<Assignment>,
    observed: Option<Sender<Assignment>>,
}

impl Pool {
    /// Starts the threads; with `observe` they tell what their cases depend on.
    pub(crate) fn start(slots: u32, observe: bool) -> io::Result<Self> {
        let slot = |number| {
            let plain = thread(format!("thresh-slot-{number}"), move |assignments| {
                work(number, None, &mut None, &assignments);
            })?;
            let observed = observe.then(|| {
                let plain = plain.clone();
                thread(format!("thresh-seen-{number}"), move |assignments| {
                    work_observed(number, &plain, assignments);
                })
            });
            Ok(Slot {
                observed: observed.transpose()?,
                plain,
            })
        };
        Ok(Self {
            slots: (0..slots).map(slot).collect::<io::Result<_>>()?,
        })
    }

    /// Gives an idle slot its case. Returns whether the slot took it; it does unless its thread has ended.
    #[must_use]
    pub(crate) fn assign(&self, slot: u32, assignment: Assignment) -> bool {
        self.slots.get(slot as usize).is_some_and(|slot| {
            let is_wanted = !assignment.case.unobserved && assignment.ready.can_be_observed();
            let observed = slot.observed.as_ref().filter(|_| is_wanted);
            observed.unwrap_or(&slot.plain).send(assignment).is_ok()
        })
    }
}

/// Starts a thread that works until there are no more assignments.
fn thread(
    name: String,
    work: impl FnOnce(Receiver<Assignment>) + Send + 'static,
) -> io::Result<Sender<Assignment>> {
    let (assign, assignments) = channel();
    let thread = std::thread::Builder::new().name(name);
    thread.spawn(move || work(assignments)).map(|_| assign)
}

/// What a thread has whose cases are observed.
#[derive(Clone, Copy)]
struct Watch<'a> {
    observer: &'a Observer,
    /// Who runs what being observed may have hindered.
    plain: &'a Sender<Assignment>,
}

/// Runs cases until there are no more, or until the observer is spent.
fn work(
    slot: u32,
    watch: Option<Watch<'_>>,
    first: &mut Option<Assignment>,
    assignments: &Receiver<Assignment>,
) -> Left {
    let mut executor = Executor::new();
    while !watch.is_some_and(|watch| watch.observer.is_spent()) {
        let Some(assignment) = first.take().or_else(|| assignments.recv().ok()) else {
            return Left::Nothing;
        };
        run(slot, &mut executor, watch, assignment);
    }
    Left::Cases
}

/// What a thread leaves to do when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    Cases,
}

/// Runs cases on threads that are observed, a new one whenever processes of an earlier case may be left on the last. This
/// thread is not: what it started would be observed twice.
fn work_observed(slot: u32, plain: &Sender<Assignment>, mut assignments: Receiver<Assignment>) {
    // Where nobody wants cases to be observed, nobody has to know that it cannot be done.
    while let Ok(first) = assignments.recv() {
        let mut first = Some(first);
        let ended = std::thread::scope(|scope| {
            let (first, assignments) = (&mut first, &mut assignments);
            let observed = move || {
                let observer = Observer::start()
                    .inspect_err(|cause| tracing::warn!("{cause}; what cases depend on is not known"))
                    .ok();
                let watch = observer.as_ref().map(|observer| Watch { observer, plain });
                work(slot, watch, first, assignments)
            };
            let thread = std::thread::Builder::new().name(format!("thresh-cases-{slot}"));
            thread.spawn_scoped(scope, observed).map(ScopedJoinHandle::join)
        });
        match ended {
            Ok(Ok(Left::Cases)) => {}
            Ok(Ok(Left::Nothing)) => return,
            // As without an observer: the slot is no more.
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(cause) => {
                tracing::warn!(
                    "start a thread to observe cases on: {cause}; what they depend on is not known"
                );
                work(slot, None, &mut first, &assignments);
                return;
            }
        }
    }
}

impl Assignment {
    fn said(&self, word: Word) -> Said {
        Said {
            run: self.run,
            case: CaseIndex(self.case.case),
            generation: Generation(self.case.generation),
            word,
        }
    }
}

fn run(slot: u32, executor: &mut Executor, watch: Option<Watch<'_>>, assignment: Assignment) {
    let last = match attempt(slot, executor, watch, &assignment) {
        Ended::Said(last) => last,
        Ended::Hindered(plain) => {
            // It ends no earlier than this thread.
            let _ = plain.send(assignment);
            return;
        }
    };
    let last = assignment.said(last);
    let Assignment { ready, said, .. } = assignment;
    // Let go before the last word: after it the session may wait for the run's folders to be removed.
    drop(ready);
    // Fails only when the session has ended, and then nobody wants to know.
    let _ = said.send(last);
}

/// What came of an attempt.
enum Ended<'a> {
    /// This is to be said of it.
    Said(Word),
    /// It failed, and may have done so because it was observed: it is to be made again by this thread, which does not.
    Hindered(&'a Sender<Assignment>),
}

fn attempt<'a>(
    slot: u32,
    executor: &mut Executor,
    watch: Option<Watch<'a>>,
    assignment: &Assignment,
) -> Ended<'a> {
    let Assignment {
        ready, case, killer, ..
    } = assignment;
    let place = match ready.case_place() {
        Err(cause) => return Ended::Said(Word::NotStarted(cause)),
        Ok(place) => place,
    };
    let invocation = ready.invocation(case, slot, &place);
    watch.inspect(|watch| match invocation.view {
        None => watch.observer.begin(),
        Some(_) => watch.observer.begin_in_a_view(),
    });
    let execution = executor.run(&invocation, killer, &mut |slow| {
        let _ = assignment.said.send(assignment.said(Word::Slow(slow)));
    });
    let observed = watch.map(|watch| (watch, watch.observer.end()));
    if let Some((watch, observed)) = &observed
        && matches!(execution.outcome, Outcome::Failed { .. })
        && observed.may_have_hindered()
    {
        return Ended::Hindered(watch.plain);
    }
    let mut attempt = attempt_to_wire(
        case.case,
        Generation(case.generation),
        execution,
        // What passes after a failure is shown beside it.
        ready.keeps_passing_output() || case.attempt > 1,
        observed.as_ref().map(|(_, observed)| observed),
    );
    Ended::Said(match keep_outputs(ready, &mut attempt, killer) {
        Ok(()) => Word::Ended(Box::new(attempt)),
        Err(error) => Word::NotKept(error.to_string()),
    })
}

/// Keeps what an action has left. What it left may be of no use; the error is about the farm.
fn keep_outputs(ready: &Ready, attempt: &mut Attempt, killer: &Killer) -> Result<(), OutputsError> {
    let has_ended = attempt.outcome.as_ref().is_some_and(|outcome| {
        let kind = matches!(outcome.kind(), Kind::Passed | Kind::Leaked | Kind::Failed);
        kind && outcome.exec_error.is_empty()
    });
    let Some(outputs) = ready.outputs().filter(|_| has_ended) else {
        return Ok(());
    };
    match outputs.keep(&|| !killer.is_unused()) {
        Ok(digest) => attempt.outputs = digest_to_wire(digest),
        Err(error @ OutputsError::Upload(_)) => return Err(error),
        Err(error) => {
            let outcome = attempt.outcome.get_or_insert_default();
            *outcome = v1::Outcome {
                kind: Kind::Failed.into(),
                exec_error: error.to_string(),
                ..v1::Outcome::default()
            };
        }
    }
    Ok(())
}
