//! Blobs under names that others give them: content is kept by its BLAKE3 digest, and a record leads there from its
//! SHA-256 digest.

use std::fmt;

use bazel_remote_apis::build::bazel::remote::execution::v2::{self, digest_function};
use sha2::{Digest as _, Sha256};
use thresh_core::chunk::{Codec, Frame};
use thresh_core::digest::Digest;

use super::record::Kind;
use super::{PackError, PackStore};
use crate::hash::finish;

/// Bytes of the record that leads from one name to another: a digest and the length of the blob.
const ALIAS_BYTES: usize = 40;

/// How a blob is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DigestFunction {
    /// BLAKE3, 256 bits.
    Blake3,
    /// SHA-256.
    Sha256,
}

impl DigestFunction {
    const ALL: [Self; 2] = [Self::Blake3, Self::Sha256];

    /// As the Remote Execution API writes it.
    pub fn to_wire(self) -> digest_function::Value {
        match self {
            Self::Blake3 => digest_function::Value::Blake3,
            Self::Sha256 => digest_function::Value::Sha256,
        }
    }

    /// The word for it in names of resources.
    pub fn word(self) -> &'static str {
        match self {
            Self::Blake3 => "blake3",
            Self::Sha256 => "sha256",
        }
    }

    /// The function with this word.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|function| function.word() == word)
    }
}

/// The name of a blob: digest function, digest and length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobName {
    /// By which function.
    pub function: DigestFunction,
    /// The digest's bytes.
    pub hash: [u8; 32],
    /// Bytes of the content.
    pub size: u64,
}

impl BlobName {
    /// Names some content.
    pub fn of(function: DigestFunction, content: &[u8]) -> Self {
        let mut hasher = NameHasher::new(function);
        hasher.update(content);
        hasher.finish()
    }

    /// Names a blob by its BLAKE3 digest.
    pub fn blake3(digest: Digest, size: u64) -> Self {
        Self {
            function: DigestFunction::Blake3,
            hash: *digest.as_bytes(),
            size,
        }
    }
}

impl BlobName {
    /// Reads a name from 64 lower-case hexadecimal digits and a length; `None` where it is none.
    pub fn parse(function: DigestFunction, hash: &str, size: u64) -> Option<Self> {
        let is_hexadecimal = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let digest: Digest = hash
            .bytes()
            .all(|byte| is_hexadecimal(&byte))
            .then(|| hash.parse().ok())??;
        Some(Self {
            function,
            hash: *digest.as_bytes(),
            size,
        })
    }

    /// The digits of its digest.
    pub fn hash_text(&self) -> String {
        Digest::from_bytes(self.hash).to_string()
    }

    /// The name as the Remote Execution API writes it.
    pub fn to_wire(&self) -> v2::Digest {
        v2::Digest {
            hash: self.hash_text(),
            size_bytes: i64::try_from(self.size).unwrap_or(i64::MAX),
        }
    }

    /// Reads a name that the Remote Execution API writes so; `None` where it is none.
    pub fn from_wire(function: DigestFunction, digest: &v2::Digest) -> Option<Self> {
        Self::parse(function, &digest.hash, u64::try_from(digest.size_bytes).ok()?)
    }
}

impl fmt::Display for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Digest::from_bytes(self.hash), self.size)
    }
}

/// Names content that comes piece by piece.
#[derive(Clone, Debug)]
pub struct NameHasher {
    hasher: Hasher,
    size: u64,
}

#[derive(Clone, Debug)]
enum Hasher {
    Blake3(Box<blake3::Hasher>),
    Sha256(Sha256),
}

impl NameHasher {
    /// Begins with no content.
    pub fn new(function: DigestFunction) -> Self {
        let hasher = match function {
            DigestFunction::Blake3 => Hasher::Blake3(Box::new(blake3::Hasher::new())),
            DigestFunction::Sha256 => Hasher::Sha256(Sha256::new()),
        };
        Self { hasher, size: 0 }
    }

    /// Adds a piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        match &mut self.hasher {
            // On this thread alone: pieces come while others are packed or unpacked on all cores.
            Hasher::Blake3(hasher) => {
                hasher.update(bytes);
            }
            Hasher::Sha256(hasher) => hasher.update(bytes),
        }
    }

    /// The name of all pieces together.
    pub fn finish(self) -> BlobName {
        let (function, hash) = match self.hasher {
            Hasher::Blake3(hasher) => (DigestFunction::Blake3, *finish(&hasher).as_bytes()),
            Hasher::Sha256(hasher) => (DigestFunction::Sha256, hasher.finalize().into()),
        };
        BlobName {
            function,
            hash,
            size: self.size,
        }
    }
}

impl PackStore {
    /// The digest of a blob that is there under a name, whole. It counts as just used. The empty blob is always there.
    pub fn locate(&self, name: &BlobName) -> Option<Digest> {
        if name.size == 0 {
            let empty = BlobName::of(name.function, b"");
            return (*name == empty).then(|| Digest::of(b""));
        }
        let digest = match name.function {
            DigestFunction::Blake3 => Digest::from_bytes(name.hash),
            DigestFunction::Sha256 => self.alias(name)?,
        };
        (self.size(&digest) == Some(name.size) && self.contains(&digest)).then_some(digest)
    }

    /// The name by a digest function of a blob that is there; it can be had under it from then on.
    ///
    /// # Errors
    /// The blob is missing, was damaged, or cannot be read; or the disk is full.
    pub fn name(&self, digest: &Digest, function: DigestFunction) -> Result<BlobName, PackError> {
        if function == DigestFunction::Blake3 {
            let size = self.size(digest).ok_or(PackError::Missing { digest: *digest });
            return Ok(BlobName::blake3(*digest, size?));
        }
        let mut hasher = NameHasher::new(function);
        for piece in self.read_from(digest, 0)? {
            hasher.update(&piece?);
        }
        let name = hasher.finish();
        self.put_alias(&name, digest)?;
        Ok(name)
    }

    /// The length in bytes of a chunk or blob, if it is known.
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        if *digest == Digest::of(b"") {
            return Some(0);
        }
        let chunk = self.find(Kind::Chunk, digest);
        match chunk {
            Ok((slot, _)) => Some(slot.size.into()),
            Err(_) => self.recipe(digest).ok().map(|recipe| recipe.size()),
        }
    }

    /// Notes that a blob has this name, too.
    pub(super) fn put_alias(&self, name: &BlobName, digest: &Digest) -> Result<(), PackError> {
        if name.function == DigestFunction::Blake3 || self.alias(name) == Some(*digest) {
            return Ok(());
        }
        let mut data = digest.as_bytes().to_vec();
        data.extend_from_slice(&name.size.to_le_bytes());
        let frame = Frame {
            digest: Digest::from_bytes(name.hash),
            size: ALIAS_BYTES as u32,
            bases: Vec::new(),
            codec: Codec::Raw,
            data,
        };
        self.append(Kind::Alias, frame.digest, &frame)
    }

    fn alias(&self, name: &BlobName) -> Option<Digest> {
        let alias = Digest::from_bytes(name.hash);
        let data = self.record(Kind::Alias, &alias, alias).ok()?.data;
        let (digest, size) = data.split_first_chunk()?;
        (*size == name.size.to_le_bytes()).then(|| Digest::from_bytes(*digest))
    }
}
