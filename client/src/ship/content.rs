//! The bytes of a large blob, part by part.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use thresh_core::chunk::Part;
use thresh_core::digest::Digest;

use super::shipment::BlobSource;
use super::upload::UploadError;

/// The bytes of a blob.
pub(super) enum Content<'a> {
    File(File, &'a Path),
    Bytes(&'a [u8]),
}

impl<'a> Content<'a> {
    pub(super) fn of(source: &'a BlobSource) -> Result<Self, UploadError> {
        match source {
            BlobSource::Bytes(bytes) => Ok(Self::Bytes(bytes)),
            BlobSource::File { path, .. } => Self::of_file(path),
        }
    }

    pub(super) fn of_file(path: &'a Path) -> Result<Self, UploadError> {
        let file = File::open(path).map_err(UploadError::file(path))?;
        Ok(Self::File(file, path))
    }

    /// The content of a part, which is still what it was when it was cut.
    pub(super) fn part(&self, part: &Part, offset: u64) -> Result<Vec<u8>, UploadError> {
        match self {
            Self::Bytes(bytes) => {
                let begin = usize::try_from(offset).expect("it is in memory");
                Ok(bytes[begin..begin + part.size as usize].to_vec())
            }
            Self::File(file, path) => {
                let mut content = vec![0; part.size as usize];
                file.read_exact_at(&mut content, offset)
                    .map_err(UploadError::file(path))?;
                if Digest::of(&content) != part.digest {
                    return Err(UploadError::Changed((*path).to_owned()));
                }
                Ok(content)
            }
        }
    }
}
