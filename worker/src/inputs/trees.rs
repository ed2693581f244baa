//! Trees that runs share: each is built once, of hard links into the blob store, and stays for a while when no run uses it.
//!
//! A tree is only ever shown below an overlay, or copied: nobody writes to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thresh_core::digest::Digest;

/// So many trees that no run uses are kept.
const IDLE_MAX: usize = 32;

/// The trees of a worker. Clones share everything.
#[derive(Clone, Debug)]
pub(super) struct Trees {
    folder: PathBuf,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    trees: BTreeMap<Digest, Arc<SharedTree>>,
    /// Counts uses.
    uses: u64,
}

/// A tree. It stays at least for as long as someone has this.
#[derive(Debug)]
pub(super) struct SharedTree {
    path: PathBuf,
    last_use: Mutex<u64>,
    /// It is not given to others any more, and goes with the last who has it.
    is_forgotten: AtomicBool,
}

impl Drop for SharedTree {
    fn drop(&mut self) {
        if *self.is_forgotten.get_mut() {
            remove(&self.path);
        }
    }
}

impl SharedTree {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Trees {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            known: Arc::default(),
        }
    }

    /// The tree of the manifest with this digest, if it is there.
    pub(super) fn find(&self, manifest: &Digest) -> Option<Arc<SharedTree>> {
        let mut known = self.known();
        known.uses += 1;
        let tree = known.trees.get(manifest)?.clone();
        *tree.last_use.lock().unwrap_or_else(PoisonError::into_inner) = known.uses;
        Some(tree)
    }

    /// Where to build a tree that is not there yet: nobody else builds there.
    pub(super) fn place(&self, manifest: &Digest) -> PathBuf {
        let once = uuid::Uuid::new_v4().as_u128() as u32;
        self.folder.join(format!("{manifest}-{once:08x}"))
    }

    /// Takes in a tree that was built at `path`. Where another was faster, that one counts, and this one goes.
    pub(super) fn add(&self, manifest: Digest, path: PathBuf) -> Arc<SharedTree> {
        let tree = {
            let mut known = self.known();
            known.uses += 1;
            let last_use = Mutex::new(known.uses);
            let own = SharedTree {
                path: path.clone(),
                last_use,
                is_forgotten: AtomicBool::new(false),
            };
            known
                .trees
                .entry(manifest)
                .or_insert_with(|| Arc::new(own))
                .clone()
        };
        if tree.path != path {
            remove(&path);
        }
        tree
    }

    /// A tree that was found damaged is not to be found again.
    pub(super) fn forget(&self, manifest: &Digest, tree: &Arc<SharedTree>) {
        let mut known = self.known();
        let is_same = known
            .trees
            .get(manifest)
            .is_some_and(|known| Arc::ptr_eq(known, tree));
        let forgotten = is_same.then(|| known.trees.remove(manifest)).flatten();
        if let Some(forgotten) = forgotten {
            forgotten.is_forgotten.store(true, Ordering::Relaxed);
        }
    }

    /// Removes trees that no run uses: those that were longest unused, until few are left, or all of them.
    pub(super) fn trim(&self, all: bool) {
        let kept = if all { 0 } else { IDLE_MAX };
        let unused = {
            let mut known = self.known();
            let idle = known
                .trees
                .iter()
                .filter(|(_, tree)| Arc::strong_count(tree) == 1);
            let last_use = |tree: &SharedTree| *tree.last_use.lock().unwrap_or_else(PoisonError::into_inner);
            let mut idle: Vec<(u64, Digest)> = idle.map(|(digest, tree)| (last_use(tree), *digest)).collect();
            idle.sort_unstable();
            idle.truncate(idle.len().saturating_sub(kept));
            let taken = idle.iter().filter_map(|(_, digest)| known.trees.remove(digest));
            taken.collect::<Vec<_>>()
        };
        unused.iter().for_each(|tree| remove(&tree.path));
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Each change is a single step, so that a panic elsewhere leaves nothing half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove(path: &Path) {
    if let Err(cause) = crate::removal::remove(path) {
        tracing::warn!(folder = %path.display(), %cause, "a tree could not be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(trees: &Trees, number: u32) -> (Digest, Arc<SharedTree>) {
        let digest = Digest::of(&number.to_le_bytes());
        let path = trees.place(&digest);
        std::fs::create_dir_all(&path).unwrap();
        (digest, trees.add(digest, path))
    }

    #[test]
    fn what_is_forgotten_goes_with_who_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let trees = Trees::new(folder.path().to_owned());
        let (digest, tree) = built(&trees, 1);
        trees.forget(&digest, &tree);
        assert!(trees.find(&digest).is_none() && tree.path().exists());
        let path = tree.path().to_owned();
        drop(tree);
        assert!(!path.exists());
    }

    #[test]
    fn those_that_were_longest_unused_go_and_none_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let trees = Trees::new(folder.path().to_owned());
        let count = IDLE_MAX as u32 + 3;
        let (used, held) = built(&trees, 0);
        let all: Vec<Digest> = (1..count).map(|number| built(&trees, number).0).collect();
        assert!(trees.find(&all[0]).is_some());
        trees.trim(false);
        assert!(trees.find(&used).is_some() && held.path().is_dir());
        let gone = all.iter().filter(|digest| trees.find(digest).is_none());
        assert_eq!(gone.collect::<Vec<_>>(), [&all[1], &all[2]]);
        trees.trim(true);
        assert!(all.iter().all(|digest| trees.find(digest).is_none()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn of_two_that_are_built_at_once_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let trees = Trees::new(folder.path().to_owned());
        let (_, first) = built(&trees, 1);
        let (_, second) = built(&trees, 1);
        assert_eq!(first.path(), second.path());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
