//! `thresh affected`.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nextest_metadata::NextestExitCode;
use serde::Serialize;
use thresh_client::affected::{
    Affected, BaseTree, Standing, affected, read_standings, unproven, write_standings,
};
use thresh_client::project::StateFolder;
use thresh_client::report::one_line;
use thresh_client::run::Prepared;
use thresh_worker::sandbox::start_with_folders;

use super::run::blocking;
use crate::args::{AffectedArgs, MessageFormat};
use crate::connect::Connection;
use crate::failure::Failure;
use crate::options::suite_options;
use crate::output::{closed_pipe, json_line};

/// So much of a commit's name is shown.
const COMMIT_SHOWN: usize = 12;

/// The answer.
#[derive(Debug, Serialize)]
struct Answer {
    /// The commit that is compared with, by its full name; none where stored passes are.
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<String>,
    /// How many cases are selected.
    selected: usize,
    affected: Vec<Affected>,
}

/// Where the base is to be shown, and who builds it.
struct Places {
    state: StateFolder,
    workspace: PathBuf,
    base: PathBuf,
    outputs: [PathBuf; 2],
    directory: PathBuf,
}

/// Lists the cases that a change concerns.
///
/// # Errors
/// The suite cannot be made, here or at the base.
pub(crate) async fn list(args: AffectedArgs) -> Result<i32, Failure> {
    // Before `-C`, which the process for the base is given, too.
    let directory = std::env::current_dir();
    let directory =
        directory.map_err(|cause| Failure::environment(format!("find the working directory: {cause}")))?;
    let options = suite_options(&args.build, &args.select, &args.farm, None)?;
    let state = options.state.clone();
    let prepared = blocking(move || Prepared::new(options)).await?;
    let places = Places {
        state: state.clone(),
        workspace: prepared.workspace_root().as_std_path().to_owned(),
        base: prepared.base_folder(),
        outputs: prepared.output_folders(),
        directory,
    };
    let farm = prepared.farm().map(str::to_owned);
    let connection = Connection::open(farm.as_deref(), &state, None, None).await?;
    let standings = prepared.standings(connection.channel.clone()).await;
    connection.close().await;
    let now = standings?;
    match (&args.standings, &args.base) {
        (Some(path), _) => {
            write_standings(path, &now).map_err(|error| Failure::environment(error.to_string()))?;
            Ok(NextestExitCode::OK)
        }
        (None, Some(revision)) => {
            let (base, commit) = at_base(&places, revision)?;
            tell(&args, affected(&now, &base), now.len(), Some(commit))
        }
        (None, None) => tell(&args, unproven(&now), now.len(), None),
    }
}

/// Has another process of this program build the base and say how its cases stand.
fn at_base(places: &Places, revision: &str) -> Result<(Vec<Standing>, String), Failure> {
    let tree = BaseTree::check_out(&places.workspace, &places.base, revision)
        .map_err(|error| Failure::of(error.fault(), &error))?;
    let state = places.state.root();
    if state
        .canonicalize()
        .unwrap_or_else(|_| state.to_owned())
        .starts_with(&tree.top)
    {
        return Err(Failure::input(format!(
            "compare with {revision}: {} lies in the repository, where the base is shown; set THRESH_HOME to a folder \
             outside of it",
            places.state.root().display()
        )));
    }
    let shown = shown(places, &tree)?;
    let handed = places.base.join("standings");
    let _ = writeln!(
        io::stderr(),
        "{:>12} {revision} ({})",
        "Base",
        short(&tree.commit)
    );
    let command = || {
        let mut command = Command::new("/proc/self/exe");
        command.args(arguments(&handed)).stdin(Stdio::null());
        command
    };
    let started = start_with_folders(command, &shown, &places.directory);
    let mut child = started.map_err(|cause| {
        Failure::environment(format!(
            "show {revision} at {}: {cause}; --base needs mount namespaces (user.max_user_namespaces) and a working directory \
             that is there at the base",
            tree.top.display()
        ))
    })?;
    let ended = child
        .wait()
        .map_err(|cause| Failure::environment(format!("wait for the base: {cause}")))?;
    if !ended.success() {
        return Err(Failure {
            message: format!("build {revision} and list its cases (see above)"),
            code: ended
                .code()
                .and_then(|code| u8::try_from(code).ok())
                .unwrap_or(crate::failure::SETUP),
        });
    }
    let base = read_standings(&handed).map_err(|error| Failure::environment(error.to_string()))?;
    Ok((base, tree.commit.clone()))
}

/// The base in the repository's place, with output folders of its own: the workspace's stay as they are.
fn shown(places: &Places, tree: &BaseTree) -> Result<Vec<(PathBuf, PathBuf)>, Failure> {
    let mut shown = vec![(tree.folder.clone(), tree.top.clone())];
    for (from, at) in tree.outputs.iter().zip(&places.outputs) {
        if shown.iter().any(|(_, over)| at.starts_with(over)) {
            continue;
        }
        std::fs::create_dir_all(at)
            .map_err(|cause| Failure::environment(format!("use {}: {cause}", at.display())))?;
        shown.push((from.clone(), at.clone()));
    }
    Ok(shown)
}

/// This process's own, with the file to write to.
fn arguments(handed: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    // Words after `--` are filters.
    let end = arguments.iter().position(|word| word == "--");
    let end = end.unwrap_or(arguments.len());
    arguments.splice(end..end, ["--standings".into(), handed.into()]);
    arguments
}

fn short(commit: &str) -> &str {
    commit.get(..COMMIT_SHOWN).unwrap_or(commit)
}

fn tell(
    args: &AffectedArgs,
    affected: Vec<Affected>,
    selected: usize,
    base: Option<String>,
) -> Result<i32, Failure> {
    let answer = Answer {
        base,
        selected,
        affected,
    };
    let written = match args.message_format {
        MessageFormat::Human => write(&answer),
        MessageFormat::Json => json_line(&answer),
    };
    written.map(|()| NextestExitCode::OK).or_else(closed_pipe)
}

/// One case on each line, as `thresh list` has them; for people with why.
fn write(answer: &Answer) -> io::Result<()> {
    let mut sink = io::stdout().lock();
    let is_terminal = sink.is_terminal();
    for case in &answer.affected {
        write!(sink, "{} {}", case.binary_id, one_line(&case.name))?;
        if is_terminal {
            write!(sink, "  ({})", case.because.join(", "))?;
        }
        writeln!(sink)?;
    }
    let since = match &answer.base {
        Some(commit) => format!("changes since {}", short(commit)),
        None => "changes since their last passes".to_owned(),
    };
    let count = answer.affected.len();
    // For who reads on: the list is for other programs.
    let _ = writeln!(
        io::stderr(),
        "{:>12} {count} of {} cases, by {since}",
        "Affected",
        answer.selected
    );
    Ok(())
}
