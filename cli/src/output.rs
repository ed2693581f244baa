//! Writing to standard output.

use std::io::{self, Write};

use nextest_metadata::NextestExitCode;

use crate::failure::Failure;

/// Prints a value as one line of JSON.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn json_line(value: &impl serde::Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    io::stdout().write_all(&line)
}

/// A reader that went away is no failure.
///
/// # Errors
/// Any other error.
pub(crate) fn closed_pipe(cause: io::Error) -> Result<i32, Failure> {
    if cause.kind() == io::ErrorKind::BrokenPipe {
        return Ok(NextestExitCode::OK);
    }
    let code = u8::try_from(NextestExitCode::WRITE_OUTPUT_ERROR).unwrap_or(u8::MAX);
    Err(Failure {
        message: format!("write to standard output: {cause}"),
        code,
    })
}

/// Says on standard error that there is nothing to show, and what would change that. Standard output stays empty, for who counts
/// its lines.
pub(crate) fn nothing(head: &str, hint: &str) -> io::Result<()> {
    writeln!(io::stderr(), "{head:>12} {hint}")
}
