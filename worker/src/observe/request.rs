//! A waiting system call, as far as it has to be known before it goes on.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use thresh_core::observe::{Access, Act, LastLink, Place, UnobservableKind, place};

use super::address::{ADDRESS_MAX, Address, address};
use super::calls::{At, Call, Follows};
use super::listener::Notification;
use super::memory;

/// Of `openat2(2)`: absolute paths begin at the folder.
const RESOLVE_IN_ROOT: u64 = 0x10;
/// The most messages of one `sendmmsg(2)` that are looked at.
const MESSAGES_MAX: u64 = 64;
/// What one takes in its list.
const MESSAGE_BYTES: u64 = 64;
/// Names in `/proc` that lead to another such name are followed so often.
const REDIRECTS_MAX: u32 = 8;

/// A path, with the folder that it starts from.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) base: PathBuf,
    pub(super) path: PathBuf,
    pub(super) last: LastLink,
}

/// What a call asks for.
#[derive(Debug)]
pub(super) enum Request {
    /// Nothing that matters, or something that fails whatever there is.
    Nothing,
    Act(Named, Act),
    Disk(Named),
    Execute(Named),
    Rename(Named, Named),
    Link(Option<Named>, Named),
    /// Of this family.
    Socket(libc::c_int),
    Bind(Address, Option<Named>),
    Talk(Vec<(Address, Option<Named>)>),
    Leave {
        process: Option<u32>,
        group: u32,
    },
    Shared(&'static str),
    GiveUp(UnobservableKind, &'static str),
}

impl Request {
    /// Whether it may change what paths lead to.
    pub(super) fn is_effect(&self) -> bool {
        match self {
            Self::Act(_, act) => !matches!(act, Act::See(_)),
            Self::Rename(..) | Self::Link(..) | Self::Bind(..) => true,
            _ => false,
        }
    }

    /// Reads what a call asks for.
    ///
    /// # Errors
    ///
    /// When the process may not be looked into.
    pub(super) fn read(told: &Notification, call: Call) -> io::Result<Self> {
        let argument = |index: u8| told.arguments[usize::from(index)];
        Ok(match call {
            Call::Open(at, flags) => opening(told, at, argument(flags))?,
            Call::OpenHow => return Self::open_how(told),
            Call::Create => act(named(told, HERE, LastLink::Followed)?, Act::Replace),
            Call::Look(at, follows) => act(named(told, at, last(told, follows))?, Act::See(Access::Metadata)),
            Call::ReadLink(at) => act(named(told, at, LastLink::Meant)?, Act::See(Access::Link)),
            Call::Disk(at) => named(told, at, LastLink::Followed)?.map_or(Self::Nothing, Self::Disk),
            Call::Execute(at, follows) => {
                let named = named_or_open(told, at, last(told, follows))?;
                named.map_or(Self::Nothing, Self::Execute)
            }
            Call::List => act(open_folder(told)?, Act::See(Access::Listing)),
            Call::Make(at) => act(named(told, at, LastLink::Meant)?, Act::Make),
            Call::Remove(at) => act(named(told, at, LastLink::Meant)?, Act::Remove),
            Call::Change(at, follows) => act(
                named(told, at, last(told, follows))?,
                Act::Change { reads: false },
            ),
            Call::Truncate => act(
                named(told, HERE, LastLink::Followed)?,
                Act::Change { reads: true },
            ),
            Call::Rename(old, new, flags) => return Self::rename(told, old, new, flags.map_or(0, argument)),
            Call::Link(old, new, follows) => {
                let old = named_or_open(told, old, last(told, follows))?;
                let new = named(told, new, LastLink::Meant)?;
                new.map_or(Self::Nothing, |new| Self::Link(old, new))
            }
            Call::DiskOpen => open_folder(told)?.map_or(Self::Nothing, Self::Disk),
            Call::Socket => Self::Socket(descriptor(argument(0))),
            Call::Bind => {
                let (address, named) = socket(told, argument(1), argument(2))?;
                Self::Bind(address, named)
            }
            Call::Talk(index) => Self::Talk(vec![socket(told, argument(index), argument(index + 1))?]),
            Call::Message => Self::Talk(message(told, argument(1))?.into_iter().collect()),
            Call::Messages => return Self::messages(told),
            Call::Leave => Self::leave(told),
            Call::Shared(name) => Self::Shared(name),
            Call::Unknown(name) => Self::GiveUp(UnobservableKind::Call, name),
            Call::Refused(name) => Self::GiveUp(UnobservableKind::Refused, name),
        })
    }

    fn open_how(told: &Notification) -> io::Result<Self> {
        let Some(how) = memory::bytes::<24>(told.thread, told.arguments[2])? else {
            return Ok(Self::Nothing);
        };
        let word = |at: usize| {
            how[at..]
                .first_chunk()
                .map_or(0, |bytes| u64::from_ne_bytes(*bytes))
        };
        if word(16) & RESOLVE_IN_ROOT != 0 {
            return Ok(Self::GiveUp(
                UnobservableKind::Call,
                "openat2 with RESOLVE_IN_ROOT",
            ));
        }
        let at = At {
            folder: Some(0),
            path: 1,
        };
        opening(told, at, word(0))
    }

    fn rename(told: &Notification, old: At, new: At, flags: u64) -> io::Result<Self> {
        if flags & u64::from(libc::RENAME_EXCHANGE) != 0 {
            return Ok(Self::GiveUp(
                UnobservableKind::Call,
                "renameat2 with RENAME_EXCHANGE",
            ));
        }
        let old = named(told, old, LastLink::Meant)?;
        let new = named(told, new, LastLink::Meant)?;
        Ok(match (old, new) {
            (Some(old), Some(new)) => Self::Rename(old, new),
            _ => Self::Nothing,
        })
    }

    fn messages(told: &Notification) -> io::Result<Self> {
        let count = told.arguments[2] & u64::from(u32::MAX);
        if count > MESSAGES_MAX {
            return Ok(Self::GiveUp(
                UnobservableKind::Call,
                "sendmmsg of very many messages",
            ));
        }
        let messages = (0..count).map(|index| {
            let start = index.saturating_mul(MESSAGE_BYTES);
            message(told, told.arguments[1].saturating_add(start))
        });
        let addresses = messages.filter_map(io::Result::transpose);
        Ok(Self::Talk(addresses.collect::<io::Result<_>>()?))
    }

    fn leave(told: &Notification) -> Self {
        let number = |index: usize| u32::try_from(told.arguments[index] & u64::from(u32::MAX)).unwrap_or(0);
        let is_session = i64::from(told.number) == libc::SYS_setsid;
        let (target, group) = if is_session {
            (0, 0)
        } else {
            (number(0), number(1))
        };
        let process = memory::process(told.thread);
        let target = if target == 0 { process.unwrap_or(0) } else { target };
        Self::Leave {
            process,
            group: if group == 0 { target } else { group },
        }
    }
}

const HERE: At = At {
    folder: None,
    path: 0,
};

fn act(named: Option<Named>, act: Act) -> Request {
    named.map_or(Request::Nothing, |named| Request::Act(named, act))
}

fn opening(told: &Notification, at: At, flags: u64) -> io::Result<Request> {
    let has = |flag: libc::c_int| flags & u64::from(flag.unsigned_abs()) == u64::from(flag.unsigned_abs());
    let mode = flags & u64::from(libc::O_ACCMODE.unsigned_abs());
    let (reads, writes) = (mode != libc::O_WRONLY as u64, mode != libc::O_RDONLY as u64);
    let makes = has(libc::O_CREAT);
    let act_of = match () {
        () if has(libc::O_PATH) || has(libc::O_TMPFILE) => Act::See(Access::Metadata),
        () if makes && has(libc::O_EXCL) => Act::Make,
        () if makes && has(libc::O_TRUNC) => Act::Replace,
        () if makes => Act::Extend { reads },
        () if has(libc::O_TRUNC) => Act::Empty,
        () if writes => Act::Change { reads },
        () => Act::See(Access::Content),
    };
    let is_meant = has(libc::O_NOFOLLOW) || act_of == Act::Make;
    let last = if is_meant {
        LastLink::Meant
    } else {
        LastLink::Followed
    };
    Ok(act(named(told, at, last)?, act_of))
}

fn last(told: &Notification, follows: Follows) -> LastLink {
    let has = |index: u8, flag: libc::c_int| {
        told.arguments[usize::from(index)] & u64::from(flag.unsigned_abs()) != 0
    };
    let is_followed = match follows {
        Follows::Always => true,
        Follows::Never => false,
        Follows::Unless(index) => !has(index, libc::AT_SYMLINK_NOFOLLOW),
        Follows::If(index) => has(index, libc::AT_SYMLINK_FOLLOW),
    };
    if is_followed {
        LastLink::Followed
    } else {
        LastLink::Meant
    }
}

/// Reads a path; `None`: there is none, and the call fails or is about a descriptor.
fn named(told: &Notification, at: At, last: LastLink) -> io::Result<Option<Named>> {
    match memory::text(told.thread, told.arguments[usize::from(at.path)])? {
        Some(path) if !path.is_empty() => starting(told, at, Path::new(&path), last),
        _ => Ok(None),
    }
}

/// As [`named`], but an empty path means what is open under the descriptor.
fn named_or_open(told: &Notification, at: At, last: LastLink) -> io::Result<Option<Named>> {
    match memory::text(told.thread, told.arguments[usize::from(at.path)])? {
        Some(path) if path.is_empty() && at.folder.is_some() => {
            let open = folder(told, at)?;
            Ok(open.map(|path| whole(path, LastLink::Meant)))
        }
        Some(path) if !path.is_empty() => starting(told, at, Path::new(&path), last),
        _ => Ok(None),
    }
}

fn starting(told: &Notification, at: At, path: &Path, last: LastLink) -> io::Result<Option<Named>> {
    let base = if path.is_absolute() {
        Some(PathBuf::from("/"))
    } else {
        folder(told, at)?
    };
    let Some(base) = base else { return Ok(None) };
    let named = Named {
        base,
        path: path.to_path_buf(),
        last,
    };
    named.redirected(told.thread)
}

impl Named {
    /// Goes through names in `/proc` and `/dev` that stand for something of the process itself.
    pub(super) fn redirected(mut self, thread: u32) -> io::Result<Option<Self>> {
        for _ in 0..REDIRECTS_MAX {
            let path = self.base.join(&self.path);
            let Place::Redirect(redirect) = place(&path, &[thread]) else {
                return Ok(Some(self));
            };
            let is_meant = redirect.tail.as_os_str().is_empty() && self.last == LastLink::Meant;
            // To ask about the link itself is to ask where a descriptor of one's own leads.
            let Some(target) = memory::link(thread, &redirect.name)?.filter(|_| !is_meant) else {
                return Ok(None);
            };
            self.base = PathBuf::from("/");
            self.path = if redirect.tail.as_os_str().is_empty() {
                target
            } else {
                target.join(redirect.tail)
            };
        }
        Ok(None)
    }
}

fn whole(path: PathBuf, last: LastLink) -> Named {
    Named {
        base: PathBuf::from("/"),
        path,
        last,
    }
}

/// The folder that a relative path starts from.
fn folder(told: &Notification, at: At) -> io::Result<Option<PathBuf>> {
    let fd = at
        .folder
        .map(|index| descriptor(told.arguments[usize::from(index)]));
    match fd {
        None | Some(libc::AT_FDCWD) => memory::link(told.thread, Path::new("cwd")),
        Some(fd) => memory::link(told.thread, &Path::new("fd").join(fd.to_string())),
    }
}

/// What is open under the descriptor that is the first argument.
fn open_folder(told: &Notification) -> io::Result<Option<Named>> {
    let fd = descriptor(told.arguments[0]);
    let path = memory::link(told.thread, &Path::new("fd").join(fd.to_string()))?;
    Ok(path.map(|path| whole(path, LastLink::Meant)))
}

/// The kernel takes the lower half of an argument for a descriptor.
#[expect(clippy::cast_possible_truncation, reason = "that is how the kernel reads it")]
fn descriptor(argument: u64) -> libc::c_int {
    argument as u32 as libc::c_int
}

fn socket(told: &Notification, at: u64, length: u64) -> io::Result<(Address, Option<Named>)> {
    let length = usize::try_from(length & u64::from(u32::MAX)).unwrap_or(0);
    let bytes = memory::some(told.thread, at, length.min(ADDRESS_MAX))?;
    let address = address(&bytes);
    let file = match &address {
        Address::File(path) => starting(told, HERE, Path::new(OsStr::new(path)), LastLink::Followed)?,
        _ => None,
    };
    Ok((address, file))
}

/// The address in a `struct msghdr`: a pointer and a length.
fn message(told: &Notification, at: u64) -> io::Result<Option<(Address, Option<Named>)>> {
    let Some(head) = memory::bytes::<12>(told.thread, at)? else {
        return Ok(None);
    };
    let pointer = head.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
    let length = head.last_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    if pointer == 0 {
        return Ok(None);
    }
    socket(told, pointer, length.into()).map(Some)
}
