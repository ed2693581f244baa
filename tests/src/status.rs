//! What a case came to at the end of a run, in words that thresh and nextest share.

use std::collections::BTreeMap;
use std::fmt;

/// A case: the binary id and the name.
pub type Case = (String, String);

/// The cases of a run and what each came to.
pub type Statuses = BTreeMap<Case, Status>;

/// What a case came to after its last attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Status {
    /// How it ended.
    pub word: Word,
    /// Whether that passes.
    pub passes: bool,
}

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    /// Exit code 0.
    Passed,
    /// Exit code 0 after at least one attempt that did not pass.
    Flaky,
    /// Exit code 0 with handles left open.
    Leaked,
    /// Another exit code, or it could not be started.
    Failed,
    /// Ended by a signal that nobody sent for slowness.
    Crashed,
    /// Ended for slowness.
    TimedOut,
    /// It did not pass, and is quarantined.
    Quarantined,
    /// A stored pass was taken.
    Reused,
    /// Planned and not run.
    NotRun,
}

impl Word {
    /// Every word.
    pub const ALL: [Self; 9] = [
        Self::Passed,
        Self::Flaky,
        Self::Leaked,
        Self::Failed,
        Self::Crashed,
        Self::TimedOut,
        Self::Quarantined,
        Self::Reused,
        Self::NotRun,
    ];

    /// Returns the word as `case-ended` events have it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Flaky => "flaky",
            Self::Leaked => "leaked",
            Self::Failed => "failed",
            Self::Crashed => "crashed",
            Self::TimedOut => "timed out",
            Self::Quarantined => "quarantined",
            Self::Reused => "reused",
            Self::NotRun => "not run",
        }
    }

    /// Returns the word for the text of a `case-ended` event.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|word| word.text() == text)
    }
}

impl Status {
    /// The common status.
    pub const PASSED: Self = Self {
        word: Word::Passed,
        passes: true,
    };

    /// Returns a status.
    pub const fn new(word: Word, passes: bool) -> Self {
        Self { word, passes }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usual = matches!(
            self.word,
            Word::Passed | Word::Flaky | Word::Leaked | Word::Quarantined | Word::Reused
        );
        match (usual, self.passes) {
            (true, false) => write!(f, "{} (fails)", self.word.text()),
            (false, true) => write!(f, "{} (passes)", self.word.text()),
            _ => f.write_str(self.word.text()),
        }
    }
}
