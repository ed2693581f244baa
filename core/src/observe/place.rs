//! The places that are no ordinary files: `/proc`, `/sys` and `/dev`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::entry::Fact;

/// What a path below `/proc`, `/sys` or `/dev` says about who reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An ordinary path.
    Tree,
    /// Nothing that outlives a process: null devices, terminals, what a process asks about itself, random numbers.
    Harmless,
    /// A property of the machine.
    Machine(Fact),
    /// Something of the process that asks, by another name.
    Redirect(Redirect),
}

/// What stands for another path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The name in the process's folder of `/proc`: `cwd`, `root`, `exe`, or `fd/` with a number.
    pub name: PathBuf,
    /// What follows it; may be empty.
    pub tail: PathBuf,
}

/// Devices that behave alike everywhere. Random numbers are as little an input as those of `getrandom(2)`.
const HARMLESS_DEVICES: [&str; 10] = [
    "null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "console", "log",
];
/// What a process may ask about itself: it follows from the program, its arguments and what the kernel decides anew
/// for every process.
const HARMLESS_OF_SELF: [&str; 25] = [
    "",
    "auxv",
    "clear_refs",
    "cmdline",
    "comm",
    "coredump_filter",
    "environ",
    "fd",
    "fdinfo",
    "limits",
    "maps",
    "map_files",
    "mem",
    "oom_adj",
    "oom_score_adj",
    "pagemap",
    "personality",
    "smaps",
    "smaps_rollup",
    "stat",
    "statm",
    "status",
    "syscall",
    "task",
    "wchan",
];

/// What libraries ask before `main`, whatever a program does: the C library's allocator before it gives memory back, libselinux
/// (of `cp`, `mkdir`, `ls`, `tar`) whether it has anything to do. The kernel's features are as little in a key as its version.
const ASKED_BY_LIBRARIES: [&str; 3] = [
    "/proc/sys/vm/overcommit_memory",
    "/sys/fs/selinux",
    "/proc/filesystems",
];

/// Whether a path without links is in one of these places.
pub(super) fn is_special(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    let starts = |root: &[u8]| bytes.starts_with(root) && matches!(bytes.get(root.len()), None | Some(b'/'));
    starts(b"/proc") || starts(b"/sys") || (starts(b"/dev") && !starts(b"/dev/shm"))
}

/// Says what a path without links is, to a process that is known under `ids`: its own and its threads'.
pub fn place(path: &Path, ids: &[u32]) -> Place {
    if !is_special(path) {
        return Place::Tree;
    }
    let mut names = path.iter();
    names.next();
    let root = names.next().unwrap_or_default();
    let first = names.next().unwrap_or_default();
    if root == "dev" {
        return device(first, names.as_path());
    }
    if ASKED_BY_LIBRARIES.iter().any(|asked| path == Path::new(asked)) {
        return Place::Harmless;
    }
    if root == "sys" {
        return Place::Machine(system(path));
    }
    match first.to_str() {
        Some("self" | "thread-self") => of_self(names.as_path()),
        Some(id) if id.parse().is_ok_and(|id| ids.contains(&id)) => of_self(names.as_path()),
        Some(name) => Place::Machine(of_machine(name, names.as_path())),
        None => Place::Machine(Fact::Other),
    }
}

fn device(name: &OsStr, tail: &Path) -> Place {
    let number = match name.to_str() {
        Some("stdin") => Some(Path::new("0")),
        Some("stdout") => Some(Path::new("1")),
        Some("stderr") => Some(Path::new("2")),
        Some("fd") => Some(tail),
        _ => None,
    };
    match number {
        Some(number) if number.as_os_str().is_empty() => Place::Harmless,
        Some(number) => redirect("fd", number),
        None if name.is_empty() || HARMLESS_DEVICES.iter().any(|harmless| name == *harmless) => {
            Place::Harmless
        }
        None => Place::Machine(Fact::Device),
    }
}

fn of_self(tail: &Path) -> Place {
    let mut names = tail.iter();
    let name = names.next().unwrap_or_default();
    let rest = names.as_path();
    match name.to_str() {
        Some("cwd") => redirect("cwd", rest),
        Some("exe") => redirect("exe", rest),
        Some("root") => redirect("root", rest),
        Some("fd") if !rest.as_os_str().is_empty() => redirect("fd", rest),
        // A thread has what its process has.
        Some("task") if names.next().is_some() => of_self(names.as_path()),
        Some("mounts" | "mountinfo" | "mountstats") => Place::Machine(Fact::Mounts),
        // Where control groups are told; their limits are read elsewhere.
        Some("cgroup") => Place::Machine(Fact::Processors),
        Some("net") => Place::Machine(Fact::Network),
        Some(name) if HARMLESS_OF_SELF.contains(&name) => Place::Harmless,
        _ => Place::Machine(Fact::Other),
    }
}

/// Stands for a descriptor or a folder of the process.
fn redirect(of: &str, rest: &Path) -> Place {
    let mut names = rest.iter();
    let (name, tail) = match of {
        "fd" => (
            Path::new(of).join(names.next().unwrap_or_default()),
            names.as_path(),
        ),
        of => (PathBuf::from(of), rest),
    };
    Place::Redirect(Redirect {
        name,
        tail: tail.to_path_buf(),
    })
}

fn of_machine(name: &str, tail: &Path) -> Fact {
    match name {
        "cpuinfo" | "interrupts" | "softirqs" => Fact::Processors,
        "meminfo" | "vmstat" | "swaps" | "zoneinfo" | "pressure" | "buddyinfo" | "slabinfo" => Fact::Memory,
        "version" | "cmdline" | "config.gz" | "modules" | "kallsyms" | "crypto" => Fact::Kernel,
        "sys" if tail.starts_with("net") => Fact::Network,
        "sys" => Fact::Kernel,
        "mounts" | "partitions" | "diskstats" => Fact::Mounts,
        "net" => Fact::Network,
        "" | "stat" | "loadavg" | "uptime" => Fact::Processes,
        name if name.bytes().all(|byte| byte.is_ascii_digit()) => Fact::Processes,
        _ => Fact::Other,
    }
}

fn system(path: &Path) -> Fact {
    let is_below = |folder: &str| path.starts_with(folder);
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    if is_below("/sys/devices/system/cpu") {
        Fact::Processors
    } else if is_below("/sys/devices/system/node") || is_below("/sys/kernel/mm") {
        Fact::Memory
    } else if is_below("/sys/fs/cgroup") {
        // Folders on the way to the limit of processors are looked at by every libtest binary.
        match name.split_once('.') {
            Some(("memory", _)) => Fact::Memory,
            None | Some(("cpu" | "cpuset", _)) => Fact::Processors,
            Some(_) => Fact::Other,
        }
    } else if is_below("/sys/class/net") {
        Fact::Network
    } else if is_below("/sys/module") || is_below("/sys/kernel") {
        Fact::Kernel
    } else if is_below("/sys/block") || is_below("/sys/dev") || is_below("/sys/bus") {
        Fact::Device
    } else {
        Fact::Other
    }
}
