use super::*;
use crate::nextest::{FinalStatusLevel, OutputDisplay, ReportSettings, StatusLevel};
use crate::report::rerun::RerunCommand;
use crate::report::sample;

fn played(options: HumanOptions) -> String {
    let mut out = Vec::new();
    sample::play(&mut HumanReporter::new(&mut out, options));
    String::from_utf8(out).unwrap()
}

#[test]
fn a_small_run() {
    let options = HumanOptions {
        rerun: RerunCommand {
            flags: vec!["--release".into()],
        },
        ..HumanOptions::default()
    };
    assert_eq!(played(options), include_str!("../golden/small_run.txt"));
}

#[test]
fn without_colour_no_escape_sequence_gets_through() {
    let text = played(HumanOptions::default());
    assert!(text.chars().all(|c| !c.is_control() || c == '\n'), "{text:?}");
}

#[test]
fn with_colour_those_of_the_cases_stay_and_are_ended() {
    let text = played(HumanOptions {
        colour: true,
        ..HumanOptions::default()
    });
    assert!(text.contains("\u{1b}[1mthread 'tests::odd'"));
    assert!(text.contains("went wrong\n\u{1b}[0m"), "{text:?}");
}

#[test]
fn levels_and_output_settings_are_honoured() {
    let silent = HumanOptions {
        status_level: StatusLevel::None,
        final_status_level: FinalStatusLevel::None,
        ..HumanOptions::default()
    };
    let text = played_with(OutputDisplay::Never, silent);
    assert!(!text.contains("FAIL ["), "{text}");
    assert!(!text.contains("100% wrong"), "{text}");
    assert!(text.contains("Verdict fail"), "{text}");

    let all = HumanOptions {
        status_level: StatusLevel::All,
        final_status_level: FinalStatusLevel::All,
        ..HumanOptions::default()
    };
    let text = played_with(OutputDisplay::Final, all.clone());
    assert_eq!(text.matches("100% wrong").count(), 1, "{text}");
    assert_eq!(text.matches("REUSED").count(), 2, "{text}");
    let text = played_with(
        OutputDisplay::Immediate,
        HumanOptions {
            repeat_failures: false,
            ..all
        },
    );
    assert_eq!(text.matches("100% wrong").count(), 1, "{text}");
}

fn played_with(failure_output: OutputDisplay, options: HumanOptions) -> String {
    let mut out = Vec::new();
    let settings = ReportSettings {
        failure_output,
        ..sample::SETTINGS
    };
    sample::play_with(settings, &mut HumanReporter::new(&mut out, options));
    String::from_utf8(out).unwrap()
}
