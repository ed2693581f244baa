//! What is bounded: memory, output.

use std::time::Duration;
use thresh_tests::thresh::Thresh;
use thresh_tests::workspace::Kept;

/// The most memory that a run of one flooding case may take, in MiB.
const MEMORY_MIB: u64 = 200;

#[test]
fn hundreds_of_mebibytes_of_output_are_kept_to_a_limit() {
    let fixture = Kept::hold("basic");
    let temp = tempfile::tempdir().unwrap();
    let thresh = Thresh::new(fixture.root(), temp.path());
    // Built before, so that no time and memory of cargo's is looked at.
    thresh.call(&["run", "--no-run"]).expect_code(0);
    let args = ["--no-reuse", "--run-ignored", "only", "floods"];
    let finished = thresh.run(&args).expect_code(100);
    let events = finished.events();
    let ended = events
        .iter()
        .find(|event| event.is_about("attempt-ended", "floods"))
        .unwrap();
    let stdout = ended.text("stdout");
    // libtest itself writes a few lines first and last.
    assert!(
        stdout[..stdout.len().min(4096)].contains("FIRST-LINE"),
        "the head is lost"
    );
    assert!(
        stdout[stdout.len().saturating_sub(4096)..].contains("LAST-LINE"),
        "the tail is lost"
    );
    assert!(stdout.len() < 64 << 20, "{} bytes were kept", stdout.len());
    assert!(
        finished.rss_kib_max < MEMORY_MIB << 10,
        "{} KiB of memory",
        finished.rss_kib_max
    );
    assert!(finished.waited < Duration::from_secs(120));
}
