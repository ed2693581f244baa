//! What travels after an edit of one line in a library, beside the archive that cargo-nextest makes of everything.

use crate::Options;
use crate::figure::Figure;
use crate::measure::cost;
use crate::measured::{Suite, suites};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use thresh_tests::farm::{Farm, WorkerOptions};
use thresh_tests::proxy::Proxy;
use thresh_tests::running::Finished;
use thresh_tests::thresh::{Thresh, scrub};

/// The package that is measured unless a workspace is given.
const DEFAULT: &str = "globset";
/// Where the edits go, in the package and in the workspace that it comes from.
const EDITED: [&str; 2] = ["src/glob.rs", "crates/globset/src/glob.rs"];
/// The line behind which further ones are put in.
const BEHIND: &str = "    pub fn new(glob: &str) -> Result<Glob, Error> {\n";
/// The most that may travel, in percent of the archive.
const PERCENT_MAX: f64 = 5.0;
const BY_ADDRESSES: &str = "an edit moves what is behind it, and with it addresses in nearly every chunk";

pub(crate) fn measure(options: &Options) -> Vec<Figure> {
    let suites = suites(options, &[DEFAULT]).map(Suite::copied);
    suites
        .flat_map(|measured| suite(&measured.name, measured.folder()))
        .collect()
}

fn suite(name: &str, folder: &Path) -> Vec<Figure> {
    let temp = tempfile::tempdir().expect("a temp folder can be made");
    let mut farm = Farm::start(temp.path());
    let (clients, workers) = (Proxy::start(farm.address()), Proxy::start(farm.address()));
    farm.add(&WorkerOptions {
        url: Some(workers.url()),
        ..WorkerOptions::new("worker", 2)
    });
    let home = temp.path().join("home");
    let measured = |backtrace: &str| {
        let before = [clients.relayed(), workers.relayed()];
        let thresh = Thresh::new(folder, &home).var("RUST_BACKTRACE", backtrace);
        let url = clients.url();
        let finished = thresh.run(&["--workspace", "--no-reuse", "--no-fail-fast", "--farm", &url]);
        let finished = finished.expect_code(0);
        let [client, worker] = [clients.relayed(), workers.relayed()];
        Travelled {
            sent: client.up - before[0].up,
            fetched: worker.down - before[1].down,
            reused_percent: reused_chunks(&finished),
        }
    };
    let first = measured("0");
    edit(folder, 0);
    let edited = measured("0");
    // What is looked for is brought once, and after that as what differs.
    edit(folder, 1);
    measured("1");
    edit(folder, 2);
    let with_lines = measured("1");
    let archive = archive(folder, &temp.path().join("archive.tar.zst"));
    let row = |what: &str, bytes: u64| Figure::new(format!("data: {name}, {what}"), mebibytes(bytes), "MiB");
    let share = |what: &str, bytes: u64| {
        let name = format!("data: {name}, one line edited, {what}, by the archive");
        let percent = 100.0 * bytes as f64 / archive as f64;
        let figure = Figure::new(name, percent, "%");
        figure.at_most(PERCENT_MAX).because(BY_ADDRESSES.to_owned())
    };
    let reused = format!("data: {name}, one line edited, chunks of changed binaries reused");
    vec![
        row("cargo nextest archive", archive),
        row("first run, from the client", first.sent).beside(mebibytes(archive)),
        row("first run, to a worker", first.fetched).beside(mebibytes(archive)),
        row("one line edited, from the client", edited.sent),
        share("from the client", edited.sent),
        row("one line edited, to a worker", edited.fetched),
        share("to a worker", edited.fetched),
        Figure::new(reused, edited.reused_percent, "%"),
        row("one line edited, backtraces on, from the client", with_lines.sent),
        row("one line edited, backtraces on, to a worker", with_lines.fetched),
    ]
}

/// What a run had travel.
struct Travelled {
    sent: u64,
    fetched: u64,
    reused_percent: f64,
}

/// The share of chunks that the farm had, as the run says.
fn reused_chunks(finished: &Finished) -> f64 {
    let mut notes = finished.stderr.lines().rev();
    let said = notes.find_map(|note| {
        let (said, _) = note.split_once(" chunks of large files were there")?;
        let (reused, of) = said.rsplit_once(": ")?.1.split_once(" of ")?;
        Some(100.0 * reused.parse::<f64>().ok()? / of.parse::<f64>().ok()?)
    });
    said.expect("the run says what it ships")
}

/// Puts a line in, or changes it: each number makes another line.
fn edit(folder: &Path, number: u8) {
    let edited: Vec<PathBuf> = EDITED.iter().map(|file| folder.join(file)).collect();
    let file = edited.iter().find(|file| file.is_file());
    let file = file.unwrap_or_else(|| panic!("{} has none of {EDITED:?}", folder.display()));
    let text = fs::read_to_string(file).expect("a source file is text");
    let put_in = |number: u8| format!("        let glob = glob.trim_end_matches(char::from({number}));\n");
    let behind = match number {
        0 => BEHIND.to_owned(),
        _ => put_in(number - 1),
    };
    assert!(
        text.contains(&behind),
        "{} has no line {behind:?}",
        file.display()
    );
    // A line more each time, so that what is behind it moves.
    let text = text.replacen(&behind, &format!("{behind}{}", put_in(number)), 1);
    fs::write(file, text).expect("a copy can be written");
}

/// Makes the archive and returns its bytes.
fn archive(folder: &Path, path: &Path) -> u64 {
    let mut command = Command::new("cargo");
    scrub(&mut command);
    command
        .current_dir(folder)
        .args(["nextest", "archive", "--workspace", "--archive-file"])
        .arg(path);
    cost(command);
    path.metadata().expect("the archive is there").len()
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
