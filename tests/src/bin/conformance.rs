//! Compares `thresh run` with `cargo nextest run`, case for case.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use thresh_tests::arguments;
use thresh_tests::compare::{Difference, differences};
use thresh_tests::farm::{Farm, WorkerOptions};
use thresh_tests::namespace::{self, Mount};
use thresh_tests::oracle;
use thresh_tests::packages;
use thresh_tests::running::Finished;
use thresh_tests::status::{Statuses, Word};
use thresh_tests::table::Table;
use thresh_tests::thresh::Thresh;
use thresh_tests::workspace::Kept;

const HELP: &str = "\
Runs `cargo nextest run` and `thresh run` on each workspace and compares the set of cases and every outcome.

usage: conformance [--farm] [--package NAME]... [DIR]... [-- FLAG...]

  DIR             a Cargo workspace; it is built in its own target folder
  --package NAME  a package that this repository pins from the cargo registry, run in a copy below this
                  repository's target folder; `all` stands for every such package
  --farm          run thresh on a coordinator and two workers that cannot see DIR or its target folder
  -- FLAG...      flags that both get, such as --workspace or --all-features

A case that differs is run up to twice more by both tools; only what differs every time counts, and what came
to agree is listed as unsteady. The exit code is 1 when something differs or a suite has no cases, else 0.";

/// How often a suite is run again because of differences.
const RERUNS: usize = 2;

struct Options {
    farm: bool,
    packages: Vec<String>,
    folders: Vec<PathBuf>,
    flags: Vec<String>,
}

struct Row {
    suite: String,
    oracle: Statuses,
    thresh: Statuses,
    differences: Vec<Difference>,
    unsteady: Vec<Difference>,
    codes: (Option<i32>, Option<i32>),
}

fn main() -> ExitCode {
    arguments::run(HELP, parse, run)
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        farm: false,
        packages: Vec::new(),
        folders: Vec::new(),
        flags: Vec::new(),
    };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--farm" => options.farm = true,
            "--package" => {
                let name = args.next().ok_or("--package needs a name")?;
                match name.as_str() {
                    "all" => options
                        .packages
                        .extend(packages::PINNED.iter().map(ToString::to_string)),
                    _ => options.packages.push(name),
                }
            }
            "--" => options.flags.extend(args.by_ref()),
            flag if flag.starts_with('-') => return Err(format!("unknown flag {flag}")),
            folder => options.folders.push(PathBuf::from(folder)),
        }
    }
    if options.folders.is_empty() && options.packages.is_empty() {
        return Err("no workspace given".into());
    }
    Ok(options)
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that prints its report"
)]
fn run(options: &Options) -> ExitCode {
    let mut rows = Vec::new();
    for name in &options.packages {
        let (source, version) = packages::source(name);
        let copy = Kept::hold_copy_of(&source, &format!("{name}-{version}"));
        rows.push(compare(&format!("{name} {version}"), copy.root(), options));
    }
    for folder in &options.folders {
        match folder.canonicalize() {
            Ok(folder) => rows.push(compare(&folder.display().to_string(), &folder, options)),
            Err(error) => {
                eprintln!("{}: {error}", folder.display());
                return ExitCode::from(2);
            }
        }
    }
    print!("{}", report(&rows));
    if rows.iter().all(Row::agrees) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

impl Row {
    /// Whether there are cases and the tools agree about each of them, in the end.
    fn agrees(&self) -> bool {
        let codes_matter = self.unsteady.is_empty();
        !self.oracle.is_empty()
            && self.differences.is_empty()
            && (!codes_matter || self.codes.0 == self.codes.1)
    }
}

fn compare(suite: &str, folder: &Path, options: &Options) -> Row {
    let home = tempfile::tempdir().expect("a temp folder can be made");
    let farm = options.farm.then(|| start_farm(folder, home.path()));
    let thresh = Thresh::new(folder, home.path().join("home"));
    let url = farm.as_ref().map(Farm::url);
    let (oracle, found) = run_both(folder, &thresh, url.as_deref(), &options.flags);
    let codes = (oracle.code, found.code());
    let mut row = Row {
        suite: suite.to_owned(),
        differences: differences(&oracle.statuses, &found.statuses()),
        unsteady: Vec::new(),
        thresh: found.statuses(),
        oracle: oracle.statuses,
        codes,
    };
    if row.thresh.is_empty() && !row.oracle.is_empty() {
        row.suite = format!("{suite}\n{found}\n");
        return row;
    }
    for _ in 0..RERUNS {
        if row.differences.is_empty() {
            break;
        }
        let (oracle, found) = run_both(folder, &thresh, url.as_deref(), &options.flags);
        let again = differences(&oracle.statuses, &found.statuses());
        let (persist, agreed) = row
            .differences
            .drain(..)
            .partition(|old| again.iter().any(|new| new.case == old.case));
        row.differences = persist;
        row.unsteady.extend::<Vec<Difference>>(agreed);
    }
    row
}

fn run_both(
    folder: &Path,
    thresh: &Thresh,
    url: Option<&str>,
    flags: &[String],
) -> (oracle::OracleRun, Finished) {
    let oracle = oracle::run(folder, flags);
    let mut args: Vec<&str> = vec!["--no-fail-fast", "--no-reuse"];
    args.extend(url.iter().flat_map(|url| ["--farm", url]));
    args.extend(flags.iter().map(String::as_str));
    (oracle, thresh.run(&args))
}

fn start_farm(folder: &Path, home: &Path) -> Farm {
    let metadata = cargo_metadata::MetadataCommand::new()
        .current_dir(folder)
        .no_deps()
        .exec();
    let metadata = metadata.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let root: PathBuf = metadata.workspace_root.into();
    let target: PathBuf = metadata.target_directory.into();
    let mut mounts = vec![Mount::Hide(root.clone())];
    if !target.starts_with(&root) && target.is_dir() {
        mounts.push(Mount::Hide(target));
    }
    assert!(
        namespace::available(),
        "--farm needs mount namespaces, which this machine does not let us make"
    );
    let mut farm = Farm::start(home);
    for name in ["worker-1", "worker-2"] {
        let slots = std::thread::available_parallelism()
            .map_or(2, |cores| cores.get() as u32)
            .div_ceil(2);
        farm.add(&WorkerOptions {
            mounts: mounts.clone(),
            ..WorkerOptions::new(name, slots)
        });
    }
    farm
}

fn report(rows: &[Row]) -> String {
    let mut table = Table::new([
        "suite",
        "cases",
        "nextest passed",
        "nextest failed",
        "exit",
        "thresh passed",
        "thresh failed",
        "exit",
        "differences",
        "unsteady",
    ]);
    let count = |statuses: &Statuses, passes| {
        let ran = statuses.values().filter(|status| status.word != Word::NotRun);
        ran.filter(|status| status.passes == passes).count().to_string()
    };
    let code = |code: Option<i32>| code.map_or("signal".to_owned(), |code| code.to_string());
    for row in rows {
        table.row([
            row.suite.clone(),
            row.oracle.len().to_string(),
            count(&row.oracle, true),
            count(&row.oracle, false),
            code(row.codes.0),
            count(&row.thresh, true),
            count(&row.thresh, false),
            code(row.codes.1),
            row.differences.len().to_string(),
            row.unsteady.len().to_string(),
        ]);
    }
    let mut text = table.to_string();
    for row in rows {
        for difference in &row.differences {
            text += &format!("difference in {}: {difference}\n", row.suite);
        }
        for difference in &row.unsteady {
            text += &format!(
                "unsteady (agreed when run again) in {}: {difference}\n",
                row.suite
            );
        }
    }
    text + "Cases that differ are run up to twice more by both tools; a difference counts only if it persists.\n"
}
