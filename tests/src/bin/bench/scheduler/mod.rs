//! The scheduler: how well it packs cases into slots, beside planners that deal them out in advance; what it costs at
//! a scale that no other part reaches; what a real coordinator does with many connections; how soon it notices that
//! a worker is gone, and another one that it is gone itself.

mod connections;
mod farm;
mod load;
mod notice;
mod packing;
mod random;
mod scale;
mod takeover;

use crate::Options;
use crate::figure::Figure;
use std::process::ExitCode;

/// The parts, in the order in which they are measured.
pub(crate) const PARTS: [&str; 5] = ["packing", "scale", "connections", "notice", "takeover"];

pub(crate) fn measure(options: &Options) -> Vec<Figure> {
    let wanted = |part: &&str| options.parts.is_empty() || options.parts.iter().any(|wanted| wanted == part);
    let figures = PARTS.into_iter().filter(wanted).map(|part| match part {
        "packing" => packing::measure(),
        "scale" => scale::measure(),
        "connections" => connections::measure(options.repeats),
        "notice" => notice::measure(options.repeats),
        _ => takeover::measure(options.repeats),
    });
    figures.flatten().collect()
}

/// Does what the benchmark starts in a process of its own, when this process is one.
pub(crate) fn child() -> Option<ExitCode> {
    scale::child()
}
