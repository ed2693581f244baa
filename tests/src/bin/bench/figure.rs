//! What was measured, beside what it should be.

use crate::why::UNKNOWN;
use serde_json::{Value, json};
use thresh_tests::table::Table;

/// One figure.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// What was measured, and in brackets the peer.
    name: String,
    /// The median.
    value: f64,
    /// More is better: the target is the least that the value may be.
    more: bool,
    /// The unit of value, target and peer.
    unit: &'static str,
    /// The value may be at most this.
    target: Option<f64>,
    /// The same figure of a peer or of the floor.
    peer: Option<f64>,
    /// What explains a missed target.
    reason: Option<String>,
}

impl Figure {
    /// Returns a figure without target and peer.
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            value,
            more: false,
            unit,
            target: None,
            peer: None,
            reason: None,
        }
    }

    /// Adds the least that the value may be.
    pub(crate) fn at_least(mut self, target: f64) -> Self {
        self.more = true;
        self.at_most(target)
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

    /// How a value that meets the target stands to it.
    fn sign(&self) -> &'static str {
        if self.more { ">=" } else { "<=" }
    }

    /// Adds what explains a missed target; it is told only when the target is missed.
    pub(crate) fn because(mut self, reason: impl Into<Option<String>>) -> Self {
        self.reason = reason.into();
        self
    }

    /// Whether the target is met; without one it is.
    pub(crate) fn ok(&self) -> bool {
        self.target.is_none_or(|target| match self.more {
            true => self.value >= target,
            false => self.value <= target,
        })
    }

    /// Returns why the target is missed, nothing when it is met.
    pub(crate) fn why(&self) -> Option<&str> {
        (!self.ok()).then(|| self.reason.as_deref().unwrap_or(UNKNOWN))
    }
}

/// Returns the figures as a table.
pub(crate) fn table(figures: &[Figure]) -> Table {
    let mut table = Table::new(["figure", "value", "unit", "target", "peer", "ok"]);
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
    for figure in figures {
        let cells = [
            figure.name.clone(),
            number(Some(figure.value)),
            figure.unit.to_owned(),
            figure
                .target
                .map_or("-".to_owned(), |target| format!("{} {target:.3}", figure.sign())),
            number(figure.peer),
            if figure.ok() { "yes" } else { "NO" }.to_owned(),
        ];
        match figure.why() {
            Some(why) => table.row_with_note(cells, format!("target missed: {why}")),
            None => table.row(cells),
        }
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
            "why": figure.why(),
        })
    });
    format!("{:#}\n", Value::Array(rows.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> [Figure; 4] {
        let explained = |value: f64| Figure::new("a", value, "s").at_most(2.0).beside(1.5);
        [
            explained(1.0).because("it is slow".to_owned()),
            explained(3.0).because("it is slow".to_owned()),
            explained(3.0).because(None),
            Figure::new("without target", 3.0, "MiB"),
        ]
    }

    #[test]
    fn the_table_says_why_below_each_missed_target_only() {
        let lines = "\
figure          value  unit  target    peer   ok
--------------  -----  ----  --------  -----  ---
a               1.000  s     <= 2.000  1.500  yes
a               3.000  s     <= 2.000  1.500  NO
    target missed: it is slow
a               3.000  s     <= 2.000  1.500  NO
    target missed: no reason is known: a regression?
without target  3.000  MiB   -         -      yes
";
        assert_eq!(table(&figures()).to_string(), lines);
    }

    #[test]
    fn each_json_row_has_a_reason_or_null() {
        let rows: Value = serde_json::from_str(&json(&figures())).expect("it is JSON");
        let why: Vec<&Value> = (rows.as_array().expect("an array").iter())
            .map(|row| &row["why"])
            .collect();
        let expected = json!([null, "it is slow", UNKNOWN, null]);
        assert_eq!(
            why,
            expected.as_array().expect("an array").iter().collect::<Vec<_>>()
        );
        assert_eq!(
            rows[1],
            json!({
                "name": "a", "value": 3.0, "unit": "s", "target": 2.0, "peer": 1.5, "ok": false,
                "why": "it is slow",
            })
        );
    }
}
