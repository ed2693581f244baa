//! `thresh quarantine`: cases that run and are reported, but cannot fail their run.

mod entry;
mod error;
mod show;
mod until;
mod work;

pub use entry::{Added, Expired, Quarantine, QuarantineList, QuarantineState};
pub use error::QuarantineError;
pub use show::{write_added, write_expired, write_quarantine};
pub use until::Until;
pub use work::{NewQuarantine, add_quarantine, expire_quarantine, list_quarantine};
