//! What was measured, beside what it should be.

use serde_json::{Value, json};
use thresh_tests::table::Table;

/// One figure.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// What was measured, and in brackets the peer.
    pub(crate) name: String,
    /// The median.
    pub(crate) value: f64,
    /// The unit of value, target and peer.
    pub(crate) unit: &'static str,
    /// The value may be at most this.
    pub(crate) target: Option<f64>,
    /// The same figure of a peer or of the floor.
    pub(crate) peer: Option<f64>,
}

impl Figure {
    /// Returns a figure without target and peer.
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            value,
            unit,
            target: None,
            peer: None,
        }
    }

    /// Adds the most that the value may be.
    pub(crate) fn at_most(mut self, target: f64) -> Self {
        self.target = Some(target);
        self
    }

    /// Adds the same figure of a peer.
    pub(crate) fn beside(mut self, peer: f64) -> Self {
        self.peer = Some(peer);
        self
    }

    /// Whether the target is met; without one it is.
    pub(crate) fn ok(&self) -> bool {
        self.target.is_none_or(|target| self.value <= target)
    }
}

/// Returns the figures as a table.
pub(crate) fn table(figures: &[Figure]) -> Table {
    let mut table = Table::new(["figure", "value", "unit", "target", "peer", "ok"]);
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
    for figure in figures {
        table.row([
            figure.name.clone(),
            number(Some(figure.value)),
            figure.unit.to_owned(),
            figure
                .target
                .map_or("-".to_owned(), |target| format!("<= {target:.3}")),
            number(figure.peer),
            if figure.ok() { "yes" } else { "NO" }.to_owned(),
        ]);
    }
    table
}

/// Returns the figures as a JSON array.
pub(crate) fn json(figures: &[Figure]) -> String {
    let rows = figures.iter().map(|figure| {
        json!({
            "name": figure.name,
            "value": figure.value,
            "unit": figure.unit,
            "target": figure.target,
            "peer": figure.peer,
            "ok": figure.ok(),
        })
    });
    format!("{:#}\n", Value::Array(rows.collect()))
}
