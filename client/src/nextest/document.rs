//! A TOML document in which every key and value knows where it stands.
//!
//! Several configuration files are laid over one another before they are read, so a value must remember its
//! own file for an error message to point at it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;

/// Where in a file something stands; lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Utf8PathBuf,
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

#[derive(Debug)]
struct SourceFile {
    path: Utf8PathBuf,
    text: String,
}

/// A byte offset in a file: what a [`Place`] is made from when it is needed.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    file: Arc<SourceFile>,
    offset: usize,
}

impl Spot {
    /// Returns the line and column of this spot.
    pub(super) fn place(&self) -> Box<Place> {
        let before = self.file.text.get(..self.offset).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Box::new(Place {
            file: self.file.path.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        })
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) spot: Spot,
    pub(super) value: Value,
}

/// A TOML value. Floats and dates appear nowhere in nextest's configuration, so only their type is kept.
#[derive(Clone, Debug)]
pub(super) enum Value {
    String(String),
    Integer(i64),
    Boolean(bool),
    Float,
    Datetime,
    Array(Vec<Node>),
    Table(Table),
}

impl Value {
    /// Returns the name of the type, with an article.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Boolean(_) => "a boolean",
            Self::Float => "a float",
            Self::Datetime => "a date",
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
        }
    }
}

/// A table, in the order of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Table(pub(super) Vec<Entry>);

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_spot: Spot,
    pub(super) node: Node,
}

impl Table {
    /// Returns the value of `key`.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.0
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.node)
    }

    /// Lays `over` on top: tables merge key by key, everything else is replaced.
    pub(super) fn lay_over(&mut self, over: &Self) {
        for entry in &over.0 {
            match self.0.iter_mut().find(|existing| existing.key == entry.key) {
                Some(existing) => match (&mut existing.node.value, &entry.node.value) {
                    (Value::Table(below), Value::Table(above)) => {
                        below.lay_over(above);
                        existing.key_spot = entry.key_spot.clone();
                        existing.node.spot = entry.node.spot.clone();
                    }
                    _ => *existing = entry.clone(),
                },
                None => self.0.push(entry.clone()),
            }
        }
    }
}

/// Parses the text of the file at `path`.
pub(super) fn parse(path: &Utf8Path, text: &str) -> Result<Node, ConfigError> {
    let file = Arc::new(SourceFile {
        path: path.to_owned(),
        text: text.to_owned(),
    });
    let root = DeTable::parse(text).map_err(|error| ConfigError::Invalid {
        place: Spot {
            file: Arc::clone(&file),
            offset: error.span().map_or(0, |span| span.start),
        }
        .place(),
        message: error.message().replace('\n', ", "),
    })?;
    let spot = Spot {
        file: Arc::clone(&file),
        offset: 0,
    };
    Ok(Node {
        spot,
        value: Value::Table(table(&file, root.get_ref())?),
    })
}

fn table(file: &Arc<SourceFile>, source: &DeTable<'_>) -> Result<Table, ConfigError> {
    let mut entries = Vec::new();
    for (key, value) in source.iter() {
        entries.push(Entry {
            key: key.get_ref().to_string(),
            key_spot: Spot {
                file: Arc::clone(file),
                offset: key.span().start,
            },
            node: node(file, value.span(), value.get_ref())?,
        });
    }
    Ok(Table(entries))
}

fn node(file: &Arc<SourceFile>, span: Range<usize>, source: &DeValue<'_>) -> Result<Node, ConfigError> {
    let spot = Spot {
        file: Arc::clone(file),
        offset: span.start,
    };
    let value = match source {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(integer) => {
            let parsed = i64::from_str_radix(integer.as_str(), integer.radix());
            Value::Integer(parsed.map_err(|_| ConfigError::Invalid {
                place: spot.place(),
                message: format!("the integer {integer} does not fit into 64 bits"),
            })?)
        }
        DeValue::Boolean(boolean) => Value::Boolean(*boolean),
        DeValue::Float(_) => Value::Float,
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| node(file, item.span(), item.get_ref()))
                .collect::<Result<_, _>>()?,
        ),
        DeValue::Table(inner) => Value::Table(table(file, inner)?),
    };
    Ok(Node { spot, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let root = parse(Utf8Path::new("x.toml"), "a = 1\n'é' = { b = \"c\" }\n").unwrap();
        let Value::Table(root) = root.value else {
            panic!("a document is a table")
        };
        let Value::Table(inner) = &root.get("é").unwrap().value else {
            panic!("an inline table")
        };
        assert_eq!(inner.0[0].key_spot.place().to_string(), "x.toml:2:9");
        assert_eq!(inner.0[0].node.spot.place().to_string(), "x.toml:2:13");
    }

    #[test]
    fn tables_merge_and_other_values_are_replaced() {
        let mut below = parse(Utf8Path::new("below"), "t = { a = 1, b = 2 }\nlist = [1, 2]\n").unwrap();
        let above = parse(Utf8Path::new("above"), "list = [3]\nt = { b = 3 }\n").unwrap();
        let (Value::Table(below), Value::Table(above)) = (&mut below.value, &above.value) else {
            panic!("documents are tables")
        };
        below.lay_over(above);
        let Value::Table(t) = &below.get("t").unwrap().value else {
            panic!("a table")
        };
        assert!(matches!(t.get("a").unwrap().value, Value::Integer(1)));
        assert!(matches!(t.get("b").unwrap().value, Value::Integer(3)));
        assert!(matches!(&below.get("list").unwrap().value, Value::Array(items) if items.len() == 1));
    }

    #[test]
    fn a_syntax_error_has_a_place() {
        let error = parse(Utf8Path::new("x.toml"), "a = 1\nb = = 2\n").unwrap_err();
        assert!(error.to_string().contains("x.toml:2:5"), "{error}");
    }
}
