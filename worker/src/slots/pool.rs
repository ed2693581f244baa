//! The slots' threads.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use thresh_core::id::{CaseIndex, Generation, RunId};
use thresh_proto::convert::digest_to_wire;
use thresh_proto::v1;
use thresh_proto::v1::outcome::Kind;
use thresh_proto::v1::{Attempt, LeasedCase};
use tokio::sync::mpsc::UnboundedSender;

use super::wire::attempt_to_wire;
use crate::exec::{Executor, Killer, Slow};
use crate::inputs::Ready;
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
    slots: Vec<Sender<Assignment>>,
}

impl Pool {
    /// Starts the threads.
    pub(crate) fn start(slots: u32) -> io::Result<Self> {
        let slots = (0..slots).map(|number| {
            let (assign, assignments) = channel();
            std::thread::Builder::new()
                .name(format!("thresh-slot-{number}"))
                .spawn(move || work(number, &assignments))
                .map(|_| assign)
        });
        Ok(Self {
            slots: slots.collect::<io::Result<_>>()?,
        })
    }

    /// Gives an idle slot its case. Returns whether the slot took it; it does unless its thread has ended.
    #[must_use]
    pub(crate) fn assign(&self, slot: u32, assignment: Assignment) -> bool {
        self.slots
            .get(slot as usize)
            .is_some_and(|slot| slot.send(assignment).is_ok())
    }
}

fn work(slot: u32, assignments: &Receiver<Assignment>) {
    let mut executor = Executor::new();
    while let Ok(assignment) = assignments.recv() {
        run(slot, &mut executor, assignment);
    }
}

fn run(slot: u32, executor: &mut Executor, assignment: Assignment) {
    let Assignment {
        run,
        ready,
        case,
        killer,
        said,
    } = assignment;
    let (index, generation) = (CaseIndex(case.case), Generation(case.generation));
    let say = |word| {
        // Fails only when the session has ended, and then nobody wants to know.
        let _ = said.send(Said {
            run,
            case: index,
            generation,
            word,
        });
    };
    let last = match ready.case_place() {
        Err(cause) => Word::NotStarted(cause),
        Ok(place) => {
            let invocation = ready.invocation(&case, slot, &place);
            let execution = executor.run(&invocation, &killer, &mut |slow| say(Word::Slow(slow)));
            let mut attempt = attempt_to_wire(
                case.case,
                generation,
                execution,
                // What passes after a failure is shown beside it.
                ready.keeps_passing_output() || case.attempt > 1,
            );
            match keep_outputs(&ready, &mut attempt, &killer) {
                Ok(()) => Word::Ended(Box::new(attempt)),
                Err(error) => Word::NotKept(error.to_string()),
            }
        }
    };
    // Let go before the last word: after it the session may wait for the run's folders to be removed.
    drop(ready);
    say(last);
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
