//! Reading and validating a submitted run. What passes here has no position that points nowhere.

use std::collections::BTreeSet;
use std::path::{Component, Path};
use std::sync::Arc;

use thresh_core::case::{FlakyResult, RetryPolicy, ThreadsRequired};
use thresh_core::digest::Digest;
use thresh_core::id::{BinaryIndex, GroupIndex, RunId};
use thresh_core::reuse::KeyParts;
use thresh_core::schedule::{PlannedBinary, PlannedCase, RunRequest};
use thresh_proto::convert::{
    InvalidMessage, audit_share_from_wire, digest_from_wire, duration_from_wire, group_from_wire,
    key_parts_from_wire, leak_timeout_from_wire, max_fail_from_wire, priority_from_wire, retries_from_wire,
    run_id_from_wire, slow_timeout_from_wire, threads_from_wire,
};
use thresh_proto::v1;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

use crate::driver::{CasePlan, Submission};

/// The most cases of one run.
const CASES_MAX: usize = 5_000_000;

/// The longest case name, in bytes.
const NAME_BYTES_MAX: usize = 64 << 10;

/// The names of all cases of a run together, in bytes.
const NAMES_BYTES_MAX: usize = 1 << 30;

/// The longest project name, in bytes.
const PROJECT_BYTES_MAX: usize = 1_024;

/// The longest platform and name of a submitter, in bytes.
const WORD_BYTES_MAX: usize = 256;

/// Folders of a worker's machine that no run can present its own files at.
const RESERVED: [&str; 3] = ["/proc", "/sys", "/dev"];

/// The settings that the scheduler needs of a case, read once for all cases that share them.
struct Settings {
    priority: i8,
    threads_required: ThreadsRequired,
    group: Option<GroupIndex>,
    retries: RetryPolicy,
    flaky_result: FlakyResult,
}

/// Reads a whole submission from the client's stream.
pub(super) async fn receive(
    mut messages: impl Stream<Item = Result<v1::SubmitRequest, Status>> + Unpin,
) -> Result<Submission, Status> {
    let first = messages.next().await.transpose()?.unwrap_or_default();
    let header = first
        .header
        .ok_or_else(|| InvalidMessage::new("header", "is missing in the first message"))?;
    let mut cases = Vec::new();
    let mut names_bytes = 0;
    let mut more = Some(first.cases);
    while let Some(some) = more {
        names_bytes += some.iter().map(|case| case.name.len()).sum::<usize>();
        if cases.len() + some.len() > CASES_MAX || names_bytes > NAMES_BYTES_MAX {
            return Err(Status::resource_exhausted(format!(
                "a run can have {CASES_MAX} cases and {NAMES_BYTES_MAX} bytes of names at most; split it"
            )));
        }
        cases.extend(some);
        let next = messages.next().await.transpose()?;
        if next.as_ref().is_some_and(|message| message.header.is_some()) {
            return Err(InvalidMessage::new("header", "comes twice").into());
        }
        more = next.map(|message| message.cases);
    }
    Ok(validate(header, cases)?)
}

/// Checks a run and gives it the form that the driver takes, as yet unplanned.
pub(crate) fn validate(
    mut header: v1::RunHeader,
    cases: Vec<v1::Case>,
) -> Result<Submission, InvalidMessage> {
    let run = run_id_from_wire(&header.run_id)?;
    check_names(&header)?;
    let in_place = check_inputs(&header)?;
    check_action(&header, cases.len(), in_place)?;
    let settings = header
        .settings
        .iter()
        .map(|settings| read_settings(settings, header.groups.len()));
    let settings = settings.collect::<Result<Vec<_>, _>>()?;
    check_commands(&header)?;
    let key_parts = std::mem::take(&mut header.key_parts);
    let key_parts: Vec<KeyParts> = key_parts
        .iter()
        .map(key_parts_from_wire)
        .collect::<Result<_, _>>()?;
    let planned = (cases.iter())
        .map(|case| {
            check_case(case, &header, key_parts.len())?;
            Ok(planned_case(case, &settings[case.settings as usize]))
        })
        .collect::<Result<Vec<_>, InvalidMessage>>()?;
    let global_timeout = header
        .global_timeout
        .map(|timeout| duration_from_wire("global_timeout", Some(timeout)));
    let deadline = header
        .deadline
        .map(|deadline| duration_from_wire("deadline", Some(deadline)));
    let request = RunRequest {
        platform: header.platform.clone(),
        in_place,
        submitter: header.submitter.clone(),
        priority: priority_from_wire(header.priority()),
        deadline: deadline.transpose()?,
        max_fail: max_fail_from_wire(header.max_fail),
        global_timeout: global_timeout.transpose()?,
        groups: header
            .groups
            .iter()
            .map(group_from_wire)
            .collect::<Result<_, _>>()?,
        binaries: header
            .binaries
            .iter()
            .map(|binary| planned_binary(binary, in_place))
            .collect::<Result<_, _>>()?,
        cases: planned,
    };
    Ok(Submission {
        run,
        project: header.project.as_str().into(),
        binary_ids: header
            .binaries
            .iter()
            .map(|binary| Arc::from(binary.id.as_str()))
            .collect(),
        plans: vec![CasePlan::default(); cases.len()],
        audit: audit_share_from_wire(header.audit_ppm)?,
        header,
        cases,
        key_parts,
        request,
    })
}

fn check_names(header: &v1::RunHeader) -> Result<(), InvalidMessage> {
    let project = &header.project;
    if project.is_empty() || project.len() > PROJECT_BYTES_MAX || project.contains('\0') {
        let problem = format!("is empty, longer than {PROJECT_BYTES_MAX} bytes or has a NUL in it");
        return Err(InvalidMessage::new("project", problem));
    }
    if header.platform.is_empty() {
        return Err(InvalidMessage::new("platform", "is empty"));
    }
    for (field, text) in [("platform", &header.platform), ("submitter", &header.submitter)] {
        if text.len() > WORD_BYTES_MAX || text.chars().any(char::is_control) {
            let problem = format!("is longer than {WORD_BYTES_MAX} bytes or has a control character in it");
            return Err(InvalidMessage::new(field, problem));
        }
    }
    for binary in &header.binaries {
        if binary.id.is_empty() || binary.id.contains('\0') {
            return Err(InvalidMessage::new("binaries.id", "is empty or has a NUL in it"));
        }
    }
    Ok(())
}

/// Checks where the cases find their files; returns whether that is in place.
fn check_inputs(header: &v1::RunHeader) -> Result<bool, InvalidMessage> {
    let inputs = header
        .inputs
        .as_ref()
        .ok_or_else(|| InvalidMessage::new("inputs", "is missing"))?;
    for binary in &header.binaries {
        digest_from_wire("binaries.digest", &binary.digest)?;
    }
    if inputs.in_place {
        return Ok(true);
    }
    if header.no_capture {
        return Err(InvalidMessage::new(
            "no_capture",
            "is set in a run that is not in place",
        ));
    }
    for (_, manifest) in manifests(header) {
        digest_from_wire("manifest", manifest)?;
    }
    check_folders(inputs, header.action.is_none())?;
    Ok(false)
}

/// Checks that an action is one command.
fn check_action(header: &v1::RunHeader, cases: usize, in_place: bool) -> Result<(), InvalidMessage> {
    let counts = [cases, header.commands.len(), header.binaries.len()];
    if header.action.is_some() && (counts != [1; 3] || in_place) {
        let problem = "is set, but the run is not one command with its inputs";
        return Err(InvalidMessage::new("action", problem));
    }
    Ok(())
}

/// Checks that workers can present the folders of a shipped run at their paths: what none of them can do is
/// refused here, before it keeps every one of them busy.
fn check_folders(inputs: &v1::Inputs, has_source: bool) -> Result<(), InvalidMessage> {
    let source = has_source.then_some(("inputs.source_root", &inputs.source_root));
    let own = source
        .into_iter()
        .chain([("inputs.target_root", &inputs.target_root)]);
    let others = (inputs.folders.iter()).map(|folder| ("inputs.folders.path", &folder.path));
    let mut paths = BTreeSet::new();
    for (field, text) in own.chain(others) {
        let path = Path::new(text);
        let is_normal = (path.components().skip(1)).all(|part| matches!(part, Component::Normal(_)));
        let refuse = |why| Err(InvalidMessage::new(field, format!("is {text:?}: {why}")));
        if !path.is_absolute() || !is_normal || text.contains('\0') {
            return refuse("not an absolute path without `..`");
        }
        if path == Path::new("/")
            || path == Path::new("/tmp")
            || RESERVED.iter().any(|own| path.starts_with(own))
        {
            return refuse("the folders /, /tmp, /proc, /sys and /dev are the worker's own; move the files");
        }
        if !paths.insert(path) {
            return refuse("another folder of the run has the same path");
        }
    }
    Ok(())
}

/// The manifests of a shipped run, each with what it holds.
fn manifests(header: &v1::RunHeader) -> impl Iterator<Item = (String, &[u8])> {
    let inputs = header.inputs.iter().flat_map(|inputs| {
        let source = ("the source tree".to_owned(), &inputs.source_manifest[..]);
        let source = Some(source).filter(|_| header.action.is_none());
        let target = ("the target folder".to_owned(), &inputs.target_manifest[..]);
        source.into_iter().chain([target]).chain(
            inputs
                .folders
                .iter()
                .map(|folder| (folder.path.clone(), &folder.manifest[..])),
        )
    });
    // An action has no files but its inputs.
    let binaries = header.binaries.iter().filter(|_| header.action.is_none());
    inputs.chain(binaries.map(|binary| (binary.id.clone(), &binary.manifest[..])))
}

/// The digests of the manifests of a shipped run, each with what it holds.
pub(super) fn manifest_digests(submission: &Submission) -> Vec<(String, Digest)> {
    let header = &submission.header;
    manifests(header)
        .filter_map(|(of, bytes)| Some((of, Digest::try_from(bytes).ok()?)))
        .collect()
}

fn read_settings(settings: &v1::Settings, groups: usize) -> Result<Settings, InvalidMessage> {
    slow_timeout_from_wire(settings.slow_timeout)?;
    leak_timeout_from_wire(settings.leak_timeout)?;
    if settings.group as usize > groups {
        return Err(out_of_range("settings.group", settings.group, groups));
    }
    let priority = i8::try_from(settings.priority)
        .ok()
        .filter(|priority| (-100..=100).contains(priority));
    let priority = priority.ok_or_else(|| {
        InvalidMessage::new(
            "settings.priority",
            format!("is {}, not within ±100", settings.priority),
        )
    })?;
    Ok(Settings {
        priority,
        threads_required: threads_from_wire("settings.threads_required", settings.threads_required)?,
        group: settings.group.checked_sub(1).map(GroupIndex),
        retries: retries_from_wire(settings.retries)?,
        flaky_result: if settings.flaky_fails {
            FlakyResult::Fail
        } else {
            FlakyResult::Pass
        },
    })
}

fn check_commands(header: &v1::RunHeader) -> Result<(), InvalidMessage> {
    let scripts = header.setup_scripts.len();
    for command in &header.commands {
        if command.before.is_empty() {
            return Err(InvalidMessage::new("commands.before", "has no program"));
        }
        if let Some(&script) = command
            .setup_scripts
            .iter()
            .find(|&&script| script as usize >= scripts)
        {
            return Err(out_of_range("commands.setup_scripts", script, scripts));
        }
    }
    for script in &header.setup_scripts {
        if script.argv.is_empty() {
            return Err(InvalidMessage::new("setup_scripts.argv", "has no program"));
        }
        if script.slow_timeout.is_some() {
            slow_timeout_from_wire(script.slow_timeout)?;
        }
        if script.leak_timeout.is_some() {
            leak_timeout_from_wire(script.leak_timeout)?;
        }
    }
    Ok(())
}

fn check_case(case: &v1::Case, header: &v1::RunHeader, key_parts: usize) -> Result<(), InvalidMessage> {
    let within = |field, position: u32, length: usize| {
        if (position as usize) < length {
            Ok(())
        } else {
            Err(out_of_range(field, position, length))
        }
    };
    within("cases.binary", case.binary, header.binaries.len())?;
    within("cases.settings", case.settings, header.settings.len())?;
    within("cases.command", case.command, header.commands.len())?;
    if case.key_parts as usize > key_parts {
        return Err(out_of_range("cases.key_parts", case.key_parts, key_parts));
    }
    for (field, digest) in [
        ("cases.code", &case.code),
        ("cases.environment", &case.environment),
        ("cases.seen", &case.seen),
    ] {
        if !digest.is_empty() {
            digest_from_wire(field, digest)?;
        }
    }
    // A harness may name a case nothing at all, and nextest runs it.
    if case.name.len() > NAME_BYTES_MAX || case.name.contains('\0') {
        let problem = format!("is longer than {NAME_BYTES_MAX} bytes or has a NUL in it");
        return Err(InvalidMessage::new("cases.name", problem));
    }
    Ok(())
}

fn planned_binary(binary: &v1::Binary, in_place: bool) -> Result<PlannedBinary, InvalidMessage> {
    Ok(PlannedBinary {
        digest: digest_from_wire("binaries.digest", &binary.digest)?,
        bytes: if in_place { 0 } else { binary.bytes },
    })
}

fn planned_case(case: &v1::Case, settings: &Settings) -> PlannedCase {
    PlannedCase {
        binary: BinaryIndex(case.binary),
        reused: false,
        quarantined: false,
        estimate: None,
        rarely_over: None,
        priority: settings.priority,
        threads_required: settings.threads_required,
        group: settings.group,
        retries: settings.retries,
        flaky_result: settings.flaky_result,
    }
}

fn out_of_range(field: &'static str, position: u32, length: usize) -> InvalidMessage {
    InvalidMessage::new(field, format!("is {position}, but there are only {length}"))
}

/// Reads the id of a run that a request is about.
pub(super) fn run_id(bytes: &[u8]) -> Result<RunId, InvalidMessage> {
    run_id_from_wire(bytes)
}

#[cfg(test)]
mod tests;
