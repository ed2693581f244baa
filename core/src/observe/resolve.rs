//! Paths to what they mean, as the kernel resolves them.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::entry::{Kind, Stamp};
use super::place::is_special;

/// How many links the kernel follows in one path.
const LINKS_MAX: usize = 40;

/// What is at a path whose folder has no links in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    Absent,
    /// A symbolic link, and where it leads.
    Link(Stamp, PathBuf),
    /// Anything else.
    Present(Stamp),
    /// It may not be looked at.
    Denied,
}

/// What becomes of a link that is the last component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastLink {
    /// It is followed.
    Followed,
    /// It is itself what is meant.
    Meant,
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// To this. The path has no links.
    Present(PathBuf, Stamp),
    /// Nowhere.
    Absent {
        /// The first component that is not there.
        path: PathBuf,
        /// Whether it is the last one: it can be made.
        is_last: bool,
    },
    /// Through something that is no folder.
    NotFolder(PathBuf, Stamp),
    /// Through a folder that may not be searched.
    Denied(PathBuf, Stamp),
    /// Below `/proc`, `/sys` or `/dev`. What follows has not been looked at.
    Special(PathBuf),
    /// Below one of these and up again by `..`: where that leads depends on links that have not been looked at.
    Astray(PathBuf),
    /// Through too many links.
    Loop,
}

/// A resolved path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The symbolic links on the way.
    pub links: Vec<(PathBuf, Stamp)>,
    /// Folders that are on the way only to be left by `..`: they have to be there, and to be folders.
    pub left: Vec<(PathBuf, Stamp)>,
    /// Where it leads.
    pub end: End,
}

/// Resolves `path` from the folder `base`, which is absolute and without links.
///
/// `look` says what is at an absolute path; it is asked about each component once, in order.
pub fn resolve(base: &Path, path: &Path, last: LastLink, look: &mut dyn FnMut(&Path) -> Seen) -> Resolved {
    let mut walk = Walk {
        at: base.to_path_buf(),
        coming: VecDeque::new(),
        entered: Vec::new(),
        links: Vec::new(),
        left: Vec::new(),
    };
    walk.enter(path);
    // `a/` means a folder: a link there is followed whatever the call says.
    let bytes = path.as_os_str().as_bytes();
    let is_folder = bytes.ends_with(b"/") || bytes.ends_with(b"/.");
    let last = if is_folder { LastLink::Followed } else { last };
    let end = walk.run(last, is_folder, look);
    Resolved {
        links: walk.links,
        left: walk.left,
        end,
    }
}

struct Walk {
    at: PathBuf,
    /// Components that are still to come.
    coming: VecDeque<OsString>,
    /// The folders that were entered one in the other, up to `at`.
    entered: Vec<(PathBuf, Stamp)>,
    links: Vec<(PathBuf, Stamp)>,
    left: Vec<(PathBuf, Stamp)>,
}

impl Walk {
    /// Goes on with `path` before what is left.
    fn enter(&mut self, path: &Path) {
        if path.is_absolute() {
            self.at = PathBuf::from("/");
            self.entered.clear();
        }
        for component in path.components().rev() {
            match component {
                Component::Normal(name) => self.coming.push_front(name.to_owned()),
                Component::ParentDir => self.coming.push_front(OsString::from("..")),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
    }

    fn run(&mut self, last: LastLink, is_folder: bool, look: &mut dyn FnMut(&Path) -> Seen) -> End {
        // What the walk stands on, unless that is a folder only passed through.
        let mut present = None;
        while let Some(name) = self.coming.pop_front() {
            present = None;
            if name == ".." {
                self.at.pop();
                self.left.extend(self.entered.pop());
                continue;
            }
            let path = self.at.join(&name);
            // Shared memory is files like others, in a folder below one that is special.
            let is_shared =
                path == Path::new("/dev") && self.coming.front().is_some_and(|next| next == "shm");
            if is_special(&path) && !is_shared {
                return self.special(path);
            }
            let is_last = self.coming.is_empty();
            match look(&path) {
                Seen::Absent => return End::Absent { path, is_last },
                Seen::Denied => return denied(&self.at, look),
                Seen::Link(stamp, _) if is_last && last == LastLink::Meant => {
                    return End::Present(path, stamp);
                }
                Seen::Link(stamp, target) => {
                    self.links.push((path, stamp));
                    if self.links.len() > LINKS_MAX {
                        return End::Loop;
                    }
                    self.enter(&target);
                }
                Seen::Present(stamp) if stamp.kind == Kind::Folder => {
                    self.entered.push((path.clone(), stamp));
                    self.at = path;
                    present = Some(stamp);
                }
                Seen::Present(stamp) if is_last && !is_folder => return End::Present(path, stamp),
                Seen::Present(stamp) => return End::NotFolder(path, stamp),
            }
        }
        self.stop(present, look)
    }

    /// Ends on the folder that was reached.
    fn stop(&mut self, present: Option<Stamp>, look: &mut dyn FnMut(&Path) -> Seen) -> End {
        let path = self.at.clone();
        if is_special(&path) {
            return End::Special(path);
        }
        match present.map_or_else(|| look(&path), Seen::Present) {
            Seen::Present(stamp) | Seen::Link(stamp, _) => End::Present(path, stamp),
            Seen::Absent => End::Absent { path, is_last: true },
            Seen::Denied => denied(path.parent().unwrap_or(&path), look),
        }
    }

    /// Ends in a place that is special, with all of the path that is still to come.
    fn special(&mut self, mut path: PathBuf) -> End {
        let is_astray = self.coming.iter().any(|name| name == "..");
        path.extend(self.coming.drain(..));
        if is_astray {
            End::Astray(path)
        } else {
            End::Special(path)
        }
    }
}

/// The outermost folder that keeps others from being looked at.
fn denied(folder: &Path, look: &mut dyn FnMut(&Path) -> Seen) -> End {
    for folder in folder.ancestors() {
        if let Seen::Present(stamp) = look(folder) {
            return End::Denied(folder.to_path_buf(), stamp);
        }
    }
    End::Loop
}
