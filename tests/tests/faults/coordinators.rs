//! Coordinators that die, stores that go away.

use crate::scene::{LIMIT, Scene, starts};
use rustix::process::Signal;
use sqlx::{Connection, PgConnection};
use thresh_tests::events::Event;
use thresh_tests::farm::{Farm, WorkerOptions};
use thresh_tests::gate::Held;
use thresh_tests::postgres::Postgres;
use thresh_tests::running::{Running, signal_process};
use thresh_tests::wait;

/// The cases of the fixture that wait at the gate.
const CASES: usize = 8;

/// A farm with two workers on a database of PostgreSQL, maybe with a coordinator that stands by.
fn on(postgres: &Postgres, standby: bool) -> Scene {
    let temp = tempfile::tempdir().unwrap();
    let mut farm = Farm::start_with(temp.path(), &["--store", &postgres.url()]);
    if standby {
        farm.stand_by();
    }
    farm.add(&WorkerOptions::new("one", 2));
    farm.add(&WorkerOptions::new("two", 2));
    Scene::of(temp, farm)
}

/// Lets one case pass and one fail, and waits until both are known. Returns their names and the others.
fn settle_two(scene: &Scene, run: &mut Running) -> (String, String, Vec<Held>) {
    let mut held = scene.gate.take(4);
    let (passes, fails) = (held.remove(0), held.remove(0));
    let (passed, failed) = (passes.name.clone(), fails.name.clone());
    passes.pass();
    run.event(LIMIT, |event| event.is_about("attempt-ended", &passed));
    fails.fail();
    run.event(LIMIT, |event| event.is_about("attempt-ended", &failed));
    // Each of the two freed a slot.
    held.extend(scene.gate.take(2));
    (passed, failed, held)
}

/// Lets all others pass, and checks that each case was decided once.
fn expect_carried_on(scene: Scene, run: Running, (passed, failed): (String, String)) {
    let Scene { gate, farm, .. } = scene;
    gate.stay_open();
    let finished = run.finish().expect_code(100);
    let events = finished.events();
    assert_eq!(
        starts(&events, &passed).len(),
        1,
        "a case that had passed ran again"
    );
    assert_eq!(
        starts(&events, &failed).len(),
        1,
        "a case that had failed ran again"
    );
    let ends = |event: &&Event| event.kind() == "attempt-ended";
    assert_eq!(
        events.iter().filter(ends).count(),
        CASES,
        "{}",
        farm.log("coordinator")
    );
    assert_eq!(finished.statuses().len(), CASES);
}

#[test]
fn a_killed_coordinator_is_carried_on_from_its_store() {
    let mut scene = Scene::new(2, 2);
    let mut run = scene.start(&["held_"]);
    let (passed, failed, held) = settle_two(&scene, &mut run);
    scene.farm.kill_coordinator();
    held.into_iter().for_each(|held| held.wait_dead(LIMIT));
    scene.farm.restart_coordinator();
    expect_carried_on(scene, run, (passed, failed));
}

#[test]
fn a_standby_takes_over_and_everyone_follows() {
    let postgres = Postgres::start();
    let mut scene = on(&postgres, true);
    let mut run = scene.start(&["held_"]);
    let (passed, failed, held) = settle_two(&scene, &mut run);
    scene.farm.kill_coordinator();
    held.into_iter().for_each(|held| held.wait_dead(LIMIT));
    scene.farm.wait_for_coordinator();
    expect_carried_on(scene, run, (passed, failed));
}

#[test]
fn a_frozen_leader_is_replaced_and_stands_by_when_it_wakes() {
    let postgres = Postgres::start();
    let mut scene = on(&postgres, true);
    let mut run = scene.start(&["held_"]);
    let (passed, failed, held) = settle_two(&scene, &mut run);
    let frozen = scene.farm.coordinator_id();
    signal_process(frozen, Signal::STOP);
    held.into_iter().for_each(|held| held.wait_dead(LIMIT));
    scene.farm.change_places();
    scene.farm.wait_for_coordinator();
    signal_process(frozen, Signal::CONT);
    wait::until("the old leader's word", LIMIT, || {
        let log = scene.farm.log("coordinator");
        log.contains("the lead was lost; standing by").then_some(())
    });
    expect_carried_on(scene, run, (passed, failed));
}

/// Keeps every coordinator from writing its journal; from then on transactions wait.
struct BlockedJournal {
    runtime: tokio::runtime::Runtime,
    connection: PgConnection,
}

impl BlockedJournal {
    fn of(postgres: &Postgres) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let connection = runtime.block_on(async {
            let mut connection = PgConnection::connect(&postgres.url()).await.unwrap();
            let lock = "BEGIN; LOCK TABLE journal_events IN EXCLUSIVE MODE";
            sqlx::raw_sql(lock).execute(&mut connection).await.unwrap();
            connection
        });
        Self { runtime, connection }
    }

    fn wait_for_a_writer(&mut self) {
        let waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'journal_events'::regclass";
        wait::until("a transaction that waits", LIMIT, || {
            let found = sqlx::query(waits).fetch_optional(&mut self.connection);
            self.runtime.block_on(found).unwrap().map(|_| ())
        });
    }

    fn unblock(self) {
        self.runtime.block_on(self.connection.close()).unwrap();
    }
}

#[test]
fn a_leader_that_is_frozen_within_a_transaction_is_replaced() {
    let postgres = Postgres::start();
    let mut scene = on(&postgres, true);
    let mut run = scene.start(&["held_"]);
    let (passed, failed, mut held) = settle_two(&scene, &mut run);
    let mut blocked = BlockedJournal::of(&postgres);
    held.remove(0).pass();
    blocked.wait_for_a_writer();
    let frozen = scene.farm.coordinator_id();
    signal_process(frozen, Signal::STOP);
    // Its transaction goes on within the server, and then waits for a coordinator that says nothing.
    blocked.unblock();
    held.into_iter().for_each(|held| held.wait_dead(LIMIT));
    scene.farm.change_places();
    scene.farm.wait_for_coordinator();
    signal_process(frozen, Signal::CONT);
    expect_carried_on(scene, run, (passed, failed));
}

#[test]
fn a_run_waits_for_a_database_that_is_away() {
    let mut postgres = Postgres::start();
    let scene = on(&postgres, false);
    let mut run = scene.start(&["held_"]);
    let (passed, failed, held) = settle_two(&scene, &mut run);
    postgres.stop();
    // The coordinator steps down: another could lead by now. What its workers run is to be run again.
    held.into_iter().for_each(|held| held.wait_dead(LIMIT));
    postgres.resume();
    expect_carried_on(scene, run, (passed, failed));
}
