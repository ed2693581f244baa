//! What is at paths now, as far as somebody wants to know.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use thresh_cas::{DigestMemo, FileStamp, digest_each};
use thresh_core::digest::Digest;
use thresh_core::observe::{Access, Accesses, Entry, Kind, Stamp, names_digest};

use super::text::text_of;

/// Permission bits.
const MODE: u32 = 0o7777;
const EXECUTABLE: u32 = 0o111;

/// By path, in which ways it is depended on.
pub(super) type Wanted = BTreeMap<PathBuf, Accesses>;

/// The programs of the workspace whose reachable code is known, with its key: they count by it where they are executed and not
/// read.
pub(crate) type Programs = BTreeMap<PathBuf, Digest>;

/// What is at paths now.
#[derive(Debug)]
pub(super) struct States<'a> {
    programs: &'a Programs,
    paths: HashMap<PathBuf, State>,
}

#[derive(Debug, Default)]
struct State {
    /// `None`: nothing.
    stamp: Option<Stamp>,
    /// Of a file's content.
    digest: Option<Digest>,
    /// What else is wanted, in words; what cannot be told has none.
    link: Option<String>,
    listing: Option<Digest>,
    /// There is nothing, and no folder that something could be made in either.
    has_no_folder: bool,
    /// Nobody may look there.
    is_denied: bool,
}

impl<'a> States<'a> {
    /// Looks at all that is wanted. Files that `memo` knows are not read, and it learns the others.
    pub(super) fn look(wanted: &Wanted, programs: &'a Programs, memo: &mut DigestMemo) -> Self {
        let mut paths: HashMap<PathBuf, State> = wanted
            .iter()
            .map(|(path, accesses)| (path.clone(), State::of(path, *accesses)))
            .collect();
        let is_read = |(path, accesses): &(&PathBuf, &Accesses)| {
            let is_file = paths[*path].stamp.is_some_and(|stamp| stamp.kind == Kind::File);
            let is_known = !accesses.contains(Access::Content) && programs.contains_key(*path);
            let is_wanted = accesses.contains(Access::Content) || accesses.contains(Access::Executed);
            is_file && is_wanted && !is_known
        };
        let files: Vec<PathBuf> = wanted
            .iter()
            .filter(is_read)
            .map(|(path, _)| path.clone())
            .collect();
        for digested in digest_each(&files, memo).into_iter().flatten() {
            // A file that was written to in between is not what was looked at.
            if let Some(state) = paths.get_mut(&digested.path)
                && state
                    .stamp
                    .is_some_and(|stamp| stamp_of_file(&stamp) == digested.stamp)
            {
                state.digest = Some(digested.digest);
            }
        }
        Self { programs, paths }
    }

    /// Says in words what a case that depends on a path in these ways finds there now. `None`: that cannot be told.
    pub(super) fn words(&self, path: &Path, accesses: Accesses) -> Option<String> {
        let words = accesses.iter().map(|access| self.word(path, access));
        Some(words.collect::<Option<Vec<_>>>()?.join("; "))
    }

    fn word(&self, path: &Path, access: Access) -> Option<String> {
        let state = self.paths.get(path)?;
        let found = match (access, &state.stamp) {
            _ if state.is_denied => "denied".to_owned(),
            _ if state.has_no_folder => "no folder".to_owned(),
            (Access::Replaced, stamp) => replaced(stamp.as_ref()),
            (_, None) => "nothing".to_owned(),
            (Access::Metadata | Access::Absent, Some(stamp)) => metadata(stamp),
            (Access::Content, Some(stamp)) if stamp.kind == Kind::File => content(state.digest?, stamp),
            (Access::Executed, Some(stamp)) if stamp.kind == Kind::File => match self.programs.get(path) {
                Some(key) => format!("code {key} {:o}", stamp.mode & MODE),
                None => content(state.digest?, stamp),
            },
            (Access::Content | Access::Executed, Some(stamp)) => metadata(stamp),
            (Access::Link, Some(stamp)) if stamp.kind == Kind::Link => state.link.clone()?,
            (Access::Listing, Some(stamp)) if stamp.kind == Kind::Folder => listed(state.listing?),
            (Access::Link | Access::Listing, Some(stamp)) => metadata(stamp),
        };
        Some(said(access, &found))
    }

    /// Says in words what is at a path of which a worker was shown what was shipped. `None`: that was something else.
    pub(super) fn words_shown(&self, path: &Path, entry: &Entry) -> Option<String> {
        let state = self.paths.get(path)?;
        let executes_only = entry.accesses.iter().all(|access| access == Access::Executed);
        let is_same = match (&entry.stamp, &state.stamp) {
            (None, None) => !state.is_denied,
            (Some(met), Some(now)) if met.kind == Kind::File && now.kind == Kind::File => {
                // A program may have been shipped without its debug sections, with the same code.
                let has_size = executes_only || met.size == now.size;
                has_size && (met.mode & EXECUTABLE == 0) == (now.mode & EXECUTABLE == 0)
            }
            (Some(met), Some(now)) if met.kind == Kind::Link && now.kind == Kind::Link => {
                met.size == now.size
            }
            (Some(met), Some(now)) => met.kind == Kind::Folder && now.kind == Kind::Folder,
            _ => false,
        };
        let lists = entry.accesses.contains(Access::Listing) && state.listing.is_some();
        let has_names = !lists || entry.names == state.listing;
        (is_same && has_names).then(|| self.words(path, entry.accesses))?
    }

    /// Says in words what a case has met at a path, as the worker observed it. `None`: that cannot be told any more.
    pub(super) fn words_met(&self, path: &Path, entry: &Entry, memo: &DigestMemo) -> Option<String> {
        let now = self.paths.get(path)?.stamp;
        let is_same = match (&entry.stamp, &now) {
            (Some(met), Some(now)) => {
                // Times of content can be set back.
                let is_file = met.kind == Kind::File;
                let is_untouched = !is_file || met.changed_ns == now.changed_ns;
                met.is_same_content(now) && met.mode == now.mode && is_untouched
            }
            (None, None) => true,
            _ => false,
        };
        if !is_same && !entry.changed {
            return None;
        }
        let words = entry.accesses.iter().map(|access| {
            let found = match (access, &entry.stamp) {
                // A folder's stamp does not tell whether somebody has put something into it since.
                (Access::Listing, Some(stamp)) if stamp.kind == Kind::Folder => listed(entry.names?),
                _ if is_same => return self.word(path, access),
                (Access::Replaced, stamp) => replaced(stamp.as_ref()),
                (_, None) => "nothing".to_owned(),
                (Access::Content | Access::Executed, Some(stamp)) if stamp.kind == Kind::File => {
                    content(memo.get(&stamp_of_file(stamp))?, stamp)
                }
                (Access::Link, Some(stamp)) if stamp.kind == Kind::Link => return None,
                (_, Some(stamp)) => metadata(stamp),
            };
            Some(said(access, &found))
        });
        Some(words.collect::<Option<Vec<_>>>()?.join("; "))
    }
}

impl State {
    fn of(path: &Path, accesses: Accesses) -> Self {
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => {
                let is_absent = matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                );
                let folder = path.parent().and_then(|folder| fs::metadata(folder).ok());
                return Self {
                    is_denied: !is_absent,
                    has_no_folder: is_absent && !folder.is_some_and(|folder| folder.is_dir()),
                    ..Self::default()
                };
            }
        };
        let stamp = stamp(&metadata);
        let wants = |access, kind| accesses.contains(access) && stamp.kind == kind;
        Self {
            link: wants(Access::Link, Kind::Link)
                .then(|| fs::read_link(path).ok())
                .flatten()
                .map(|target| format!("to {}", text_of(&target))),
            listing: wants(Access::Listing, Kind::Folder)
                .then(|| listing(path).ok())
                .flatten(),
            stamp: Some(stamp),
            ..Self::default()
        }
    }
}

/// Reads which ways to depend on a path a text of [`States::words`] is about.
pub(super) fn accesses_of(words: &str) -> Option<Accesses> {
    words
        .split("; ")
        .map(|said| {
            let word = said.split(' ').next()?;
            WORDS
                .iter()
                .find(|(_, other)| *other == word)
                .map(|(access, _)| *access)
        })
        .collect()
}

/// The word for each way, in their order.
const WORDS: [(Access, &str); 7] = [
    (Access::Content, "content"),
    (Access::Executed, "executed"),
    (Access::Metadata, "metadata"),
    (Access::Link, "link"),
    (Access::Listing, "listing"),
    (Access::Absent, "presence"),
    (Access::Replaced, "replaced"),
];

fn said(access: Access, found: &str) -> String {
    let word = WORDS.iter().find(|(other, _)| *other == access);
    format!("{} {found}", word.map_or("", |(_, word)| word))
}

fn listed(names: Digest) -> String {
    format!("names {names}")
}

fn content(digest: Digest, stamp: &Stamp) -> String {
    format!("{digest} {:o}", stamp.mode & MODE)
}

fn metadata(stamp: &Stamp) -> String {
    let mode = stamp.mode & MODE;
    match stamp.kind {
        Kind::File => format!("file {mode:o} {}", stamp.size),
        Kind::Folder => format!("folder {mode:o}"),
        Kind::Link => format!("link {}", stamp.size),
        Kind::Other => format!("special {mode:o}"),
    }
}

fn replaced(stamp: Option<&Stamp>) -> String {
    match stamp {
        None => "nothing".to_owned(),
        // What is written over keeps its mode, and its old length does not matter.
        Some(stamp) if stamp.kind == Kind::File => format!("file {:o}", stamp.mode & MODE),
        Some(stamp) => metadata(stamp),
    }
}

pub(super) fn listing(folder: &Path) -> io::Result<Digest> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        names.push((entry.file_name().into_vec(), kind(entry.file_type()?)));
    }
    Ok(names_digest(names))
}

fn stamp(metadata: &Metadata) -> Stamp {
    let FileStamp {
        dev,
        ino,
        size,
        mtime_ns,
        ctime_ns,
    } = FileStamp::from_metadata(metadata);
    Stamp {
        kind: kind(metadata.file_type()),
        mode: metadata.permissions().mode() & MODE,
        device: dev,
        inode: ino,
        size,
        modified_ns: mtime_ns,
        changed_ns: ctime_ns,
    }
}

fn stamp_of_file(stamp: &Stamp) -> FileStamp {
    FileStamp {
        dev: stamp.device,
        ino: stamp.inode,
        size: stamp.size,
        mtime_ns: stamp.modified_ns,
        ctime_ns: stamp.changed_ns,
    }
}

fn kind(of: fs::FileType) -> Kind {
    if of.is_file() {
        Kind::File
    } else if of.is_dir() {
        Kind::Folder
    } else if of.is_symlink() {
        Kind::Link
    } else {
        Kind::Other
    }
}
