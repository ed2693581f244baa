//! What was reused, by commit and in all.

use crate::walk::{Came, Ran, Row};
use serde_json::{Value, json};
use thresh_tests::status::Case;
use thresh_tests::table::Table;

/// Returns one line of progress.
pub(crate) fn line(row: &Row) -> String {
    let commit = &row.commit;
    let came = match &row.came {
        Came::Ran(ran) => format!(
            "{} of {} reused, {} wrong",
            ran.reused,
            ran.cases,
            ran.wrong.len()
        ),
        Came::Skipped(why) => first_line(why).to_owned(),
    };
    format!("{} {}: {came}", short(&commit.hash), commit.subject)
}

/// Returns the table, and below it what is wrong and what is flaky.
pub(crate) fn text(rows: &[Row]) -> String {
    let mut table = Table::new([
        "commit",
        "cases",
        "by tree",
        "by binary",
        "coverage",
        "reused",
        "saved",
        "of",
        "build",
        "analysis",
        "wrong",
        "flaky",
    ]);
    for row in rows {
        let name = short(&row.commit.hash).to_owned();
        match &row.came {
            Came::Ran(ran) if ran.explained.is_empty() => table.row(cells(name, ran)),
            Came::Ran(ran) => table.row_with_note(cells(name, ran), ran.explained.join("\n    ")),
            Came::Skipped(why) => table.row([name, format!("skipped: {}", first_line(why))]),
        }
    }
    let sum = total(rows);
    table.row(cells("total".to_owned(), &sum));
    let share = |part: f64, all: f64| if all > 0.0 { 100.0 * part / all } else { 0.0 };
    let of_cases = |part: usize| share(part as f64, sum.cases as f64);
    let mut text = format!(
        "{table}Of case runs: {:.1} % by tree, {:.1} % by binary{}, {:.1} % reused; {:.1} % of the time of cases saved; \
         analysis {:.1} % of the build.\n",
        of_cases(sum.by_tree),
        of_cases(sum.by_binary),
        sum.by_coverage
            .map(|cases| format!(", {:.1} % by coverage", of_cases(cases)))
            .unwrap_or_default(),
        of_cases(sum.reused),
        share(sum.saved, sum.total),
        share(sum.analysis, sum.building),
    );
    for row in rows {
        let ran = row.ran().into_iter();
        let listed = ran.flat_map(|ran| [("WRONG", &ran.wrong), ("flaky", &ran.flaky)]);
        for (word, (binary_id, name)) in
            listed.flat_map(|(word, cases)| cases.iter().map(move |case| (word, case)))
        {
            text += &format!("{word}: {binary_id} {name} at {}\n", short(&row.commit.hash));
        }
    }
    text
}

/// Returns the commits and the total as a JSON object.
pub(crate) fn json(rows: &[Row]) -> String {
    let commits = rows.iter().map(|row| {
        let mut object = match &row.came {
            Came::Ran(ran) => figures(ran),
            Came::Skipped(why) => json!({ "skipped": why }),
        };
        object["commit"] = json!(row.commit.hash);
        object["subject"] = json!(row.commit.subject);
        object
    });
    let commits: Vec<Value> = commits.collect();
    format!(
        "{:#}\n",
        json!({ "commits": commits, "total": figures(&total(rows)) })
    )
}

fn figures(ran: &Ran) -> Value {
    let cases = |cases: &[Case]| {
        let one = |(binary_id, name): &Case| json!({ "binary_id": binary_id, "name": name });
        cases.iter().map(one).collect::<Vec<Value>>()
    };
    json!({
        "cases": ran.cases,
        "by_tree": ran.by_tree,
        "by_binary": ran.by_binary,
        "by_coverage": ran.by_coverage,
        "reused": ran.reused,
        "saved_seconds": ran.saved,
        "total_seconds": ran.total,
        "build_seconds": ran.building,
        "analysis_seconds": ran.analysis,
        "wrong": cases(&ran.wrong),
        "flaky": cases(&ran.flaky),
    })
}

/// The sum of all commits that ran but the first, which has nothing to reuse. What is wrong there would count.
fn total(rows: &[Row]) -> Ran {
    let mut sum = Ran::default();
    for ran in rows.iter().filter_map(Row::ran).skip(1) {
        sum.cases += ran.cases;
        sum.by_tree += ran.by_tree;
        sum.by_binary += ran.by_binary;
        if let Some(by_coverage) = ran.by_coverage {
            *sum.by_coverage.get_or_insert(0) += by_coverage;
        }
        sum.reused += ran.reused;
        sum.saved += ran.saved;
        sum.total += ran.total;
        sum.building += ran.building;
        sum.analysis += ran.analysis;
        sum.wrong.extend(ran.wrong.iter().cloned());
        sum.flaky.extend(ran.flaky.iter().cloned());
    }
    sum
}

fn cells(name: String, ran: &Ran) -> [String; 12] {
    let seconds = |value: f64, digits: usize| format!("{value:.digits$}");
    [
        name,
        ran.cases.to_string(),
        ran.by_tree.to_string(),
        ran.by_binary.to_string(),
        ran.by_coverage
            .map_or_else(|| "-".to_owned(), |cases| cases.to_string()),
        ran.reused.to_string(),
        seconds(ran.saved, 2),
        seconds(ran.total, 2),
        seconds(ran.building, 1),
        seconds(ran.analysis, 2),
        ran.wrong.len().to_string(),
        ran.flaky.len().to_string(),
    ]
}

fn short(hash: &str) -> &str {
    hash.get(..10).unwrap_or(hash)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Commit;

    fn row(hash: &str, came: Came) -> Row {
        let text = str::to_owned;
        Row {
            commit: Commit {
                hash: text(hash),
                tree: text("t"),
                subject: text("s"),
            },
            came,
        }
    }

    fn rows() -> [Row; 4] {
        let case = |name: &str| ("b".to_owned(), name.to_owned());
        let first = Ran {
            cases: 7,
            building: 100.0,
            total: 50.0,
            ..Ran::default()
        };
        let second = Ran {
            cases: 8,
            by_binary: 2,
            by_coverage: Some(4),
            reused: 6,
            saved: 3.0,
            total: 4.0,
            building: 10.0,
            analysis: 0.5,
            wrong: vec![case("one")],
            flaky: vec![case("two")],
            explained: vec!["b three: f changed".to_owned(), "b four".to_owned()],
            ..Ran::default()
        };
        let last = Ran {
            cases: 8,
            ..Ran::default()
        };
        [
            row("a", Came::Ran(first)),
            row("0123456789abcdef", Came::Ran(second)),
            row("c", Came::Skipped("it does not build\nmore".to_owned())),
            row("d", Came::Ran(last)),
        ]
    }

    #[test]
    fn the_first_commit_is_shown_and_does_not_count() {
        let expected = "\
commit      cases                       by tree  by binary  coverage  reused  saved  of     build  analysis  wrong  flaky
----------  --------------------------  -------  ---------  --------  ------  -----  -----  -----  --------  -----  -----
a           7                           0        0          -         0       0.00   50.00  100.0  0.00      0      0
0123456789  8                           0        2          4         6       3.00   4.00   10.0   0.50      1      1
    b three: f changed
    b four
c           skipped: it does not build
d           8                           0        0          -         0       0.00   0.00   0.0    0.00      0      0
total       16                          0        2          4         6       3.00   4.00   10.0   0.50      1      1
Of case runs: 0.0 % by tree, 12.5 % by binary, 25.0 % by coverage, 37.5 % reused; 75.0 % of the time of cases saved; analysis 5.0 % of the build.
WRONG: b one at 0123456789
flaky: b two at 0123456789
";
        assert_eq!(text(&rows()), expected);
    }

    #[test]
    fn the_json_has_commits_and_their_total() {
        let value: Value = serde_json::from_str(&json(&rows())).expect("it is JSON");
        assert_eq!(value["commits"][1]["wrong"][0]["name"], "one");
        assert_eq!(value["commits"][2]["skipped"], "it does not build\nmore");
        assert_eq!(value["total"]["reused"], 6);
        assert_eq!(value["total"]["wrong"][0]["name"], "one");
    }
}
