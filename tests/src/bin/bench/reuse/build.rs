//! What analyses cost a build: the same edit of a library, built by cargo alone and with the wrapper of `thresh run`, in
//! turns.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::{MetadataCommand, Package, TargetKind};
use thresh_tests::thresh::binary;

use super::beside;
use crate::Options;
use crate::figure::Figure;
use crate::measure::{cost, freshness_check, in_turns};
use crate::measured::{Suite, suites};

/// The package that is measured unless workspaces are given.
const DEFAULT: &str = "globset";

pub(crate) fn measure(options: &Options) -> Vec<Figure> {
    let suites = suites(options, &[DEFAULT]).map(Suite::copied);
    suites
        .flat_map(|measured| suite(&measured.name, measured.folder(), options.repeats))
        .collect()
}

fn suite(name: &str, folder: &Path, repeats: usize) -> Vec<Figure> {
    let temp = tempfile::tempdir().expect("a temp folder can be made");
    let library = library(folder);
    let analyses = temp.path().join("analyses");
    let wrapper = thresh_reach::compiler(&analyses, binary()).expect("the wrapper can be named");
    let build = |is_analysed: bool| {
        let mut command: Command = freshness_check(folder);
        command.arg("--workspace");
        // Cargo asks rustc anew after each change of the wrapper, which only happens here.
        command.env("CARGO_CACHE_RUSTC_INFO", "0");
        for wrapper in ["RUSTC_WRAPPER", "CARGO_BUILD_RUSTC_WRAPPER"] {
            command.env_remove(wrapper);
        }
        if is_analysed {
            command
                .env("RUSTC_WRAPPER", &wrapper)
                .env(thresh_reach::FOLDER_VARIABLE, &analyses);
        }
        cost(command)
    };
    // Fills the target folder and what is remembered of the archives of dependencies.
    build(true);
    let costs = in_turns(repeats, |is_analysed| {
        edit(&library);
        let before = kept(&analyses);
        let cost = build(is_analysed);
        let is_changed = kept(&analyses) > before;
        assert_eq!(is_changed, is_analysed, "the edit does not change a test binary");
        cost
    });
    let name = format!("build, {name}, a line more in a library, with analyses (peer: without)");
    beside(&name, &costs)
}

/// How many analyses there are.
fn kept(analyses: &Path) -> usize {
    let files = fs::read_dir(analyses).expect("the wrapper has made it");
    let files = files.map(|file| file.expect("the folder can be read").path());
    files.filter(|file| file.extension().is_some()).count()
}

/// The main file of the first library of a workspace, the root package's before others.
fn library(folder: &Path) -> PathBuf {
    let metadata = MetadataCommand::new().current_dir(folder).no_deps().exec();
    let metadata = metadata.expect("cargo knows the workspace");
    let root = metadata.root_package().into_iter();
    let packages: Vec<&Package> = root.chain(metadata.workspace_packages()).collect();
    let targets = packages.iter().flat_map(|package| &package.targets);
    let is_library =
        |kind: &TargetKind| matches!(kind, TargetKind::Lib | TargetKind::RLib | TargetKind::ProcMacro);
    let mut libraries = targets.filter(|target| target.kind.iter().any(is_library));
    let library = libraries.next().expect("the workspace has a library");
    library.src_path.clone().into_std_path_buf()
}

/// Moves all lines of a file down by one: what is behind them in debug information and in locations of panics changes.
fn edit(file: &Path) {
    let content = fs::read_to_string(file).expect("a library is text");
    fs::write(file, format!("\n{content}")).expect("it can be written");
}
