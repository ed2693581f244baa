//! The data plane: what travels, and what it costs to keep cases apart.

mod cold;
mod edit;
mod engine;
mod isolation;
mod spread;
mod transfer;

use crate::Options;
use crate::figure::Figure;

/// The parts, in the order in which they are measured.
pub(crate) const PARTS: [&str; 6] = ["edit", "cold", "isolation", "engine", "transfer", "spread"];

pub(crate) fn measure(options: &Options) -> Vec<Figure> {
    let measures: [fn(&Options) -> Vec<Figure>; PARTS.len()] = [
        edit::measure,
        cold::measure,
        isolation::measure,
        engine::measure,
        transfer::measure,
        spread::measure,
    ];
    let wanted = |part: &str| options.parts.is_empty() || options.parts.iter().any(|wanted| wanted == part);
    let parts = PARTS.into_iter().zip(measures).filter(|(part, _)| wanted(part));
    parts.flat_map(|(_, measure)| measure(options)).collect()
}
