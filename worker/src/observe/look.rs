//! What is at a path.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use thresh_core::observe::{Kind, Seen, Stamp};

/// Looks at a path, without following a link there.
pub(super) fn look(path: &Path) -> Seen {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => return Seen::Denied,
        // Also a name that is too long, or something that is no folder by now.
        Err(_) => return Seen::Absent,
    };
    let stamp = stamp(&metadata);
    if stamp.kind != Kind::Link {
        return Seen::Present(stamp);
    }
    match std::fs::read_link(path) {
        Ok(target) => Seen::Link(stamp, target),
        Err(_) => Seen::Absent,
    }
}

fn stamp(metadata: &Metadata) -> Stamp {
    let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    Stamp {
        kind: kind(metadata),
        mode: metadata.mode() & 0o7777,
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        changed_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
    }
}

fn kind(metadata: &Metadata) -> Kind {
    let kind = metadata.file_type();
    if kind.is_file() {
        Kind::File
    } else if kind.is_dir() {
        Kind::Folder
    } else if kind.is_symlink() {
        Kind::Link
    } else {
        debug_assert!(kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device());
        Kind::Other
    }
}
