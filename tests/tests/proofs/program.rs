//! A program in the place of `thresh`, whose suite has one case.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

/// `$real` is set without reuse, and `$status` and `$passes` are what the case comes to.
const BEGINNING: &str = r#"#!/bin/sh
status=reused passes=true
mkdir -p "$THRESH_HOME"
for arg in "$@"; do [ "$arg" = --no-reuse ] && real=yes; done
[ "$1" = list ] && echo "{\"rust-suites\":{\"b\":{\"binary-path\":\"$0\"}}}" && exit
"#;

const END: &str = r#"
echo "{\"event\":\"case-ended\",\"binary_id\":\"b\",\"name\":\"one\",\"status\":\"$status\",\"passes\":$passes,\"seconds\":0.1}"
echo '{"event":"run-ended"}'
"#;

/// The case is reused, and fails for real.
pub(crate) const FAILS: &str = "[ -n \"$real\" ] && status=failed passes=false";

/// The case is reused, fails the first time for real, and passes from then on.
pub(crate) const FAILS_ONCE: &str = "if [ -n \"$real\" ]; then status=failed passes=false; [ -e $state ] && status=passed passes=true; touch $state; fi";

/// The case is reused, and passes for real.
pub(crate) const PASSES: &str = "[ -n \"$real\" ] && status=passed";

/// Writes the program into a folder; `middle` decides, and may keep what it likes in the file `$state`.
pub(crate) fn write(folder: &Path, middle: &str) -> PathBuf {
    let (thresh, state) = (folder.join("thresh"), folder.join("state"));
    let text = format!("{BEGINNING}\nstate={}\n{middle}\n{END}", state.display());
    std::fs::write(&thresh, text).expect("the temp folder can be written");
    std::fs::set_permissions(&thresh, PermissionsExt::from_mode(0o755)).expect("it is our file");
    thresh
}

/// Returns what a program printed.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Checks the exit code, and what was printed.
///
/// # Panics
/// When the code is another or a part is missing.
#[track_caller]
pub(crate) fn expect(output: &Output, code: i32, parts: &[&str]) {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}\n{err}");
    for part in parts {
        assert!(out.contains(part), "{part:?} is missing:\n{out}\n{err}");
    }
}
