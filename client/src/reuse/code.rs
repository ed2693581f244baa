//! What each case can reach of its test binary, where that is known.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use thresh_core::digest::{Digest, FieldHasher};
use thresh_reach::{Analysis, Locations};

use super::keys::SuiteFiles;
use super::seen::Programs;

/// Keys of code by binary and case, from the analyses that the linker's wrapper made.
#[derive(Clone, Debug, Default)]
pub struct CodeKeys {
    /// By the binary's position in the suite, then by the case's name. A case without a key has the binary's digest.
    cases: BTreeMap<usize, BTreeMap<String, Digest>>,
    programs: Programs,
}

impl CodeKeys {
    /// Reads the analyses in `folder` of the suite's test binaries and programs. One that is missing or damaged, or says that
    /// its cases cannot be told apart, gives no keys.
    pub fn load(files: &SuiteFiles, folder: &Path, locations: Locations) -> Self {
        let binaries: Vec<(usize, Digest)> = files.binaries().collect();
        let cases = binaries.par_iter().filter_map(|(at, digest)| {
            let analysis = load(folder, digest)?;
            Some((*at, case_keys(&analysis, locations)))
        });
        let programs: Vec<(&Path, Digest)> = files.program_files().collect();
        // A program may print where it panics, and who started it may look at that.
        let programs = programs.par_iter().filter_map(|(path, digest)| {
            let key = load(folder, digest)?.program(Locations::Exact)?;
            Some((PathBuf::from(path), key))
        });
        Self {
            cases: cases.collect(),
            programs: programs.collect(),
        }
    }

    /// The key of what a case can reach.
    pub fn of(&self, binary: usize, case: &str) -> Option<Digest> {
        self.cases.get(&binary)?.get(case).copied()
    }

    /// The programs whose code is known.
    pub(crate) fn programs(&self) -> &Programs {
        &self.programs
    }
}

fn load(folder: &Path, binary: &Digest) -> Option<Analysis> {
    let analysis = Analysis::load(&Analysis::path(folder, binary));
    let analysis = analysis.inspect_err(|error| tracing::debug!("failed to {error}"));
    analysis.ok().filter(|analysis| analysis.whole().is_none())
}

/// The keys of a binary's cases. Several cases of one name run together: each is in the key.
pub(super) fn case_keys(analysis: &Analysis, locations: Locations) -> BTreeMap<String, Digest> {
    let mut keys: BTreeMap<String, Digest> = BTreeMap::new();
    for case in analysis.keys(locations) {
        keys.entry(case.name.to_owned())
            .and_modify(|key| {
                let mut both = FieldHasher::new("thresh cases of one name v1");
                *key = both.field(key.as_bytes()).field(case.key.as_bytes()).finish();
            })
            .or_insert(case.key);
    }
    keys
}
