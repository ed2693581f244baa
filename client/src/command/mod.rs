//! The commands of cases, lists and setup scripts: argument vectors, working directories, variables.
//!
//! A template holds what many cases share. What differs by case or attempt is left to the worker, namely
//! [`WORKER_VARIABLES`] and, for setup scripts, [`SETUP_WORKER_VARIABLES`].

mod environment;
mod launcher;
mod library_path;
mod template;

pub use environment::{CommandContext, CommandError};
pub use launcher::LAUNCHER_VARIABLES;
pub use library_path::{LibraryPathError, library_folders};
pub use template::{CommandTemplate, ListCommand, SetupCommand};

/// The variables of a case that the worker sets, after all of the template's and before those that setup
/// scripts export.
///
/// * `NEXTEST_RUN_ID`: the run id, a hyphenated UUID;
/// * `NEXTEST_TEST_NAME`: the case's name;
/// * `NEXTEST_ATTEMPT`, `NEXTEST_TOTAL_ATTEMPTS`: from 1, in decimal;
/// * `NEXTEST_ATTEMPT_ID`: `RUN_ID:BINARY_ID$NAME`, from the second attempt on with `#ATTEMPT` behind it;
/// * `NEXTEST_TEST_THREADS`: how many cases run at a time;
/// * `NEXTEST_TEST_GLOBAL_SLOT`: from 0, the lowest that is free;
/// * `NEXTEST_TEST_GROUP_SLOT`: from 0 within the test group, `none` outside of groups.
pub const WORKER_VARIABLES: [&str; 8] = [
    "NEXTEST_RUN_ID",
    "NEXTEST_TEST_NAME",
    "NEXTEST_ATTEMPT",
    "NEXTEST_TOTAL_ATTEMPTS",
    "NEXTEST_ATTEMPT_ID",
    "NEXTEST_TEST_THREADS",
    "NEXTEST_TEST_GLOBAL_SLOT",
    "NEXTEST_TEST_GROUP_SLOT",
];

/// The variables of a setup script that the worker sets: the run id, how many cases run at a time, and in
/// `NEXTEST_ENV` the path of an empty file to which the script writes `NAME=VALUE` lines.
pub const SETUP_WORKER_VARIABLES: [&str; 3] = ["NEXTEST_RUN_ID", "NEXTEST_TEST_THREADS", "NEXTEST_ENV"];
