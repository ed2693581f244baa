//! Plays simulated farms, one for each seed.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use thresh_tests::sim::{Counts, Played, Simulation};

const HELP: &str = "\
Plays simulated farms, one for each seed: the real scheduler and the real sessions over a modelled network.

usage: sim --seed N [--transcript]
       sim --seeds N [--from S]

  --seed N      play the farm of this seed
  --transcript  print what happened in it, a line for each step
  --seeds N     play so many farms on all cores, and say what they exercised
  --from S      begin with this seed [default: 0]

The exit code is 1 when an invariant did not hold. docs/invariants.md explains the invariants.";

/// How often to say how far it has come, in farms.
const PROGRESS: u64 = 1_000;

#[derive(Debug, Default)]
struct Options {
    seed: Option<u64>,
    seeds: u64,
    from: u64,
    transcript: bool,
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]
fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("error: {problem}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let found = match options.seed {
        Some(seed) => one(seed, options.transcript),
        None => many(options.from, options.seeds),
    };
    ExitCode::from(u8::from(found))
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let text = arguments.next().unwrap_or_default();
            text.parse::<u64>()
                .map_err(|_| format!("{argument} needs a number, not {text:?}"))
        };
        match argument.as_str() {
            "--seed" => options.seed = Some(number()?),
            "--seeds" => options.seeds = number()?,
            "--from" => options.from = number()?,
            "--transcript" => options.transcript = true,
            "-h" | "--help" => return Ok(None),
            other => return Err(format!("there is no {other}")),
        }
    }
    if options.seed.is_none() && options.seeds == 0 {
        return Err("name a seed, or how many".to_owned());
    }
    Ok(Some(options))
}

/// Plays one farm. Returns whether an invariant did not hold.
#[expect(clippy::print_stdout, reason = "it is what the program is for")]
fn one(seed: u64, transcript: bool) -> bool {
    let simulation = Simulation::new(seed);
    let played = if transcript {
        simulation.recorded()
    } else {
        simulation
    }
    .play();
    print!("{}", played.transcript);
    println!("{played}\n{}", played.counts);
    played.violation.is_some()
}

/// Plays many farms. Returns whether an invariant did not hold.
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is what the program is for"
)]
fn many(from: u64, seeds: u64) -> bool {
    let (next, done) = (AtomicU64::new(from), AtomicU64::new(0));
    let totals = Mutex::new((Counts::default(), 0u64, Vec::<Played>::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed - from >= seeds {
                        return;
                    }
                    let played = Simulation::new(seed).play();
                    let finished = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if finished.is_multiple_of(PROGRESS) {
                        eprintln!("{finished} of {seeds} farms played");
                    }
                    let mut totals = totals.lock().expect("no thread panics with the lock");
                    totals.0.merge(&played.counts);
                    totals.1 += played.steps;
                    if played.violation.is_some() {
                        println!("{played}");
                        totals.2.push(played);
                    }
                }
            });
        }
    });
    let (counts, steps, failed) = totals.into_inner().expect("no thread panicked");
    println!("{counts}");
    println!("{seeds} farms, {steps} steps, {} with a violation", failed.len());
    !failed.is_empty()
}
