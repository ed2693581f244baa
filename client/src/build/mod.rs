//! From a Cargo workspace, or a cargo-nextest archive, to test binaries.
//!
//! [`start()`] runs the cargo that builds, the one that describes the workspace, and rustc, all at the same time:
//! on an unchanged tree each takes about as long as the others. Absent: any judgement of what to build; cargo
//! decides that.

mod archive;
mod artifacts;
mod cargo_config;
mod error;
mod options;
mod platform;
#[cfg(test)]
pub(crate) mod sample;
mod start;
mod workspace;
mod wrapper;

pub use archive::{ArchiveOptions, open_archive};
pub use cargo_config::CargoConfig;
pub use error::BuildError;
pub use options::BuildOptions;
pub use platform::{Platforms, Toolchain};
pub use start::{Building, start};
pub use workspace::{Build, Workspace};
pub use wrapper::Wrapper;

pub(crate) use cargo_config::cargo_home;
