//! Own CPU and wall per trivial case.

use crate::Options;
use crate::figure::Figure;
use crate::measure::{Cost, bare_loop, cost, generate, median, medians, nextest, slots, thresh};
use crate::why::{UNKNOWN, noise};

/// How far above the bare loop the CPU per case may be.
const ABOVE_FLOOR: f64 = 1.25;

/// Up to here what is above the bare loop is known, by profile (docs/benchmarks.md).
const ABOVE_FLOOR_KNOWN: f64 = 1.30;

/// A way to run the suite, with all cases or with one.
struct Side<'a> {
    run: Box<dyn Fn(bool) -> Cost + 'a>,
    all: Vec<Cost>,
    one: Vec<Cost>,
}

/// What a case costs, in thousandths of a second.
struct PerCase {
    /// Everything divided by the cases, in each repeat.
    all: Vec<Cost>,
    /// What a further case costs.
    further: Cost,
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

    fn per_case(&self, cases: usize) -> PerCase {
        let thousandths = |cost: Cost| Cost {
            wall: 1e3 * cost.wall,
            cpu: 1e3 * cost.cpu,
            own: 1e3 * cost.own,
        };
        let further = medians(&self.all).beyond(medians(&self.one));
        PerCase {
            all: (self.all.iter())
                .map(|cost| thousandths(cost.per(cases)))
                .collect(),
            further: thousandths(further.per(cases.saturating_sub(1).max(1))),
        }
    }
}

pub(crate) fn measure(options: &Options) -> Vec<Figure> {
    let cases = options.cases;
    let temp = tempfile::tempdir().expect("a temp folder can be made");
    let folder = temp.path().join("trivial");
    let home = temp.path().join("home");
    let binary = generate(&folder, &suite(cases));

    let names: Vec<String> = (0..cases).map(|number| format!("case_{number}")).collect();
    let only: &[&str] = &["-E", "test(=case_0)"];
    let selection = |all: bool| if all { &[][..] } else { only };
    let mut sides = [
        Side::new(|all| bare_loop(&binary, if all { &names } else { &names[..1] }, slots())),
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
    figures(&sides.map(|side| side.per_case(cases)))
}

fn figures([floor, double, single, ours]: &[PerCase; 4]) -> Vec<Figure> {
    let figure = |name: &str, value: f64| Figure::new(format!("trivial: {name}"), value, "ms");
    let against = |what: &str, peer: &str, of: fn(&Cost) -> f64, theirs: &PerCase| {
        let name = format!("{what} / cases, thresh (peer: {peer})");
        let their_median = of(&medians(&theirs.all));
        let [ours, theirs] = [ours, theirs].map(|side| side.all.iter().map(of).collect::<Vec<_>>());
        figure(&name, median(ours.iter().copied()))
            .at_most(their_median)
            .beside(their_median)
            .because(noise(&ours, &theirs, "ms"))
    };
    let without = "nextest without double spawn";
    vec![
        figure("CPU per further case, bare spawn loop", floor.further.cpu),
        figure("CPU per further case, nextest", double.further.cpu),
        figure(&format!("CPU per further case, {without}"), single.further.cpu),
        figure(
            "CPU per further case, thresh (peer: bare spawn loop)",
            ours.further.cpu,
        )
        .at_most(ABOVE_FLOOR * floor.further.cpu)
        .beside(floor.further.cpu)
        .because(above_floor(ours.further, floor.further)),
        against("all CPU", without, |cost| cost.cpu, single),
        figure("all CPU / cases, nextest", medians(&double.all).cpu),
        figure(
            "wall per further case, thresh (peer: bare spawn loop)",
            ours.further.wall,
        )
        .beside(floor.further.wall),
        against("all wall", "nextest", |cost| cost.wall, double),
        against("all wall", without, |cost| cost.wall, single),
    ]
}

/// Says what the CPU beyond the bare loop's consists of; both are in thousandths of a second per case.
fn above_floor(ours: Cost, floor: Cost) -> String {
    let factor = ours.cpu / floor.cpu;
    let more = ours.beyond(floor);
    let said = format!(
        "{factor:.3} times the loop's; of {:.3} ms more, {:.3} ms are used by thresh's own threads and {:.3} ms by the \
         processes that it starts",
        more.cpu,
        more.own,
        more.cpu - more.own
    );
    if factor > ABOVE_FLOOR_KNOWN {
        format!("{said}; above {ABOVE_FLOOR_KNOWN:.2} times {UNKNOWN}")
    } else {
        said
    }
}

/// Returns the code of a suite of trivial cases.
pub(crate) fn suite(cases: usize) -> String {
    let cases = (0..cases).map(|number| format!("#[test]\nfn case_{number}() {{}}\n"));
    format!("//! Trivial cases.\n{}", cases.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(cpu: f64, own: f64) -> Cost {
        Cost { wall: 1.0, cpu, own }
    }

    #[test]
    fn what_is_above_the_floor_is_split_and_is_a_regression_beyond_what_is_known() {
        let floor = cost(2.0, 0.25);
        let said = above_floor(cost(2.52, 0.65), floor);
        let expected = "1.260 times the loop's; of 0.520 ms more, 0.400 ms are used by thresh's own threads and \
                        0.120 ms by the processes that it starts";
        assert_eq!(said, expected);
        assert!(
            above_floor(cost(2.7, 0.65), floor)
                .ends_with("above 1.30 times no reason is known: a regression?")
        );
    }
}
