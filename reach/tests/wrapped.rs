//! Whether rustc and the linker make the same binary when a wrapper is called in their places.
//!
//! Wrappers become other programs, or are called by them, so this test is the wrapper itself when it is called by its names, and has no harness.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode};

use thresh_core::digest::Digest;
use thresh_reach::{Analysis, COMPILER_VARIABLE, FOLDER_VARIABLE, LINKER_VARIABLE, Locations};

const NAME: &str = "a_wrapped_compiler_makes_the_same_binary";

const SOURCE: &str = "
    fn f() -> u32 { std::hint::black_box(1) }
    #[test] fn one() { assert_eq!(f(), 1) } #[test] fn two() {}
    fn main() { assert_eq!(f(), 1) }";

fn main() -> ExitCode {
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_default();
    let arguments: Vec<OsString> = arguments.collect();
    let variable = |name: &str| env::var_os(name);
    if thresh_reach::is_compiler(&name) {
        return thresh_reach::compile(env::current_exe(), &arguments, variable).into();
    }
    if thresh_reach::is_wrapper(&name) {
        return thresh_reach::link(&arguments, variable).into();
    }
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    match (has("--list"), has("--ignored")) {
        (true, true) => {}
        (true, false) => writeln!(std::io::stdout(), "{NAME}: test").expect("it can be written"),
        (false, _) => check(),
    }
    ExitCode::SUCCESS
}

fn check() {
    let folder = tempfile::tempdir().expect("a temp folder");
    fs::write(folder.path().join("demo.rs"), SOURCE).expect("written");
    let graphs = folder.path().join("graphs");
    let program = env::current_exe().expect("it has a file");
    let wrapper = thresh_reach::compiler(&graphs, &program).expect("it can be named");
    for (kind, cases) in [("--test", 2), ("--crate-type=bin", 0)] {
        let made = build(&mut Command::new("rustc"), folder.path(), kind);
        let mut wrapped = Command::new(&wrapper);
        wrapped.arg("rustc").env(FOLDER_VARIABLE, &graphs);
        let again = build(&mut wrapped, folder.path(), kind);
        assert!(again == made, "{kind}: it is another one");
        let binary = folder.path().join("demo");
        let kept = Analysis::path(&graphs, &binary, &Digest::of(&made), |_| true);
        let analysis = Analysis::load(&kept.expect("the wrapper was called")).expect("it can be read");
        assert_eq!(analysis.summary().whole(), None, "{kind}");
        assert_eq!(analysis.summary().keys(Locations::Exact).count(), cases, "{kind}");
    }
}

/// Calls a compiler as cargo does, and returns the binary that it makes.
fn build(compiler: &mut Command, folder: &Path, kind: &str) -> Vec<u8> {
    let binary = folder.join("demo");
    let _ = fs::remove_file(&binary);
    for name in [COMPILER_VARIABLE, LINKER_VARIABLE] {
        compiler.env_remove(name);
    }
    let fixed = [
        "--crate-name=demo",
        "--edition=2024",
        "demo.rs",
        "--emit=link",
        "-odemo",
        "-Awarnings",
    ];
    let output = compiler.args(fixed).arg(kind).current_dir(folder).output();
    let output = output.expect("it can be started");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::read(&binary).expect("a binary")
}
