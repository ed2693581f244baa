//! What it costs to isolate a case, by level.

use crate::Options;
use crate::figure::Figure;
use crate::measure::{generate, median};
use crate::trivial;
use thresh_tests::farm::{Farm, WorkerOptions};
use thresh_tests::thresh::Thresh;

const LEVELS: [&str; 3] = ["none", "private", "sealed"];
/// Cases of one run.
const CASES_MAX: usize = 300;
/// The most that `private` may cost a case, in milliseconds.
const PRIVATE_MAX: f64 = 2.0;

pub(crate) fn measure(options: &Options) -> Vec<Figure> {
    let temp = tempfile::tempdir().expect("a temp folder can be made");
    let suite = temp.path().join("trivial");
    let cases = options.cases.min(CASES_MAX);
    generate(&suite, &trivial::suite(cases));
    let farms: Vec<Farm> = LEVELS
        .iter()
        .map(|level| {
            let mut farm = Farm::start(&temp.path().join(level));
            farm.add(&WorkerOptions {
                further: vec!["--isolation".to_owned(), (*level).to_owned()],
                ..WorkerOptions::new(level, 1)
            });
            farm
        })
        .collect();
    let thresh = Thresh::new(&suite, temp.path().join("home"));
    let mut per_case = [const { Vec::new() }; LEVELS.len()];
    // The first run of each brings the inputs.
    for repeat in 0..=options.repeats {
        for (farm, times) in farms.iter().zip(&mut per_case) {
            let finished = thresh.run(&["--no-reuse", "--farm", &farm.url()]).expect_code(0);
            let seconds = finished.ended().number("seconds").expect("a run took some time");
            if repeat > 0 {
                times.push(1e3 * seconds / cases as f64);
            }
        }
    }
    let [none, private, sealed] = per_case.map(median);
    let row =
        |what: &str, value: f64| Figure::new(format!("data: isolation, a trivial case, {what}"), value, "ms");
    vec![
        row("none", none),
        row("private", private).beside(none),
        row("private, beyond none", private - none).at_most(PRIVATE_MAX),
        row("sealed", sealed).beside(none),
        row("sealed, beyond none", sealed - none),
    ]
}
