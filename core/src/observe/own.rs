//! What a case has itself brought about.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::entry::{Kind, Stamp};

/// Whose doing it is that a path has the state that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Somebody else's: an input.
    Others,
    /// The case's.
    Own,
    /// Somebody else's where only the case's own was to be expected.
    Strangers,
}

/// The paths that a case has made, removed or written over.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// With what was there before. That the call succeeded is not known: if the same content is met again, it did not.
    paths: BTreeMap<PathBuf, Option<Stamp>>,
}

impl Own {
    /// Notes that the case is about to make, remove or write over what is at a path.
    pub(super) fn insert(&mut self, path: &Path, before: Option<Stamp>) {
        self.paths.insert(path.to_path_buf(), before);
    }

    pub(super) fn len(&self) -> usize {
        self.paths.len()
    }

    /// Says whose doing it is that `now` is at `path`.
    pub(super) fn whose(&self, path: &Path, now: Option<&Stamp>) -> Whose {
        if self.paths.is_empty() {
            return Whose::Others;
        }
        match self.paths.get(path) {
            // Also where nothing was and nothing is: a removed or never made file of one's own.
            Some(None) => return Whose::Own,
            // Whatever the case has done to its mode or its owner since.
            Some(Some(before)) if now.is_some_and(|now| now.is_same_content(before)) => return Whose::Others,
            Some(Some(_)) => return Whose::Own,
            None => {}
        }
        // A folder that was there before may still be there: then what is below is not the case's.
        let is_below = (path.ancestors().skip(1)).any(|folder| matches!(self.paths.get(folder), Some(None)));
        match now {
            _ if !is_below => Whose::Others,
            // Sockets are made by calls that are not followed.
            Some(stamp) if stamp.kind != Kind::Other => Whose::Strangers,
            _ => Whose::Own,
        }
    }

    /// Moves what is noted of `old` and below to `new`.
    pub(super) fn rename(&mut self, old: &Path, new: &Path) {
        let below: Vec<PathBuf> = (self.paths.range(old.to_path_buf()..))
            .map(|(path, _)| path)
            .take_while(|path| path.as_os_str() >= old.as_os_str())
            .filter(|path| path.starts_with(old))
            .cloned()
            .collect();
        for path in below {
            let before = self.paths.get(&path).copied().flatten();
            let tail = path.strip_prefix(old).expect("it begins so");
            if !tail.as_os_str().is_empty() {
                self.paths.insert(new.join(tail), before);
                // It stays noted under its old name: nothing is there, and that is the case's doing.
                self.paths.insert(path, None);
            }
        }
    }
}
