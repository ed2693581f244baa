//! Scale: a million cases on ten thousand workers, through the scheduler alone.

use super::farm::Farm;
use super::load::Load;
use crate::figure::Figure;
use serde_json::{Value, json};
use std::process::{Command, ExitCode};
use std::time::Duration;
use thresh_tests::running::peak_memory_kib;

/// What the benchmark starts itself with, to measure one size in a process of its own.
const CHILD: &str = "scheduler-scale";

const WORKERS: u32 = 10_000;

const SIZES: [usize; 3] = [10_000, 100_000, 1_000_000];

const OUTCOMES_PER_SECOND: f64 = 100_000.0;

const MEMORY_MIB: f64 = 2_048.0;

/// What an outcome may cost at the greatest size, as a multiple of what it costs at the least.
const GROWTH: f64 = 1.5;

/// Each size is measured so often, in turn with the others; the median counts.
const REPEATS: usize = 5;

#[derive(Clone, Copy)]
struct Measured {
    micros_per_outcome: f64,
    memory_mib: f64,
}

pub(crate) fn measure() -> Vec<Figure> {
    let measured = in_turn();
    let mut figures: Vec<Figure> = SIZES
        .iter()
        .zip(measured)
        .map(|(cases, of)| {
            let name = format!("scale: {cases} cases, {WORKERS} workers, per outcome");
            Figure::new(name, of.micros_per_outcome, "us")
        })
        .collect();
    let [small, .., big] = measured;
    let growth = big.micros_per_outcome / small.micros_per_outcome;
    let name = |what| {
        format!(
            "scale: {} cases, {WORKERS} workers, {what}",
            SIZES[SIZES.len() - 1]
        )
    };
    figures.extend([
        Figure::new(name("outcomes a second"), 1e6 / big.micros_per_outcome, "1/s")
            .at_least(OUTCOMES_PER_SECOND),
        Figure::new(name("memory at most"), big.memory_mib, "MiB").at_most(MEMORY_MIB),
        Figure::new(name("cost of an outcome by that at the least size"), growth, "x").at_most(GROWTH),
    ]);
    figures
}

fn in_turn() -> [Measured; SIZES.len()] {
    let mut repeats: [Vec<Measured>; SIZES.len()] = Default::default();
    for _ in 0..REPEATS {
        for (of, cases) in repeats.iter_mut().zip(SIZES) {
            of.push(in_child(cases));
        }
    }
    repeats.map(|mut of| {
        of.sort_by(|a, b| a.micros_per_outcome.total_cmp(&b.micros_per_outcome));
        of[REPEATS / 2]
    })
}

fn in_child(cases: usize) -> Measured {
    let exe = std::env::current_exe().expect("the system knows this program's path");
    let output = Command::new(exe)
        .args([CHILD, &cases.to_string()])
        .output()
        .expect("this program can be started");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "measuring {cases} cases failed\n{text}");
    let said: Value = serde_json::from_slice(&output.stdout).expect("it writes JSON");
    let number = |key: &str| said[key].as_f64().expect("it says all figures");
    Measured {
        micros_per_outcome: number("micros_per_outcome"),
        memory_mib: number("memory_mib"),
    }
}

/// Measures one size, when this process was started for that.
#[expect(clippy::print_stdout, reason = "its parent reads it there")]
pub(crate) fn child() -> Option<ExitCode> {
    let mut args = std::env::args().skip(1);
    args.next().filter(|name| name == CHILD)?;
    let cases: usize = args.next()?.parse().ok()?;
    let farm = Farm {
        workers: WORKERS,
        slots: 1,
        round_trip: Duration::from_millis(2),
        gather: Duration::from_millis(1),
        binary_bytes: 20_000_000,
    };
    let ran = farm.run(&Load::big(cases));
    let memory = peak_memory_kib(std::process::id()).unwrap_or(u64::MAX);
    let said = json!({
        "micros_per_outcome": ran.core.as_secs_f64() * 1e6 / cases as f64,
        "memory_mib": memory as f64 / 1024.0,
    });
    println!("{said}");
    Some(ExitCode::SUCCESS)
}
