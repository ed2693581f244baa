//! The bytes of a blob, from its begin to its end or part by part.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use thresh_core::chunk::Part;
use thresh_core::digest::Digest;

use super::apart::LeanFile;
use super::shipment::BlobSource;
use super::upload::UploadError;

/// The bytes of a blob.
pub(super) enum Content<'a> {
    File(File, &'a Path),
    Lean(File, &'a LeanFile),
    Bytes(&'a [u8]),
}

impl<'a> Content<'a> {
    pub(super) fn of(source: &'a BlobSource) -> Result<Self, UploadError> {
        let open = |path: &'a Path| File::open(path).map_err(UploadError::file(path));
        Ok(match source {
            BlobSource::Bytes(bytes) => Self::Bytes(bytes),
            BlobSource::File { path, .. } => Self::File(open(path)?, path),
            BlobSource::Lean(file) => Self::Lean(open(file.path())?, file),
        })
    }

    /// Reads it all, in order.
    pub(super) fn into_reader(self) -> Box<dyn Read + 'a> {
        match self {
            Self::Bytes(bytes) => Box::new(bytes),
            Self::File(file, _) => Box::new(file),
            Self::Lean(file, lean) => Box::new(lean.lean().reader(file)),
        }
    }

    /// The content of a part, which is still what it was when it was cut.
    pub(super) fn part(&self, part: &Part, offset: u64) -> Result<Vec<u8>, UploadError> {
        let mut content = vec![0; part.size as usize];
        let path = self.path();
        (self.read_exact_at(&mut content, offset)).map_err(UploadError::file(path))?;
        if Digest::of(&content) != part.digest {
            return Err(UploadError::Changed(path.to_owned()));
        }
        Ok(content)
    }

    fn read_exact_at(&self, content: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Bytes(bytes) => bytes
                .get(usize::try_from(offset).unwrap_or(usize::MAX)..)
                .unwrap_or_default()
                .read_exact(content),
            Self::File(file, _) => file.read_exact_at(content, offset),
            Self::Lean(file, lean) => lean.lean().read_exact_at(file, content, offset),
        }
    }

    fn path(&self) -> &'a Path {
        match self {
            Self::Bytes(_) => Path::new(""),
            Self::File(_, path) => path,
            Self::Lean(_, lean) => lean.path(),
        }
    }
}
