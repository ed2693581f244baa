//! What faults look like on the wire.

use thresh_cas::PackError;
use thresh_core::fault::Fault;
use thresh_core::schedule::Rejected;
use tonic::Status;

use crate::driver::Refusal;
use crate::store::StoreError;

pub(crate) fn of_refusal(refusal: Refusal) -> Status {
    let text = refusal.to_string();
    match refusal {
        Refusal::ShuttingDown | Refusal::NotDurable(_) => Status::unavailable(text),
        Refusal::TooLarge { .. } => Status::resource_exhausted(text),
        Refusal::NotEnded(_) => Status::failed_precondition(text),
        Refusal::NotStored(..) => Status::internal(text),
        Refusal::Rejected(rejected) => match rejected {
            Rejected::UnknownRun(_) => Status::not_found(text),
            Rejected::DuplicateRun(_) | Rejected::DuplicateWorker(_) => Status::already_exists(text),
            Rejected::Slots { .. } | Rejected::Malformed(..) | Rejected::UnknownCase(..) => {
                Status::invalid_argument(text)
            }
            Rejected::UnknownWorker(_) | Rejected::OldConnection { .. } | Rejected::Stale { .. } => {
                Status::aborted(text)
            }
        },
    }
}

pub(crate) fn of_store(error: &StoreError) -> Status {
    let text = format!("failed to {error}");
    match error {
        StoreError::Full { .. } => Status::resource_exhausted(text),
        StoreError::Superseded { .. } => Status::unavailable(text),
        _ if error.is_transient() => Status::unavailable(text),
        StoreError::Damaged { .. } => Status::data_loss(text),
        _ if error.fault() == Fault::Environment => Status::failed_precondition(text),
        _ => Status::internal(text),
    }
}

pub(crate) fn of_blob(error: &PackError) -> Status {
    let text = format!("failed to {error}");
    match error {
        PackError::Missing { .. } => Status::not_found(text),
        PackError::Damaged { .. } => Status::data_loss(text),
        PackError::Frame(_)
        | PackError::Recipe(_)
        | PackError::WrongDigest { .. }
        | PackError::WrongContent { .. }
        | PackError::WrongSize { .. } => Status::invalid_argument(text),
        PackError::DiskFull { .. } => Status::resource_exhausted(text),
        PackError::InUse { .. } | PackError::Source { .. } | PackError::Io { .. } => Status::internal(text),
    }
}
