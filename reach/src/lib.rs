//! What each case of a test binary can reach in the link graph, as a key. (docs below)

mod analysis;
mod arguments;
mod condense;
mod encode;
mod explain;
mod frames;
mod graph;
mod harness;
mod image;
mod inputs;
mod linker;
mod location;
mod memo;
mod name;
mod pieces;
mod raw;
mod record;
mod resolve;
mod unit;

pub use analysis::{Analysis, CaseKey, LoadError, Locations, analyse};
pub use explain::{Difference, explain};
pub use inputs::Library;
pub use linker::{
    FOLDER_VARIABLE, LINKER_DEFAULT, LINKER_VARIABLE, WRAPPER_PREFIX, is_wrapper, link, wrapper_name,
};
