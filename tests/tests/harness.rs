//! The harness itself: what the other tests rely on.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;
use thresh_tests::compare::differences;
use thresh_tests::gate::Gate;
use thresh_tests::namespace::{self, Mount};
use thresh_tests::proxy::Proxy;
use thresh_tests::running::peak_memory_kib;
use thresh_tests::status::{Status, Statuses, Word};
use thresh_tests::thresh::scrub;
use thresh_tests::workspace::{Kept, Workspace};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn cases_wait_at_the_gate_and_end_as_told() {
    let fixture = Kept::hold("gated");
    let gate = Gate::open();
    let (name, value) = gate.variable();
    let mut command = Command::new("cargo");
    scrub(&mut command);
    command.args(["nextest", "run", "--no-fail-fast", "-j3", "-E"]);
    command.arg("test(=held_0) + test(=held_1) + test(=leaves_a_session)");
    command
        .current_dir(fixture.root())
        .env(name, value)
        .stderr(Stdio::null());
    let mut run = command.spawn().unwrap();
    let mut held = gate.take(4);
    held.sort_by(|a, b| a.name.cmp(&b.name));
    let names: Vec<&str> = held.iter().map(|held| held.name.as_str()).collect();
    assert_eq!(
        names,
        ["held_0", "held_1", "in_a_session_of_its_own", "leaves_a_session"]
    );
    assert!(held.iter().all(|held| held.attempt == "1"));
    held.remove(1).fail();
    held.into_iter().for_each(thresh_tests::gate::Held::pass);
    assert_eq!(run.wait().unwrap().code(), Some(100));
}

#[test]
fn a_dead_process_is_seen_at_the_gate() {
    let gate = Gate::open();
    let mut stream = TcpStream::connect(gate.variable().1).unwrap();
    writeln!(stream, "somebody 1").unwrap();
    let held = gate.next();
    drop(stream);
    held.wait_dead(LIMIT);
}

#[test]
fn a_cut_proxy_ends_connections_until_it_is_mended() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(target.local_addr().unwrap());
    let address = proxy.url().trim_start_matches("http://").to_owned();
    let mut near = TcpStream::connect(&address).unwrap();
    let (mut far, _) = target.accept().unwrap();
    near.write_all(b"word").unwrap();
    let mut word = [0; 4];
    far.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"word");
    proxy.cut();
    assert_eq!(far.read(&mut word).unwrap(), 0);
    proxy.mend();
    let mut near = TcpStream::connect(&address).unwrap();
    let (mut far, _) = target.accept().unwrap();
    near.write_all(b"more").unwrap();
    far.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"more");
}

#[test]
fn mounts_hide_and_protect_folders() {
    if !namespace::available() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let hidden = folder.path().join("it's hidden");
    let fixed = folder.path().join("fixed");
    for folder in [&hidden, &fixed] {
        std::fs::create_dir(folder).unwrap();
        std::fs::write(folder.join("file"), "content").unwrap();
    }
    let mounts = [Mount::Hide(hidden.clone()), Mount::ReadOnly(fixed.clone())];
    let mut command = namespace::command(&mounts, "sh".as_ref());
    let script = "test ! -e \"$0/file\" && test -e \"$1/file\" && ! touch \"$1/new\" 2>/dev/null";
    command.args(["-c", script]).args([&hidden, &fixed]);
    assert!(command.status().unwrap().success());
    assert!(hidden.join("file").exists());
}

#[test]
fn differences_name_both_sides() {
    let case = |name: &str| ("binary".to_owned(), name.to_owned());
    let expected = Statuses::from([(case("a"), Status::PASSED), (case("b"), Status::PASSED)]);
    let failed = Status::new(Word::Failed, false);
    let found = Statuses::from([(case("b"), failed), (case("c"), Status::PASSED)]);
    let texts: Vec<String> = differences(&expected, &found)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        texts,
        [
            "binary a: expected passed, found absent",
            "binary b: expected passed, found failed",
            "binary c: expected absent, found passed",
        ]
    );
}

#[test]
fn copies_follow_their_source() {
    let first = Workspace::copy("basic");
    first.write("data/more/deep.txt", "deep");
    let second = Workspace::copy_of(&first.root());
    assert_eq!(
        std::fs::read_to_string(second.root().join("data/more/deep.txt")).unwrap(),
        "deep"
    );
    assert!(!first.root().join("target").exists());
}

#[test]
fn a_child_process_gets_nothing_of_the_harness() {
    let mut command = Command::new("env");
    scrub(&mut command);
    let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let ours = output
        .lines()
        .find(|line| line.starts_with("NEXTEST") || line.starts_with("CARGO_PKG"));
    assert_eq!(ours, None);
    assert!(peak_memory_kib(std::process::id()).is_some_and(|kib| kib > 0));
}
