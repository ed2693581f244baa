//! Why a case would be run or reused.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;
use thresh_cas::Manifest;
use thresh_core::digest::Digest;
use thresh_core::id::RunId;
use thresh_core::reuse::{KeyPart, KeyParts, differing_parts};
use thresh_core::time::Timestamp;

use super::keys::CaseKeys;
use super::record::{RecordFolder, changes};
use crate::report::one_line;

/// Names that are shown of what differs in one part.
const SHOWN_MAX: usize = 20;

/// What is said where a case's code is told apart by that now, or was then.
const OPENS_NOTHING: &str = "none count, as its code can open no file";
const OPENED_NOTHING: &str = "none counted, as its code could open no file then";

/// The last stored pass of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastPass {
    /// The run that passed.
    pub run_id: RunId,
    /// When.
    pub at: Timestamp,
    /// Under which key parts.
    pub parts: KeyParts,
}

/// What is known of a case's past.
#[derive(Clone, Debug, Default)]
pub struct Past<'a> {
    /// Its latest stored pass.
    pub last: Option<&'a PastPass>,
    /// A pass, perhaps an earlier one, is stored under its present key.
    pub is_reusable: bool,
    /// Such a pass is stored, but an audit found that not to stand for a run.
    pub is_distrusted: bool,
    /// What of its reachable code is not as at that pass; empty where that is not known.
    pub code: Vec<String>,
    /// Why not only what it can reach of its test binary counts for it now, but all.
    pub whole: Option<&'a str>,
    /// What of all that the pass was seen to read is not so any more, empty if all of it is; none where that is not known.
    pub seen: Option<Vec<String>>,
}

/// Why a case would be run or reused.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// nextest's binary id.
    pub binary_id: String,
    /// The case.
    pub name: String,
    /// Whether its last pass would stand for a new run.
    pub reused: bool,
    /// Why, in a sentence.
    pub reason: String,
    /// Why all of its test binary counts for it, if not only what it can reach does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whole_binary: Option<String>,
    /// The run of the last pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_pass_run: Option<String>,
    /// When it was, in seconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_pass_at: Option<f64>,
    /// The parts of the key that differ from it.
    pub changes: Vec<PartChange>,
}

/// A part of the key that is not what it was at the last pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartChange {
    /// The part's word.
    pub part: &'static str,
    /// What differs in it, at most 20 names; empty when that is no longer known.
    pub what: Vec<String>,
    /// How many more differ.
    pub more: usize,
}

/// Explains the case at `position` of the suite whose `keys` these are. `sources` is the manifest behind the
/// part `files`.
pub fn explain(
    (binary_id, name): (&str, &str),
    position: usize,
    keys: &CaseKeys,
    sources: &Manifest,
    past: &Past<'_>,
    records: &RecordFolder,
) -> Explanation {
    let last = past.last;
    let mut explanation = Explanation {
        binary_id: binary_id.to_owned(),
        name: name.to_owned(),
        reused: false,
        reason: String::new(),
        whole_binary: past.whole.map(str::to_owned),
        last_pass_run: last.map(|pass| pass.run_id.to_string()),
        last_pass_at: last.map(|pass| pass.at.as_micros() as f64 / 1e6),
        changes: Vec::new(),
    };
    match (keys.parts_of(position), last) {
        (None, _) => {
            explanation.reason = "its setup scripts may do anything, so it always runs".to_owned();
        }
        (Some(_), _) if past.is_reusable => {
            explanation.reused = true;
            explanation.reason = if keys.opens_nothing(position) {
                "a clean pass is stored; what it can reach is as it was, and its code can open no file"
            } else if keys.seen[position].is_some() {
                "a clean pass is stored; what it can reach and what it was seen to read is as it was"
            } else {
                "a clean pass with the same key is stored"
            }
            .to_owned();
        }
        (Some(_), _) if past.is_distrusted => {
            explanation.reason =
                "a clean pass with the same key is stored, but an audit disagreed (thresh audit \
                                  report); `thresh audit trust` lets it be reused again"
                    .to_owned();
        }
        (Some(_), None) => explanation.reason = "no clean pass of it is stored".to_owned(),
        (Some(now), Some(last)) => {
            let own = keys.own_parts_of(position).unwrap_or_else(|| now.clone());
            let different = differing_parts(&last.parts, &comparable((&now, &own), past, last));
            explanation.reason = if different.is_empty() {
                "its last pass has the same key, but is no longer stored".to_owned()
            } else {
                let words: Vec<&str> = different
                    .iter()
                    .map(|difference| difference.part.word())
                    .collect();
                format!("changed since its last pass: {}", words.join(", "))
            };
            explanation.changes = different
                .iter()
                .map(|difference| {
                    let mut what = match difference.part {
                        KeyPart::Code if !past.code.is_empty() => past.code.clone(),
                        KeyPart::Files if keys.opens_nothing(position) => vec![OPENS_NOTHING.to_owned()],
                        KeyPart::Files if last.parts.has_no_files() => vec![OPENED_NOTHING.to_owned()],
                        KeyPart::Files if last.parts.is_seen() => past.seen.clone().unwrap_or_default(),
                        KeyPart::Files => changed_files(difference.then, sources, records),
                        _ => changed_values(difference.then, difference.now, keys, records),
                    };
                    let more = what.len().saturating_sub(SHOWN_MAX);
                    what.truncate(SHOWN_MAX);
                    PartChange {
                        part: difference.part.word(),
                        what,
                        more,
                    }
                })
                .collect();
        }
    }
    explanation
}

/// The present parts in the form of the last pass's: by what that was seen to read, if it was.
fn comparable((now, own): (&KeyParts, &KeyParts), past: &Past<'_>, last: &PastPass) -> KeyParts {
    if !last.parts.is_seen() {
        return now.clone();
    }
    let were_looked_at = !last.parts.has_no_files() && !now.has_no_files();
    let holds = were_looked_at && past.seen.as_ref().is_some_and(Vec::is_empty);
    let files = if holds { last.parts.files } else { now.files };
    own.with_seen(files)
}

fn changed_values(then: Digest, now: Digest, keys: &CaseKeys, records: &RecordFolder) -> Vec<String> {
    match (records.values(then), keys.records.get(&now)) {
        (Some(then), Some(now)) => changes(&then, now),
        _ => Vec::new(),
    }
}

fn changed_files(then: Digest, now: &Manifest, records: &RecordFolder) -> Vec<String> {
    let Some(then) = records.bytes(then).and_then(|bytes| Manifest::parse(&bytes).ok()) else {
        return Vec::new();
    };
    let diff = Manifest::diff(&then, now);
    let mut names: Vec<String> = diff
        .changed
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    names.extend(diff.added.iter().map(|path| format!("{} (new)", path.display())));
    names.extend(
        diff.removed
            .iter()
            .map(|path| format!("{} (gone)", path.display())),
    );
    names
}

/// Writes an explanation for people.
///
/// # Errors
/// `sink` cannot be written to.
pub fn write_explanation(sink: &mut impl Write, explanation: &Explanation) -> io::Result<()> {
    write!(sink, "{explanation}")
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.reused { "is reused" } else { "runs" };
        writeln!(
            f,
            "{} {} {verb}: {}",
            self.binary_id,
            one_line(&self.name),
            self.reason
        )?;
        if let Some(why) = &self.whole_binary {
            writeln!(f, "  all of its test binary counts: {}", one_line(why))?;
        }
        if let Some(run) = &self.last_pass_run {
            writeln!(f, "  last pass: run {run}")?;
        }
        for change in &self.changes {
            if change.what.is_empty() {
                writeln!(
                    f,
                    "  {}: differs (what it was is no longer known here)",
                    change.part
                )?;
                continue;
            }
            writeln!(f, "  {}:", change.part)?;
            for name in &change.what {
                writeln!(f, "    {}", one_line(name))?;
            }
            if change.more > 0 {
                writeln!(f, "    and {} more", change.more)?;
            }
        }
        Ok(())
    }
}
