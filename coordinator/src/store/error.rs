//! Why the store cannot be used.

use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteError;
use thresh_core::fault::Fault;

/// Why the store cannot be used. Every message names the database's file.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A newer program wrote it.
    #[error(
        "use {path}: it has schema version {found}, this thresh knows versions up to {known}; upgrade this \
         thresh, or set THRESH_HOME to another folder", path = path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// Some other program's database.
    #[error(
        "use {path}: it is a database of another program; move it away, or set THRESH_HOME to another folder",
        path = path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged.
    #[error(
        "read {path}: it is damaged ({cause}); move it away to start again without history and reusable passes",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        cause: sqlx::Error,
    },
    /// No space is left on the device.
    #[error("write {path}: the disk is full", path = path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// The file or its folder cannot be written.
    #[error(
        "write {path}: it or its folder is read-only; set THRESH_HOME to a folder that can be written",
        path = path.display()
    )]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// Another process held the file for too long.
    #[error("use {path}: another process has kept it locked for over 10 s", path = path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The file or its folder cannot be opened.
    #[error("open {path}: {cause}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite or the system says.
        cause: sqlx::Error,
    },
    /// Anything else.
    #[error("{doing} in {path}: {cause}", path = path.display())]
    Query {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What SQLite says.
        cause: sqlx::Error,
    },
}

/// Primary result codes of SQLite (<https://sqlite.org/rescode.html>), the low byte of the extended ones.
mod code {
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const READONLY: i32 = 8;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANTOPEN: i32 = 14;
    pub(super) const NOTADB: i32 = 26;
}

impl StoreError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Query { .. } => Fault::Internal,
            _ => Fault::Environment,
        }
    }

    pub(super) fn of(path: &Path, doing: &'static str, cause: sqlx::Error) -> Self {
        let path = path.to_owned();
        match primary_code(&cause) {
            Some(code::CORRUPT | code::NOTADB) => Self::Damaged { path, cause },
            Some(code::FULL) => Self::Full { path },
            Some(code::READONLY) => Self::ReadOnly { path },
            Some(code::BUSY | code::LOCKED) => Self::Busy { path },
            Some(code::CANTOPEN) => Self::Open { path, cause },
            _ => Self::Query { path, doing, cause },
        }
    }
}

/// Whether trying again can help.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(code::BUSY | code::LOCKED))
}

fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let sqlx::Error::Database(error) = error else {
        return None;
    };
    let code = error.try_downcast_ref::<SqliteError>()?;
    let extended: i32 = sqlx::error::DatabaseError::code(code)?.parse().ok()?;
    Some(extended & 0xff)
}
