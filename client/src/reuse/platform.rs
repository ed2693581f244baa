//! The platform part of a key.

use std::process::{Command, Stdio};

use super::record::Record;

/// Records what the machine is: operating system and architecture, the distribution's release, the C library,
/// the toolchain and the target.
///
/// The kernel's version is left out on purpose: it changes with every security update, and a suite whose
/// outcome depends on it is rare. Dynamic libraries of the system other than the C library count only by the
/// distribution's release.
pub(super) fn platform_record(target: &str, rustc_version: &str) -> Record {
    let mut record = Record::new("platform v1");
    record.add("operating system", std::env::consts::OS);
    record.add("architecture", std::env::consts::ARCH);
    record.add("target", target);
    record.add("rustc -vV", rustc_version);
    // Where one of these cannot be told, it is told nowhere on this machine, and stays equal.
    record.add(
        "/etc/os-release",
        std::fs::read_to_string("/etc/os-release").unwrap_or_default(),
    );
    record.add("C library", c_library().unwrap_or_default());
    record
}

fn c_library() -> Option<String> {
    let output = Command::new("getconf")
        .arg("GNU_LIBC_VERSION")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    String::from_utf8(output.stdout)
        .ok()
        .map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toolchain_and_target_count() {
        let base = platform_record("x", "rustc 1").digest();
        assert_eq!(base, platform_record("x", "rustc 1").digest());
        assert_ne!(base, platform_record("y", "rustc 1").digest());
        assert_ne!(base, platform_record("x", "rustc 2").digest());
    }
}
