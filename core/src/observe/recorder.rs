//! System calls to an observation.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::access::{Access, Accesses};
use super::entry::{Contact, Entry, Fact, Kind, Observation, Stamp, Unobservable, UnobservableKind};
use super::own::{Own, Whose};
use super::resolve::{End, Resolved};
use crate::digest::Digest;

/// The most paths that are kept of one case, its own included.
pub const ENTRIES_MAX: usize = 20_000;
/// The most bytes that their names may have.
pub const BYTES_MAX: usize = 4 << 20;

/// What a system call does with what its path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Depends on it.
    See(Access),
    /// Makes something that must not be there.
    Make,
    /// Makes a file, or writes over the whole one that is there.
    Replace,
    /// Opens a file, and makes it if it is not there.
    Extend {
        /// What it has in it can be read then.
        reads: bool,
    },
    /// Changes what is there.
    Change {
        /// What it has in it can be read.
        reads: bool,
    },
    /// Empties a file that is there.
    Empty,
    /// Removes it.
    Remove,
}

/// Gathers what a case depends on, from its system calls in order.
#[derive(Debug, Default)]
pub struct Recorder {
    seen: Observation,
    /// By bytes: paths are compared by component, which takes longer than all else.
    entries: BTreeMap<OsString, Entry>,
    own: Own,
    /// Folders in which the case has made or removed something.
    touched: BTreeSet<PathBuf>,
    bytes: usize,
}

impl Recorder {
    /// Whether nothing more needs to be told: the observation is of no use.
    pub fn is_futile(&self) -> bool {
        self.seen.unobservable.is_some()
    }

    /// Gives up.
    pub fn give_up(&mut self, kind: UnobservableKind, detail: impl Into<String>) {
        if !self.is_futile() {
            let detail = detail.into();
            self.seen.unobservable = Some(Unobservable { kind, detail });
        }
    }

    /// Notes a property of the machine.
    pub fn fact(&mut self, fact: Fact, place: &Path) {
        let place = || place.to_string_lossy().into_owned();
        self.seen.facts.entry(fact).or_insert_with(place);
    }

    /// Notes whom it talks to.
    pub fn contact(&mut self, contact: Contact, address: impl Into<String>) {
        self.seen
            .contacts
            .entry(contact)
            .or_insert_with(|| address.into());
    }

    /// Returns what was gathered.
    pub fn finish(self) -> Observation {
        match self.seen.unobservable {
            Some(why) => Observation {
                unobservable: Some(why),
                ..Observation::default()
            },
            None => Observation {
                entries: self
                    .entries
                    .into_iter()
                    .map(|(path, entry)| (path.into(), entry))
                    .collect(),
                ..self.seen
            },
        }
    }

    /// Whether the case has itself brought about what is at a path now.
    pub fn is_own(&self, path: &Path, now: Option<&Stamp>) -> bool {
        self.own.whose(path, now) == Whose::Own
    }

    /// Notes what is met on the way to a path, and nothing of where it ends.
    pub fn pass(&mut self, resolved: &Resolved) {
        for (link, stamp) in &resolved.links {
            self.see(link, Access::Link, Some(*stamp));
        }
        for (folder, stamp) in &resolved.left {
            self.see(folder, Access::Metadata, Some(*stamp));
        }
    }

    /// Notes what a call does with a path.
    pub fn act(&mut self, resolved: &Resolved, act: Act) {
        self.pass(resolved);
        match &resolved.end {
            End::Present(path, stamp) => self.act_on(path, *stamp, act),
            End::Absent { path, is_last } => self.act_on_nothing(path, *is_last, act),
            // Nobody could do anything with it: what matters is that it fails.
            End::NotFolder(path, stamp) | End::Denied(path, stamp) => {
                self.see(path, Access::Metadata, Some(*stamp));
            }
            End::Astray(path) => self.give_up(UnobservableKind::Call, path.display().to_string()),
            End::Special(_) | End::Loop => {}
        }
    }

    /// Whether what an act makes the case depend on are the names in a folder, and they are what others left there: then
    /// [`Recorder::names`] is to be told of them.
    pub fn wants_names(&self, resolved: &Resolved, act: Act) -> bool {
        let End::Present(path, stamp) = &resolved.end else {
            return false;
        };
        let lists = matches!(act, Act::See(Access::Listing) | Act::Remove) && stamp.kind == Kind::Folder;
        let entry = || self.entries.get(path.as_os_str());
        lists
            && !self.is_futile()
            && !self.touched.contains(path)
            && self.own.whose(path, Some(stamp)) == Whose::Others
            && entry().is_none_or(|entry| entry.names.is_none() && !entry.changed)
    }

    /// Notes the digest of the names that were in a folder before the act that this follows.
    pub fn names(&mut self, folder: &Path, names: Digest) {
        if let Some(entry) = self.entries.get_mut(folder.as_os_str()) {
            entry.names.get_or_insert(names);
        }
    }

    /// Notes that what is at `old` gets the name `new`, in the place of what may be there. Of a folder there the names may be
    /// [wanted](Recorder::wants_names).
    pub fn rename(&mut self, old: &Resolved, new: &Resolved) {
        let End::Present(from, stamp) = &old.end else {
            self.act(old, Act::See(Access::Metadata));
            return self.act(new, Act::See(Access::Metadata));
        };
        let is_own = self.is_own(from, Some(stamp));
        if !is_own && stamp.kind == Kind::Folder {
            // All that is in it would go by another name.
            return self.give_up(UnobservableKind::Call, format!("rename of {}", from.display()));
        }
        self.act(old, Act::See(content(stamp.kind)));
        if new.stamp().is_some_and(|there| there.kind == Kind::Folder) {
            // It has to be empty.
            self.act(new, Act::See(Access::Listing));
        }
        self.act(new, Act::Replace);
        if let End::Present(to, _)
        | End::Absent {
            path: to,
            is_last: true,
        } = &new.end
        {
            self.own.rename(from, to);
        }
        self.take_away(from, *stamp);
    }

    /// Notes that what is at `old` also gets the name `new`.
    pub fn link(&mut self, old: &Resolved, new: &Resolved) {
        let kind = old.stamp().map_or(Kind::Other, |stamp| stamp.kind);
        self.act(old, Act::See(content(kind)));
        self.act(new, Act::Make);
    }

    fn act_on(&mut self, path: &Path, stamp: Stamp, act: Act) {
        match act {
            Act::See(Access::Content) => self.see(path, content(stamp.kind), Some(stamp)),
            Act::See(Access::Executed) if stamp.kind != Kind::File => {
                self.see(path, content(stamp.kind), Some(stamp));
            }
            Act::See(_) if stamp.kind == Kind::Link => self.see(path, Access::Link, Some(stamp)),
            Act::See(Access::Link | Access::Absent) | Act::Make => {
                self.see(path, Access::Metadata, Some(stamp))
            }
            Act::See(access) => self.see(path, access, Some(stamp)),
            Act::Replace if matches!(stamp.kind, Kind::File | Kind::Link) => self.replace(path, Some(stamp)),
            Act::Empty if stamp.kind == Kind::File => {
                self.see(path, Access::Metadata, Some(stamp));
                self.take_over(path, stamp);
            }
            Act::Extend { reads } | Act::Change { reads } => {
                let access = if reads {
                    content(stamp.kind)
                } else {
                    Access::Metadata
                };
                self.see(path, access, Some(stamp));
                self.change(path);
            }
            Act::Replace | Act::Empty => {
                self.see(path, Access::Metadata, Some(stamp));
                self.change(path);
            }
            Act::Remove => {
                let access = if stamp.kind == Kind::Folder {
                    Access::Listing
                } else {
                    Access::Metadata
                };
                self.see(path, access, Some(stamp));
                self.take_away(path, stamp);
            }
        }
    }

    fn act_on_nothing(&mut self, path: &Path, is_last: bool, act: Act) {
        match act {
            Act::Replace if is_last => self.replace(path, None),
            Act::Make | Act::Extend { .. } if is_last => {
                self.see(path, Access::Absent, None);
                self.made(path);
            }
            _ => self.see(path, Access::Absent, None),
        }
    }

    /// Notes a way to depend on a path, unless the case has itself brought about what is there.
    fn see(&mut self, path: &Path, access: Access, now: Option<Stamp>) {
        if self.is_futile() {
            return;
        }
        match self.own.whose(path, now.as_ref()) {
            Whose::Own => return,
            Whose::Strangers => return self.give_up(UnobservableKind::Stranger, path.display().to_string()),
            Whose::Others => {}
        }
        if let Some(entry) = self.entries.get_mut(path.as_os_str()) {
            let is_same = match (&entry.stamp, &now) {
                (Some(before), Some(now)) => before.is_same_content(now),
                (None, None) => true,
                _ => false,
            };
            entry.accesses.insert(access);
            entry.changed |= access == Access::Listing && self.touched.contains(path);
            if !is_same && !entry.changed {
                self.give_up(UnobservableKind::ChangedMeanwhile, path.display().to_string());
            }
            return;
        }
        let entry = Entry {
            accesses: Accesses::from_iter([access]),
            stamp: now,
            names: None,
            changed: access == Access::Listing && self.touched.contains(path),
        };
        self.entries.insert(path.as_os_str().to_owned(), entry);
        self.grow(path);
    }

    fn replace(&mut self, path: &Path, before: Option<Stamp>) {
        if self.own.whose(path, before.as_ref()) != Whose::Own {
            self.see(path, Access::Replaced, before);
        }
        match before {
            None => self.made(path),
            Some(before) => self.take_over(path, before),
        }
    }

    /// Notes that nothing was there and something may be now.
    fn made(&mut self, path: &Path) {
        self.change(path);
        self.own.insert(path, None);
        self.touch_folder(path);
        self.grow(path);
    }

    /// Notes that a file has the case's content now.
    fn take_over(&mut self, path: &Path, before: Stamp) {
        self.change(path);
        if self.own.whose(path, Some(&before)) != Whose::Own {
            self.own.insert(path, Some(before));
            self.grow(path);
        }
    }

    /// Notes that what was there may be gone.
    fn take_away(&mut self, path: &Path, before: Stamp) {
        self.take_over(path, before);
        self.touch_folder(path);
    }

    fn change(&mut self, path: &Path) {
        if let Some(entry) = self.entries.get_mut(path.as_os_str()) {
            entry.changed = true;
        }
    }

    fn touch_folder(&mut self, path: &Path) {
        let Some(folder) = path.parent() else { return };
        if let Some(entry) = self.entries.get_mut(folder.as_os_str()) {
            entry.changed |= entry.accesses.contains(Access::Listing);
        }
        if !self.touched.contains(folder) {
            self.touched.insert(folder.to_path_buf());
        }
    }

    fn grow(&mut self, path: &Path) {
        self.bytes += path.as_os_str().as_bytes().len();
        if self.entries.len() + self.own.len() > ENTRIES_MAX || self.bytes > BYTES_MAX {
            self.give_up(UnobservableKind::TooMuch, path.display().to_string());
        }
    }
}

impl Resolved {
    /// Returns what the path leads to.
    pub fn stamp(&self) -> Option<Stamp> {
        match &self.end {
            End::Present(_, stamp) => Some(*stamp),
            _ => None,
        }
    }
}

/// What it is to read something of a kind.
fn content(kind: Kind) -> Access {
    match kind {
        Kind::File => Access::Content,
        Kind::Link => Access::Link,
        Kind::Folder | Kind::Other => Access::Metadata,
    }
}
