//! Builds small crates with rustc and analyses their links.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use thresh_reach::Analysis;

/// A folder in which one crate is built again and again.
pub(crate) struct Workshop {
    folder: TempDir,
    pub(crate) flags: Vec<String>,
}

/// The real linker, and a note of how it was called.
const LINKER: &str = "#!/bin/sh\nprintf '%s\\0' \"$@\" > arguments\nexec cc \"$@\"\n";

impl Workshop {
    pub(crate) fn new(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temp folder");
        let linker = folder.path().join("linker");
        fs::write(&linker, LINKER).expect("written");
        fs::set_permissions(&linker, fs::Permissions::from_mode(0o755)).expect("made executable");
        Self {
            folder,
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn graphs(&self) -> PathBuf {
        self.path().join("graphs")
    }

    pub(crate) fn run(&self, program: &str, arguments: &[&str]) {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(self.path())
            .output();
        let output = output.unwrap_or_else(|cause| panic!("{program}: {cause}"));
        assert!(
            output.status.success(),
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Links the tests of a crate and returns the linker's arguments. Objects stay where they are.
    pub(crate) fn link(&self, source: &str) -> Vec<OsString> {
        self.link_as("--test", source)
    }

    /// The same for what `kind`, a flag of rustc, says: a program, for one, which has no tests.
    pub(crate) fn link_as(&self, kind: &str, source: &str) -> Vec<OsString> {
        fs::write(self.path().join("demo.rs"), source).expect("written");
        let fixed = [
            "demo.rs",
            "--edition=2024",
            kind,
            "-Csave-temps",
            "-Cdebuginfo=0",
            "-Clinker=./linker",
            "-Clinker-flavor=gcc",
            "-odemo",
            "-Awarnings",
        ];
        let own: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        self.run("rustc", &[&fixed[..], &own].concat());
        let arguments = fs::read(self.path().join("arguments")).expect("the linker was called");
        let words = arguments.split(|byte| *byte == 0).filter(|word| !word.is_empty());
        words.map(|word| self.absolute(word)).collect()
    }

    /// The linker was called in this folder; the analysis is not.
    fn absolute(&self, word: &[u8]) -> OsString {
        let word = OsString::from_vec(word.to_vec());
        let path = self.path().join(&word);
        let relative = !Path::new(&word).is_absolute() && !word.to_string_lossy().starts_with('-');
        if relative && path.exists() {
            path.into_os_string()
        } else {
            word
        }
    }

    /// Analyses a link as if it were the first of this binary.
    pub(crate) fn analyse(&self, arguments: &[OsString]) -> Analysis {
        for kept in self.kept() {
            fs::remove_file(kept).expect("removed");
        }
        self.analyse_again(arguments)
    }

    /// The files of all analyses.
    fn kept(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.graphs()).into_iter().flatten();
        let files = files.map(|file| file.expect("a file").path());
        files.filter(|file| file.is_file()).collect()
    }

    pub(crate) fn analyse_again(&self, arguments: &[OsString]) -> Analysis {
        let kept = thresh_reach::analyse(arguments, &self.graphs()).expect("it can be written");
        Analysis::load(&kept.expect("an executable")).expect("it can be read")
    }

    pub(crate) fn build(&self, source: &str) -> Analysis {
        self.analyse(&self.link(source))
    }
}
