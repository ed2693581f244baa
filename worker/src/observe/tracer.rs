//! The calls of one case to what it depends on.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, test_kill_process_group};
use thresh_core::digest::Digest;
use thresh_core::observe::{
    Access, Act, Contact, End, Fact, Kind, LastLink, Observation, Place, Recorder, Resolved, Seen,
    UnobservableKind, names_digest, place, resolve,
};

use super::address::Address;
use super::calls::{self, Call, KNOWN_MAX};
use super::listener::{Listener, Notification};
use super::look::Root;
use super::memory;
use super::programs::Programs;
use super::request::{Named, Request};

/// How many interpreters a script may go through, as in the kernel.
const INTERPRETERS_MAX: u32 = 5;

/// What is known of the case that runs.
#[derive(Debug, Default)]
pub(super) struct Tracer {
    recorder: Recorder,
    /// Where its paths begin.
    root: Root,
    /// Whether it is still being put into its view, until its program is executed.
    is_entering: bool,
    /// Whether its own program has been executed.
    is_started: bool,
    /// Threads that have made a call and are not the worker's.
    threads: BTreeSet<u32>,
    /// The groups that its processes have ever been in.
    groups: BTreeSet<u32>,
    /// Whether there may be other groups.
    is_unclear: bool,
    /// Folders and links that were met on the way, until the case changes something. By bytes: paths are compared by
    /// component, which takes longer.
    met: BTreeMap<OsString, Seen>,
    /// Names of sockets that the case has bound and that are no files.
    names: BTreeSet<Vec<u8>>,
}

/// A call that waits; it goes on when this is dropped, whatever happens here.
struct Held<'a> {
    listener: &'a Listener,
    id: u64,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.listener.go_on(self.id);
    }
}

impl Tracer {
    /// Of a case that is started in a view of its own: what is done to that end is not the case's.
    pub(super) fn in_a_view() -> Self {
        Self {
            is_entering: true,
            ..Self::default()
        }
    }

    pub(super) fn give_up(&mut self, kind: UnobservableKind, detail: &str) {
        self.recorder.give_up(kind, detail);
    }

    /// Returns what was gathered, and whether no process of the case can be left.
    ///
    /// To be called when its first process has been waited for.
    pub(super) fn finish(self) -> (Observation, bool) {
        let is_left = |group: &u32| {
            let group = i32::try_from(*group).ok().and_then(Pid::from_raw);
            // Refused also means that there is one.
            group.is_some_and(|group| test_kill_process_group(group) != Err(rustix::io::Errno::SRCH))
        };
        let is_left = self.is_unclear || self.groups.iter().any(is_left);
        (self.recorder.finish(), !is_left)
    }

    /// Records a call and lets it go on.
    pub(super) fn handle(&mut self, told: &Notification, listener: &Listener, programs: &mut Programs) {
        let _held = Held {
            listener,
            id: told.id,
        };
        if !self.threads.contains(&told.thread) {
            if memory::is_own(told.thread) {
                return;
            }
            if self.threads.is_empty() {
                // The first process, which makes a group of its own before anything else.
                self.groups.insert(told.thread);
            }
            self.threads.insert(told.thread);
        }
        if self.is_entering && !self.has_entered(told) {
            return;
        }
        let is_leave = told.is_native
            && (told.number.try_into()).is_ok_and(|number| calls::call(number) == Some(Call::Leave));
        // To lead a group that is known changes nothing: the first call of every case.
        let is_known = is_leave && told.leads_itself() && self.groups.contains(&told.thread);
        if is_known || self.recorder.is_futile() && !is_leave {
            return;
        }
        let request = Self::request(told);
        // Only now it is known that what was read is the caller's, and not of who has got its number since.
        if !listener.is_waiting(told.id) {
            return;
        }
        match request {
            Ok(request) => self.record(told.thread, request, programs),
            Err(cause) => self.give_up(UnobservableKind::Unreadable, &cause.to_string()),
        }
    }

    /// Whether the program is executed: whose call it is sees what the case will see.
    fn has_entered(&mut self, told: &Notification) -> bool {
        let call = told.number.try_into().ok().and_then(calls::call);
        if !told.is_native || !matches!(call, Some(Call::Execute(..))) {
            return false;
        }
        match Root::of(told.thread) {
            Ok(root) => self.root = root,
            Err(cause) => self.give_up(UnobservableKind::Unreadable, &cause.to_string()),
        }
        self.is_entering = false;
        true
    }

    fn request(told: &Notification) -> io::Result<Request> {
        if !told.is_native {
            return Ok(Request::GiveUp(UnobservableKind::OtherAbi, "architecture"));
        }
        let number = u32::try_from(told.number).unwrap_or(u32::MAX);
        match calls::call(number) {
            Some(call) => Request::read(told, call),
            None if number > KNOWN_MAX => Ok(Request::GiveUp(UnobservableKind::OtherAbi, "number")),
            None => Ok(Request::Nothing),
        }
    }

    fn record(&mut self, thread: u32, request: Request, programs: &mut Programs) {
        let is_effect = request.is_effect();
        self.look_up(thread, request, programs);
        if is_effect {
            self.met.clear();
        }
    }

    fn look_up(&mut self, thread: u32, request: Request, programs: &mut Programs) {
        match request {
            Request::Nothing => {}
            Request::Act(named, act) => self.act(thread, &named, act),
            Request::Disk(named) => {
                let resolved = self.resolve(&named);
                self.act_on(thread, named.last, &resolved, Act::See(Access::Metadata));
                // Programs that remove or walk through a folder ask on what kind of disk it is; of one's own folder that is no input.
                // What is asked of `/sys` is told as such.
                let asked = match &resolved.end {
                    End::Present(path, stamp) => (!self.recorder.is_own(path, Some(stamp))).then_some(path),
                    End::Special(path) => (!path.starts_with("/sys")).then_some(path),
                    _ => None,
                };
                if let Some(path) = asked {
                    self.recorder.fact(Fact::Disk, path);
                }
            }
            Request::Execute(named) => self.execute(thread, &named, programs),
            Request::Rename(old, new) => {
                let (old, new) = (self.resolve(&old), self.resolve(&new));
                let names = self.names_before(&new, Act::See(Access::Listing));
                self.recorder.rename(&old, &new);
                if let Some((path, names)) = names {
                    self.recorder.names(path, names);
                }
            }
            Request::Link(Some(old), new) => {
                let (old, new) = (self.resolve(&old), self.resolve(&new));
                self.recorder.link(&old, &new);
            }
            // A file that had no name.
            Request::Link(None, new) => self.act(thread, &new, Act::Make),
            Request::Bind(address, named) => match (address, named) {
                (Address::Name(name), _) => drop(self.names.insert(name)),
                (_, Some(named)) => self.act(thread, &named, Act::Make),
                _ => {}
            },
            // Without an address of another it speaks with the kernel, or hears whoever there is.
            Request::Socket(libc::AF_NETLINK) => self.recorder.fact(Fact::Network, Path::new("netlink")),
            Request::Socket(family) => {
                self.recorder
                    .contact(Contact::Network, format!("address family {family}"));
            }
            Request::Talk(addresses) => {
                for (address, named) in addresses {
                    self.talk(thread, address, named.as_ref());
                }
            }
            Request::Leave { process, group } => {
                self.is_unclear |= process.is_none();
                self.groups.insert(group);
            }
            Request::Shared(name) => self.recorder.contact(Contact::Service, name),
            Request::GiveUp(kind, detail) => self.give_up(kind, detail),
        }
    }

    fn resolve(&mut self, named: &Named) -> Resolved {
        let (met, root) = (&mut self.met, &self.root);
        resolve(&named.base, &named.path, named.last, &mut |path: &Path| {
            if let Some(seen) = met.get(path.as_os_str()) {
                return seen.clone();
            }
            let seen = root.look(path);
            let is_passed = match &seen {
                Seen::Link(..) => true,
                Seen::Present(stamp) => stamp.kind == Kind::Folder,
                Seen::Absent | Seen::Denied => false,
            };
            if is_passed {
                met.insert(path.as_os_str().to_owned(), seen.clone());
            }
            seen
        })
    }

    fn act(&mut self, thread: u32, named: &Named, act: Act) {
        let resolved = self.resolve(named);
        self.act_on(thread, named.last, &resolved, act);
    }

    /// The names in a folder, where they count, before an act that may change them: the case waits.
    fn names_before<'r>(&self, resolved: &'r Resolved, act: Act) -> Option<(&'r Path, Digest)> {
        let End::Present(path, _) = &resolved.end else {
            return None;
        };
        let wanted = self.recorder.wants_names(resolved, act);
        let names = wanted.then(|| self.root.names(path).ok()).flatten()?;
        Some((path, names_digest(names)))
    }

    fn act_on(&mut self, thread: u32, last: LastLink, resolved: &Resolved, act: Act) {
        let names = self.names_before(resolved, act);
        self.recorder.act(resolved, act);
        if let Some((path, names)) = names {
            self.recorder.names(path, names);
        }
        match &resolved.end {
            End::Special(path) => self.special(thread, path, last, act),
            // A pipe that somebody else reads from or writes to.
            End::Present(path, stamp)
                if stamp.kind == Kind::Other
                    && act != Act::See(Access::Metadata)
                    && !self.recorder.is_own(path, Some(stamp)) =>
            {
                self.recorder.contact(Contact::Service, path.to_string_lossy());
            }
            _ => {}
        }
    }

    /// Records a place below `/proc`, `/sys` or `/dev`.
    fn special(&mut self, thread: u32, path: &Path, last: LastLink, act: Act) {
        let other = path.iter().nth(2).unwrap_or_default();
        let mut of = thread;
        let found = match place(path, &[thread]) {
            Place::Machine(Fact::Processes) if memory::are_together(thread, other) => {
                of = other.to_str().and_then(|id| id.parse().ok()).unwrap_or(thread);
                place(path, &[of])
            }
            found => found,
        };
        match found {
            // Nothing leads out of these places but what was redirected or is astray.
            Place::Tree => self.give_up(UnobservableKind::Call, &path.display().to_string()),
            Place::Harmless => {}
            Place::Machine(fact) => self.recorder.fact(fact, path),
            // A link led here, `/dev/fd` for instance.
            Place::Redirect(_) => {
                let named = Named {
                    base: PathBuf::from("/"),
                    path: path.to_path_buf(),
                    last,
                };
                match named.redirected(of) {
                    Ok(Some(named)) => self.act(thread, &named, act),
                    Ok(None) => {}
                    Err(cause) => self.give_up(UnobservableKind::Unreadable, &cause.to_string()),
                }
            }
        }
    }

    /// Records a program and what it is interpreted or loaded by.
    fn execute(&mut self, thread: u32, named: &Named, programs: &mut Programs) {
        let mut named = named.clone();
        for _ in 0..=INTERPRETERS_MAX {
            let resolved = self.resolve(&named);
            if self.is_started {
                self.act_on(thread, named.last, &resolved, Act::See(Access::Executed));
            } else {
                // The case's own program: whoever has it started knows it.
                self.recorder.pass(&resolved);
                self.is_started = true;
            }
            let End::Present(path, stamp) = resolved.end else {
                return;
            };
            match programs.interpreter(&self.root, &path, &stamp) {
                None => return,
                Some(name) if name.is_absolute() => {
                    named = Named {
                        base: PathBuf::from("/"),
                        path: name,
                        last: LastLink::Followed,
                    };
                }
                Some(name) => {
                    return self.give_up(
                        UnobservableKind::Call,
                        &format!("execve of {} by {}", path.display(), name.display()),
                    );
                }
            }
        }
    }

    fn talk(&mut self, thread: u32, address: Address, named: Option<&Named>) {
        match address {
            Address::Nobody => {}
            Address::Loopback(text) => self.recorder.contact(Contact::Loopback, text),
            Address::Network(text) => self.recorder.contact(Contact::Network, text),
            Address::Kernel => self.recorder.fact(Fact::Network, Path::new("netlink")),
            Address::Name(name) if self.names.contains(&name) => {}
            Address::Name(name) => {
                let name = String::from_utf8_lossy(&name).into_owned();
                self.recorder.contact(Contact::Service, format!("@{name}"));
            }
            // Opened rather than asked about: a socket that is not the case's is a service.
            Address::File(_) => {
                if let Some(named) = named {
                    self.act(thread, named, Act::See(Access::Content));
                }
            }
        }
    }
}
