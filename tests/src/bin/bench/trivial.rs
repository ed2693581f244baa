//! Own CPU and wall per trivial case.

use crate::Options;
use crate::figure::Figure;
use crate::measure::{Cost, cost, cost_of, generate, medians, nextest, thresh};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// How far above the bare loop the CPU per case may be.
const ABOVE_FLOOR: f64 = 1.25;

/// A way to run the suite, with all cases or with one.
struct Side<'a> {
    run: Box<dyn Fn(bool) -> Cost + 'a>,
    all: Vec<Cost>,
    one: Vec<Cost>,
}

impl<'a> Side<'a> {
    fn new(run: impl Fn(bool) -> Cost + 'a) -> Self {
        Self {
            run: Box::new(run),
            all: Vec::new(),
            one: Vec::new(),
        }
    }

    fn repeat(&mut self) {
        self.all.push((self.run)(true));
        self.one.push((self.run)(false));
    }

    /// Milliseconds of CPU and wall per case: everything divided by the cases, and what a further case costs.
    fn per_case(&self, cases: usize) -> (Cost, Cost) {
        let (all, one) = (medians(&self.all), medians(&self.one));
        let scale = |cost: f64, cases: usize| 1e3 * cost / cases as f64;
        let raw = Cost {
            wall: scale(all.wall, cases),
            cpu: scale(all.cpu, cases),
        };
        let further = Cost {
            wall: scale(all.wall - one.wall, cases.saturating_sub(1).max(1)),
            cpu: scale(all.cpu - one.cpu, cases.saturating_sub(1).max(1)),
        };
        (raw, further)
    }
}

pub(crate) fn measure(options: &Options) -> Vec<Figure> {
    let cases = options.cases;
    let temp = tempfile::tempdir().expect("a temp folder can be made");
    let folder = temp.path().join("trivial");
    let home = temp.path().join("home");
    let binary = generate(&folder, &suite(cases));

    let only: &[&str] = &["-E", "test(=case_0)"];
    let selection = |all: bool| if all { &[][..] } else { only };
    let mut sides = [
        Side::new(|all| bare_loop(&binary, if all { cases } else { 1 })),
        Side::new(|all| cost(nextest(&folder, true, selection(all)))),
        Side::new(|all| cost(nextest(&folder, false, selection(all)))),
        Side::new(|all| {
            cost(thresh(
                &folder,
                &home,
                &[&["--no-reuse"], selection(all)].concat(),
            ))
        }),
    ];
    // The first run of each fills caches.
    for side in &sides {
        (side.run)(false);
    }
    for _ in 0..options.repeats {
        sides.iter_mut().for_each(Side::repeat);
    }
    let [floor, double, single, ours] = sides.map(|side| side.per_case(cases));
    vec![
        Figure::new(
            "trivial: CPU per further case, bare spawn loop",
            floor.1.cpu,
            "ms",
        ),
        Figure::new("trivial: CPU per further case, nextest", double.1.cpu, "ms"),
        Figure::new(
            "trivial: CPU per further case, nextest without double spawn",
            single.1.cpu,
            "ms",
        ),
        Figure::new(
            "trivial: CPU per further case, thresh (peer: bare spawn loop)",
            ours.1.cpu,
            "ms",
        )
        .at_most(ABOVE_FLOOR * floor.1.cpu)
        .beside(floor.1.cpu),
        Figure::new(
            "trivial: all CPU / cases, thresh (peer: nextest without double spawn)",
            ours.0.cpu,
            "ms",
        )
        .at_most(single.0.cpu)
        .beside(single.0.cpu),
        Figure::new("trivial: all CPU / cases, nextest", double.0.cpu, "ms"),
        Figure::new(
            "trivial: wall per further case, thresh (peer: bare spawn loop)",
            ours.1.wall,
            "ms",
        )
        .beside(floor.1.wall),
        Figure::new(
            "trivial: all wall / cases, thresh (peer: nextest)",
            ours.0.wall,
            "ms",
        )
        .at_most(double.0.wall)
        .beside(double.0.wall),
        Figure::new(
            "trivial: all wall / cases, thresh (peer: nextest without double spawn)",
            ours.0.wall,
            "ms",
        )
        .at_most(single.0.wall)
        .beside(single.0.wall),
    ]
}

/// Returns the code of a suite of trivial cases.
pub(crate) fn suite(cases: usize) -> String {
    let cases = (0..cases).map(|number| format!("#[test]\nfn case_{number}() {{}}\n"));
    format!("//! Trivial cases.\n{}", cases.collect::<String>())
}

/// Spawns the binary once per case on all cores, as nextest and thresh do, but looks at nothing else. The
/// standard library spawns by `posix_spawn`, which is vfork and exec.
fn bare_loop(binary: &Path, cases: usize) -> Cost {
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= cases {
                break;
            }
            let mut command = Command::new(binary);
            command.args(["--exact", &format!("case_{number}"), "--nocapture"]);
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            assert!(
                command.status().expect("the binary is there").success(),
                "a trivial case fails"
            );
        }
    };
    cost_of(|| {
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        })
    })
}
