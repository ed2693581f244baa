//! Notice: how soon a worker that was killed, frozen or cut off is given up, and which cases run again.

use crate::figure::Figure;
use crate::measure::{generate, median};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};
use thresh_tests::events::Event;
use thresh_tests::farm::{Farm, WorkerOptions};
use thresh_tests::proxy::Proxy;
use thresh_tests::running::Running;
use thresh_tests::thresh::Thresh;

const NOTICED_SECONDS: f64 = 10.0;

const WORKERS: u32 = 3;

const SLOTS: u32 = 2;

/// Enough for the others to be busy until well after the worker is given up, so that they start its cases because it
/// was, and not before, as second copies for their idle slots.
const CASES: u32 = 200;

const CASE: Duration = Duration::from_millis(250);

/// The worker that something happens to.
const VICTIM: &str = "worker-1";

/// So many outcomes of it are waited for first.
const OUTCOMES_BEFORE: usize = 8;

/// The longest that a run may take to go on.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// `SIGKILL`: the system closes its connection.
    Killed,
    /// `SIGSTOP`: its connection stays, its processes run on.
    Frozen,
    /// Nothing that it or the coordinator sends arrives; the connection stays. A relay between them does it, which,
    /// unlike network namespaces, every machine has.
    Partitioned,
}

/// What one repeat gave.
#[derive(Clone, Copy, Debug)]
struct Noticed {
    /// From the fault until the client was told that the worker is lost, in seconds.
    lost: f64,
    /// From the fault until the last of its unfinished cases had started elsewhere, in seconds.
    elsewhere: f64,
    /// Cases of the worker that had started there and not ended.
    unfinished: usize,
    /// Cases that ran again although they had ended, or did not although they had not.
    wrong: usize,
}

pub(super) fn measure(repeats: usize) -> Vec<Figure> {
    let temp = tempfile::tempdir().expect("a temp folder can be made");
    let package = temp.path().join("sleepers");
    generate(&package, &suite());
    [Fault::Killed, Fault::Frozen, Fault::Partitioned]
        .into_iter()
        .flat_map(|fault| {
            let noticed: Vec<Noticed> = (0..repeats).map(|_| once(fault, &package)).collect();
            figures(fault, &noticed)
        })
        .collect()
}

fn figures(fault: Fault, noticed: &[Noticed]) -> [Figure; 4] {
    let fault = format!("{fault:?}").to_lowercase();
    let name = |figure: &str| format!("notice: {fault} worker, {figure}");
    let of = |value: fn(&Noticed) -> f64| median(noticed.iter().map(value));
    let wrong: usize = noticed.iter().map(|of| of.wrong).sum();
    [
        Figure::new(name("until the client is told"), of(|of| of.lost), "s").at_most(NOTICED_SECONDS),
        Figure::new(name("until its cases run elsewhere"), of(|of| of.elsewhere), "s")
            .at_most(NOTICED_SECONDS),
        Figure::new(name("unfinished cases"), of(|of| of.unfinished as f64), "cases"),
        Figure::new(
            name("finished cases run again, or unfinished not, in all repeats"),
            wrong as f64,
            "cases",
        )
        .at_most(0.0),
    ]
}

/// Has a run on a farm of its own, and something happen to one worker amid it.
///
/// # Panics
/// When the run does not pass.
fn once(fault: Fault, package: &Path) -> Noticed {
    let temp = tempfile::tempdir().expect("a temp folder can be made");
    let mut farm = Farm::start(temp.path());
    let proxy = Proxy::start(farm.address());
    for number in 1..=WORKERS {
        let options = WorkerOptions::new(&format!("worker-{number}"), SLOTS);
        let is_victim = options.name == VICTIM;
        farm.add(&WorkerOptions {
            url: is_victim.then(|| proxy.url()),
            ..options
        });
    }
    let thresh = Thresh::new(package, temp.path().join("home"));
    let mut run = thresh.start(&[
        "--farm",
        &farm.url(),
        "--no-reuse",
        "--no-fail-fast",
        "--retries",
        "0",
    ]);
    let mut story = Story::default();
    while story.ended_at(VICTIM) < OUTCOMES_BEFORE {
        story.read(&mut run);
    }
    let at = Instant::now();
    match fault {
        Fault::Killed => farm.worker(VICTIM).signal(Signal::KILL),
        Fault::Frozen => farm.worker(VICTIM).signal(Signal::STOP),
        Fault::Partitioned => proxy.fall_silent(),
    }
    while !story.over {
        story.read(&mut run);
    }
    run.finish().expect_code(0).expect_all_passed();
    story.noticed(at)
}

/// What a client is told of where cases run.
#[derive(Default)]
struct Story {
    /// Where each case started, and when that was told.
    starts: BTreeMap<String, Vec<(String, Instant)>>,
    /// Where each case ended.
    ends: BTreeMap<String, Vec<String>>,
    lost: Option<Instant>,
    over: bool,
}

impl Story {
    fn read(&mut self, run: &mut Running) {
        let event: Event = run.event(LIMIT, |_| true);
        let now = Instant::now();
        let (case, worker) = (event.text("name").to_owned(), event.text("worker").to_owned());
        match event.kind() {
            "case-started" => self.starts.entry(case).or_default().push((worker, now)),
            // What a worker that is gone had not ended is told as a lost attempt.
            "attempt-ended" if event.text("outcome") != "lost" => {
                self.ends.entry(case).or_default().push(worker)
            }
            "worker" if event.text("kind") == "lost" && worker == VICTIM => self.lost = Some(now),
            "run-ended" => self.over = true,
            _ => {}
        }
    }

    fn ended_at(&self, worker: &str) -> usize {
        let at = |ends: &&Vec<String>| ends.iter().any(|end| end == worker);
        self.ends.values().filter(at).count()
    }

    /// # Panics
    /// When the client was not told, or a case ended more than once.
    fn noticed(&self, fault: Instant) -> Noticed {
        let seconds = |at: Instant| at.saturating_duration_since(fault).as_secs_f64();
        assert!(self.ends.values().all(|ends| ends.len() == 1), "{:?}", self.ends);
        let here = |case: &String| self.ends.get(case).is_some_and(|ends| ends[0] == VICTIM);
        let started = |starts: &[(String, Instant)]| starts.iter().any(|(worker, _)| worker == VICTIM);
        let unfinished: BTreeSet<&String> = (self.starts.iter())
            .filter(|(case, starts)| started(starts) && !here(case))
            .map(|(case, _)| case)
            .collect();
        let again: BTreeSet<&String> = (self.starts.iter())
            .filter(|(_, starts)| starts.len() > 1)
            .map(|(case, _)| case)
            .collect();
        let elsewhere = unfinished
            .iter()
            .flat_map(|case| self.starts[*case].iter().find(|(worker, _)| worker != VICTIM));
        Noticed {
            lost: seconds(self.lost.expect("the client is told that the worker is lost")),
            elsewhere: elsewhere.map(|(_, at)| seconds(*at)).fold(0.0, f64::max),
            unfinished: unfinished.len(),
            wrong: unfinished.symmetric_difference(&again).count(),
        }
    }
}

/// Cases whose processes do nothing but last.
fn suite() -> String {
    let mut code = String::from("//! Cases that last.\nuse std::{thread::sleep, time::Duration};\n");
    for case in 0..CASES {
        let millis = CASE.as_millis();
        writeln!(
            code,
            "#[test]\nfn case_{case}() {{ sleep(Duration::from_millis({millis})); }}"
        )
        .expect("a string takes everything");
    }
    code
}
