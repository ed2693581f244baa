//! How much a message of folders comes to, before it is read: a message of two bytes for each entry becomes one of
//! hundreds.

use prost::bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint};

/// A message that has others in it.
#[derive(Clone, Copy)]
enum Kind {
    Tree,
    Directory,
    File,
    Link,
    Properties,
    Other,
}

impl Kind {
    /// What a field with this tag is.
    fn of_field(self, tag: u32) -> Self {
        match (self, tag) {
            (Self::Tree, 1 | 2) => Self::Directory,
            (Self::Directory, 1) => Self::File,
            (Self::Directory, 3) => Self::Link,
            (Self::Directory, 5) | (Self::File, 6) | (Self::Link, 4) => Self::Properties,
            _ => Self::Other,
        }
    }
}

/// Counts files, folders, links and their properties in an encoded `Directory`, with all else that stands beside them.
/// Where it is no such message it is counted up to there: who decodes it finds out.
pub(super) fn entries(directory: &[u8]) -> usize {
    count(Kind::Directory, directory)
}

/// The same for an encoded `Tree`.
pub fn entries_of_tree(tree: &[u8]) -> usize {
    count(Kind::Tree, tree)
}

/// Goes no deeper than there are kinds within kinds.
fn count(kind: Kind, mut bytes: &[u8]) -> usize {
    let mut found = 0;
    while let Some((tag, field)) = take_field(&mut bytes) {
        // Of what has no messages in it nothing is kept but single fields.
        found += match kind {
            Kind::File | Kind::Link | Kind::Other => 0,
            Kind::Tree | Kind::Directory | Kind::Properties => 1,
        };
        match kind.of_field(tag) {
            Kind::Other => {}
            inner => found += count(inner, field),
        }
    }
    found
}

/// Takes the next field; its content is empty unless it is one with a length.
fn take_field<'a>(bytes: &mut &'a [u8]) -> Option<(u32, &'a [u8])> {
    if bytes.is_empty() {
        return None;
    }
    let (tag, wire) = decode_key(bytes).ok()?;
    let length = match wire {
        WireType::Varint => {
            decode_varint(bytes).ok()?;
            0
        }
        WireType::ThirtyTwoBit => 4,
        WireType::SixtyFourBit => 8,
        WireType::LengthDelimited => usize::try_from(decode_varint(bytes).ok()?).ok()?,
        // Nobody writes groups any more: no field of ours is one.
        WireType::StartGroup | WireType::EndGroup => 0,
    };
    if length > bytes.remaining() {
        return None;
    }
    let (field, rest) = bytes.split_at(length);
    *bytes = rest;
    let is_message = matches!(wire, WireType::LengthDelimited);
    Some((tag, if is_message { field } else { &[] }))
}
