//! What it takes to know what a case depends on.

mod build;
mod cases;
mod observe;

use crate::Options;
use crate::figure::Figure;

/// The parts, in the order in which they are measured.
pub(crate) const PARTS: [&str; 2] = ["observe", "build"];

pub(crate) fn measure(options: &Options) -> Vec<Figure> {
    let measures: [fn(&Options) -> Vec<Figure>; PARTS.len()] = [observe::measure, build::measure];
    let wanted = |part: &str| options.parts.is_empty() || options.parts.iter().any(|wanted| wanted == part);
    let parts = PARTS.into_iter().zip(measures).filter(|(part, _)| wanted(part));
    parts.flat_map(|(_, measure)| measure(options)).collect()
}
