//! What `/proc` tells of processes.

use std::fs;

/// One process, as `/proc/PID/stat` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    /// When it started, in clock ticks since boot: with the pid, its identity.
    pub(super) start: u64,
    /// Whether it has ended and only waits to be reaped.
    pub(super) ended: bool,
}

/// Lists every process there is. One that ends meanwhile may be missing.
pub(super) fn processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| process(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// Looks up one process.
pub(super) fn process(pid: i32) -> Option<Process> {
    parse(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// Parses `PID (NAME) STATE PARENT GROUP …`; the name may hold any byte, also a parenthesis.
fn parse(pid: i32, stat: &[u8]) -> Option<Process> {
    let after_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let mut fields = std::str::from_utf8(&stat[after_name..])
        .ok()?
        .split_ascii_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X" | "x");
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    // The start time is field 22, and fields 1 to 5 are behind us.
    let start = fields.nth(16)?.parse().ok()?;
    Some(Process {
        pid,
        parent,
        group,
        start,
        ended,
    })
}

/// Returns the value of `name` in the environment that the process was started with. `None` when it has none,
/// has ended, or belongs to another user.
pub(super) fn variable(pid: i32, name: &str) -> Option<Vec<u8>> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    environ.split(|&byte| byte == 0).find_map(|entry| {
        let value = entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(value.to_vec())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let stat = b"7 (a) Z 1 (b)) S 3 4 5 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 9876 0 0";
        let expected = Process {
            pid: 7,
            parent: 3,
            group: 4,
            start: 9876,
            ended: false,
        };
        assert_eq!(parse(7, stat), Some(expected));
        assert_eq!(parse(7, b"7 (a) S 3"), None);
    }

    #[test]
    fn finds_itself() {
        let own = std::process::id() as i32;
        assert!(
            processes()
                .iter()
                .any(|process| process.pid == own && !process.ended)
        );
    }
}
