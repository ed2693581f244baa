//! Which cases to run: filtersets, name patterns, ignored cases.

use std::collections::BTreeSet;

use guppy::graph::PackageGraph;
use nextest_filtering::{BinaryQuery, Filterset, FiltersetKind, ParseContext, TestQuery};
use nextest_metadata::{MismatchReason, NextestExitCode, RustTestSuiteStatusSummary};
use thresh_core::fault::Fault;

use super::partition::Partition;
use crate::nextest::{FiltersetError, Profile, parse_filterset};

/// What the user asked to be run.
#[derive(Clone, Debug, Default)]
pub struct SelectionOptions {
    /// `-E`: a case must be in one of these, where there are any.
    pub filtersets: Vec<String>,
    /// Positional patterns: a case's name must hold one of these, where there are any.
    pub patterns: Vec<String>,
    /// What follows `--`: patterns and some of libtest's options.
    pub test_arguments: Vec<String>,
    /// `--run-ignored`.
    pub run_ignored: Option<RunIgnored>,
    /// `--ignore-default-filter`.
    pub ignore_default_filter: bool,
    /// `--partition`.
    pub partition: Option<Partition>,
}

/// Which cases run, of ignored ones and others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunIgnored {
    /// Those that are not ignored.
    #[default]
    Default,
    /// Those that are ignored.
    Only,
    /// All.
    All,
}

/// The user asked for something that does not make sense.
#[derive(Debug, thiserror::Error)]
pub enum SelectionError {
    /// Filtersets that do not parse.
    #[error("read filtersets: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Filtersets(Vec<FiltersetError>),
    /// Arguments after `--`.
    #[error("read arguments after `--`: {problem}: {}", shell_words::join(.arguments))]
    TestArguments {
        /// What is wrong.
        problem: &'static str,
        /// With which.
        arguments: Vec<String>,
    },
}

impl SelectionError {
    /// Whose fault this is.
    pub fn fault(&self) -> Fault {
        Fault::Input
    }

    /// Returns the exit code that cargo-nextest has for this error.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Filtersets(_) => NextestExitCode::INVALID_FILTERSET,
            Self::TestArguments { .. } => NextestExitCode::SETUP_ERROR,
        }
    }
}

/// What is to be run, ready to be asked about cases.
#[derive(Debug)]
pub struct Selection {
    filtersets: Vec<Filterset>,
    patterns: Patterns,
    run_ignored: RunIgnored,
    with_default_filter: bool,
    /// Which part of what is selected.
    pub partition: Option<Partition>,
    /// Whether `--nocapture` was among the arguments after `--`.
    pub no_capture: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Patterns {
    substrings: Vec<String>,
    exact: BTreeSet<String>,
    skip: Vec<String>,
    skip_exact: BTreeSet<String>,
}

impl Patterns {
    fn accepts(&self, name: &str) -> bool {
        let holds = |patterns: &[String]| patterns.iter().any(|pattern| name.contains(pattern.as_str()));
        let any = self.substrings.is_empty() && self.exact.is_empty();
        !self.skip_exact.contains(name)
            && !holds(&self.skip)
            && (any || self.exact.contains(name) || holds(&self.substrings))
    }
}

impl Selection {
    /// Whether ignored cases are among those to be run.
    pub fn runs_ignored(&self) -> bool {
        self.run_ignored != RunIgnored::Default
    }

    /// Reads what the user asked for.
    ///
    /// # Errors
    /// When a filterset does not parse or matches nothing that exists, or arguments after `--` are not
    /// understood or contradict each other.
    pub fn new(
        options: &SelectionOptions,
        profile: &Profile,
        graph: &PackageGraph,
    ) -> Result<Self, SelectionError> {
        let context = ParseContext::new(graph);
        let groups = profile.known_groups();
        let (mut filtersets, mut errors) = (Vec::new(), Vec::new());
        for text in &options.filtersets {
            match parse_filterset(text, &context, FiltersetKind::Test, &groups) {
                Ok(filterset) => filtersets.push(filterset),
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(SelectionError::Filtersets(errors));
        }
        let arguments = TestArguments::read(options)?;
        Ok(Self {
            filtersets,
            patterns: arguments.patterns,
            run_ignored: arguments.run_ignored.unwrap_or_default(),
            with_default_filter: !options.ignore_default_filter,
            partition: options.partition,
            no_capture: arguments.no_capture,
        })
    }

    /// Says why no case of `binary` can be selected; `None` where one may be, so that it must be listed.
    pub fn binary_mismatch(
        &self,
        binary: &BinaryQuery<'_>,
        profile: &Profile,
    ) -> Option<RustTestSuiteStatusSummary> {
        let context = profile.eval_context();
        let outside = |filter: &Filterset| filter.matches_binary(binary, &context) == Some(false);
        if !self.filtersets.is_empty() && self.filtersets.iter().all(outside) {
            return Some(RustTestSuiteStatusSummary::SKIPPED);
        }
        let default = profile.default_filter().matches_binary(binary, &context);
        (self.with_default_filter && default == Some(false))
            .then_some(RustTestSuiteStatusSummary::SKIPPED_DEFAULT_FILTER)
    }

    /// Says why `case` is not selected; `None` where it is, less the partition.
    pub fn case_mismatch(
        &self,
        case: &TestQuery<'_>,
        ignored: bool,
        profile: &Profile,
    ) -> Option<MismatchReason> {
        let context = profile.eval_context();
        let left_out = match self.run_ignored {
            RunIgnored::Default => ignored,
            RunIgnored::Only => !ignored,
            RunIgnored::All => false,
        };
        if left_out {
            return Some(MismatchReason::Ignored);
        }
        if !self.patterns.accepts(case.test_name.as_str()) {
            return Some(MismatchReason::String);
        }
        let inside = |filter: &Filterset| filter.matches_test_with_groups(case, &context, profile);
        if !self.filtersets.is_empty() && !self.filtersets.iter().any(inside) {
            return Some(MismatchReason::Expression);
        }
        let in_default = !self.with_default_filter || profile.default_filter().matches_test(case, &context);
        (!in_default).then_some(MismatchReason::DefaultFilter)
    }
}

/// What the arguments after `--` say, with what was said before.
#[derive(Debug)]
struct TestArguments {
    patterns: Patterns,
    run_ignored: Option<RunIgnored>,
    no_capture: bool,
}

impl TestArguments {
    fn read(options: &SelectionOptions) -> Result<Self, SelectionError> {
        let arguments = &options.test_arguments;
        let before_patterns = arguments.iter().take_while(|argument| *argument != "--");
        let exact = match before_patterns.filter(|argument| *argument == "--exact").count() {
            0 => false,
            1 => true,
            _ => return Err(fault("given twice", "--exact")),
        };
        let mut read = Self {
            patterns: Patterns {
                substrings: options.patterns.clone(),
                ..Patterns::default()
            },
            run_ignored: options.run_ignored,
            no_capture: false,
        };
        let mut unknown = Vec::new();
        let mut only_patterns = false;
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                pattern if only_patterns || !pattern.starts_with('-') => read.pattern(pattern, exact),
                "--" => only_patterns = true,
                "--exact" => {}
                "--include-ignored" => read.ignored(argument, RunIgnored::All)?,
                "--ignored" => read.ignored(argument, RunIgnored::Only)?,
                "--nocapture" | "--no-capture" if read.no_capture => {
                    return Err(fault("given twice", argument));
                }
                "--nocapture" | "--no-capture" => read.no_capture = true,
                "--skip" => match rest.next() {
                    Some(pattern) => read.skip(pattern, exact),
                    None => return Err(fault("a pattern is missing after", argument)),
                },
                _ => unknown.push(argument.clone()),
            }
        }
        if unknown.is_empty() {
            Ok(read)
        } else {
            Err(SelectionError::TestArguments {
                problem: "not supported",
                arguments: unknown,
            })
        }
    }

    fn pattern(&mut self, pattern: &str, exact: bool) {
        if exact {
            self.patterns.exact.insert(pattern.to_owned());
        } else {
            self.patterns.substrings.push(pattern.to_owned());
        }
    }

    fn skip(&mut self, pattern: &str, exact: bool) {
        if exact {
            self.patterns.skip_exact.insert(pattern.to_owned());
        } else {
            self.patterns.skip.push(pattern.to_owned());
        }
    }

    fn ignored(&mut self, argument: &str, which: RunIgnored) -> Result<(), SelectionError> {
        match self.run_ignored.replace(which) {
            None => Ok(()),
            Some(before) if before == which => Err(fault("given twice", argument)),
            Some(_) => Err(fault("contradicts another option", argument)),
        }
    }
}

fn fault(problem: &'static str, argument: &str) -> SelectionError {
    SelectionError::TestArguments {
        problem,
        arguments: vec![argument.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(before: &[&str], after: &[&str]) -> Result<TestArguments, String> {
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        TestArguments::read(&SelectionOptions {
            patterns: owned(before),
            test_arguments: owned(after),
            ..SelectionOptions::default()
        })
        .map_err(|error| error.to_string())
    }

    #[test]
    fn patterns_are_parts_of_names_and_skip_is_stronger() {
        let patterns = read(&["one"], &["two", "--skip", "three", "--", "--four"])
            .unwrap()
            .patterns;
        for (name, accepted) in [
            ("a::one", true),
            ("two", true),
            ("b--four", true),
            ("one::three", false),
            ("other", false),
        ] {
            assert_eq!(patterns.accepts(name), accepted, "{name}");
        }
        assert!(read(&[], &["--skip", "x"]).unwrap().patterns.accepts("other"));
    }

    #[test]
    fn exact_concerns_what_follows_the_hyphens() {
        let patterns = read(&["part"], &["whole", "--exact", "--skip", "a part"])
            .unwrap()
            .patterns;
        assert!(patterns.accepts("whole") && patterns.accepts("the part"));
        assert!(!patterns.accepts("whole one") && !patterns.accepts("a part"));
    }

    #[test]
    fn ignored_and_capture_options_are_read() {
        assert_eq!(
            read(&[], &["--ignored"]).unwrap().run_ignored,
            Some(RunIgnored::Only)
        );
        assert_eq!(
            read(&[], &["--include-ignored"]).unwrap().run_ignored,
            Some(RunIgnored::All)
        );
        assert!(read(&[], &["--no-capture"]).unwrap().no_capture);
    }

    #[test]
    fn bad_arguments_are_refused() {
        for (arguments, expected) in [
            (&["--exact", "--exact"][..], "given twice: --exact"),
            (
                &["--ignored", "--include-ignored"],
                "contradicts another option: --include-ignored",
            ),
            (&["--ignored", "--ignored"], "given twice: --ignored"),
            (&["--nocapture", "--no-capture"], "given twice: --no-capture"),
            (&["--skip"], "a pattern is missing after: --skip"),
            (
                &["--bench", "--color=always"],
                "not supported: --bench '--color=always'",
            ),
        ] {
            let error = read(&[], arguments).unwrap_err();
            assert!(error.ends_with(expected), "{error}");
        }
    }
}
