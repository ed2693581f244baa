//! Flags that shape what is printed and written.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum, ValueHint};
use thresh_client::nextest::{FinalStatusLevel, OutputDisplay, StatusLevel};

/// Flags that shape what is printed and written.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReportArgs {
    /// Which cases to show as they end
    #[arg(long, value_parser = status_level(), value_name = "LEVEL", env = "NEXTEST_STATUS_LEVEL", help_heading = "Report")]
    pub(crate) status_level: Option<StatusLevel>,
    /// Which cases to show at the end
    #[arg(long, value_parser = final_status_level(), value_name = "LEVEL", env = "NEXTEST_FINAL_STATUS_LEVEL", help_heading = "Report")]
    pub(crate) final_status_level: Option<FinalStatusLevel>,
    /// When to show what passing cases wrote
    #[arg(long, value_parser = output_display(), value_name = "WHEN", env = "NEXTEST_SUCCESS_OUTPUT", help_heading = "Report")]
    pub(crate) success_output: Option<OutputDisplay>,
    /// When to show what failing cases wrote
    #[arg(long, value_parser = output_display(), value_name = "WHEN", env = "NEXTEST_FAILURE_OUTPUT", help_heading = "Report")]
    pub(crate) failure_output: Option<OutputDisplay>,
    /// For people, or one JSON event per line on standard output
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        default_value = "human",
        help_heading = "Report"
    )]
    pub(crate) message_format: MessageFormat,
    /// Write a JUnit report
    #[arg(long, value_name = "FILE", help_heading = "Report", value_hint = ValueHint::FilePath)]
    pub(crate) junit: Option<PathBuf>,
    /// Plain lines; on GitHub Actions also annotations and a job summary
    #[arg(long, help_heading = "Report")]
    pub(crate) ci: bool,
    /// When to colour
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        default_value = "auto",
        env = "CARGO_TERM_COLOR",
        help_heading = "Report"
    )]
    pub(crate) color: Color,
    /// No progress bar even on a terminal
    #[arg(long, env = "NEXTEST_HIDE_PROGRESS_BAR", value_parser = clap::builder::FalseyValueParser::new(), help_heading = "Report")]
    pub(crate) hide_progress_bar: bool,
}

/// The form of standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MessageFormat {
    /// For people
    Human,
    /// JSON, in the form that docs/guide tells of each command
    Json,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// A parser of the words in `table`.
fn words<T: Copy + Send + Sync + 'static>(
    table: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(table.iter().map(|(word, _)| *word)).map(|chosen| {
        let found = table.iter().find(|(word, _)| *word == chosen);
        found.expect("the parser lets only words of the table through").1
    })
}

fn status_level() -> impl TypedValueParser<Value = StatusLevel> {
    words(&[
        ("none", StatusLevel::None),
        ("fail", StatusLevel::Fail),
        ("retry", StatusLevel::Retry),
        ("slow", StatusLevel::Slow),
        ("leak", StatusLevel::Leak),
        ("pass", StatusLevel::Pass),
        ("skip", StatusLevel::Skip),
        ("all", StatusLevel::All),
    ])
}

fn final_status_level() -> impl TypedValueParser<Value = FinalStatusLevel> {
    words(&[
        ("none", FinalStatusLevel::None),
        ("fail", FinalStatusLevel::Fail),
        ("flaky", FinalStatusLevel::Flaky),
        ("slow", FinalStatusLevel::Slow),
        ("skip", FinalStatusLevel::Skip),
        ("leak", FinalStatusLevel::Leak),
        ("pass", FinalStatusLevel::Pass),
        ("all", FinalStatusLevel::All),
    ])
}

fn output_display() -> impl TypedValueParser<Value = OutputDisplay> {
    words(&[
        ("immediate", OutputDisplay::Immediate),
        ("immediate-final", OutputDisplay::ImmediateFinal),
        ("final", OutputDisplay::Final),
        ("never", OutputDisplay::Never),
    ])
}
