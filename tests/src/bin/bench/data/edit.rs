//! What travels after an edit of one line in a library, beside the archive that cargo-nextest makes of everything.

use crate::Options;
use crate::figure::Figure;
use crate::measure::{cost, thresh};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use thresh_tests::farm::{Farm, WorkerOptions};
use thresh_tests::packages;
use thresh_tests::proxy::Proxy;
use thresh_tests::thresh::scrub;
use thresh_tests::workspace::Workspace;

/// The package that is measured unless a workspace is given.
const DEFAULT: &str = "globset";
/// Where the edit goes, in the package and in the workspace that it comes from.
const EDITED: [&str; 2] = ["src/glob.rs", "crates/globset/src/glob.rs"];
/// The line behind which one is put in.
const BEHIND: &str = "    pub fn new(glob: &str) -> Result<Glob, Error> {\n";
const PUT_IN: &str = "        let glob = glob.trim_end_matches(char::from(0));\n";
/// The most that may travel, in percent of the archive.
const PERCENT_MAX: f64 = 5.0;
const WITH_DEBUG_SECTIONS: &str = "the debug sections of a binary travel with it";

pub(crate) fn measure(options: &Options) -> Vec<Figure> {
    if options.suites.is_empty() {
        let (source, version) = packages::source(DEFAULT);
        let copy = Workspace::copy_of(&source);
        return suite(&format!("{DEFAULT} {version}"), &copy.root());
    }
    let suites = options.suites.iter().map(|source| {
        let name = source.file_name().map(|name| name.to_string_lossy().into_owned());
        let copy = Workspace::copy_of(source);
        suite(&name.unwrap_or_default(), &copy.root())
    });
    suites.flatten().collect()
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
    let run = || {
        let before = [clients.relayed(), workers.relayed()];
        let url = clients.url();
        cost(thresh(
            folder,
            &home,
            &["--workspace", "--no-reuse", "--farm", &url],
        ));
        let [client, worker] = [clients.relayed(), workers.relayed()];
        [client.up - before[0].up, worker.down - before[1].down]
    };
    let [sent_first, fetched_first] = run();
    edit(folder);
    let [sent, fetched] = run();
    let archive = archive(folder, &temp.path().join("archive.tar.zst"));
    let percent = |bytes: u64| 100.0 * bytes as f64 / archive as f64;
    let row = |what: &str, bytes: u64| Figure::new(format!("data: {name}, {what}"), mebibytes(bytes), "MiB");
    let share = |what: &str, bytes: u64| {
        let name = format!("data: {name}, one line edited, {what}, by the archive");
        let figure = Figure::new(name, percent(bytes), "%");
        figure
            .at_most(PERCENT_MAX)
            .because(WITH_DEBUG_SECTIONS.to_owned())
    };
    vec![
        row("cargo nextest archive", archive),
        row("first run, from the client", sent_first).beside(mebibytes(archive)),
        row("first run, to a worker", fetched_first).beside(mebibytes(archive)),
        row("one line edited, from the client", sent),
        share("from the client", sent),
        row("one line edited, to a worker", fetched),
        share("to a worker", fetched),
    ]
}

fn edit(folder: &Path) {
    let edited: Vec<PathBuf> = EDITED.iter().map(|file| folder.join(file)).collect();
    let file = edited.iter().find(|file| file.is_file());
    let file = file.unwrap_or_else(|| panic!("{} has none of {EDITED:?}", folder.display()));
    let text = fs::read_to_string(file).expect("a source file is text");
    assert!(text.contains(BEHIND), "{} has no line {BEHIND:?}", file.display());
    let text = text.replacen(BEHIND, &format!("{BEHIND}{PUT_IN}"), 1);
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
