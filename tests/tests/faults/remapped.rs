//! A worker that may not make mount namespaces.

use thresh_tests::farm::{Farm, WorkerOptions};
use thresh_tests::namespace::{self, Mount};
use thresh_tests::thresh::Thresh;
use thresh_tests::workspace::Kept;

/// `standard_input_is_empty` does not care where it runs, the other one has a path compiled in.
const SELECTION: &str = "test(=standard_input_is_empty) | test(=files_by_absolute_path)";

#[test]
fn a_client_hears_that_a_worker_presents_its_files_elsewhere() {
    let fixture = Kept::hold("parity");
    let mounts = vec![Mount::Hide(fixture.root().to_owned()), Mount::Last];
    if !namespace::allows(&mounts) {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let mut farm = Farm::start(temp.path());
    farm.add(&WorkerOptions {
        mounts,
        ..WorkerOptions::new("elsewhere", 2)
    });
    let thresh = Thresh::new(fixture.root(), temp.path().join("home"));
    let finished = thresh
        .run(&[
            "--farm",
            &farm.url(),
            "--no-reuse",
            "--workspace",
            "-E",
            SELECTION,
        ])
        .expect_code(100);

    let passes = |name| {
        let statuses = finished.statuses();
        let mut found = statuses.iter().filter(|((_, case), _)| case == name);
        found.next().expect("the case was selected").1.passes
    };
    assert!(passes("standard_input_is_empty"), "{finished}");
    assert!(!passes("files_by_absolute_path"), "{finished}");

    let events = finished.events();
    let told: Vec<_> = events
        .iter()
        .filter(|event| event.kind() == "inputs-remapped")
        .collect();
    assert_eq!(told.len(), 1, "{finished}");
    assert_eq!(told[0].text("worker"), "elsewhere");
    let cause = told[0].text("message");
    assert!(!cause.is_empty(), "{finished}");
    let warning = format!("worker elsewhere has no mount namespaces ({cause})");
    let shown: Vec<&str> = finished
        .stderr
        .lines()
        .filter(|line| line.contains(&warning))
        .collect();
    assert_eq!(shown.len(), 2, "at the first case and in the summary: {finished}");
    assert!(
        shown[1].contains("1 case failed at least once where paths differ"),
        "{finished}"
    );
}
