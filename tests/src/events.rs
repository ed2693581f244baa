//! The events that `thresh run --message-format json` prints.

use crate::status::{Status, Statuses, Word};
use serde_json::Value;

/// One event: a line of JSON.
#[derive(Clone, Debug)]
pub struct Event(Value);

impl Event {
    /// Reads a line; `None` when it is not an event.
    pub fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        value.get("event")?.as_str()?;
        Some(Self(value))
    }

    /// Returns the kind of event.
    pub fn kind(&self) -> &str {
        self.text("event")
    }

    /// Returns a field that holds text; empty when there is none.
    pub fn text(&self, field: &str) -> &str {
        self.0.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    /// Returns a field that holds a number.
    pub fn number(&self, field: &str) -> Option<f64> {
        self.0.get(field).and_then(Value::as_f64)
    }

    /// Returns a field that holds a whole number.
    pub fn count(&self, field: &str) -> Option<u64> {
        self.0.get(field).and_then(Value::as_u64)
    }

    /// Whether a field holds `true`.
    pub fn is(&self, field: &str) -> bool {
        self.0.get(field).and_then(Value::as_bool) == Some(true)
    }

    /// Whether this is an event of `kind` about the case `name`.
    pub fn is_about(&self, kind: &str, name: &str) -> bool {
        self.kind() == kind && self.text("name") == name
    }
}

/// Returns what each case came to, by the `case-ended` events.
///
/// # Panics
/// When a case ends twice or with a word that is not documented.
pub fn statuses(events: &[Event]) -> Statuses {
    let mut statuses = Statuses::new();
    for event in events.iter().filter(|event| event.kind() == "case-ended") {
        let case = (event.text("binary_id").to_owned(), event.text("name").to_owned());
        let text = event.text("status");
        let word = Word::parse(text).unwrap_or_else(|| panic!("unknown status {text:?} in {event:?}"));
        let before = statuses.insert(case, Status::new(word, event.is("passes")));
        assert!(before.is_none(), "a case ended twice: {event:?}");
    }
    statuses
}
