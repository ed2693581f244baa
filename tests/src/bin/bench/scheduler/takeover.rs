//! Takeover: how soon a coordinator that stands by serves, and how soon a run that is to stop has stopped everywhere.

use crate::figure::Figure;
use crate::measure::{generate, median};
use rustix::process::Signal;
use std::path::Path;
use std::time::{Duration, Instant};
use thresh_tests::farm::Farm;
use thresh_tests::postgres::Postgres;
use thresh_tests::running::signal_process;
use thresh_tests::thresh::Thresh;
use thresh_tests::wait;

const TAKEN_OVER_SECONDS: f64 = 10.0;

const STOPPED_SECONDS: f64 = 1.0;

/// The longest that anything here may take to go on.
const LIMIT: Duration = Duration::from_secs(60);

const WORKERS: u32 = 3;

const SLOTS: u32 = 2;

pub(super) fn measure(repeats: usize) -> Vec<Figure> {
    let of = |once: &dyn Fn() -> f64| median((0..repeats).map(|_| once()).collect::<Vec<_>>());
    let taken = |signal, what| {
        let name = format!("takeover: {what} leader, PostgreSQL, until the standby serves");
        Figure::new(name, of(&|| take_over(signal)), "s").at_most(TAKEN_OVER_SECONDS)
    };
    let temp = tempfile::tempdir().expect("a temp folder can be made");
    let package = temp.path().join("failing");
    generate(&package, &suite());
    let stopped = of(&|| stop(&package));
    let name = "takeover: --max-fail 1:immediate, from the failure until all workers have stopped";
    vec![
        taken(Signal::KILL, "killed"),
        taken(Signal::STOP, "frozen"),
        Figure::new(name, stopped, "s").at_most(STOPPED_SECONDS),
    ]
}

/// Does something to a leader beside a standby, and waits until that serves.
fn take_over(signal: Signal) -> f64 {
    let postgres = Postgres::start();
    let temp = tempfile::tempdir().expect("a temp folder can be made");
    let mut farm = Farm::start_with(temp.path(), &["--store", &postgres.url()]);
    farm.stand_by();
    wait::until("the standby's word", LIMIT, || {
        let log = farm.log("coordinator");
        log.contains("standing by: another").then_some(())
    });
    let leader = farm.coordinator_id();
    farm.change_places();
    let at = Instant::now();
    signal_process(leader, signal);
    farm.wait_for_coordinator();
    at.elapsed().as_secs_f64()
}

/// Has a run whose first failure stops it while every other slot is busy for long.
fn stop(package: &Path) -> f64 {
    let temp = tempfile::tempdir().expect("a temp folder can be made");
    let farm = Farm::with_workers(temp.path(), WORKERS, SLOTS);
    let thresh = Thresh::new(package, temp.path().join("home"));
    let url = farm.url();
    let mut run = thresh.start(&["--farm", &url, "--no-reuse", "--max-fail", "1:immediate"]);
    run.event(LIMIT, |event| {
        event.kind() == "attempt-ended" && event.text("outcome") == "failed"
    });
    let at = Instant::now();
    run.event(LIMIT, |event| event.kind() == "run-ended");
    let took = at.elapsed().as_secs_f64();
    run.finish().expect_code(100);
    took
}

/// One case that fails after a second, and one that lasts for each of the other slots.
fn suite() -> String {
    let lasting: String = (1..WORKERS * SLOTS)
        .map(|case| format!("#[test]\nfn case_{case}() {{ sleep(Duration::from_secs(600)); }}\n"))
        .collect();
    format!(
        "//! Cases that last, and one that fails.\nuse std::{{thread::sleep, time::Duration}};\n{lasting}\
         #[test]\nfn fails() {{ sleep(Duration::from_secs(1)); panic!() }}\n"
    )
}
