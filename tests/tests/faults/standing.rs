//! Several runs on one farm: who is served first.

use crate::scene::{LIMIT, Scene};

/// Has a second run with further arguments come while the first of three cases is run on the only slot; returns
/// which turn its case gets after that.
fn turn_beside_a_run(args: &[&str]) -> usize {
    let scene = Scene::new(1, 1);
    let usual = scene.start(&["-E", "test(=held_0) + test(=held_1) + test(=held_2)"]);
    let mut held = scene.gate.next();
    let mut other = scene.start(&[&["-E", "test(=held_7)"], args].concat());
    other.event(LIMIT, |event| event.kind() == "planned");
    let mut turn = 0;
    while held.name != "held_7" {
        held.pass();
        held = scene.gate.next();
        turn += 1;
    }
    held.pass();
    scene.gate.stay_open();
    other.finish().expect_code(0).expect_all_passed();
    usual.finish().expect_code(0).expect_all_passed();
    turn
}

#[test]
fn each_flag_of_a_runs_standing_has_its_effect() {
    for (args, turn) in [
        (&[][..], 3),
        (&["--submitter", "another"], 1),
        (&["--run-priority", "trunk-fix"], 1),
        (&["--deadline", "10m"], 1),
    ] {
        assert_eq!(turn_beside_a_run(args), turn, "{args:?}");
    }
}
