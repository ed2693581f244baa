//! Commit after commit: check out, run with reuse, run for real, compare.

use crate::Options;
use crate::binaries::{Analyses, Binaries, explain};
use crate::coverage::Coverage;
use crate::history::{Commit, History};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use thresh_tests::reuse::{End, How, Run, Suite, passes_for_real};
use thresh_tests::status::{Case, Word};
use thresh_tests::thresh::Thresh;

/// How long one run may take, with its build.
const RUN_LIMIT: Duration = Duration::from_secs(2 * 3600);

/// What a commit came to.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The commit.
    pub(crate) commit: Commit,
    /// What it came to.
    pub(crate) came: Came,
}

/// Whether a commit could be run.
#[derive(Clone, Debug)]
pub(crate) enum Came {
    /// It ran.
    Ran(Ran),
    /// It does not build or its cases cannot be planned, and why.
    Skipped(String),
}

/// What was reused at a commit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ran {
    /// Cases of the run without reuse.
    pub(crate) cases: usize,
    /// Those that passed before with the same git tree.
    pub(crate) by_tree: usize,
    /// Those that passed before with the same test binary.
    pub(crate) by_binary: usize,
    /// Those that cargo-affected leaves out, if it was asked.
    pub(crate) by_coverage: Option<usize>,
    /// Those that were reused.
    pub(crate) reused: usize,
    /// What the reused ones took without reuse, in seconds.
    pub(crate) saved: f64,
    /// What all took without reuse, in seconds.
    pub(crate) total: f64,
    /// What cargo took, in seconds.
    pub(crate) building: f64,
    /// What new analyses took, in seconds.
    pub(crate) analysis: f64,
    /// Cases that were reused and never pass for real.
    pub(crate) wrong: Vec<Case>,
    /// Cases that were reused and do not always pass for real.
    pub(crate) flaky: Vec<Case>,
    /// Of some cases that ran, what in their code changed.
    pub(crate) explained: Vec<String>,
}

impl Row {
    /// Returns what was reused, if the commit ran.
    pub(crate) fn ran(&self) -> Option<&Ran> {
        match &self.came {
            Came::Ran(ran) => Some(ran),
            Came::Skipped(_) => None,
        }
    }
}

/// Cases that passed for real, by what they may be known by again.
#[derive(Debug, Default)]
struct Passed {
    by_tree: BTreeSet<(Case, String)>,
    by_binary: BTreeSet<(Case, String)>,
}

/// A history that is played.
pub(crate) struct Walk {
    _folder: TempDir,
    history: History,
    commits: std::vec::IntoIter<Commit>,
    suite: Suite,
    analyses: Analyses,
    passed: Passed,
    binaries: Binaries,
    started: Instant,
    limit: Option<Duration>,
    explained: usize,
    coverage: Option<Coverage>,
    stopped: bool,
}

impl Walk {
    /// Clones the repository.
    ///
    /// # Errors
    /// What git says.
    pub(crate) fn begin(options: &Options) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("thresh-replay-").tempdir();
        let folder = folder.map_err(|error| format!("no temp folder can be made: {error}"))?;
        let temp = folder.path().canonicalize().map_err(|error| error.to_string())?;
        let source = options.folder.canonicalize();
        let source = source.map_err(|error| format!("{}: {error}", options.folder.display()))?;
        let root = temp.join("workspace");
        let (history, commits) = History::clone(&source, root.clone(), &options.head, options.commits)?;
        let home = temp.join("home");
        let target = temp.join("target").to_string_lossy().into_owned();
        let coverage = options.coverage.then(|| Coverage {
            root: root.clone(),
            target: temp.join("coverage"),
            report: temp.join("coverage.json"),
            flags: options.flags.clone(),
        });
        let thresh = Thresh::new(root, &home).var("CARGO_TARGET_DIR", target);
        Ok(Self {
            _folder: folder,
            history,
            commits: commits.into_iter(),
            suite: Suite::new(thresh, Vec::new(), options.flags.clone(), RUN_LIMIT),
            analyses: Analyses::new(&home),
            passed: Passed::default(),
            binaries: Binaries::new(),
            started: Instant::now(),
            limit: options.limit,
            explained: options.explained,
            coverage,
            stopped: false,
        })
    }

    /// Plays the next commit; `None` when there is no more, or the time is over.
    pub(crate) fn next(&mut self) -> Option<Row> {
        self.stopped = self.limit.is_some_and(|limit| self.started.elapsed() >= limit);
        let commit = (!self.stopped).then(|| self.commits.next()).flatten()?;
        let came = match self.history.check_out(&commit) {
            Ok(()) => self.play(&commit),
            Err(problem) => Came::Skipped(problem),
        };
        Some(Row { commit, came })
    }

    /// Says when commits are left because the time was over.
    pub(crate) fn ending(&self) -> String {
        match (self.stopped, self.commits.len()) {
            (true, left @ 1..) => format!("The time is over: {left} commits are left.\n"),
            _ => String::new(),
        }
    }

    fn play(&mut self, commit: &Commit) -> Came {
        let first = self.suite.run(How::Reuse);
        match &first.end {
            End::Cases => {}
            End::Unbuilt => return Came::Skipped("it does not build".to_owned()),
            End::Stopped(why) => return Came::Skipped(why.clone()),
        }
        let real = self.suite.run(How::Real);
        let settled = self.suite.settle(&first.statuses, &real.statuses);
        let binaries = self.analyses.built(&self.suite);
        let explained = self.explain(&first, &binaries);
        let by_coverage = match self.coverage.as_ref().map(Coverage::left_out).transpose() {
            Ok(by_coverage) => by_coverage,
            Err(problem) => return Came::Skipped(problem),
        };
        let mut ran = Ran {
            building: first.building,
            analysis: self.analyses.took().as_secs_f64(),
            wrong: settled.wrong,
            flaky: settled.flaky,
            explained,
            by_coverage,
            ..count(&first, &real)
        };
        (ran.by_tree, ran.by_binary) = self.passed.count_and_add(&real, &commit.tree, &binaries);
        self.binaries = binaries;
        Came::Ran(ran)
    }

    fn explain(&self, first: &Run, binaries: &Binaries) -> Vec<String> {
        let ran = first
            .statuses
            .iter()
            .filter(|(_, status)| status.word != Word::Reused);
        let changed = ran.filter_map(|(case, _)| {
            let (old, new) = (self.binaries.get(&case.0)?, binaries.get(&case.0)?);
            self.passed
                .by_binary
                .contains(&(case.clone(), old.digest.to_string()))
                .then(|| explain(case, old, new))
        });
        changed.take(self.explained).collect()
    }
}

/// What two runs of one build say of reuse.
fn count(first: &Run, real: &Run) -> Ran {
    let is_reused = |case: &Case| {
        first
            .statuses
            .get(case)
            .is_some_and(|status| status.word == Word::Reused)
    };
    let reused = real.seconds.iter().filter(|(case, _)| is_reused(case));
    Ran {
        cases: real.statuses.len(),
        reused: first.statuses.keys().filter(|case| is_reused(case)).count(),
        saved: reused.fold(0.0, |sum, (_, seconds)| sum + seconds),
        total: real.seconds.values().fold(0.0, |sum, seconds| sum + seconds),
        ..Ran::default()
    }
}

impl Passed {
    /// Counts the cases that passed before, by tree and by binary, and adds those that pass now.
    fn count_and_add(&mut self, real: &Run, tree: &str, binaries: &Binaries) -> (usize, usize) {
        let (mut trees, mut by_binary) = (0, 0);
        for (case, status) in &real.statuses {
            let of_tree = (case.clone(), tree.to_owned());
            let of_binary = binaries
                .get(&case.0)
                .map(|binary| (case.clone(), binary.digest.to_string()));
            trees += usize::from(self.by_tree.contains(&of_tree));
            by_binary += usize::from(of_binary.as_ref().is_some_and(|key| self.by_binary.contains(key)));
            if passes_for_real(*status) {
                self.by_tree.insert(of_tree);
                self.by_binary.extend(of_binary);
            }
        }
        (trees, by_binary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binaries::Binary;
    use thresh_core::digest::Digest;
    use thresh_tests::status::{Status, Statuses};

    fn run(cases: &[(&str, Word, f64)]) -> Run {
        let case = |name: &str| ("b".to_owned(), name.to_owned());
        let passes = |word| matches!(word, Word::Passed | Word::Reused);
        let status = |(name, word, _): &(&str, Word, f64)| (case(name), Status::new(*word, passes(*word)));
        Run {
            end: End::Cases,
            statuses: cases.iter().map(status).collect::<Statuses>(),
            seconds: cases
                .iter()
                .map(|(name, _, seconds)| (case(name), *seconds))
                .collect(),
            building: 0.0,
            took: Duration::ZERO,
            stderr: String::new(),
        }
    }

    #[test]
    fn what_is_saved_is_what_reused_cases_take_for_real() {
        let first = run(&[("one", Word::Reused, 0.0), ("two", Word::Passed, 9.0)]);
        let real = run(&[("one", Word::Passed, 1.0), ("two", Word::Passed, 2.0)]);
        let ran = count(&first, &real);
        assert_eq!((ran.cases, ran.reused, ran.saved, ran.total), (2, 1, 1.0, 3.0));
    }

    #[test]
    fn a_case_is_known_again_where_it_passed() {
        let binaries = |content: &[u8]| {
            let binary = Binary {
                digest: Digest::of(content),
                analysis: None,
            };
            Binaries::from([("b".to_owned(), binary)])
        };
        let (one, other) = (binaries(b"1"), binaries(b"2"));
        let real = run(&[("good", Word::Passed, 0.0), ("bad", Word::Failed, 0.0)]);
        let mut passed = Passed::default();
        assert_eq!(passed.count_and_add(&real, "tree", &one), (0, 0));
        assert_eq!(passed.count_and_add(&real, "tree", &one), (1, 1));
        assert_eq!(passed.count_and_add(&real, "second", &one), (0, 1));
        assert_eq!(passed.count_and_add(&real, "tree", &other), (1, 0));
        assert_eq!(passed.count_and_add(&real, "third", &Binaries::new()), (0, 0));
    }
}
