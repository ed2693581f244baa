//! What there is to say on an attempt that does not pass.

use thresh_core::outcome::{FailureCause, Outcome};

use super::event::AttemptRecord;
use super::text::{Colours, sanitise};

/// Where a panic happened, and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Panic {
    /// As the compiler wrote it: relative to the workspace root for its members.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
    /// The panic's message, perhaps empty.
    pub message: String,
}

/// Finds the last panic in `text`. Both of libstd's forms are known:
/// `thread 'x' panicked at src/lib.rs:10:5:` with the message below, and, before Rust 1.73,
/// `thread 'x' panicked at 'message', src/lib.rs:10:5`.
pub(super) fn find_panic(text: &str) -> Option<Panic> {
    let text = sanitise(text, Colours::Strip);
    let lines: Vec<&str> = text.lines().collect();
    let at = lines
        .iter()
        .rposition(|line| line.starts_with("thread '") && line.contains(" panicked at "))?;
    let (_, rest) = lines[at].split_once(" panicked at ")?;
    if let Some(location) = rest.strip_suffix(':')
        && let Some((file, line, column)) = split_location(location)
    {
        let message: Vec<&str> = lines[at + 1..]
            .iter()
            .copied()
            .take_while(|line| !is_trailer(line))
            .collect();
        return Some(Panic {
            file,
            line,
            column,
            message: message.join("\n").trim_end().to_owned(),
        });
    }
    let (message, location) = rest.rsplit_once(", ")?;
    let (file, line, column) = split_location(location)?;
    let message = message
        .strip_prefix('\'')
        .and_then(|m| m.strip_suffix('\''))
        .unwrap_or(message);
    Some(Panic {
        file,
        line,
        column,
        message: message.to_owned(),
    })
}

fn split_location(location: &str) -> Option<(String, u32, u32)> {
    let (rest, column) = location.rsplit_once(':')?;
    let (file, line) = rest.rsplit_once(':')?;
    Some((file.to_owned(), line.parse().ok()?, column.parse().ok()?))
}

fn is_trailer(line: &str) -> bool {
    line.starts_with("note: ") || line.starts_with("stack backtrace:") || line.starts_with("thread '")
}

/// A few words on how the attempt ended, as nextest's JUnit reports put them.
pub(super) fn failure_kind(outcome: &Outcome) -> String {
    let leaked = |leaked: &bool| if *leaked { " (leaked handles)" } else { "" };
    match outcome {
        Outcome::Failed {
            cause: FailureCause::ExitCode(code),
            leaked: leaks,
        } => {
            format!("test failure with exit code {code}{}", leaked(leaks))
        }
        Outcome::Failed {
            cause: FailureCause::Exec(_),
            ..
        } => "execution failure".to_owned(),
        Outcome::Crashed { leaked: leaks, .. } => format!("test abort{}", leaked(leaks)),
        Outcome::TookWorker => "worker went down with the test".to_owned(),
        Outcome::TimedOut { .. } => "test timeout".to_owned(),
        Outcome::Leaked { .. } => {
            "test exited with code 0, but leaked handles so was marked failed".to_owned()
        }
        Outcome::Lost => "worker lost".to_owned(),
        Outcome::Cancelled => "run cancelled".to_owned(),
        Outcome::Passed => "test passed".to_owned(),
    }
}

/// The most telling line or lines of an attempt that does not pass.
pub(super) fn describe(attempt: &AttemptRecord) -> Option<String> {
    match &attempt.outcome {
        Outcome::Failed {
            cause: FailureCause::Exec(why),
            ..
        } => return Some(why.clone()),
        Outcome::Crashed { signal, .. } => {
            return Some(format!("process aborted with signal {}", signal_text(*signal)));
        }
        _ => {}
    }
    let stderr = attempt.stderr.text();
    if let Some(panic) = find_panic(&stderr) {
        let Panic {
            file,
            line,
            column,
            message,
        } = panic;
        return Some(
            format!("panicked at {file}:{line}:{column}:\n{message}")
                .trim_end()
                .to_owned(),
        );
    }
    let stderr = sanitise(&stderr, Colours::Strip);
    if let Some(error) = stderr.lines().find(|line| line.starts_with("Error: ")) {
        return Some(error.to_owned());
    }
    let stdout = attempt.stdout.text();
    stdout
        .lines()
        .find(|line| line.contains("note: test did not panic as expected"))
        .map(str::to_owned)
}

/// The signal as `6: SIGABRT`, or only its number.
pub(super) fn signal_text(signal: i32) -> String {
    match signal_name(signal) {
        Some(name) => format!("{signal}: SIG{name}"),
        None => signal.to_string(),
    }
}

/// The signal's name without `SIG`, for those that end processes on Linux.
pub(super) fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "HUP",
        2 => "INT",
        3 => "QUIT",
        4 => "ILL",
        5 => "TRAP",
        6 => "ABRT",
        7 => "BUS",
        8 => "FPE",
        9 => "KILL",
        10 => "USR1",
        11 => "SEGV",
        12 => "USR2",
        13 => "PIPE",
        14 => "ALRM",
        15 => "TERM",
        24 => "XCPU",
        25 => "XFSZ",
        31 => "SYS",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_panics_are_found() {
        let new = "noise\nthread 'a::b' (77) panicked at src/lib.rs:10:5:\nassertion failed: x\n  left: 1\n\
                   note: run with `RUST_BACKTRACE=1`\n";
        let panic = find_panic(new).unwrap();
        assert_eq!(
            (panic.file.as_str(), panic.line, panic.column),
            ("src/lib.rs", 10, 5)
        );
        assert_eq!(panic.message, "assertion failed: x\n  left: 1");
        let old = "thread 'main' panicked at 'oh, no', tests/it.rs:3:9\nnote: run";
        let panic = find_panic(old).unwrap();
        assert_eq!(
            (panic.file.as_str(), panic.line, panic.message.as_str()),
            ("tests/it.rs", 3, "oh, no")
        );
    }

    #[test]
    fn the_last_panic_counts_and_none_is_none() {
        let two = "thread 'x' panicked at a.rs:1:1:\nfirst\nthread 'x' panicked at b.rs:2:2:\nsecond\n";
        assert_eq!(find_panic(two).unwrap().file, "b.rs");
        assert_eq!(find_panic("thread 'x' panicked at nowhere\n"), None);
        assert_eq!(find_panic("all is well"), None);
    }
}
