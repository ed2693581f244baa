//! Settings, groups, key parts and the end of a run.

use thresh_core::case::{
    Backoff, CaseSettings, FlakyResult, LeakTimeout, MaxFail, RetryPolicy, SlowTimeout, TestGroup,
    ThreadsRequired,
};
use thresh_core::reuse::KeyParts;
use thresh_core::schedule::{RunPriority, StopReason};

use super::scalar::{
    digest_from_wire, digest_to_wire, duration_from_wire, duration_or_zero, duration_to_wire,
};
use super::{InvalidMessage, threads_required};
use crate::v1;

/// The most retries that are accepted; far beyond any use, it bounds arithmetic.
const RETRIES_MAX: u32 = 1_000_000;

/// Returns the wire form of a case's settings. `group` is the position of its test group in the header.
pub fn case_settings_to_wire(settings: &CaseSettings, group: Option<u32>) -> v1::Settings {
    v1::Settings {
        priority: settings.priority.into(),
        threads_required: Some(threads_required::to_wire(settings.threads_required)),
        group: group.map_or(0, |group| group + 1),
        retries: Some(retries_to_wire(settings.retries)),
        flaky_fails: settings.flaky_result == FlakyResult::Fail,
        slow_timeout: Some(slow_timeout_to_wire(settings.slow_timeout)),
        leak_timeout: Some(leak_timeout_to_wire(settings.leak_timeout)),
    }
}

/// Reads the slots that a case takes.
///
/// # Errors
/// When it is missing or 0.
pub fn threads_from_wire(
    field: &'static str,
    threads: Option<v1::ThreadsRequired>,
) -> Result<ThreadsRequired, InvalidMessage> {
    threads_required::from_wire(field, threads)
}

/// Returns the wire form of a run's priority.
pub fn priority_to_wire(priority: RunPriority) -> v1::RunPriority {
    match priority {
        RunPriority::Speculative => v1::RunPriority::Speculative,
        RunPriority::Interactive => v1::RunPriority::Interactive,
        RunPriority::Trunk => v1::RunPriority::Trunk,
        RunPriority::Gate => v1::RunPriority::Gate,
        RunPriority::TrunkFix => v1::RunPriority::TrunkFix,
    }
}

/// Reads a run's priority.
pub fn priority_from_wire(priority: v1::RunPriority) -> RunPriority {
    match priority {
        v1::RunPriority::Speculative => RunPriority::Speculative,
        v1::RunPriority::Interactive => RunPriority::Interactive,
        v1::RunPriority::Trunk => RunPriority::Trunk,
        v1::RunPriority::Gate => RunPriority::Gate,
        v1::RunPriority::TrunkFix => RunPriority::TrunkFix,
    }
}

/// Returns the wire form of a test group.
pub fn group_to_wire(group: &TestGroup) -> v1::TestGroup {
    v1::TestGroup {
        name: group.name.clone(),
        max_threads: Some(threads_required::to_wire(group.max_threads)),
    }
}

/// Reads a test group.
///
/// # Errors
/// When its size is missing or 0.
pub fn group_from_wire(group: &v1::TestGroup) -> Result<TestGroup, InvalidMessage> {
    let max_threads = threads_required::from_wire("groups.max_threads", group.max_threads)?;
    Ok(TestGroup {
        name: group.name.clone(),
        max_threads,
    })
}

fn retries_to_wire(retries: RetryPolicy) -> v1::RetryPolicy {
    let (delay, exponential, max_delay) = match retries.backoff {
        Backoff::Fixed(delay) => (delay, false, None),
        Backoff::Exponential { delay, max_delay } => (delay, true, max_delay),
    };
    v1::RetryPolicy {
        count: retries.count,
        delay: Some(duration_to_wire(delay)),
        exponential,
        max_delay: max_delay.map(duration_to_wire),
        jitter: retries.jitter,
    }
}

/// Reads a retry policy; an absent one is no retries.
///
/// # Errors
/// When the count is absurd.
pub fn retries_from_wire(retries: Option<v1::RetryPolicy>) -> Result<RetryPolicy, InvalidMessage> {
    let Some(retries) = retries else {
        return Ok(RetryPolicy::NONE);
    };
    if retries.count > RETRIES_MAX {
        return Err(InvalidMessage::new(
            "retries.count",
            format!("is over {RETRIES_MAX}"),
        ));
    }
    let delay = duration_or_zero(retries.delay);
    let backoff = if retries.exponential {
        Backoff::Exponential {
            delay,
            max_delay: retries.max_delay.map(|max| duration_or_zero(Some(max))),
        }
    } else {
        Backoff::Fixed(delay)
    };
    Ok(RetryPolicy {
        count: retries.count,
        backoff,
        jitter: retries.jitter,
    })
}

/// Returns the wire form of a slow-timeout.
pub fn slow_timeout_to_wire(timeout: SlowTimeout) -> v1::SlowTimeout {
    v1::SlowTimeout {
        period: Some(duration_to_wire(timeout.period)),
        terminate_after: timeout.terminate_after.unwrap_or(0),
        grace_period: Some(duration_to_wire(timeout.grace_period)),
        on_timeout_passes: timeout.on_timeout_passes,
    }
}

/// Reads a slow-timeout.
///
/// # Errors
/// When a duration is missing or absurd.
pub fn slow_timeout_from_wire(timeout: Option<v1::SlowTimeout>) -> Result<SlowTimeout, InvalidMessage> {
    let timeout = timeout.ok_or_else(|| InvalidMessage::missing("slow_timeout"))?;
    Ok(SlowTimeout {
        period: duration_from_wire("slow_timeout.period", timeout.period)?,
        terminate_after: (timeout.terminate_after > 0).then_some(timeout.terminate_after),
        grace_period: duration_from_wire("slow_timeout.grace_period", timeout.grace_period)?,
        on_timeout_passes: timeout.on_timeout_passes,
    })
}

/// Returns the wire form of a leak-timeout.
pub fn leak_timeout_to_wire(timeout: LeakTimeout) -> v1::LeakTimeout {
    v1::LeakTimeout {
        period: Some(duration_to_wire(timeout.period)),
        leak_passes: timeout.leak_passes,
    }
}

/// Reads a leak-timeout.
///
/// # Errors
/// When its period is missing or absurd.
pub fn leak_timeout_from_wire(timeout: Option<v1::LeakTimeout>) -> Result<LeakTimeout, InvalidMessage> {
    let timeout = timeout.ok_or_else(|| InvalidMessage::missing("leak_timeout"))?;
    Ok(LeakTimeout {
        period: duration_from_wire("leak_timeout.period", timeout.period)?,
        leak_passes: timeout.leak_passes,
    })
}

/// Returns the wire form of the stop-after-failures setting.
pub fn max_fail_to_wire(max_fail: MaxFail) -> v1::MaxFail {
    v1::MaxFail {
        count: max_fail.count.unwrap_or(0),
        kill_running: max_fail.kill_running,
    }
}

/// Reads the stop-after-failures setting; an absent one is never.
pub fn max_fail_from_wire(max_fail: Option<v1::MaxFail>) -> MaxFail {
    max_fail.map_or(MaxFail::NEVER, |max_fail| MaxFail {
        count: (max_fail.count > 0).then_some(max_fail.count),
        kill_running: max_fail.kill_running,
    })
}

/// Returns the wire form of key parts.
pub fn key_parts_to_wire(parts: &KeyParts) -> v1::KeyParts {
    v1::KeyParts {
        code: digest_to_wire(parts.code),
        arguments: digest_to_wire(parts.arguments),
        environment: digest_to_wire(parts.environment),
        platform: digest_to_wire(parts.platform),
        files: digest_to_wire(parts.files),
        programs: digest_to_wire(parts.programs),
    }
}

/// Reads key parts.
///
/// # Errors
/// When a digest is malformed.
pub fn key_parts_from_wire(parts: &v1::KeyParts) -> Result<KeyParts, InvalidMessage> {
    Ok(KeyParts {
        code: digest_from_wire("key_parts.code", &parts.code)?,
        arguments: digest_from_wire("key_parts.arguments", &parts.arguments)?,
        environment: digest_from_wire("key_parts.environment", &parts.environment)?,
        platform: digest_from_wire("key_parts.platform", &parts.platform)?,
        files: digest_from_wire("key_parts.files", &parts.files)?,
        programs: digest_from_wire("key_parts.programs", &parts.programs)?,
    })
}

/// Returns the wire form of the reason for a run's end.
pub fn stop_reason_to_wire(reason: StopReason) -> v1::run_ended::Reason {
    use v1::run_ended::Reason;
    match reason {
        StopReason::Complete => Reason::Complete,
        StopReason::MaxFail => Reason::MaxFail,
        StopReason::Cancelled => Reason::Cancelled,
        StopReason::GlobalTimeout => Reason::GlobalTimeout,
        StopReason::SetupScriptFailed => Reason::SetupScriptFailed,
        StopReason::Stranded => Reason::Stranded,
    }
}

/// Reads the reason for a run's end.
///
/// # Errors
/// When the value is unknown.
pub fn stop_reason_from_wire(reason: i32) -> Result<StopReason, InvalidMessage> {
    use v1::run_ended::Reason;
    Ok(match Reason::try_from(reason).unwrap_or(Reason::Unknown) {
        Reason::Unknown => {
            return Err(InvalidMessage::new(
                "ended.reason",
                format!("has the unknown value {reason}"),
            ));
        }
        Reason::Complete => StopReason::Complete,
        Reason::MaxFail => StopReason::MaxFail,
        Reason::Cancelled => StopReason::Cancelled,
        Reason::GlobalTimeout => StopReason::GlobalTimeout,
        Reason::SetupScriptFailed => StopReason::SetupScriptFailed,
        Reason::Stranded => StopReason::Stranded,
    })
}
