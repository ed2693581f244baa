//! Content-addressed blobs on disk, file digests and input manifests.
//!
//! - [`BlobStore`]: blobs by digest in a folder, visible only when complete and verified.
//! - [`DigestMemo`], [`digest_file`], [`digest_many`]: digests of files, remembered by their [`FileStamp`].
//! - [`Manifest`]: which files a tree holds, by digest; its encoding is itself a blob.
//! - [`workspace_files`], [`folder_files`], [`Snapshot`]: the files of a workspace as a manifest, and whether
//!   they changed since.
//! - [`materialise()`]: a tree built from a manifest and a store.
//!
//! Everything here blocks: an asynchronous caller uses a blocking thread. Deliberately absent: the network
//! (blobs travel in the shells), compression, and any knowledge of Cargo beyond the name `Cargo.lock`.

mod hash;
mod manifest;
mod materialise;
mod memo;
mod snapshot;
mod stamp;
mod store;

pub use hash::{DigestError, Digested, digest_file, digest_many};
pub use manifest::{Entry, EntryKind, Manifest, ManifestDiff, ManifestError, PathDefect};
pub use materialise::{MaterialiseError, Materialised, materialise};
pub use memo::{DigestMemo, IDLE_SAVES_MAX, MEMO_ENTRIES_MAX, MemoError};
pub use snapshot::{ListError, Snapshot, SnapshotError, folder_files, workspace_files};
pub use stamp::{FileStamp, SETTLE_MS};
pub use store::{BlobReader, BlobStore, BlobWriter, CHUNK_BYTES_MAX, STALE_AFTER, StoreError, Trimmed};
