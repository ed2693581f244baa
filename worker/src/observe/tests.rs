//! Every way to read, each with what has to be seen of it.
//!
//! This test binary is its own fixture: [`acting`] is what the observed process does.

use std::ffi::CString;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;

use thresh_core::observe::{Access, Accesses, Contact, Entry, Fact, Observation, UnobservableKind};

use super::{Observer, Unavailable};

/// Says what [`acting`] is to do.
const ACT: &str = "THRESH_TEST_ACT";

/// Observes, on a thread of its own. `None`: where this runs nobody can be observed.
fn on_observed_thread<T: Send>(body: impl FnOnce(&Observer) -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        let observed = scope.spawn(|| match Observer::start() {
            Ok(observer) => Some(body(&observer)),
            // Who runs this is observed himself.
            Err(Unavailable::Taken) => None,
            Err(Unavailable::Kernel) if std::env::var_os("CI").is_none() => None,
            Err(other) => panic!("{other}"),
        });
        observed.join().unwrap()
    })
}

fn observe(mut command: Command) -> Option<Observation> {
    on_observed_thread(|observer| {
        observer.begin();
        let status = command.process_group(0).status();
        let observation = observer.end();
        assert!(status.unwrap().success());
        observation
    })
}

fn fixture(act: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "observe::tests::acting", "--nocapture"])
        .env(ACT, act)
        .current_dir(folder);
    command
}

/// The entries below `folder`, as lines: the ways, the path there, `!` where it was changed.
fn below(observation: &Observation, folder: &Path) -> Vec<String> {
    assert_eq!(observation.unobservable, None);
    let line = |(path, entry): (&PathBuf, &Entry)| {
        let path = path.strip_prefix(folder).ok()?;
        let ways: Vec<_> = entry
            .accesses
            .iter()
            .map(|access| format!("{access:?}"))
            .collect();
        let changed = if entry.changed { " !" } else { "" };
        Some(format!("{} {}{changed}", ways.join("+"), path.display()))
    };
    observation.entries.iter().filter_map(line).collect()
}

/// Lets the fixture act in a folder with these files, and compares what was seen there.
fn check(act: &str, expected: &[&str]) {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().canonicalize().unwrap();
    for name in ["a", "b", "dir/x", "dir/sub/y"] {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    for (target, name) in [("a", "first"), ("first", "second"), ("dir", "folder")] {
        std::os::unix::fs::symlink(target, folder.join(name)).unwrap();
    }
    let Some(observation) = observe(fixture(act, &folder)) else {
        return;
    };
    let mut seen = below(&observation, &folder);
    // The folder itself is where the fixture is started.
    seen.retain(|line| line != "Metadata ");
    assert_eq!(seen, expected, "{act}");
}

#[test]
fn acting() {
    let Ok(act) = std::env::var(ACT) else { return };
    let read = |path: &str| drop(fs::read(path).unwrap());
    match act.as_str() {
        "open" => read("a"),
        "absolute" => drop(fs::read(std::env::current_dir().unwrap().join("a")).unwrap()),
        "include" => assert!(include_str!("mod.rs").contains("Method")),
        "mmap" => map("a"),
        "child" => shell("cat a b"),
        // Its parent has ended when it reads; it is waited for since it holds the pipe.
        "orphan" => shell("x=$( (cat a &); cat b )"),
        "walk" => walk(Path::new("dir")),
        "missing" => assert!(fs::read("gone/deep").is_err() && !Path::new("dir/none").exists()),
        "links" => {
            read("second");
            read("folder/x");
            assert_eq!(fs::read_link("first").unwrap(), Path::new("a"));
        }
        "up" => read("dir/sub/../../a"),
        "out of dev" => read(&format!(
            "/dev/..{}/a",
            std::env::current_dir().unwrap().display()
        )),
        "netlink" => netlink(),
        "tools" => shell("mkdir made && cp a made/b && ls made && rm -r made"),
        "disk" => {
            rustix::fs::fstatfs(fs::File::open("a").unwrap()).unwrap();
        }
        "disk of devices" => {
            rustix::fs::statfs("/dev").unwrap();
        }
        "raw" => drop(thread::spawn(|| raw_open(c"a")).join().unwrap()),
        "descriptor" => open_in_folder(),
        "chdir" => {
            std::env::set_current_dir("dir").unwrap();
            read("x");
        }
        "proc" => {
            let file = fs::File::open("a").unwrap();
            read(&format!("/proc/self/fd/{}", file.as_raw_fd()));
            read("/proc/self/cwd/dir/x");
            read(&format!("/proc/{}/maps", std::process::id()));
            read("/proc/meminfo");
        }
        "own" => own_files(),
        "overwrite" => {
            fs::write("a", "new").unwrap();
            read("a");
        }
        "append" => drop(
            fs::File::options()
                .append(true)
                .open("a")
                .unwrap()
                .write_all(b"x"),
        ),
        "failed write" => {
            assert!(fs::write("dir", "x").is_err() && fs::remove_dir("dir").is_err());
            read("dir/x");
        }
        "rename" => {
            fs::rename("a", "c").unwrap();
            read("c");
        }
        "delete" => {
            read("a");
            fs::remove_file("a").unwrap();
            fs::remove_file("b").unwrap();
            assert!(fs::read("a").is_err());
        }
        "stat" => {
            fs::metadata("first").unwrap();
            fs::symlink_metadata("second").unwrap();
        }
        "fexecve" => execute_open(),
        "again" => {
            let exe = std::env::current_exe().unwrap();
            assert!(Command::new(exe).arg("--list").output().unwrap().status.success());
        }
        "itself" => read("/proc/self/exe"),
        "script" => {
            fs::write("run", "#!/bin/sh\ncat a\n").unwrap();
            shell("chmod +x run && ./run");
        }
        other => panic!("{other} is no act"),
    }
}

fn shell(script: &str) {
    let status = Command::new("/bin/sh").args(["-c", script]).status();
    assert!(status.unwrap().success());
}

fn walk(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path());
        }
    }
}

fn open_in_folder() {
    let folder = fs::File::open("dir").unwrap();
    let opened = rustix::fs::openat(
        &folder,
        "sub/y",
        rustix::fs::OFlags::RDONLY,
        rustix::fs::Mode::empty(),
    );
    let mut text = String::new();
    fs::File::from(opened.unwrap()).read_to_string(&mut text).unwrap();
    assert_eq!(text, "dir/sub/y");
}

fn own_files() {
    let temp = tempfile::tempdir_in(".").unwrap();
    let file = temp.path().join("file");
    fs::create_dir_all(temp.path().join("deep/er")).unwrap();
    fs::write(&file, "x").unwrap();
    fs::hard_link(&file, temp.path().join("deep/link")).unwrap();
    fs::rename(temp.path().join("deep"), temp.path().join("moved")).unwrap();
    drop(fs::read(temp.path().join("moved/link")).unwrap());
    assert!(!file.with_extension("no").exists());
    walk(temp.path());
}

#[expect(unsafe_code, reason = "the fixture maps a file")]
fn map(path: &str) {
    let file = fs::File::open(path).unwrap();
    // SAFETY: a private mapping of one byte that is there, which is read once.
    unsafe {
        let at = libc::mmap(
            std::ptr::null_mut(),
            1,
            libc::PROT_READ,
            libc::MAP_PRIVATE,
            file.as_raw_fd(),
            0,
        );
        assert_ne!(at, libc::MAP_FAILED);
        assert_eq!(at.cast::<u8>().read(), b'a');
    }
}

#[expect(unsafe_code, reason = "the fixture goes past the C library")]
fn raw_open(path: &std::ffi::CStr) -> i64 {
    // SAFETY: the path is a C string; the descriptor is left open.
    let fd = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), libc::O_RDONLY) };
    assert!(fd >= 0);
    fd
}

#[expect(unsafe_code, reason = "the fixture makes a socket that is given no address")]
fn netlink() {
    // SAFETY: it takes its arguments by value; the descriptor is left open.
    let socket = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE) };
    assert!(socket >= 0);
}

#[expect(unsafe_code, reason = "the fixture executes an open file")]
fn execute_open() {
    let file = fs::File::open("/bin/true").unwrap();
    let empty = CString::default();
    let nothing = [std::ptr::null::<libc::c_char>()];
    // SAFETY: the lists end with a null pointer, and all of it lives until the exec.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            empty.as_ptr(),
            nothing.as_ptr(),
            nothing.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    panic!("it was not executed");
}

#[test]
fn files_are_seen() {
    check("open", &["Content a"]);
    check("absolute", &["Content a"]);
    check("include", &[]);
    check("mmap", &["Content a"]);
    check("stat", &["Metadata a", "Link first", "Link second"]);
}

#[test]
fn children_and_threads_are_seen() {
    check("child", &["Content a", "Content b"]);
    check("orphan", &["Content a", "Content b"]);
    check("raw", &["Content a"]);
    check("fexecve", &[]);
    check("script", &["Content a", "Replaced run !"]);
}

#[test]
fn paths_are_followed() {
    check(
        "links",
        &[
            "Content a",
            "Content dir/x",
            "Link first",
            "Link folder",
            "Link second",
        ],
    );
    check("up", &["Content a", "Metadata dir", "Metadata dir/sub"]);
    check("descriptor", &["Metadata dir", "Content dir/sub/y"]);
    check("chdir", &["Metadata dir", "Content dir/x"]);
    check("proc", &["Content a", "Content dir/x"]);
}

#[test]
fn folders_and_absence_are_seen() {
    check("walk", &["Metadata+Listing dir", "Metadata+Listing dir/sub"]);
    check("missing", &["Absent dir/none", "Absent gone"]);
}

#[test]
fn what_the_case_wrote_is_no_input() {
    check("overwrite", &["Replaced a !"]);
    check("append", &["Metadata a !"]);
    check("failed write", &["Metadata+Listing dir !", "Content dir/x"]);
    check("rename", &["Content a !", "Replaced c !"]);
    check("delete", &["Content+Metadata a !", "Metadata b !"]);
}

#[test]
fn who_asks_the_kernel_without_a_path_or_an_address_is_seen() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("a"), "a").unwrap();
    for (act, fact) in [
        ("netlink", Fact::Network),
        ("disk", Fact::Disk),
        ("disk of devices", Fact::Disk),
    ] {
        let Some(observation) = observe(fixture(act, temp.path())) else {
            return;
        };
        assert!(
            observation.facts.contains_key(&fact),
            "{act}: {:?}",
            observation.facts
        );
    }
}

#[test]
fn programs_that_make_and_remove_files_ask_nothing_that_counts() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("a"), "a").unwrap();
    let Some(observation) = observe(fixture("tools", temp.path())) else {
        return;
    };
    assert_eq!(observation.unobservable, None);
    let facts: Vec<_> = observation
        .facts
        .iter()
        .filter(|(fact, _)| **fact != Fact::Processors)
        .collect();
    assert_eq!(facts, []);
}

#[test]
fn a_way_out_of_a_special_place_is_not_followed() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().canonicalize().unwrap();
    fs::write(folder.join("a"), "a").unwrap();
    let Some(observation) = observe(fixture("out of dev", &folder)) else {
        return;
    };
    let why = observation.unobservable.expect("it is of no use");
    assert_eq!(why.kind, UnobservableKind::Call);
    assert!(why.detail.starts_with("/dev/.."), "{why:?}");
}

#[test]
fn a_folder_of_ones_own_is_one_absent_entry() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().canonicalize().unwrap();
    let Some(observation) = observe(fixture("own", &folder)) else {
        return;
    };
    let seen: Vec<_> = below(&observation, &folder)
        .into_iter()
        .filter(|line| line != "Metadata ")
        .collect();
    assert!(seen.len() == 1 && seen[0].starts_with("Absent .tmp"), "{seen:?}");
}

#[test]
fn programs_and_loaders_are_inputs() {
    let temp = tempfile::tempdir().unwrap();
    let Some(observation) = observe(fixture("fexecve", temp.path())) else {
        return;
    };
    let other = Path::new("/bin/true").canonicalize().unwrap();
    assert!(accesses(&observation, &other).contains(Access::Executed));
    let loader = observation
        .entries
        .keys()
        .any(|path| path.to_string_lossy().contains("/ld-"));
    assert!(loader, "{:?}", observation.entries.keys());
    assert!(observation.facts.contains_key(&Fact::Processors));
}

#[test]
fn the_program_of_the_case_is_an_input_only_where_the_case_uses_it_as_one() {
    let own = std::env::current_exe().unwrap().canonicalize().unwrap();
    let temp = tempfile::tempdir().unwrap();
    let seen = |act: &str| {
        let observation = observe(fixture(act, temp.path()))?;
        assert_eq!(observation.unobservable, None, "{act}");
        Some(accesses(&observation, &own))
    };
    let Some(started) = seen("missing") else { return };
    assert!(started.is_empty(), "{started:?}");
    assert_eq!(seen("again"), Some(Accesses::from_iter([Access::Executed])));
    assert_eq!(seen("itself"), Some(Accesses::from_iter([Access::Content])));
}

fn accesses(observation: &Observation, path: &Path) -> Accesses {
    let entry = observation.entries.get(path);
    entry.map_or_else(Accesses::default, |entry| entry.accesses)
}

#[test]
fn a_static_program_is_seen() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().canonicalize().unwrap();
    let source = folder.join("static.c");
    fs::write(&source, STATIC).unwrap();
    fs::write(folder.join("a"), "a").unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-static", "-nostdlib", "-o"])
        .arg(folder.join("static"))
        .arg(&source);
    assert!(cc.status().unwrap().success());
    let mut command = Command::new(folder.join("static"));
    command.current_dir(&folder);
    let Some(observation) = observe(command) else {
        return;
    };
    assert_eq!(below(&observation, &folder), ["Metadata ", "Content a"]);
}

/// Opens `a`, without any library.
#[cfg(target_arch = "x86_64")]
const STATIC: &str = r#"
static long call(long n, long a, long b, long c) {
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return r;
}
void _start(void) { call(60, call(2, (long)"a", 0, 0) < 0, 0, 0); __builtin_unreachable(); }
"#;
#[cfg(target_arch = "aarch64")]
const STATIC: &str = r#"
static long call(long n, long a, long b, long c) {
    register long x8 __asm__("x8") = n, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
}
void _start(void) { call(93, call(56, -100, (long)"a", 0) < 0, 0, 0); __builtin_unreachable(); }
"#;

#[test]
fn one_case_after_another() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().canonicalize().unwrap();
    fs::write(folder.join("first"), "1").unwrap();
    let run = |observer: &Observer, script: &str| {
        observer.begin();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).current_dir(&folder).process_group(0);
        assert!(command.status().unwrap().success());
        below(&observer.end(), &folder)
    };
    let seen = on_observed_thread(|observer| {
        let seen = [
            run(observer, "read x < first; echo x > second"),
            // What the one wrote is an input of the other.
            run(observer, "read x < second"),
        ];
        (seen, observer.is_spent())
    });
    let Some((seen, is_spent)) = seen else { return };
    assert_eq!(
        seen,
        [
            vec!["Metadata ", "Content first", "Replaced second !"],
            vec!["Metadata ", "Content second"]
        ]
    );
    assert!(!is_spent);
}

#[test]
fn who_leaves_processes_spends_the_thread() {
    let spent = on_observed_thread(|observer| {
        let (_keeps, waits) = std::io::pipe().map(|(read, write)| (write, read)).unwrap();
        observer.begin();
        // Waits for us in a session of its own, without output that is open.
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "exec 3<&0; setsid cat <&3 >/dev/null 2>&1 & :"])
            .stdin(waits)
            .process_group(0);
        assert!(command.status().unwrap().success());
        observer.end();
        observer.is_spent()
    });
    assert_ne!(spent, Some(false));
}

#[test]
fn contacts_are_seen() {
    let temp = tempfile::tempdir().unwrap();
    let socket = temp.path().join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let local = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = local.local_addr().unwrap();
    // Threads of one's own are not observed; their processes are.
    let mut command = Command::new("/bin/true");
    let path = CString::new(socket.as_os_str().as_bytes()).unwrap();
    let connect = move || {
        let stream = std::os::unix::net::UnixStream::connect(path.to_str().unwrap_or_default())?;
        drop((stream, std::net::TcpStream::connect(port)?));
        Ok(())
    };
    add_before_exec(&mut command, connect);
    let Some(observation) = observe(command) else {
        return;
    };
    drop((listener, local));
    let contacts: Vec<_> = observation.contacts.keys().copied().collect();
    assert_eq!(contacts, [Contact::Loopback, Contact::Service], "{observation:?}");
}

#[expect(unsafe_code, reason = "the fixture acts between fork and exec")]
fn add_before_exec(command: &mut Command, act: impl FnMut() -> std::io::Result<()> + Send + Sync + 'static) {
    // SAFETY: it makes system calls, and allocates, which the C library allows after a fork.
    unsafe { command.pre_exec(act) };
}

#[test]
fn what_is_not_followed_is_told() {
    let mut command = Command::new("/bin/true");
    add_before_exec(&mut command, || Ok(rustix::process::chroot("/")?));
    let Some(observation) = observe(command) else {
        return;
    };
    let why = observation.unobservable.unwrap();
    assert_eq!(
        (why.kind, why.detail.as_str()),
        (UnobservableKind::Call, "chroot")
    );
    assert!(observation.entries.is_empty());
}

#[test]
fn threads_of_ones_own_are_not_observed() {
    let seen = on_observed_thread(|observer| {
        observer.begin();
        let (tell, told) = channel();
        thread::spawn(move || tell.send(fs::read("/etc/passwd").is_ok()));
        assert!(told.recv().unwrap());
        observer.end()
    });
    assert_eq!(seen.unwrap_or_default(), Observation::default());
}
