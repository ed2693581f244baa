//! Filtersets: the expressions of `-E` and of the configuration, with errors that point into them.

use std::fmt;

use miette::Diagnostic;
use nextest_filtering::errors::FiltersetParseErrors;
use nextest_filtering::{Filterset, FiltersetKind, KnownGroups, ParseContext};

use super::error::suggest;

const PREDICATES: [&str; 12] = [
    "all",
    "binary",
    "binary_id",
    "default",
    "deps",
    "group",
    "kind",
    "none",
    "package",
    "platform",
    "rdeps",
    "test",
];

/// A filterset that does not parse, or names something that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FiltersetError {
    /// The expression.
    pub input: String,
    /// Everything that is wrong with it, in order; at least one.
    pub problems: Vec<FiltersetProblem>,
}

/// One thing that is wrong with a filterset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FiltersetProblem {
    /// What.
    pub message: String,
    /// Byte offset in the expression.
    pub offset: usize,
    /// Length in bytes.
    pub length: usize,
    /// What to say at the marked part.
    pub label: String,
    /// What to do instead.
    pub help: Option<String>,
}

impl std::error::Error for FiltersetError {}

impl fmt::Display for FiltersetError {
    /// The messages, each with the line of the expression it is about and a mark below.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            let lead = if at == 0 { "invalid filterset: " } else { "\n" };
            write!(f, "{lead}{}", problem.message)?;
            let start = self.input[..problem.offset].rfind('\n').map_or(0, |at| at + 1);
            let line = self.input[start..].lines().next().unwrap_or_default();
            let indent = self.input[start..problem.offset].chars().count();
            let marked = &self.input[problem.offset..problem.offset + problem.length];
            let width = marked
                .lines()
                .next()
                .map_or(0, |text| text.chars().count())
                .max(1);
            write!(
                f,
                "\n  {line}\n  {:indent$}{} {}",
                "",
                "^".repeat(width),
                problem.label
            )?;
            if let Some(help) = &problem.help {
                write!(f, "\n  help: {help}")?;
            }
        }
        Ok(())
    }
}

impl From<FiltersetParseErrors> for FiltersetError {
    fn from(errors: FiltersetParseErrors) -> Self {
        let problems = errors
            .errors
            .iter()
            .map(|error| {
                let label = error.labels().and_then(|mut labels| labels.next());
                let (offset, length, text) = label.map_or((0, 0, String::new()), |label| {
                    (
                        label.offset(),
                        label.len(),
                        label.label().unwrap_or_default().to_owned(),
                    )
                });
                let offset = floor_char(&errors.input, offset);
                let end = floor_char(&errors.input, offset + length).max(offset);
                let misspelt = || misspelt_predicate(&errors.input[offset..]);
                FiltersetProblem {
                    message: error.to_string(),
                    offset,
                    length: end - offset,
                    label: text,
                    help: error.help().map(|help| help.to_string()).or_else(misspelt),
                }
            })
            .collect();
        Self {
            input: errors.input,
            problems,
        }
    }
}

/// Says which predicate may be meant, where `text` begins with something like one.
fn misspelt_predicate(text: &str) -> Option<String> {
    let (name, _) = text.split_once('(')?;
    let predicate = suggest(name.trim(), PREDICATES)?;
    (predicate != name).then(|| format!("did you mean `{predicate}(…)`?"))
}

fn floor_char(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// Parses one filterset. `kind` says which predicates are allowed, `groups` which test groups exist.
///
/// # Errors
/// When it does not parse, or a matcher in it matches no package, binary or test group of the workspace.
pub fn parse_filterset(
    text: &str,
    context: &ParseContext<'_>,
    kind: FiltersetKind,
    groups: &KnownGroups,
) -> Result<Filterset, FiltersetError> {
    Filterset::parse(text.to_owned(), context, kind, groups).map_err(FiltersetError::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_predicate_is_recognized() {
        let help = misspelt_predicate("tets(foo)");
        assert_eq!(help.as_deref(), Some("did you mean `test(…)`?"));
        assert_eq!(misspelt_predicate("test(foo)"), None);
        assert_eq!(misspelt_predicate("xyz(foo)"), None);
    }

    #[test]
    fn the_mark_stands_below_the_part() {
        let error = FiltersetError {
            input: "test(é) and\npackage(nope)".to_owned(),
            problems: vec![FiltersetProblem {
                message: "operator didn't match any packages".to_owned(),
                offset: 21,
                length: 4,
                label: "no packages matched this".to_owned(),
                help: Some("try another".to_owned()),
            }],
        };
        assert_eq!(
            error.to_string(),
            "invalid filterset: operator didn't match any packages\n  package(nope)\n          ^^^^ no packages matched this\n  help: try another"
        );
    }
}
