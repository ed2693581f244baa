//! What each case can reach of its test binary, where that is known.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rayon::prelude::*;
use thresh_cas::{Digested, FileStamp};
use thresh_core::digest::{Digest, FieldHasher};
use thresh_reach::{Analysis, LoadError, Locations, Summary};

use super::keys::{SuiteFiles, code_record};
use super::seen::Programs;

/// How many analyses are searched for that of an earlier binary.
const LOOKED_AT_MAX: usize = 100;

/// What is known of a case's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaseCode {
    /// Over all that it can reach.
    pub key: Digest,
    /// It may look at the version of its package in its environment.
    pub sees_version: bool,
    /// It may open files, or learn of its machine in another way.
    pub opens: bool,
}

/// Keys of code by binary and case, from the analyses that the linker's wrapper made.
#[derive(Clone, Debug, Default)]
pub struct CodeKeys {
    /// By the binary's position in the suite, then by the case's name. A case without a key has the binary's digest.
    cases: BTreeMap<usize, BTreeMap<String, CaseCode>>,
    /// Why the cases of a binary are not told apart, by its position.
    whole: BTreeMap<usize, String>,
    programs: Programs,
}

impl CodeKeys {
    /// Reads the analyses in `folder` of the suite's test binaries and programs. One that is missing or damaged, or says that
    /// its cases cannot be told apart, gives no keys.
    pub fn load(files: &SuiteFiles, folder: &Path, locations: Locations) -> Self {
        let binaries: Vec<(usize, &Digested)> = files.binaries().collect();
        let each = binaries.par_iter().map(|(at, binary)| {
            let keys = load(folder, binary).map(|summary| case_keys(&summary, locations));
            (*at, keys)
        });
        let each: Vec<(usize, Result<_, String>)> = each.collect();
        let (mut cases, mut whole) = (BTreeMap::new(), BTreeMap::new());
        for (at, keys) in each {
            match keys {
                Ok(keys) => drop(cases.insert(at, keys)),
                Err(why) => drop(whole.insert(at, why)),
            }
        }
        let programs: Vec<&Digested> = files.program_files().collect();
        // A program may print where it panics, and who started it may look at that.
        let programs = programs.par_iter().filter_map(|program| {
            let key = load(folder, program).ok()?.program(Locations::Exact)?;
            Some((program.path.clone(), key))
        });
        Self {
            cases,
            whole,
            programs: programs.collect(),
        }
    }

    /// What is known of the cases of one binary.
    #[cfg(test)]
    pub(super) fn of_binary<const N: usize>(binary: usize, cases: [(&str, CaseCode); N]) -> Self {
        let cases = cases.map(|(name, code)| (name.to_owned(), code));
        Self {
            cases: [(binary, cases.into())].into(),
            ..Self::default()
        }
    }

    /// What is known of a case's code.
    pub fn of(&self, binary: usize, case: &str) -> Option<CaseCode> {
        self.cases.get(&binary)?.get(case).copied()
    }

    /// Why the whole of a binary counts for each of its cases, where that is so.
    pub(crate) fn why_whole(&self, binary: usize) -> Option<&str> {
        self.whole.get(&binary).map(String::as_str)
    }

    /// What of a case's reachable code is not as it was at a pass whose part `code` was `then`: functions and constants, and how the
    /// first is reached. Empty where that is not known. The analysis of the binary of that pass is looked for among the newest
    /// in `folder`.
    pub(crate) fn changes(
        files: &SuiteFiles,
        (binary, case): (usize, &str),
        then: Digest,
        folder: &Path,
        locations: Locations,
    ) -> Vec<String> {
        let path = files.hashed(binary).and_then(|binary| path_of(folder, binary));
        let Some(now) = path.and_then(|path| Analysis::load(&path).ok()) else {
            return Vec::new();
        };
        let is_of_then = |summary: &Summary| {
            let reach = case_keys(summary, locations).remove(case);
            reach.is_some_and(|reach| code_record(files, binary, Some(reach.key)).digest() == then)
        };
        let mut newest = newest(folder).into_iter().take(LOOKED_AT_MAX);
        let difference = newest.find_map(|path| {
            Summary::load(&path).ok().filter(is_of_then)?;
            let then = Analysis::load(&path).ok()?;
            thresh_reach::explain(&then, &now, case, locations)
        });
        let Some(difference) = difference else {
            return Vec::new();
        };
        let path =
            (difference.path.len() > 1).then(|| format!("reached by: {}", difference.path.join(" -> ")));
        difference.changed.into_iter().chain(path).collect()
    }

    /// The programs whose code is known.
    pub(crate) fn programs(&self) -> &Programs {
        &self.programs
    }
}

/// The files of analyses, newest first.
fn newest(folder: &Path) -> Vec<PathBuf> {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    let mut files: Vec<(SystemTime, PathBuf)> = entries
        .filter_map(|entry| {
            let metadata = entry.metadata().ok().filter(Metadata::is_file)?;
            Some((metadata.modified().ok()?, entry.path()))
        })
        .collect();
    files.sort_by(|one, other| other.cmp(one));
    files.into_iter().map(|(_, path)| path).collect()
}

/// Where the analysis of a binary is kept. What was hashed has to be there still: the pass of one binary must not come under the key of another.
fn path_of(folder: &Path, binary: &Digested) -> Option<PathBuf> {
    let is_same = |data: &Metadata| FileStamp::from_metadata(data) == binary.stamp;
    Analysis::path(folder, &binary.path, &binary.digest, is_same)
}

/// The analysis of a binary, or why there is none that tells its cases apart.
fn load(folder: &Path, binary: &Digested) -> Result<Summary, String> {
    let path = path_of(folder, binary).ok_or("it is no executable that could be read, or changes")?;
    let summary = match Summary::load(&path) {
        Ok(summary) => summary,
        Err(LoadError::Read { cause, .. }) if cause.kind() == ErrorKind::NotFound => {
            return Err(
                "thresh did not see how it was linked; that is looked at when it is linked again".to_owned(),
            );
        }
        Err(error) => return Err(error.to_string()),
    };
    match summary.whole() {
        Some(why) => Err(why.to_owned()),
        None => Ok(summary),
    }
}

/// The keys of a binary's cases. Several cases of one name run together: each is in the key.
fn case_keys(summary: &Summary, locations: Locations) -> BTreeMap<String, CaseCode> {
    let mut keys: BTreeMap<String, CaseCode> = BTreeMap::new();
    for case in summary.keys(locations) {
        keys.entry(case.name.to_owned())
            .and_modify(|first| {
                let mut both = FieldHasher::new("thresh cases of one name v1");
                first.key = both
                    .field(first.key.as_bytes())
                    .field(case.key.as_bytes())
                    .finish();
                first.sees_version |= case.sees_version;
                first.opens |= case.opens;
            })
            .or_insert(CaseCode {
                key: case.key,
                sees_version: case.sees_version,
                opens: case.opens,
            });
    }
    keys
}

#[cfg(test)]
mod tests {
    use std::fs;

    use thresh_cas::digest_file;

    use super::*;

    #[test]
    fn what_was_replaced_after_it_was_hashed_has_no_analysis() {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("binary");
        fs::copy("/bin/sh", &binary).unwrap();
        let hashed = digest_file(&binary).unwrap();
        let kept = path_of(folder.path(), &hashed);
        assert!(kept.is_some());
        let next = folder.path().join("next");
        fs::copy("/bin/ls", &next).unwrap();
        fs::rename(&next, &binary).unwrap();
        assert_eq!(path_of(folder.path(), &hashed), None);
        let hashed = digest_file(&binary).unwrap();
        assert!(path_of(folder.path(), &hashed).is_some_and(|path| Some(path) != kept));
        fs::write(&binary, "no executable").unwrap();
        assert_eq!(path_of(folder.path(), &digest_file(&binary).unwrap()), None);
    }
}
