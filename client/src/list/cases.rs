//! The list of a binary's cases.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thresh_core::digest::{Digest, FieldHasher};

use crate::command::ListCommand;

/// What a binary answered when asked for its cases, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseList {
    /// The cases.
    pub cases: Vec<ListedCase>,
}

/// A case as a binary lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedCase {
    /// Its name, which is not looked into.
    pub name: String,
    /// Whether it is marked as ignored.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignored: bool,
    /// Whether it is a benchmark.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub benchmark: bool,
}

impl CaseList {
    /// Makes the list from the two outputs of a binary: of all cases, and of the ignored ones.
    ///
    /// # Errors
    /// Returns the first line that names no case.
    pub fn parse<'a>(all: &'a str, ignored: &'a str) -> Result<Self, &'a str> {
        let mut cases = BTreeMap::new();
        // The ignored ones are among all, and count as ignored.
        for (output, is_ignored) in [(all, false), (ignored, true)] {
            for line in output.lines() {
                let (name, benchmark) = parse_line(line).ok_or(line)?;
                cases.insert(name, (is_ignored, benchmark));
            }
        }
        let case = |(name, (ignored, benchmark)): (&str, (bool, bool))| ListedCase {
            name: name.to_owned(),
            ignored,
            benchmark,
        };
        Ok(Self {
            cases: cases.into_iter().map(case).collect(),
        })
    }

    /// Returns the list as bytes to be kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a list of names can be written as JSON")
    }

    /// Reads a list that was kept; `None` where the bytes are none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

fn parse_line(line: &str) -> Option<(&str, bool)> {
    let test = line.strip_suffix(": test").map(|name| (name, false));
    test.or_else(|| line.strip_suffix(": benchmark").map(|name| (name, true)))
}

/// Returns under what to keep the list of a binary that has libtest as its harness: its content, and what it is
/// wrapped in.
pub(super) fn list_key(binary: Digest, command: &ListCommand) -> Digest {
    let mut hasher = FieldHasher::new("thresh case list v1");
    hasher.field(binary.as_bytes());
    for argument in &command.argv[..command.wrapping] {
        hasher.field(argument.as_bytes());
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &CaseList) -> Vec<(&str, bool, bool)> {
        list.cases
            .iter()
            .map(|case| (case.name.as_str(), case.ignored, case.benchmark))
            .collect()
    }

    #[test]
    fn names_are_taken_as_they_are() {
        let long = "x".repeat(4_000);
        let all =
            format!("b::c: test\n a b : test\nüñí/dir.txt: test\n{long}: test\nd: benchmark\r\n: test\n");
        let list = CaseList::parse(&all, "b::c: test\n").unwrap();
        assert_eq!(
            names(&list),
            [
                ("", false, false),
                (" a b ", false, false),
                ("b::c", true, false),
                ("d", false, true),
                (&*long, false, false),
                ("üñí/dir.txt", false, false),
            ]
        );
        assert_eq!(CaseList::from_bytes(&list.to_bytes()), Some(list));
    }

    #[test]
    fn other_lines_are_refused() {
        assert_eq!(
            CaseList::parse("a: test\nrunning 1 test\n", ""),
            Err("running 1 test")
        );
        assert_eq!(CaseList::parse("", "\n"), Err(""));
        assert_eq!(CaseList::from_bytes(b"garbage"), None);
    }

    #[test]
    fn the_key_holds_content_and_wrapping() {
        let command = |argv: &[&str], wrapping| ListCommand {
            argv: argv.iter().map(|&word| word.to_owned()).collect(),
            cwd: "/".into(),
            env: Vec::new(),
            wrapping,
        };
        let digest = Digest::of(b"binary");
        let plain = list_key(digest, &command(&["/a/bin"], 0));
        assert_eq!(plain, list_key(digest, &command(&["/elsewhere/bin"], 0)));
        assert_ne!(plain, list_key(digest, &command(&["wrap", "/a/bin"], 1)));
        assert_ne!(plain, list_key(Digest::of(b"other"), &command(&["/a/bin"], 0)));
    }
}
