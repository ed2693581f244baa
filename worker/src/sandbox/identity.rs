//! A user namespace in which everybody is who they are outside, without the rights that go with it: root there may do
//! to the machine's files what root may, but not mount, load modules or look into others' processes.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::mpsc;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, getpid, set_parent_process_death_signal};
use rustix::thread::UnshareFlags;

use super::construct::before_exec;
use super::step::unshare;
use crate::exec::spawn_owned;

/// Makes such a namespace. Needs root.
pub(super) fn identity_namespace() -> io::Result<OwnedFd> {
    let (told, tell) = pipe_with(PipeFlags::CLOEXEC)?;
    let (wait, release) = pipe_with(PipeFlags::CLOEXEC)?;
    let (ended, end) = mpsc::channel();
    std::thread::scope(|scope| {
        // `spawn` returns only when the child has ended.
        scope.spawn(move || {
            let mut command = Command::new("/proc/self/exe");
            before_exec(&mut command, move || {
                set_parent_process_death_signal(Some(Signal::KILL))?;
                unshare(UnshareFlags::NEWUSER)?;
                let pid = getpid().as_raw_nonzero().get();
                rustix::io::write(&tell, &pid.to_ne_bytes())?;
                let _ = rustix::io::read(&wait, &mut [0u8; 1]);
                Err(rustix::io::Errno::CANCELED.into())
            });
            let _ = ended.send(spawn_owned(&mut command).err());
        });
        let mut pid = [0u8; 4];
        let opened = File::from(told).read_exact(&mut pid).and_then(|()| {
            let folder = format!("/proc/{}", i32::from_ne_bytes(pid));
            for map in ["uid_map", "gid_map"] {
                let own = fs::read_to_string(format!("/proc/self/{map}"))?;
                fs::write(format!("{folder}/{map}"), to_themselves(&own))?;
            }
            File::open(format!("{folder}/ns/user"))
        });
        let _ = File::from(release).write(&[0]);
        match opened {
            Ok(namespace) => Ok(namespace.into()),
            // The child says better why there is none.
            Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => {
                Err(end.recv().ok().flatten().unwrap_or(cause))
            }
            Err(cause) => Err(cause),
        }
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
