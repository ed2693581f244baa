//! Places that a mutant can change.

use std::fmt;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What a mutant changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// A binary operator.
    Operator,
    /// A whole number: one more.
    Integer,
    /// A text: one character more.
    Text,
    /// `true` and `false`.
    Boolean,
    /// What a function returns: early, a default value, or a panic.
    Return,
    /// Two arms of a `match` change places.
    Arms,
    /// The value of a `const`.
    Const,
    /// The value of a `static`.
    Static,
    /// Any of these within a method of a trait's implementation, which vtables lead to.
    TraitImpl,
    /// Any of these within a generic function.
    Generic,
    /// Any of these within a function marked `#[inline]`.
    Inline,
    /// Any of these within a `const fn`.
    ConstFn,
    /// The body of a `macro_rules!`.
    Macro,
    /// `#[should_panic]` or `#[ignore]`, put on a case or taken off.
    Attribute,
    /// A file that is no Rust code: a byte, or all of it; or a new file beside it.
    Data,
    /// A variable in the `[env]` of cargo's configuration.
    Environment,
    /// A build script.
    BuildScript,
    /// C code.
    C,
}

impl Kind {
    /// Every kind, in the order of the report.
    pub(crate) const ALL: [Self; 18] = [
        Self::Operator,
        Self::Integer,
        Self::Text,
        Self::Boolean,
        Self::Return,
        Self::Arms,
        Self::Const,
        Self::Static,
        Self::TraitImpl,
        Self::Generic,
        Self::Inline,
        Self::ConstFn,
        Self::Macro,
        Self::Attribute,
        Self::Data,
        Self::Environment,
        Self::BuildScript,
        Self::C,
    ];

    /// Returns the name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Integer => "integer",
            Self::Text => "text",
            Self::Boolean => "boolean",
            Self::Return => "return",
            Self::Arms => "match arms",
            Self::Const => "const",
            Self::Static => "static",
            Self::TraitImpl => "trait impl",
            Self::Generic => "generic fn",
            Self::Inline => "inline fn",
            Self::ConstFn => "const fn",
            Self::Macro => "macro",
            Self::Attribute => "attribute",
            Self::Data => "data file",
            Self::Environment => "environment",
            Self::BuildScript => "build script",
            Self::C => "C code",
        }
    }
}

/// One semantic change of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    /// What it changes.
    pub(crate) kind: Kind,
    /// The file, below the workspace's root.
    pub(crate) path: PathBuf,
    /// The line, from 1.
    pub(crate) line: usize,
    /// What is there.
    pub(crate) before: String,
    /// What will be there.
    pub(crate) after: String,
    /// How.
    pub(crate) edit: Edit,
}

/// How a file changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Edit {
    /// These bytes become others.
    Replace(Range<usize>, Vec<u8>),
    /// The file goes.
    Remove,
    /// The file, which is not there, comes.
    Create(Vec<u8>),
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, line) = (self.path.display(), self.line);
        write!(
            f,
            "{path}:{line} `{}` -> `{}`",
            short(&self.before),
            short(&self.after)
        )
    }
}

fn short(text: &str) -> String {
    const CHARS: usize = 60;
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

/// A site that is changed on disk, until [`Applied::restore`].
#[derive(Debug)]
pub(crate) struct Applied {
    path: PathBuf,
    original: Option<Vec<u8>>,
}

impl Site {
    /// Changes the file below `root`.
    ///
    /// # Errors
    /// What the system says of the file; it is unchanged then, or nearly so.
    pub(crate) fn apply(&self, root: &Path) -> io::Result<Applied> {
        let path = root.join(&self.path);
        let original = match &self.edit {
            Edit::Create(_) => None,
            _ => Some(fs::read(&path)?),
        };
        match (&self.edit, &original) {
            (Edit::Replace(range, after), Some(before)) => {
                let parts = [&before[..range.start], after, &before[range.end..]];
                fs::write(&path, parts.concat())?;
            }
            (Edit::Create(content), _) => {
                fs::create_dir_all(path.parent().unwrap_or(root))?;
                fs::write(&path, content)?;
            }
            _ => fs::remove_file(&path)?,
        }
        Ok(Applied { path, original })
    }
}

impl Applied {
    /// Undoes the change. The file's time is new, so that cargo builds it again.
    ///
    /// # Errors
    /// What the system says of the file.
    pub(crate) fn restore(self) -> io::Result<()> {
        match self.original {
            Some(content) => fs::write(&self.path, content),
            None => fs::remove_file(&self.path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(path: &str, edit: Edit) -> Site {
        Site {
            kind: Kind::Data,
            path: path.into(),
            line: 1,
            before: "a\n   b".to_owned(),
            after: "c".repeat(70),
            edit,
        }
    }

    #[test]
    fn each_edit_is_undone() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let root = folder.path();
        fs::write(root.join("a"), "one two").expect("the folder can be written");
        let content = |name: &str| fs::read_to_string(root.join(name)).ok();
        let edits = [
            ("a", Edit::Replace(4..7, b"three".to_vec()), Some("one three")),
            ("a", Edit::Replace(3..3, b" and".to_vec()), Some("one and two")),
            ("a", Edit::Remove, None),
            ("b/c", Edit::Create(b"new".to_vec()), Some("new")),
        ];
        for (path, edit, changed) in edits {
            let before = content(path);
            let applied = site(path, edit).apply(root).expect("it can be changed");
            assert_eq!(content(path).as_deref(), changed);
            applied.restore().expect("it can be restored");
            assert_eq!(content(path), before);
        }
        assert!(site("missing", Edit::Remove).apply(root).is_err());
    }

    #[test]
    fn a_site_is_shown_in_one_line() {
        let expected = format!("x.rs:1 `a b` -> `{}...`", "c".repeat(60));
        assert_eq!(site("x.rs", Edit::Remove).to_string(), expected);
    }
}
