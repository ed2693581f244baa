//! Which reports a run writes, and where to.

use std::fs::File;
use std::io::{self, IsTerminal, Seek, Write};
use std::path::Path;

use camino::Utf8Path;
use thresh_client::report::{
    GithubOptions, GithubReporter, HumanOptions, HumanReporter, JsonReporter, JunitReporter, Reporters,
    RerunCommand,
};
use thresh_client::run::Prepared;

use crate::args::{Color, MessageFormat, ReportArgs};
use crate::failure::Failure;

/// Columns of a progress bar where the terminal does not tell its own.
const COLUMNS_DEFAULT: u16 = 80;

/// Whether to colour what goes to standard error.
pub(crate) fn colours(color: Color) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        }
    }
}

/// Opens the reports that the arguments and the profile ask for. `directory` is that of `-C`.
///
/// # Errors
/// A report's file cannot be made.
pub(crate) fn reporters(
    args: &ReportArgs,
    directory: Option<&Utf8Path>,
    prepared: &Prepared,
) -> Result<Reporters, Failure> {
    let profile = prepared.profile();
    let mut flags = prepared.rerun_flags();
    if let Some(directory) = directory {
        flags.splice(0..0, ["-C".to_owned(), directory.to_string()]);
    }
    let rerun = RerunCommand { flags };
    let human = HumanOptions {
        status_level: args.status_level.unwrap_or(profile.status_level()),
        final_status_level: args.final_status_level.unwrap_or(profile.final_status_level()),
        repeat_failures: args.failure_output.is_none(),
        colour: colours(args.color),
        progress: shows_progress(args, prepared),
        columns: columns(),
        rerun: rerun.clone(),
    };
    let mut reporters = Reporters::new().with(HumanReporter::new(io::stderr(), human));
    if args.message_format == MessageFormat::Json {
        reporters = reporters.with(JsonReporter::new(io::LineWriter::new(io::stdout())));
    }
    if let Some(path) = &args.junit {
        let name = profile.junit().map_or("thresh-run", |junit| &junit.report_name);
        reporters = reporters.with(JunitReporter::new(JunitFile::create(path)?, name.to_owned()));
    }
    if let Some(junit) = profile.junit() {
        reporters = reporters.with(JunitReporter::new(
            JunitFile::create(junit.path.as_std_path())?,
            junit.report_name.clone(),
        ));
    }
    if args.ci && std::env::var_os("GITHUB_ACTIONS").is_some() {
        let path = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(Into::into)
        };
        let options = GithubOptions {
            summary_file: path("GITHUB_STEP_SUMMARY"),
            repository_root: path("GITHUB_WORKSPACE"),
            workspace_root: prepared.workspace_root().into(),
            rerun,
        };
        // Workflow commands are read from either stream; standard output may carry JSON.
        reporters = reporters.with(GithubReporter::new(io::stderr(), options));
    }
    Ok(reporters)
}

fn shows_progress(args: &ReportArgs, prepared: &Prepared) -> bool {
    !args.ci && !args.hide_progress_bar && !prepared.no_capture() && io::stderr().is_terminal()
}

fn columns() -> u16 {
    rustix::termios::tcgetwinsize(io::stderr()).map_or(COLUMNS_DEFAULT, |size| size.ws_col)
}

/// What a JUnit report holds until the run has its verdict: no cases, but well-formed for whoever collects it.
const NO_CASES: &[u8] = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
    <testsuites name=\"thresh-run\" tests=\"0\" failures=\"0\" errors=\"0\"/>\n";

/// A JUnit report's file. What it holds goes when the report is written.
struct JunitFile {
    file: File,
    is_placeholder: bool,
}

impl JunitFile {
    fn create(path: &Path) -> Result<Self, Failure> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|cause| {
                Failure::environment(format!("make the folder {}: {cause}", folder.display()))
            })?;
        }
        let create = || {
            let mut file = File::create(path)?;
            if file.metadata()?.is_file() {
                file.write_all(NO_CASES)?;
            }
            Ok(file)
        };
        let file = create().map_err(|cause: io::Error| {
            Failure::environment(format!("write the JUnit report {}: {cause}", path.display()))
        })?;
        Ok(Self {
            file,
            is_placeholder: true,
        })
    }
}

impl Write for JunitFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_placeholder {
            // A pipe or device got no placeholder.
            if self.file.metadata()?.is_file() {
                self.file.set_len(0)?;
                self.file.rewind()?;
            }
            self.is_placeholder = false;
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_replaces_the_placeholder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/report.xml");
        let mut file = JunitFile::create(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), NO_CASES);
        file.write_all(b"<a/>").unwrap();
        file.write_all(b"<b/>").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"<a/><b/>");
    }
}
