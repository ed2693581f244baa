//! The client: builds and lists a Cargo workspace, submits the run and reports its verdict.

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
