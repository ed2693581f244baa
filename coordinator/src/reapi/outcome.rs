//! From the outcome of a run's one case to the answer that an action's client gets.

use std::time::Duration;

use bazel_remote_apis::build::bazel::remote::execution::v2::{
    ActionResult, ExecuteResponse, ExecutedActionMetadata, OutputDirectory, OutputFile, OutputSymlink,
};
use bazel_remote_apis::google::protobuf::Timestamp;
use prost::Message;
use thresh_cas::{BlobName, DigestFunction, Entry, EntryKind, Manifest, PackError, PackStore, build};
use thresh_core::digest::Digest;
use thresh_proto::v1::outcome::Kind;
use thresh_proto::v1::run_ended::Reason;
use thresh_proto::v1::{AttemptEnded, RunEnded, Stream};
use tonic::{Code, Status};

use super::status;

/// Streams of at most so many bytes stand in the answer itself, too.
const RAW_BYTES_MAX: usize = 16 << 10;
/// The longest manifest of outputs in bytes, which is the worker's word: workers bring a million at most, and an entry has
/// 45 bytes and its path.
const OUTPUTS_BYTES_MAX: u64 = 128 << 20;
/// What shells say of a program that a signal ended: this and its number.
const SIGNALLED: i32 = 128;

/// What became of an action.
#[derive(Clone, Debug, Default)]
pub(super) struct Ended {
    pub(super) attempt: Option<AttemptEnded>,
    pub(super) run: RunEnded,
    /// Whether it saw its inputs at other paths than on other workers.
    pub(super) is_remapped: bool,
    /// When it was submitted, in microseconds since the Unix epoch.
    pub(super) queued_micros: u64,
}

impl Ended {
    /// Whether the result is a clean pass, which others may use.
    pub(super) fn is_clean(&self) -> bool {
        let outcome = self.attempt.as_ref().and_then(|attempt| attempt.outcome.as_ref());
        let output = self.attempt.as_ref().and_then(|attempt| attempt.output.as_ref());
        let streams = output.iter().flat_map(|output| [&output.stdout, &output.stderr]);
        // What others get must be what the action wrote, all of it.
        let is_whole = streams.flatten().all(|stream| stream.omitted_bytes == 0);
        is_whole && !self.is_remapped && outcome.is_some_and(|outcome| outcome.kind() == Kind::Passed)
    }

    /// The answer. `outputs` are the paths that were wanted. Blocks.
    pub(super) fn response(
        &self,
        blobs: &PackStore,
        function: DigestFunction,
        outputs: &[String],
    ) -> ExecuteResponse {
        let (result, status) = match self.exit_code() {
            Err(status) => (None, status),
            Ok((code, status)) => match self.result(blobs, function, outputs, code) {
                Ok(result) => (Some(result), status),
                Err(status) => (None, status),
            },
        };
        ExecuteResponse {
            result,
            status: Some(status::to_wire(&status)),
            message: self.run.message.clone(),
            ..ExecuteResponse::default()
        }
    }

    /// How the command ended, or why it was not executed.
    fn exit_code(&self) -> Result<(i32, Status), Status> {
        let ok = || Status::new(Code::Ok, "");
        let Some(attempt) = &self.attempt else {
            return Err(self.not_executed());
        };
        let outcome = attempt.outcome.clone().unwrap_or_default();
        match outcome.kind() {
            Kind::Passed | Kind::Leaked => Ok((0, ok())),
            Kind::Failed if outcome.exec_error.is_empty() => Ok((outcome.code, ok())),
            Kind::Failed => Err(Status::failed_precondition(outcome.exec_error)),
            Kind::Crashed if outcome.code > 0 => Ok((SIGNALLED.saturating_add(outcome.code), ok())),
            Kind::Crashed => Err(Status::aborted("workers went down with it, again and again")),
            Kind::TimedOut => {
                let late = Status::deadline_exceeded("the action did not end within its timeout");
                Ok((SIGNALLED + 15, late))
            }
            Kind::Lost | Kind::Cancelled | Kind::Unknown => Err(self.not_executed()),
        }
    }

    fn not_executed(&self) -> Status {
        let message = match self.run.message.as_str() {
            "" => "the action was not executed",
            message => message,
        };
        match self.run.reason() {
            Reason::Cancelled => Status::cancelled(message),
            Reason::Stranded => Status::failed_precondition(message),
            _ => Status::unavailable(message),
        }
    }

    fn result(
        &self,
        blobs: &PackStore,
        function: DigestFunction,
        wanted: &[String],
        exit_code: i32,
    ) -> Result<ActionResult, Status> {
        let failed = |error: PackError| status::of_blob(&error);
        let attempt = self.attempt.clone().unwrap_or_default();
        let mut result = ActionResult {
            exit_code,
            execution_metadata: Some(self.metadata(&attempt)),
            ..ActionResult::default()
        };
        let output = attempt.output.unwrap_or_default();
        let stdout = keep_stream(blobs, function, output.stdout.as_ref()).map_err(failed)?;
        let stderr = keep_stream(blobs, function, output.stderr.as_ref()).map_err(failed)?;
        (result.stdout_raw, result.stdout_digest) = stdout;
        (result.stderr_raw, result.stderr_digest) = stderr;
        if let Ok(digest) = Digest::try_from(&attempt.outputs[..]) {
            let manifest = read_outputs(blobs, &digest, OUTPUTS_BYTES_MAX)?;
            for path in wanted {
                add_output(blobs, function, &manifest, path, &mut result)?;
            }
        }
        Ok(result)
    }

    fn metadata(&self, attempt: &AttemptEnded) -> ExecutedActionMetadata {
        let took = attempt.took.as_ref().map_or(0, |took| took.micros);
        let at = |micros: u64| Some(timestamp(micros)).filter(|_| micros > 0);
        let (started, ended) = (
            attempt.started_micros,
            attempt.started_micros.saturating_add(took),
        );
        ExecutedActionMetadata {
            worker: attempt.worker.clone(),
            queued_timestamp: at(self.queued_micros),
            worker_start_timestamp: at(attempt.granted_micros),
            execution_start_timestamp: at(started),
            execution_completed_timestamp: at(ended),
            worker_completed_timestamp: at(ended),
            ..ExecutedActionMetadata::default()
        }
    }
}

fn timestamp(micros: u64) -> Timestamp {
    let since = Duration::from_micros(micros);
    Timestamp {
        seconds: since.as_secs().cast_signed(),
        nanos: since.subsec_nanos().cast_signed(),
    }
}

/// Reads the manifest of what an action left. That it is one is the worker's word.
fn read_outputs(blobs: &PackStore, digest: &Digest, bytes_max: u64) -> Result<Manifest, Status> {
    if let Some(size) = blobs.size(digest).filter(|size| *size > bytes_max) {
        let problem =
            format!("the manifest of the outputs has {size} bytes, and {bytes_max} at most are read");
        return Err(Status::internal(problem));
    }
    let encoded = blobs
        .read_whole(digest)
        .map_err(|error| status::of_blob(&error))?;
    Manifest::parse(&encoded).map_err(|error| Status::internal(error.to_string()))
}

/// Stores what a process wrote. What is short is returned, too.
fn keep_stream(
    blobs: &PackStore,
    function: DigestFunction,
    stream: Option<&Stream>,
) -> Result<
    (
        Vec<u8>,
        Option<bazel_remote_apis::build::bazel::remote::execution::v2::Digest>,
    ),
    PackError,
> {
    let Some(stream) = stream else {
        return Ok((Vec::new(), None));
    };
    let mut content = stream.head.to_vec();
    if stream.omitted_bytes > 0 {
        let note = format!("\n[{} bytes are left out here]\n", stream.omitted_bytes);
        content.extend_from_slice(note.as_bytes());
    }
    content.extend_from_slice(&stream.tail);
    let name = BlobName::of(function, &content);
    blobs.ingest(&name, &content[..])?;
    if content.len() > RAW_BYTES_MAX {
        content.clear();
    }
    Ok((content, Some(name.to_wire())))
}

/// Adds what there is at a path that is wanted.
fn add_output(
    blobs: &PackStore,
    function: DigestFunction,
    manifest: &Manifest,
    path: &str,
    result: &mut ActionResult,
) -> Result<(), Status> {
    match manifest.get(path.as_ref()).map(|entry| &entry.kind) {
        Some(EntryKind::File {
            digest, executable, ..
        }) => {
            let name = blobs
                .name(digest, function)
                .map_err(|error| status::of_blob(&error))?;
            result.output_files.push(OutputFile {
                path: path.to_owned(),
                digest: Some(name.to_wire()),
                is_executable: *executable,
                ..OutputFile::default()
            });
        }
        Some(EntryKind::Symlink { target }) => {
            let target = target.to_str().ok_or_else(|| {
                let problem = format!(
                    "output {path}: the target of the link is no UTF-8: {}",
                    target.display()
                );
                Status::failed_precondition(problem)
            })?;
            let link = OutputSymlink {
                path: path.to_owned(),
                target: target.to_owned(),
                node_properties: None,
            };
            add_link(link, result);
        }
        Some(EntryKind::EmptyDir) => add_folder(blobs, function, path, Vec::new(), result)?,
        Some(EntryKind::OnDemand { .. }) => {}
        None => {
            let below = manifest.below(path.as_ref()).iter().filter_map(|entry| {
                let below = entry.path.strip_prefix(path).ok()?;
                Some(Entry {
                    path: below.to_owned(),
                    kind: entry.kind.clone(),
                })
            });
            let below: Vec<Entry> = below.collect();
            if !below.is_empty() {
                add_folder(blobs, function, path, below, result)?;
            }
        }
    }
    Ok(())
}

#[expect(deprecated, reason = "clients of before version 2.1 look for it there")]
fn add_link(link: OutputSymlink, result: &mut ActionResult) {
    result.output_file_symlinks.push(link.clone());
    result.output_symlinks.push(link);
}

fn add_folder(
    blobs: &PackStore,
    function: DigestFunction,
    path: &str,
    entries: Vec<Entry>,
    result: &mut ActionResult,
) -> Result<(), Status> {
    let manifest = Manifest::new(entries).map_err(|error| Status::internal(error.to_string()))?;
    let name_of = |digest: &Digest, _| blobs.name(digest, function);
    let built = build(&manifest, function, name_of);
    let built = built.map_err(|error| Status::failed_precondition(format!("output {path}: {error}")))?;
    let keep = |content: Vec<u8>| {
        let name = BlobName::of(function, &content);
        let kept = blobs.ingest(&name, &content[..]);
        kept.map(|_| name).map_err(|error| status::of_blob(&error))
    };
    // Each folder by itself, too: it may be the input of another action.
    for folder in built.tree.root.iter().chain(&built.tree.children) {
        keep(folder.encode_to_vec())?;
    }
    result.output_directories.push(OutputDirectory {
        path: path.to_owned(),
        tree_digest: Some(keep(built.tree.encode_to_vec())?.to_wire()),
        root_directory_digest: Some(built.root_name.to_wire()),
        ..OutputDirectory::default()
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_workers_say_of_outputs_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let store = PackStore::open(folder.path()).unwrap();
        let read = |encoded: &[u8], bytes_max| {
            let name = BlobName::of(DigestFunction::Blake3, encoded);
            let digest = store.ingest(&name, encoded).unwrap();
            read_outputs(&store, &digest, bytes_max)
        };
        let entry = Entry {
            path: "out".into(),
            kind: EntryKind::EmptyDir,
        };
        let encoded = Manifest::new(vec![entry]).unwrap().encode();
        let length = encoded.len() as u64;
        assert!(read(&encoded, length).is_ok());
        let refused = read(&encoded, length - 1).unwrap_err();
        assert!(refused.message().contains("at most are read"), "{refused}");
        // A path so deep that no stack is deep enough for it.
        let path = ["d"; 100_000].join("/");
        let mut deep = Manifest::default().encode();
        deep.push(b'd');
        deep.extend(u32::try_from(path.len()).unwrap().to_le_bytes());
        deep.extend(path.as_bytes());
        let refused = read(&deep, OUTPUTS_BYTES_MAX).unwrap_err();
        assert!(refused.message().contains("longer than 4095 bytes"), "{refused}");
    }
}
