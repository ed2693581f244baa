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

/// All users but the one that stands for none.
const EVERYBODY: &str = "0 0 4294967295";

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
            fs::write(format!("{folder}/uid_map"), EVERYBODY)?;
            fs::write(format!("{folder}/gid_map"), EVERYBODY)?;
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
