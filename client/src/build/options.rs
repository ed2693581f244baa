//! What to build: cargo's flags, as a user of nextest knows them.

use camino::Utf8PathBuf;

/// The flags that go to cargo. Each field is the flag of its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the cargo flag of its name")]
pub struct BuildOptions {
    pub package: Vec<String>,
    pub workspace: bool,
    pub exclude: Vec<String>,
    pub all: bool,
    pub lib: bool,
    pub bin: Vec<String>,
    pub bins: bool,
    pub example: Vec<String>,
    pub examples: bool,
    pub test: Vec<String>,
    pub tests: bool,
    pub bench: Vec<String>,
    pub benches: bool,
    pub all_targets: bool,
    pub features: Vec<String>,
    pub all_features: bool,
    pub no_default_features: bool,
    /// `--jobs` of cargo.
    pub build_jobs: Option<String>,
    pub release: bool,
    /// `--profile` of cargo.
    pub cargo_profile: Option<String>,
    pub target: Option<String>,
    pub target_dir: Option<Utf8PathBuf>,
    /// `--timings`, with formats where given.
    pub timings: Option<Option<String>>,
    pub frozen: bool,
    pub locked: bool,
    pub offline: bool,
    /// 1: `--quiet`; 2: nothing at all.
    pub cargo_quiet: u8,
    /// How often `--verbose`.
    pub cargo_verbose: u8,
    pub ignore_rust_version: bool,
    pub future_incompat_report: bool,
    pub config: Vec<String>,
    /// `-Z` flags.
    pub unstable: Vec<String>,
    pub manifest_path: Option<Utf8PathBuf>,
    /// `--color`: `auto`, `always` or `never`; `None` leaves it to cargo.
    pub color: Option<String>,
}

impl BuildOptions {
    /// Returns the arguments of the cargo that builds the test binaries.
    pub fn build_arguments(&self) -> Vec<String> {
        let mut arguments = self.command("test");
        arguments.words(["--no-run", "--message-format", "json-render-diagnostics"]);
        self.scope(&mut arguments);
        self.compilation(&mut arguments);
        self.generic(&mut arguments);
        for _ in 0..self.cargo_verbose {
            arguments.words(["--verbose"]);
        }
        arguments.flag("--ignore-rust-version", self.ignore_rust_version);
        arguments.flag("--future-incompat-report", self.future_incompat_report);
        arguments.each("-Z", &self.unstable);
        arguments.0
    }

    /// Returns the arguments of the `cargo metadata` for `triple`. The target directory goes into its
    /// environment, since it has no flag for it.
    pub fn metadata_arguments(&self, triple: &str) -> Vec<String> {
        let mut arguments = self.command("metadata");
        arguments.words([
            "--format-version=1",
            "--all-features",
            "--filter-platform",
            triple,
        ]);
        self.generic(&mut arguments);
        arguments.0
    }

    fn command(&self, command: &str) -> Arguments {
        let mut arguments = Arguments::default();
        if let Some(color) = &self.color {
            arguments.0.push(format!("--color={color}"));
        }
        arguments.words([command]);
        arguments.option(
            "--manifest-path",
            self.manifest_path.as_ref().map(|path| path.as_str()),
        );
        arguments
    }

    fn scope(&self, arguments: &mut Arguments) {
        arguments.each("--package", &self.package);
        arguments.flag("--workspace", self.workspace);
        arguments.each("--exclude", &self.exclude);
        arguments.flag("--all", self.all);
        arguments.flag("--lib", self.lib);
        arguments.each("--bin", &self.bin);
        arguments.flag("--bins", self.bins);
        arguments.each("--example", &self.example);
        arguments.flag("--examples", self.examples);
        arguments.each("--test", &self.test);
        arguments.flag("--tests", self.tests);
        arguments.each("--bench", &self.bench);
        arguments.flag("--benches", self.benches);
        arguments.flag("--all-targets", self.all_targets);
        arguments.each("--features", &self.features);
        arguments.flag("--all-features", self.all_features);
        arguments.flag("--no-default-features", self.no_default_features);
    }

    fn compilation(&self, arguments: &mut Arguments) {
        arguments.option("--jobs", self.build_jobs.as_deref());
        arguments.flag("--release", self.release);
        arguments.option("--profile", self.cargo_profile.as_deref());
        arguments.option("--target", self.target.as_deref());
        arguments.option("--target-dir", self.target_dir.as_ref().map(|path| path.as_str()));
        match &self.timings {
            Some(Some(formats)) => arguments.0.push(format!("--timings={formats}")),
            Some(None) => arguments.words(["--timings"]),
            None => {}
        }
    }

    fn generic(&self, arguments: &mut Arguments) {
        arguments.flag("--frozen", self.frozen);
        arguments.flag("--locked", self.locked);
        arguments.flag("--offline", self.offline);
        arguments.flag("--quiet", self.cargo_quiet > 0);
        arguments.each("--config", &self.config);
    }
}

#[derive(Default)]
struct Arguments(Vec<String>);

impl Arguments {
    fn words<const N: usize>(&mut self, words: [&str; N]) {
        self.0.extend(words.map(str::to_owned));
    }

    fn flag(&mut self, name: &str, given: bool) {
        if given {
            self.words([name]);
        }
    }

    fn option(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.words([name, value]);
        }
    }

    fn each(&mut self, name: &str, values: &[String]) {
        for value in values {
            self.words([name, value]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_options_the_arguments_are_the_fixed_ones() {
        let options = BuildOptions::default();
        assert_eq!(
            options.build_arguments().join(" "),
            "test --no-run --message-format json-render-diagnostics"
        );
        assert_eq!(
            options.metadata_arguments("x86_64-unknown-linux-gnu").join(" "),
            "metadata --format-version=1 --all-features --filter-platform x86_64-unknown-linux-gnu"
        );
    }

    #[test]
    fn only_generic_options_reach_cargo_metadata() {
        let options = BuildOptions {
            package: vec!["a".into(), "b".into()],
            test: vec!["t".into()],
            features: vec!["f".into()],
            release: true,
            target_dir: Some("/t".into()),
            timings: Some(Some("html".into())),
            locked: true,
            cargo_quiet: 1,
            cargo_verbose: 2,
            config: vec!["k=1".into()],
            unstable: vec!["x".into()],
            manifest_path: Some("/w/Cargo.toml".into()),
            color: Some("never".into()),
            ..BuildOptions::default()
        };
        assert_eq!(
            options.build_arguments().join(" "),
            "--color=never test --manifest-path /w/Cargo.toml --no-run --message-format json-render-diagnostics \
             --package a --package b --test t --features f --release --target-dir /t --timings=html \
             --locked --quiet --config k=1 --verbose --verbose -Z x"
        );
        assert_eq!(
            options.metadata_arguments("T").join(" "),
            "--color=never metadata --manifest-path /w/Cargo.toml --format-version=1 --all-features \
             --filter-platform T --locked --quiet --config k=1"
        );
    }
}
