//! Files of a manifest whose debug sections travel apart.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use thresh_cas::{DigestMemo, Entry, EntryKind, FileStamp, digest_reader};
use thresh_core::digest::Digest;

use super::lean::Lean;

/// The folder beside a program in which debuggers look for what its link names.
const DEBUG_FOLDER: &str = ".debug";
/// Shorter files are left alone.
const FILE_BYTES_MIN: u64 = 256 << 10;
/// Hexadecimal digits of the original's digest that name it in a link.
const LINK_DIGITS: usize = 32;

/// A program or library without its debug sections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeanFile {
    /// With its debug sections.
    path: PathBuf,
    lean: Arc<Lean>,
}

impl LeanFile {
    /// Where the file is with its debug sections.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Length in bytes, without them.
    pub(super) fn size(&self) -> u64 {
        self.lean.size()
    }

    pub(super) fn lean(&self) -> &Lean {
        &self.lean
    }
}

/// A file of a manifest in two: what is always needed, and all of it.
#[derive(Debug)]
pub(super) struct Apart {
    pub(super) file: LeanFile,
    /// What takes the file's place in the manifest.
    pub(super) lean: EntryKind,
    /// The file with its debug sections.
    pub(super) whole: Entry,
    learnt: Learnt,
}

#[derive(Clone, Copy, Debug)]
struct Learnt {
    digest: Digest,
    stamp: FileStamp,
    /// When reading began; none when the memo knew.
    began: Option<SystemTime>,
}

impl Apart {
    /// Looks at an entry of a manifest of `root`. `None` for a file that is to travel as it is; that includes one
    /// that cannot be read, about which its upload says more.
    pub(super) fn of(root: &Path, entry: &Entry, memo: &DigestMemo) -> Option<Self> {
        let EntryKind::File {
            digest,
            size,
            executable,
        } = entry.kind
        else {
            return None;
        };
        if size < FILE_BYTES_MIN {
            return None;
        }
        let link = digest.to_string()[..LINK_DIGITS].to_owned();
        let path = root.join(&entry.path);
        let (lean, learnt) = read(&path, &link, memo).ok().flatten()?;
        let beside = entry.path.parent().unwrap_or(Path::new("")).join(DEBUG_FOLDER);
        Some(Self {
            lean: EntryKind::File {
                digest: learnt.digest,
                size: lean.size(),
                executable,
            },
            whole: Entry {
                path: beside.join(link),
                kind: EntryKind::OnDemand { digest, size },
            },
            file: LeanFile {
                path,
                lean: Arc::new(lean),
            },
            learnt,
        })
    }

    /// Tells the memo that the digest was used, or what was learnt.
    pub(super) fn teach(&self, memo: &mut DigestMemo) {
        let Learnt { digest, stamp, began } = self.learnt;
        match began {
            None => memo.mark_used(&stamp),
            Some(began) => memo.remember(stamp, digest, began),
        }
    }
}

fn read(path: &Path, link: &str, memo: &DigestMemo) -> io::Result<Option<(Lean, Learnt)>> {
    let began = SystemTime::now();
    let file = File::open(path)?;
    let stamp = FileStamp::from_metadata(&file.metadata()?);
    let Some(lean) = Lean::of(&file, link)? else {
        return Ok(None);
    };
    let known = memo.get(&stamp);
    let (digest, began) = match known {
        Some(digest) => (digest, None),
        None => {
            let (digest, _) = digest_reader(&mut lean.reader(file), lean.size())?;
            (digest, Some(began))
        }
    };
    Ok(Some((lean, Learnt { digest, stamp, began })))
}
