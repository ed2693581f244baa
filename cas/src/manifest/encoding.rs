//! The bytes of a manifest: a header line with the version, then per entry one byte for its kind (`f` file,
//! `x` executable file, `o` file on demand, `l` symbolic link, `d` empty folder), its path, and what the kind needs. Numbers are
//! little-endian; a text is its length in 4 bytes and its bytes.

use super::{Entry, EntryKind, ManifestError};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use thresh_core::digest::Digest;

const HEADER: &[u8] = b"thresh manifest 1\n";

pub(super) fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER.len() + entries.len() * 96);
    out.extend_from_slice(HEADER);
    for entry in entries {
        out.push(kind_byte(&entry.kind));
        push_path(&mut out, &entry.path);
        match &entry.kind {
            EntryKind::File { digest, size, .. } | EntryKind::OnDemand { digest, size } => {
                out.extend_from_slice(digest.as_bytes());
                out.extend_from_slice(&size.to_le_bytes());
            }
            EntryKind::Symlink { target } => push_path(&mut out, target),
            EntryKind::EmptyDir => {}
        }
    }
    out
}

fn kind_byte(kind: &EntryKind) -> u8 {
    match kind {
        EntryKind::File {
            executable: false, ..
        } => b'f',
        EntryKind::File { executable: true, .. } => b'x',
        EntryKind::OnDemand { .. } => b'o',
        EntryKind::Symlink { .. } => b'l',
        EntryKind::EmptyDir => b'd',
    }
}

fn push_path(out: &mut Vec<u8>, path: &Path) {
    let bytes = path.as_os_str().as_bytes();
    let length = u32::try_from(bytes.len()).expect("the system allows no path of 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}

pub(super) fn decode(encoded: &[u8]) -> Result<Vec<Entry>, ManifestError> {
    let mut rest = encoded.strip_prefix(HEADER).ok_or(ManifestError::Header)?;
    let mut entries = Vec::new();
    while let Some((kind, after)) = rest.split_first() {
        rest = after;
        let index = entries.len();
        if !b"fxold".contains(kind) {
            return Err(ManifestError::UnknownKind { index, kind: *kind });
        }
        let entry = take_entry(*kind, &mut rest).ok_or(ManifestError::Truncated { index })?;
        entries.push(entry);
    }
    Ok(entries)
}

/// Takes the rest of an entry of a known kind; none when the bytes end within it.
fn take_entry(kind: u8, rest: &mut &[u8]) -> Option<Entry> {
    let path = take_path(rest)?;
    let kind = match kind {
        b'l' => EntryKind::Symlink {
            target: take_path(rest)?,
        },
        b'd' => EntryKind::EmptyDir,
        b'o' => EntryKind::OnDemand {
            digest: Digest::from_bytes(take(rest)?),
            size: u64::from_le_bytes(take(rest)?),
        },
        _ => EntryKind::File {
            digest: Digest::from_bytes(take(rest)?),
            size: u64::from_le_bytes(take(rest)?),
            executable: kind == b'x',
        },
    };
    Some(Entry { path, kind })
}

fn take_path(rest: &mut &[u8]) -> Option<PathBuf> {
    let length = u32::from_le_bytes(take(rest)?);
    let (text, after) = rest.split_at_checked(length as usize)?;
    *rest = after;
    Some(PathBuf::from(OsStr::from_bytes(text)))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}
