//! Flags that go to cargo.

use camino::Utf8PathBuf;

use clap::{ArgAction, Args, ValueHint};
use thresh_client::build::BuildOptions;

/// Flags that go to cargo.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct BuildArgs {
    /// Change to DIR before anything else
    #[arg(short = 'C', long = "directory", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) directory: Option<Utf8PathBuf>,

    /// Package to test
    #[arg(
        short,
        long = "package",
        value_name = "SPEC",
        help_heading = "Package selection"
    )]
    pub(crate) packages: Vec<String>,
    /// Test all packages of the workspace
    #[arg(long, alias = "all", help_heading = "Package selection")]
    pub(crate) workspace: bool,
    /// Leave a package out
    #[arg(long, value_name = "SPEC", help_heading = "Package selection")]
    pub(crate) exclude: Vec<String>,

    /// Test only the library's unit tests
    #[arg(long, help_heading = "Target selection")]
    pub(crate) lib: bool,
    /// Test only this binary
    #[arg(long, value_name = "NAME", help_heading = "Target selection")]
    pub(crate) bin: Vec<String>,
    /// Test all binaries
    #[arg(long, help_heading = "Target selection")]
    pub(crate) bins: bool,
    /// Test only this example
    #[arg(long, value_name = "NAME", help_heading = "Target selection")]
    pub(crate) example: Vec<String>,
    /// Test all examples
    #[arg(long, help_heading = "Target selection")]
    pub(crate) examples: bool,
    /// Test only this integration test
    #[arg(long, value_name = "NAME", help_heading = "Target selection")]
    pub(crate) test: Vec<String>,
    /// Test all targets that are tests by default
    #[arg(long, help_heading = "Target selection")]
    pub(crate) tests: bool,
    /// Test only this bench target
    #[arg(long, value_name = "NAME", help_heading = "Target selection")]
    pub(crate) bench: Vec<String>,
    /// Test all bench targets
    #[arg(long, help_heading = "Target selection")]
    pub(crate) benches: bool,
    /// Test all targets
    #[arg(long, help_heading = "Target selection")]
    pub(crate) all_targets: bool,

    /// Features to activate, separated by spaces or commas
    #[arg(
        short = 'F',
        long,
        value_name = "FEATURES",
        help_heading = "Feature selection"
    )]
    pub(crate) features: Vec<String>,
    /// Activate all features
    #[arg(long, help_heading = "Feature selection")]
    pub(crate) all_features: bool,
    /// Do not activate the `default` feature
    #[arg(long, help_heading = "Feature selection")]
    pub(crate) no_default_features: bool,

    /// Build in release mode
    #[arg(short, long, help_heading = "Compilation", conflicts_with = "cargo_profile")]
    pub(crate) release: bool,
    /// Build with this Cargo profile
    #[arg(long, value_name = "NAME", help_heading = "Compilation")]
    pub(crate) cargo_profile: Option<String>,
    /// Build for this target triple
    #[arg(
        long,
        value_name = "TRIPLE",
        help_heading = "Compilation",
        env = "CARGO_BUILD_TARGET"
    )]
    pub(crate) target: Option<String>,
    /// Folder for what cargo makes
    #[arg(long, value_name = "DIR", help_heading = "Compilation", value_hint = ValueHint::DirPath)]
    pub(crate) target_dir: Option<Utf8PathBuf>,
    /// How many rustc at once
    #[arg(long, value_name = "N", help_heading = "Compilation")]
    pub(crate) build_jobs: Option<String>,

    /// Path of Cargo.toml
    #[arg(long, value_name = "PATH", help_heading = "Manifest", value_hint = ValueHint::FilePath)]
    pub(crate) manifest_path: Option<Utf8PathBuf>,
    /// As --locked and --offline
    #[arg(long, help_heading = "Manifest")]
    pub(crate) frozen: bool,
    /// Cargo.lock must be up to date
    #[arg(long, help_heading = "Manifest")]
    pub(crate) locked: bool,
    /// Do not use the network
    #[arg(long, help_heading = "Manifest")]
    pub(crate) offline: bool,

    /// Let cargo be quiet (twice: silent)
    #[arg(long, action = ArgAction::Count, help_heading = "Other cargo options")]
    pub(crate) cargo_quiet: u8,
    /// Let cargo be verbose (twice: very)
    #[arg(long, action = ArgAction::Count, help_heading = "Other cargo options", conflicts_with = "cargo_quiet")]
    pub(crate) cargo_verbose: u8,
    /// Ignore `rust-version` in packages
    #[arg(long, help_heading = "Other cargo options")]
    pub(crate) ignore_rust_version: bool,
    /// Print a future-incompatibility report after the build
    #[arg(long, help_heading = "Other cargo options")]
    pub(crate) future_incompat_report: bool,
    /// Override a cargo configuration value
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Other cargo options")]
    pub(crate) config: Vec<String>,
    /// Unstable cargo flag
    #[arg(short = 'Z', value_name = "FLAG", help_heading = "Other cargo options")]
    pub(crate) unstable: Vec<String>,

    /// Take a cargo-nextest archive instead of building
    #[arg(long, value_name = "FILE", help_heading = "Archive", value_hint = ValueHint::FilePath)]
    pub(crate) archive_file: Option<Utf8PathBuf>,
    /// Extract the archive here instead of into a temporary folder
    #[arg(long, value_name = "DIR", help_heading = "Archive", requires = "archive_file", value_hint = ValueHint::DirPath)]
    pub(crate) extract_to: Option<Utf8PathBuf>,
    /// Extract although the folder holds a `target` already
    #[arg(long, help_heading = "Archive", requires = "extract_to")]
    pub(crate) extract_overwrite: bool,
    /// The workspace's folder here, where it differs from that of the machine that made the archive
    #[arg(long, value_name = "DIR", help_heading = "Archive", requires = "archive_file", value_hint = ValueHint::DirPath)]
    pub(crate) workspace_remap: Option<Utf8PathBuf>,
}

impl BuildArgs {
    /// The flags as the client takes them.
    pub(crate) fn options(&self, color: Option<&str>) -> BuildOptions {
        let this = self.clone();
        BuildOptions {
            package: this.packages,
            workspace: this.workspace,
            exclude: this.exclude,
            all: false,
            lib: this.lib,
            bin: this.bin,
            bins: this.bins,
            example: this.example,
            examples: this.examples,
            test: this.test,
            tests: this.tests,
            bench: this.bench,
            benches: this.benches,
            all_targets: this.all_targets,
            features: this.features,
            all_features: this.all_features,
            no_default_features: this.no_default_features,
            build_jobs: this.build_jobs,
            release: this.release,
            cargo_profile: this.cargo_profile,
            target: this.target,
            target_dir: this.target_dir,
            timings: None,
            frozen: this.frozen,
            locked: this.locked,
            offline: this.offline,
            cargo_quiet: this.cargo_quiet,
            cargo_verbose: this.cargo_verbose,
            ignore_rust_version: this.ignore_rust_version,
            future_incompat_report: this.future_incompat_report,
            config: this.config,
            unstable: this.unstable,
            manifest_path: this.manifest_path,
            color: color.map(str::to_owned),
        }
    }
}
