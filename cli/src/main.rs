//! The one binary `thresh`.

fn main() {}
