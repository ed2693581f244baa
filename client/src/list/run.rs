//! Asking binaries for their cases.

use std::io;
use std::process::{Command, ExitStatus, Stdio};

use camino::Utf8PathBuf;
use nextest_metadata::NextestExitCode;
use thresh_core::fault::Fault;
use thresh_core::id::RunId;

use super::cases::CaseList;
use crate::command::ListCommand;

/// How much of each stream of a failed listing is shown, in bytes.
const SHOWN_BYTES_MAX: usize = 4 << 10;

/// The cases of a binary could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// Its package's folder is missing.
    #[error("list the cases of {binary}: its folder {folder} does not exist")]
    NoFolder {
        /// The binary's id.
        binary: String,
        /// The folder.
        folder: Utf8PathBuf,
    },
    /// It could not be started.
    #[error("list the cases of {binary}: run `{command}`: {source}")]
    Run {
        /// The binary's id.
        binary: String,
        /// The command line.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// It failed.
    #[error("list the cases of {binary}: `{command}` ended with {status}{output}")]
    Failed {
        /// The binary's id.
        binary: String,
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote, as lines with a heading for each stream.
        output: String,
    },
    /// What it wrote is no list.
    #[error(
        "list the cases of {binary}: `{command}` wrote {what}, not lines such as `name: test`; \
         a harness of one's own must understand `--list --format terse`{output}"
    )]
    NotAList {
        /// The binary's id.
        binary: String,
        /// The command line.
        command: String,
        /// The first thing that is not right.
        what: String,
        /// What it wrote, as lines with a heading for each stream.
        output: String,
    },
}

impl ListError {
    /// Whose fault this is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Run { .. } => Fault::Environment,
            _ => Fault::Input,
        }
    }

    /// Returns the exit code that cargo-nextest has for this error.
    pub fn exit_code(&self) -> i32 {
        NextestExitCode::TEST_LIST_CREATION_FAILED
    }
}

/// Runs the list command of the binary called `binary`, both times at once.
pub(super) fn list(binary: &str, command: &ListCommand, run: RunId) -> Result<CaseList, ListError> {
    if !command.cwd.is_dir() {
        return Err(ListError::NoFolder {
            binary: binary.to_owned(),
            folder: command.cwd.clone(),
        });
    }
    let (all, ignored) = rayon::join(
        || output(binary, command, run, false),
        || output(binary, command, run, true),
    );
    let (all, ignored) = (all?, ignored?);
    CaseList::parse(&all.stdout, &ignored.stdout).map_err(|line| ListError::NotAList {
        binary: binary.to_owned(),
        command: shell_words::join(&command.argv),
        what: format!("the line {:?}", head(line, 200)),
        output: all.shown(),
    })
}

struct Written {
    stdout: String,
    stderr: Vec<u8>,
}

impl Written {
    fn shown(&self) -> String {
        shown(self.stdout.as_bytes(), &self.stderr)
    }
}

fn output(binary: &str, command: &ListCommand, run: RunId, ignored: bool) -> Result<Written, ListError> {
    let mut argv = command.argv.clone();
    if ignored {
        argv.push("--ignored".to_owned());
    }
    let binary = binary.to_owned();
    let line = shell_words::join(&argv);
    let output = Command::new(&argv[0])
        .args(&argv[1..])
        .current_dir(&command.cwd)
        .envs(command.env.iter().map(|(name, value)| (name, value)))
        .env("NEXTEST_RUN_ID", run.to_string())
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Ok(output) => output,
        Err(source) => {
            return Err(ListError::Run {
                binary,
                command: line,
                source,
            });
        }
    };
    if !output.status.success() {
        let text = shown(&output.stdout, &output.stderr);
        return Err(ListError::Failed {
            binary,
            command: line,
            status: output.status,
            output: text,
        });
    }
    match String::from_utf8(output.stdout) {
        Ok(stdout) => Ok(Written {
            stdout,
            stderr: output.stderr,
        }),
        Err(error) => Err(ListError::NotAList {
            binary,
            command: line,
            what: "bytes that are not UTF-8".to_owned(),
            output: shown(error.as_bytes(), &output.stderr),
        }),
    }
}

fn shown(stdout: &[u8], stderr: &[u8]) -> String {
    let stream = |name: &str, bytes: &[u8]| {
        if bytes.is_empty() {
            return String::new();
        }
        let kept = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
        let mut text = format!("\n{name}:\n{}", String::from_utf8_lossy(kept).trim_end());
        if kept.len() < bytes.len() {
            text.push_str(&format!("\n… ({} bytes more)", bytes.len() - kept.len()));
        }
        text
    };
    stream("standard output", stdout) + &stream("standard error", stderr)
}

fn head(text: &str, characters_max: usize) -> String {
    text.chars().take(characters_max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str) -> Result<CaseList, ListError> {
        let argv = ["/bin/sh", "-c", script, "sh"].map(str::to_owned).to_vec();
        let env = vec![("VARIABLE".to_owned(), "of the list".into())];
        let command = ListCommand {
            argv,
            cwd: "/".into(),
            env,
            wrapping: 0,
        };
        list("package::binary", &command, RunId::from_u128(7))
    }

    #[test]
    fn both_lists_are_asked_for() {
        let list =
            run("if [ \"$1\" = --ignored ]; then echo 'b: test'; else printf 'a: test\\nb: test\\n'; fi")
                .unwrap();
        let ignored: Vec<_> = list
            .cases
            .iter()
            .map(|case| (case.name.as_str(), case.ignored))
            .collect();
        assert_eq!(ignored, [("a", false), ("b", true)]);
        let list = run("echo \"$VARIABLE $NEXTEST_RUN_ID: test\"").unwrap();
        assert_eq!(
            list.cases[0].name,
            "of the list 00000000-0000-0000-0000-000000000007"
        );
    }

    #[test]
    fn failures_show_what_was_written() {
        let error = run("echo out; echo err >&2; exit 3").unwrap_err();
        assert_eq!(error.exit_code(), 104);
        let text = error.to_string();
        for part in [
            "package::binary",
            "/bin/sh -c",
            "exit status: 3",
            "standard output:\nout",
            "standard error:\nerr",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let text = run("echo hello").unwrap_err().to_string();
        assert!(
            text.contains("wrote the line \"hello\"") && text.contains("standard output:\nhello"),
            "{text}"
        );
        let text = run("printf '\\377'").unwrap_err().to_string();
        assert!(text.contains("bytes that are not UTF-8"), "{text}");
        let text = run("yes 'no list' | head -c 1000000").unwrap_err().to_string();
        assert!(
            text.len() < 10_000 && text.contains("bytes more"),
            "{} bytes",
            text.len()
        );
    }
}
