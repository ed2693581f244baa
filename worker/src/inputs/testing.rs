//! Runs for tests.

use std::sync::Arc;
use std::time::Duration;

use thresh_core::case::{LeakTimeout, SlowTimeout};
use thresh_core::id::RunId;
use thresh_proto::convert::{leak_timeout_to_wire, run_id_to_wire, slow_timeout_to_wire};
use thresh_proto::v1;

use super::brief::Brief;

/// A header with one binary, one group of settings and one command, which runs a case's name in a shell.
pub(crate) fn in_place_header(run: RunId) -> v1::RunHeader {
    let slow_timeout = SlowTimeout {
        grace_period: Duration::from_millis(100),
        ..SlowTimeout::default()
    };
    v1::RunHeader {
        run_id: run_id_to_wire(run),
        binaries: vec![v1::Binary {
            id: "pkg::bin".into(),
            ..Default::default()
        }],
        settings: vec![v1::Settings {
            slow_timeout: Some(slow_timeout_to_wire(slow_timeout)),
            leak_timeout: Some(leak_timeout_to_wire(LeakTimeout::default())),
            ..Default::default()
        }],
        commands: vec![shell()],
        inputs: Some(v1::Inputs {
            in_place: true,
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Runs a case's name as a shell command.
pub(crate) fn shell() -> v1::Command {
    v1::Command {
        before: vec!["/bin/sh".into(), "-c".into()],
        cwd: "/".into(),
        ..Default::default()
    }
}

/// The header as the worker knows it.
pub(crate) fn brief(header: v1::RunHeader) -> Arc<Brief> {
    let brief = v1::RunBrief {
        header: Some(header),
        test_threads: 4,
    };
    Arc::new(Brief::from_wire(brief).unwrap())
}

/// The first attempt of a case of that header.
pub(crate) fn leased_case(case: u32) -> v1::LeasedCase {
    v1::LeasedCase {
        case,
        generation: 1,
        attempt: 1,
        attempts_max: 1,
        name: format!("case-{case}"),
        weight: 1,
        ..Default::default()
    }
}
