//! Where a store is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::StoreError;

/// Where a store is. Its text form leaves out what may be secret: user, password, parameters.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// A file of SQLite.
    File(PathBuf),
    /// A database of PostgreSQL, by a URL `postgres://user:password@host:port/database`.
    Postgres(String),
}

impl Location {
    /// What to do when this store cannot be used.
    pub(super) fn elsewhere(&self) -> &'static str {
        match self {
            Self::File(_) => {
                "name another place: with THRESH_HOME, or for a coordinator with --data or --store"
            }
            Self::Postgres(_) => "name another database with --store",
        }
    }
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl FromStr for Location {
    type Err = StoreError;

    /// Reads a URL of PostgreSQL, or the path of a file.
    fn from_str(text: &str) -> Result<Self, StoreError> {
        match text.split_once("://") {
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(text.to_owned())),
            Some((scheme, _)) => Err(StoreError::Url {
                cause: format!("{scheme}:// is no database that thresh knows"),
            }),
            None if text.is_empty() => Err(StoreError::Url {
                cause: "it is empty".to_owned(),
            }),
            // More likely a mistake than a file of that name in whatever folder this is.
            None if !text.contains('/') && !text.ends_with(".db") => Err(StoreError::Url {
                cause: format!("`{text}` is neither a URL nor a path"),
            }),
            None => Ok(Self::File(text.into())),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Postgres(url) => {
                let rest = url.split_once("://").map_or("", |(_, rest)| rest);
                let rest = rest.split(['?', '#']).next().unwrap_or_default();
                let (server, database) = rest.split_once('/').unwrap_or((rest, ""));
                let host = server.rsplit_once('@').map_or(server, |(_, host)| host);
                write!(f, "postgres://{host}/{database}")
            }
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_keeps_secrets() {
        for (given, shown) in [
            (
                "postgres://me:secret@db:5432/farm?sslmode=prefer",
                "postgres://db:5432/farm",
            ),
            ("postgresql://db/farm", "postgres://db/farm"),
            (
                "postgres:///farm?host=/run/postgresql&password=secret",
                "postgres:///farm",
            ),
            ("postgres://me:se@cret@db", "postgres://db/"),
            ("/var/lib/thresh/thresh.db", "/var/lib/thresh/thresh.db"),
        ] {
            let location: Location = given.parse().unwrap();
            assert_eq!(
                (location.to_string(), format!("{location:?}")),
                (shown.into(), shown.into())
            );
        }
        for refused in ["", "mysql://db/farm", "postgres"] {
            assert!(
                matches!(refused.parse::<Location>(), Err(StoreError::Url { .. })),
                "{refused}"
            );
        }
    }
}
