//! What can happen next.

use super::coordinator::Command;
use super::message::Message;
use thresh_core::id::{BinaryIndex, RunId};

/// The position of a machine in the farm's list.
pub(super) type MachineAt = usize;
/// Names a connection, never used twice.
pub(super) type ConnId = u64;
/// Names a process, never used twice.
pub(super) type ProcessId = u64;

/// One thing that happens at its time.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A message arrives.
    Arrives(ConnId, Message),
    /// An end of a connection learns that it is broken.
    Broken { conn: ConnId, worker_side: bool },
    /// Something on a machine, unless it was switched off since (its life is another then).
    On {
        machine: MachineAt,
        life: u32,
        what: OnMachine,
    },
    /// A machine is switched on.
    Boot(MachineAt),
    /// The coordinator of an epoch takes what has arrived, or what is due.
    Take { epoch: u32 },
    /// A batch of the coordinator of an epoch is durable.
    Committed { epoch: u32 },
    /// The coordinator of an epoch is killed, for so long.
    Crash { epoch: u32, down: u64 },
    /// The next coordinator starts.
    Restart,
    /// A client acts.
    Client { run: usize, what: OnClient },
    /// A client's word reaches the coordinator.
    Asked(Command),
    /// A fault from the plan.
    Fault(usize),
    /// A connection that lost a message breaks.
    Cut(ConnId),
    /// A process whose lease is over should be gone.
    Reap(ProcessId),
}

#[derive(Clone, Debug)]
pub(super) enum OnMachine {
    Connect,
    NoWelcome(ConnId),
    /// Time to let the session's time pass.
    Wake,
    Prepared {
        conn: ConnId,
        run: RunId,
        binary: BinaryIndex,
    },
    ProcessEnds(ProcessId),
    /// A report goes out that was held back, or goes out again.
    Resend(Message),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnClient {
    Submit,
    Cancel,
    Leave,
    ComeBack,
    /// Looks whether the run is still followed, and by which coordinator.
    Look,
}
