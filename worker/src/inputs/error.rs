//! Why the inputs of a run could not be had.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use thresh_cas::{ManifestError, MaterialiseError, StoreError};
use thresh_core::digest::Digest;
use thresh_core::fault::Fault;

/// Why the inputs of a run could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PrepareError {
    /// The worker's disk is full, or nearly so.
    #[error("prepare inputs: {0}")]
    DiskFull(String),
    /// A setup script of the run failed; it was reported.
    #[error("prepare the run: its setup script `{0}` failed")]
    SetupScript(String),
    /// The run is over, or the connection is.
    #[error("prepare inputs: the run is over")]
    Cancelled,
    /// Anything else.
    #[error("prepare inputs: {message}")]
    Other {
        /// What happened.
        message: String,
        /// Whose fault it is.
        fault: Fault,
    },
}

impl PrepareError {
    /// Whose fault it is.
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::DiskFull(_) | Self::Cancelled => Fault::Environment,
            Self::SetupScript(_) => Fault::Input,
            Self::Other { fault, .. } => *fault,
        }
    }

    pub(crate) fn other(fault: Fault, message: impl Into<String>) -> Self {
        Self::Other {
            message: message.into(),
            fault,
        }
    }

    pub(crate) fn io(action: &str, path: &Path, cause: &io::Error) -> Self {
        let message = format!("{action} {}: {cause}", path.display());
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull(message),
            _ => Self::other(Fault::Environment, message),
        }
    }

    /// The free space at `path` is below the worker's minimum.
    pub(crate) fn little_space(path: &Path, free_bytes: u64, free_bytes_min: u64) -> Self {
        Self::DiskFull(format!(
            "{} has {free_bytes} bytes free, {free_bytes_min} are needed; free some space there, then restart \
             the worker",
            path.display()
        ))
    }

    pub(crate) fn unreadable_manifest(digest: &Digest, cause: &ManifestError) -> Self {
        Self::other(cause.fault(), format!("manifest {digest}: {cause}"))
    }

    /// Blobs went missing again and again between their arrival and their use.
    pub(crate) fn unstable(path: &Path, digests: &[Digest]) -> Self {
        let first = digests.first().map(Digest::to_string).unwrap_or_default();
        let message = format!(
            "build {}: {} blobs were damaged or dropped after each fetch, the first is {first}; check the disk",
            path.display(),
            digests.len()
        );
        Self::other(Fault::Environment, message)
    }
}

impl From<StoreError> for PrepareError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::DiskFull { .. } => Self::DiskFull(error.to_string()),
            error => Self::other(error.fault(), error.to_string()),
        }
    }
}

impl From<MaterialiseError> for PrepareError {
    fn from(error: MaterialiseError) -> Self {
        match &error {
            MaterialiseError::DiskFull { .. }
            | MaterialiseError::Store {
                cause: StoreError::DiskFull { .. },
                ..
            } => Self::DiskFull(error.to_string()),
            _ => Self::other(error.fault(), error.to_string()),
        }
    }
}

/// Why a worker's own folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another worker uses it.
    #[error(
        "use {} as the worker's data folder: {}; give each worker its own --data",
        path.display(),
        holder(*pid)
    )]
    Locked {
        /// The folder.
        path: PathBuf,
        /// The process that uses it, when it could be told.
        pid: Option<u32>,
    },
    /// It could not be read or written.
    #[error("{action} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Others of the site cannot be served.
    #[error(
        "listen on {address} for other workers of the site: {cause}; choose another address with --peers"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// Its blobs could not be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl DataDirError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Locked { .. } => Fault::Input,
            Self::Io { .. } | Self::Listen { .. } => Fault::Environment,
            Self::Store(error) => error.fault(),
        }
    }
}

fn holder(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("the worker with pid {pid} uses it"),
        None => "another worker uses it".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart_wherever_it_shows() {
        let path = PathBuf::from("/data");
        let full = || io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error());
        let store = || StoreError::DiskFull { path: path.clone() };
        for error in [
            PrepareError::io("write", &path, &full()),
            PrepareError::io("write", &path, &io::ErrorKind::QuotaExceeded.into()),
            store().into(),
            MaterialiseError::DiskFull { path: path.clone() }.into(),
            MaterialiseError::Store {
                path: path.clone(),
                cause: store(),
            }
            .into(),
            PrepareError::little_space(&path, 1, 2),
        ] {
            assert!(matches!(error, PrepareError::DiskFull(_)), "{error}");
        }
        let other = PrepareError::io("write", &path, &io::ErrorKind::PermissionDenied.into());
        assert!(matches!(other, PrepareError::Other { .. }));
    }
}
