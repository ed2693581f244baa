//! Proves reuse sound on a real suite, by mutation: no case may be reused that fails for real.

mod campaign;
mod draw;
mod files;
mod guard;
mod macros;
mod report;
mod rust;
mod site;
#[cfg(test)]
mod tests;

use campaign::Campaign;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use thresh_tests::arguments;

const HELP: &str = "\
Changes a real suite in one place at a time and looks whether `thresh run` reuses a case that now fails.

usage: soundness DIR [--mutants N] [--seed S] [--from K] [--minutes M] [--json FILE] [-- FLAG...]

  DIR          a Cargo workspace; it is copied to a temp folder, built and changed there, and never touched itself
  --mutants N  so many mutants that build [default: 100]
  --seed S     which places are changed, and in which order [default: 1]
  --from K     begin with the K-th place of that order [default: 1]; with --mutants 1 this plays one mutant again
  --minutes M  stop after so many minutes, with what there is
  --json FILE  an array with one object per mutant, written after each
  -- FLAG...   flags of `thresh run`, such as --workspace or --lib

First the suite is run unchanged, so that every case that passes has a stored pass. Then for each mutant, with the
state of that run: one place is changed, `thresh run` runs with reuse, and the same build runs again with --no-reuse. A
case that was reused and does not pass for real is run three times more: it is *wrong* if it never passes, and flaky
otherwise. Then the place is restored. Kinds of places take turns, and files within a kind:

  operator, integer, text, boolean    in library code and in cases, also among the arguments of macros
  return, match arms                  an early return, a default value, a panic; two arms that change places
  const, static                       in their values
  trait impl, generic fn, inline fn, const fn    any of the above within one
  macro                               in the body of a macro_rules!
  attribute                           #[should_panic] and #[ignore], put on a case or taken off
  data file                           a byte of a file that is no code, the whole file, or a new file beside it
  environment                         variables in the [env] of .cargo/config.toml, among them those that the code asks for
  build script, C code                where there are any

A place may be in code that is not built on this machine or that no case reaches: such a mutant survives, and every case
is rightly reused. Mutants run changed code with the rights of whoever starts this: it belongs into a container. A
process may take 6 GiB, a case ten times as long as the longest did, at least 20 s.

The table has for each kind the mutants, those that did not build (not counted among the mutants), those that were killed
(a case fails), the cases that ran and that were reused, and the wrong and the flaky ones. Every wrong one is listed
with its mutant. Progress is told on standard error. The exit code is 1 when anything is wrong or the suite reuses
nothing unchanged, 2 when DIR cannot be run, else 0.";

/// What to do.
pub(crate) struct Options {
    folder: PathBuf,
    mutants: usize,
    seed: u64,
    from: usize,
    limit: Option<Duration>,
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
        mutants: 100,
        seed: 1,
        from: 1,
        limit: None,
        json: None,
        flags: Vec::new(),
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--mutants" => options.mutants = arguments::number(&value()?)?,
            "--seed" => options.seed = arguments::number(&value()?)?,
            "--from" => options.from = arguments::number(&value()?)?,
            "--minutes" => options.limit = Some(arguments::minutes(&value()?)?),
            "--json" => options.json = Some(value()?.into()),
            "--" => options.flags.extend(args.by_ref()),
            flag if flag.starts_with('-') => return Err(format!("unknown flag {flag}")),
            _ if folder.is_some() => return Err(format!("{arg:?} is one folder too many")),
            _ => folder = Some(PathBuf::from(&arg)),
        }
    }
    options.folder = folder.ok_or("no workspace given")?;
    Ok(options)
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that prints its report"
)]
fn run(options: &Options) -> ExitCode {
    let mut campaign = match Campaign::begin(options) {
        Ok(campaign) => campaign,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    let mut rows = Vec::new();
    while let Some(row) = campaign.next() {
        rows.push(row);
        let written = options
            .json
            .as_ref()
            .map(|path| (path, std::fs::write(path, report::json(&rows))));
        if let Some((path, Err(error))) = written {
            eprintln!("{}: {error}", path.display());
            return ExitCode::from(2);
        }
    }
    print!("{}{}", report::text(&rows), campaign.ending());
    let is_sound = campaign.reuses() && rows.iter().all(|row| row.wrong.is_empty());
    ExitCode::from(u8::from(!is_sound))
}
