//! The slots that a case takes, or a group may take.

use thresh_core::case::ThreadsRequired;

use super::InvalidMessage;
use crate::v1;
use crate::v1::threads_required::Amount;

pub(super) fn to_wire(threads: ThreadsRequired) -> v1::ThreadsRequired {
    let amount = match threads {
        ThreadsRequired::Count(count) => Amount::Count(count),
        ThreadsRequired::NumCpus => Amount::NumCpus(true),
        ThreadsRequired::NumTestThreads => Amount::NumTestThreads(true),
    };
    v1::ThreadsRequired { amount: Some(amount) }
}

pub(super) fn from_wire(
    field: &'static str,
    threads: Option<v1::ThreadsRequired>,
) -> Result<ThreadsRequired, InvalidMessage> {
    match threads.and_then(|threads| threads.amount) {
        None => Err(InvalidMessage::missing(field)),
        Some(Amount::Count(0)) => Err(InvalidMessage::new(field, "is 0")),
        Some(Amount::Count(count)) => Ok(ThreadsRequired::Count(count)),
        Some(Amount::NumCpus(_)) => Ok(ThreadsRequired::NumCpus),
        Some(Amount::NumTestThreads(_)) => Ok(ThreadsRequired::NumTestThreads),
    }
}
