//! Why the store cannot be used.

use thresh_core::fault::Fault;

use super::Location;

/// Why the store cannot be used. Every message names the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The text does not name a database.
    #[error("read the location of the store: {cause}; give a path, or postgres://HOST/DATABASE")]
    Url {
        /// What is wrong with it.
        cause: String,
    },
    /// A newer program wrote it.
    #[error(
        "use {at}: it has schema version {found}, this thresh knows versions up to {known}; upgrade this \
         thresh, or {elsewhere}", elsewhere = at.elsewhere()
    )]
    Newer {
        /// The database.
        at: Location,
        /// Its schema version.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// Some other program's database.
    #[error("use {at}: it is a database of another program; move it away, or {elsewhere}", elsewhere = at.elsewhere())]
    Foreign {
        /// The database.
        at: Location,
    },
    /// The database is damaged.
    #[error(
        "read {at}: it is damaged ({cause}); move it away to start again without history and reusable passes"
    )]
    Damaged {
        /// The database.
        at: Location,
        /// What the engine says.
        cause: sqlx::Error,
    },
    /// No space is left on the device.
    #[error("write {at}: the disk is full")]
    Full {
        /// The database.
        at: Location,
    },
    /// It cannot be written.
    #[error("write {at}: it is read-only; make it writable, or {elsewhere}", elsewhere = at.elsewhere())]
    ReadOnly {
        /// The database.
        at: Location,
    },
    /// Others held it for too long.
    #[error("use {at}: another process has kept it locked for over 10 s")]
    Busy {
        /// The database.
        at: Location,
    },
    /// The server does not answer, or ended the connection.
    #[error("reach {at}: {cause}")]
    Unreachable {
        /// The database.
        at: Location,
        /// What the system or the server says.
        cause: sqlx::Error,
    },
    /// It cannot be opened: no such folder, no permission, no such database, a wrong password.
    #[error("open {at}: {cause}")]
    Open {
        /// The database.
        at: Location,
        /// What the engine says.
        cause: sqlx::Error,
    },
    /// Another coordinator leads now; what this one says does not count any more.
    #[error("write {at}: coordinator {leader} has taken over from this one, {epoch}")]
    Superseded {
        /// The database.
        at: Location,
        /// The epoch of this coordinator.
        epoch: u32,
        /// The epoch of the one that leads.
        leader: u32,
    },
    /// Anything else.
    #[error("{doing} in {at}: {cause}")]
    Query {
        /// The database.
        at: Location,
        /// What was being done.
        doing: &'static str,
        /// What the engine says.
        cause: sqlx::Error,
    },
}

/// What an engine's error comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorKind {
    Damaged,
    Full,
    ReadOnly,
    Busy,
    Unreachable,
    Open,
    Other,
}

impl StoreError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Url { .. } => Fault::Input,
            Self::Query { .. } => Fault::Internal,
            _ => Fault::Environment,
        }
    }

    /// Whether it may pass by itself within minutes, so that trying again makes sense.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Unreachable { .. })
    }

    pub(super) fn of(at: &Location, doing: &'static str, kind: ErrorKind, cause: sqlx::Error) -> Self {
        let at = at.clone();
        match kind {
            ErrorKind::Damaged => Self::Damaged { at, cause },
            ErrorKind::Full => Self::Full { at },
            ErrorKind::ReadOnly => Self::ReadOnly { at },
            ErrorKind::Busy => Self::Busy { at },
            ErrorKind::Unreachable => Self::Unreachable { at, cause },
            ErrorKind::Open => Self::Open { at, cause },
            ErrorKind::Other => Self::Query { at, doing, cause },
        }
    }
}
