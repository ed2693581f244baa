//! A run whose cases can be started.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thresh_proto::convert::InvalidMessage;
use thresh_proto::v1::LeasedCase;

use super::brief::{Brief, Command};
use super::environment::Variable;
use super::place::{CasePlace, Place};
use crate::exec::{Block, Capture, Environment, Invocation, OutputLimit};
use crate::outputs::Outputs;
use crate::sandbox::Limits;

/// A run whose cases can be started. All that its cases have in common is worked out beforehand.
#[derive(Debug)]
pub(crate) struct Ready {
    brief: Arc<Brief>,
    place: Arc<Place>,
    launches: Vec<Launch>,
    output_limit: OutputLimit,
    limits: Limits,
    outputs: Option<Outputs>,
}

/// A [`Command`] as it is here.
#[derive(Debug)]
struct Launch {
    before: Vec<OsString>,
    after: Vec<OsString>,
    /// Where among `after` the flag for an ignored case goes.
    ignored_at: usize,
    cwd: PathBuf,
    /// The variables that all of its cases have.
    common: Arc<Block>,
}

impl Ready {
    /// `base` is what all processes of the run get, `scripts` what each setup script set.
    pub(super) fn new(
        brief: Arc<Brief>,
        place: Arc<Place>,
        base: &Environment,
        scripts: &[Vec<Variable>],
        output_limit: OutputLimit,
        limits: Limits,
        outputs: Option<Outputs>,
    ) -> Self {
        let launches = brief
            .commands
            .iter()
            .map(|command| launch(command, &place, base, scripts))
            .collect();
        Self {
            brief,
            place,
            launches,
            output_limit,
            limits,
            outputs,
        }
    }

    /// What is to be kept of the run's one case, which is an action; `None` for test cases.
    pub(crate) fn outputs(&self) -> Option<&Outputs> {
        self.outputs.as_ref()
    }

    /// Whether what a case is seen to read says anything of the client's files.
    pub(crate) fn can_be_observed(&self) -> bool {
        self.place.shows_clients_files()
    }

    /// Whether passing cases' output is to be reported.
    pub(crate) fn keeps_passing_output(&self) -> bool {
        self.brief.keep_passing_output
    }

    /// Makes what one case has for itself.
    pub(crate) fn case_place(&self) -> io::Result<CasePlace> {
        self.place.case()
    }

    /// Says how to run a case, in slot number `slot`. The case's positions have been checked.
    pub(crate) fn invocation<'a>(
        &self,
        case: &LeasedCase,
        slot: u32,
        case_place: &'a CasePlace,
    ) -> Invocation<'a> {
        let launch = &self.launches[case.command as usize];
        let settings = &self.brief.settings[case.settings as usize];
        let in_place = matches!(*self.place, Place::Client);
        Invocation {
            argv: match &self.outputs {
                Some(_) => launch.before.clone(),
                None => argv(launch, case),
            },
            cwd: launch.cwd.clone(),
            environment: self.environment(launch, case, slot, case_place),
            slow_timeout: settings.slow_timeout,
            leak_timeout: settings.leak_timeout,
            capture: if self.brief.no_capture && in_place {
                Capture::NONE
            } else {
                Capture::SPLIT
            },
            output_limit: self.output_limit,
            kill_leaked: !in_place,
            limits: self.limits,
            view: case_place.view(),
        }
    }

    fn environment(
        &self,
        launch: &Launch,
        case: &LeasedCase,
        slot: u32,
        case_place: &CasePlace,
    ) -> Environment {
        let common = launch.common.clone();
        let temp_dir = case_place.temp_dir();
        let temp_dir = temp_dir.map(|folder| ("TMPDIR".into(), folder.into()));
        if self.outputs.is_some() {
            let set = temp_dir.into_iter().collect();
            return Environment { common, set };
        }
        let binary_id = &self.brief.binaries[case.binary as usize].id;
        let group = &self.brief.settings[case.settings as usize].group;
        let group_slot = match case.group_slot.checked_sub(1) {
            Some(slot) => slot.to_string(),
            None => "none".to_owned(),
        };
        let own: [(&str, OsString); 8] = [
            ("NEXTEST_BINARY_ID", binary_id.into()),
            ("NEXTEST_TEST_NAME", (&case.name).into()),
            ("NEXTEST_ATTEMPT", case.attempt.to_string().into()),
            ("NEXTEST_TOTAL_ATTEMPTS", case.attempts_max.to_string().into()),
            ("NEXTEST_ATTEMPT_ID", self.attempt_id(binary_id, case).into()),
            ("NEXTEST_TEST_GLOBAL_SLOT", slot.to_string().into()),
            ("NEXTEST_TEST_GROUP", group.into()),
            ("NEXTEST_TEST_GROUP_SLOT", group_slot.into()),
        ];
        let mut set: Vec<Variable> = own.map(|(name, value)| (name.into(), value)).into();
        set.extend(temp_dir);
        Environment { common, set }
    }

    fn attempt_id(&self, binary_id: &str, case: &LeasedCase) -> String {
        let (run, name) = (self.brief.run, &case.name);
        match case.attempt {
            0 | 1 => format!("{run}:{binary_id}${name}"),
            attempt => format!("{run}:{binary_id}${name}#{attempt}"),
        }
    }
}

impl Brief {
    /// Checks the positions that a leased case holds.
    pub(crate) fn check(&self, case: &LeasedCase) -> Result<(), InvalidMessage> {
        let check = |field, position: u32, count: usize| {
            if (position as usize) < count {
                Ok(())
            } else {
                Err(InvalidMessage::new(
                    field,
                    format!("is {position}, the run has only {count}"),
                ))
            }
        };
        check("cases.binary", case.binary, self.binaries.len())?;
        check("cases.settings", case.settings, self.settings.len())?;
        check("cases.command", case.command, self.commands.len())
    }

    /// The variables that all processes of the run get.
    pub(super) fn variables(&self) -> [Variable; 4] {
        [
            ("NEXTEST_RUN_ID", self.run.to_string()),
            ("NEXTEST_TEST_THREADS", self.test_threads.to_string()),
            ("NEXTEST_STRESS_CURRENT", "none".to_owned()),
            ("NEXTEST_STRESS_TOTAL", "none".to_owned()),
        ]
        .map(|(name, value)| (name.into(), value.into()))
    }
}

fn argv(launch: &Launch, case: &LeasedCase) -> Vec<OsString> {
    let mut argv = Vec::with_capacity(launch.before.len() + launch.after.len() + 2);
    argv.extend_from_slice(&launch.before);
    argv.push((&case.name).into());
    let (head, tail) = launch.after.split_at(launch.ignored_at);
    argv.extend_from_slice(head);
    if case.ignored {
        argv.push("--ignored".into());
    }
    argv.extend_from_slice(tail);
    argv
}

fn launch(command: &Command, place: &Place, base: &Environment, scripts: &[Vec<Variable>]) -> Launch {
    let mapped = |texts: &[String]| texts.iter().map(|text| place.map(text.as_ref())).collect();
    let from_scripts = command
        .setup_scripts
        .iter()
        .filter_map(|&script| scripts.get(script))
        .flatten();
    let own = command
        .env
        .iter()
        .map(|(name, value)| (name.clone(), place.map(value)));
    let set: Vec<Variable> = own.chain(from_scripts.cloned()).collect();
    Launch {
        before: mapped(&command.before),
        after: mapped(&command.after),
        // As nextest has it: behind its own argument, before the user's.
        ignored_at: usize::from(command.after.first().is_some_and(|first| first == "--nocapture")),
        cwd: place.map(command.cwd.as_ref()).into(),
        common: Block::clone(&base.common).with(&base.set).with(&set).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::testing;
    use thresh_core::id::RunId;

    fn ready(command: thresh_proto::v1::Command, scripts: &[Vec<Variable>]) -> Ready {
        let mut header = testing::in_place_header(RunId::from_u128(5));
        header.commands = vec![command];
        header.setup_scripts = vec![Default::default(); scripts.len()];
        let brief = testing::brief(header);
        Ready::new(
            brief,
            Arc::new(Place::Client),
            &Environment::default(),
            scripts,
            OutputLimit::default(),
            Limits::default(),
            None,
        )
    }

    #[test]
    fn an_ignored_case_has_its_flag_where_nextest_puts_it() {
        let command = thresh_proto::v1::Command {
            before: vec!["bin".into(), "--exact".into()],
            after: vec!["--nocapture".into(), "extra".into()],
            ..Default::default()
        };
        let ready = ready(command, &[]);
        let case = LeasedCase {
            name: "a b".into(),
            ignored: true,
            ..testing::leased_case(0)
        };
        let invocation = ready.invocation(&case, 0, &CasePlace::Client);
        assert_eq!(
            invocation.argv,
            ["bin", "--exact", "a b", "--nocapture", "--ignored", "extra"]
        );
    }

    #[test]
    fn the_environment_is_laid_in_nextests_order() {
        let var = |name: &str, value: &str| thresh_proto::v1::EnvVar {
            name: name.into(),
            value: value.to_owned().into(),
        };
        let command = thresh_proto::v1::Command {
            env: vec![
                var("BOTH", "template"),
                var("NEXTEST", "1"),
                var("NEXTEST_ATTEMPT", "stale"),
            ],
            setup_scripts: vec![1],
            ..Default::default()
        };
        let script = |value: &str| vec![("BOTH".into(), value.into())];
        let ready = ready(command, &[script("other"), script("script")]);
        let case = LeasedCase {
            attempt: 2,
            attempts_max: 3,
            group_slot: 1,
            ..testing::leased_case(0)
        };
        let environment = ready.invocation(&case, 4, &CasePlace::Client).environment;
        let all = Block::clone(&environment.common).with(&environment.set);
        let value = |name: &str| all.value(name).map(|value| value.to_str().unwrap());
        for (name, expected) in [
            ("BOTH", "script"),
            ("NEXTEST", "1"),
            ("NEXTEST_ATTEMPT", "2"),
            ("NEXTEST_TOTAL_ATTEMPTS", "3"),
            (
                "NEXTEST_ATTEMPT_ID",
                "00000000-0000-0000-0000-000000000005:pkg::bin$case-0#2",
            ),
            ("NEXTEST_TEST_GLOBAL_SLOT", "4"),
            ("NEXTEST_TEST_GROUP", "@global"),
            ("NEXTEST_TEST_GROUP_SLOT", "0"),
        ] {
            assert_eq!(value(name), Some(expected), "{name}");
        }
    }
}
