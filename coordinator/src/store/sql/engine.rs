//! What the two engines write differently, so that each query is written once.
//!
//! Many rows travel as one JSON argument that the statement takes apart ([`Engine::rows`]), so that a call is a
//! handful of statements whatever its size. Queries keep to what both engines know: `$1`, `ON CONFLICT`,
//! `row_number()`, integers for truth values, `CASE` for the greater of two.

use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe};

/// Which engine keeps the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    Sqlite,
    Postgres,
}

/// A column of rows that travel as JSON: its name, by how it is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column {
    Integer(&'static str),
    Text(&'static str),
    /// As hexadecimal digits: JSON has no bytes.
    Bytes(&'static str),
}

impl Engine {
    /// A table to select from: the rows of the JSON argument `argument`, each an array with `columns`, as `j`,
    /// with their `position` from 0.
    pub(super) fn rows(self, argument: &str, columns: &[Column]) -> String {
        let columns: Vec<String> = (columns.iter().enumerate())
            .map(|(index, column)| self.column(index, *column))
            .collect();
        let columns = columns.join(", ");
        match self {
            // `json_each` would write each row's array out as text, for `->>` to read again.
            Self::Sqlite => {
                format!("(SELECT e.key AS position, {columns} FROM jsonb_each({argument}) AS e) AS j")
            }
            Self::Postgres => format!(
                "(SELECT e.number - 1 AS position, {columns}
                  FROM jsonb_array_elements({argument}::jsonb) WITH ORDINALITY AS e (value, number)) AS j"
            ),
        }
    }

    fn column(self, index: usize, column: Column) -> String {
        let value = format!("e.value ->> {index}");
        match (self, column) {
            (Self::Sqlite, Column::Integer(name) | Column::Text(name)) => format!("{value} AS {name}"),
            (Self::Sqlite, Column::Bytes(name)) => format!("unhex({value}) AS {name}"),
            (Self::Postgres, Column::Integer(name)) => format!("({value})::bigint AS {name}"),
            (Self::Postgres, Column::Text(name)) => format!("{value} AS {name}"),
            (Self::Postgres, Column::Bytes(name)) => format!("decode({value}, 'hex') AS {name}"),
        }
    }

    /// A join that starts from the left: SQLite's planner would else turn some round and walk whole tables.
    pub(super) fn join(self) -> &'static str {
        match self {
            Self::Sqlite => "CROSS JOIN",
            Self::Postgres => "JOIN",
        }
    }

    /// Whether the text `part` is within `whole`, as a condition.
    pub(super) fn contains(self, whole: &str, part: &str) -> String {
        match self {
            Self::Sqlite => format!("instr({whole}, {part}) > 0"),
            Self::Postgres => format!("strpos({whole}, {part}) > 0"),
        }
    }

    /// Bytes as hexadecimal digits.
    pub(super) fn hex(self, bytes: &str) -> String {
        match self {
            Self::Sqlite => format!("hex({bytes})"),
            Self::Postgres => format!("encode({bytes}, 'hex')"),
        }
    }

    /// Ends a query whose row nobody may change before the transaction ends.
    pub(super) fn for_share(self) -> &'static str {
        match self {
            // Whoever writes has the file for themselves.
            Self::Sqlite => "",
            Self::Postgres => "FOR SHARE",
        }
    }
}

/// A statement whose text is made of this program's own words alone; what comes from outside is bound.
pub(super) fn query(text: impl Into<String>) -> Query<'static, Any, AnyArguments> {
    sqlx::query(AssertSqlSafe(text.into()))
}
