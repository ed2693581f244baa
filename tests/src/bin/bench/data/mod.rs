//! The data plane: what travels.

mod edit;

use crate::Options;
use crate::figure::Figure;

/// The parts, in the order in which they are measured.
pub(crate) const PARTS: [&str; 1] = ["edit"];

pub(crate) fn measure(options: &Options) -> Vec<Figure> {
    edit::measure(options)
}
