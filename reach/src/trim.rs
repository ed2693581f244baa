//! Keeping the folder of analyses within bounds.

use std::fs::{self, Metadata};
use std::io;
use std::path::Path;
use std::time::SystemTime;

/// Removes the longest unused files of a folder of analyses, and of what is remembered of archives there, until what is left
/// has at most `bytes_max` bytes. What goes is made again when it is needed; other processes may use the folder meanwhile.
///
/// # Errors
/// The folder cannot be read, or a file not removed.
pub fn trim(folder: &Path, bytes_max: u64) -> io::Result<()> {
    let mut files = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in unless_gone(fs::read_dir(&folder))?.into_iter().flatten() {
            let entry = entry?;
            let Some(metadata) = unless_gone(entry.metadata())? else {
                continue;
            };
            // Links are the program's other names.
            if metadata.is_dir() {
                open.push(entry.path());
            } else if metadata.is_file() {
                files.push((last_use(&metadata), metadata.len(), entry.path()));
            }
        }
    }
    let mut bytes: u64 = files.iter().map(|(_, length, _)| length).sum();
    files.sort();
    for (_, length, path) in files {
        if bytes <= bytes_max {
            break;
        }
        unless_gone(fs::remove_file(&path))?;
        bytes -= length;
    }
    Ok(())
}

/// Marks a file as used, where that is not known to be so within the last day.
pub(crate) fn mark_used(path: &Path) {
    const STEP: u64 = 24 * 60 * 60;
    let age = fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .map(|time| time.elapsed().unwrap_or_default());
    if age.is_ok_and(|age| age.as_secs() > STEP) {
        // Where that fails it goes too early, and is made again.
        let _ = fs::File::options()
            .append(true)
            .open(path)
            .and_then(|file| file.set_modified(SystemTime::now()));
    }
}

fn last_use(metadata: &Metadata) -> SystemTime {
    metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH)
}

fn unless_gone<T>(done: io::Result<T>) -> io::Result<Option<T>> {
    match done {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;

    fn file(folder: &Path, name: &str, age_days: u64) -> PathBuf {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, [0; 10]).unwrap();
        let time = SystemTime::now() - Duration::from_secs(age_days * 24 * 60 * 60);
        let file = fs::File::options().append(true).open(&path).unwrap();
        file.set_modified(time).unwrap();
        path
    }

    #[test]
    fn the_longest_unused_go_and_names_stay() {
        let folder = tempfile::tempdir().unwrap();
        let old = file(folder.path(), "old.reach", 9);
        let used = file(folder.path(), "used.reach", 8);
        let archive = file(folder.path(), "archives/3/x", 7);
        let new = file(folder.path(), "new.reach", 1);
        let name = folder.path().join("name");
        std::os::unix::fs::symlink("/thresh", &name).unwrap();
        mark_used(&used);
        trim(folder.path(), 25).unwrap();
        assert_eq!(
            [&old, &used, &archive, &new].map(|path| path.exists()),
            [false, true, false, true]
        );
        assert!(fs::symlink_metadata(name).is_ok());
        trim(&folder.path().join("nowhere"), 0).unwrap();
    }
}
