//! Flags that select test cases.

use camino::Utf8PathBuf;
use clap::{Args, ValueEnum, ValueHint};
use thresh_client::list::{Partition, SelectionOptions};
use thresh_client::nextest::{ConfigSources, ToolFile};

/// Flags that select test cases.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct SelectArgs {
    /// Only cases whose name contains one of these
    #[arg(value_name = "FILTERS")]
    pub(crate) filters: Vec<String>,
    /// As test binaries take them: names, --skip NAME, --exact, --ignored, --include-ignored, --nocapture
    #[arg(last = true, value_name = "FILTERS_AND_ARGS")]
    pub(crate) binary_args: Vec<String>,
    /// Only cases that this nextest filterset matches
    #[arg(
        short = 'E',
        long,
        alias = "filter-expr",
        value_name = "EXPR",
        help_heading = "Filters"
    )]
    pub(crate) filterset: Vec<String>,
    /// Which of the ignored cases to run
    #[arg(long, value_enum, value_name = "WHICH", help_heading = "Filters")]
    pub(crate) run_ignored: Option<RunIgnored>,
    /// Only one part of the cases, like hash:1/2, count:2/3 or slice:1/3
    #[arg(long, value_name = "PARTITION", help_heading = "Filters")]
    pub(crate) partition: Option<Partition>,
    /// Ignore the profile's default filter
    #[arg(long, help_heading = "Filters")]
    pub(crate) ignore_default_filter: bool,
    /// The nextest profile
    #[arg(
        short = 'P',
        long,
        value_name = "NAME",
        env = "NEXTEST_PROFILE",
        help_heading = "Configuration"
    )]
    pub(crate) profile: Option<String>,
    /// The nextest configuration instead of .config/nextest.toml
    #[arg(long, value_name = "FILE", help_heading = "Configuration", value_hint = ValueHint::FilePath)]
    pub(crate) config_file: Option<Utf8PathBuf>,
    /// Further nextest configuration of a tool, of lower rank
    #[arg(long, value_name = "TOOL:FILE", help_heading = "Configuration")]
    pub(crate) tool_config_file: Vec<ToolFile>,
    /// Go on where the configuration requires a newer nextest
    #[arg(long, help_heading = "Configuration")]
    pub(crate) override_version_check: bool,
}

/// Which of the ignored cases to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RunIgnored {
    /// None of them
    Default,
    /// Only them
    #[value(alias = "ignored-only")]
    Only,
    /// Them and all others
    All,
}

impl SelectArgs {
    /// What to run, as the client takes it.
    pub(crate) fn selection(&self) -> SelectionOptions {
        SelectionOptions {
            filtersets: self.filterset.clone(),
            patterns: self.filters.clone(),
            test_arguments: self.binary_args.clone(),
            run_ignored: self.run_ignored.map(RunIgnored::into),
            ignore_default_filter: self.ignore_default_filter,
            partition: self.partition,
        }
    }

    /// Where nextest's configuration is.
    pub(crate) fn config_sources(&self, cpus: u32) -> ConfigSources {
        ConfigSources {
            config_file: self.config_file.clone(),
            tool_files: self.tool_config_file.clone(),
            override_version_check: self.override_version_check,
            cpus,
        }
    }
}

impl From<RunIgnored> for thresh_client::list::RunIgnored {
    fn from(which: RunIgnored) -> Self {
        match which {
            RunIgnored::Default => Self::Default,
            RunIgnored::Only => Self::Only,
            RunIgnored::All => Self::All,
        }
    }
}
