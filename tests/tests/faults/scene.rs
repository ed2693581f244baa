//! A farm with a run whose cases wait at a gate.

use std::collections::BTreeMap;
use std::time::Duration;
use thresh_tests::events::Event;
use thresh_tests::farm::Farm;
use thresh_tests::gate::{Gate, Held};
use thresh_tests::running::Running;
use thresh_tests::thresh::Thresh;
use thresh_tests::workspace::Kept;

/// How long a test waits for anything.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A farm and a run of held cases on it.
pub(crate) struct Scene {
    pub(crate) fixture: Kept,
    pub(crate) gate: Gate,
    pub(crate) farm: Farm,
    pub(crate) temp: tempfile::TempDir,
}

impl Scene {
    pub(crate) fn new(workers: u32, slots: u32) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let farm = Farm::with_workers(temp.path(), workers, slots);
        Self::of(temp, farm)
    }

    pub(crate) fn of(temp: tempfile::TempDir, farm: Farm) -> Self {
        let fixture = Kept::hold("gated");
        Self {
            fixture,
            gate: Gate::open(),
            farm,
            temp,
        }
    }

    pub(crate) fn start(&self, args: &[&str]) -> Running {
        let (name, value) = self.gate.variable();
        let thresh = Thresh::new(self.fixture.root(), self.temp.path().join("home")).var(name, value);
        let farm = self.farm.url();
        let args = [
            &["--farm", &farm, "--no-reuse", "--no-fail-fast", "--retries", "0"],
            args,
        ]
        .concat();
        thresh.start(&args)
    }
}

/// Reads events until `count` cases have started and returns the worker of each.
pub(crate) fn places(run: &mut Running, count: usize) -> BTreeMap<String, String> {
    let mut places = BTreeMap::new();
    while places.len() < count {
        let event = run.event(LIMIT, |event| event.kind() == "case-started");
        places.insert(event.text("name").to_owned(), event.text("worker").to_owned());
    }
    places
}

pub(crate) fn starts<'a>(events: &'a [Event], name: &str) -> Vec<&'a str> {
    let started = events.iter().filter(|event| event.is_about("case-started", name));
    started.map(|event| event.text("worker")).collect()
}

pub(crate) fn split(
    held: Vec<Held>,
    places: &BTreeMap<String, String>,
    worker: &str,
) -> (Vec<Held>, Vec<Held>) {
    held.into_iter().partition(|held| places[&held.name] == worker)
}
