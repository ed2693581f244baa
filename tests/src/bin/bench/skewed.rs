//! One long case that comes last by name: whoever knows it starts it first.

use crate::Options;
use crate::figure::Figure;
use crate::measure::{cost, generate, medians, nextest, thresh};
use std::fmt::Write;

const SHORT: usize = 200;
const SHORT_SECONDS: f64 = 0.020;
const LONG_SECONDS: f64 = 4.0;

/// The packing that a run with history must reach, without what starting up costs.
const PACKING: f64 = 0.97;

pub(crate) fn measure(options: &Options) -> Vec<Figure> {
    let temp = tempfile::tempdir().expect("a temp folder can be made");
    let folder = temp.path().join("skewed");
    generate(&folder, &suite());
    let one = ["-E", "test(=case_000)"];
    let (mut peer, mut peer_start) = (Vec::new(), Vec::new());
    let (mut unknown, mut known, mut start) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.repeats {
        let home = tempfile::tempdir().expect("a temp folder can be made");
        peer.push(cost(nextest(&folder, false, &[])));
        peer_start.push(cost(nextest(&folder, false, &one)));
        unknown.push(cost(thresh(&folder, home.path(), &["--no-reuse"])));
        known.push(cost(thresh(&folder, home.path(), &["--no-reuse"])));
        start.push(cost(thresh(&folder, home.path(), &["--no-reuse", "-E", one[1]])));
    }
    let slots = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let floor = ((SHORT as f64 * SHORT_SECONDS + LONG_SECONDS) / slots).max(LONG_SECONDS);
    let start = medians(&start).wall - SHORT_SECONDS;
    let peer_wall = medians(&peer).wall - (medians(&peer_start).wall - SHORT_SECONDS);
    let figure = |name: &str, wall: f64, target: f64| {
        Figure::new(
            format!("skewed: {name}, without start-up (peer: nextest)"),
            wall - start,
            "s",
        )
        .at_most(target)
        .beside(peer_wall)
    };
    vec![
        Figure::new("skewed: floor max(total / slots, longest)", floor, "s"),
        figure("thresh with history", medians(&known).wall, floor / PACKING),
        // Nothing tells the long case from the others before it has run once.
        figure("thresh without history", medians(&unknown).wall, peer_wall),
        Figure::new(
            "skewed: thresh with history, all wall (peer: nextest)",
            medians(&known).wall,
            "s",
        )
        .at_most(medians(&peer).wall)
        .beside(medians(&peer).wall),
    ]
}

fn suite() -> String {
    let mut code =
        String::from("//! One long case among short ones.\nuse std::{thread::sleep, time::Duration};\n");
    let mut case = |name: &str, seconds: f64| {
        let body = format!("sleep(Duration::from_secs_f64({seconds:?}));");
        write!(code, "#[test]\nfn {name}() {{ {body} }}\n").expect("text can be written");
    };
    for number in 0..SHORT {
        case(&format!("case_{number:03}"), SHORT_SECONDS);
    }
    case("zz_long", LONG_SECONDS);
    code
}
