//! Measures what the design promises: Thresh, its peer and a bare floor side by side in one run, as medians of
//! interleaved repeats.

mod figure;
mod measure;
mod memory;
mod skewed;
mod suites;
mod trivial;
mod why;

use figure::{Figure, json, table};
use std::path::PathBuf;
use std::process::ExitCode;
use thresh_tests::arguments;

const HELP: &str = "\
usage: bench [NAME]... [--json FILE] [--repeats N] [--cases N] [--suite DIR]...

  trivial   own CPU and wall per trivial case: thresh, cargo nextest with and without its double spawn, and a
            bare loop that spawns the same binary
  skewed    one case of 4 s sorted last among 200 of 20 ms
  suites    two real suites, cold and unchanged
  memory    the coordinator's memory during a run on a farm

Without NAME all are measured. --repeats is 5 by default, --cases (of trivial and memory) 1000; --suite DIR
takes the place of the two packages of the cargo registry. --json FILE writes an array with one object per
figure: name, value, unit, target (the value may be at most this, null: none), peer (the value of the tool or
floor named in the name, null: none), ok, why (null: the target is met; else the reason, or that none is known). The
table tells the reason below the row.";

/// What to measure, and how.
pub(crate) struct Options {
    names: Vec<String>,
    json: Option<PathBuf>,
    /// How often each side is measured; the median counts.
    pub(crate) repeats: usize,
    /// Cases of a generated suite.
    pub(crate) cases: usize,
    /// Workspaces for `suites`.
    pub(crate) suites: Vec<PathBuf>,
}

const NAMES: [&str; 4] = ["trivial", "skewed", "suites", "memory"];

fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        names: Vec::new(),
        json: None,
        repeats: 5,
        cases: 1000,
        suites: Vec::new(),
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        let number = |text: String| {
            text.parse()
                .ok()
                .filter(|n| *n > 0)
                .ok_or(format!("{text:?} is no count"))
        };
        match arg.as_str() {
            "--json" => options.json = Some(value()?.into()),
            "--repeats" => options.repeats = number(value()?)?,
            "--cases" => options.cases = number(value()?)?,
            "--suite" => options.suites.push(value()?.into()),
            name if NAMES.contains(&name) => options.names.push(arg),
            _ => return Err(format!("{arg:?} is none of {NAMES:?} and no flag")),
        }
    }
    if options.names.is_empty() {
        options.names = NAMES.map(str::to_owned).to_vec();
    }
    Ok(options)
}

fn main() -> ExitCode {
    arguments::run(HELP, parse, run)
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that prints its report"
)]
fn run(options: &Options) -> ExitCode {
    let mut figures: Vec<Figure> = Vec::new();
    for name in &options.names {
        eprintln!("measuring {name} ...");
        figures.extend(match name.as_str() {
            "trivial" => trivial::measure(options),
            "skewed" => skewed::measure(options),
            "suites" => suites::measure(options),
            _ => memory::measure(options),
        });
    }
    print!("{}", table(&figures));
    if let Some(path) = &options.json
        && let Err(error) = std::fs::write(path, json(&figures))
    {
        eprintln!("{}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
