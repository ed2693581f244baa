use proptest::prelude::*;
use prost::Message;
use thresh_core::reuse::KeyParts;
use thresh_core::schedule::{Event, Policy, Scheduler};
use thresh_core::time::Timestamp;
use thresh_proto::convert::digest_to_wire;

use super::*;

fn header() -> v1::RunHeader {
    let digest = || prost::bytes::Bytes::copy_from_slice(Digest::of(b"x").as_bytes());
    let duration = Some(v1::Duration { micros: 1 });
    let threads = v1::ThreadsRequired {
        amount: Some(v1::threads_required::Amount::Count(1)),
    };
    v1::RunHeader {
        run_id: vec![1; 16].into(),
        project: "p".into(),
        platform: "here".into(),
        groups: vec![v1::TestGroup {
            name: "g".into(),
            max_threads: Some(threads),
        }],
        binaries: vec![v1::Binary {
            id: "b".into(),
            digest: digest(),
            ..Default::default()
        }],
        settings: vec![v1::Settings {
            threads_required: Some(threads),
            group: 1,
            slow_timeout: Some(v1::SlowTimeout {
                period: duration,
                grace_period: duration,
                ..Default::default()
            }),
            leak_timeout: Some(v1::LeakTimeout {
                period: duration,
                leak_passes: true,
            }),
            ..Default::default()
        }],
        commands: vec![v1::Command {
            before: vec!["b".into()],
            ..Default::default()
        }],
        key_parts: vec![v1::KeyParts {
            code: digest(),
            arguments: digest(),
            environment: digest(),
            platform: digest(),
            files: digest(),
            programs: digest(),
        }],
        inputs: Some(v1::Inputs {
            in_place: true,
            ..Default::default()
        }),
        reuse: true,
        ..Default::default()
    }
}

fn case() -> v1::Case {
    v1::Case {
        name: "c".into(),
        key_parts: 1,
        ..Default::default()
    }
}

fn refused(change: impl FnOnce(&mut v1::RunHeader, &mut v1::Case)) -> &'static str {
    let (mut header, mut case) = (header(), case());
    change(&mut header, &mut case);
    validate(header, vec![case]).expect_err("it is refused").field
}

#[test]
fn a_pass_by_a_cases_own_parts_has_a_coarse_one_beside_it() {
    let at = Timestamp::from_micros(5);
    let plain = validate(header(), vec![case()]).unwrap();
    assert_eq!(plain.coarse_pass(0, at).map(|pass| pass.parts), None);
    let own = v1::Case {
        code: digest_to_wire(Digest::of(b"own code")),
        seen: digest_to_wire(KeyParts::no_files()),
        ..case()
    };
    let own = validate(header(), vec![own]).unwrap();
    let (pass, coarse) = (own.pass(0, at).unwrap(), own.coarse_pass(0, at).unwrap());
    assert!(pass.parts.has_no_files() && pass.parts.code == Digest::of(b"own code"));
    assert_eq!(Some(coarse.parts), plain.parts_of(0));
    assert!(coarse.at < pass.at);
}

#[test]
fn a_sound_run_keeps_all_it_says() {
    let submission = validate(header(), vec![case()]).unwrap();
    assert_eq!(submission.request.cases[0].group, Some(GroupIndex(0)));
    assert!(submission.parts_of(0).is_some());
    assert_eq!(&*submission.case_id(0).unwrap().binary_id, "b");
    let without = validate(
        v1::RunHeader {
            reuse: false,
            ..header()
        },
        vec![case()],
    )
    .unwrap();
    assert!(without.parts_of(0).is_none());
}

#[test]
fn folders_that_no_worker_can_present_are_refused() {
    let shipped = |source: &str, target: &str| {
        let digest = || prost::bytes::Bytes::copy_from_slice(Digest::of(b"x").as_bytes());
        let mut header = header();
        header.binaries[0].manifest = digest();
        header.inputs = Some(v1::Inputs {
            source_root: source.into(),
            target_root: target.into(),
            source_manifest: digest(),
            target_manifest: digest(),
            ..Default::default()
        });
        validate(header, vec![case()])
            .map(|_| ())
            .map_err(|error| error.field)
    };
    assert_eq!(shipped("/repo", "/repo/target"), Ok(()));
    assert_eq!(shipped("/tmp/work", "/etc/target"), Ok(()));
    for bad in [
        "",
        "/",
        "work",
        "/repo/../etc",
        "/proc/self",
        "/dev/shm/work",
        "/tmp",
    ] {
        assert_eq!(shipped(bad, "/target"), Err("inputs.source_root"), "{bad}");
    }
    assert_eq!(shipped("/repo", "/repo/"), Err("inputs.target_root"));
}

#[test]
fn every_bad_field_is_named() {
    assert_eq!(refused(|header, _| header.run_id = vec![1; 15].into()), "run_id");
    assert_eq!(refused(|header, _| header.project.clear()), "project");
    assert_eq!(refused(|header, _| header.platform.clear()), "platform");
    assert_eq!(refused(|header, _| header.inputs = None), "inputs");
    assert_eq!(
        refused(|header, _| header.binaries[0].digest = vec![1; 31].into()),
        "binaries.digest"
    );
    assert_eq!(
        refused(|header, _| header.inputs = Some(v1::Inputs::default())),
        "manifest"
    );
    assert_eq!(
        refused(|header, _| header.settings[0].group = 2),
        "settings.group"
    );
    assert_eq!(
        refused(|header, _| header.settings[0].priority = 101),
        "settings.priority"
    );
    assert_eq!(
        refused(|header, _| header.commands[0].setup_scripts = vec![0]),
        "commands.setup_scripts"
    );
    assert_eq!(
        refused(|header, _| header.commands[0].before.clear()),
        "commands.before"
    );
    let century = Some(v1::Duration { micros: u64::MAX });
    assert_eq!(
        refused(|header, _| header.global_timeout = century),
        "global_timeout"
    );
    assert_eq!(refused(|_, case| case.binary = 1), "cases.binary");
    assert_eq!(refused(|_, case| case.settings = u32::MAX), "cases.settings");
    assert_eq!(refused(|_, case| case.command = 1), "cases.command");
    assert_eq!(refused(|_, case| case.key_parts = 2), "cases.key_parts");
    assert_eq!(refused(|_, case| case.name = "a\0b".into()), "cases.name");
    assert_eq!(
        refused(|_, case| case.name = "n".repeat(NAME_BYTES_MAX + 1)),
        "cases.name"
    );
}

#[tokio::test]
async fn the_header_comes_first_and_once() {
    let message = |header, cases| Ok(v1::SubmitRequest { header, cases });
    let sound = [message(Some(header()), vec![case()]), message(None, vec![case()])];
    assert_eq!(receive(tokio_stream::iter(sound)).await.unwrap().cases.len(), 2);
    let twice = [message(Some(header()), vec![]), message(Some(header()), vec![])];
    assert!(receive(tokio_stream::iter(twice)).await.is_err());
    assert!(
        receive(tokio_stream::iter([message(None, vec![case()])]))
            .await
            .is_err()
    );
    assert!(receive(tokio_stream::empty()).await.is_err());
}

proptest! {
    /// A damaged message is refused, or makes a run that the scheduler can take.
    #[test]
    fn garbage_never_panics(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)) {
        let request = v1::SubmitRequest { header: Some(header()), cases: vec![case(); 3] };
        let mut bytes = request.encode_to_vec();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let Ok(request) = v1::SubmitRequest::decode(&bytes[..]) else { return Ok(()) };
        let Some(header) = request.header else { return Ok(()) };
        let Ok(submission) = validate(header, request.cases) else { return Ok(()) };
        for case in 0..submission.cases.len() {
            prop_assert!(submission.case_id(case).is_some());
        }
        let mut scheduler = Scheduler::new(Policy::default(), 0, 0);
        let event = Event::RunSubmitted(submission.run, submission.request);
        prop_assert!(scheduler.apply(Timestamp::default(), event, &mut Vec::new()).is_ok());
        prop_assert!(scheduler.check_invariants().is_ok());
    }
}
