//! Reading a table key by key, so that what was not asked for is found to be unknown.

use super::document::{Entry, Node, Spot, Table, Value};
use super::error::{ConfigError, suggest};

/// Reads the keys of one table. [`finish`](Self::finish) fails on a key that nobody asked for.
pub(super) struct Reader<'a> {
    /// The table's name for messages, as in `profile.ci.overrides`.
    name: String,
    spot: &'a Spot,
    table: &'a Table,
    asked: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    /// Starts to read `node`, which must be a table.
    pub(super) fn new(node: &'a Node, name: impl Into<String>) -> Result<Self, ConfigError> {
        match &node.value {
            Value::Table(table) => Ok(Self {
                name: name.into(),
                spot: &node.spot,
                table,
                asked: Vec::new(),
            }),
            _ => Err(wrong_type(node, "a table")),
        }
    }

    /// Returns the name given at the start.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns where the table stands.
    pub(super) fn spot(&self) -> &'a Spot {
        self.spot
    }

    /// Returns the value of `key`.
    pub(super) fn node(&mut self, key: &'static str) -> Option<&'a Node> {
        self.asked.push(key);
        self.table.get(key)
    }

    /// Reads `key` with `read`, where it is present.
    pub(super) fn get<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&'a Node) -> Result<T, ConfigError>,
    ) -> Result<Option<T>, ConfigError> {
        self.node(key).map(read).transpose()
    }

    /// Reads `key` with `read`; its absence is an error.
    pub(super) fn require<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&'a Node) -> Result<T, ConfigError>,
    ) -> Result<T, ConfigError> {
        let missing = || invalid(self.spot, format!("`{key}` is missing in {}", self.name));
        let node = self.table.get(key).ok_or_else(missing)?;
        self.asked.push(key);
        read(node)
    }

    /// Reads the table under `key` with its own reader, whose name is this one's and the key.
    pub(super) fn table<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(Reader<'a>) -> Result<T, ConfigError>,
    ) -> Result<Option<T>, ConfigError> {
        let name = if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        };
        self.node(key)
            .map(|node| Reader::new(node, name).and_then(read))
            .transpose()
    }

    /// Reads the array under `key`, item by item; absent is empty.
    pub(super) fn array<T>(
        &mut self,
        key: &'static str,
        read: impl FnMut(&'a Node) -> Result<T, ConfigError>,
    ) -> Result<Vec<T>, ConfigError> {
        self.node(key)
            .map_or_else(|| Ok(Vec::new()), |node| items(node)?.iter().map(read).collect())
    }

    /// Returns every entry: the keys are names that the user chose.
    pub(super) fn entries(self) -> impl Iterator<Item = &'a Entry> {
        self.table.0.iter()
    }

    /// Ends reading.
    ///
    /// # Errors
    /// When the table holds a key that was not asked for.
    pub(super) fn finish(self) -> Result<(), ConfigError> {
        match self
            .table
            .0
            .iter()
            .find(|entry| !self.asked.contains(&entry.key.as_str()))
        {
            None => Ok(()),
            Some(entry) => Err(ConfigError::UnknownKey {
                place: entry.key_spot.place(),
                key: entry.key.clone(),
                table: if self.name.is_empty() {
                    "the file".to_owned()
                } else {
                    format!("`{}`", self.name)
                },
                suggestion: suggest(&entry.key, self.asked.iter().copied()),
            }),
        }
    }
}

/// Makes the error for something wrong at `spot`.
pub(super) fn invalid(spot: &Spot, message: impl Into<String>) -> ConfigError {
    ConfigError::Invalid {
        place: spot.place(),
        message: message.into(),
    }
}

/// Makes the error for a value of another type than `expected`.
pub(super) fn wrong_type(node: &Node, expected: &str) -> ConfigError {
    invalid(
        &node.spot,
        format!("expected {expected}, found {}", node.value.type_name()),
    )
}

/// Reads a string.
pub(super) fn string(node: &Node) -> Result<String, ConfigError> {
    match &node.value {
        Value::String(text) => Ok(text.clone()),
        _ => Err(wrong_type(node, "a string")),
    }
}

/// Reads a string and keeps its place.
pub(super) fn spotted(node: &Node) -> Result<Spotted, ConfigError> {
    Ok(Spotted {
        text: string(node)?,
        spot: node.spot.clone(),
    })
}

/// A string and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Spotted {
    pub(super) text: String,
    pub(super) spot: Spot,
}

/// Reads a boolean.
pub(super) fn boolean(node: &Node) -> Result<bool, ConfigError> {
    match node.value {
        Value::Boolean(value) => Ok(value),
        _ => Err(wrong_type(node, "a boolean")),
    }
}

/// Returns the items of an array.
pub(super) fn items(node: &Node) -> Result<&[Node], ConfigError> {
    match &node.value {
        Value::Array(items) => Ok(items),
        _ => Err(wrong_type(node, "an array")),
    }
}

/// Reads an array of strings.
pub(super) fn strings(node: &Node) -> Result<Vec<String>, ConfigError> {
    items(node)?.iter().map(string).collect()
}

/// Reads an integer from `range`.
pub(super) fn integer(node: &Node, range: std::ops::RangeInclusive<i64>) -> Result<i64, ConfigError> {
    match node.value {
        Value::Integer(value) if range.contains(&value) => Ok(value),
        Value::Integer(value) => {
            let (low, high) = range.into_inner();
            Err(invalid(
                &node.spot,
                format!("{value} is out of range: expected {low} to {high}"),
            ))
        }
        _ => Err(wrong_type(node, "an integer")),
    }
}

/// Reads one of a set of words.
pub(super) fn word<T: Copy>(node: &Node, words: &[(&'static str, T)]) -> Result<T, ConfigError> {
    let Value::String(text) = &node.value else {
        return Err(wrong_type(node, &alternatives(words)));
    };
    words
        .iter()
        .find(|(name, _)| name == text)
        .map(|(_, value)| *value)
        .ok_or_else(|| {
            invalid(
                &node.spot,
                format!("unknown value \"{text}\": expected {}", alternatives(words)),
            )
        })
}

fn alternatives<T>(words: &[(&'static str, T)]) -> String {
    words
        .iter()
        .map(|(name, _)| format!("\"{name}\""))
        .collect::<Vec<_>>()
        .join(" or ")
}
