//! Wire ⇄ core.
//!
//! Into the wire nothing can fail: the functions return wire values. Out of the wire everything is checked:
//! a missing field, a digest of the wrong length, an absurd duration or an unknown enum value is an
//! [`InvalidMessage`] that names the field.

mod audit;
mod blob;
mod invalid;
mod observed;
mod outcome;
mod record;
mod run;
mod scalar;
mod threads_required;

pub use audit::{
    audit_share_from_wire, audited_from_wire, audited_to_wire, past_run_from_wire, past_run_to_wire,
};
pub use blob::{
    bases_from_wire, digests_from_wire, frame_from_wire, frame_to_wire, recipe_from_wire, recipe_to_wire,
};
pub use invalid::InvalidMessage;
pub use observed::{observation_from_wire, observation_to_wire};
pub use outcome::{outcome_from_wire, outcome_to_wire};
pub use record::{
    QUARANTINE_MAX, case_name_from_wire, project_from_wire, quarantine_from_wire, rate_from_wire,
    tally_from_wire, tally_to_wire,
};
pub use run::{
    case_settings_to_wire, group_from_wire, group_to_wire, key_parts_from_wire, key_parts_to_wire,
    leak_timeout_from_wire, leak_timeout_to_wire, max_fail_from_wire, max_fail_to_wire, priority_from_wire,
    priority_to_wire, retries_from_wire, slow_timeout_from_wire, slow_timeout_to_wire, stop_reason_from_wire,
    stop_reason_to_wire, threads_from_wire,
};
pub use scalar::{
    digest_from_wire, digest_to_wire, duration_from_wire, duration_or_zero, duration_to_wire,
    run_id_from_wire, run_id_to_wire,
};
