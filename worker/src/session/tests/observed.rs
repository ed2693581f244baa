//! What cases depend on, told along with how they went.

use std::collections::BTreeMap;
use std::path::Path;

use thresh_core::observe::{Access, Observation};
use thresh_proto::convert::observation_from_wire;
use thresh_proto::v1::LeasedCase;
use thresh_proto::v1::outcome::Kind;
use thresh_proto::v1::worker_report::Report;

use super::shipped::{SOURCE, TARGET, header};
use super::*;
use crate::inputs::testing::in_place_header;
use crate::sandbox::{Isolation, Level};
use crate::session::{Shipped, WorkerConfig};

/// Waits for the ends of so many cases.
async fn observed(session: &mut FakeSession, count: usize) -> BTreeMap<u32, Observation> {
    let mut observed = BTreeMap::new();
    while observed.len() < count {
        if let Report::Attempt(attempt) = session.next().await.unwrap() {
            let seen = attempt.observed.expect("it was observed");
            observed.insert(attempt.case, observation_from_wire(&seen).unwrap());
        }
    }
    observed
}

/// A worker in the client's process that observes its cases.
fn in_place() -> WorkerConfig {
    WorkerConfig {
        observe: true,
        ..WorkerConfig::in_place("here", 1, "any")
    }
}

fn read(path: &Path) -> String {
    format!("read x < {}", path.display())
}

fn is_read(seen: &Observation, path: &str) -> bool {
    assert_eq!(seen.unobservable, None);
    let entry = seen.entries.get(Path::new(path));
    entry.is_some_and(|entry| entry.accesses.contains(Access::Content))
}

#[tokio::test]
async fn cases_in_place_tell_also_after_one_that_left_a_process() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().canonicalize().unwrap();
    let (file, pipe) = (folder.join("file"), folder.join("pipe"));
    std::fs::write(&file, "x").unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
    let mut fake = Fake::start().await;
    let mut worker = Worker::start(fake.coordinator(), in_place());
    let mut session = fake.session().await;
    let leave = format!("setsid cat {} >/dev/null 2>&1 & :", pipe.display());
    let cases: Vec<LeasedCase> = vec![case(0, &read(&file)), case(1, &leave), case(2, &read(&file))];
    session.lease(in_place_header(RUN), cases);
    let observed = observed(&mut session, 3).await;
    // Lets the one end that was left.
    tokio::task::spawn_blocking(move || std::fs::write(pipe, ""))
        .await
        .unwrap()
        .unwrap();
    worker.stop();
    worker.ended().await.unwrap();
    for case in [0, 2] {
        assert!(is_read(&observed[&case], file.to_str().unwrap()), "{observed:?}");
    }
}

#[tokio::test]
async fn a_case_that_fails_on_what_observing_may_hinder_is_run_again_unobserved() {
    let temp = tempfile::tempdir().unwrap();
    let mut fake = Fake::start().await;
    let mut worker = Worker::start(fake.coordinator(), in_place());
    let mut session = fake.session().await;
    let second_time = |name: &str| {
        let mark = temp.path().join(name).display().to_string();
        format!("test -e {mark} || {{ touch {mark}; exit 1; }}")
    };
    // `su` has its owner's rights; that it does nothing here does not matter.
    let unusual = format!("su --version >/dev/null 2>&1; {}", second_time("unusual"));
    session.lease(
        in_place_header(RUN),
        vec![case(0, &unusual), case(1, &second_time("usual"))],
    );
    let mut passed = BTreeMap::new();
    while passed.len() < 2 {
        if let Report::Attempt(attempt) = session.next().await.unwrap() {
            let kind = attempt.outcome.unwrap().kind();
            passed.insert(attempt.case, (kind, attempt.observed.is_some()));
        }
    }
    worker.stop();
    worker.ended().await.unwrap();
    assert_eq!(
        passed,
        [(0, (Kind::Passed, false)), (1, (Kind::Failed, true))].into()
    );
}

#[tokio::test]
async fn a_case_that_is_not_to_be_observed_is_not() {
    let mut fake = Fake::start().await;
    let mut worker = Worker::start(fake.coordinator(), in_place());
    let mut session = fake.session().await;
    let plain = |number| LeasedCase {
        unobserved: true,
        ..case(number, ":")
    };
    session.lease(
        in_place_header(RUN),
        vec![plain(0), case(1, ":"), plain(2), case(3, ":")],
    );
    let mut observed = BTreeMap::new();
    while observed.len() < 4 {
        if let Report::Attempt(attempt) = session.next().await.unwrap() {
            observed.insert(attempt.case, attempt.observed.is_some());
        }
    }
    worker.stop();
    worker.ended().await.unwrap();
    assert_eq!(observed, [(0, false), (1, true), (2, false), (3, true)].into());
}

/// A worker of a farm that isolates its cases so far.
fn on_a_farm(data: &Path, level: Level) -> WorkerConfig {
    let shipped = Shipped {
        isolation: Isolation::at(level),
        ..Shipped::in_folder(data)
    };
    WorkerConfig {
        dedicated: false,
        ..WorkerConfig::on_a_farm("there", 1, "any", shipped)
    }
}

#[tokio::test]
async fn cases_in_a_view_tell_their_own_paths() {
    let data = tempfile::tempdir().unwrap();
    let mut fake = Fake::start().await;
    let _worker = Worker::start(fake.coordinator(), on_a_farm(data.path(), Level::Private));
    let mut session = fake.session().await;
    session.lease(
        header(&fake),
        vec![case(0, "test -e gone || echo x > new; cat new")],
    );
    let observed = observed(&mut session, 1).await;
    let seen = &observed[&0];
    let path = |name: &str| format!("{SOURCE}/{name}");
    assert!(is_read(seen, &path("data.txt")) && is_read(seen, &format!("{TARGET}/debug/deps/bin")));
    assert!(is_read(seen, &format!("{TARGET}/shared.txt")), "{seen:?}");
    let ways = |name: &str| {
        let entry = seen.entries.get(Path::new(&path(name)));
        entry.map(|entry| entry.accesses.iter().collect::<Vec<_>>())
    };
    assert_eq!(ways("gone"), Some(vec![Access::Absent]));
    assert_eq!(ways("new"), Some(vec![Access::Replaced]));
}

#[tokio::test]
async fn what_others_of_the_run_may_have_written_is_not_told_as_the_clients() {
    let data = tempfile::tempdir().unwrap();
    let mut fake = Fake::start().await;
    let _worker = Worker::start(fake.coordinator(), on_a_farm(data.path(), Level::None));
    let mut session = fake.session().await;
    session.lease(header(&fake), vec![case(0, ":")]);
    let attempt = loop {
        if let Report::Attempt(attempt) = session.next().await.unwrap() {
            break attempt;
        }
    };
    assert_eq!(attempt.outcome.unwrap().kind(), Kind::Passed);
    assert!(attempt.observed.is_none());
}
