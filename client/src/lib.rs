//! The client: builds and lists a Cargo workspace, submits the run and reports its verdict.
//!
//! - [`project`], [`nextest`], [`surroundings`]: what is configured, and where.
//! - [`build`], [`list`], [`suite`], [`command`]: from the workspace to its cases, and how each is started.
//! - [`reuse`], [`affected`]: keys, what they are made of, and what a change concerns.
//! - [`ship`]: what travels to a farm. [`run`]: a run from its plan to its verdict. [`report`]: how it is told.
//! - [`records`]: what is kept of past runs.
//!
//! Deliberately absent: scheduling and the decision what a key stands for (`thresh-core`), starting cases (`thresh-worker`), storing
//! passes (`thresh-coordinator`).

pub mod affected;
pub mod build;
pub mod command;
pub mod list;
pub mod nextest;
pub mod project;
pub mod records;
pub mod report;
pub mod reuse;
pub mod run;
pub mod ship;
pub mod suite;
pub mod surroundings;
