//! The figures.

use super::farm::{Load, Measured};
use super::session::Pace;
use crate::figure::Figure;
use crate::measure::median;
use std::time::Duration;

const OUTCOMES_PER_SECOND: f64 = 20_000.0;

const WORKERS: usize = 200;

const SLOTS: u32 = 4;

const RUNS: u32 = 4;

/// Cases as long as so many slots would have them at the wanted rate, answered at once. Leases hold many of them.
const SHORT: Load = Load {
    workers: WORKERS,
    slots: SLOTS,
    runs: RUNS,
    cases: 50_000,
    pace: Pace {
        told: Duration::from_millis(40),
        takes: Duration::ZERO,
    },
};

/// Cases that are said to be so long that no worker gets one ahead: every outcome is answered by a lease of one case,
/// which is what the coordinator does when cases are worth waiting for.
const ONE_BY_ONE: Load = Load {
    cases: 25_000,
    pace: Pace {
        told: Duration::from_secs(10),
        ..SHORT.pace
    },
    ..SHORT
};

/// The same at an even rate, half of what is wanted: 800 slots, each of which ends a case every 80 ms.
const EVENLY: Load = Load {
    pace: Pace {
        takes: Duration::from_millis(80),
        ..ONE_BY_ONE.pace
    },
    ..ONE_BY_ONE
};

pub(in super::super) fn measure(repeats: usize) -> Vec<Figure> {
    [
        saturated("short cases", SHORT, repeats, true),
        saturated("a lease per case", ONE_BY_ONE, repeats, false),
        evenly(repeats),
    ]
    .concat()
}

/// As much as the coordinator can do.
fn saturated(what: &str, load: Load, repeats: usize, has_target: bool) -> Vec<Figure> {
    let measured: Vec<Measured> = (0..repeats).map(|_| load.measure()).collect();
    let of = |value: fn(&Measured) -> f64| median(measured.iter().map(value));
    let name = |figure: &str| format!("connections: {WORKERS} workers, {what}, {figure}");
    let rate = median(measured.iter().map(|of| load.outcomes() / of.took.as_secs_f64()));
    let rate = Figure::new(name("outcomes a second"), rate, "1/s");
    let micros = |seconds: f64| 1e6 * seconds / load.outcomes();
    vec![
        if has_target {
            rate.at_least(OUTCOMES_PER_SECOND)
        } else {
            rate
        },
        Figure::new(
            name("coordinator's CPU per outcome (that of the played workers and clients)"),
            micros(of(|of| of.cpu)),
            "us",
        )
        .beside(micros(of(|of| of.players_cpu))),
        Figure::new(
            name("from the last outcome to the end"),
            of(|of| of.ending.as_secs_f64()),
            "s",
        ),
        Figure::new(
            name("coordinator's memory at most"),
            of(|of| of.memory_mib),
            "MiB",
        ),
    ]
}

/// How long a slot waits, when the coordinator has time.
fn evenly(repeats: usize) -> Vec<Figure> {
    let measured: Vec<Measured> = (0..repeats).map(|_| EVENLY.measure()).collect();
    let rate = f64::from(SLOTS) * WORKERS as f64 / EVENLY.pace.takes.as_secs_f64();
    let name =
        |figure: &str| format!("connections: {WORKERS} workers, up to {rate:.0} outcomes a second, {figure}");
    let wait = |share| {
        median(
            measured
                .iter()
                .map(|of| 1e3 * quantile(&of.waits, share).as_secs_f64()),
        )
    };
    vec![
        Figure::new(name("from an outcome to the next lease, median"), wait(0.5), "ms"),
        Figure::new(
            name("from an outcome to the next lease, 99 of 100 within"),
            wait(0.99),
            "ms",
        ),
    ]
}

/// The value that such a share of sorted values does not exceed.
fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let at = (share * sorted.len() as f64).ceil() as usize;
    sorted[at.clamp(1, sorted.len()) - 1]
}
