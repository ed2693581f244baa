//! What a worker makes once to isolate its cases.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::groups::{CaseGroup, Groups};
use super::guard::Guard;
use super::identity::identity_namespace;
use super::isolation::{Isolation, Level, Network, Scratch};
use super::launch::Target;
use super::view::{Folder, View, ViewSpec};

/// What a sealed case does not see: home folders, and the sockets of the machine's services.
const SEALED_OFF: [&str; 4] = ["/root", "/home", "/run", "/var/run"];

/// Isolates the cases of a worker.
#[derive(Debug)]
pub struct Isolator {
    pub(super) isolation: Isolation,
    /// Folders that no case sees. None lies in another or is a link to it.
    pub(super) hidden: Vec<PathBuf>,
    /// A user namespace for cases of a worker that is root.
    pub(super) identity: Option<Arc<OwnedFd>>,
    pub(super) guard: Option<Guard>,
    pub(super) groups: Option<Groups>,
}

impl Isolator {
    /// Prepares to isolate; what cannot be had is told in words. `None` where nothing of it can.
    /// Tries it out in `scratch`. Blocks.
    pub fn new(isolation: Isolation, scratch: &Path) -> (Option<Arc<Self>>, Vec<String>) {
        if isolation.level == Level::None {
            return (None, isolation.shortfalls("it is not wanted"));
        }
        let mut shortfalls = Vec::new();
        let mut not = |what: &str, cause: &io::Error| shortfalls.push(format!("{what}: {cause}"));
        let identity = match rustix::process::geteuid().is_root().then(identity_namespace) {
            None => None,
            Some(Ok(namespace)) => Some(Arc::new(namespace)),
            Some(Err(cause)) => {
                return (
                    None,
                    isolation.shortfalls(&format!("make a user namespace: {cause}")),
                );
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
            if let Some(what) = limits.without_group() {
                not(what, &cause);
            }
            None
        });
        let isolator = Arc::new(Self {
            hidden: hidden(&isolation),
            isolation,
            identity,
            guard,
            groups,
        });
        match isolator.try_out(scratch) {
            Ok(()) => (Some(isolator), shortfalls),
            Err(cause) => (None, isolator.isolation.shortfalls(&cause.to_string())),
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
        let launch = case.launch(Target {
            cwd: c"/".to_owned(),
            programs: vec![c"/thresh-probe/absent".to_owned()],
            argv: Vec::new(),
            environment: Vec::new(),
        })?;
        let nothing = std::fs::File::open("/dev/null")?;
        let streams = [&nothing; 3].map(std::os::fd::AsFd::as_fd);
        match launch.map(|launch| launch.start(streams)) {
            Some(Err(cause)) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
            _ => Ok(()),
        }
    }
}

/// The folders that cases do not see. Links are followed: what is hidden twice would hide what the run shows in it.
fn hidden(isolation: &Isolation) -> Vec<PathBuf> {
    let sealed_off = match isolation.level {
        Level::Sealed => &SEALED_OFF[..],
        Level::None | Level::Private => &[],
    };
    let places = sealed_off
        .iter()
        .map(PathBuf::from)
        .chain(isolation.hidden.iter().cloned());
    let mut places: Vec<PathBuf> = places
        .map(|place| place.canonicalize().unwrap_or(place))
        .collect();
    // Those that lie in another come behind it.
    places.sort();
    places.dedup_by(|inner, outer| inner.starts_with(outer));
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_hidden_once_by_whatever_names_it_goes() {
        let ground = tempfile::tempdir().unwrap();
        let real = ground.path().canonicalize().unwrap().join("real");
        std::fs::create_dir_all(real.join("inner")).unwrap();
        let link = ground.path().join("a-link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let isolation = Isolation {
            hidden: vec![link, real.join("inner"), real.clone(), "/no/such/folder".into()],
            ..Isolation::at(Level::Private)
        };
        let mut expected = vec![PathBuf::from("/no/such/folder"), real];
        expected.sort();
        assert_eq!(hidden(&isolation), expected);
    }
}
