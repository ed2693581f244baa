//! The one binary `thresh`: arguments, and the wiring of client, coordinator and worker.

mod args;
mod command;
mod interrupt;
mod version;

fn main() {}
