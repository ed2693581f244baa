//! Workers that die, freeze, lose their connection; clients that go away.

use crate::scene::{LIMIT, Scene, places, split, starts};
use rustix::process::Signal;
use std::time::{Duration, Instant};
use thresh_tests::farm::{Farm, WorkerOptions};
use thresh_tests::gate::{Gate, Held};
use thresh_tests::proxy::Proxy;
use thresh_tests::running::Running;
use thresh_tests::status::Word;
use thresh_tests::thresh::Thresh;
use thresh_tests::workspace::Kept;

/// The longest until a lost or frozen worker is noticed.
const NOTICED: Duration = Duration::from_secs(10);

#[test]
fn a_killed_worker_costs_only_its_unfinished_cases() {
    let mut scene = Scene::new(3, 2);
    let mut run = scene.start(&["held_"]);
    let held = scene.gate.take(6);
    let places = places(&mut run, 6);
    let (mut lost, others) = split(held, &places, "worker-1");
    assert_eq!(lost.len(), 2, "{places:?}");
    let finished_before = lost.remove(0);
    let name = finished_before.name.clone();
    finished_before.pass();
    run.event(LIMIT, |event| event.is_about("attempt-ended", &name));

    scene.farm.worker("worker-1").signal(Signal::KILL);
    let news = run.event(NOTICED, |event| {
        event.kind() == "worker" && event.text("kind") == "lost"
    });
    assert_eq!(news.text("worker"), "worker-1");
    others.into_iter().for_each(Held::pass);
    let lost_name = lost[0].name.clone();
    scene.gate.stay_open();
    let finished = run.finish().expect_code(0);
    finished.expect_all_passed();
    let events = finished.events();
    assert_eq!(
        starts(&events, &name),
        ["worker-1"],
        "a case that had finished ran again"
    );
    let moved = starts(&events, &lost_name);
    assert_eq!(moved.len(), 2, "{moved:?}");
    assert_ne!(moved[1], "worker-1");
    let survivors = places.iter().filter(|(_, worker)| *worker != "worker-1");
    survivors.for_each(|(case, worker)| assert_eq!(starts(&events, case), [worker.as_str()]));
}

#[test]
fn a_frozen_worker_is_noticed_and_its_late_outcomes_are_refused() {
    let mut scene = Scene::new(2, 2);
    let mut run = scene.start(&[
        "-E",
        "test(=held_0) + test(=held_1) + test(=held_2) + test(=held_3)",
    ]);
    let held = scene.gate.take(4);
    let places = places(&mut run, 4);
    let (mut frozen, mut others) = split(held, &places, "worker-1");
    assert_eq!(frozen.len(), 2, "{places:?}");

    scene.farm.worker("worker-1").signal(Signal::STOP);
    let stopped = Instant::now();
    run.event(NOTICED + Duration::from_secs(5), |event| {
        event.kind() == "worker" && event.text("kind") == "lost"
    });
    let took = stopped.elapsed();
    assert!(took <= NOTICED, "noticed only after {took:?}");

    // One process ends while its worker sleeps, with an outcome that must not count; one still waits.
    frozen.remove(0).fail();
    others.remove(0).pass();
    let elsewhere = scene.gate.next();
    scene.farm.worker("worker-1").signal(Signal::CONT);
    frozen.remove(0).wait_dead(LIMIT);

    elsewhere.pass();
    others.into_iter().for_each(Held::pass);
    scene.gate.next().pass();
    let finished = run.finish().expect_code(0);
    finished.expect_all_passed();
    assert_eq!(finished.statuses().len(), 4);
}

#[test]
fn a_case_that_takes_two_workers_down_is_crashed_and_the_others_go_on() {
    // One for the culprit, the other case, the culprit again, and a second copy of what waits for long.
    let mut scene = Scene::new(4, 1);
    let mut run = scene.start(&["-E", "test(=held_0) + test(=held_1)"]);
    let (mut held, places) = (scene.gate.take(2), places(&mut run, 2));
    let other = held.remove(1);
    let culprit = held.remove(0).name.clone();
    let lost = |run: &mut Running, lost: &str| {
        run.event(NOTICED, |event| {
            event.kind() == "worker" && event.text("kind") == "lost" && event.text("worker") == lost
        });
    };
    scene.farm.worker(&places[&culprit]).signal(Signal::KILL);
    lost(&mut run, &places[&culprit]);
    let again = run.event(LIMIT, |event| event.is_about("case-started", &culprit));
    scene.farm.worker(again.text("worker")).signal(Signal::KILL);
    lost(&mut run, again.text("worker"));
    other.pass();
    let finished = run.finish().expect_code(100);
    let word = |name: &str| {
        let statuses = finished.statuses();
        statuses
            .into_iter()
            .find(|((_, case), _)| case == name)
            .unwrap()
            .1
            .word
    };
    assert_eq!(
        (word(&culprit), finished.statuses().len()),
        (Word::Crashed, 2),
        "{finished}"
    );
    assert_eq!(
        starts(&finished.events(), &culprit).len(),
        2,
        "not tried for ever"
    );
}

#[test]
fn a_lost_connection_kills_every_process_even_in_another_session() {
    let fixture = Kept::hold("gated");
    let temp = tempfile::tempdir().unwrap();
    let mut farm = Farm::start(temp.path());
    let proxy = Proxy::start(farm.address());
    farm.add(&WorkerOptions {
        url: Some(proxy.url()),
        ..WorkerOptions::new("remote", 2)
    });
    let gate = Gate::open();
    let (name, value) = gate.variable();
    let thresh = Thresh::new(fixture.root(), temp.path().join("home")).var(name, value);
    let url = farm.url();
    let filter = "test(=held_0) + test(=leaves_a_session)";
    let run = thresh.start(&["--farm", &url, "--no-reuse", "--no-fail-fast", "-E", filter]);
    let held = gate.take(3);
    proxy.cut();
    held.into_iter().for_each(|held| held.wait_dead(LIMIT));

    proxy.mend();
    for held in gate.take(3) {
        held.pass();
    }
    run.finish().expect_code(0).expect_all_passed();
}

#[test]
fn a_killed_client_has_its_run_cancelled() {
    let scene = Scene::new(1, 2);
    let run = scene.start(&["held_"]);
    let held = scene.gate.take(2);
    drop(run);
    held.into_iter().for_each(|held| held.wait_dead(LIMIT));
    // The slots are free again.
    let run = scene.start(&["-E", "test(=held_0)"]);
    let held = std::iter::repeat_with(|| scene.gate.next())
        .find(|held| held.name == "held_0")
        .unwrap();
    held.pass();
    run.finish().expect_code(0);
}

#[test]
fn a_worker_that_joins_late_gets_its_share() {
    let mut scene = Scene::new(1, 1);
    let mut run = scene.start(&["-E", "test(=held_0) + test(=held_1)"]);
    let first = scene.gate.next();
    scene.farm.add(&WorkerOptions::new("late", 1));
    let second = scene.gate.next();
    let places = places(&mut run, 2);
    assert_eq!(places[&second.name], "late");
    first.pass();
    second.pass();
    run.finish().expect_code(0).expect_all_passed();
}

#[test]
fn a_worker_that_is_asked_to_leave_finishes_what_it_runs() {
    let mut scene = Scene::new(2, 1);
    let mut run = scene.start(&["-E", "test(=held_0) + test(=held_1) + test(=held_2)"]);
    let held = scene.gate.take(2);
    let places = places(&mut run, 2);
    scene.farm.worker("worker-1").signal(Signal::TERM);
    run.event(LIMIT, |event| {
        event.kind() == "worker" && event.text("worker") == "worker-1"
    });
    held.into_iter().for_each(Held::pass);
    let last = scene.gate.next();
    let third = last.name.clone();
    last.pass();
    let finished = run.finish().expect_code(0);
    let events = finished.events();
    for (case, worker) in places {
        assert_eq!(starts(&events, &case), [worker.as_str()]);
    }
    assert_eq!(starts(&events, &third), ["worker-2"]);
}

#[test]
fn an_interrupt_ends_the_processes_and_still_reports() {
    for farm in [false, true] {
        let scene = Scene::new(1, 2);
        let args = [
            "run",
            "--message-format",
            "json",
            "--no-reuse",
            "-j",
            "2",
            "held_",
        ];
        let mut run = if farm {
            scene.start(&["held_"])
        } else {
            let (name, value) = scene.gate.variable();
            let thresh = Thresh::new(scene.fixture.root(), scene.temp.path().join("home")).var(name, value);
            Running::start(thresh.command(&args))
        };
        let mut held = scene.gate.take(2);
        let first = held.remove(0);
        let name = first.name.clone();
        first.pass();
        run.event(LIMIT, |event| event.is_about("attempt-ended", &name));
        run.signal(Signal::INT);
        held.into_iter().for_each(|held| held.wait_dead(LIMIT));
        let finished = run.finish().expect_code(106);
        let ended = finished.ended();
        assert_eq!(ended.text("reason"), "cancelled");
        assert_eq!(ended.text("verdict"), "incomplete");
        assert_eq!(finished.statuses().len(), 8, "{finished}");
    }
}
