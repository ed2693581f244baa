//! Plain text tables.

use std::fmt;

/// Rows of text under a heading; every column is as wide as its widest entry.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Row>,
}

#[derive(Clone, Debug)]
struct Row {
    cells: Vec<String>,
    note: Option<String>,
}

impl Table {
    /// Starts a table with its heading.
    pub fn new<const N: usize>(heading: [&str; N]) -> Self {
        let mut table = Self { rows: Vec::new() };
        table.row(heading.map(str::to_owned));
        table
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(Row {
            cells: cells.into_iter().collect(),
            note: None,
        });
    }

    /// Adds a row and an indented line below it, which no column makes room for.
    pub fn row_with_note(&mut self, cells: impl IntoIterator<Item = String>, note: String) {
        self.rows.push(Row {
            cells: cells.into_iter().collect(),
            note: Some(note),
        });
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(|row| row.cells.len()).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.cells.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> = row
                .cells
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
            if let Some(note) = &row.note {
                writeln!(f, "    {note}")?;
            }
            if number == 0 {
                let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
                writeln!(f, "{}", rules.join("  "))?;
            }
        }
        Ok(())
    }
}
