//! A suite in the form in which it is submitted.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use nextest_metadata::MismatchReason;
use thresh_core::case::{FlakyResult, ThreadsRequired};
use thresh_core::digest::Digest;
use thresh_core::id::RunId;
use thresh_proto::convert::{
    case_settings_to_wire, digest_to_wire, duration_to_wire, group_to_wire, key_parts_to_wire,
    leak_timeout_to_wire, max_fail_to_wire, priority_to_wire, run_id_to_wire, slow_timeout_to_wire,
};
use thresh_proto::v1;

use super::fold::FoldCase;
use super::prepare::Prepared;
use crate::nextest::{OutputDisplay, ReportSettings, ReportSkipped};
use crate::report::{CaseLabel, Roster, ScriptLabel};
use crate::reuse::{CaseKeys, SuiteFiles, inherited};
use crate::ship::Shipment;
use crate::suite::{SetupScript, SkippedCase, Suite, SuiteCase};

/// Bytes of cases in one message, about.
const CASE_BYTES_MAX: usize = 2 << 20;
/// What a case takes on the wire besides its name, about: positions and three digests.
const CASE_OVERHEAD_BYTES: usize = 140;

/// What a submission is made from.
#[derive(Clone, Copy)]
pub(super) struct Submission<'a> {
    pub(super) prepared: &'a Prepared,
    pub(super) suite: &'a Suite,
    pub(super) files: &'a SuiteFiles,
    pub(super) keys: Option<&'a CaseKeys>,
    /// None in place.
    pub(super) shipment: Option<&'a Shipment>,
    pub(super) run: RunId,
    pub(super) project: &'a str,
}

impl Submission<'_> {
    /// The messages of the submission: the header with the first cases, then the others.
    pub(super) fn messages(&self) -> Vec<v1::SubmitRequest> {
        let binaries = self.binaries();
        let mut messages = vec![v1::SubmitRequest {
            header: Some(self.header(&binaries)),
            cases: Vec::new(),
        }];
        let mut bytes = 0;
        for (position, case) in self.suite.cases.iter().enumerate() {
            let of = |own: fn(&CaseKeys) -> &[Option<Digest>]| self.keys.and_then(|keys| own(keys)[position]);
            let key_parts = self.keys.and_then(|keys| keys.of_case[position]);
            let size = case.name.len() + CASE_OVERHEAD_BYTES;
            if bytes > 0 && bytes + size > CASE_BYTES_MAX {
                messages.push(v1::SubmitRequest::default());
                bytes = 0;
            }
            bytes += size;
            let message = messages.last_mut().expect("the first message is there");
            message.cases.push(v1::Case {
                binary: binaries[&case.binary],
                name: case.name.clone(),
                ignored: case.ignored,
                settings: wire(case.settings),
                command: wire(case.command),
                key_parts: key_parts.map_or(0, |at| wire(at) + 1),
                code: of(|keys| &keys.code).map(digest_to_wire).unwrap_or_default(),
                environment: of(|keys| &keys.environment)
                    .map(digest_to_wire)
                    .unwrap_or_default(),
                seen: of(|keys| &keys.seen).map(digest_to_wire).unwrap_or_default(),
                unobserved: self.keys.is_some_and(|keys| keys.opens_nothing(position)),
            });
        }
        messages
    }

    /// The wire's position of each binary with a selected case.
    fn binaries(&self) -> BTreeMap<usize, u32> {
        let with_cases = (0..self.suite.binaries.len()).filter(|at| self.files.binary(*at).is_some());
        with_cases.zip(0..).collect()
    }

    fn header(&self, binaries: &BTreeMap<usize, u32>) -> v1::RunHeader {
        let (suite, prepared) = (self.suite, self.prepared);
        let group_of = |name: &Option<String>| {
            suite
                .groups
                .iter()
                .position(|group| Some(&group.name) == name.as_ref())
                .map(wire)
        };
        v1::RunHeader {
            run_id: run_id_to_wire(self.run),
            project: self.project.to_owned(),
            profile: suite.profile.clone(),
            max_fail: Some(max_fail_to_wire(
                prepared.options.max_fail.unwrap_or(prepared.profile.max_fail()),
            )),
            global_timeout: prepared.profile.global_timeout().map(duration_to_wire),
            groups: suite.groups.iter().map(group_to_wire).collect(),
            binaries: binaries.keys().map(|at| self.binary(*at)).collect(),
            settings: suite
                .settings
                .iter()
                .map(|settings| case_settings_to_wire(settings, group_of(&settings.test_group)))
                .collect(),
            commands: self.commands(),
            setup_scripts: self.setup_scripts(),
            key_parts: self.keys.map_or_else(Vec::new, |keys| {
                keys.parts.iter().map(key_parts_to_wire).collect()
            }),
            inputs: Some(self.inputs()),
            reuse: self.keys.is_some(),
            keep_passing_output: suite
                .cases
                .iter()
                .any(|case| keeps_output(&prepared.report_of(suite, case.report))),
            no_capture: prepared.no_capture(),
            platform: suite.platform.clone(),
            title: prepared.options.title.clone(),
            submitter: prepared.options.submitter.clone(),
            priority: priority_to_wire(prepared.options.priority).into(),
            deadline: prepared.options.deadline.map(duration_to_wire),
            action: None,
            // What setup scripts write on a worker is not the client's.
            observe: prepared.observes() && (prepared.is_in_place() || suite.setup_scripts.is_empty()),
            audit_ppm: prepared.audit().as_ppm(),
        }
    }

    fn binary(&self, at: usize) -> v1::Binary {
        let binary = &self.suite.binaries[at];
        let digest = self.files.binary(at).expect("the binary has a selected case");
        let manifest = self.shipment.and_then(|shipment| shipment.binaries[at]);
        v1::Binary {
            id: binary.id.clone(),
            package: binary.package.clone(),
            path: binary.path.to_string(),
            digest: digest_to_wire(digest),
            manifest: manifest.map(digest_to_wire).unwrap_or_default(),
            bytes: self.shipment.map_or(0, |shipment| shipment.binary_bytes[at]),
        }
    }

    /// In place a case inherits the client's environment; elsewhere what travels goes with the command.
    fn inherited(&self) -> BTreeMap<OsString, OsString> {
        match self.shipment {
            None => BTreeMap::new(),
            Some(_) => {
                let policy = self.prepared.project.environment_policy();
                inherited(&self.prepared.options.surroundings.variables, &policy, false)
            }
        }
    }

    fn commands(&self) -> Vec<v1::Command> {
        let inherited = self.inherited();
        let command = |command: &crate::command::CommandTemplate| v1::Command {
            before: command.before.clone(),
            after: command.after.clone(),
            cwd: command.cwd.to_string(),
            env: variables(&inherited, &command.env),
            setup_scripts: command.setup_scripts.iter().copied().map(wire).collect(),
        };
        self.suite.commands.iter().map(command).collect()
    }

    fn setup_scripts(&self) -> Vec<v1::SetupScript> {
        let inherited = self.inherited();
        let script = |script: &SetupScript| v1::SetupScript {
            id: script.id.clone(),
            argv: script.command.argv.clone(),
            cwd: script.command.cwd.to_string(),
            env: variables(&inherited, &script.command.env),
            slow_timeout: Some(slow_timeout_to_wire(script.slow_timeout)),
            leak_timeout: Some(leak_timeout_to_wire(script.leak_timeout)),
            capture_stdout: script.capture_stdout,
            capture_stderr: script.capture_stderr,
        };
        self.suite.setup_scripts.iter().map(script).collect()
    }

    fn inputs(&self) -> v1::Inputs {
        let suite = self.suite;
        let digest =
            |of: fn(&Shipment) -> Digest| self.shipment.map(of).map(digest_to_wire).unwrap_or_default();
        let folders = self.shipment.map_or(&[][..], |shipment| &shipment.folders);
        v1::Inputs {
            in_place: self.shipment.is_none(),
            source_root: suite.workspace_root.to_string(),
            target_root: suite.target_directory.to_string(),
            source_manifest: digest(|shipment| shipment.sources),
            target_manifest: digest(|shipment| shipment.target),
            shared_target: self.prepared.project.farm.shared_target,
            folders: folders
                .iter()
                .map(|(path, manifest)| v1::InputFolder {
                    path: path.display().to_string(),
                    manifest: digest_to_wire(*manifest),
                })
                .collect(),
        }
    }
}

impl Prepared {
    /// The report settings at `position` with what the command line says over them.
    pub(super) fn report_of(&self, suite: &Suite, position: usize) -> ReportSettings {
        let report = suite.reports[position];
        ReportSettings {
            success_output: self.options.success_output.unwrap_or(report.success_output),
            failure_output: self.options.failure_output.unwrap_or(report.failure_output),
            ..report
        }
    }

    /// What reports call the cases of the suite.
    pub(super) fn roster(&self, suite: &Suite) -> Roster {
        let names: Vec<(Arc<str>, Arc<str>)> = suite
            .binaries
            .iter()
            .map(|binary| (binary.id.as_str().into(), binary.package.as_str().into()))
            .collect();
        let label = |binary: usize, name: &str, report: usize| {
            let (binary_id, package) = names[binary].clone();
            let report = self.report_of(suite, report);
            CaseLabel {
                binary_id,
                package,
                name: name.to_owned(),
                report,
            }
        };
        let is_reported = |case: &&SkippedCase| match suite.reports[case.report].junit_report_skipped {
            ReportSkipped::None => false,
            ReportSkipped::Ignored => case.reason == MismatchReason::Ignored,
            ReportSkipped::All => true,
        };
        let skipped = suite.skipped.iter().filter(is_reported);
        let script = |script: &SetupScript| ScriptLabel {
            id: script.id.clone(),
            argv: script.command.argv.clone(),
            store_success_output: script.junit_store_success_output,
            store_failure_output: script.junit_store_failure_output,
        };
        Roster {
            cases: suite
                .cases
                .iter()
                .map(|case| label(case.binary, &case.name, case.report))
                .collect(),
            skipped: skipped
                .map(|case| {
                    (
                        label(case.binary, &case.name, case.report),
                        case.reason.to_string(),
                    )
                })
                .collect(),
            scripts: suite.setup_scripts.iter().map(script).collect(),
        }
    }
}

/// What the fold must know of the cases; `slots` are those of one worker.
pub(super) fn fold_cases(suite: &Suite, slots: u32) -> Vec<FoldCase> {
    let of = |case: &SuiteCase| {
        let settings = &suite.settings[case.settings];
        FoldCase {
            flaky_passes: settings.flaky_result == FlakyResult::Pass,
            weight: match settings.threads_required {
                ThreadsRequired::Count(count) => count.min(slots),
                ThreadsRequired::NumCpus | ThreadsRequired::NumTestThreads => slots,
            },
        }
    };
    suite.cases.iter().map(of).collect()
}

fn keeps_output(report: &ReportSettings) -> bool {
    report.success_output != OutputDisplay::Never || report.junit_store_success_output
}

/// Inherited variables and, over them, the command's own; sorted by name.
fn variables(inherited: &BTreeMap<OsString, OsString>, own: &[(String, OsString)]) -> Vec<v1::EnvVar> {
    let mut all: BTreeMap<&OsStr, &OsString> = inherited
        .iter()
        .map(|(name, value)| (name.as_os_str(), value))
        .collect();
    all.extend(own.iter().map(|(name, value)| (OsStr::new(name), value)));
    let variable = |(name, value): (&OsStr, &OsString)| {
        // What travels and what commands set have names in UTF-8.
        Some(v1::EnvVar {
            name: name.to_str()?.to_owned(),
            value: value.as_encoded_bytes().to_vec().into(),
        })
    };
    all.into_iter().filter_map(variable).collect()
}

fn wire(position: usize) -> u32 {
    u32::try_from(position).expect("positions within a run fit into 32 bits")
}
