//! The coordinator's memory during a run on a farm.

use crate::Options;
use crate::figure::Figure;
use crate::measure::{cost, generate, thresh};
use crate::trivial;
use thresh_tests::farm::Farm;
use thresh_tests::running::peak_memory_kib;

pub(crate) fn measure(options: &Options) -> Vec<Figure> {
    let temp = tempfile::tempdir().expect("a temp folder can be made");
    let folder = temp.path().join("trivial");
    generate(&folder, &trivial::suite(options.cases));
    let farm = Farm::with_workers(temp.path(), 2, 1);
    let memory = || {
        let kib = peak_memory_kib(farm.coordinator_id()).expect("the coordinator runs");
        kib as f64 / 1024.0
    };
    let idle = memory();
    let home = temp.path().join("home");
    cost(thresh(&folder, &home, &["--no-reuse", "--farm", &farm.url()]));
    vec![
        Figure::new("memory: coordinator, idle, at most", idle, "MiB"),
        Figure::new(
            format!("memory: coordinator, run of {} cases, at most", options.cases),
            memory(),
            "MiB",
        ),
    ]
}
