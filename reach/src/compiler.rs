//! The program that cargo calls in rustc's place, so that what rustc links is analysed.
//!
//! Cargo rebuilds everything when the configured linker changes, so that to and fro between `thresh run` and `cargo build`
//! would cost two whole builds. A wrapper of rustc (`RUSTC_WRAPPER`) is no part of what cargo compares. It hands on to
//! rustc, in its own process, and only where a test binary or a program is linked it adds an option: the linker, by the
//! name of its wrapper ([`link()`](crate::link)).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::linker::{
    FOLDER_VARIABLE, LINKER_DEFAULT, LINKER_VARIABLE, NOT_STARTED, SETUP, is_wrapper, say, wrapper_name,
};

/// The file name under which the program is called as a compiler.
pub(crate) const COMPILER_NAME: &str = "thresh-rustc";

/// The environment variable that names the wrapper of rustc that the user has configured. Empty or not set: none.
pub const COMPILER_VARIABLE: &str = "THRESH_RUSTC_WRAPPER";

/// The folder within that of the analyses in which the program has its other names.
const NAMES: &str = "bin";

/// Whether a program that is called by this name is to act as a compiler.
pub fn is_compiler(program: &OsStr) -> bool {
    Path::new(program).file_name() == Some(OsStr::new(COMPILER_NAME))
}

/// The path under which cargo is to call `program` as `RUSTC_WRAPPER`. `folder` is that of the analyses.
///
/// # Errors
/// The name cannot be made in the folder.
pub fn compiler(folder: &Path, program: &Path) -> io::Result<PathBuf> {
    named(folder, OsStr::new(COMPILER_NAME), program)
}

/// Becomes the compiler. `arguments` are without the program's own name: first the compiler, then what is for it. `program` is
/// this program's file, and `variable` looks up the environment. Returns the exit code if it does not come to that.
pub fn compile(
    program: io::Result<PathBuf>,
    arguments: &[OsString],
    variable: impl Fn(&str) -> Option<OsString>,
) -> u8 {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let inner = set(COMPILER_VARIABLE);
    let mut words = inner.iter().chain(arguments);
    let Some(first) = words.next() else {
        say(&format!(
            "{COMPILER_NAME} is called by cargo, during `thresh run`, with a compiler as its first argument"
        ));
        return SETUP;
    };
    let mut command = Command::new(first);
    command.args(words);
    // A build script may call it as it calls rustc, and without the environment: then it is rustc.
    if let (Some(folder), Some(linker)) = (set(FOLDER_VARIABLE), linker(arguments)) {
        let wrapper = program.and_then(|program| {
            let name = wrapper_name(Path::new(&linker));
            named(Path::new(&folder), &name, &program)
        });
        // Without the wrapper the binary is linked all the same, and has no analysis.
        if let Ok(wrapper) = wrapper {
            let mut option = OsString::from("-Clinker=");
            option.push(wrapper);
            command.arg(option).env(LINKER_VARIABLE, linker);
        }
    }
    let cause = command.exec();
    say(&format!("failed to start {}: {cause}", first.display()));
    NOT_STARTED
}

/// The linker that a call of rustc uses for a test binary or a program; none where it links nothing of the kind, or where
/// only rustc knows its linker.
fn linker(arguments: &[OsString]) -> Option<OsString> {
    let mut call = Call::default();
    let mut words = arguments.iter().map(|argument| argument.as_bytes());
    while let Some(word) = words.next() {
        match word {
            b"--test" => call.is_program = true,
            b"-C" | b"--codegen" => call.codegen(words.next()?),
            b"--crate-type" => call.kind(words.next()?),
            b"--crate-name" => call.name = words.next()?,
            b"--emit" => call.emits(words.next()?),
            b"--target" => call.target = words.next(),
            _ => {
                let value = |option: &str| word.strip_prefix(option.as_bytes());
                if let Some(value) = value("--codegen=").or(value("-C")) {
                    call.codegen(value);
                } else if let Some(value) = value("--crate-type=") {
                    call.kind(value);
                } else if let Some(value) = value("--crate-name=") {
                    call.name = value;
                } else if let Some(value) = value("--emit=") {
                    call.emits(value);
                } else if let Some(value) = value("--target=") {
                    call.target = Some(value);
                }
            }
        }
    }
    call.linker()
}

/// Kinds of linkers that are called by the usual name.
const USUAL_FLAVORS: [&[u8]; 3] = [b"gcc", b"gnu-cc", b"gnu-lld-cc"];

/// What matters of a call of rustc.
#[derive(Default)]
struct Call<'a> {
    /// A test binary or a program, no library.
    is_program: bool,
    /// Whether it is to be linked.
    is_linked: bool,
    name: &'a [u8],
    target: Option<&'a [u8]>,
    linker: Option<&'a [u8]>,
    /// It says what kind of linker it is, which may be another than the usual one.
    has_flavor: bool,
}

impl<'a> Call<'a> {
    fn codegen(&mut self, option: &'a [u8]) {
        if let Some(linker) = option.strip_prefix(b"linker=") {
            self.linker = Some(linker);
        }
        if let Some(flavor) = option.strip_prefix(b"linker-flavor=") {
            self.has_flavor |= !USUAL_FLAVORS.contains(&flavor);
        }
    }

    fn kind(&mut self, kinds: &[u8]) {
        self.is_program |= kinds.split(|byte| *byte == b',').any(|kind| kind == b"bin");
    }

    fn emits(&mut self, kinds: &[u8]) {
        self.is_linked |= kinds.split(|byte| *byte == b',').any(|kind| kind == b"link");
    }

    fn linker(&self) -> Option<OsString> {
        // Build scripts have no cases.
        if !self.is_program || !self.is_linked || self.name.starts_with(b"build_script_") {
            return None;
        }
        let by_default = || {
            let is_usual = |target: &[u8]| {
                let target = String::from_utf8_lossy(target);
                let is_described = target.ends_with(".json");
                !is_described && (target.contains("-linux-gnu") || target.contains("-linux-musl"))
            };
            let is_usual = !self.has_flavor && self.target.is_none_or(is_usual);
            is_usual.then_some(LINKER_DEFAULT.as_bytes())
        };
        let linker = OsStr::from_bytes(self.linker.or_else(by_default)?);
        // rustc tells these by their whole name how to speak to them.
        let stem = Path::new(linker).file_stem().and_then(OsStr::to_str);
        let is_told_by_name = matches!(stem, Some("lld" | "rust-lld"));
        (!is_wrapper(linker) && !is_told_by_name).then(|| linker.to_owned())
    }
}

/// The path of another name of `program`, which is made if it is not there or leads elsewhere.
fn named(folder: &Path, name: &OsStr, program: &Path) -> io::Result<PathBuf> {
    let names = folder.join(NAMES);
    let path = names.join(name);
    if std::fs::read_link(&path).is_ok_and(|leads| leads == program) {
        return Ok(path);
    }
    std::fs::create_dir_all(&names)?;
    // Others may do the same at this time: the name is there at every moment.
    let temp = tempfile::Builder::new()
        .prefix(".name-")
        .make_in(&names, |path| symlink(program, path))?;
    temp.into_temp_path()
        .persist(&path)
        .map_err(|error| error.error)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Option<String> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        linker(&words).map(|linker| linker.into_string().unwrap())
    }

    #[test]
    fn tests_and_programs_are_linked_by_the_linker_that_is_asked_for() {
        let usual = "rustc --crate-name x src/lib.rs --emit=dep-info,link --test -C metadata=1";
        assert_eq!(of(usual).as_deref(), Some("cc"));
        let program = "rustc --crate-name x --crate-type bin --emit dep-info,link -C linker=clang";
        assert_eq!(of(program).as_deref(), Some("clang"));
        let flavor = "rustc --test --emit=link -Clinker-flavor=gcc";
        assert_eq!(of(flavor).as_deref(), Some("cc"));
        let last = "rustc --test --emit=link -Clinker=/usr/bin/one --codegen linker=two";
        assert_eq!(of(last).as_deref(), Some("two"));
    }

    #[test]
    fn others_are_left_alone() {
        for line in [
            "rustc -vV",
            "rustc --crate-name x --crate-type lib --emit=dep-info,metadata,link",
            "rustc --crate-name x --test --emit=dep-info,metadata",
            "rustc --crate-name build_script_build --crate-type bin --emit=link",
            "rustc --crate-name x --test --emit=link --target wasm32-wasip1",
            "rustc --test --emit=link -Clinker=/b/thresh-linker-cc",
            "rustc --test --emit=link -Clinker=rust-lld",
            "rustc --test --emit=link -Clinker-flavor=ld",
            "rustc --test --emit=link --target my-linux-gnu.json",
            "rustc --crate-type",
        ] {
            assert_eq!(of(line), None, "{line}");
        }
        let cross = "rustc --test --emit=link --target aarch64-unknown-linux-gnu";
        assert_eq!(of(cross).as_deref(), Some("cc"));
    }

    #[test]
    fn a_name_leads_to_the_program_of_now() {
        let folder = tempfile::tempdir().unwrap();
        let path = compiler(folder.path(), Path::new("/old/thresh")).unwrap();
        assert!(is_compiler(path.as_os_str()));
        assert_eq!(compiler(folder.path(), Path::new("/new/thresh")).unwrap(), path);
        assert_eq!(std::fs::read_link(&path).unwrap(), Path::new("/new/thresh"));
        assert_eq!(std::fs::read_dir(folder.path().join(NAMES)).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_done_has_an_exit_code() {
        let call = |arguments: &[&str], folder: Option<&str>| {
            let words: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            let variable = |name: &str| folder.filter(|_| name == FOLDER_VARIABLE).map(OsString::from);
            compile(Ok("/thresh".into()), &words, variable)
        };
        for folder in [None, Some("/nowhere")] {
            assert_eq!(call(&[], folder), SETUP);
            assert_eq!(call(&["/nowhere/rustc", "-vV"], folder), NOT_STARTED);
        }
    }
}
