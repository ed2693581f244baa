//! GitHub Actions: an annotation for each failure, and a job summary.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thresh_core::time::Timestamp;
use thresh_core::verdict::{CaseStatus, Verdict};

use super::event::{AttemptRecord, CaseLabel, CaseRecord, ReportEvent};
use super::failure::{describe, find_panic};
use super::remapped::remapped_failures;
use super::reporter::Reporter;
use super::rerun::RerunCommand;
use super::summary::{RunSummary, reason_clause};
use super::text::{Colours, one_line, sanitise};

/// GitHub shows ten annotations of a kind per step and drops the rest.
const ANNOTATIONS_MAX: usize = 10;
/// Failures with details in the job summary, which GitHub limits to 1 MiB.
const DETAILS_MAX: usize = 50;
/// Bytes of output per failure in the job summary.
const EXCERPT_BYTES_MAX: usize = 8 << 10;

/// Where things are.
#[derive(Clone, Debug, Default)]
pub struct GithubOptions {
    /// The file that `GITHUB_STEP_SUMMARY` names; none without it.
    pub summary_file: Option<PathBuf>,
    /// The root of the checkout (`GITHUB_WORKSPACE`), to which annotations are relative.
    pub repository_root: Option<PathBuf>,
    /// The root of the Cargo workspace, to which panics are relative.
    pub workspace_root: PathBuf,
    /// How single cases are rerun.
    pub rerun: RerunCommand,
}

/// Writes annotations to the job's log and appends to its summary.
#[derive(Debug)]
pub struct GithubReporter<W> {
    sink: W,
    options: GithubOptions,
}

impl<W: Write + Send> GithubReporter<W> {
    /// Writes workflow commands to `sink`, which must reach the job's log.
    pub fn new(sink: W, options: GithubOptions) -> Self {
        Self { sink, options }
    }
}

impl<W: Write + Send> Reporter for GithubReporter<W> {
    fn name(&self) -> &str {
        "GitHub report"
    }

    fn event(&mut self, _: Timestamp, event: &ReportEvent<'_>) -> io::Result<()> {
        let ReportEvent::RunEnded(summary) = event else {
            return Ok(());
        };
        let mut text = String::new();
        for (label, record) in failures(summary).take(ANNOTATIONS_MAX) {
            annotate(&mut text, &self.options, label, record);
        }
        self.sink.write_all(text.as_bytes())?;
        self.sink.flush()?;
        if let Some(path) = &self.options.summary_file {
            let mut file = OpenOptions::new().create(true).append(true).open(path)?;
            file.write_all(markdown(summary, &self.options.rerun).as_bytes())?;
        }
        Ok(())
    }
}

fn failures(summary: &RunSummary) -> impl Iterator<Item = (&CaseLabel, &CaseRecord)> {
    summary
        .indexed()
        .filter(|(_, record)| record.status.fails())
        .map(|(index, record)| (summary.roster.label(index), record))
}

fn failed_attempt(record: &CaseRecord) -> Option<&AttemptRecord> {
    record
        .attempts
        .iter()
        .rev()
        .find(|attempt| !attempt.outcome.passes())
}

fn annotate(text: &mut String, options: &GithubOptions, label: &CaseLabel, record: &CaseRecord) {
    let attempt = failed_attempt(record);
    let panic = attempt.and_then(|attempt| find_panic(&attempt.stderr.text()));
    let mut properties = Vec::new();
    if let Some(panic) = &panic {
        let file = in_repository(options, &panic.file);
        properties.push(format!("file={}", escape_property(&file)));
        properties.push(format!("line={},col={}", panic.line, panic.column));
    }
    let title = format!("{} {}", label.binary_id, label.name);
    properties.push(format!("title={}", escape_property(&title)));
    let message = match (panic, attempt) {
        (Some(panic), _) if !panic.message.is_empty() => panic.message,
        (_, Some(attempt)) => describe(attempt).unwrap_or_else(|| attempt.outcome.to_string()),
        (_, None) => record.status_word().to_owned(),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "::error {}::{}",
        properties.join(","),
        escape_data(&message)
    );
}

fn in_repository(options: &GithubOptions, file: &str) -> String {
    let absolute = options.workspace_root.join(file);
    let root = options
        .repository_root
        .as_deref()
        .unwrap_or(&options.workspace_root);
    absolute
        .strip_prefix(root)
        .unwrap_or(Path::new(file))
        .display()
        .to_string()
}

/// Escapes the message of a workflow command.
fn escape_data(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in sanitise(text, Colours::Strip).chars() {
        match c {
            '%' => escaped.push_str("%25"),
            '\r' => escaped.push_str("%0D"),
            '\n' => escaped.push_str("%0A"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Escapes a property of a workflow command.
fn escape_property(text: &str) -> String {
    escape_data(text).replace(':', "%3A").replace(',', "%2C")
}

fn markdown(summary: &RunSummary, rerun: &RerunCommand) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_markdown(&mut text, summary, rerun);
    text
}

fn write_markdown(text: &mut String, summary: &RunSummary, rerun: &RerunCommand) -> std::fmt::Result {
    let tally = &summary.tally;
    let sign = match summary.verdict {
        Verdict::Pass => "✅",
        Verdict::Flaky => "⚠️",
        Verdict::Fail => "❌",
        Verdict::Incomplete => "❓",
    };
    writeln!(text, "### {sign} thresh: {}\n", summary.verdict)?;
    writeln!(
        text,
        "| planned | passed | reused | flaky | failed | not run | skipped |"
    )?;
    writeln!(text, "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")?;
    writeln!(
        text,
        "| {} | {} | {} | {} | {} | {} | {} |\n",
        tally.planned,
        tally.passed,
        tally.reused,
        tally.flaky,
        tally.failed,
        tally.planned.saturating_sub(tally.reported()),
        summary.skipped
    )?;
    writeln!(
        text,
        "{:.3} s; floor {:.3} s on {} slots, packing {:.0} %\n",
        summary.took.as_secs_f64(),
        summary.floor.time.as_secs_f64(),
        summary.floor.slots,
        summary.floor.packing * 100.0
    )?;
    if summary.verdict == Verdict::Incomplete {
        writeln!(
            text,
            "Not every case was run: {}. {}\n",
            reason_clause(summary.reason),
            escape_html(&summary.message)
        )?;
    }
    for remark in remapped_failures(summary) {
        writeln!(text, "⚠️ {}\n", escape_html(&remark))?;
    }
    for (label, record) in failures(summary).take(DETAILS_MAX) {
        write_details(text, label, record, rerun)?;
    }
    let flaky: Vec<_> = summary
        .indexed()
        .filter(|(_, record)| record.status == (CaseStatus::Flaky { passes: true }))
        .collect();
    if !flaky.is_empty() {
        writeln!(text, "Flaky:\n")?;
        for (index, _) in flaky.iter().take(DETAILS_MAX) {
            let label = summary.roster.label(*index);
            writeln!(
                text,
                "- <code>{}</code>",
                escape_html(&format!("{} {}", label.binary_id, label.name))
            )?;
        }
        writeln!(text)?;
    }
    Ok(())
}

fn write_details(
    text: &mut String,
    label: &CaseLabel,
    record: &CaseRecord,
    rerun: &RerunCommand,
) -> std::fmt::Result {
    let title = escape_html(&format!("{} {}", label.binary_id, label.name));
    writeln!(text, "<details><summary>❌ <code>{title}</code></summary>\n")?;
    writeln!(text, "<pre>{}</pre>\n", escape_html(&rerun.of(label)))?;
    if let Some(attempt) = failed_attempt(record) {
        writeln!(text, "{}\n", escape_html(&attempt.outcome.to_string()))?;
        for (name, captured) in [("stdout", &attempt.stdout), ("stderr", &attempt.stderr)] {
            if !captured.is_empty() {
                let output = captured.text();
                let output = sanitise(&output, Colours::Strip);
                writeln!(text, "{name}\n<pre>{}</pre>\n", escape_block(excerpt(&output)))?;
            }
        }
    }
    writeln!(text, "</details>\n")
}

/// The end of a long text, where the failure is told.
fn excerpt(text: &str) -> &str {
    let mut start = text.len().saturating_sub(EXCERPT_BYTES_MAX);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

fn escape_html(text: &str) -> String {
    escape_block(&one_line(text))
}

/// Escapes text within `<pre>`. An empty line would end the HTML block in Markdown, so it gets a space.
fn escape_block(text: &str) -> String {
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    text.lines()
        .map(|line| if line.is_empty() { "&#8203;" } else { line })
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn annotations_name_the_place_and_are_escaped() {
        let mut out = Vec::new();
        let options = GithubOptions {
            repository_root: Some("/repo".into()),
            workspace_root: "/repo/rust".into(),
            ..GithubOptions::default()
        };
        sample::play(&mut GithubReporter::new(&mut out, options));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "::error file=rust/src/lib.rs,line=7,col=9,title=alpha tests%3A%3Ait's (odd)::100%25 wrong,%0Areally\n"
        );
    }

    #[test]
    fn a_panic_elsewhere_keeps_its_path() {
        let options = GithubOptions {
            workspace_root: "/repo".into(),
            ..GithubOptions::default()
        };
        assert_eq!(
            in_repository(&options, "/rustc/abc/library/core.rs"),
            "/rustc/abc/library/core.rs"
        );
        assert_eq!(in_repository(&options, "/repo/src/a.rs"), "src/a.rs");
    }

    #[test]
    fn the_summary_is_appended_and_cannot_be_broken_out_of() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "before\n").unwrap();
        let options = GithubOptions {
            summary_file: Some(file.path().to_owned()),
            ..GithubOptions::default()
        };
        sample::play(&mut GithubReporter::new(Vec::new(), options));
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert!(text.starts_with("before\n### ❌ thresh: fail\n"), "{text}");
        assert!(text.contains("| 5 | 1 | 1 | 1 | 1 | 1 | 4 |"), "{text}");
        assert!(text.contains("100% wrong"), "{text}");
        assert!(
            text.contains("⚠️ 2 cases failed at least once where paths differ: worker w1"),
            "{text}"
        );
        assert_eq!(escape_block("</pre>\n\n&"), "&lt;/pre&gt;\n&#8203;\n&amp;");
    }

    #[test]
    fn excerpts_keep_the_end_and_whole_characters() {
        let text = "ü".repeat(EXCERPT_BYTES_MAX);
        let kept = excerpt(&text);
        assert!(kept.len() <= EXCERPT_BYTES_MAX && kept.chars().all(|c| c == 'ü'));
    }
}
