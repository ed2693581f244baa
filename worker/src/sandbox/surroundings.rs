//! The steps that put one process into the surroundings of its case.

use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use super::construct::Namespace;
use super::groups::CaseGroup;
use super::guard::Guard;
use super::isolation::{Level, Network, Scratch};
use super::isolator::Isolator;
use super::launch::{Launch, Target};
use super::paths::{FOLDERS, LAYERS, Temp, c_path};
use super::step::Step;
use super::view::Folder;

/// Shared memory, of which a sealed case has its own.
const SHARED_MEMORY: &CStr = c"/dev/shm";
/// Folders and files of `/proc` by which root changes the machine.
const ROOTS_OWN: [&CStr; 5] = [
    c"/proc/sys",
    c"/proc/sysrq-trigger",
    c"/proc/irq",
    c"/proc/bus",
    c"/proc/fs",
];
/// The range of PIDs that programs get.
const PIDS: std::ops::Range<u32> = 1_000..30_000;

/// What one case has been given by its worker and its view.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) namespace: &'a Namespace,
    pub(super) folders: &'a [Folder],
    pub(super) temps: &'a [Temp],
    /// The name of the case's folder in each temp folder.
    pub(super) name: &'a str,
    /// Where the case has its layers on disk, as the view shows it.
    pub(super) layers: &'a Path,
    pub(super) group: Option<&'a CaseGroup>,
}

impl Surroundings<'_> {
    /// The way of one process into them.
    pub(super) fn launch(&self, isolator: &Isolator, target: Target) -> io::Result<Launch> {
        let own = self.group.and_then(|group| group.start.clone());
        Ok(Launch {
            group: own.or_else(|| isolator.guard.as_ref().map(Guard::group)),
            outside: self.outside(isolator)?,
            init: self.init(isolator),
            inside: self.inside(isolator),
            target,
            used_once: Vec::new(),
        })
    }

    /// The folders that the layers need, relative to where they are.
    pub(super) fn layer_folders(&self) -> Vec<PathBuf> {
        let folders = self.folders.iter().enumerate();
        let overlaid = folders.filter(|(_, folder)| !folder.shared);
        let layers = overlaid.flat_map(|(index, _)| [format!("upper-{index}"), work(index)]);
        layers
            .map(PathBuf::from)
            .chain(self.hidden_temps().map(|(index, _)| temp_place(index)))
            .collect()
    }

    /// What the kernel leaves in the layers of volatile overlays, so that they are not used again.
    pub(super) fn used_marks(&self) -> impl Iterator<Item = PathBuf> {
        (0..self.folders.len()).map(|index| Path::new(&work(index)).join("work/incompat"))
    }

    fn outside(&self, isolator: &Isolator) -> io::Result<Vec<Step>> {
        let mut steps = self.namespaces(isolator);
        self.protect(isolator, &mut steps);
        self.make_layers(isolator.isolation.scratch, &mut steps)?;
        self.hide(isolator, &mut steps)?;
        self.show_folders(isolator.is_sealed(), &mut steps)?;
        self.show_temps(&mut steps)?;
        if isolator.isolation.network() == Network::Loopback {
            steps.push(Step::Loopback);
        }
        let in_group = isolator.groups.is_some();
        let limits = isolator.isolation.limits.of_each_process(in_group);
        steps.extend(limits.map(|(resource, most)| Step::Limit { resource, most }));
        Ok(steps)
    }

    fn namespaces(&self, isolator: &Isolator) -> Vec<Step> {
        let joins = self.group.into_iter().flat_map(|group| &group.joins);
        let mut steps: Vec<Step> = joins.cloned().map(Step::JoinGroup).collect();
        let Namespace { user, mount, .. } = self.namespace;
        steps.extend(user.iter().map(|user| join(user, LinkNameSpaceType::User)));
        steps.push(join(mount, LinkNameSpaceType::Mount));
        let mut flags = UnshareFlags::NEWNS | UnshareFlags::NEWPID;
        if isolator.isolation.network() != Network::Host {
            flags |= UnshareFlags::NEWNET;
        }
        if isolator.is_sealed() {
            flags |= UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
        }
        steps.push(Step::Unshare(flags));
        steps
    }

    fn protect(&self, isolator: &Isolator, steps: &mut Vec<Step>) {
        let kernel = self.namespace.user.is_none().then_some((c"/sys", false));
        let sealed = [(c"/", false), (c"/tmp", true)];
        let sealed = sealed.into_iter().filter(|_| isolator.is_sealed());
        let protected = kernel.into_iter().chain(sealed);
        steps.extend(protected.map(|(at, writable)| Step::Protect {
            at: at.to_owned(),
            writable,
        }));
    }

    /// Makes the folder for what the case writes the one to work in.
    fn make_layers(&self, scratch: Scratch, steps: &mut Vec<Step>) -> io::Result<()> {
        match scratch {
            Scratch::Disk => steps.push(Step::WorkIn {
                folder: c_path(self.layers)?,
            }),
            Scratch::Memory => {
                let at = c_path(LAYERS)?;
                steps.push(Step::Tmpfs {
                    at: at.clone(),
                    temp: false,
                });
                steps.push(Step::WorkIn { folder: at });
                for folder in self.layer_folders() {
                    steps.push(Step::Folder { at: c_path(folder)? });
                }
            }
        }
        for (index, temp) in self.hidden_temps() {
            steps.push(bind(temp.at.join(self.name), temp_place(index))?);
        }
        Ok(())
    }

    /// Hides what is not for cases, and makes room in it for the run's folders.
    fn hide(&self, isolator: &Isolator, steps: &mut Vec<Step>) -> io::Result<()> {
        if isolator.is_sealed() {
            steps.push(Step::Tmpfs {
                at: SHARED_MEMORY.to_owned(),
                temp: true,
            });
        }
        for place in &isolator.hidden {
            if self.folders.iter().any(|folder| place.starts_with(&folder.at)) {
                // What the run shows there is what hides it.
                continue;
            }
            steps.push(Step::Hide { at: c_path(place)? });
            for folder in self.folders.iter().filter(|folder| folder.at.starts_with(place)) {
                let above = folder.at.ancestors().take_while(|path| path != place);
                for path in above.collect::<Vec<_>>().into_iter().rev() {
                    steps.push(Step::Folder { at: c_path(path)? });
                }
            }
        }
        Ok(())
    }

    fn show_folders(&self, sealed: bool, steps: &mut Vec<Step>) -> io::Result<()> {
        let mut outer_first: Vec<(usize, &Folder)> = self.folders.iter().enumerate().collect();
        outer_first.sort_by(|(_, a), (_, b)| a.at.cmp(&b.at));
        for (index, folder) in outer_first {
            let (at, lower) = (c_path(&folder.at)?, format!("{FOLDERS}/{index}"));
            if !folder.shared {
                steps.push(Step::overlay(at, &lower, index, self.namespace.user.is_some())?);
                continue;
            }
            // The overlay around it hides it.
            steps.push(bind(lower, &folder.at)?);
            if sealed {
                steps.push(Step::Protect { at, writable: true });
            }
        }
        Ok(())
    }

    fn show_temps(&self, steps: &mut Vec<Step>) -> io::Result<()> {
        for (index, temp) in self.temps.iter().enumerate() {
            let private = match self.is_hidden(temp) {
                true => temp_place(index),
                false => temp.at.join(self.name),
            };
            for presented in &temp.presented {
                steps.push(bind(temp.at.join(presented), private.join(presented))?);
            }
            steps.push(bind(private, &temp.at)?);
        }
        Ok(())
    }

    /// Whether an overlay hides a temp folder.
    fn is_hidden(&self, temp: &Temp) -> bool {
        self.folders.iter().any(|folder| temp.at.starts_with(&folder.at))
    }

    fn hidden_temps(&self) -> impl Iterator<Item = (usize, &Temp)> {
        (self.temps.iter().enumerate()).filter(|(_, temp)| self.is_hidden(temp))
    }

    /// What the case's first process does, which has the worker's rights.
    fn init(&self, isolator: &Isolator) -> Vec<Step> {
        let mut steps = vec![
            Step::Processes,
            // The program's PID is the next one: as different as on a machine, since names are made of it.
            Step::Write {
                path: c"/proc/sys/kernel/ns_last_pid".to_owned(),
                content: next_pid().to_string().into_bytes(),
                optional: true,
            },
        ];
        if isolator.identity.is_some() && self.namespace.user.is_none() {
            // These ask who someone is, not what rights he has; and root stays root.
            let inside = ROOTS_OWN.map(|at| Step::ProtectInside { at: at.to_owned() });
            steps.extend(inside);
        }
        steps
    }

    fn inside(&self, isolator: &Isolator) -> Vec<Step> {
        let mut steps = Vec::new();
        // The mounts belong to who has more rights, so they cannot be taken apart. Who has a namespace of its own because
        // it is not root has nothing to give up.
        if let (Some(identity), None) = (&isolator.identity, &self.namespace.user) {
            steps.push(join(identity, LinkNameSpaceType::User));
        }
        steps.push(Step::NoNewPrivileges);
        steps
    }
}

impl Isolator {
    fn is_sealed(&self) -> bool {
        self.isolation.level == Level::Sealed
    }
}

fn work(index: usize) -> String {
    format!("work-{index}")
}

fn temp_place(index: usize) -> PathBuf {
    format!("temp-{index}").into()
}

/// A PID that no other case of this machine is likely to have now.
fn next_pid() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // Workers of one machine begin at different places.
    PIDS.start + std::process::id().wrapping_mul(97).wrapping_add(number) % (PIDS.end - PIDS.start)
}

fn bind(from: impl AsRef<Path>, at: impl AsRef<Path>) -> io::Result<Step> {
    Ok(Step::Bind {
        from: c_path(from.as_ref())?,
        at: c_path(at.as_ref())?,
        optional: false,
    })
}

fn join(namespace: &Arc<OwnedFd>, kind: LinkNameSpaceType) -> Step {
    Step::Join {
        namespace: namespace.clone(),
        kind,
    }
}
