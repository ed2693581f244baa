//! The client: builds and lists a Cargo workspace, submits the run and reports its verdict.
