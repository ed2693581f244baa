//! From an action to a run of one case.

use std::time::Duration;

use bazel_remote_apis::build::bazel::remote::execution::v2::{self, Action, Command, RequestMetadata};
use prost::Message;
use thresh_cas::{BlobName, PackStore, expand};
use thresh_core::case::{LeakTimeout, SlowTimeout};
use thresh_core::digest::Digest;
use thresh_core::id::RunId;
use thresh_proto::convert::{digest_to_wire, leak_timeout_to_wire, run_id_to_wire, slow_timeout_to_wire};
use thresh_proto::v1;
use tonic::Status;
use tonic::metadata::MetadataMap;

use super::instance::Instance;
use super::status;
use super::wire::name_from_wire;
use crate::driver::Submission;
use crate::services::validate;

/// Where workers show the input root, whatever machine it is: what is compiled into outputs is the same everywhere.
const ROOT: &str = "/thresh/action";
/// What clients say of themselves in.
const METADATA: &str = "build.bazel.remote.execution.v2.requestmetadata-bin";
/// An action without a timeout is called slow after each such time, and never ended.
const SLOW: Duration = Duration::from_secs(600);
const GRACE: Duration = Duration::from_secs(5);
/// The longest message in bytes: what is longest in one, a command line, Linux takes only up to 6 MiB with everything. In
/// memory it may come to 24 times as much.
const MESSAGE_BYTES_MAX: u64 = 4 << 20;
/// The longest name of a file in bytes.
const NAME_BYTES_MAX: usize = 255;
/// The longest name in bytes that is taken from what a client says.
const WORD_BYTES_MAX: usize = 200;

/// An action with its command, read from the store.
#[derive(Clone, Debug)]
pub(super) struct Ordered {
    pub(super) name: BlobName,
    pub(super) action: Action,
    pub(super) command: Command,
}

/// Who asks for an action and what for, as far as that is said.
#[derive(Clone, Debug, Default)]
pub(super) struct Asker {
    invocation: String,
    mnemonic: String,
    target: String,
}

impl Asker {
    /// Reads what clients say in the headers of a request. What cannot be read is as if it were not there.
    pub(super) fn of(headers: &MetadataMap) -> Self {
        let metadata = headers.get_bin(METADATA).and_then(|value| value.to_bytes().ok());
        let metadata = metadata.and_then(|bytes| RequestMetadata::decode(bytes).ok());
        let metadata = metadata.unwrap_or_default();
        Self {
            invocation: word(&metadata.tool_invocation_id),
            mnemonic: word(&metadata.action_mnemonic),
            target: word(&metadata.target_id),
        }
    }
}

fn word(text: &str) -> String {
    let mut word: String = text.chars().filter(|character| !character.is_control()).collect();
    word.truncate(word.floor_char_boundary(WORD_BYTES_MAX));
    word
}

impl Ordered {
    /// Reads an action. Blocks.
    pub(super) fn read(blobs: &PackStore, name: &BlobName) -> Result<Self, Status> {
        let action: Action = message(blobs, "action", name)?;
        let command = name_from_wire("command_digest", name.function, action.command_digest.as_ref())?;
        let command: Command = message(blobs, "command", &command)?;
        if command.arguments.is_empty() {
            return Err(Status::invalid_argument("the command has no arguments"));
        }
        Ok(Self {
            name: *name,
            action,
            command,
        })
    }

    /// Puts together what workers need: the manifest of the input root, whose digest is returned with the bytes that
    /// it lists. Blocks.
    pub(super) fn inputs(&self, blobs: &PackStore) -> Result<(Digest, u64), Status> {
        let root = self.action.input_root_digest.as_ref();
        let root = name_from_wire("input_root_digest", self.name.function, root)?;
        let manifest = expand(blobs, &root).map_err(status::of_tree)?;
        let bytes = manifest
            .files()
            .fold(0, |sum: u64, (_, size)| sum.saturating_add(size));
        let encoded = manifest.encode();
        let name = BlobName::blake3(Digest::of(&encoded), encoded.len() as u64);
        let digest = blobs
            .ingest(&name, &encoded[..])
            .map_err(|error| status::of_blob(&error))?;
        Ok((digest, bytes))
    }

    /// The paths that are wanted, below the working directory.
    #[expect(deprecated, reason = "clients of before version 2.1 say it there")]
    pub(super) fn outputs(&self) -> Vec<String> {
        let Command {
            output_paths,
            output_files,
            output_directories,
            ..
        } = &self.command;
        let mut outputs = match output_paths.is_empty() {
            false => output_paths.clone(),
            true => [&output_files[..], output_directories].concat(),
        };
        for output in &mut outputs {
            let trimmed = output.trim_end_matches('/').len();
            output.truncate(trimmed);
        }
        outputs.sort();
        outputs.dedup();
        outputs
    }

    /// The run that executes it, as it would be submitted.
    pub(super) fn submission(
        &self,
        run: RunId,
        instance: &Instance,
        asker: &Asker,
        (manifest, bytes): (Digest, u64),
        priority: i32,
    ) -> Result<Submission, Status> {
        let outputs = self.outputs();
        check_below("output path", outputs.iter())?;
        check_below("working directory", [&self.command.working_directory])?;
        let cwd = match self.command.working_directory.trim_end_matches('/') {
            "" => ROOT.to_owned(),
            below => format!("{ROOT}/{below}"),
        };
        let variables = self
            .command
            .environment_variables
            .iter()
            .map(|variable| v1::EnvVar {
                name: variable.name.clone(),
                value: variable.value.clone().into(),
            });
        let kind = if asker.mnemonic.is_empty() {
            "action"
        } else {
            &asker.mnemonic
        };
        let header = v1::RunHeader {
            run_id: run_id_to_wire(run),
            project: instance.project.clone(),
            profile: "default".to_owned(),
            binaries: vec![v1::Binary {
                id: kind.to_owned(),
                package: kind.to_owned(),
                path: self.command.arguments[0].clone(),
                digest: digest_to_wire(manifest),
                bytes,
                ..v1::Binary::default()
            }],
            settings: vec![self.settings()?],
            commands: vec![v1::Command {
                before: self.command.arguments.clone(),
                cwd,
                env: variables.collect(),
                ..v1::Command::default()
            }],
            inputs: Some(v1::Inputs {
                target_root: ROOT.to_owned(),
                target_manifest: digest_to_wire(manifest),
                shared_target: true,
                ..v1::Inputs::default()
            }),
            keep_passing_output: true,
            platform: self.platform()?,
            title: format!("{kind} {}", self.title(asker)),
            submitter: asker.invocation.clone(),
            priority: match priority {
                ..=0 => v1::RunPriority::Interactive.into(),
                1.. => v1::RunPriority::Speculative.into(),
            },
            action: Some(v1::Action {
                outputs,
                instance: instance.namespace(),
                digest_function: self.name.function.to_wire() as u32,
                digest: self.name.hash.to_vec().into(),
                size_bytes: self.name.size,
                do_not_cache: self.action.do_not_cache,
            }),
            ..v1::RunHeader::default()
        };
        let case = v1::Case {
            name: self.title(asker),
            ..v1::Case::default()
        };
        Ok(validate(header, vec![case])?)
    }

    /// What history knows it by: its target, else what it makes, else its program.
    fn title(&self, asker: &Asker) -> String {
        if !asker.target.is_empty() {
            return asker.target.clone();
        }
        let outputs = self.outputs();
        word(outputs.first().unwrap_or(&self.command.arguments[0]))
    }

    fn settings(&self) -> Result<v1::Settings, Status> {
        let timeout = self.action.timeout.as_ref().map(|timeout| {
            let seconds = u64::try_from(timeout.seconds).ok()?;
            Some(Duration::new(seconds, u32::try_from(timeout.nanos).ok()?))
        });
        let timeout = match timeout {
            Some(None) => return Err(Status::invalid_argument("the action's timeout is negative")),
            Some(timeout) => timeout.filter(|timeout| !timeout.is_zero()),
            None => None,
        };
        let slow = SlowTimeout {
            period: timeout.unwrap_or(SLOW),
            terminate_after: timeout.map(|_| 1),
            grace_period: GRACE,
            on_timeout_passes: false,
        };
        let one = v1::ThreadsRequired {
            amount: Some(v1::threads_required::Amount::Count(1)),
        };
        Ok(v1::Settings {
            slow_timeout: Some(slow_timeout_to_wire(slow)),
            leak_timeout: Some(leak_timeout_to_wire(LeakTimeout::default())),
            threads_required: Some(one),
            ..v1::Settings::default()
        })
    }

    /// The target triple that its platform properties ask for. Without any it is that of this program.
    #[expect(deprecated, reason = "clients of before version 2.2 say it in the command")]
    fn platform(&self) -> Result<String, Status> {
        let platform = self.action.platform.as_ref().or(self.command.platform.as_ref());
        let properties = platform
            .map(|platform| &platform.properties[..])
            .unwrap_or_default();
        let mut architecture = std::env::consts::ARCH.to_owned();
        for v2::platform::Property { name, value } in properties {
            match name.as_str() {
                "OSFamily" if value.eq_ignore_ascii_case("linux") => {}
                "OSFamily" => {
                    let problem = format!("no worker has the platform OSFamily={value}; this farm has linux");
                    return Err(Status::failed_precondition(problem));
                }
                "ISA" | "Arch" | "cpu" => match architecture_of(value) {
                    Some(named) => architecture = named.to_owned(),
                    // Of an ISA the features of a CPU are said, too.
                    None if name == "ISA" => {}
                    None => {
                        let problem = format!(
                            "no worker has the platform {name}={value}; x86_64 and aarch64 are known"
                        );
                        return Err(Status::failed_precondition(problem));
                    }
                },
                // What else clients say (container images, pools) tells workers apart that this farm does not have.
                _ => {}
            }
        }
        Ok(format!("{architecture}-unknown-linux-gnu"))
    }
}

/// The name of an architecture in a target triple.
fn architecture_of(word: &str) -> Option<&'static str> {
    match word.to_ascii_lowercase().as_str() {
        "x86-64" | "x86_64" | "amd64" | "x64" | "k8" => Some("x86_64"),
        "aarch64" | "arm64" | "arm-a64" => Some("aarch64"),
        _ => None,
    }
}

fn check_below<'a>(what: &str, paths: impl IntoIterator<Item = &'a String>) -> Result<(), Status> {
    let is_below = |path: &&String| {
        let is_name = |name: &str| !matches!(name, "" | "." | "..") && name.len() <= NAME_BYTES_MAX;
        let names = |path: &str| path.split('/').all(is_name);
        !(path.is_empty() || names(path) && !path.contains('\0'))
    };
    match paths.into_iter().find(is_below) {
        Some(path) => Err(Status::invalid_argument(format!(
            "the {what} {path:?} is not a relative path without `..`"
        ))),
        None => Ok(()),
    }
}

/// Reads a message from the store.
fn message<M: Message + Default>(blobs: &PackStore, what: &str, name: &BlobName) -> Result<M, Status> {
    let Some(digest) = blobs.locate(name) else {
        return Err(status::missing(
            &format!("{what} {name} is not in the store"),
            &[*name],
        ));
    };
    if name.size > MESSAGE_BYTES_MAX {
        let problem = format!("{what} {name} is longer than {MESSAGE_BYTES_MAX} bytes");
        return Err(Status::invalid_argument(problem));
    }
    let content = blobs
        .read_whole(&digest)
        .map_err(|error| status::of_blob(&error))?;
    M::decode(&content[..])
        .map_err(|error| Status::invalid_argument(format!("{what} {name} is none: {error}")))
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use thresh_cas::DigestFunction;
    use thresh_core::schedule::{Event, Policy, Scheduler};
    use thresh_core::time::Timestamp;
    use thresh_proto::testing::fuzz;
    use tonic::Code;
    use tonic::metadata::MetadataValue;

    use super::*;

    fn put(store: &PackStore, bytes: &[u8]) -> BlobName {
        let name = BlobName::of(DigestFunction::Sha256, bytes);
        store.ingest(&name, bytes).unwrap();
        name
    }

    /// An action with everything that is read of one.
    fn action(store: &PackStore, command: &BlobName) -> Vec<u8> {
        let file = v2::FileNode {
            name: "file".to_owned(),
            digest: Some(put(store, b"content").to_wire()),
            ..v2::FileNode::default()
        };
        let root = v2::Directory {
            files: vec![file],
            ..v2::Directory::default()
        };
        let property = |name: &str, value: &str| v2::platform::Property {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        let action = Action {
            command_digest: Some(command.to_wire()),
            input_root_digest: Some(put(store, &root.encode_to_vec()).to_wire()),
            timeout: Some(bazel_remote_apis::google::protobuf::Duration {
                seconds: 60,
                nanos: 5,
            }),
            platform: Some(v2::Platform {
                properties: vec![property("OSFamily", "Linux"), property("ISA", "x86-64")],
            }),
            ..Action::default()
        };
        action.encode_to_vec()
    }

    fn command() -> Vec<u8> {
        let variable = v2::command::EnvironmentVariable {
            name: "NAME".to_owned(),
            value: "value".to_owned(),
        };
        let command = Command {
            arguments: vec!["cc".to_owned(), "-o".to_owned(), "out/a".to_owned()],
            environment_variables: vec![variable],
            output_paths: vec!["out/a".to_owned(), "out/b/".to_owned()],
            working_directory: "below/this".to_owned(),
            ..Command::default()
        };
        command.encode_to_vec()
    }

    /// What becomes of an action, with all that the service does before it submits it.
    fn submitted(store: &PackStore, action: &[u8]) -> Result<Submission, Status> {
        let ordered = Ordered::read(store, &put(store, action))?;
        let inputs = ordered.inputs(store)?;
        let instance = Instance::parse("shop")?;
        ordered.submission(RunId::from_u128(1), &instance, &Asker::default(), inputs, 0)
    }

    fn check(submission: Submission) {
        let header = &submission.header;
        let outputs = &header.action.as_ref().expect("it is an action").outputs;
        for below in outputs.iter().chain([&header.commands[0].cwd[1..].to_owned()]) {
            let mut parts = Path::new(below).components();
            assert!(parts.all(|part| matches!(part, Component::Normal(_))), "{below}");
        }
        assert!(Path::new(&header.commands[0].cwd).starts_with(ROOT));
        assert!(submission.case_id(0).is_some() && submission.cases.len() == 1);
        let mut scheduler = Scheduler::new(Policy::default(), 0, 0);
        let event = Event::RunSubmitted(submission.run, submission.request);
        let taken = scheduler.apply(Timestamp::default(), event, &mut Vec::new());
        assert!(taken.is_ok() && scheduler.check_invariants().is_ok());
    }

    fn check_refused(refused: &Status) {
        let faults = [Code::InvalidArgument, Code::FailedPrecondition];
        assert!(faults.contains(&refused.code()), "{refused}");
    }

    #[test]
    fn actions_and_their_commands_are_runs_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = PackStore::open(folder.path()).unwrap();
        let (valid, command) = (action(&store, &put(&store, &command())), command());
        check(submitted(&store, &valid).unwrap());
        fuzz(2_000, &valid, |bytes| {
            submitted(&store, bytes).map_or_else(|refused| check_refused(&refused), check);
        });
        fuzz(2_000, &command, |bytes| {
            let action = action(&store, &put(&store, bytes));
            submitted(&store, &action).map_or_else(|refused| check_refused(&refused), check);
        });
        // What random bytes hardly ever say. Of a field that comes twice the last counts.
        let backwards = Action {
            timeout: Some(bazel_remote_apis::google::protobuf::Duration {
                seconds: -1,
                nanos: 0,
            }),
            ..Action::default()
        };
        let backwards = [&valid[..], &backwards.encode_to_vec()].concat();
        check_refused(&submitted(&store, &backwards).unwrap_err());
        fuzz(1_000, &backwards, |bytes| {
            submitted(&store, bytes).map_or_else(|refused| check_refused(&refused), check);
        });
        let above = Command {
            working_directory: "below/../..".to_owned(),
            ..Command::default()
        };
        let above = [&command[..], &above.encode_to_vec()].concat();
        fuzz(1_000, &above, |bytes| {
            let action = action(&store, &put(&store, bytes));
            submitted(&store, &action).map_or_else(|refused| check_refused(&refused), check);
        });
    }

    #[test]
    fn who_asks_is_told_in_short_words_or_not_at_all() {
        let metadata = RequestMetadata {
            tool_invocation_id: "invocation".to_owned(),
            action_mnemonic: "CppCompile".to_owned(),
            target_id: format!("//long:{}", "\u{e4}".repeat(WORD_BYTES_MAX)),
            ..RequestMetadata::default()
        };
        let asker = |bytes: &[u8]| {
            let mut headers = MetadataMap::new();
            headers.insert_bin(METADATA, MetadataValue::from_bytes(bytes));
            Asker::of(&headers)
        };
        let valid = metadata.encode_to_vec();
        let told = asker(&valid);
        assert_eq!(
            (told.invocation.as_str(), told.mnemonic.as_str()),
            ("invocation", "CppCompile")
        );
        assert!(told.target.starts_with("//long:"));
        fuzz(2_000, &valid, |bytes| {
            let Asker {
                invocation,
                mnemonic,
                target,
            } = asker(bytes);
            for word in [invocation, mnemonic, target] {
                assert!(word.len() <= WORD_BYTES_MAX && !word.contains(char::is_control));
            }
        });
    }
}
