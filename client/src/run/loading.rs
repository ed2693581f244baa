//! From a build to its suite: which binaries, which cases, and what was remembered of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use thresh_cas::{DigestMemo, Snapshot, digest_many};
use thresh_core::digest::Digest;
use thresh_core::id::RunId;
use thresh_proto::v1;
use thresh_reach::Locations;
use tokio::runtime::Handle;

use super::error::RunError;
use super::prepare::{BuildSource, Prepared};
use super::session::Session;
use crate::command::CommandContext;
use crate::list::{CaseList, Listing, TestBinary, list_missing};
use crate::project::{PanicLocations, WorkspaceState};
use crate::reuse::{CodeKeys, Outside, OutsideInputs, SuiteFiles};
use crate::suite::{Suite, SuiteParts};

/// The most test lists that are asked for at once.
const LISTS_MAX: usize = 1_000;

/// A suite with the digests of all that its cases use.
pub(super) struct Loaded {
    pub(super) suite: Suite,
    pub(super) files: SuiteFiles,
    pub(super) code: CodeKeys,
    /// Which panic locations count in `code`.
    pub(super) locations: Locations,
    pub(super) snapshot: Snapshot,
    /// None where it is not known what cases may use outside the workspace: then nothing is reused.
    pub(super) outside: Option<Outside>,
    pub(super) memo: DigestMemo,
    #[expect(dead_code, reason = "an unpacked archive's files live as long as it does")]
    pub(super) build: crate::build::Build,
}

impl Prepared {
    /// Waits for the build and makes its suite. Blocks; `session` is asked through `handle`.
    pub(super) fn load(
        &mut self,
        session: Option<&mut Session>,
        run: RunId,
        handle: &Handle,
    ) -> Result<Loaded, RunError> {
        let build = self.take_build()?;
        let excluded = self.excluded();
        let memo = std::mem::replace(&mut self.memo, std::thread::spawn(DigestMemo::default));
        let mut source_memo = memo.join().expect("hashing files does not panic");
        let target_memo = target_memo(&self.state);
        let mut memo = DigestMemo::load(&target_memo);
        let root = self.workspace.root.as_std_path();
        // The files that were hashed during the build may have been written by it; this looks at all again.
        let (snapshot, listed) = rayon::join(
            || {
                timed("hash the workspace", || {
                    Snapshot::of_workspace(root, &excluded, &mut source_memo)
                })
            },
            || self.make_suite(&build, session, run, handle, &mut memo),
        );
        let (suite, snapshot) = (listed?, snapshot?);
        let files = timed("hash the build", || SuiteFiles::digest(&suite, &mut memo))?;
        let locations = self.locations(&build);
        let code = timed("read what cases can reach", || {
            CodeKeys::load(&files, &self.options.state.reach(), locations)
        });
        let outside = OutsideInputs {
            root: &self.workspace.root,
            manifest: snapshot.manifest(),
            excluded: &excluded,
            graph: &self.workspace.graph,
            suite: &suite,
            surroundings: &self.options.surroundings,
        };
        let outside = timed("hash what is outside", || {
            Outside::digest(&outside, &mut source_memo)
        });
        let outside = outside
            .inspect_err(|error| tracing::warn!("no case is reused: failed to {error}"))
            .ok();
        for (memo, path) in [
            (&mut memo, &target_memo),
            (&mut source_memo, &self.state.digest_memo()),
        ] {
            save(memo, path);
        }
        Ok(Loaded {
            suite,
            files,
            code,
            locations,
            snapshot,
            outside,
            memo,
            build,
        })
    }

    /// Which panic locations count.
    fn locations(&self, build: &crate::build::Build) -> Locations {
        let is_plain = || {
            let flags = self
                .workspace
                .cargo_config
                .flags_optimise(&self.options.surroundings);
            build.is_unoptimised && !flags
        };
        match self.project.reuse.panic_locations {
            PanicLocations::Ignore if is_plain() => Locations::IgnoreUnlessObserved,
            PanicLocations::Ignore | PanicLocations::Exact => Locations::Exact,
        }
    }

    fn take_build(&mut self) -> Result<crate::build::Build, RunError> {
        // What is left in its place is never looked at: the build is taken once, by value of the run.
        let source = std::mem::replace(&mut self.source, BuildSource::Taken);
        match source {
            BuildSource::Cargo(building) => Ok(timed("build", || building.finish(&self.workspace))?),
            BuildSource::Archive(build) => Ok(*build),
            BuildSource::Taken => Err(RunError::Thread("the build was taken already".to_owned())),
        }
    }

    fn make_suite(
        &self,
        build: &crate::build::Build,
        session: Option<&mut Session>,
        run: RunId,
        handle: &Handle,
        memo: &mut DigestMemo,
    ) -> Result<Suite, RunError> {
        let (workspace, profile) = (&self.workspace, &self.profile);
        let binaries = TestBinary::all(workspace, build)?;
        let context = CommandContext::new(
            workspace,
            build,
            &self.config,
            profile,
            &self.options.surroundings,
        )?;
        let listings = Listing::all(&binaries, &self.selection, profile, &context);
        let lists = match session {
            None => timed("list", || list_missing(&listings, BTreeMap::new(), run))?,
            Some(session) => {
                let keys = timed("hash the test binaries", || list_keys(&listings, &binaries, memo))?;
                let known = timed("look up lists", || handle.block_on(known_lists(session, &keys)));
                let was_known = known.clone();
                let lists = timed("list", || list_missing(&listings, known, run))?;
                handle.block_on(keep_new(session, &keys, &was_known, &lists));
                lists
            }
        };
        let parts = SuiteParts {
            context: &context,
            binaries: &binaries,
            profile,
            selection: &self.selection,
            forced: self.options.forced,
        };
        Ok(timed("assemble the suite", || Suite::assemble(parts, &lists)))
    }
}

/// The memo of the build's files. It is a file of its own, so that both can be used at the same time.
fn target_memo(state: &WorkspaceState) -> PathBuf {
    state.root().join("build-digests")
}

pub(super) fn save(memo: &mut DigestMemo, path: &Path) {
    if let Err(error) = memo.save(path) {
        tracing::warn!("digests are not remembered: failed to {error}");
    }
}

/// The keys under which lists are kept, by the binary's position.
fn list_keys(
    listings: &[Listing],
    binaries: &[TestBinary<'_>],
    memo: &mut DigestMemo,
) -> Result<BTreeMap<usize, Digest>, RunError> {
    let paths: Vec<PathBuf> = listings
        .iter()
        .map(|listing| binaries[listing.binary].path().as_std_path().to_owned())
        .collect();
    let digests = digest_many(&paths, memo).map_err(crate::reuse::KeyError::from)?;
    let keys = listings.iter().zip(digests);
    Ok(keys
        .filter_map(|(listing, file)| Some((listing.binary, listing.key(file.digest)?)))
        .collect())
}

/// The lists that are kept. A store that fails costs time, not the run.
async fn known_lists(session: &mut Session, keys: &BTreeMap<usize, Digest>) -> BTreeMap<usize, CaseList> {
    let asked: Vec<Digest> = keys.values().copied().collect();
    let kept = match session.kept(v1::Kept::TestLists, &asked, LISTS_MAX).await {
        Ok(kept) => kept,
        Err(error) => {
            tracing::warn!("every binary is listed: failed to {error}");
            return BTreeMap::new();
        }
    };
    keys.iter()
        .filter_map(|(binary, key)| Some((*binary, CaseList::from_bytes(kept.get(key)?)?)))
        .collect()
}

async fn keep_new(
    session: &mut Session,
    keys: &BTreeMap<usize, Digest>,
    known: &BTreeMap<usize, CaseList>,
    lists: &BTreeMap<usize, CaseList>,
) {
    let new = lists.iter().filter(|(binary, _)| !known.contains_key(binary));
    let new = new
        .filter_map(|(binary, list)| Some((*keys.get(binary)?, list.to_bytes())))
        .collect();
    if let Err(error) = session.keep(v1::Kept::TestLists, new).await {
        tracing::warn!("lists are not kept: failed to {error}");
    }
}

/// Runs a step and logs how long it took.
pub(super) fn timed<T>(step: &'static str, act: impl FnOnce() -> T) -> T {
    let started = std::time::Instant::now();
    let value = act();
    tracing::debug!(step, milliseconds = started.elapsed().as_secs_f64() * 1e3);
    value
}
