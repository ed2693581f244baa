//! How a process enters a view, between fork and exec.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::mount::mount_bind_recursive;
use rustix::process::{Pid, Signal, chdir, getpid, getppid, set_parent_process_death_signal};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use super::construct::before_exec;
use super::paths::{Temp, c_path};
use super::step::unshare;

/// The prepared way of one process into a view.
#[derive(Debug)]
pub(crate) struct Entry(Arc<Prepared>);

#[derive(Debug)]
struct Prepared {
    user: Option<Arc<OwnedFd>>,
    mount: Arc<OwnedFd>,
    /// What to show at a second path, with all that is mounted in it, in this order.
    binds: Vec<(CString, CString)>,
    cwd: CString,
    worker: Pid,
    /// Tells the worker which step failed, as `exec` only passes on the cause.
    failed: OwnedFd,
}

/// The steps, as they are numbered in the report.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
enum Stage {
    User = 1,
    Mount = 2,
    Unshare = 3,
    Bind = 4,
    Folder = 5,
    Worker = 6,
}

impl Entry {
    pub(super) fn new(
        user: Option<&Arc<OwnedFd>>,
        mount: &Arc<OwnedFd>,
        temps: &[Temp],
        case: &str,
        cwd: &Path,
    ) -> io::Result<Self> {
        let mut binds = Vec::new();
        for temp in temps {
            let private = temp.at.join(case);
            for presented in &temp.presented {
                binds.push((c_path(temp.at.join(presented))?, c_path(private.join(presented))?));
            }
            binds.push((c_path(private)?, c_path(&temp.at)?));
        }
        let prepared = Prepared {
            user: user.cloned(),
            mount: mount.clone(),
            binds,
            cwd: c_path(cwd)?,
            worker: getpid(),
            failed: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        };
        Ok(Self(Arc::new(prepared)))
    }

    /// Makes the command's process enter the view before it becomes its program.
    pub(crate) fn attach(&self, command: &mut Command) {
        let prepared = Arc::clone(&self.0);
        before_exec(command, move || {
            prepared.enter().map_err(|(stage, errno)| {
                let _ = rustix::io::write(&prepared.failed, &(stage as u64).to_ne_bytes());
                errno.into()
            })
        });
    }

    /// Says which step the last process failed at; `None` when it entered.
    pub(crate) fn failed_step(&self) -> Option<String> {
        let mut stage = [0u8; 8];
        rustix::io::read(&self.0.failed, &mut stage).ok()?;
        let number = u64::from_ne_bytes(stage);
        let stage = Stage::ALL.into_iter().find(|stage| *stage as u64 == number)?;
        Some(match stage {
            Stage::User => "enter the view's user namespace".to_owned(),
            Stage::Mount => "enter the view's mount namespace".to_owned(),
            Stage::Unshare => "enter a mount namespace of its own".to_owned(),
            Stage::Bind => "mount its private temp folders".to_owned(),
            Stage::Folder => {
                format!(
                    "change to its working directory {} in the view",
                    self.0.cwd.to_string_lossy()
                )
            }
            Stage::Worker => "find its worker alive".to_owned(),
        })
    }
}

impl Stage {
    const ALL: [Self; 6] = [
        Self::User,
        Self::Mount,
        Self::Unshare,
        Self::Bind,
        Self::Folder,
        Self::Worker,
    ];
}

impl Prepared {
    fn enter(&self) -> Result<(), (Stage, Errno)> {
        let at = |stage| move |errno| (stage, errno);
        if let Some(user) = &self.user {
            move_into_link_name_space(user.as_fd(), Some(LinkNameSpaceType::User))
                .map_err(at(Stage::User))?;
        }
        move_into_link_name_space(self.mount.as_fd(), Some(LinkNameSpaceType::Mount))
            .map_err(at(Stage::Mount))?;
        unshare(UnshareFlags::NEWNS).map_err(at(Stage::Unshare))?;
        for (from, to) in &self.binds {
            mount_bind_recursive(from.as_c_str(), to.as_c_str()).map_err(at(Stage::Bind))?;
        }
        chdir(self.cwd.as_c_str()).map_err(at(Stage::Folder))?;
        // After the change of user namespace, which may reset it.
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(at(Stage::Worker))?;
        if getppid() != Some(self.worker) {
            return Err((Stage::Worker, Errno::SRCH));
        }
        Ok(())
    }
}
