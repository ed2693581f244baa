//! The key under which a clean pass is stored.

use crate::digest::{Digest, FieldHasher};

/// The version of the way in which keys are made. It is part of every key, so that entries of two methods
/// never meet.
pub const KEY_METHOD: &str = "thresh case key v2: reachable code, files that were seen";

/// Stands for the programs where what was seen counts: those that a case starts are among it.
const SEEN_PROGRAMS: &[u8] = b"thresh programs v2: seen";

/// Stands for what was seen of a case whose code can open nothing.
const NO_FILES: &[u8] = b"thresh files: none, its code can open nothing";

/// The parts of a key that the cases of one test binary share, kept apart so that [`differing_parts`] can
/// tell which of them changed and so that a finer method can replace one of them.
///
/// [`differing_parts`]: super::differing_parts
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyParts {
    /// What the case can reach of its test binary, or the whole of it; and the dynamic libraries that it may load.
    pub code: Digest,
    /// Wrapper, arguments around the case name, working directory.
    pub arguments: Digest,
    /// The environment that the case gets, less volatile variables.
    pub environment: Digest,
    /// Operating system, architecture, toolchain.
    pub platform: Digest,
    /// What an earlier pass was seen to read, or every file of the workspace that git does not ignore.
    pub files: Digest,
    /// The non-test binaries and build-script outputs that the case may use; nothing where it is known what it reads.
    pub programs: Digest,
}

/// One part of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyPart {
    /// See [`KeyParts::code`].
    Code,
    /// See [`KeyParts::arguments`].
    Arguments,
    /// See [`KeyParts::environment`].
    Environment,
    /// See [`KeyParts::platform`].
    Platform,
    /// See [`KeyParts::files`].
    Files,
    /// See [`KeyParts::programs`].
    Programs,
}

impl KeyPart {
    /// Every part, in the order in which they are hashed and shown.
    pub const ALL: [Self; 6] = [
        Self::Code,
        Self::Arguments,
        Self::Environment,
        Self::Platform,
        Self::Files,
        Self::Programs,
    ];

    /// The one word for this part.
    pub fn word(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Arguments => "arguments",
            Self::Environment => "environment",
            Self::Platform => "platform",
            Self::Files => "files",
            Self::Programs => "programs",
        }
    }
}

impl KeyParts {
    /// Returns one part's digest.
    pub fn part(&self, part: KeyPart) -> Digest {
        match part {
            KeyPart::Code => self.code,
            KeyPart::Arguments => self.arguments,
            KeyPart::Environment => self.environment,
            KeyPart::Platform => self.platform,
            KeyPart::Files => self.files,
            KeyPart::Programs => self.programs,
        }
    }

    /// The parts of a case that was seen to read what has the digest `seen`.
    pub fn with_seen(&self, seen: Digest) -> Self {
        Self {
            files: seen,
            programs: Digest::of(SEEN_PROGRAMS),
            ..self.clone()
        }
    }

    /// What stands for the files in the key of a case whose code can open none, as a digest of what was seen.
    pub fn no_files() -> Digest {
        Digest::of(NO_FILES)
    }

    /// Whether they are of a case whose code can open no file.
    pub fn has_no_files(&self) -> bool {
        self.is_seen() && self.files == Self::no_files()
    }

    /// Whether they are of [`KeyParts::with_seen`].
    pub fn is_seen(&self) -> bool {
        self.programs == Digest::of(SEEN_PROGRAMS)
    }

    /// Under which key it is kept what the case `name` was seen to read. It has all but that in it.
    pub fn seen_key(&self, name: &str) -> Digest {
        let mut hasher = FieldHasher::new(KEY_METHOD);
        for part in [
            KeyPart::Code,
            KeyPart::Arguments,
            KeyPart::Environment,
            KeyPart::Platform,
        ] {
            hasher.field(self.part(part).as_bytes());
        }
        hasher.field(name.as_bytes()).finish()
    }

    /// Returns the key of the case `name`.
    pub fn case_key(&self, name: &str) -> CaseKey {
        let mut hasher = FieldHasher::new(KEY_METHOD);
        for part in KeyPart::ALL {
            hasher.field(self.part(part).as_bytes());
        }
        CaseKey(hasher.field(name.as_bytes()).finish())
    }
}

/// The key of one case: two executions with equal keys have, by assumption, equal outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaseKey(pub Digest);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_and_the_name_change_the_key() {
        let base = KeyParts {
            code: Digest::of(b"1"),
            arguments: Digest::of(b"2"),
            environment: Digest::of(b"3"),
            platform: Digest::of(b"4"),
            files: Digest::of(b"5"),
            programs: Digest::of(b"6"),
        };
        let other = Digest::of(b"other");
        let mut keys = vec![base.case_key("a"), base.case_key("b")];
        for part in KeyPart::ALL {
            let mut changed = base.clone();
            match part {
                KeyPart::Code => changed.code = other,
                KeyPart::Arguments => changed.arguments = other,
                KeyPart::Environment => changed.environment = other,
                KeyPart::Platform => changed.platform = other,
                KeyPart::Files => changed.files = other,
                KeyPart::Programs => changed.programs = other,
            }
            keys.push(changed.case_key("a"));
        }
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 2 + KeyPart::ALL.len());
        let seen = base.with_seen(other);
        assert!(seen.is_seen() && !base.is_seen());
        let none = base.with_seen(KeyParts::no_files());
        assert!(none.has_no_files() && !seen.has_no_files() && none.is_seen());
        assert_eq!(
            seen.seen_key("a"),
            base.seen_key("a"),
            "it is known before what was seen"
        );
        assert_ne!(seen.seen_key("a"), seen.seen_key("b"));
        assert_ne!(seen.case_key("a"), base.with_seen(Digest::of(b"5")).case_key("a"));
    }
}
