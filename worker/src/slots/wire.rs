//! What a slot reports, as the coordinator reads it.

use thresh_core::id::Generation;
use thresh_core::observe::Observation;
use thresh_proto::convert::{duration_to_wire, observation_to_wire, outcome_to_wire};
use thresh_proto::v1;

use crate::exec::{Execution, Kept};

/// Returns the wire form of what both streams held.
pub(crate) fn output_to_wire(stdout: Kept, stderr: Kept) -> v1::Output {
    v1::Output {
        stdout: stream_to_wire(stdout),
        stderr: stream_to_wire(stderr),
    }
}

fn stream_to_wire(kept: Kept) -> Option<v1::Stream> {
    let is_empty = kept.head.is_empty() && kept.tail.is_empty() && kept.omitted_bytes == 0;
    (!is_empty).then(|| v1::Stream {
        head: kept.head.into(),
        tail: kept.tail.into(),
        omitted_bytes: kept.omitted_bytes,
    })
}

/// Returns the report on an attempt. The output of a pass is left out unless it is wanted.
pub(super) fn attempt_to_wire(
    case: u32,
    generation: Generation,
    execution: Execution,
    keep_passing_output: bool,
    observed: Option<&Observation>,
) -> v1::Attempt {
    let wanted = keep_passing_output || !execution.outcome.passes();
    v1::Attempt {
        case,
        generation: generation.0,
        outcome: Some(outcome_to_wire(&execution.outcome)),
        started_micros: execution.started.as_micros(),
        took: Some(duration_to_wire(execution.took)),
        output: wanted.then(|| output_to_wire(execution.stdout, execution.stderr)),
        outputs: Default::default(),
        observed: observed.map(observation_to_wire),
    }
}
