//! How values are written in rows and in the JSON arguments of statements.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};
use sqlx::any::AnyRow;
use sqlx::{Error, Row};
use thresh_core::digest::Digest;
use thresh_core::id::RunId;
use thresh_core::outcome::{FailureCause, Outcome};
use thresh_core::reuse::KeyParts;
use thresh_core::schedule::StopReason;
use thresh_core::time::Timestamp;

/// Stands for the character NUL, which PostgreSQL cannot keep in a text.
const NUL_STAND_IN: &str = "\u{fffd}";

/// One argument for [`Engine::rows`](super::engine::Engine::rows).
pub(super) fn json(rows: &impl Serialize) -> Result<String, Error> {
    let mut text = Vec::new();
    rows.serialize(&mut Serializer::with_formatter(&mut text, WithoutNul))
        .map_err(|error| Error::Encode(error.into()))?;
    String::from_utf8(text).map_err(|error| Error::Encode(error.into()))
}

struct WithoutNul;

impl Formatter for WithoutNul {
    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        match escape {
            CharEscape::AsciiControl(0) => writer.write_all(NUL_STAND_IN.as_bytes()),
            other => serde_json::ser::CompactFormatter.write_char_escape(writer, other),
        }
    }
}

/// A text that both engines can keep.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', NUL_STAND_IN))
    } else {
        Cow::Borrowed(text)
    }
}

/// For a [`Column::Bytes`](super::engine::Column::Bytes).
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
        .collect()
}

pub(super) fn run_bytes(run: RunId) -> Vec<u8> {
    run.as_u128().to_be_bytes().to_vec()
}

pub(super) fn run_hex(run: RunId) -> String {
    hex(&run.as_u128().to_be_bytes())
}

pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

pub(super) fn time(at: Timestamp) -> i64 {
    signed(at.as_micros())
}

pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(super) fn get_time(row: &AnyRow, column: &'static str) -> Result<Timestamp, Error> {
    Ok(Timestamp::from_micros(unsigned(row.try_get(column)?)))
}

pub(super) fn get_duration(row: &AnyRow, column: &'static str) -> Result<Duration, Error> {
    Ok(Duration::from_micros(unsigned(row.try_get(column)?)))
}

pub(super) fn get_count(row: &AnyRow, column: &'static str) -> Result<u32, Error> {
    let value: i64 = row.try_get(column)?;
    Ok(u32::try_from(value.max(0)).unwrap_or(u32::MAX))
}

/// The position of a row in the JSON argument that asked for it.
pub(super) fn get_position(row: &AnyRow) -> Result<usize, Error> {
    Ok(get_count(row, "position")? as usize)
}

pub(super) fn get_run(row: &AnyRow, column: &'static str) -> Result<RunId, Error> {
    let bytes: [u8; 16] = row
        .try_get::<&[u8], _>(column)?
        .try_into()
        .map_err(|_| bad(column, "not 16 bytes"))?;
    Ok(RunId::from_u128(u128::from_be_bytes(bytes)))
}

fn get_digest(row: &AnyRow, column: &'static str) -> Result<Digest, Error> {
    Digest::try_from(row.try_get::<&[u8], _>(column)?).map_err(|_| bad(column, "not 32 bytes"))
}

pub(super) fn get_key_parts(row: &AnyRow) -> Result<KeyParts, Error> {
    Ok(KeyParts {
        code: get_digest(row, "code")?,
        arguments: get_digest(row, "arguments")?,
        environment: get_digest(row, "environment")?,
        platform: get_digest(row, "platform")?,
        files: get_digest(row, "files")?,
        programs: get_digest(row, "programs")?,
    })
}

/// The columns `outcome, passes, code, leaked, exec_error`.
pub(super) type OutcomeColumns<'a> = (&'static str, i64, i32, i64, Option<&'a str>);

pub(super) fn outcome_columns(outcome: &Outcome) -> OutcomeColumns<'_> {
    let (code, leaked, why) = match outcome {
        Outcome::Failed {
            cause: FailureCause::ExitCode(code),
            leaked,
        } => (*code, *leaked, None),
        Outcome::Failed {
            cause: FailureCause::Exec(why),
            leaked,
        } => (0, *leaked, Some(&**why)),
        Outcome::Crashed { signal, leaked } => (*signal, *leaked, None),
        Outcome::Passed
        | Outcome::Leaked { .. }
        | Outcome::TimedOut { .. }
        | Outcome::TookWorker
        | Outcome::Lost
        | Outcome::Cancelled => (0, false, None),
    };
    (outcome.word(), outcome.passes().into(), code, leaked.into(), why)
}

pub(super) fn get_outcome(row: &AnyRow) -> Result<Outcome, Error> {
    let passes = row.try_get::<i64, _>("passes")? != 0;
    let leaked = row.try_get::<i64, _>("leaked")? != 0;
    let code: i64 = row.try_get("code")?;
    let code = i32::try_from(code).map_err(|_| bad("code", "out of range"))?;
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
        "crashed" if code == 0 => Outcome::TookWorker,
        "crashed" => Outcome::Crashed { signal: code, leaked },
        "timed out" => Outcome::TimedOut { passes },
        "lost" => Outcome::Lost,
        "cancelled" => Outcome::Cancelled,
        other => return Err(bad("outcome", &format!("the unknown word {other:?}"))),
    })
}

/// Every reason by its word.
const REASONS: [(StopReason, &str); 6] = [
    (StopReason::Complete, "complete"),
    (StopReason::MaxFail, "max fail"),
    (StopReason::Cancelled, "cancelled"),
    (StopReason::GlobalTimeout, "global timeout"),
    (StopReason::SetupScriptFailed, "setup script failed"),
    (StopReason::Stranded, "stranded"),
];

pub(super) fn reason_word(reason: StopReason) -> &'static str {
    (REASONS.iter().find(|(each, _)| *each == reason)).map_or("unknown", |(_, word)| word)
}

pub(super) fn get_reason(row: &AnyRow) -> Result<StopReason, Error> {
    let found: &str = row.try_get("reason")?;
    (REASONS.iter().find(|(_, word)| *word == found))
        .map(|(reason, _)| *reason)
        .ok_or_else(|| bad("reason", &format!("the unknown word {found:?}")))
}

fn bad(column: &str, what: &str) -> Error {
    Error::ColumnDecode {
        index: column.into(),
        source: what.into(),
    }
}
