//! What it takes to know what a case depends on.

mod build;
mod cases;
mod observe;
mod sections;

use crate::Options;
use crate::figure::Figure;
use crate::measure::{Cost, medians};
use crate::why::noise;

/// The parts, in the order in which they are measured.
pub(crate) const PARTS: [&str; 3] = ["observe", "build", "sections"];

pub(crate) fn measure(options: &Options) -> Vec<Figure> {
    let measures: [fn(&Options) -> Vec<Figure>; PARTS.len()] =
        [observe::measure, build::measure, sections::measure];
    let wanted = |part: &str| options.parts.is_empty() || options.parts.iter().any(|wanted| wanted == part);
    let parts = PARTS.into_iter().zip(measures).filter(|(part, _)| wanted(part));
    parts.flat_map(|(_, measure)| measure(options)).collect()
}

/// The most that it may add to the wall time of a build or a run, as a share.
const SHARE_MAX: f64 = 0.05;

/// Figures of what was measured without and with: `name` is of the wall time, with the peer in brackets.
fn beside(name: &str, costs: &[Vec<Cost>; 2]) -> Vec<Figure> {
    let allowed = |wall: f64| wall * (1.0 + SHARE_MAX);
    let [mut most, ours] = costs
        .each_ref()
        .map(|costs| costs.iter().map(|cost| cost.wall).collect::<Vec<_>>());
    most.iter_mut().for_each(|wall| *wall = allowed(*wall));
    let noise = noise(&ours, &most, "s");
    let [without, with] = costs.each_ref().map(|costs| medians(costs));
    vec![
        Figure::new(format!("reuse: {name}"), with.wall, "s")
            .at_most(allowed(without.wall))
            .beside(without.wall)
            .because(noise),
        Figure::new(format!("reuse: {name}, processor time"), with.cpu, "s").beside(without.cpu),
    ]
}
