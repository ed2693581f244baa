//! A run's view, and each case's own below it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thresh_core::fault::Fault;

use super::construct::{ConstructError, Namespace, construct};
use super::entry::Entry;
use super::groups::CaseGroup;
use super::isolator::Isolator;
use super::launch::{Launch, Target};
use super::paths::{Layout, TMP, Temp};
use super::plan::{Rights, Writes, plan};
use super::scratch::{self, Scratch};
use super::step::Step;
use super::surroundings::Surroundings;

/// A folder and where it is to appear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// The absolute path, without `..`, at which cases see it. It may lie in another folder's.
    pub at: PathBuf,
    /// What is shown there. Unless it is `live`, it must not change while the view lives, and is never written
    /// to.
    pub from: PathBuf,
    /// Whether `from` itself is shown, so that what is added to it appears, and what cases write goes there.
    pub live: bool,
    /// Whether what an isolated case writes there is seen by others, as if it were not isolated.
    pub shared: bool,
}

/// What a view shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ViewSpec {
    /// The run's folders.
    pub folders: Vec<Folder>,
    /// Absolute paths of temp folders that each case has for itself, besides `/tmp`: where the cases' `TMPDIR`
    /// points to.
    pub temp_dirs: Vec<PathBuf>,
    /// A folder of the worker for the view's own files (what cases write). Made when missing.
    pub scratch: PathBuf,
}

/// Why a view could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// A path cannot be presented.
    #[error("present {}: {why}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// A folder to show is not there.
    #[error("present {} from {}: {cause}", at.display(), from.display())]
    Source {
        /// Where it was to appear.
        at: PathBuf,
        /// What was to be shown.
        from: PathBuf,
        /// What is wrong with it.
        cause: io::Error,
    },
    /// A folder of the machine has more entries than can be bound one by one.
    #[error(
        "make room for the run's folders in {}: it has more than {entries_max} entries; make the missing \
         folder there by hand, and they need not be bound one by one",
        path.display()
    )]
    Crowded {
        /// The machine's folder.
        path: PathBuf,
        /// The most entries.
        entries_max: usize,
    },
    /// The view's own files could not be made.
    #[error("prepare a view in {}: {cause}", path.display())]
    Scratch {
        /// Where.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The kernel refused a step.
    #[error("make a view: {step}: {cause}")]
    Step {
        /// What was tried.
        step: String,
        /// The kernel's answer.
        cause: io::Error,
    },
    /// The process that makes the namespace could not be started.
    #[error("make a view: start its process: {cause}")]
    Process {
        /// Why.
        cause: io::Error,
    },
}

impl ViewError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Path { .. } => Fault::Input,
            _ => Fault::Environment,
        }
    }

    pub(super) fn scratch(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |cause| Self::Scratch {
            path: path.to_owned(),
            cause,
        }
    }
}

/// A mount namespace in which a run's folders appear at their paths.
///
/// Dropping it, and the last [`CaseView`] of it, removes its files; the namespace ends with its last process.
#[derive(Debug)]
pub struct View {
    shared: Arc<Shared>,
    notes: Vec<String>,
}

#[derive(Debug)]
struct Shared {
    namespace: Namespace,
    folders: Vec<Folder>,
    temps: Vec<Temp>,
    cases: AtomicU64,
    scratch: Scratch,
    isolator: Option<Arc<Isolator>>,
}

impl View {
    /// Makes a view: by overlays where the kernel and the file system have them, otherwise by copies.
    ///
    /// # Errors
    ///
    /// When a path cannot be presented, a folder is missing, the disk is full or namespaces are forbidden
    /// ([`probe`](super::probe()) tells beforehand).
    pub fn build(spec: &ViewSpec) -> Result<Self, ViewError> {
        Self::build_isolated(spec, None)
    }

    /// The same, for cases that are isolated.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub fn build_isolated(spec: &ViewSpec, isolator: Option<Arc<Isolator>>) -> Result<Self, ViewError> {
        Self::build_with(spec, Writes::Overlay, isolator)
    }

    pub(super) fn build_with(
        spec: &ViewSpec,
        writes: Writes,
        isolator: Option<Arc<Isolator>>,
    ) -> Result<Self, ViewError> {
        let layout = Layout::new(spec)?;
        for folder in &spec.folders {
            let source = |cause| ViewError::Source {
                at: folder.at.clone(),
                from: folder.from.clone(),
                cause,
            };
            std::fs::read_dir(&folder.from).map_err(source)?;
        }
        let scratch = Scratch::new(&spec.scratch, spec.folders.len(), layout.temps.len())
            .map_err(ViewError::scratch(&spec.scratch))?;
        let mut notes = Vec::new();
        let overlaid = match writes {
            Writes::Overlay => namespace(spec, &layout, &scratch, Writes::Overlay),
            Writes::Copy => Err(Refused::Overlay(io::ErrorKind::Unsupported.into())),
        };
        let namespace = match overlaid {
            Ok(namespace) => namespace,
            Err(Refused::Other(error)) => return Err(error),
            Err(Refused::Overlay(cause)) => {
                notes.push(format!(
                    "the run's folders are copied, as overlays are not possible here: {cause}"
                ));
                copy_folders(spec, &scratch)?;
                namespace(spec, &layout, &scratch, Writes::Copy).map_err(Refused::into_error)?
            }
        };
        let shared = Shared {
            namespace,
            folders: spec.folders.clone(),
            temps: layout.temps,
            cases: AtomicU64::new(0),
            scratch,
            isolator,
        };
        Ok(Self {
            shared: Arc::new(shared),
            notes,
        })
    }

    /// Whether each case has the folders as they were shipped, whatever others have written to them.
    pub(crate) fn isolates(&self) -> bool {
        self.shared.isolator.is_some()
    }

    /// What users should know of how the view was made.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The folder at `at`, which is one that is shared, as the view's processes see it.
    ///
    /// # Errors
    ///
    /// There is no such folder.
    pub fn shared_folder(&self, at: &Path) -> io::Result<OwnedFd> {
        let shared = self.shared.folders.iter().filter(|folder| folder.shared);
        let found = shared.zip(&self.shared.namespace.folders);
        let found = found.into_iter().find(|(folder, _)| folder.at == at);
        let (_, folder) = found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        folder.try_clone()
    }

    /// Makes a process's own view, with empty temp folders. What it writes elsewhere is seen by others of the run.
    ///
    /// # Errors
    ///
    /// When the temp folders cannot be made.
    pub fn case(&self) -> io::Result<CaseView> {
        let shared = Arc::clone(&self.shared);
        let name = format!(".case-{}", shared.cases.fetch_add(1, Ordering::Relaxed));
        let case = CaseView {
            shared,
            name,
            is_isolated: false,
            group: None,
        };
        for (index, temp) in case.shared.temps.iter().enumerate() {
            let folder = case.temp_folder(index);
            scratch::create_temp(&folder)?;
            for inside in temp.presented.iter().chain(&temp.inner) {
                std::fs::create_dir_all(folder.join(inside))?;
            }
        }
        Ok(case)
    }

    /// Makes a case's own view, isolated as the worker isolates.
    ///
    /// # Errors
    ///
    /// When its folders or its control group cannot be made.
    pub fn isolated_case(&self) -> io::Result<CaseView> {
        let mut case = self.case()?;
        let Some(isolator) = &self.shared.isolator else {
            return Ok(case);
        };
        case.is_isolated = true;
        if isolator.writes_to_disk() {
            let layers = case.layers();
            std::fs::create_dir(&layers)?;
            let inside = Path::new(TMP).join(case.layers_name());
            for folder in case.surroundings(&inside).layer_folders() {
                std::fs::create_dir(layers.join(folder))?;
            }
        }
        case.group = isolator.group()?;
        Ok(case)
    }
}

/// What one case sees: the run's view with temp folders of its own, which go when this is dropped.
///
/// Given to [`Invocation::view`](crate::exec::Invocation::view). The kernel kills the process that entered it
/// when the thread that started it ends.
#[derive(Debug)]
pub struct CaseView {
    shared: Arc<Shared>,
    name: String,
    is_isolated: bool,
    group: Option<CaseGroup>,
}

impl CaseView {
    /// The folder, on this machine, that the case sees as `/tmp`.
    pub fn tmp(&self) -> PathBuf {
        self.shared.tmps().join(&self.name)
    }

    /// Where the layers of an isolated case are, on this machine.
    fn layers(&self) -> PathBuf {
        self.shared.tmps().join(self.layers_name())
    }

    fn layers_name(&self) -> String {
        format!("{}.layers", self.name)
    }

    fn writes_to_disk(&self) -> bool {
        let isolator = self.shared.isolator.as_ref().filter(|_| self.is_isolated);
        isolator.is_some_and(|isolator| isolator.writes_to_disk())
    }

    /// `layers` is where the view shows them, before the case's own `/tmp` is put over it.
    fn surroundings<'a>(&'a self, layers: &'a Path) -> Surroundings<'a> {
        Surroundings {
            namespace: &self.shared.namespace,
            folders: &self.shared.folders,
            temps: &self.shared.temps,
            name: &self.name,
            layers,
            group: self.group.as_ref(),
        }
    }

    /// Prepares the way of an isolated process. `None` when processes of this view are not isolated.
    pub(crate) fn launch(&self, target: Target) -> io::Result<Option<Launch>> {
        let Some(isolator) = self.shared.isolator.as_ref().filter(|_| self.is_isolated) else {
            return Ok(None);
        };
        let inside = Path::new(TMP).join(self.layers_name());
        let surroundings = self.surroundings(&inside);
        let mut launch = surroundings.launch(isolator, target)?;
        if isolator.writes_to_disk() {
            let layers = self.layers();
            let marks = surroundings.used_marks();
            launch.used_once = marks.map(|mark| layers.join(mark)).collect();
        }
        Ok(Some(launch))
    }

    /// Prepares the way of one process into this view, to start in `cwd`.
    pub(crate) fn entry(&self, cwd: &Path) -> io::Result<Entry> {
        let Namespace { user, mount, .. } = &self.shared.namespace;
        Entry::new(user.as_ref(), mount, &self.shared.temps, &self.name, cwd)
    }

    fn temp_folder(&self, index: usize) -> PathBuf {
        self.shared.scratch.temps(index).join(&self.name)
    }
}

impl Drop for CaseView {
    fn drop(&mut self) {
        for index in 0..self.shared.temps.len() {
            // What a process that is still there keeps from being removed goes with the whole view.
            let _ = crate::removal::remove(&self.temp_folder(index));
        }
        if self.writes_to_disk() {
            let _ = crate::removal::remove(&self.layers());
        }
    }
}

impl Shared {
    /// The folder, on this machine, that holds every case's `/tmp`.
    fn tmps(&self) -> PathBuf {
        let index = self.temps.iter().position(|temp| temp.at == Path::new(TMP));
        self.scratch.temps(index.expect("every view has a private /tmp"))
    }
}

enum Refused {
    /// There are no overlays here.
    Overlay(io::Error),
    Other(ViewError),
}

impl Refused {
    fn into_error(self) -> ViewError {
        match self {
            Self::Overlay(cause) => ViewError::Step {
                step: "mount an overlay".to_owned(),
                cause,
            },
            Self::Other(error) => error,
        }
    }
}

impl From<ViewError> for Refused {
    fn from(error: ViewError) -> Self {
        Self::Other(error)
    }
}

/// Makes the namespace with the worker's own rights or, without, with a user namespace's.
fn namespace(
    spec: &ViewSpec,
    layout: &Layout,
    scratch: &Scratch,
    writes: Writes,
) -> Result<Namespace, Refused> {
    let mut rights = Rights::Own;
    let shared: Vec<&Path> = (spec.folders.iter())
        .filter(|folder| folder.shared)
        .map(|folder| folder.at.as_path())
        .collect();
    loop {
        let steps = plan(spec, layout, scratch, rights, writes)?;
        match construct(steps.clone(), &shared) {
            Ok(namespace) => return Ok(namespace),
            Err(ConstructError::Step(0, cause))
                if rights == Rights::Own && cause.kind() == io::ErrorKind::PermissionDenied =>
            {
                rights = Rights::UserNamespace;
            }
            Err(ConstructError::Step(index, cause)) => {
                return Err(match &steps[index] {
                    Step::Overlay { .. } => Refused::Overlay(cause),
                    step => ViewError::Step {
                        step: step.to_string(),
                        cause,
                    }
                    .into(),
                });
            }
            Err(ConstructError::Child(cause)) => return Err(ViewError::Process { cause }.into()),
        }
    }
}

fn copy_folders(spec: &ViewSpec, scratch: &Scratch) -> Result<(), ViewError> {
    for (index, folder) in spec.folders.iter().enumerate() {
        if folder.live {
            continue;
        }
        scratch::copy(&folder.from, &scratch.copy(index)).map_err(ViewError::scratch(&folder.from))?;
    }
    Ok(())
}
