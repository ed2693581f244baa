//! What a worker makes once to isolate its cases, and the steps that isolate one.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Resource;
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use super::construct::Namespace;
use super::groups::{CaseGroup, Groups};
use super::guard::Guard;
use super::identity::identity_namespace;
use super::isolation::{Isolation, Level, Network, Scratch};
use super::launch::Launch;
use super::paths::{FOLDERS, LAYERS, Temp, c_path};
use super::step::Step;
use super::view::{Folder, View, ViewSpec};

/// What a sealed case does not see: home folders, and the sockets of the machine's services.
const SEALED_OFF: [&str; 4] = ["/root", "/home", "/run", "/var/run"];
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

/// Isolates the cases of a worker.
#[derive(Debug)]
pub struct Isolator {
    isolation: Isolation,
    /// A user namespace for cases of a worker that is root.
    identity: Option<Arc<OwnedFd>>,
    guard: Option<Guard>,
    groups: Option<Groups>,
}

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
    /// The folders with their positions, so that an overlay comes before those that lie in it.
    fn outer_first(&self) -> Vec<(usize, &Folder)> {
        let mut folders: Vec<(usize, &Folder)> = self.folders.iter().enumerate().collect();
        folders.sort_by(|(_, a), (_, b)| a.at.cmp(&b.at));
        folders
    }

    /// Whether an overlay hides a temp folder.
    fn is_hidden(&self, temp: &Temp) -> bool {
        self.folders.iter().any(|folder| temp.at.starts_with(&folder.at))
    }

    fn hidden_temps(&self) -> impl Iterator<Item = (usize, &Temp)> {
        (self.temps.iter().enumerate()).filter(|(_, temp)| self.is_hidden(temp))
    }

    /// The folders that the layers need, relative to where they are.
    pub(super) fn layer_folders(&self) -> Vec<PathBuf> {
        let overlaid = self
            .folders
            .iter()
            .enumerate()
            .filter(|(_, folder)| !folder.shared);
        let layers = overlaid.flat_map(|(index, _)| [upper(index), work(index)]);
        layers
            .chain(self.hidden_temps().map(|(index, _)| temp_place(index)))
            .collect()
    }
}

impl Isolator {
    /// Prepares to isolate; what cannot be had is told in words. `None` where nothing of it can.
    /// Tries it out in `scratch`. Blocks.
    pub fn new(isolation: Isolation, scratch: &Path) -> (Option<Arc<Self>>, Vec<String>) {
        let mut shortfalls = Vec::new();
        if isolation.level == Level::None {
            return (None, shortfalls);
        }
        let level = isolation.level;
        let mut not = |what: &str, cause: &io::Error| shortfalls.push(format!("{what}: {cause}"));
        let identity = match rustix::process::geteuid().is_root().then(identity_namespace) {
            None => None,
            Some(Ok(namespace)) => Some(Arc::new(namespace)),
            Some(Err(cause)) => {
                not(&format!("cases are not {level}: make a user namespace"), &cause);
                return (None, shortfalls);
            }
        };
        let on_host = isolation.network() == Network::Host;
        let guard = Guard::new(on_host.then_some(&isolation.unreachable[..])).map_err(|cause| {
            // Who is not root reaches no disks anyway.
            let reach = match (on_host, identity.is_some()) {
                (true, true) => "the metadata service, the farm and disks",
                (true, false) => "the metadata service and the farm",
                (false, true) => "disks",
                (false, false) => return,
            };
            not(&format!("cases can reach {reach}"), &cause);
        });
        let guard = guard.ok();
        let limits = &isolation.limits;
        let guarded = guard.as_ref().map(Guard::folder);
        let groups = limits
            .wants_group()
            .then(|| Groups::new(limits, guarded))
            .transpose();
        let groups = groups.unwrap_or_else(|cause| {
            not(
                "memory is limited for each process by itself, their number not at all",
                &cause,
            );
            None
        });
        let isolator = Arc::new(Self {
            isolation,
            identity,
            guard,
            groups,
        });
        match isolator.try_out(scratch) {
            Ok(()) => (Some(isolator), shortfalls),
            Err(cause) => (None, vec![format!("cases are not {level}: {cause}")]),
        }
    }

    /// Whether what cases write needs folders on disk.
    pub(super) fn writes_to_disk(&self) -> bool {
        self.isolation.scratch == Scratch::Disk
    }

    pub(super) fn group(&self) -> io::Result<Option<CaseGroup>> {
        self.groups.as_ref().map(Groups::case).transpose()
    }

    /// Starts a program that is not there, which needs everything but that.
    fn try_out(self: &Arc<Self>, scratch: &Path) -> io::Result<()> {
        let folder = tempfile::Builder::new().prefix("probe-").tempdir_in(scratch)?;
        let spec = ViewSpec {
            folders: vec![Folder {
                at: Path::new("/thresh-probe").join(uuid::Uuid::new_v4().simple().to_string()),
                from: folder.path().to_owned(),
                live: false,
                shared: false,
            }],
            temp_dirs: Vec::new(),
            scratch: scratch.to_owned(),
        };
        let view = View::build_isolated(&spec, Some(self.clone())).map_err(io::Error::other)?;
        let case = view.isolated_case()?;
        let launch = case.launch(
            Path::new("/"),
            vec![c_path("/thresh-probe/absent")?],
            Vec::new(),
            Vec::new(),
        )?;
        let nothing = std::fs::File::open("/dev/null")?;
        let streams = [&nothing; 3].map(std::os::fd::AsFd::as_fd);
        match launch.map(|launch| launch.start(streams)) {
            Some(Err(cause)) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
            _ => Ok(()),
        }
    }

    /// The way of one process into its surroundings. It is not yet said which.
    pub(super) fn launch(&self, of: &Surroundings<'_>) -> io::Result<Launch> {
        Ok(Launch {
            group: (of.group.and_then(|group| group.start.clone()))
                .or_else(|| self.guard.as_ref().map(Guard::group)),
            outside: self.outside(of)?,
            init: self.init(of),
            inside: self.inside(of),
            cwd: CString::default(),
            programs: Vec::new(),
            argv: Vec::new(),
            environment: Vec::new(),
            used_once: Vec::new(),
        })
    }

    fn outside(&self, of: &Surroundings<'_>) -> io::Result<Vec<Step>> {
        let mut steps = Vec::new();
        let joins = of.group.into_iter().flat_map(|group| &group.joins);
        steps.extend(joins.cloned().map(Step::JoinGroup));
        let Namespace { user, mount } = of.namespace;
        steps.extend(user.iter().map(|user| join(user, LinkNameSpaceType::User)));
        steps.push(join(mount, LinkNameSpaceType::Mount));
        steps.push(Step::Unshare(self.namespaces()));
        if user.is_none() {
            let at = c"/sys".to_owned();
            steps.push(Step::Protect { at, writable: false });
        }
        let sealed = self.isolation.level == Level::Sealed;
        if sealed {
            for (at, writable) in [(c"/", false), (c"/tmp", true)] {
                let at = at.to_owned();
                steps.push(Step::Protect { at, writable });
            }
        }
        match self.isolation.scratch {
            Scratch::Disk => steps.push(Step::WorkIn {
                folder: c_path(of.layers)?,
            }),
            Scratch::Memory => {
                let at = c_path(LAYERS)?;
                steps.push(Step::Tmpfs {
                    at: at.clone(),
                    temp: false,
                });
                steps.push(Step::WorkIn { folder: at });
                for folder in of.layer_folders() {
                    steps.push(Step::Folder { at: c_path(folder)? });
                }
            }
        }
        for (index, temp) in of.hidden_temps() {
            steps.push(bind(temp.at.join(of.name), temp_place(index))?);
        }
        if sealed {
            for place in SEALED_OFF {
                hide(Path::new(place), of.folders, &mut steps)?;
            }
            let at = SHARED_MEMORY.to_owned();
            steps.push(Step::Tmpfs { at, temp: true });
        }
        for place in &self.isolation.hidden {
            hide(place, of.folders, &mut steps)?;
        }
        for (index, folder) in of.outer_first() {
            if folder.shared {
                // The overlay around it hides it.
                steps.push(bind(lower(index), &folder.at)?);
                if sealed {
                    let at = c_path(&folder.at)?;
                    steps.push(Step::Protect { at, writable: true });
                }
                continue;
            }
            steps.push(Step::Overlay {
                at: c_path(&folder.at)?,
                options: overlay_options(index, user.is_some())?,
            });
        }
        for (index, temp) in of.temps.iter().enumerate() {
            let private = match of.is_hidden(temp) {
                true => temp_place(index),
                false => temp.at.join(of.name),
            };
            for presented in &temp.presented {
                steps.push(bind(temp.at.join(presented), private.join(presented))?);
            }
            steps.push(bind(private, &temp.at)?);
        }
        if self.isolation.network() == Network::Loopback {
            steps.push(Step::Loopback);
        }
        self.limit(&mut steps);
        Ok(steps)
    }

    /// What the case's first process does, which has the worker's rights.
    fn init(&self, of: &Surroundings<'_>) -> Vec<Step> {
        let mut steps = vec![
            Step::Processes,
            // The program's PID is the next one: as different as on a machine, since names are made of it.
            Step::Write {
                path: c"/proc/sys/kernel/ns_last_pid".to_owned(),
                content: next_pid().to_string().into_bytes(),
                optional: true,
            },
        ];
        if self.identity.is_some() && of.namespace.user.is_none() {
            // These ask who someone is, not what rights he has; and root stays root.
            let inside = ROOTS_OWN.map(|at| Step::ProtectInside { at: at.to_owned() });
            steps.extend(inside);
        }
        steps
    }

    fn namespaces(&self) -> UnshareFlags {
        let mut flags = UnshareFlags::NEWNS | UnshareFlags::NEWPID;
        if self.isolation.network() != Network::Host {
            flags |= UnshareFlags::NEWNET;
        }
        if self.isolation.level == Level::Sealed {
            flags |= UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
        }
        flags
    }

    fn limit(&self, steps: &mut Vec<Step>) {
        let limits = &self.isolation.limits;
        let alone = self.groups.is_none();
        let wanted = [
            (Resource::Cpu, limits.cpu_seconds),
            (Resource::As, limits.memory_bytes.filter(|_| alone)),
        ];
        let set = wanted
            .into_iter()
            .filter_map(|(resource, most)| Some((resource, most?)));
        steps.extend(set.map(|(resource, most)| Step::Limit { resource, most }));
    }

    fn inside(&self, of: &Surroundings<'_>) -> Vec<Step> {
        let mut steps = Vec::new();
        // The mounts belong to who has more rights, so they cannot be taken apart. Who has a namespace of its own because
        // it is not root has nothing to give up.
        if let (Some(identity), None) = (&self.identity, &of.namespace.user) {
            steps.push(Step::Join {
                namespace: identity.clone(),
                kind: LinkNameSpaceType::User,
            });
        }
        steps.push(Step::NoNewPrivileges);
        steps
    }
}

fn lower(index: usize) -> PathBuf {
    Path::new(FOLDERS).join(index.to_string())
}

fn upper(index: usize) -> PathBuf {
    format!("upper-{index}").into()
}

fn work(index: usize) -> PathBuf {
    format!("work-{index}").into()
}

/// What the kernel leaves in the layers of a volatile overlay, so that they are not used again.
pub(super) fn used_marks(folders: usize) -> impl Iterator<Item = PathBuf> {
    (0..folders).map(|index| work(index).join("work/incompat"))
}

fn temp_place(index: usize) -> PathBuf {
    format!("temp-{index}").into()
}

/// Layers have short names, so that none has to be quoted.
fn overlay_options(index: usize, in_user_namespace: bool) -> io::Result<Vec<CString>> {
    let further: &[&str] = if in_user_namespace {
        &[",userxattr,volatile", ",userxattr"]
    } else {
        &[",redirect_dir=on,volatile", ",redirect_dir=on", ""]
    };
    let option = |further: &&str| {
        c_path(format!(
            "lowerdir={FOLDERS}/{index},upperdir=upper-{index},workdir=work-{index}{further}"
        ))
    };
    further.iter().map(option).collect()
}

/// A PID that no other case of this machine is likely to have now.
fn next_pid() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // Workers of one machine begin at different places.
    PIDS.start + std::process::id().wrapping_mul(97).wrapping_add(number) % (PIDS.end - PIDS.start)
}

/// Hides a folder, and makes room in it for the run's folders.
fn hide(place: &Path, folders: &[Folder], steps: &mut Vec<Step>) -> io::Result<()> {
    if folders.iter().any(|folder| place.starts_with(&folder.at)) {
        // What the run shows there is what hides it.
        return Ok(());
    }
    steps.push(Step::Hide { at: c_path(place)? });
    for folder in folders.iter().filter(|folder| folder.at.starts_with(place)) {
        let mut above: Vec<&Path> = folder.at.ancestors().take_while(|path| *path != place).collect();
        above.reverse();
        for path in above {
            steps.push(Step::Folder { at: c_path(path)? });
        }
    }
    Ok(())
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
