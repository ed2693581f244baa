//! Measures what the design promises: Thresh, its peer and a bare floor side by side in one run, as medians of
//! interleaved repeats.

mod data;
mod figure;
mod measure;
mod measured;
mod memory;
mod reuse;
mod scheduler;
mod skewed;
mod suites;
mod trivial;
mod why;

use figure::{Figure, json, table};
use std::path::PathBuf;
use std::process::ExitCode;
use thresh_tests::arguments;

const HELP: &str = "\
usage: bench [NAME]... [--json FILE] [--repeats N] [--cases N] [--suite DIR]... [--part PART]...

  trivial   own CPU and wall per trivial case: thresh, cargo nextest with and without its double spawn, and a
            bare loop that spawns the same binary
  skewed    one case of 4 s sorted last among 200 of 20 ms
  suites    two real suites, cold and unchanged
  memory    the coordinator's memory during a run on a farm
  scheduler packing: how well the scheduler packs modelled suites, beside planners that deal cases out in advance;
            scale: what it costs per outcome with up to a million cases on ten thousand workers;
            connections: outcomes a second of a real coordinator with 200 workers that one process plays, and how
            long a slot waits for its next case;
            notice: how soon a killed, a frozen and a partitioned worker are given up, and what runs again;
            takeover: how soon three workers stop at a failure, and another coordinator serves
  data      engine: the Remote Execution API beside buildbox-casd: lookups a second, and what an action costs;
            cold: how long a worker takes to its first case, beside unpacking the whole archive;
            spread: how long blobs take to many workers, by each of three ways, beside a model;
            transfer: upload, download and verification of blobs beside cp and BLAKE3, and the coordinator's memory;
            isolation: what a level of isolation costs a case;
            edit: what travels to a farm and to its worker after an edit of one line in a library (of a package, or
            of the globset in the workspaces of --suite), beside the archive of cargo nextest
  reuse     observe: what it costs to observe what cases read: a trivial one, and runs of real suites (of --suite);
            build: what the analyses of linked binaries cost a build after an edit of one line in a library;
            sections: memory and time of the analysis of a binary of 200,000 sections

Without NAME all are measured; with --part only these parts of scheduler, data and reuse. --repeats is 5 by default, --cases (of
trivial, memory and reuse) 1000; --suite DIR takes the place of the two packages of the cargo registry. --json FILE
writes an array with one object per figure: name, value, unit, target (the most that the value may be, or the
least where more is better; null: none), peer (the value of the tool or
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
    /// Workspaces for `suites`, `data` and `reuse`.
    pub(crate) suites: Vec<PathBuf>,
    /// Parts of `scheduler`, `data` and `reuse`; empty: all.
    pub(crate) parts: Vec<String>,
}

const NAMES: [&str; 7] = [
    "trivial",
    "skewed",
    "suites",
    "memory",
    "scheduler",
    "data",
    "reuse",
];

fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        names: Vec::new(),
        json: None,
        repeats: 5,
        cases: 1000,
        suites: Vec::new(),
        parts: Vec::new(),
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
            "--part" => options.parts.push(part(value()?)?),
            name if NAMES.contains(&name) => options.names.push(arg),
            _ => return Err(format!("{arg:?} is none of {NAMES:?} and no flag")),
        }
    }
    if options.names.is_empty() {
        options.names = NAMES.map(str::to_owned).to_vec();
    }
    Ok(options)
}

fn part(name: String) -> Result<String, String> {
    let parts: Vec<&str> = scheduler::PARTS
        .into_iter()
        .chain(data::PARTS)
        .chain(reuse::PARTS)
        .collect();
    if parts.contains(&name.as_str()) {
        return Ok(name);
    }
    Err(format!(
        "{name:?} is none of {parts:?}, the parts of scheduler, data and reuse"
    ))
}

fn main() -> ExitCode {
    if let Some(code) = scheduler::child() {
        return code;
    }
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
            "memory" => memory::measure(options),
            "data" => data::measure(options),
            "reuse" => reuse::measure(options),
            _ => scheduler::measure(options),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_tells_of_every_part() {
        let parts = scheduler::PARTS
            .into_iter()
            .chain(data::PARTS)
            .chain(reuse::PARTS);
        for part in parts {
            assert!(HELP.contains(&format!(" {part}:")), "{part}");
        }
    }
}
