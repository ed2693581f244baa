//! The worker's own folder.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use thresh_core::id::RunId;

use super::error::DataDirError;
use crate::exec;

/// The worker's own folder, held against others for as long as this lives.
///
/// Layout: `lock` (held; the holder's pid and the mark of its processes), `blobs/` (kept for later runs),
/// `runs/RUN/` (gone with the run), `trees/` (built of the blobs, gone with the worker).
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Takes the folder, makes it if it is missing, and removes what a killed predecessor left: the folders of
    /// its runs, and the processes of its cases.
    pub(super) fn open(path: &Path) -> Result<Self, DataDirError> {
        let runs = path.join("runs");
        fs::create_dir_all(&runs).map_err(failed("create", &runs))?;
        // Mount points and views need a path that is right from everywhere.
        let path = fs::canonicalize(path).map_err(failed("find", path))?;
        let lock = take_lock(&path)?;
        remove_all_in(&path.join("runs"))?;
        let trees = path.join("trees");
        fs::create_dir_all(&trees).map_err(failed("create", &trees))?;
        remove_all_in(&trees)?;
        Ok(Self { path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.path.join("blobs")
    }

    pub(super) fn trees(&self) -> PathBuf {
        self.path.join("trees")
    }

    /// The folder of a run. A worker that meets a run again after a lost connection gets a new one, since the
    /// old one may still be on its way out.
    pub(super) fn run(&self, run: RunId) -> PathBuf {
        let once = uuid::Uuid::new_v4().as_u128() as u32;
        self.path.join("runs").join(format!("{run}-{once:08x}"))
    }
}

fn take_lock(folder: &Path) -> Result<File, DataDirError> {
    let path = folder.join("lock");
    let mut options = File::options();
    let mut lock = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed("open", &path))?;
    let mut holder = String::new();
    let locked = lock.try_lock();
    // What cannot be read tells nothing.
    let _ = lock.read_to_string(&mut holder);
    let mut lines = holder.lines();
    let (pid, mark) = (lines.next().and_then(|pid| pid.parse().ok()), lines.next());
    match locked {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(DataDirError::Locked {
                path: folder.to_owned(),
                pid,
            });
        }
        Err(TryLockError::Error(cause)) => return Err(failed("lock", &path)(cause)),
    }
    // A mark that was not written to its end would match processes of others.
    if let Some(mark) = mark.filter(|mark| mark.len() > 1 && mark.ends_with('-')) {
        exec::kill_leftovers_of(mark);
    }
    let content = format!("{}\n{}\n", std::process::id(), exec::mark_prefix());
    lock.set_len(0)
        .and_then(|()| lock.rewind())
        .and_then(|()| lock.write_all(content.as_bytes()))
        .map_err(failed("write", &path))?;
    Ok(lock)
}

/// Removes what a predecessor left. What cannot be removed is in nobody's way: new folders have other names.
fn remove_all_in(folder: &Path) -> Result<(), DataDirError> {
    for entry in fs::read_dir(folder).map_err(failed("read", folder))?.flatten() {
        let path = entry.path();
        if let Err(cause) = crate::removal::remove(&path) {
            tracing::warn!(path = %path.display(), %cause, "what an earlier worker left could not be removed; remove it by hand");
        }
    }
    Ok(())
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> DataDirError + use<> {
    let path = path.to_owned();
    move |cause| DataDirError::Io { action, path, cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_serves_one_worker_and_is_cleaned_for_the_next() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let first = DataDir::open(&path).unwrap();
        let run = first.run(RunId::from_u128(1));
        fs::create_dir_all(run.join("source")).unwrap();
        let message = DataDir::open(&path).unwrap_err().to_string();
        assert!(
            message.contains(&format!("pid {}", std::process::id())),
            "{message}"
        );
        drop(first);
        DataDir::open(&path).unwrap();
        assert!(!run.exists());
    }

    #[test]
    fn processes_of_a_killed_predecessor_are_killed() {
        let folder = tempfile::tempdir().unwrap();
        let mark = format!("{}-", uuid::Uuid::new_v4().simple());
        fs::write(folder.path().join("lock"), format!("1\n{mark}\n")).unwrap();
        let mut command = std::process::Command::new("sleep");
        command.arg("1000").env(exec::MARK, format!("{mark}7"));
        let (mut left_over, _owned) = exec::spawn_owned(&mut command).unwrap();
        DataDir::open(folder.path()).unwrap();
        assert!(!left_over.wait().unwrap().success());
    }
}
