//! Puts a suite together from a build, a profile, a selection and the lists of cases.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use nextest_filtering::TestQuery;
use nextest_metadata::{MismatchReason, RustTestSuiteStatusSummary, TestCaseName};
use thresh_core::case::{CaseSettings, FlakyResult, RetryPolicy};

use super::model::{SetupScript, SkippedCase, Suite, SuiteBinary, SuiteCase};
use crate::command::{CommandContext, CommandTemplate, library_folders};
use crate::list::{CaseList, Dealer, ListedCase, Selection, TestBinary};
use crate::nextest::{Overrides, Profile, ReportSettings};

/// Settings that the command line makes for all cases, over those of the configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct ForcedSettings {
    /// `--retries`.
    pub retries: Option<RetryPolicy>,
    /// `--flaky-result`.
    pub flaky_result: Option<FlakyResult>,
}

/// What a suite is made from.
#[derive(Clone, Copy, Debug)]
pub struct SuiteParts<'a> {
    /// The commands' context, with workspace and build.
    pub context: &'a CommandContext<'a>,
    /// The test binaries.
    pub binaries: &'a [TestBinary<'a>],
    /// The profile.
    pub profile: &'a Profile,
    /// What to run.
    pub selection: &'a Selection,
    /// The settings of the command line.
    pub forced: ForcedSettings,
}

impl Suite {
    /// Puts a suite together. `lists` holds the list of each binary that was listed, by position.
    pub fn assemble(parts: SuiteParts<'_>, lists: &BTreeMap<usize, CaseList>) -> Self {
        let mut assembly = Assembly::new(parts);
        for (at, binary) in parts.binaries.iter().enumerate() {
            if let Some(list) = lists.get(&at) {
                assembly.binary(at, binary, list);
            }
        }
        assembly.finish(lists)
    }
}

/// A suite in the making. Cases under the same overrides have equal settings, and cases that agree in what a
/// command is made from have equal commands; so each is made once.
struct Assembly<'a> {
    parts: SuiteParts<'a>,
    dealer: Option<Dealer>,
    cases: Vec<SuiteCase>,
    skipped: Vec<SkippedCase>,
    settings: Vec<CaseSettings>,
    settings_under: HashMap<Overrides, usize>,
    reports: Vec<ReportSettings>,
    reports_under: HashMap<Overrides, usize>,
    commands: Vec<CommandTemplate>,
    commands_for: HashMap<CommandKey, usize>,
    setup_scripts: BTreeSet<usize>,
}

#[derive(PartialEq, Eq, Hash)]
struct CommandKey {
    binary: usize,
    settings: usize,
    wrapper: Option<String>,
    setup_scripts: Vec<usize>,
}

impl<'a> Assembly<'a> {
    fn new(parts: SuiteParts<'a>) -> Self {
        Self {
            parts,
            dealer: parts.selection.partition.map(Dealer::new),
            cases: Vec::new(),
            skipped: Vec::new(),
            settings: Vec::new(),
            settings_under: HashMap::new(),
            reports: Vec::new(),
            reports_under: HashMap::new(),
            commands: Vec::new(),
            commands_for: HashMap::new(),
            setup_scripts: BTreeSet::new(),
        }
    }

    fn binary(&mut self, at: usize, binary: &TestBinary<'_>, list: &CaseList) {
        if let Some(dealer) = &mut self.dealer {
            dealer.next_binary();
        }
        let query = binary.query();
        for case in &list.cases {
            let name = TestCaseName::new(&case.name);
            let query = TestQuery {
                binary_query: query,
                test_name: &name,
            };
            let overrides = self.parts.profile.overrides_for(&query);
            match self.mismatch(&query, case) {
                None => self.select(at, binary, case, &query, overrides),
                Some(reason) => {
                    let report = self.report(overrides);
                    let ListedCase {
                        name,
                        ignored,
                        benchmark,
                    } = case.clone();
                    self.skipped.push(SkippedCase {
                        binary: at,
                        name,
                        ignored,
                        benchmark,
                        reason,
                        report,
                    });
                }
            }
        }
    }

    fn mismatch(&mut self, query: &TestQuery<'_>, case: &ListedCase) -> Option<MismatchReason> {
        let SuiteParts {
            selection, profile, ..
        } = self.parts;
        if let Some(reason) = selection.case_mismatch(query, case.ignored, profile) {
            return Some(reason);
        }
        // Only what is selected otherwise is dealt out.
        let dealer = self.dealer.as_mut()?;
        (!dealer.takes(&case.name, case.ignored)).then_some(MismatchReason::Partition)
    }

    fn select(
        &mut self,
        at: usize,
        binary: &TestBinary<'_>,
        case: &ListedCase,
        query: &TestQuery<'_>,
        overrides: Overrides,
    ) {
        let settings = self.settings(&overrides);
        let report = self.report(overrides);
        let command = self.command(at, binary, query, settings);
        let ListedCase {
            name,
            ignored,
            benchmark,
        } = case.clone();
        self.cases.push(SuiteCase {
            binary: at,
            name,
            ignored,
            benchmark,
            settings,
            report,
            command,
        });
    }

    fn settings(&mut self, overrides: &Overrides) -> usize {
        if let Some(position) = self.settings_under.get(overrides) {
            return *position;
        }
        let forced = self.parts.forced;
        let mut settings = self.parts.profile.settings_under(overrides);
        settings.retries = forced.retries.unwrap_or(settings.retries);
        settings.flaky_result = forced.flaky_result.unwrap_or(settings.flaky_result);
        let position = position_of(&mut self.settings, settings);
        self.settings_under.insert(overrides.clone(), position);
        position
    }

    fn report(&mut self, overrides: Overrides) -> usize {
        if let Some(position) = self.reports_under.get(&overrides) {
            return *position;
        }
        let position = position_of(&mut self.reports, self.parts.profile.report_under(&overrides));
        self.reports_under.insert(overrides, position);
        position
    }

    fn command(
        &mut self,
        at: usize,
        binary: &TestBinary<'_>,
        query: &TestQuery<'_>,
        settings: usize,
    ) -> usize {
        let SuiteParts { profile, context, .. } = self.parts;
        let wrapper = profile.run_wrapper(query);
        let setup_scripts = profile.setup_scripts_for(query);
        let name = wrapper.map(|wrapper| wrapper.name.clone());
        let key = CommandKey {
            binary: at,
            settings,
            wrapper: name,
            setup_scripts,
        };
        if let Some(position) = self.commands_for.get(&key) {
            return *position;
        }
        self.setup_scripts.extend(&key.setup_scripts);
        let CaseSettings {
            run_extra_args,
            test_group,
            ..
        } = &self.settings[settings];
        let scripts = key.setup_scripts.clone();
        let command = context.run_command(binary, wrapper, run_extra_args, test_group.as_deref(), scripts);
        let position = position_of(&mut self.commands, command);
        self.commands_for.insert(key, position);
        position
    }

    fn finish(mut self, lists: &BTreeMap<usize, CaseList>) -> Suite {
        let SuiteParts {
            context,
            binaries,
            profile,
            selection,
            ..
        } = self.parts;
        let (workspace, build) = (context.workspace, context.build);
        let setup_scripts = self.finish_setup_scripts();
        let meta = &build.binaries.rust_build_meta;
        let programs = meta.non_test_binaries.values().flatten();
        Suite {
            workspace_root: workspace.root.clone(),
            target_directory: meta.target_directory.clone(),
            profile: profile.name().to_owned(),
            platform: workspace.platforms.target().triple_str().to_owned(),
            rustc_version: workspace.toolchain.version.clone(),
            binaries: binaries
                .iter()
                .enumerate()
                .map(|(at, binary)| SuiteBinary {
                    id: binary.id().to_string(),
                    package: binary.package.name().to_owned(),
                    path: binary.path().to_owned(),
                    cwd: binary.folder.clone(),
                    kind: binary.summary().kind.to_string(),
                    build_platform: binary.build_platform(),
                    programs: binary.programs.iter().map(|(_, path)| path.clone()).collect(),
                    out_dir: meta
                        .build_script_out_dirs
                        .get(binary.package_id())
                        .map(|out_dir| build.build_directory().join(out_dir)),
                    summary: binary.summary().clone(),
                    status: match lists.contains_key(&at) {
                        true => RustTestSuiteStatusSummary::LISTED,
                        false => selection
                            .binary_mismatch(&binary.query(), profile)
                            .unwrap_or(RustTestSuiteStatusSummary::SKIPPED),
                    },
                })
                .collect(),
            cases: self.cases,
            skipped: self.skipped,
            settings: self.settings,
            reports: self.reports,
            commands: self.commands,
            setup_scripts,
            groups: profile.groups().to_vec(),
            programs: programs
                .map(|program| meta.target_directory.join(&program.path))
                .collect(),
            dynamic_libraries: build.dynamic_libraries.iter().cloned().collect(),
            library_folders: library_folders(workspace, build),
            rust_build_meta: meta.clone(),
        }
    }

    /// Takes the setup scripts that commands use, and makes the commands refer to their new positions.
    fn finish_setup_scripts(&mut self) -> Vec<SetupScript> {
        let used: Vec<usize> = std::mem::take(&mut self.setup_scripts).into_iter().collect();
        for script in self
            .commands
            .iter_mut()
            .flat_map(|command| &mut command.setup_scripts)
        {
            *script = used
                .binary_search(script)
                .expect("every script of a command was noted as used");
        }
        let definitions = self.parts.profile.setup_scripts();
        used.into_iter()
            .map(|at| {
                let script = &definitions[at];
                SetupScript {
                    id: script.name.clone(),
                    command: self.parts.context.setup_command(script),
                    slow_timeout: script.slow_timeout,
                    leak_timeout: script.leak_timeout,
                    capture_stdout: script.capture_stdout,
                    capture_stderr: script.capture_stderr,
                    junit_store_success_output: script.junit_store_success_output,
                    junit_store_failure_output: script.junit_store_failure_output,
                }
            })
            .collect()
    }
}

/// Returns the position of `value` in `values`, to which it is added where it is not there.
fn position_of<T: PartialEq>(values: &mut Vec<T>, value: T) -> usize {
    values
        .iter()
        .position(|existing| *existing == value)
        .unwrap_or_else(|| {
            values.push(value);
            values.len() - 1
        })
}
