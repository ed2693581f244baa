//! Real views. They need the right to mount or user namespaces; without either these tests fail.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use thresh_core::case::{LeakTimeout, SlowTimeout};
use thresh_core::outcome::{FailureCause, Outcome};

use super::plan::Writes;
use super::*;
use crate::exec::{Block, Capture, Environment, Execution, Executor, Invocation, Killer, OutputLimit};

/// Folders to be shown, and a place for the view.
struct Ground(TempDir);

impl Ground {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn folder(&self, name: &str, files: &[&str]) -> PathBuf {
        let folder = self.0.path().join(name);
        for file in files {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{name}/{file}\n")).unwrap();
        }
        folder
    }

    fn view(&self, folders: &[(&Path, &Path)], temp_dirs: &[&Path]) -> View {
        View::build(&self.spec(folders, temp_dirs)).unwrap()
    }

    fn spec(&self, folders: &[(&Path, &Path)], temp_dirs: &[&Path]) -> ViewSpec {
        let folders = folders
            .iter()
            .map(|(at, from)| Folder {
                at: at.into(),
                from: from.into(),
                live: false,
                shared: false,
            })
            .collect();
        let temp_dirs = temp_dirs.iter().map(PathBuf::from).collect();
        ViewSpec {
            folders,
            temp_dirs,
            scratch: self.0.path().join("scratch"),
        }
    }
}

#[test]
fn a_program_sees_folders_at_other_paths_and_writes_to_them() {
    let ground = Ground::new();
    let (from, at) = (ground.folder("from", &["file"]), ground.folder("at", &["other"]));
    let script = "cat file && echo new >written && exec test ! -e other";
    let command = || {
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", script]).stdout(std::process::Stdio::null());
        command
    };
    let shown = [(from.clone(), at.clone())];
    let mut child = start_with_folders(command, &shown, &at).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(fs::read_to_string(from.join("written")).unwrap(), "new\n");
    assert!(at.join("other").exists() && !at.join("written").exists());
    let missing = [(ground.0.path().join("missing"), at.clone())];
    let cause = start_with_folders(command, &missing, &at).unwrap_err();
    assert_eq!(cause.kind(), std::io::ErrorKind::NotFound);
}

fn invocation<'a>(view: &'a CaseView, cwd: &Path, script: &str) -> Invocation<'a> {
    Invocation {
        argv: ["/bin/sh", "-c", script].map(Into::into).into(),
        cwd: cwd.into(),
        environment: Environment {
            common: Block::inherited().into(),
            set: Vec::new(),
        },
        slow_timeout: SlowTimeout::default(),
        leak_timeout: LeakTimeout::default(),
        capture: Capture::SPLIT,
        output_limit: OutputLimit::default(),
        kill_leaked: true,
        limits: Limits::default(),
        view: Some(view),
    }
}

fn shell(view: &CaseView, cwd: &Path, script: &str) -> Execution {
    Executor::new().run(
        &invocation(view, cwd, script),
        &Killer::new().unwrap(),
        &mut |_| {},
    )
}

/// Runs a script in a case's view of its own and returns what it wrote.
#[track_caller]
fn written(view: &View, cwd: &Path, script: &str) -> String {
    let execution = shell(&view.case().unwrap(), cwd, script);
    let stderr = String::from_utf8_lossy(&execution.stderr.head).into_owned();
    assert_eq!(execution.outcome, Outcome::Passed, "{script}: {stderr}");
    String::from_utf8(execution.stdout.head).unwrap()
}

#[test]
fn this_machine_can_make_views() {
    let ground = Ground::new();
    assert_eq!(probe(ground.0.path()), Support::Namespaces);
    assert_eq!(
        fs::read_dir(ground.0.path()).unwrap().count(),
        0,
        "the probe leaves nothing behind"
    );
}

#[test]
fn folders_appear_where_this_machine_has_nothing() {
    let ground = Ground::new();
    let source = ground.folder("source", &["src/lib.rs"]);
    let target = ground.folder("target", &["debug/deps/test"]);
    let (at, target_at) = (
        Path::new("/no-such/home/ann/project"),
        "/no-such/home/ann/project/target",
    );
    let view = ground.view(&[(at, &source), (Path::new(target_at), &target)], &[]);
    let script =
        "pwd; cat src/lib.rs target/debug/deps/test; ls -A / | grep no-such; ls -A ..; test -d /proc/$$";
    let expected = "/no-such/home/ann/project\nsource/src/lib.rs\ntarget/debug/deps/test\nno-such\nproject\n";
    assert_eq!(written(&view, at, script), expected);
    assert!(!Path::new("/no-such").exists());
    assert_eq!(view.notes(), [""; 0]);
}

#[test]
fn what_the_machine_has_there_is_hidden() {
    let ground = Ground::new();
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let project = home.path().join("project");
    fs::create_dir(&project).unwrap();
    fs::write(project.join("marker"), "").unwrap();
    fs::write(home.path().join("neighbour"), "").unwrap();
    let source = ground.folder("source", &["file"]);
    // The second does not exist, so its level is made anew around the first.
    let missing = home.path().join("missing");
    for folders in [
        &[(&*project, &*source)][..],
        &[(&*project, &*source), (&*missing, &*source)],
    ] {
        let view = ground.view(folders, &[]);
        assert_eq!(
            written(&view, &project, "ls; ls ../neighbour"),
            "file\n../neighbour\n"
        );
        assert!(project.join("marker").exists());
        fs::remove_file(home.path().join("neighbour")).unwrap();
        fs::write(home.path().join("neighbour"), "").unwrap();
    }
}

#[test]
fn links_on_the_way_do_not_lead_out() {
    let ground = Ground::new();
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::create_dir_all(home.path().join("real/kept")).unwrap();
    std::os::unix::fs::symlink("real", home.path().join("link")).unwrap();
    let source = ground.folder("source", &["file"]);
    std::os::unix::fs::symlink(home.path(), source.join("target")).unwrap();
    let target = ground.folder("target", &["binary"]);
    let at = home.path().join("link/project");
    let view = ground.view(&[(&at, &source), (&at.join("target"), &target)], &[]);
    assert_eq!(
        written(&view, &at, "ls . target; ls .. "),
        ".:\nfile\ntarget\n\ntarget:\nbinary\nkept\nproject\n"
    );
    assert!(source.join("target").is_symlink());
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2);
}

#[test]
fn writes_stay_in_the_view() {
    let ground = Ground::new();
    let source = ground.folder("source", &["file", "gone", "folder/inner"]);
    let at = Path::new("/no-such/project");
    let view = ground.view(&[(at, &source)], &[]);
    written(
        &view,
        at,
        "echo more >>file; rm gone; echo new >folder/new; mkdir -p a/b",
    );
    assert_eq!(
        written(&view, at, "cat file; ls . folder"),
        "source/file\nmore\n.:\na\nfile\nfolder\n\nfolder:\ninner\nnew\n"
    );
    assert_eq!(fs::read_to_string(source.join("file")).unwrap(), "source/file\n");
    assert!(source.join("gone").exists() && !source.join("folder/new").exists());
    drop(view);
    assert_eq!(fs::read_dir(ground.0.path().join("scratch")).unwrap().count(), 0);
}

#[test]
fn each_case_has_temp_folders_of_its_own() {
    let ground = Ground::new();
    let temp = Path::new("/no-such/temp");
    let at = Path::new("/tmp/project");
    let source = ground.folder("source", &["file"]);
    let view = ground.view(
        &[(at, &source), (&temp.join("source"), &source)],
        &[temp, Path::new("/tmp/in")],
    );
    let script = "ls -A /tmp /no-such/temp; ls /tmp/in; cat /no-such/temp/source/file; echo x >>file; \
                  touch /tmp/left /no-such/temp/left";
    let expected = "/no-such/temp:\nsource\n\n/tmp:\nin\nproject\nsource/file\n";
    assert_eq!(written(&view, at, script), expected);
    assert_eq!(written(&view, at, script), expected);
    assert_eq!(
        written(&view, at, "cat file"),
        "source/file\nx\nx\n",
        "the source is the run's, not the case's"
    );

    let case = view.case().unwrap();
    fs::write(case.tmp().join("given"), "from outside\n").unwrap();
    let execution = shell(&case, at, "cat /tmp/given; echo back >/tmp/made");
    assert_eq!(execution.stdout.head, b"from outside\n");
    assert_eq!(fs::read_to_string(case.tmp().join("made")).unwrap(), "back\n");
    let tmp = case.tmp();
    drop(case);
    assert!(!tmp.exists());
}

#[test]
fn a_user_keeps_its_identity() {
    let ground = Ground::new();
    let view = ground.view(&[], &[]);
    let outside = std::process::Command::new("id")
        .args(["-u"])
        .output()
        .unwrap()
        .stdout;
    assert_eq!(written(&view, Path::new("/"), "id -u").as_bytes(), outside);
}

#[test]
fn a_view_is_held_by_its_cases() {
    let ground = Ground::new();
    let at = Path::new("/no-such/project");
    let case = ground
        .view(&[(at, &ground.folder("source", &["file"]))], &[])
        .case()
        .unwrap();
    assert_eq!(shell(&case, at, "cat file").outcome, Outcome::Passed);
}

#[test]
fn a_failed_entry_is_explained() {
    let ground = Ground::new();
    let view = ground.view(&[], &[]);
    let outcome = shell(&view.case().unwrap(), Path::new("/no-such"), "").outcome;
    let Outcome::Failed {
        cause: FailureCause::Exec(why),
        ..
    } = outcome
    else {
        panic!("{outcome}")
    };
    assert!(
        why.starts_with("start /bin/sh: change to its working directory /no-such"),
        "{why}"
    );
}

#[test]
fn a_missing_source_is_named() {
    let ground = Ground::new();
    let spec = ground.spec(
        &[(Path::new("/no-such/project"), Path::new("/no-such/source"))],
        &[],
    );
    let error = View::build(&spec).unwrap_err().to_string();
    assert!(
        error.starts_with("present /no-such/project from /no-such/source: "),
        "{error}"
    );
}

#[test]
fn without_overlays_the_folders_are_copied() {
    let ground = Ground::new();
    let source = ground.folder("source", &["file"]);
    let at = Path::new("/no-such/project");
    let view = View::build_with(&ground.spec(&[(at, &source)], &[]), Writes::Copy, None).unwrap();
    assert!(view.notes()[0].contains("copied"), "{:?}", view.notes());
    written(&view, at, "echo more >>file");
    assert_eq!(written(&view, at, "cat file"), "source/file\nmore\n");
    assert_eq!(fs::read_to_string(source.join("file")).unwrap(), "source/file\n");
}

#[test]
fn a_tree_in_a_view_dies_with_its_attempt() {
    let ground = Ground::new();
    let case = ground.view(&[], &[]).case().unwrap();
    let mut invocation = invocation(
        &case,
        Path::new("/"),
        "setsid sleep 600 & echo $!; exec sleep 600",
    );
    let (period, terminate_after) = (std::time::Duration::from_millis(500), Some(1));
    invocation.slow_timeout = SlowTimeout {
        period,
        terminate_after,
        ..SlowTimeout::default()
    };
    let execution = Executor::new().run(&invocation, &Killer::new().unwrap(), &mut |_| {});
    assert_eq!(execution.outcome, Outcome::TimedOut { passes: false });
    let pid = String::from_utf8(execution.stdout.head).unwrap();
    let state = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
}

#[test]
fn a_crowded_folder_is_refused_only_when_it_must_be_made_anew() {
    let ground = Ground::new();
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    for index in 0..4_097 {
        fs::write(home.path().join(index.to_string()), "").unwrap();
    }
    let source = ground.folder("source", &["file"]);
    let at = home.path().join("project");
    let error = View::build(&ground.spec(&[(&at, &source)], &[])).unwrap_err();
    assert!(matches!(error, ViewError::Crowded { .. }), "{error}");
    fs::create_dir(&at).unwrap();
    assert_eq!(written(&ground.view(&[(&at, &source)], &[]), &at, "ls"), "file\n");
}

mod isolation;
