//! Cases whose inputs come as blobs.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use thresh_cas::{BlobStore, Entry, EntryKind, Manifest};
use thresh_core::digest::Digest;
use thresh_core::id::RunId;
use thresh_core::outcome::Outcome;
use thresh_proto::convert::{digest_to_wire, frame_from_wire, run_id_to_wire};
use thresh_proto::v1::coordinator_message::Message as Order;
use thresh_proto::v1::peers_client::PeersClient;
use thresh_proto::v1::worker_report::Report;
use thresh_proto::v1::{self, Forget, cordon};
use tonic::transport::Endpoint;

use super::*;
use crate::inputs::PeerServer;
use crate::inputs::testing::in_place_header;
use crate::sandbox::{Isolation, Level, Limits};
use crate::session::{Shipped, Site, WorkerConfig};

pub(super) const SOURCE: &str = "/thresh-test-client/repo";
pub(super) const TARGET: &str = "/thresh-test-client/repo/target";

fn worker(fake: &Fake, shipped: Shipped) -> WorkerHandle {
    let config = WorkerConfig::on_a_farm("there", 2, "any", shipped);
    // Not dedicated: other tests of this process start children of their own.
    Worker::start(
        fake.coordinator(),
        WorkerConfig {
            dedicated: false,
            ..config
        },
    )
}

fn file(path: &str, content: &[u8], executable: bool) -> Entry {
    let kind = EntryKind::File {
        digest: Digest::of(content),
        size: content.len() as u64,
        executable,
    };
    Entry {
        path: path.into(),
        kind,
    }
}

/// Stores a manifest and its files.
fn ship(fake: &Fake, files: &[(&str, &[u8], bool)]) -> tonic::codegen::Bytes {
    files.iter().for_each(|(_, content, _)| {
        fake.put(content);
    });
    let entries = files
        .iter()
        .map(|(path, content, executable)| file(path, content, *executable));
    let manifest = Manifest::new(entries.collect()).unwrap();
    digest_to_wire(fake.put(&manifest.encode()))
}

const PROGRAM: &[u8] = b"#!/bin/sh\ncat data.txt target/shared.txt; pwd; eval \"$1\"\n";

/// A run whose binary is a script that shows its inputs, and then does what its case says.
pub(super) fn header(fake: &Fake) -> v1::RunHeader {
    let mut header = in_place_header(RUN);
    header.keep_passing_output = true;
    header.binaries[0].manifest = ship(fake, &[("debug/deps/bin", PROGRAM, true)]);
    header.commands[0].before = vec![format!("{TARGET}/debug/deps/bin")];
    header.commands[0].cwd = SOURCE.into();
    header.inputs = Some(v1::Inputs {
        source_root: SOURCE.into(),
        target_root: TARGET.into(),
        source_manifest: ship(
            fake,
            &[("data.txt", b"source\n", false), ("sub/x", &[7; 5000], false)],
        ),
        target_manifest: ship(fake, &[("shared.txt", b"target\n", false)]),
        ..Default::default()
    });
    header
}

fn stdout(output: &v1::Output) -> String {
    String::from_utf8_lossy(&output.stdout.clone().unwrap_or_default().head).into_owned()
}

/// Every file of the blob store.
fn blobs(data_dir: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(data_dir.join("blobs")).unwrap().flatten();
    let files = folders
        .filter_map(|folder| std::fs::read_dir(folder.path()).ok())
        .flatten()
        .flatten();
    files
        .map(|file| file.path())
        .filter(|path| path.is_file())
        .collect()
}

#[tokio::test]
async fn without_isolation_cases_have_the_limits_that_hold_for_each_process() {
    let data = tempfile::tempdir().unwrap();
    let mut fake = Fake::start().await;
    let isolation = Isolation {
        limits: Limits {
            memory_bytes: Some(256 << 20),
            processes: None,
            cpu_seconds: Some(77),
        },
        ..Isolation::at(Level::None)
    };
    let shipped = Shipped {
        isolation,
        ..Shipped::in_folder(data.path())
    };
    let _worker = worker(&fake, shipped);
    let mut session = fake.session().await;
    let told = "the address space is limited for each process by itself";
    assert_eq!(session.hello.isolation_shortfalls, [told]);
    session.lease(header(&fake), vec![case(0, "ulimit -v; ulimit -t")]);
    let (_, outcome, output) = session.attempt().await;
    assert_eq!(outcome, Outcome::Passed, "{output:?}");
    assert!(stdout(&output).ends_with("\n262144\n77\n"), "{output:?}");
}

#[tokio::test]
async fn inputs_appear_at_the_clients_paths_and_cases_cannot_change_the_blobs() {
    let data = tempfile::tempdir().unwrap();
    let mut fake = Fake::start().await;
    let _worker = worker(&fake, Shipped::in_folder(data.path()));
    let mut session = fake.session().await;
    assert!(!session.hello.in_place && !Path::new(SOURCE).exists());
    let overwrite = format!(
        "echo changed > {SOURCE}/data.txt && echo '# changed' >> {TARGET}/debug/deps/bin && cat data.txt"
    );
    session.lease(header(&fake), vec![case(0, &overwrite)]);
    let (_, outcome, output) = session.attempt().await;
    assert_eq!(outcome, Outcome::Passed, "{output:?}");
    assert_eq!(stdout(&output), format!("source\ntarget\n{SOURCE}\nchanged\n"));
    assert!(!Path::new(SOURCE).exists());
    for blob in blobs(data.path()) {
        let name = blob
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .trim_end_matches('x')
            .to_owned();
        assert_eq!(Digest::of(&std::fs::read(&blob).unwrap()).to_string(), name);
    }

    let leaks = case(1, "env; exit 1");
    session.lease_more(RUN, vec![leaks]);
    let variables = stdout(&session.attempt().await.2);
    assert!(
        variables.contains("\nPATH=") && !variables.contains("\nCARGO_PKG_NAME="),
        "{variables}"
    );

    session.tell(Order::Forget(Forget {
        run_id: run_id_to_wire(RUN),
    }));
    let runs = data.path().join("runs");
    until("the run's folders are gone", || {
        std::fs::read_dir(&runs).unwrap().next().is_none()
    })
    .await;
}

#[tokio::test]
async fn runs_share_the_inodes_of_what_they_have_in_common() {
    let data = tempfile::tempdir().unwrap();
    let mut fake = Fake::start().await;
    let _worker = worker(&fake, Shipped::in_folder(data.path()));
    let mut session = fake.session().await;
    let later = RunId::from_u128(9);
    let inode = |path: PathBuf| std::fs::metadata(path).unwrap().ino();
    for run in [RUN, later] {
        let header = v1::RunHeader {
            run_id: run_id_to_wire(run),
            ..header(&fake)
        };
        let changes = format!("echo changed > {TARGET}/debug/deps/bin && echo changed > data.txt");
        session.lease(header, vec![case(0, &changes)]);
        assert_eq!(session.attempt().await.1, Outcome::Passed);
    }
    let name = format!("{}x", Digest::of(PROGRAM));
    let stored = data.path().join("blobs").join(&name[..2]).join(&name);
    assert_eq!(std::fs::read(&stored).unwrap(), PROGRAM);
    let stored = inode(stored);
    let runs = std::fs::read_dir(data.path().join("runs")).unwrap().flatten();
    let programs = runs.map(|run| inode(run.path().join("target/debug/deps/bin")));
    assert_eq!(programs.collect::<Vec<_>>(), [stored; 2]);
    let trees = std::fs::read_dir(data.path().join("trees")).unwrap();
    assert_eq!(trees.count(), 1, "the source tree was built once");
}

#[tokio::test]
async fn a_binary_that_is_leased_later_joins_the_run_where_it_is() {
    let data = tempfile::tempdir().unwrap();
    let mut fake = Fake::start().await;
    let _worker = worker(&fake, Shipped::in_folder(data.path()));
    let mut session = fake.session().await;
    let mut header = header(&fake);
    header.inputs.as_mut().unwrap().shared_target = true;
    header.binaries.push(v1::Binary {
        id: "later".into(),
        manifest: ship(
            &fake,
            &[("debug/deps/later", b"#!/bin/sh\ncat target/left.txt\n", true)],
        ),
        ..Default::default()
    });
    header.commands.push(v1::Command {
        before: vec![format!("{TARGET}/debug/deps/later")],
        cwd: SOURCE.into(),
        ..Default::default()
    });
    let look = format!("[ ! -e {TARGET}/debug/deps/later ] && echo left > target/left.txt");
    session.lease(header, vec![case(0, &look)]);
    assert_eq!(session.attempt().await.1, Outcome::Passed);
    let mut later = case(1, "later");
    (later.binary, later.command) = (1, 1);
    session.lease_more(RUN, vec![later]);
    let (_, outcome, output) = session.attempt().await;
    assert_eq!((outcome, stdout(&output).as_str()), (Outcome::Passed, "left\n"));
}

#[tokio::test]
async fn only_what_is_missing_is_fetched_and_a_damaged_blob_again() {
    let data = tempfile::tempdir().unwrap();
    let mut fake = Fake::start().await;
    let mut first = worker(&fake, Shipped::in_folder(data.path()));
    let mut session = fake.session().await;
    let mut header = header(&fake);
    header.binaries.push(v1::Binary {
        id: "other".into(),
        manifest: ship(&fake, &[("debug/deps/other", b"never leased", true)]),
        ..Default::default()
    });
    session.lease(header.clone(), vec![case(0, "exit 1")]);
    session.attempt().await;
    let asked = std::mem::take(&mut *fake.service.asked.lock().unwrap());
    assert!(!asked.contains(&Digest::of(b"never leased")));
    assert_eq!(
        asked
            .iter()
            .filter(|digest| **digest == Digest::of(PROGRAM))
            .count(),
        1
    );
    first.stop();
    first.ended().await.unwrap();

    let damaged: Vec<PathBuf> = blobs(data.path())
        .into_iter()
        .filter(|path| path.to_str().unwrap().contains(&Digest::of(PROGRAM).to_string()))
        .collect();
    assert!(!damaged.is_empty());
    for blob in damaged {
        std::fs::remove_file(&blob).unwrap();
        std::fs::write(
            &blob,
            [b"#!/bin/sh\nexit 0; ".to_vec(), PROGRAM[18..].to_vec()].concat(),
        )
        .unwrap();
    }
    let _second = worker(&fake, Shipped::in_folder(data.path()));
    let mut session = fake.session().await;
    session.lease(header, vec![case(0, "exit 9")]);
    let (_, outcome, output) = session.attempt().await;
    assert!(
        matches!(outcome, Outcome::Failed { .. }),
        "the damaged program was run: {outcome} {output:?}"
    );
    assert_eq!(*fake.service.asked.lock().unwrap(), [Digest::of(PROGRAM)]);
}

#[tokio::test]
async fn of_a_newer_version_only_what_differs_is_fetched() {
    let data = tempfile::tempdir().unwrap();
    let mut fake = Fake::start().await;
    let _worker = worker(&fake, Shipped::in_folder(data.path()));
    let mut session = fake.session().await;
    let mut program = [PROGRAM, b"exit\n"].concat();
    program.extend((0..100_000u32).flat_map(|n| *Digest::of(&n.to_le_bytes()).as_bytes()));
    let mut base = None;
    for (number, chunks_at_least) in [(1, 20), (2, 1)] {
        let digest = fake.put_large(&program, base);
        let manifest = Manifest::new(vec![file("debug/deps/bin", &program, true)]).unwrap();
        let mut header = header(&fake);
        header.run_id = run_id_to_wire(RunId::from_u128(number));
        header.binaries[0].manifest = digest_to_wire(fake.put(&manifest.encode()));
        fake.service.asked.lock().unwrap().clear();
        fake.service.sent_bytes.store(0, Ordering::SeqCst);
        session.lease(header, vec![case(0, "echo $0")]);
        assert_eq!(session.attempt().await.1, Outcome::Passed);
        let asked = fake.service.asked.lock().unwrap().len();
        assert!(asked >= chunks_at_least, "{asked}");
        // As after an edit: something is put in, and addresses behind it are others.
        let behind = PROGRAM.len() + 5;
        program.splice(behind..behind, *b"a line");
        for at in (1_000_000..2_000_000).step_by(997) {
            program[at] = program[at].wrapping_add(9);
        }
        base = Some(digest);
    }
    let sent = fake.service.sent_bytes.load(Ordering::SeqCst);
    assert!(sent < program.len() / 20, "{sent}");
    assert!(fake.service.asked.lock().unwrap().len() < 40);
}

/// A worker of a site that has nothing, and its address.
fn empty_handed() -> (tempfile::TempDir, PeerServer, String) {
    let folder = tempfile::tempdir().unwrap();
    let store = BlobStore::open(folder.path()).unwrap();
    let address = free_address();
    let server = PeerServer::start(address, store).unwrap();
    (folder, server, address.to_string())
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn what_no_worker_of_the_site_gives_comes_from_the_coordinator() {
    let data = tempfile::tempdir().unwrap();
    let mut fake = Fake::start().await;
    let address = free_address();
    let site = Site {
        name: "here".to_owned(),
        address,
    };
    let shipped = Shipped {
        site: Some(site),
        ..Shipped::in_folder(data.path())
    };
    // Some have dropped it, one is not there, and then nobody is left to name.
    let others: Vec<_> = (0..4).map(|_| empty_handed()).collect();
    let mut named: VecDeque<String> = others.iter().map(|(_, _, address)| address.clone()).collect();
    named.insert(1, free_address().to_string());
    *fake.service.givers.lock().unwrap() = named;
    let _worker = worker(&fake, shipped);
    let mut session = fake.session().await;
    let mut program = [PROGRAM, b"exit\n"].concat();
    program.extend((0..100_000u32).flat_map(|n| *Digest::of(&n.to_le_bytes()).as_bytes()));
    let digest = fake.put_large(&program, None);
    let manifest = Manifest::new(vec![file("debug/deps/bin", &program, true)]).unwrap();
    let mut header = header(&fake);
    header.binaries[0].manifest = digest_to_wire(fake.put(&manifest.encode()));
    session.lease(header, vec![case(0, "echo $0")]);
    assert_eq!(session.attempt().await.1, Outcome::Passed);
    assert_eq!(fake.service.givers.lock().unwrap().len(), 2, "three were tried");
    assert!(fake.service.offered.lock().unwrap().contains(&digest));

    // Whom it gives it to then asks here.
    let piece = fake.service.recipes.lock().unwrap()[&digest].parts()[0].digest;
    let peer = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut peer = PeersClient::new(peer.connect().await.unwrap());
    let request = |digest: Digest| v1::GetRequest {
        chunks: vec![v1::Wanted {
            digest: digest_to_wire(digest),
            bases: Vec::new(),
        }],
        elsewhere: false,
    };
    let mut answer = peer.get(request(piece)).await.unwrap().into_inner();
    let frames = answer.message().await.unwrap().unwrap().frames;
    let frame = frame_from_wire(frames[0].clone()).unwrap();
    assert_eq!(Digest::of(&thresh_cas::unpack(&frame, &[]).unwrap()), piece);
    let mut answer = peer
        .get(request(Digest::of(b"nobody's")))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.message().await.unwrap_err().code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn a_file_on_demand_is_fetched_when_it_is_opened_and_empty_when_nobody_has_it() {
    let data = tempfile::tempdir().unwrap();
    let mut fake = Fake::start().await;
    let _worker = worker(&fake, Shipped::in_folder(data.path()));
    let mut session = fake.session().await;
    let on_demand = |path: &str, content: &[u8]| Entry {
        path: path.into(),
        kind: EntryKind::OnDemand {
            digest: Digest::of(content),
            size: content.len() as u64,
        },
    };
    let entries = vec![
        file("debug/deps/bin", PROGRAM, true),
        on_demand("debug/deps/.debug/whole", b"all of it\n"),
        on_demand("debug/deps/.debug/gone", b"nobody has it\n"),
    ];
    let manifest = Manifest::new(entries).unwrap();
    let mut header = header(&fake);
    header.binaries[0].manifest = digest_to_wire(fake.put(&manifest.encode()));
    fake.put(b"all of it\n");
    let folder = format!("{TARGET}/debug/deps/.debug");
    session.lease(header, vec![case(0, &format!("[ -e {folder}/whole ]"))]);
    assert_eq!(session.attempt().await.1, Outcome::Passed);
    let fetched = || {
        fake.service
            .asked
            .lock()
            .unwrap()
            .contains(&Digest::of(b"all of it\n"))
    };
    assert!(!fetched(), "nobody has opened it");
    session.lease_more(RUN, vec![case(1, &format!("cat {folder}/whole"))]);
    let (_, _, output) = session.attempt().await;
    assert_eq!(stdout(&output), format!("source\ntarget\n{SOURCE}\nall of it\n"));
    let opened_at_once = format!("for n in 1 2 3; do cat {folder}/whole & done; wait; cat {folder}/gone");
    session.lease_more(RUN, vec![case(2, &opened_at_once)]);
    let (_, outcome, output) = session.attempt().await;
    assert_eq!(outcome, Outcome::Passed);
    assert!(stdout(&output).ends_with(&"all of it\n".repeat(3)), "{output:?}");
}

#[tokio::test]
async fn unusable_inputs_bring_cases_back_and_at_last_cordon_the_worker() {
    let data = tempfile::tempdir().unwrap();
    let mut fake = Fake::start().await;
    let _worker = worker(&fake, Shipped::in_folder(data.path()));
    let mut session = fake.session().await;
    let header = header(&fake);
    let wrong = vec![b'x'; PROGRAM.len()];
    fake.service
        .blobs
        .lock()
        .unwrap()
        .insert(Digest::of(PROGRAM), wrong);
    session.lease(header, vec![case(0, "true"), case(1, "true")]);
    let (cases, why) = session.returned().await;
    assert_eq!(cases, [0, 1]);
    assert!(why.contains(&Digest::of(PROGRAM).to_string()), "{why}");
    for case_number in [0, 1] {
        assert_eq!(session.cordons, []);
        session.lease_more(RUN, vec![case(case_number, "true")]);
        assert_eq!(session.returned().await.0, [case_number]);
    }
    assert_eq!(session.cordons[0].reason(), cordon::Reason::Fault);
    assert!(session.cordons[0].message.contains("failures in all"));
}

#[tokio::test]
async fn a_run_that_no_worker_can_prepare_does_not_cordon_this_one() {
    let data = tempfile::tempdir().unwrap();
    let mut fake = Fake::start().await;
    let _worker = worker(&fake, Shipped::in_folder(data.path()));
    let mut session = fake.session().await;
    let header = header(&fake);
    fake.service.blobs.lock().unwrap().remove(&Digest::of(PROGRAM));
    session.lease(header, vec![case(0, "true")]);
    let (_, why) = session.returned().await;
    assert!(
        why.contains(&Digest::of(PROGRAM).to_string()) && why.contains("is not here"),
        "{why}"
    );
    for _ in 0..5 {
        session.lease_more(RUN, vec![case(0, "true")]);
        assert_eq!(session.returned().await.0, [0]);
    }
    assert_eq!(session.cordons, []);
}

#[tokio::test]
async fn a_full_disk_cordons_at_once() {
    let data = tempfile::tempdir().unwrap();
    let mut fake = Fake::start().await;
    let settings = Shipped {
        free_bytes_min: u64::MAX,
        ..Shipped::in_folder(data.path())
    };
    let _worker = worker(&fake, settings);
    let mut session = fake.session().await;
    session.lease(header(&fake), vec![case(0, "true")]);
    assert_eq!(session.returned().await.0, [0]);
    assert_eq!(session.cordons.len(), 1);
    assert_eq!(session.cordons[0].reason(), cordon::Reason::DiskFull);
    assert!(
        session.cordons[0].message.contains("bytes free"),
        "{}",
        session.cordons[0].message
    );
}

#[tokio::test]
async fn setup_scripts_see_the_runs_inputs() {
    let data = tempfile::tempdir().unwrap();
    let mut fake = Fake::start().await;
    let _worker = worker(&fake, Shipped::in_folder(data.path()));
    let mut session = fake.session().await;
    let mut header = header(&fake);
    header.setup_scripts = vec![v1::SetupScript {
        id: "prepare".into(),
        argv: [
            "/bin/sh",
            "-c",
            "echo SAW=$(cat data.txt) > $NEXTEST_ENV; echo made > made.txt",
        ]
        .map(String::from)
        .into(),
        cwd: SOURCE.into(),
        ..Default::default()
    }];
    header.commands[0].setup_scripts = vec![0];
    session.lease(header, vec![case(0, "echo $SAW; cat made.txt")]);
    let (_, outcome, output) = session.attempt().await;
    assert_eq!(outcome, Outcome::Passed, "{output:?}");
    assert!(stdout(&output).ends_with("source\nmade\n"), "{output:?}");
}

#[tokio::test]
async fn blobs_of_a_run_stay_while_others_are_evicted() {
    const OTHER: RunId = RunId::from_u128(8);
    let (data, flags) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir_in("/var/tmp").unwrap(),
    );
    let mut fake = Fake::start().await;
    // Nothing is kept that no run needs.
    let shipped = Shipped {
        cache_bytes_max: 0,
        ..Shipped::in_folder(data.path())
    };
    let _worker = worker(&fake, shipped);
    let mut session = fake.session().await;
    let flag = flags.path().join("go");
    let waits = format!(
        "until [ -e {} ]; do sleep 0.02; done; cat data.txt",
        flag.display()
    );
    session.lease(header(&fake), vec![case(0, &waits)]);
    assert!(matches!(session.next().await, Some(Report::Started(_))));

    let mut other = header(&fake);
    other.run_id = run_id_to_wire(OTHER);
    other.inputs.as_mut().unwrap().source_manifest = ship(&fake, &[("data.txt", b"of the other\n", false)]);
    session.lease(other, vec![case(0, "true")]);
    assert_eq!(session.attempt().await.1, Outcome::Passed);
    let there = |content: &[u8]| {
        let name = Digest::of(content).to_string();
        let is_it = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(&name);
        blobs(data.path()).iter().any(is_it)
    };
    assert!(there(b"of the other\n") && there(b"source\n"));
    session.tell(Order::Forget(Forget {
        run_id: run_id_to_wire(OTHER),
    }));
    until("the other run's blobs are gone", || !there(b"of the other\n")).await;
    assert!(there(b"source\n"));
    std::fs::write(&flag, "").unwrap();
    let (_, outcome, output) = session.attempt().await;
    assert_eq!(outcome, Outcome::Passed, "{output:?}");
    assert!(stdout(&output).ends_with("source\n"), "{output:?}");
}
