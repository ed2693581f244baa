//! Which files cases of this workspace write, so that who reads another's is not taken for one that depends on what is there.
//!
//! Such a reader depends on the writer: on its code, and on what that reads in turn. A record of paths does not say so: when a run begins, the file is
//! as the writer left it last. So passes of such readers have no record, and hold while nothing changes in the workspace at all.
//!
//! Writers are remembered from run to run, as one that is reused writes nothing. A reader that passed before a writer was added is found out when both
//! have run once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thresh_cas::replace_file;
use thresh_core::observe::{Access, Entry, Kind, Observation};

use super::text::{path_of, text_of};

/// The most paths that are remembered of one case. Of one that writes more, folders stand for what is in them.
const PATHS_MAX: usize = 1_000;

/// Who writes which files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// By writer.
    paths: BTreeMap<String, BTreeSet<PathBuf>>,
    /// By path.
    writers: BTreeMap<PathBuf, BTreeSet<String>>,
}

impl Written {
    /// Reads what is remembered; what is not there, or damaged, is nothing.
    pub(crate) fn load(file: &Path) -> Self {
        let bytes = fs::read(file).unwrap_or_default();
        let kept: BTreeMap<String, Vec<String>> = serde_json::from_slice(&bytes).unwrap_or_default();
        let mut written = Self::default();
        for (writer, paths) in kept {
            written.set(&writer, paths.iter().filter_map(|path| path_of(path)).collect());
        }
        written
    }

    /// Remembers it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn save(&self, file: &Path) -> io::Result<()> {
        let texts = |paths: &BTreeSet<PathBuf>| paths.iter().map(|path| text_of(path)).collect();
        let kept: BTreeMap<&str, Vec<String>> = self
            .paths
            .iter()
            .map(|(writer, paths)| (writer.as_str(), texts(paths)))
            .collect();
        replace_file(file, &serde_json::to_vec(&kept)?)
    }

    /// Forgets writers that are not there any more.
    pub(crate) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        let gone: Vec<String> = self
            .paths
            .keys()
            .filter(|writer| !is_there(writer))
            .cloned()
            .collect();
        gone.iter().for_each(|writer| self.set(writer, BTreeSet::new()));
    }

    /// Takes over what a case was seen to write. Of one that could not be observed, what it wrote before is believed.
    pub(crate) fn learn(&mut self, case: &str, observation: &Observation) {
        if observation.unobservable.is_none() {
            let entries = observation.entries.iter();
            let written = entries.filter(|(_, entry)| is_written(entry));
            self.set(case, few(written.map(|(path, _)| path.clone()).collect()));
        }
    }

    /// A file that a case has read or asked about, and that another case writes, and which one.
    pub(crate) fn read_of_another<'w>(
        &'w self,
        case: &str,
        observation: &Observation,
    ) -> Option<(PathBuf, &'w str)> {
        let mut read = observation.entries.iter().filter(|(_, entry)| is_read(entry));
        read.find_map(|(path, _)| Some((path.clone(), self.other_writer(case, path)?)))
    }

    /// Who writes a path, or a folder in which it is, besides `case`.
    fn other_writer(&self, case: &str, path: &Path) -> Option<&str> {
        let mut writers = path
            .ancestors()
            .filter_map(|path| self.writers.get(path))
            .flatten();
        writers.find(|writer| *writer != case).map(String::as_str)
    }

    fn set(&mut self, writer: &str, paths: BTreeSet<PathBuf>) {
        for path in self.paths.remove(writer).unwrap_or_default() {
            if let Some(writers) = self.writers.get_mut(&path) {
                writers.remove(writer);
                if writers.is_empty() {
                    self.writers.remove(&path);
                }
            }
        }
        for path in &paths {
            self.writers
                .entry(path.clone())
                .or_default()
                .insert(writer.to_owned());
        }
        if !paths.is_empty() {
            self.paths.insert(writer.to_owned(), paths);
        }
    }
}

/// Puts folders in the place of what is in them, those with most in them first, until there are few enough.
fn few(mut paths: BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    while paths.len() > PATHS_MAX {
        let mut inside: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
        for path in &paths {
            let folder = path.parent().unwrap_or(path);
            inside.entry(folder.to_owned()).or_default().push(path.clone());
        }
        // One for one gains nothing yet, so only the deepest climb.
        let deepest = paths.iter().map(|path| path.iter().count()).max();
        let is_scattered = inside.values().all(|inside| inside.len() == 1);
        let mut folders: Vec<_> = inside.into_iter().collect();
        folders.sort_by_key(|(_, inside)| std::cmp::Reverse(inside.len()));
        for (folder, inside) in folders {
            let is_worth_it = match is_scattered {
                true => Some(inside[0].iter().count()) == deepest,
                false => inside.len() > 1,
            };
            if paths.len() <= PATHS_MAX || !is_worth_it {
                continue;
            }
            for path in &inside {
                paths.remove(path);
            }
            paths.insert(folder);
        }
    }
    paths
}

/// Whether what is at a path matters to a case, which another may have brought about. Not what it makes or writes over whatever is
/// there; and folders are there for many.
fn is_read(entry: &Entry) -> bool {
    let has = |access| entry.accesses.contains(access);
    let is_folder = entry.stamp.is_some_and(|stamp| stamp.kind == Kind::Folder);
    has(Access::Content)
        || has(Access::Executed)
        || has(Access::Link)
        || has(Access::Metadata) && !is_folder && !entry.changed
        || has(Access::Absent) && !entry.changed
}

/// Whether a case has made what is at a path, or written to the file there. What it adds to a folder that was there is at a path of its own.
fn is_written(entry: &Entry) -> bool {
    entry.changed && entry.stamp.is_none_or(|stamp| stamp.kind != Kind::Folder)
}

#[cfg(test)]
mod tests {
    use thresh_core::observe::Stamp;

    use super::*;

    fn observation(entries: &[(&str, Access, bool)]) -> Observation {
        let entry = |access: &Access, changed: bool| Entry {
            accesses: [*access].into_iter().collect(),
            stamp: None,
            names: None,
            changed,
        };
        Observation {
            entries: entries
                .iter()
                .map(|(path, access, changed)| (PathBuf::from(path), entry(access, *changed)))
                .collect(),
            ..Observation::default()
        }
    }

    #[test]
    fn who_reads_what_another_has_written_is_found_also_in_a_folder_that_the_other_made() {
        let mut written = Written::default();
        written.learn(
            "writer",
            &observation(&[
                ("/t/made", Access::Absent, true),
                ("/t/f", Access::Replaced, true),
            ]),
        );
        let read = |path: &str, access| observation(&[(path, access, false)]);
        for path in ["/t/f", "/t/made", "/t/made/deep/g"] {
            let found = written.read_of_another("reader", &read(path, Access::Content));
            assert_eq!(found, Some((PathBuf::from(path), "writer")));
            assert_eq!(
                written.read_of_another("writer", &read(path, Access::Content)),
                None
            );
        }
        assert_eq!(
            written.read_of_another("reader", &read("/t/g", Access::Content)),
            None
        );
        for (access, is_read) in [(Access::Absent, true), (Access::Replaced, false)] {
            let found = written.read_of_another("reader", &read("/t/f", access));
            assert_eq!(found.is_some(), is_read, "{access:?}");
        }
    }

    #[test]
    fn who_asks_about_a_file_of_another_depends_on_it_and_not_who_asks_about_a_folder() {
        let mut written = Written::default();
        written.learn("writer", &observation(&[("/t/made", Access::Absent, true)]));
        for (kind, is_read) in [(Kind::File, true), (Kind::Folder, false)] {
            let mut asked = observation(&[("/t/made/x", Access::Metadata, false)]);
            for entry in asked.entries.values_mut() {
                entry.stamp = Some(Stamp {
                    kind,
                    mode: 0o644,
                    device: 1,
                    inode: 1,
                    size: 1,
                    modified_ns: 1,
                    changed_ns: 1,
                });
            }
            let found = written.read_of_another("reader", &asked);
            assert_eq!(found.is_some(), is_read, "{kind:?}");
        }
    }

    #[test]
    fn of_who_writes_very_many_files_the_folders_are_remembered() {
        let mut written = Written::default();
        let paths: Vec<String> = (0..2 * PATHS_MAX).map(|n| format!("/t/many/{n}")).collect();
        let mut entries: Vec<(&str, Access, bool)> = (paths.iter())
            .map(|path| (path.as_str(), Access::Replaced, true))
            .collect();
        entries.push(("/t/few/one", Access::Replaced, true));
        written.learn("writer", &observation(&entries));
        let found = |path| {
            let read = observation(&[(path, Access::Content, false)]);
            written.read_of_another("reader", &read).is_some()
        };
        assert!(found("/t/many/1999") && found("/t/few/one"));
        assert!(!found("/t/few/two") && !found("/t/x"));
        let scattered = (0..2 * PATHS_MAX).map(|n| PathBuf::from(format!("/t/{n}/file")));
        assert!(few(scattered.collect()).len() <= PATHS_MAX);
    }

    #[test]
    fn writers_are_remembered_until_they_write_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("written");
        assert_eq!(Written::load(&file), Written::default());
        let mut written = Written::default();
        written.learn("a", &observation(&[("/t/f", Access::Replaced, true)]));
        written.learn("b", &observation(&[("/t/f", Access::Content, true)]));
        written.save(&file).unwrap();
        let mut written = Written::load(&file);
        let read = observation(&[("/t/f", Access::Content, false)]);
        assert_eq!(
            written.read_of_another("a", &read),
            Some((PathBuf::from("/t/f"), "b"))
        );
        written.learn("b", &observation(&[]));
        assert_eq!(written.read_of_another("a", &read), None);
        assert!(written.read_of_another("c", &read).is_some());
        written.retain(|writer| writer != "a");
        assert_eq!(written, Written::default());
        fs::write(&file, "{").unwrap();
        assert_eq!(Written::load(&file), Written::default());
    }
}
