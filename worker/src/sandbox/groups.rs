//! Control groups (`cgroups(7)`), of version 2 where controllers are there, else of version 1.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::isolation::Limits;

/// The group within a case's.
const INNER: &str = "in";

/// Where limits are set for the cases of a worker.
#[derive(Debug)]
pub(super) struct Groups {
    /// A folder for each controller, or one for all.
    parents: Vec<Parent>,
    cases: AtomicU64,
}

#[derive(Debug)]
struct Parent {
    folder: PathBuf,
    /// What to write, to which file.
    settings: Vec<(&'static str, String)>,
    version_2: bool,
    /// Whether it was made for this.
    own: bool,
}

/// The group of one case, in which a second one has its processes: they may change what holds for their own group. It
/// goes with this; by then its processes must have ended.
#[derive(Debug)]
pub(super) struct CaseGroup {
    folders: Vec<PathBuf>,
    /// What a process writes to in order to enter those of version 1.
    pub(super) joins: Vec<Arc<OwnedFd>>,
    /// The folder of version 2 to start in.
    pub(super) start: Option<Arc<OwnedFd>>,
}

impl Groups {
    /// Prepares for limits on memory and processes. Those of version 2 are made in `guarded`, since a process can only
    /// be in one.
    pub(super) fn new(limits: &Limits, guarded: Option<&Path>) -> io::Result<Self> {
        let parents = version_2(limits, guarded).or_else(|_| version_1(limits))?;
        Ok(Self {
            parents,
            cases: AtomicU64::new(0),
        })
    }

    /// Makes a case's group.
    pub(super) fn case(&self) -> io::Result<CaseGroup> {
        let name = format!("case-{}", self.cases.fetch_add(1, Ordering::Relaxed));
        let mut group = CaseGroup {
            folders: Vec::new(),
            joins: Vec::new(),
            start: None,
        };
        for parent in &self.parents {
            let folder = parent.folder.join(&name);
            fs::create_dir(&folder)?;
            group.folders.push(folder.clone());
            for (file, value) in &parent.settings {
                fs::write(folder.join(file), value)?;
            }
            let inner = folder.join(INNER);
            fs::create_dir(&inner)?;
            if parent.version_2 {
                group.start = Some(Arc::new(File::open(inner)?.into()));
            } else {
                let procs = OpenOptions::new().write(true).open(inner.join("cgroup.procs"))?;
                group.joins.push(Arc::new(procs.into()));
            }
        }
        Ok(group)
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        // Groups of cases that could not be removed before can be by now.
        for parent in self.parents.iter().filter(|parent| parent.own) {
            remove(&parent.folder);
        }
    }
}

impl Drop for CaseGroup {
    fn drop(&mut self) {
        for folder in &self.folders {
            // The kernel may not have let go of the last process; then it goes with the worker's.
            remove(folder);
        }
    }
}

/// A name for a group that this process makes. PIDs mean something in their namespace only.
fn own_group_name(namespace: &str) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("thresh-{namespace}-{}-{number}", std::process::id())
}

/// Makes a group for this process's cases below `own`, and removes what killed workers have left there.
pub(super) fn make_own(own: &Path) -> io::Result<PathBuf> {
    let namespace = fs::read_link("/proc/self/ns/pid")?;
    let namespace: String = namespace
        .to_string_lossy()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    let prefix = format!("thresh-{namespace}-");
    for entry in fs::read_dir(own)?.flatten() {
        let name = entry.file_name();
        let process = name
            .to_str()
            .and_then(|name| name.strip_prefix(&prefix)?.split('-').next());
        let is_left = process.is_some_and(|process| !Path::new("/proc").join(process).exists());
        if is_left {
            remove(&entry.path());
        }
    }
    let folder = own.join(own_group_name(&namespace));
    fs::create_dir(&folder)?;
    Ok(folder)
}

/// Removes a group and those in it, as far as nobody is in them.
pub(super) fn remove(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

/// This process's folder in the hierarchy of version 2.
pub(super) fn unified_folder() -> io::Result<PathBuf> {
    folder(|kind, _| kind == "cgroup2", "")
}

fn version_2(limits: &Limits, guarded: Option<&Path>) -> io::Result<Vec<Parent>> {
    let own = unified_folder()?;
    let mut settings = Vec::new();
    if let Some(bytes) = limits.memory_bytes {
        settings.extend([
            ("memory.max", bytes.to_string()),
            ("memory.swap.max", "0".to_owned()),
        ]);
    }
    settings.extend(limits.processes.map(|count| ("pids.max", count.to_string())));
    let wanted = [
        ("+memory", limits.memory_bytes.is_some()),
        ("+pids", limits.processes.is_some()),
    ];
    let folder = match guarded {
        Some(guarded) => guarded.to_owned(),
        None => make_own(&own)?,
    };
    for (controller, _) in wanted.iter().filter(|(_, wanted)| *wanted) {
        let enabled = fs::write(own.join("cgroup.subtree_control"), controller)
            .and_then(|()| fs::write(folder.join("cgroup.subtree_control"), controller));
        if let Err(cause) = enabled {
            if guarded.is_none() {
                let _ = fs::remove_dir(&folder);
            }
            return Err(cause);
        }
    }
    Ok(vec![Parent {
        folder,
        settings,
        version_2: true,
        own: guarded.is_none(),
    }])
}

fn version_1(limits: &Limits) -> io::Result<Vec<Parent>> {
    let memory = limits
        .memory_bytes
        .map(|bytes| ("memory", "memory.limit_in_bytes", bytes.to_string()));
    let processes = limits
        .processes
        .map(|count| ("pids", "pids.max", count.to_string()));
    let mut parents: Vec<Parent> = Vec::new();
    for (controller, file, value) in memory.into_iter().chain(processes) {
        let own = folder(
            |kind, options| kind == "cgroup" && options.split(',').any(|o| o == controller),
            controller,
        )?;
        let folder = make_own(&own)?;
        parents.push(Parent {
            folder,
            settings: vec![(file, value)],
            version_2: false,
            own: true,
        });
    }
    Ok(parents)
}

/// This process's folder in a hierarchy: where that is mounted, and the path that the kernel tells.
fn folder(is_it: impl Fn(&str, &str) -> bool, controller: &str) -> io::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mount = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (at, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
        is_it(kind, options).then_some(at)
    });
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let group = groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        controllers
            .split(',')
            .any(|name| name == controller)
            .then_some(path)
    });
    match (mount, group) {
        (Some(mount), Some(group)) => Ok(Path::new(mount).join(group.trim_start_matches('/'))),
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!(
                "no control groups for {}",
                if controller.is_empty() {
                    "version 2"
                } else {
                    controller
                }
            ),
        )),
    }
}
