//! What cases wrote, indented under their line.

use std::io::{self, Write};

use thresh_core::outcome::{FailureCause, Outcome};

use super::super::event::{AttemptRecord, Captured};
use super::super::text::{Colours, one_line, sanitise};
use super::paint::Paint;

/// Writes what one attempt wrote, or why it could not be started.
pub(super) fn write_attempt(sink: &mut Vec<u8>, paint: &Paint, attempt: &AttemptRecord) -> io::Result<()> {
    if let Outcome::Failed {
        cause: FailureCause::Exec(why),
        ..
    } = &attempt.outcome
    {
        writeln!(sink, "  error: {}", one_line(why))?;
    }
    write_output(sink, paint, &attempt.stdout, &attempt.stderr)
}

/// Writes both streams as a report without colours does.
pub(crate) fn write_captured(sink: &mut impl Write, stdout: &Captured, stderr: &Captured) -> io::Result<()> {
    let mut text = Vec::new();
    write_output(&mut text, &Paint::new(false), stdout, stderr)?;
    sink.write_all(&text)
}

/// Writes both streams; an empty one is left out.
pub(super) fn write_output(
    sink: &mut Vec<u8>,
    paint: &Paint,
    stdout: &Captured,
    stderr: &Captured,
) -> io::Result<()> {
    let mut any = false;
    for (name, captured) in [("stdout", stdout), ("stderr", stderr)] {
        if !captured.is_empty() {
            writeln!(sink, "  {}", paint.dim(&format!("{name} ───")))?;
            write_stream(sink, paint, captured)?;
            any = true;
        }
    }
    if any { writeln!(sink) } else { Ok(()) }
}

fn write_stream(sink: &mut Vec<u8>, paint: &Paint, captured: &Captured) -> io::Result<()> {
    let colours = if paint.on { Colours::Keep } else { Colours::Strip };
    let text = captured.text();
    let text = sanitise(&text, colours);
    for line in text.trim_end_matches('\n').split('\n') {
        if line.is_empty() {
            writeln!(sink)?;
        } else {
            writeln!(sink, "    {line}")?;
        }
    }
    // A case that ended in the middle of a colour must not paint our own lines.
    if paint.on && text.contains('\u{1b}') {
        write!(sink, "\u{1b}[0m")
    } else {
        Ok(())
    }
}
