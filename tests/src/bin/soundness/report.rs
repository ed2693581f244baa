//! What all mutants together say.

use crate::campaign::Row;
use crate::site::Kind;
use serde_json::{Value, json};
use thresh_tests::status::Case;
use thresh_tests::table::Table;

/// Returns the table by kind, and below it what is wrong and what is flaky.
pub(crate) fn text(rows: &[Row]) -> String {
    let mut table = Table::new([
        "kind",
        "mutants",
        "did not build",
        "killed",
        "cases run",
        "reused",
        "wrong",
        "flaky",
    ]);
    for kind in Kind::ALL {
        let of_kind: Vec<&Row> = rows.iter().filter(|row| row.site.kind == kind).collect();
        if !of_kind.is_empty() {
            table.row(cells(kind.name(), &of_kind));
        }
    }
    table.row(cells("all", &rows.iter().collect::<Vec<_>>()));
    let mut text = table.to_string();
    for row in rows {
        let listed = [("WRONG", &row.wrong), ("flaky", &row.flaky)];
        for (word, (binary_id, name)) in listed
            .iter()
            .flat_map(|(word, cases)| cases.iter().map(move |case| (word, case)))
        {
            let what = if *word == "WRONG" {
                "reused, and never passes"
            } else {
                "reused, and passes at times"
            };
            text += &format!(
                "{word}: {binary_id} {name}: {what}; mutant {}, {}: {}\n",
                row.number,
                row.site.kind.name(),
                row.site
            );
        }
    }
    text
}

fn cells(name: &str, rows: &[&Row]) -> [String; 8] {
    let sum = |value: fn(&Row) -> usize| rows.iter().map(|row| value(row)).sum::<usize>().to_string();
    [
        name.to_owned(),
        sum(|row| usize::from(row.built)),
        sum(|row| usize::from(!row.built)),
        sum(|row| usize::from(row.built && row.killed)),
        sum(|row| row.ran),
        sum(|row| row.reused),
        sum(|row| row.wrong.len()),
        sum(|row| row.flaky.len()),
    ]
}

/// Returns the mutants as a JSON array.
pub(crate) fn json(rows: &[Row]) -> String {
    let cases = |cases: &[Case]| {
        let one = |(binary_id, name): &Case| json!({ "binary_id": binary_id, "name": name });
        cases.iter().map(one).collect::<Vec<Value>>()
    };
    let rows = rows.iter().map(|row| {
        json!({
            "number": row.number,
            "kind": row.site.kind.name(),
            "file": row.site.path.to_string_lossy(),
            "line": row.site.line,
            "before": row.site.before,
            "after": row.site.after,
            "built": row.built,
            "killed": row.built && row.killed,
            "ran": row.ran,
            "reused": row.reused,
            "wrong": cases(&row.wrong),
            "flaky": cases(&row.flaky),
            "seconds": row.seconds,
        })
    });
    format!("{:#}\n", Value::Array(rows.collect()))
}
