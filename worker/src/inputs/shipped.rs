//! Inputs built from the coordinator's blobs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::fs::statvfs;
use thresh_cas::{BlobStore, Manifest, MaterialiseError, is_intact, materialise};
use thresh_core::digest::Digest;
use thresh_core::fault::Fault;
use tokio::runtime::Handle;

use super::brief::{self, Brief};
use super::data_dir::DataDir;
use super::error::{DataDirError, PrepareError};
use super::fetch::{Fetcher, blocking};
use super::fill::{Way, add_files, make_folders};
use super::given::Given;
use super::janitor::Janitor;
use super::on_demand::OnDemand;
use super::peers::PeerServer;
use super::place::{Place, RunFolder};
use super::remap::Remap;
use super::supply::Supply;
use super::trees::Trees;
use crate::outputs::{Outputs, Uploader};
use crate::sandbox::{Folder, Isolation, Isolator, Limits, Support, View, ViewSpec, probe};
use crate::session::{Coordinator, Shipped};

/// How often a tree is built anew after blobs of it were found damaged.
const BUILDS: u32 = 3;

/// Inputs built from the coordinator's blobs. Clones share everything.
#[derive(Clone, Debug)]
pub(super) struct ShippedInputs {
    data_dir: Arc<DataDir>,
    store: BlobStore,
    fetcher: Fetcher,
    uploader: Uploader,
    trees: Trees,
    on_demand: OnDemand,
    janitor: Janitor,
    janitor_thread: Arc<Mutex<Option<JoinHandle<()>>>>,
    /// Serves other workers of the site.
    _peers: Option<Arc<PeerServer>>,
    free_bytes_min: u64,
    views: Support,
    given: Option<Given>,
    isolator: Option<Arc<Isolator>>,
    limits: Limits,
    /// What of the isolation that is wanted cannot be had, and why.
    shortfalls: Arc<[String]>,
}

/// The place of a run, and its target folder, into which further files can be added.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) place: Arc<Place>,
    folder: Arc<RunFolder>,
    target: PathBuf,
    /// How files come into it.
    way: Way,
}

impl Built {
    pub(super) fn new(place: Arc<Place>, folder: Arc<RunFolder>, target: PathBuf) -> Self {
        Self {
            place,
            folder,
            target,
            way: Way::Copy,
        }
    }
}

/// A tree of a run and its manifest.
struct Tree<'a> {
    input: &'a brief::InputTree,
    manifest: Manifest,
}

/// The trees that every case of a run sees.
struct Seen<'a> {
    source: Option<Tree<'a>>,
    target: Tree<'a>,
    others: Vec<Tree<'a>>,
}

impl ShippedInputs {
    pub(super) fn open(settings: &Shipped, coordinator: Coordinator) -> Result<Self, DataDirError> {
        let data_dir = DataDir::open(&settings.data_dir)?;
        let store = BlobStore::open(&data_dir.blobs())?;
        let views = probe(&data_dir.path().join("runs"));
        let given = settings.given.as_ref();
        let given = given.map(|given| {
            let folder = data_dir.path().join("runs");
            Given::arrange(&given.trees, &views, given.root_is_own, &folder)
        });
        let given = given.transpose().map_err(|cause| DataDirError::Io {
            action: "copy the run's files to",
            path: data_dir.path().to_owned(),
            cause,
        })?;
        if let Support::None(why) = &views
            && given.as_ref().is_none_or(Given::is_moved)
        {
            tracing::warn!(
                "this machine offers no mount namespaces ({why}): inputs appear at other paths than on the \
                 client, so cases with compiled-in paths may fail here"
            );
        }
        let (isolator, shortfalls) = match &views {
            Support::Namespaces => isolator(settings, &data_dir),
            Support::None(why) => (None, settings.isolation.shortfalls(why)),
        };
        for shortfall in &shortfalls {
            tracing::warn!("isolation: {shortfall}");
        }
        let trees = Trees::new(data_dir.trees());
        let (janitor, thread) = Janitor::start(store.clone(), trees.clone(), settings.cache_bytes_max)
            .map_err(|cause| DataDirError::Io {
                action: "start a thread for",
                path: data_dir.path().to_owned(),
                cause,
            })?;
        let uploader = Uploader::new(coordinator.clone());
        let peers = settings.site.as_ref().map(|site| {
            let started = PeerServer::start(site.address, store.clone());
            started.map_err(|cause| DataDirError::Listen {
                address: site.address,
                cause,
            })
        });
        let peers = peers.transpose()?.map(Arc::new);
        let fetcher = Fetcher::new(store.clone(), Supply::new(coordinator, settings.site.clone()));
        Ok(Self {
            data_dir: Arc::new(data_dir),
            on_demand: OnDemand::new(fetcher.clone(), store.clone()),
            fetcher,
            uploader,
            trees,
            store,
            janitor,
            janitor_thread: Arc::new(Mutex::new(Some(thread))),
            _peers: peers,
            free_bytes_min: settings.free_bytes_min,
            views,
            given,
            isolator,
            limits: settings.isolation.limits,
            shortfalls: shortfalls.into(),
        })
    }

    /// What a case may use.
    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// Why cases see the client's folders at other paths here; `None` when they do not.
    pub(super) fn remap_cause(&self) -> Option<&str> {
        match &self.views {
            Support::Namespaces => None,
            Support::None(why) => (self.given.as_ref().is_none_or(Given::is_moved)).then_some(why),
        }
    }

    /// What of the isolation that is wanted cannot be had here, and why.
    pub(super) fn shortfalls(&self) -> &[String] {
        &self.shortfalls
    }

    /// Waits until the folders of all dropped runs are gone. Blocks.
    pub(super) fn close(self) {
        let thread = self
            .janitor_thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // The thread ends with the last janitor; what still holds one is a run that is not over.
        drop(self.janitor);
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the thread that removes folders ended early");
        }
    }

    /// Builds the trees of a run, without what only single binaries need.
    pub(super) async fn build(&self, brief: &Brief) -> Result<Built, PrepareError> {
        let inputs = brief.shipped.as_ref().ok_or_else(|| {
            PrepareError::other(
                Fault::Internal,
                "the run is in place, but this worker is elsewhere",
            )
        })?;
        self.check_space().await?;
        let folder = Arc::new(RunFolder::new(
            brief.run,
            self.data_dir.run(brief.run),
            self.janitor.clone(),
        ));
        if let Some(given) = &self.given {
            let shared = inputs.shared_target.then_some(inputs.target.path.as_path());
            return given.build(folder, self.isolator.clone(), shared).await;
        }
        let mut trees = Seen {
            source: match &inputs.source {
                Some(source) => Some(self.tree(source, &folder).await?),
                None => None,
            },
            target: self.tree(&inputs.target, &folder).await?,
            others: Vec::new(),
        };
        for input in &inputs.folders {
            trees.others.push(self.tree(input, &folder).await?);
        }
        match self.views {
            Support::Namespaces => {
                let written_to = inputs.shared_target || !brief.setup_scripts.is_empty();
                self.build_view(folder, trees, inputs.shared_target, self.way(written_to))
                    .await
            }
            Support::None(_) => self.build_copies(folder, trees).await,
        }
    }

    /// What is to be kept of an action; `None` for test cases.
    pub(super) fn outputs(&self, built: &Built, brief: &Brief) -> Result<Option<Outputs>, PrepareError> {
        let (Some(paths), Some(shipped)) = (&brief.outputs, &brief.shipped) else {
            return Ok(None);
        };
        let root = &shipped.target.path;
        let cwd = brief.commands.first().map(|command| Path::new(&command.cwd));
        let below = cwd.and_then(|cwd| cwd.strip_prefix(root).ok());
        let outside = "the action's working directory is not in its input root";
        let below = below.ok_or_else(|| PrepareError::other(Fault::Input, outside))?;
        let failed = |cause: std::io::Error| PrepareError::io("look at", root, &cause);
        let seen = match &*built.place {
            Place::View(folder) => folder.shared_folder(root),
            Place::Client | Place::Remapped { .. } => std::fs::File::open(&built.target).map(Into::into),
        };
        let outputs = Outputs {
            root: Arc::new(seen.map_err(failed)?),
            folder: below.to_owned(),
            paths: paths.clone(),
            uploader: self.uploader.clone(),
            runtime: Handle::current(),
        };
        // The action's own files are in the way, unless the disk is full.
        outputs.make_folders().map_err(|cause| match failed(cause) {
            PrepareError::Other { message, .. } => {
                let message =
                    format!("{message}: its files leave no place for its outputs and working directory");
                PrepareError::other(Fault::Input, message)
            }
            error => error,
        })?;
        Ok(Some(outputs))
    }

    /// Adds the files of a binary to the target folder.
    pub(super) async fn add(&self, built: &Built, manifest: Digest) -> Result<(), PrepareError> {
        if self.given.is_some() {
            return Ok(());
        }
        self.check_space().await?;
        let manifest = self.manifest(manifest, &built.folder).await?;
        self.fill(manifest, built.target.clone(), &built.folder, built.way)
            .await
    }

    /// How files come into the target folder of a run; `written_to` says that not only isolated cases see it. Those write to an
    /// overlay of their own.
    fn way(&self, written_to: bool) -> Way {
        if self.isolator.is_some() && !written_to {
            Way::Link
        } else {
            Way::Copy
        }
    }

    async fn build_view(
        &self,
        folder: Arc<RunFolder>,
        trees: Seen<'_>,
        shared_target: bool,
        way: Way,
    ) -> Result<Built, PrepareError> {
        let target = trees.target;
        let mut target_from = folder.path().join("target");
        let is_action = trees.source.is_none();
        if is_action {
            // Nothing is added to it later.
            target_from = self.shared_tree(target.input, target.manifest, &folder).await?;
        } else {
            self.fill(target.manifest, target_from.clone(), &folder, way)
                .await?;
        }
        let mut folders = vec![Folder {
            at: target.input.path.clone(),
            from: target_from.clone(),
            live: !is_action,
            shared: shared_target,
        }];
        for tree in trees.source.into_iter().chain(trees.others) {
            let from = self.shared_tree(tree.input, tree.manifest, &folder).await?;
            folders.push(Folder {
                at: tree.input.path.clone(),
                from,
                live: false,
                shared: false,
            });
        }
        let spec = ViewSpec {
            folders,
            temp_dirs: Vec::new(),
            scratch: folder.path().join("view"),
        };
        let (holder, isolator) = (folder.clone(), self.isolator.clone());
        let view = blocking(move || {
            let view = View::build_isolated(&spec, isolator);
            drop(holder);
            view
        });
        let view = view
            .await?
            .map_err(|error| PrepareError::other(error.fault(), error.to_string()))?;
        for note in view.notes() {
            tracing::info!("{note}");
        }
        folder.set_view(view);
        Ok(Built {
            way,
            ..Built::new(Arc::new(Place::View(folder.clone())), folder, target_from)
        })
    }

    /// As [`build_view`](Self::build_view), for machines without mount namespaces. A tree that lies in another
    /// on the client does so here, too.
    async fn build_copies(&self, folder: Arc<RunFolder>, trees: Seen<'_>) -> Result<Built, PrepareError> {
        let Seen {
            source,
            target,
            others,
        } = trees;
        let source_to = folder.path().join("source");
        let source_at = source.as_ref().map(|source| &source.input.path);
        let inside = source_at.and_then(|source| target.input.path.strip_prefix(source).ok());
        let target_to = match inside {
            Some(inside) => source_to.join(inside),
            None => folder.path().join("target"),
        };
        let mut moved = vec![(target.input.path.clone(), target_to.clone())];
        if let Some(source) = source {
            moved.push((source.input.path.clone(), source_to.clone()));
            self.fill(source.manifest, source_to, &folder, Way::Copy).await?;
        }
        self.fill(target.manifest, target_to.clone(), &folder, Way::Copy)
            .await?;
        for (index, tree) in others.into_iter().enumerate() {
            let to = folder.path().join(format!("folder-{index}"));
            self.fill(tree.manifest, to.clone(), &folder, Way::Copy).await?;
            moved.push((tree.input.path.clone(), to));
        }
        let place = Arc::new(Place::Remapped {
            folder: folder.clone(),
            remap: Remap::new(moved),
        });
        Ok(Built::new(place, folder, target_to))
    }

    async fn tree<'a>(
        &self,
        input: &'a brief::InputTree,
        folder: &RunFolder,
    ) -> Result<Tree<'a>, PrepareError> {
        let manifest = match input.manifest {
            Some(digest) => self.manifest(digest, folder).await?,
            None => Manifest::default(),
        };
        Ok(Tree { input, manifest })
    }

    async fn manifest(&self, digest: Digest, folder: &RunFolder) -> Result<Manifest, PrepareError> {
        let manifest = self.fetcher.manifest(digest).await?;
        self.janitor.keep(
            folder.path(),
            manifest.files().map(|(digest, _)| digest).chain([digest]),
        );
        Ok(manifest)
    }

    /// A tree of hard links that runs share; it is kept for as long as this run goes on.
    async fn shared_tree(
        &self,
        input: &brief::InputTree,
        manifest: Manifest,
        folder: &Arc<RunFolder>,
    ) -> Result<PathBuf, PrepareError> {
        let digest = input.manifest.unwrap_or_else(|| manifest.digest());
        if self.isolator.is_none() {
            // Cases could reach the worker's folder: what one has done to a tree must not be there for others.
            let path = folder.path().join(format!("tree-{digest}"));
            self.link(manifest, path.clone(), folder, |_| ()).await?;
            return Ok(path);
        }
        if !self.has_intact(&digest, &manifest).await? {
            let (trees, path) = (self.trees.clone(), self.trees.place(&digest));
            let add = move |path: &Path| drop(trees.add(digest, path.to_owned()));
            self.link(manifest, path, folder, add).await?;
        }
        let gone = || PrepareError::unstable(&folder.path().join("tree"), &[digest]);
        let tree = self.trees.find(&digest).ok_or_else(gone)?;
        let path = tree.path().to_owned();
        folder.hold(tree);
        Ok(path)
    }

    /// Whether there is a tree of this manifest. One whose files something has changed since counts as none: it is their inodes
    /// that a run would see, whatever the store has in their place by now.
    async fn has_intact(&self, digest: &Digest, manifest: &Manifest) -> Result<bool, PrepareError> {
        let Some(tree) = self.trees.find(digest) else {
            return Ok(false);
        };
        let (held, manifest, store) = (tree.clone(), manifest.clone(), self.store.clone());
        let is_intact = blocking(move || is_intact(held.path(), &manifest, &store)).await?;
        if !is_intact {
            tracing::warn!(tree = %tree.path().display(), "a tree was found damaged, and is built anew");
            self.trees.forget(digest, &tree);
        }
        Ok(is_intact)
    }

    /// Builds a tree of hard links at `to`, which must not exist.
    async fn link(
        &self,
        manifest: Manifest,
        to: PathBuf,
        folder: &Arc<RunFolder>,
        built: impl Fn(&Path) + Send + Sync + 'static,
    ) -> Result<(), PrepareError> {
        let path = to.clone();
        self.built(
            &Arc::new(manifest),
            &path,
            folder,
            move |manifest, store| match materialise(manifest, store, &to) {
                Ok(_) => {
                    // Here, where nothing is cancelled: a tree that nobody knows of would stay.
                    built(&to);
                    Ok(Vec::new())
                }
                Err(MaterialiseError::Missing { digests, .. }) => Ok(digests),
                Err(error) => Err(error.into()),
            },
        )
        .await
    }

    /// Adds files to `to`, which may hold others.
    async fn fill(
        &self,
        manifest: Manifest,
        to: PathBuf,
        folder: &Arc<RunFolder>,
        way: Way,
    ) -> Result<(), PrepareError> {
        let (path, base) = (to.clone(), folder.path().to_owned());
        let manifest = Arc::new(manifest);
        self.built(&manifest, &path, folder, move |manifest, store| {
            std::fs::create_dir_all(&base)
                .and_then(|()| make_folders(&base, &to))
                .map_err(|cause| PrepareError::io("create", &to, &cause))?;
            add_files(manifest, store, &to, way)
        })
        .await?;
        let demanded = self.on_demand.place(folder.run(), &manifest, &path).await?;
        folder.add_demanded(demanded);
        Ok(())
    }

    /// Fetches what is missing and calls `build`, until it says that no blob is missing.
    async fn built(
        &self,
        manifest: &Arc<Manifest>,
        path: &Path,
        folder: &Arc<RunFolder>,
        build: impl Fn(&Manifest, &BlobStore) -> Result<Vec<Digest>, PrepareError> + Send + Sync + 'static,
    ) -> Result<(), PrepareError> {
        let build = Arc::new(build);
        let mut missing = Vec::new();
        for _ in 0..BUILDS {
            self.fetcher.fetch(manifest.files()).await?;
            let (manifest, store, build) = (manifest.clone(), self.store.clone(), build.clone());
            // Held by what blocks, which goes on when this future is dropped: the folder must not be removed
            // while it is being filled.
            let holder = folder.clone();
            missing = blocking(move || {
                let missing = build(&manifest, &store);
                drop(holder);
                missing
            })
            .await??;
            if missing.is_empty() {
                return Ok(());
            }
            tracing::warn!(blobs = missing.len(), path = %path.display(), "damaged blobs are fetched again");
        }
        Err(PrepareError::unstable(path, &missing))
    }

    async fn check_space(&self) -> Result<(), PrepareError> {
        let (path, free_bytes_min) = (self.data_dir.path().to_owned(), self.free_bytes_min);
        blocking(move || {
            let space = statvfs(&path)
                .map_err(|errno| PrepareError::io("look at the disk of", &path, &errno.into()))?;
            let free_bytes = space.f_bavail.saturating_mul(space.f_frsize);
            if free_bytes < free_bytes_min {
                return Err(PrepareError::little_space(&path, free_bytes, free_bytes_min));
            }
            Ok(())
        })
        .await?
    }
}

/// Prepares to isolate cases, also from the worker's own folder.
fn isolator(settings: &Shipped, data_dir: &DataDir) -> (Option<Arc<Isolator>>, Vec<String>) {
    let mut hidden = settings.isolation.hidden.clone();
    hidden.push(data_dir.path().to_owned());
    let isolation = Isolation {
        hidden,
        ..settings.isolation.clone()
    };
    Isolator::new(isolation, &data_dir.path().join("runs"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::testing;
    use std::ffi::OsStr;
    use thresh_cas::{Entry, EntryKind};
    use thresh_core::id::RunId;
    use thresh_proto::convert::digest_to_wire;
    use thresh_proto::v1;

    const SOURCE: &str = "/thresh-test-client/remapped";

    fn tree(store: &BlobStore, path: &str, content: &[u8]) -> Digest {
        let kind = EntryKind::File {
            digest: Digest::of(content),
            size: content.len() as u64,
            executable: false,
        };
        store.put_bytes(content).unwrap();
        let manifest = Manifest::new(vec![Entry {
            path: path.into(),
            kind,
        }])
        .unwrap();
        store.put_bytes(&manifest.encode()).unwrap()
    }

    #[tokio::test]
    async fn without_namespaces_trees_are_copies_at_other_paths() {
        let data = tempfile::tempdir().unwrap();
        let nowhere = Coordinator::by("nowhere", || async { Err("not to be asked".into()) });
        let settings = Shipped::in_folder(data.path());
        let mut inputs = ShippedInputs::open(&settings, nowhere).unwrap();
        inputs.views = Support::None("forbidden".into());
        assert_eq!(inputs.remap_cause(), Some("forbidden"));
        let store = inputs.store.clone();
        let mut header = testing::in_place_header(RunId::from_u128(1));
        header.inputs = Some(v1::Inputs {
            source_root: SOURCE.into(),
            target_root: format!("{SOURCE}/target"),
            source_manifest: digest_to_wire(tree(&store, "data.txt", b"source")),
            target_manifest: digest_to_wire(tree(&store, "shared.txt", b"target")),
            folders: vec![v1::InputFolder {
                path: "/toolchain".into(),
                ..Default::default()
            }],
            ..Default::default()
        });
        let built = inputs.build(&testing::brief(header)).await.unwrap();
        inputs
            .add(&built, tree(&store, "deps/bin", b"binary"))
            .await
            .unwrap();

        let here = |path: &str| PathBuf::from(built.place.map(OsStr::new(path)));
        let read = |path: String| std::fs::read_to_string(here(&path)).unwrap();
        assert_eq!(read(format!("{SOURCE}/data.txt")), "source");
        assert_eq!(read(format!("{SOURCE}/target/shared.txt")), "target");
        assert_eq!(read(format!("{SOURCE}/target/deps/bin")), "binary");
        assert!(here(&format!("{SOURCE}/target")).starts_with(here(SOURCE)));
        assert!(here("/toolchain").is_dir());
        std::fs::write(here(&format!("{SOURCE}/data.txt")), "changed").unwrap();
        assert_eq!(
            store.reader(&Digest::of(b"source")).unwrap().read_all().unwrap(),
            b"source"
        );
        let case = built.place.case().unwrap();
        assert!(case.temp_dir().unwrap().is_dir());

        let folder = built.folder.path().to_owned();
        drop((case, built));
        inputs.close();
        assert!(!folder.exists());
    }
}
