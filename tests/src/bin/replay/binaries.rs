//! The test binaries of a commit, and what is known of their links.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thresh_core::digest::Digest;
use thresh_reach::{Analysis, Locations, Summary};
use thresh_tests::reuse::Suite;
use thresh_tests::status::Case;

/// Test binaries by binary id.
pub(crate) type Binaries = BTreeMap<String, Binary>;

/// A test binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binary {
    pub(crate) digest: Digest,
    /// Where its analysis is kept, if there is one.
    pub(crate) analysis: Option<PathBuf>,
}

/// The analyses that `thresh` keeps in its state folder.
#[derive(Debug)]
pub(crate) struct Analyses {
    folder: PathBuf,
    known: BTreeSet<PathBuf>,
}

impl Analyses {
    /// Looks below this state folder, which need not be there yet.
    pub(crate) fn new(home: &Path) -> Self {
        Self {
            folder: home.join("reach"),
            known: BTreeSet::new(),
        }
    }

    /// Returns the test binaries that are built now; none that cannot be read.
    pub(crate) fn built(&self, suite: &Suite) -> Binaries {
        let text = suite.list().stdout();
        let list: Value = serde_json::from_str(&text).unwrap_or_default();
        let suites = list["rust-suites"].as_object().into_iter().flatten();
        let binaries = suites.filter_map(|(id, suite)| {
            let path = Path::new(suite["binary-path"].as_str()?);
            let digest = Digest::of(&fs::read(path).ok()?);
            // Nobody builds meanwhile.
            let analysis = Analysis::path(&self.folder, path, &digest, |_| true);
            let binary = Binary { digest, analysis };
            Some((id.clone(), binary))
        });
        binaries.collect()
    }

    /// Returns how long the analyses took that were not there the last time.
    pub(crate) fn took(&mut self) -> Duration {
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let files = files.map(|entry| entry.path());
        let new: Vec<PathBuf> = files
            .filter(|file| file.extension().is_some_and(|ending| ending == "reach"))
            .filter(|file| !self.known.contains(file))
            .collect();
        let took = new
            .iter()
            .filter_map(|file| Some(Summary::load(file).ok()?.took()));
        let took = took.sum();
        self.known.extend(new);
        took
    }
}

impl Binary {
    fn analysis(&self) -> Option<Analysis> {
        Analysis::load(self.analysis.as_ref()?).ok()
    }
}

/// Says what in the code of a case differs between two binaries.
pub(crate) fn explain(case: &Case, old: &Binary, new: &Binary) -> String {
    let (binary_id, name) = case;
    let said = match (old.analysis(), new.analysis()) {
        _ if old.digest == new.digest => "the same binary: something else changed".to_owned(),
        (Some(old), Some(new)) => {
            match thresh_reach::explain(&old, &new, name, Locations::IgnoreUnlessObserved) {
                Some(difference) => {
                    let changed = difference
                        .changed
                        .first()
                        .map_or("what is common", String::as_str);
                    let more = difference.changed.len().saturating_sub(1);
                    format!("{changed} and {more} more, by {}", difference.path.join(" > "))
                }
                None => match new.summary().whole() {
                    Some(why) => format!("cases are not told apart: {why}"),
                    None => "the same code: something else changed".to_owned(),
                },
            }
        }
        _ => "one of its binaries has no analysis".to_owned(),
    };
    format!("{binary_id} {name}: {said}")
}
