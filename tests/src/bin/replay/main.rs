//! Replays the history of a real repository: what reuse saves at each commit, and whether it is right.

mod binaries;
mod coverage;
mod history;
mod report;
mod walk;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use thresh_tests::arguments;
use walk::Walk;

const HELP: &str = "\
Walks commits of a real repository, oldest first, and says at each what `thresh run` reuses, what that saves, and whether
it is right.

usage: replay DIR [--commits N] [--head REV] [--minutes M] [--explain N] [--coverage] [--json FILE] [-- FLAG...]

  DIR           a git repository whose root is a Cargo workspace, bare or not; it is cloned into a temp folder
  --commits N   so many commits, by first parents [default: 30]
  --head REV    the last of them [default: HEAD]
  --minutes M   stop after so many minutes, with what there is
  --explain N   at each commit, tell of up to N cases that ran although they had passed before what in their code changed
  --coverage    ask cargo-affected as well, at each commit, with what it collected at the one before; needs it, cargo-nextest and
                rustup's llvm-tools
  --json FILE   an object with `commits`, one object each, and `total`, written after each commit
  -- FLAG...    flags of `thresh run`, such as --workspace or --lib

At each commit `thresh run` runs with reuse, and then the same build with --no-reuse. The state and target folders are
temp folders of their own, kept from commit to commit. The columns:

  cases       of the run without reuse
  by tree     those that passed at an earlier commit with the same git tree
  by binary   those that passed at an earlier commit with the same test binary: not sound, files count, too
  coverage    those that cargo-affected leaves out: whether rightly is not checked
  reused      those that thresh reused
  saved       what these took without reuse, of what all cases took, in seconds
  build       what cargo says it took, in seconds, with the linker's wrapper and its analyses
  analysis    what analyses of binaries linked at this commit took, in seconds
  wrong       reused, and never passes in four runs without reuse
  flaky       reused, and passes in some of them only

The first commit that runs has nothing to reuse and does not count in the totals. Commits that do not build are shown
and skipped. It runs the code of all these commits with the rights of whoever starts this: it belongs into a container.
The exit code is 1 when anything is wrong or no two commits could be run, 2 when there is no such history, else 0.";

/// What to do.
pub(crate) struct Options {
    folder: PathBuf,
    commits: usize,
    head: String,
    limit: Option<Duration>,
    explained: usize,
    coverage: bool,
    json: Option<PathBuf>,
    flags: Vec<String>,
}

fn main() -> ExitCode {
    arguments::run(HELP, parse, run)
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut folder = None;
    let mut options = Options {
        folder: PathBuf::new(),
        commits: 30,
        head: "HEAD".to_owned(),
        limit: None,
        explained: 0,
        coverage: false,
        json: None,
        flags: Vec::new(),
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--commits" => options.commits = arguments::number(&value()?)?,
            "--head" => options.head = value()?,
            "--minutes" => options.limit = Some(arguments::minutes(&value()?)?),
            "--explain" => options.explained = arguments::number(&value()?)?,
            "--coverage" => options.coverage = true,
            "--json" => options.json = Some(value()?.into()),
            "--" => options.flags.extend(args.by_ref()),
            flag if flag.starts_with('-') => return Err(format!("unknown flag {flag}")),
            _ if folder.is_some() => return Err(format!("{arg:?} is one folder too many")),
            _ => folder = Some(PathBuf::from(&arg)),
        }
    }
    options.folder = folder.ok_or("no repository given")?;
    Ok(options)
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that prints its report"
)]
fn run(options: &Options) -> ExitCode {
    let mut walk = match Walk::begin(options) {
        Ok(walk) => walk,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    let mut rows = Vec::new();
    while let Some(row) = walk.next() {
        eprintln!("{}", report::line(&row));
        rows.push(row);
        let written = (options.json.as_ref()).map(|path| (path, std::fs::write(path, report::json(&rows))));
        if let Some((path, Err(error))) = written {
            eprintln!("{}: {error}", path.display());
            return ExitCode::from(2);
        }
    }
    print!("{}{}", report::text(&rows), walk.ending());
    let ran = rows.iter().filter(|row| row.ran().is_some()).count();
    let is_right = rows
        .iter()
        .filter_map(|row| row.ran())
        .all(|ran| ran.wrong.is_empty());
    ExitCode::from(u8::from(!is_right || ran < 2))
}
