//! Suites that others wrote: `thresh run` must agree with `cargo nextest run` about every case, alone and on a
//! farm whose workers cannot see the client's folders.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::Command;
use thresh_tests::packages::PINNED;
use thresh_tests::thresh::{binary, scrub};

fn conformance(args: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conformance"));
    scrub(&mut command);
    let output = command.env("THRESH_BIN", binary()).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("differences"), "{text}");
}

#[test]
fn registry_suites_alone() {
    let packages: Vec<&str> = PINNED.iter().flat_map(|name| ["--package", name]).collect();
    conformance(&packages);
}

#[test]
fn registry_suites_on_a_farm() {
    let packages: Vec<&str> = PINNED.iter().flat_map(|name| ["--package", name]).collect();
    conformance(&[&["--farm"], &packages[..]].concat());
}
