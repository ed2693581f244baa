//! A user namespace in which everybody is who they are outside, without the rights that go with it: root there may do
//! to the machine's files what root may, but not mount, load modules or look into others' processes.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;

use rustix::thread::UnshareFlags;

use super::construct::{ConstructError, hold};
use super::step::Step;

/// Makes such a namespace. Needs root.
pub(super) fn identity_namespace() -> io::Result<OwnedFd> {
    let made = hold(vec![Step::Unshare(UnshareFlags::NEWUSER)], |pid| {
        for map in ["uid_map", "gid_map"] {
            let own = fs::read_to_string(format!("/proc/self/{map}"))?;
            fs::write(format!("/proc/{pid}/{map}"), to_themselves(&own))?;
        }
        File::open(format!("/proc/{pid}/ns/user")).map(OwnedFd::from)
    });
    made.map_err(|error| match error {
        ConstructError::Step(_, cause) | ConstructError::Child(cause) => cause,
    })
}

/// Maps everybody to himself whom a map of this process's namespace knows: first here, first outside, how many.
fn to_themselves(own: &str) -> String {
    let lines = own.lines().filter_map(|line| {
        let mut numbers = line.split_ascii_whitespace();
        let (first, count) = (numbers.next()?, numbers.nth(1)?);
        Some(format!("{first} {first} {count}\n"))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_known_here_is_mapped() {
        assert_eq!(
            to_themselves("         0          0 4294967295\n"),
            "0 0 4294967295\n"
        );
        assert_eq!(to_themselves("0 1000 1\n1 100000 65536\n"), "0 0 1\n1 1 65536\n");
    }
}
