//! The store, on both of its engines: every test of `suite!` runs on each.

#![expect(
    clippy::unwrap_used,
    reason = "a store that does not do as it is told fails the test"
)]

mod audits;
mod durable;
mod history;
mod place;
mod records;
mod servers;

use place::Place;

/// Runs each test on a fresh database of either engine.
macro_rules! suite {
    ($($module:ident: $($name:ident)*;)*) => {
        mod sqlite {
            $($(#[tokio::test] async fn $name() { crate::$module::$name(crate::Place::sqlite()).await })*)*
        }
        mod postgres {
            $($(#[tokio::test] async fn $name() { crate::$module::$name(crate::Place::postgres()).await })*)*
        }
    };
}

suite! {
    history:
        every_outcome_comes_back_as_it_was
        samples_are_the_latest_sixteen_latest_first
        passes_are_found_by_key_and_by_case
        what_is_kept_comes_back_in_the_order_asked
        old_rows_are_swept_once_a_day_and_used_ones_stay
        texts_that_no_database_likes_are_kept
        attempts_are_counted_once_however_often_they_are_written
        a_run_can_be_told_again
        flaky_runs_are_counted
        a_large_batch_is_written_whole;
    audits:
        findings_are_counted_once_and_come_back_as_they_were
        a_case_is_distrusted_until_somebody_trusts_it
        findings_are_swept_and_distrust_stays;
    durable:
        several_processes_open_and_write_one_new_database_at_once
        quarantine_ends_by_itself_and_by_hand
        what_is_in_the_journal_comes_back
        writing_the_journal_again_changes_nothing
        closed_runs_leave_the_journal_after_a_day
        epochs_are_never_used_twice
        one_leads_and_the_next_one_supersedes_it
        a_newer_database_is_refused
        another_programs_database_is_refused;
}
