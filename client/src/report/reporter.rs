//! The interface of reporters, and several of them as one.

use std::io;

use nextest_metadata::NextestExitCode;
use thresh_core::fault::Fault;
use thresh_core::time::Timestamp;

use super::event::ReportEvent;

/// Turns the events of a run into one form of report.
pub trait Reporter: Send {
    /// What the report is called in errors.
    fn name(&self) -> &str;

    /// Takes the next event, which happened at `at`.
    ///
    /// # Errors
    /// The report cannot be written.
    fn event(&mut self, at: Timestamp, event: &ReportEvent<'_>) -> io::Result<()>;

    /// Says that time passes; called a few times a second while nothing happens.
    ///
    /// # Errors
    /// The report cannot be written.
    fn tick(&mut self, _now: Timestamp) -> io::Result<()> {
        Ok(())
    }
}

/// A report could not be written.
#[derive(Debug, thiserror::Error)]
#[error("write the {report}: {cause}")]
pub struct ReportError {
    /// Which.
    pub report: String,
    /// Why.
    pub cause: io::Error,
}

impl ReportError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        Fault::Environment
    }

    /// The exit code of a run that passed otherwise.
    pub fn exit_code(&self) -> i32 {
        NextestExitCode::WRITE_OUTPUT_ERROR
    }
}

/// Several reporters. One that fails is dropped, and the first failure is kept: a full disk under the JUnit
/// file does not end a run, but is not forgotten either.
#[derive(Default)]
pub struct Reporters {
    active: Vec<Box<dyn Reporter>>,
    failure: Option<ReportError>,
}

impl std::fmt::Debug for Reporters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.active.iter().map(|reporter| reporter.name()))
            .finish()
    }
}

impl Reporters {
    /// No reporters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    #[must_use]
    pub fn with(mut self, reporter: impl Reporter + 'static) -> Self {
        self.active.push(Box::new(reporter));
        self
    }

    /// Hands an event to all.
    pub fn event(&mut self, at: Timestamp, event: &ReportEvent<'_>) {
        self.each(|reporter| reporter.event(at, event));
    }

    /// Says that time passes.
    pub fn tick(&mut self, now: Timestamp) {
        self.each(|reporter| reporter.tick(now));
    }

    /// Whether every report is complete; call it after the last event.
    ///
    /// # Errors
    /// The first failure to write. A reader that went away (a closed pipe) is none.
    pub fn finish(&mut self) -> Result<(), ReportError> {
        self.failure.take().map_or(Ok(()), Err)
    }

    fn each(&mut self, mut act: impl FnMut(&mut dyn Reporter) -> io::Result<()>) {
        let failure = &mut self.failure;
        self.active.retain_mut(|reporter| match act(reporter.as_mut()) {
            Ok(()) => true,
            Err(cause) => {
                if cause.kind() != io::ErrorKind::BrokenPipe && failure.is_none() {
                    *failure = Some(ReportError {
                        report: reporter.name().to_owned(),
                        cause,
                    });
                }
                false
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failing(io::ErrorKind);

    impl Reporter for Failing {
        fn name(&self) -> &str {
            "test report"
        }

        fn event(&mut self, _: Timestamp, _: &ReportEvent<'_>) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn a_failure_is_kept_and_a_closed_pipe_is_none() {
        let mut reporters = Reporters::new()
            .with(Failing(io::ErrorKind::BrokenPipe))
            .with(Failing(io::ErrorKind::StorageFull));
        reporters.event(Timestamp::default(), &ReportEvent::Note("x"));
        assert!(reporters.active.is_empty());
        let error = reporters.finish().unwrap_err();
        assert_eq!(error.cause.kind(), io::ErrorKind::StorageFull);
        assert!(reporters.finish().is_ok());
    }
}
