//! Resolving, recording and the places that are no files, over a tree that is a map.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;
use crate::digest::Digest;

/// What is where. A folder that something is in is there.
#[derive(Default)]
struct Tree(BTreeMap<PathBuf, (Stamp, Option<PathBuf>)>);

impl Tree {
    fn of(files: &[&str]) -> Self {
        let mut tree = Self::default();
        files.iter().for_each(|file| tree.put(file));
        tree
    }

    /// Puts `path`, a folder `path/` or a link `path -> target` there.
    fn put(&mut self, text: &str) {
        let (path, target) = match text.split_once(" -> ") {
            Some((path, target)) => (path, Some(PathBuf::from(target))),
            None => (text, None),
        };
        let kind = match (&target, path.ends_with('/')) {
            (Some(_), _) => Kind::Link,
            (None, true) => Kind::Folder,
            (None, false) => Kind::File,
        };
        let path = Path::new(path.trim_end_matches('/'));
        for folder in path.ancestors().skip(1) {
            if !self.0.contains_key(folder) {
                let stamp = self.stamp(Kind::Folder);
                self.0.insert(folder.to_path_buf(), (stamp, None));
            }
        }
        let stamp = self.stamp(kind);
        self.0.insert(path.to_path_buf(), (stamp, target));
    }

    fn stamp(&self, kind: Kind) -> Stamp {
        let inode = self.0.values().map(|(stamp, _)| stamp.inode).max().unwrap_or(0) + 1;
        Stamp {
            kind,
            mode: 0o644,
            device: 1,
            inode,
            size: 7,
            modified_ns: 1,
            changed_ns: 1,
        }
    }

    fn remove(&mut self, path: &str) {
        self.0.retain(|there, _| !there.starts_with(path));
    }

    fn resolve(&self, path: &str, last: LastLink) -> Resolved {
        resolve(
            Path::new("/w"),
            Path::new(path),
            last,
            &mut |path| match self.0.get(path) {
                None => Seen::Absent,
                Some((stamp, Some(target))) => Seen::Link(*stamp, target.clone()),
                Some((stamp, None)) => Seen::Present(*stamp),
            },
        )
    }

    fn follow(&self, path: &str) -> Resolved {
        self.resolve(path, LastLink::Followed)
    }

    fn itself(&self, path: &str) -> Resolved {
        self.resolve(path, LastLink::Meant)
    }
}

fn links(resolved: &Resolved) -> Vec<&str> {
    resolved
        .links
        .iter()
        .map(|(path, _)| path.to_str().unwrap())
        .collect()
}

fn end(resolved: &Resolved) -> String {
    match &resolved.end {
        End::Present(path, _) => path.display().to_string(),
        End::Absent { path, is_last } => format!("absent {} {is_last}", path.display()),
        End::NotFolder(path, _) => format!("no folder {}", path.display()),
        End::Denied(path, _) => format!("denied {}", path.display()),
        End::Special(path) => format!("special {}", path.display()),
        End::Astray(path) => format!("astray {}", path.display()),
        End::Loop => "loop".to_owned(),
    }
}

/// One line for each entry: the ways, the path, `!` if it was changed.
fn lines(recorder: Recorder) -> Vec<String> {
    let observation = recorder.finish();
    assert_eq!(observation.unobservable, None);
    let line = |(path, entry): (&PathBuf, &Entry)| {
        let ways: Vec<_> = entry
            .accesses
            .iter()
            .map(|access| format!("{access:?}"))
            .collect();
        let changed = if entry.changed { " !" } else { "" };
        format!("{} {}{changed}", ways.join("+"), path.display())
    };
    observation.entries.iter().map(line).collect()
}

fn why(recorder: Recorder) -> Option<UnobservableKind> {
    recorder.finish().unobservable.map(|why| why.kind)
}

#[test]
fn paths_are_resolved_as_the_kernel_does() {
    let tree = Tree::of(&[
        "/w/a/b/file",
        "/w/link -> a/b",
        "/w/far -> /w/link/file",
        "/w/round -> round",
        "/w/nowhere -> gone/x",
        "/w/a/up -> ../a/b/../b",
    ]);
    let cases = [
        ("a/b/file", vec![], "/w/a/b/file"),
        ("/w//a/./b/../b/file", vec![], "/w/a/b/file"),
        ("link/file", vec!["/w/link"], "/w/a/b/file"),
        ("link/../b", vec!["/w/link"], "/w/a/b"),
        ("far", vec!["/w/far", "/w/link"], "/w/a/b/file"),
        ("a/up/file", vec!["/w/a/up"], "/w/a/b/file"),
        ("a/x/y/z", vec![], "absent /w/a/x false"),
        ("a/x", vec![], "absent /w/a/x true"),
        ("nowhere", vec!["/w/nowhere"], "absent /w/gone false"),
        ("a/b/file/x", vec![], "no folder /w/a/b/file"),
        ("a/b/file/", vec![], "no folder /w/a/b/file"),
        ("../../..", vec![], "/"),
        ("/proc/self/x", vec![], "special /proc/self/x"),
        ("/dev/../w/a/b/file", vec![], "astray /dev/../w/a/b/file"),
        ("a/../../proc/self/cwd/../x", vec![], "astray /proc/self/cwd/../x"),
        ("/dev/shm", vec![], "absent /dev false"),
        (".", vec![], "/w"),
    ];
    for (path, expected_links, expected) in cases {
        let resolved = tree.follow(path);
        assert_eq!(
            (links(&resolved), end(&resolved).as_str()),
            (expected_links, expected),
            "{path}"
        );
    }
    assert_eq!(end(&tree.follow("round")), "loop");
}

#[test]
fn a_last_link_can_be_meant_itself() {
    let tree = Tree::of(&["/w/a/file", "/w/link -> a"]);
    assert_eq!(end(&tree.itself("link")), "/w/link");
    let through = tree.itself("link/");
    assert_eq!(
        (links(&through), end(&through).as_str()),
        (vec!["/w/link"], "/w/a")
    );
}

#[test]
fn a_folder_that_may_not_be_searched_is_told() {
    let tree = Tree::of(&["/w/a/"]);
    let resolved = resolve(
        Path::new("/"),
        Path::new("w/a/x"),
        LastLink::Followed,
        &mut |path| match tree.0.get(path) {
            Some((stamp, _)) => Seen::Present(*stamp),
            None => Seen::Denied,
        },
    );
    assert_eq!(end(&resolved), "denied /w/a");
}

#[test]
fn what_is_read_is_an_input() {
    let tree = Tree::of(&["/w/a/file", "/w/link -> a", "/w/dir/x"]);
    let mut recorder = Recorder::default();
    recorder.act(&tree.follow("link/file"), Act::See(Access::Content));
    recorder.act(&tree.follow("link/file"), Act::See(Access::Metadata));
    recorder.act(&tree.itself("link"), Act::See(Access::Metadata));
    recorder.act(&tree.follow("dir"), Act::See(Access::Listing));
    recorder.act(&tree.follow("dir"), Act::See(Access::Content));
    recorder.act(&tree.follow("a/gone/deep"), Act::See(Access::Content));
    assert_eq!(
        lines(recorder),
        [
            "Content+Metadata /w/a/file",
            "Absent /w/a/gone",
            "Metadata+Listing /w/dir",
            "Link /w/link"
        ]
    );
}

#[test]
fn what_the_case_made_is_none_but_its_absence_was() {
    let mut tree = Tree::of(&["/w/old"]);
    let mut recorder = Recorder::default();
    recorder.act(&tree.itself("new"), Act::Make);
    tree.put("/w/new/");
    recorder.act(&tree.follow("new/file"), Act::Extend { reads: false });
    tree.put("/w/new/file");
    recorder.act(&tree.follow("new/file"), Act::See(Access::Content));
    recorder.act(&tree.follow("new/other"), Act::See(Access::Metadata));
    recorder.act(&tree.follow("new"), Act::See(Access::Listing));
    recorder.act(&tree.follow("old"), Act::Replace);
    let stamp = tree.stamp(Kind::File);
    tree.0.insert("/w/old".into(), (stamp, None));
    recorder.act(&tree.follow("old"), Act::See(Access::Content));
    assert_eq!(lines(recorder), ["Absent /w/new !", "Replaced /w/old !"]);
}

#[test]
fn a_write_that_failed_leaves_an_input() {
    let tree = Tree::of(&["/w/file", "/w/dir/inside"]);
    let mut recorder = Recorder::default();
    // None of them came to pass: the same is met again.
    recorder.act(&tree.follow("file"), Act::Replace);
    recorder.act(&tree.follow("file"), Act::See(Access::Content));
    recorder.act(&tree.itself("dir"), Act::Remove);
    recorder.act(&tree.follow("dir/inside"), Act::See(Access::Content));
    assert_eq!(
        lines(recorder),
        [
            "Listing /w/dir !",
            "Content /w/dir/inside",
            "Content+Replaced /w/file !"
        ]
    );
}

#[test]
fn a_write_that_failed_leaves_an_input_whatever_becomes_of_its_mode() {
    let mut tree = Tree::of(&["/w/file"]);
    let mut recorder = Recorder::default();
    recorder.act(&tree.follow("file"), Act::Replace);
    recorder.act(&tree.follow("file"), Act::Change { reads: false });
    let (stamp, _) = tree.0.get_mut(Path::new("/w/file")).unwrap();
    (stamp.mode, stamp.changed_ns) = (0o600, 2);
    recorder.act(&tree.follow("file"), Act::See(Access::Content));
    assert_eq!(lines(recorder), ["Content+Metadata+Replaced /w/file !"]);
}

#[test]
fn a_folder_that_is_left_again_has_to_be_there() {
    let tree = Tree::of(&["/w/a/b/", "/w/file", "/w/a/up -> ../file", "/w/out -> /w/a/b"]);
    for (path, left) in [
        ("a/b/../../file", vec!["/w/a/b", "/w/a"]),
        ("a/up", vec!["/w/a"]),
        ("out/../up", vec!["/w/a/b", "/w/a"]),
        ("../w/file", vec![]),
    ] {
        let resolved = tree.follow(path);
        let folders: Vec<_> = resolved
            .left
            .iter()
            .map(|(path, _)| path.to_str().unwrap())
            .collect();
        assert_eq!((folders, end(&resolved).as_str()), (left, "/w/file"), "{path}");
    }
    let mut recorder = Recorder::default();
    recorder.act(&tree.follow("a/b/../../file"), Act::See(Access::Content));
    assert_eq!(
        lines(recorder),
        ["Metadata /w/a", "Metadata /w/a/b", "Content /w/file"]
    );
}

#[test]
fn a_changed_file_was_read_before() {
    let tree = Tree::of(&["/w/log", "/w/data"]);
    let mut recorder = Recorder::default();
    recorder.act(&tree.follow("log"), Act::Extend { reads: false });
    recorder.act(&tree.follow("data"), Act::Change { reads: true });
    assert_eq!(lines(recorder), ["Content /w/data !", "Metadata /w/log !"]);
}

#[test]
fn removing_depends_on_what_was_there() {
    let mut tree = Tree::of(&["/w/file"]);
    let mut recorder = Recorder::default();
    recorder.act(&tree.follow("file"), Act::See(Access::Content));
    recorder.act(&tree.itself("file"), Act::Remove);
    recorder.act(&tree.itself("gone"), Act::Remove);
    tree.remove("/w/file");
    recorder.act(&tree.follow("file"), Act::See(Access::Metadata));
    assert_eq!(lines(recorder), ["Content+Metadata /w/file !", "Absent /w/gone"]);
}

#[test]
fn renamed_files_keep_their_origin() {
    let mut tree = Tree::of(&["/w/foreign"]);
    let mut recorder = Recorder::default();
    recorder.act(&tree.itself("own"), Act::Make);
    tree.put("/w/own/");
    recorder.act(&tree.follow("own/x"), Act::Make);
    tree.put("/w/own/x");
    recorder.rename(&tree.itself("own"), &tree.itself("moved"));
    tree.remove("/w/own");
    tree.put("/w/moved/x");
    recorder.act(&tree.follow("moved/x"), Act::See(Access::Content));
    recorder.rename(&tree.itself("foreign"), &tree.itself("moved/y"));
    tree.remove("/w/foreign");
    tree.put("/w/moved/y");
    recorder.act(&tree.follow("moved/y"), Act::See(Access::Content));
    recorder.act(&tree.follow("foreign"), Act::See(Access::Content));
    assert_eq!(
        lines(recorder),
        ["Content /w/foreign !", "Replaced /w/moved !", "Absent /w/own !"]
    );
}

#[test]
fn a_strangers_doing_is_never_taken_for_ones_own() {
    let mut tree = Tree::of(&["/w/file"]);
    let mut recorder = Recorder::default();
    recorder.act(&tree.itself("new"), Act::Make);
    tree.put("/w/new/left-by-somebody");
    recorder.act(&tree.follow("new/left-by-somebody"), Act::See(Access::Content));
    assert_eq!(why(recorder), Some(UnobservableKind::Stranger));

    let mut recorder = Recorder::default();
    recorder.act(&tree.follow("late"), Act::See(Access::Metadata));
    tree.put("/w/late");
    recorder.act(&tree.follow("late"), Act::See(Access::Content));
    assert_eq!(why(recorder), Some(UnobservableKind::ChangedMeanwhile));

    let mut recorder = Recorder::default();
    recorder.act(&tree.follow("file"), Act::See(Access::Content));
    tree.put("/w/file");
    recorder.act(&tree.follow("file"), Act::See(Access::Content));
    assert_eq!(why(recorder), Some(UnobservableKind::ChangedMeanwhile));

    let mut recorder = Recorder::default();
    tree.put("/w/folder/");
    recorder.rename(&tree.itself("folder"), &tree.itself("elsewhere"));
    assert_eq!(why(recorder), Some(UnobservableKind::Call));
}

#[test]
fn a_folder_takes_the_place_of_an_empty_one_only() {
    let mut tree = Tree::of(&["/w/folder/"]);
    let mut recorder = Recorder::default();
    recorder.act(&tree.itself("own"), Act::Make);
    tree.put("/w/own/");
    recorder.rename(&tree.itself("own"), &tree.itself("folder"));
    assert_eq!(
        lines(recorder),
        ["Metadata+Listing /w/folder !", "Absent /w/own !"]
    );
}

#[test]
fn a_listing_after_ones_own_doing_is_marked() {
    let mut tree = Tree::of(&["/w/dir/x"]);
    let mut recorder = Recorder::default();
    recorder.act(&tree.itself("dir/new"), Act::Make);
    tree.put("/w/dir/new");
    recorder.act(&tree.follow("dir"), Act::See(Access::Listing));
    assert_eq!(lines(recorder), ["Listing /w/dir !", "Absent /w/dir/new !"]);
}

#[test]
fn too_much_is_given_up() {
    let tree = Tree::of(&["/w/"]);
    let mut recorder = Recorder::default();
    for number in 0..=ENTRIES_MAX {
        recorder.act(&tree.follow(&format!("x{number}")), Act::See(Access::Metadata));
    }
    assert!(recorder.is_futile());
    let observation = recorder.finish();
    assert!(observation.entries.is_empty());
    assert_eq!(observation.unobservable.unwrap().kind, UnobservableKind::TooMuch);
}

#[test]
fn places_are_told_apart() {
    let machine = Place::Machine;
    let redirect = |name: &str, tail: &str| {
        Place::Redirect(Redirect {
            name: name.into(),
            tail: tail.into(),
        })
    };
    let cases = [
        ("/etc/passwd", Place::Tree),
        ("/devices", Place::Tree),
        ("/dev/shm/x", Place::Tree),
        ("/dev/null", Place::Harmless),
        ("/dev/urandom", Place::Harmless),
        ("/dev/pts/3", Place::Harmless),
        ("/dev/sda", machine(Fact::Device)),
        ("/dev/stdin", redirect("fd/0", "")),
        ("/dev/fd/7", redirect("fd/7", "")),
        ("/proc/self/maps", Place::Harmless),
        ("/proc/12/exe", redirect("exe", "")),
        ("/proc/12/cwd/a/b", redirect("cwd", "a/b")),
        ("/proc/self/task/12/fd/3/x", redirect("fd/3", "x")),
        ("/proc/self/mountinfo", machine(Fact::Mounts)),
        ("/proc/self/cgroup", machine(Fact::Processors)),
        ("/proc/13/exe", machine(Fact::Processes)),
        ("/proc", machine(Fact::Processes)),
        ("/proc/meminfo", machine(Fact::Memory)),
        ("/proc/sys/vm/overcommit_memory", Place::Harmless),
        ("/proc/filesystems", Place::Harmless),
        ("/sys/fs/selinux", Place::Harmless),
        ("/sys/fs/selinux/enforce", Place::Machine(Fact::Other)),
        ("/proc/sys/vm/swappiness", machine(Fact::Kernel)),
        ("/proc/sys/net/ipv4/x", machine(Fact::Network)),
        ("/sys/fs/cgroup/cpu.max", machine(Fact::Processors)),
        ("/sys/fs/cgroup/a/memory.max", machine(Fact::Memory)),
        ("/sys/fs/cgroup/cgroup.procs", machine(Fact::Other)),
        ("/sys/whatever", machine(Fact::Other)),
    ];
    for (path, expected) in cases {
        assert_eq!(place(Path::new(path), &[12]), expected, "{path}");
    }
}

#[test]
fn names_are_told_once_and_only_of_what_others_left() {
    let mut tree = Tree::of(&["/w/dir/x", "/w/gone/"]);
    let mut recorder = Recorder::default();
    let list = Act::See(Access::Listing);
    let dir = tree.follow("dir");
    assert!(recorder.wants_names(&dir, list));
    assert!(!recorder.wants_names(&dir, Act::See(Access::Metadata)));
    recorder.act(&dir, list);
    let (first, later) = (Digest::of(b"first"), Digest::of(b"later"));
    recorder.names(Path::new("/w/dir"), first);
    assert!(!recorder.wants_names(&dir, list), "the first look counts");
    recorder.names(Path::new("/w/dir"), later);
    let gone = tree.itself("gone");
    assert!(recorder.wants_names(&gone, Act::Remove), "it has to be empty");
    recorder.act(&tree.itself("made"), Act::Make);
    tree.put("/w/made/");
    assert!(
        !recorder.wants_names(&tree.follow("made"), list),
        "it is the case's own"
    );
    assert!(
        !recorder.wants_names(&tree.follow(""), list),
        "the case has put something there"
    );
    let seen = recorder.finish();
    assert_eq!(seen.entries[Path::new("/w/dir")].names, Some(first));
}
