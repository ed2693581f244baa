//! How values are written in rows and in the JSON arguments of statements.

use std::time::Duration;

use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{Error, Row};
use thresh_core::digest::Digest;
use thresh_core::id::RunId;
use thresh_core::outcome::{FailureCause, Outcome};
use thresh_core::reuse::KeyParts;

/// One argument for `json_each`.
pub(super) fn json(rows: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(rows).map_err(|error| Error::Encode(error.into()))
}

/// For `unhex()`: JSON has no bytes.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
        .collect()
}

pub(super) fn run_hex(run: RunId) -> String {
    hex(&run.as_u128().to_be_bytes())
}

pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(super) fn count(value: i64) -> u32 {
    u32::try_from(value.max(0)).unwrap_or(u32::MAX)
}

pub(super) fn run_id(row: &SqliteRow, column: &'static str) -> Result<RunId, Error> {
    let bytes: [u8; 16] = row
        .try_get::<&[u8], _>(column)?
        .try_into()
        .map_err(|_| bad(column, "not 16 bytes"))?;
    Ok(RunId::from_u128(u128::from_be_bytes(bytes)))
}

pub(super) fn digest(row: &SqliteRow, column: &'static str) -> Result<Digest, Error> {
    Digest::try_from(row.try_get::<&[u8], _>(column)?).map_err(|_| bad(column, "not 32 bytes"))
}

pub(super) fn key_parts(row: &SqliteRow) -> Result<KeyParts, Error> {
    Ok(KeyParts {
        code: digest(row, "code")?,
        arguments: digest(row, "arguments")?,
        environment: digest(row, "environment")?,
        platform: digest(row, "platform")?,
        files: digest(row, "files")?,
        programs: digest(row, "programs")?,
    })
}

/// The columns `outcome, passes, code, leaked, exec_error`.
#[derive(Serialize)]
pub(super) struct OutcomeColumns<'a>(&'static str, bool, i32, bool, Option<&'a str>);

pub(super) fn outcome_columns(outcome: &Outcome) -> OutcomeColumns<'_> {
    let word = outcome.word();
    let passes = outcome.passes();
    match outcome {
        Outcome::Failed {
            cause: FailureCause::ExitCode(code),
            leaked,
        } => OutcomeColumns(word, passes, *code, *leaked, None),
        Outcome::Failed {
            cause: FailureCause::Exec(why),
            leaked,
        } => OutcomeColumns(word, passes, 0, *leaked, Some(why)),
        Outcome::Crashed { signal, leaked } => OutcomeColumns(word, passes, *signal, *leaked, None),
        Outcome::Passed
        | Outcome::Leaked { .. }
        | Outcome::TimedOut { .. }
        | Outcome::Lost
        | Outcome::Cancelled => OutcomeColumns(word, passes, 0, false, None),
    }
}

pub(super) fn outcome(row: &SqliteRow) -> Result<Outcome, Error> {
    let passes: bool = row.try_get("passes")?;
    let code: i32 = row.try_get("code")?;
    let leaked: bool = row.try_get("leaked")?;
    Ok(match row.try_get::<&str, _>("outcome")? {
        "passed" => Outcome::Passed,
        "leaked" => Outcome::Leaked { passes },
        "failed" => {
            let cause = match row.try_get::<Option<String>, _>("exec_error")? {
                Some(why) => FailureCause::Exec(why),
                None => FailureCause::ExitCode(code),
            };
            Outcome::Failed { cause, leaked }
        }
        "crashed" => Outcome::Crashed { signal: code, leaked },
        "timed out" => Outcome::TimedOut { passes },
        "lost" => Outcome::Lost,
        "cancelled" => Outcome::Cancelled,
        other => return Err(bad("outcome", &format!("the unknown word {other:?}"))),
    })
}

fn bad(column: &str, what: &str) -> Error {
    Error::ColumnDecode {
        index: column.into(),
        source: what.into(),
    }
}
