//! Content-addressed blobs on disk, file digests and input manifests.
//!
//! - [`BlobStore`]: blobs by digest in a folder, as files ready for use, visible only when complete and verified.
//! - [`PackStore`]: blobs as they are kept for others: chunks, compressed, in packs.
//! - [`Cutter`], [`pack()`], [`unpack()`]: large blobs as chunks, and chunks as they travel.
//! - [`DigestMemo`], [`digest_file`], [`digest_many`], [`digest_reader`]: digests of files, remembered by their [`FileStamp`].
//! - [`Manifest`]: which files a tree holds, by digest; its encoding is itself a blob.
//! - [`workspace_files`], [`folder_files`], [`Snapshot`]: the files of a workspace as a manifest, and whether
//!   they changed since.
//! - [`expand`], [`build`]: trees of the Remote Execution API to and from manifests.
//! - [`materialise()`]: a tree built from a manifest and a store.
//!
//! Everything here blocks: an asynchronous caller uses a blocking thread. Deliberately absent: the network
//! (blobs travel in the shells) and any knowledge of Cargo beyond the name `Cargo.lock`.

mod chunk;
mod hash;
mod manifest;
mod materialise;
mod memo;
mod packs;
mod snapshot;
mod stamp;
mod store;
#[cfg(test)]
mod testing;
mod tree;

pub use chunk::{
    Alignment, CHUNK_BYTES_AVERAGE, CHUNK_BYTES_MIN, Cutter, FrameError, Piece, RecipeError, decode_recipe,
    encode_recipe, pack, pack_against, unpack,
};
pub use hash::{DigestError, Digested, digest_each, digest_file, digest_many, digest_reader};
pub use manifest::{Entry, EntryKind, Manifest, ManifestDiff, ManifestError, PathDefect};
pub use materialise::{MaterialiseError, Materialised, is_intact, materialise};
pub use memo::{DigestMemo, IDLE_SAVES_MAX, MEMO_ENTRIES_MAX, MemoError, replace_file};
pub use packs::{
    BlobName, BlobPieces, BlobReading, Check, DigestFunction, NameHasher, PACK_BYTES, PackError, PackReader,
    PackStore, SealedPack, Stat, Swept, chunk_of_record,
};
pub use snapshot::{ListError, Snapshot, SnapshotError, folder_files, git_in, workspace_files};
pub use stamp::{FileStamp, SETTLE_MS};
pub use store::{BlobReader, BlobStore, BlobWriter, READ_BYTES_MAX, STALE_AFTER, StoreError, Trimmed};
pub use tree::{
    BuildError, Built, ENTRIES_MAX, Folders, NameDefect, TreeError, build, entries_of_tree, expand, folders,
};
