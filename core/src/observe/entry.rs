//! What is known of a case when it has ended.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::access::Accesses;
use crate::digest::Digest;

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A pipe, socket or device.
    Other,
}

/// The version of what is at a path, as the worker met it.
///
/// Whoever makes a digest later compares it, and so knows whether he sees the same; who has digests by stamp already
/// knows what was read even if it has changed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// What it is.
    pub kind: Kind,
    /// Its permission bits.
    pub mode: u32,
    /// The device that it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// Bytes of a file.
    pub size: u64,
    /// When its content changed, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// When anything of it changed, in nanoseconds since 1970.
    pub changed_ns: i64,
}

impl Stamp {
    /// Whether both are of one file with one content; for folders, of one folder.
    pub fn is_same_content(&self, other: &Self) -> bool {
        let is_same = (self.kind, self.device, self.inode) == (other.kind, other.device, other.inode);
        let is_file = matches!(self.kind, Kind::File | Kind::Link);
        is_same && (!is_file || (self.size, self.modified_ns) == (other.size, other.modified_ns))
    }
}

/// A path that a case depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// In which ways.
    pub accesses: Accesses,
    /// What the case met first; `None`: nothing.
    pub stamp: Option<Stamp>,
    /// The digest of the names in a folder that it listed, before it changed any, where that could be told; see
    /// [`names_digest`](super::names_digest).
    pub names: Option<Digest>,
    /// Whether the case may have changed, removed or, of a folder, added to it afterwards: a digest made later is not of
    /// what the case met, unless the stamp says so.
    pub changed: bool,
}

/// A property of the machine that a case looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fact {
    /// How many processors there are or may be used, and which. Every libtest binary asks.
    Processors,
    /// How much memory there is, is used or may be used.
    Memory,
    /// The kernel's version and settings.
    Kernel,
    /// What is mounted where.
    Mounts,
    /// Other processes, or the system's load.
    Processes,
    /// How large or full a file system is.
    Disk,
    /// The machine's addresses and connections.
    Network,
    /// A device.
    Device,
    /// Anything else below `/proc` and `/sys`.
    Other,
}

/// Whom a case talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Contact {
    /// An address of another machine, or a name server.
    Network,
    /// A port of this machine; the case's own, as far as is known.
    Loopback,
    /// A socket, pipe or queue that the case did not make.
    Service,
}

/// Why an observation is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnobservableKind {
    /// Memory, a folder or a descriptor of a process could not be read.
    Unreadable,
    /// A system call of another architecture or numbering.
    OtherAbi,
    /// A system call that is not understood, or that changes what paths mean.
    Call,
    /// Something changed while the case ran, and not by it.
    ChangedMeanwhile,
    /// A file in a folder of the case's own that the case has not made.
    Stranger,
    /// More than is kept.
    TooMuch,
    /// The observer had failed, or an earlier case's processes were left.
    Observer,
    /// A system call that may fail because the case is observed.
    Refused,
}

/// Why an observation is of no use, and where that came up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unobservable {
    /// Why.
    pub kind: UnobservableKind,
    /// The path or the system call, for people.
    pub detail: String,
}

/// All that a case was seen to depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// By absolute path without links.
    pub entries: BTreeMap<PathBuf, Entry>,
    /// Properties of the machine that it looked at, each with the first place where it did.
    pub facts: BTreeMap<Fact, String>,
    /// Whom it talked to, each with the first address.
    pub contacts: BTreeMap<Contact, String>,
    /// Set: it depends on more than is known. The rest is empty then.
    pub unobservable: Option<Unobservable>,
}

impl Observation {
    /// An observation that is of no use.
    pub fn unobservable(kind: UnobservableKind, detail: impl Into<String>) -> Self {
        Self {
            unobservable: Some(Unobservable {
                kind,
                detail: detail.into(),
            }),
            ..Self::default()
        }
    }
}

impl fmt::Display for Unobservable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, detail } = self;
        match kind {
            UnobservableKind::Unreadable => write!(f, "a process could not be looked into: {detail}"),
            UnobservableKind::OtherAbi => write!(f, "a system call of another architecture: {detail}"),
            UnobservableKind::Call => write!(f, "a system call that is not followed: {detail}"),
            UnobservableKind::ChangedMeanwhile => write!(f, "changed while the case ran: {detail}"),
            UnobservableKind::Stranger => {
                write!(f, "not made by the case, in a folder that it made: {detail}")
            }
            UnobservableKind::TooMuch => write!(f, "it depends on too much: {detail}"),
            UnobservableKind::Refused => write!(f, "a system call that may fail when observed: {detail}"),
            UnobservableKind::Observer => write!(f, "it was not observed: {detail}"),
        }
    }
}
