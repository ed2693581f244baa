//! The records of a pack.
//!
//! A record is a header of [`HEADER_BYTES`] and its data. Header: the length of the data (4 bytes), the length of
//! what it stands for (4), its kind (1), its codec (1), 2 bytes of zero, a digest (32), the first 8 bytes of the BLAKE3
//! digest of the data, and the first 4 bytes of that of the header up to there. Numbers are little-endian.
//!
//! The last record of a sealed pack is its list: for each record before it the record's offset (4 bytes) and its
//! header. Behind it stands [`SEAL`] and the list's offset (8).

use thresh_core::chunk::Codec;
use thresh_core::digest::Digest;

pub(super) const HEADER_BYTES: usize = 56;
/// How every pack begins.
pub(super) const BEGIN: &[u8; 8] = b"thpack1\n";
/// How a sealed pack ends, before the 8 bytes of its list's offset.
pub(super) const SEAL: &[u8; 8] = b"\nthseal1";
/// Bytes behind the list of a sealed pack.
pub(super) const TRAILER_BYTES: u64 = 16;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// A chunk, by its own digest.
    Chunk = 1,
    /// The recipe of a blob, by the blob's digest.
    Recipe = 2,
    /// A chunk compressed against others, by the digest of what they are.
    Delta = 3,
    /// The list of a sealed pack, by the digest of its data.
    List = 4,
    /// Another record, of the same digest, was found damaged. It has no data: where the size stands, is that record's
    /// offset, where the sum stands, are its pack's number and its kind.
    Gone = 5,
    /// The digest of a blob, by what SHA-256 makes of its content.
    Alias = 6,
}

impl Kind {
    /// The kind with this number.
    pub(super) fn of(number: u32) -> Option<Self> {
        let all = [
            Self::Chunk,
            Self::Recipe,
            Self::Delta,
            Self::List,
            Self::Gone,
            Self::Alias,
        ];
        all.into_iter().find(|kind| *kind as u32 == number)
    }
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) codec: Codec,
    pub(super) digest: Digest,
    /// Bytes of what the data stands for.
    pub(super) size: u32,
    /// Bytes of the data.
    pub(super) stored: u32,
    /// Of the data.
    pub(super) sum: [u8; 8],
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0..4].copy_from_slice(&self.stored.to_le_bytes());
        out[4..8].copy_from_slice(&self.size.to_le_bytes());
        out[8] = self.kind as u8;
        out[9] = match self.codec {
            Codec::Raw => 0,
            Codec::Zstd => 1,
        };
        out[12..44].copy_from_slice(self.digest.as_bytes());
        out[44..52].copy_from_slice(&self.sum);
        let sum: [u8; 4] = checksum(&out[..52]);
        out[52..].copy_from_slice(&sum);
        out
    }

    /// Whether a header may begin where these bytes do, without the work of its checksum.
    pub(super) fn may_begin(bytes: &[u8]) -> bool {
        matches!(bytes.get(8..12), Some([1..=6, 0 | 1, 0, 0]))
    }

    /// Reads a header; `None` where there is none.
    pub(super) fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        if bytes[52..] != checksum::<4>(&bytes[..52]) || bytes[10..12] != [0, 0] {
            return None;
        }
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        Some(Self {
            kind: Kind::of(bytes[8].into())?,
            codec: match bytes[9] {
                0 => Codec::Raw,
                1 => Codec::Zstd,
                _ => return None,
            },
            digest: Digest::try_from(&bytes[12..44]).ok()?,
            size: number(4),
            stored: number(0),
            sum: *bytes[44..].first_chunk()?,
        })
    }

    /// Bytes of the record.
    pub(super) fn record_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.stored)
    }
}

/// The first bytes of a digest.
pub(super) fn checksum<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let digest = Digest::of(bytes);
    *digest.as_bytes().first_chunk().expect("a digest is longer")
}

/// Writes the list of a pack.
pub(super) fn encode_list(records: &[(u32, Header)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(records.len() * (4 + HEADER_BYTES));
    for (offset, header) in records {
        out.extend_from_slice(&offset.to_le_bytes());
        out.extend_from_slice(&header.encode());
    }
    out
}

/// Where the list of a sealed pack of `length` bytes begins, by what stands at its end; `None` where it is not sealed.
pub(super) fn list_offset(trailer: &[u8; TRAILER_BYTES as usize], length: u64) -> Option<u64> {
    let (seal, offset) = trailer.split_first_chunk()?;
    let offset = u64::from_le_bytes(offset.try_into().ok()?);
    let at = length.checked_sub(TRAILER_BYTES)?;
    (seal == SEAL && offset < at).then_some(offset)
}

/// Reads the record that is the list of a pack: its records, and the digest that is the pack's name. `None` where it
/// is none.
pub(super) fn read_list(record: &[u8]) -> Option<(Vec<(u32, Header)>, Digest)> {
    let (header, list) = record.split_first_chunk()?;
    let header = Header::decode(header)?;
    let sound = header.kind == Kind::List && Digest::of(list) == header.digest;
    Some((sound.then(|| decode_list(list)).flatten()?, header.digest))
}

/// Reads the list of a pack; `None` where it is none.
fn decode_list(bytes: &[u8]) -> Option<Vec<(u32, Header)>> {
    let (entries, left) = bytes.as_chunks::<{ 4 + HEADER_BYTES }>();
    if !left.is_empty() {
        return None;
    }
    let entry = |bytes: &[u8; 4 + HEADER_BYTES]| {
        let (offset, header) = bytes.split_first_chunk()?;
        Some((
            u32::from_le_bytes(*offset),
            Header::decode(header.try_into().ok()?)?,
        ))
    };
    entries.iter().map(entry).collect()
}
