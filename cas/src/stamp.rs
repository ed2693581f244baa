//! The stamp of a file: what the file system says of it without reading its content.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// How old, in milliseconds, the last change of a file must be before its stamp vouches for its content.
///
/// File systems count time in ticks of some milliseconds: two writes within one tick leave the same stamp.
pub const SETTLE_MS: u64 = 50;

/// Identity, size and times of a file. Equal stamps mean equal content, once the stamp has settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileStamp {
    /// Device that holds the file.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Length in bytes.
    pub size: u64,
    /// Last change of the content, nanoseconds since the Unix epoch.
    pub mtime_ns: i64,
    /// Last change of the content or the inode, nanoseconds since the Unix epoch.
    pub ctime_ns: i64,
}

impl FileStamp {
    /// Returns the stamp of what `path` names; a symbolic link is not followed.
    ///
    /// # Errors
    /// The file's metadata cannot be read.
    pub fn of(path: &Path) -> io::Result<Self> {
        std::fs::symlink_metadata(path).map(|metadata| Self::from_metadata(&metadata))
    }

    /// Takes the stamp out of metadata already read.
    pub fn from_metadata(metadata: &Metadata) -> Self {
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.size(),
            mtime_ns: nanos(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: nanos(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether both times lie more than [`SETTLE_MS`] before `moment`, so that any write after `moment`
    /// must show in the stamp.
    pub fn settled_before(&self, moment: SystemTime) -> bool {
        let since_epoch = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
        let limit = i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX) - SETTLE_MS as i64 * 1_000_000;
        self.mtime_ns < limit && self.ctime_ns < limit
    }
}

fn nanos(seconds: i64, nanos: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_stamp_settles_after_its_latest_time() {
        let at = |ms: u64| UNIX_EPOCH + Duration::from_millis(ms);
        let stamp = FileStamp {
            dev: 1,
            ino: 1,
            size: 1,
            mtime_ns: 1_000_000_000,
            ctime_ns: 2_000_000_000,
        };
        assert!(!stamp.settled_before(at(1_100)), "ctime lies in the future");
        assert!(!stamp.settled_before(at(2_050)));
        assert!(stamp.settled_before(at(2_051)));
        let touched = FileStamp {
            mtime_ns: 9_000_000_000,
            ..stamp
        };
        assert!(!touched.settled_before(at(2_051)), "mtime lies in the future");
    }
}
