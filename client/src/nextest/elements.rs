//! The values of single settings.

use std::time::Duration;

use humantime_serde::re::humantime;
use thresh_core::case::{
    Backoff, FlakyResult, LeakTimeout, MaxFail, RetryPolicy, SlowTimeout, ThreadsRequired,
};

use super::display::{FinalStatusLevel, FlakyFailStatus, OutputDisplay, ReportSkipped, StatusLevel};
use super::document::{Node, Value};
use super::error::ConfigError;
use super::reader::{Reader, boolean, integer, invalid, string, word, wrong_type};

const PASS_OR_FAIL: &[(&str, bool)] = &[("pass", true), ("fail", false)];

/// Reads a duration such as `"1m 30s"`.
pub(super) fn duration(node: &Node) -> Result<Duration, ConfigError> {
    let text = string(node)?;
    humantime::parse_duration(&text)
        .map_err(|error| invalid(&node.spot, format!("\"{text}\" is not a duration: {error}")))
}

/// Reads `retries`: a number, or a table with `backoff`.
pub(super) fn retries(node: &Node) -> Result<RetryPolicy, ConfigError> {
    match node.value {
        Value::Integer(_) => Ok(RetryPolicy {
            count: count(node, 0)?,
            ..RetryPolicy::NONE
        }),
        Value::Table(_) => retry_table(Reader::new(node, "retries")?),
        _ => Err(wrong_type(
            node,
            "a number, or a table such as { backoff = \"fixed\", count = 5 }",
        )),
    }
}

fn retry_table(mut table: Reader<'_>) -> Result<RetryPolicy, ConfigError> {
    let spot = table.spot();
    let exponential = table.require("backoff", |node| {
        word(node, &[("fixed", false), ("exponential", true)])
    })?;
    let count = table.require("count", |node| count(node, 0))?;
    let jitter = table.get("jitter", boolean)?.unwrap_or(false);
    let backoff = if exponential {
        let delay = table.require("delay", duration)?;
        let max_delay = table.get("max-delay", duration)?;
        if count == 0 || delay.is_zero() || max_delay.is_some_and(|max| max.is_zero()) {
            let message = "`count`, `delay` and `max-delay` cannot be zero with exponential backoff";
            return Err(invalid(spot, message));
        }
        if max_delay.is_some_and(|max| max < delay) {
            return Err(invalid(spot, "`max-delay` cannot be less than `delay`"));
        }
        Backoff::Exponential { delay, max_delay }
    } else {
        let delay = table.get("delay", duration)?.unwrap_or(Duration::ZERO);
        if jitter && delay.is_zero() {
            return Err(invalid(spot, "`jitter` needs a `delay` above zero"));
        }
        Backoff::Fixed(delay)
    };
    table.finish()?;
    Ok(RetryPolicy {
        count,
        backoff,
        jitter,
    })
}

/// Reads `flaky-result`.
pub(super) fn flaky_result(node: &Node) -> Result<FlakyResult, ConfigError> {
    word(node, &[("pass", FlakyResult::Pass), ("fail", FlakyResult::Fail)])
}

/// Reads `slow-timeout`: a period, or a table. An empty string is as if the setting were absent.
pub(super) fn slow_timeout(node: &Node) -> Result<Option<SlowTimeout>, ConfigError> {
    match &node.value {
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(_) => Ok(Some(SlowTimeout {
            period: duration(node)?,
            ..SlowTimeout::default()
        })),
        Value::Table(_) => {
            let mut table = Reader::new(node, "slow-timeout")?;
            let timeout = SlowTimeout {
                period: table.require("period", duration)?,
                terminate_after: table.get("terminate-after", |node| count(node, 1))?,
                grace_period: table
                    .get("grace-period", duration)?
                    .unwrap_or(SlowTimeout::default().grace_period),
                on_timeout_passes: table
                    .get("on-timeout", |node| word(node, PASS_OR_FAIL))?
                    .unwrap_or(false),
            };
            table.finish()?;
            Ok(Some(timeout))
        }
        _ => Err(wrong_type(
            node,
            "a duration, or a table such as { period = \"60s\" }",
        )),
    }
}

/// Reads `leak-timeout`: a period, or a table.
pub(super) fn leak_timeout(node: &Node) -> Result<LeakTimeout, ConfigError> {
    match node.value {
        Value::String(_) => Ok(LeakTimeout {
            period: duration(node)?,
            leak_passes: true,
        }),
        Value::Table(_) => {
            let mut table = Reader::new(node, "leak-timeout")?;
            let timeout = LeakTimeout {
                period: table.require("period", duration)?,
                leak_passes: table
                    .get("result", |node| word(node, PASS_OR_FAIL))?
                    .unwrap_or(true),
            };
            table.finish()?;
            Ok(timeout)
        }
        _ => Err(wrong_type(
            node,
            "a duration, or a table such as { period = \"500ms\" }",
        )),
    }
}

/// Reads `fail-fast`: a boolean, or a table with `max-fail`.
pub(super) fn fail_fast(node: &Node) -> Result<MaxFail, ConfigError> {
    match node.value {
        Value::Boolean(true) => Ok(MaxFail {
            count: Some(1),
            kill_running: false,
        }),
        Value::Boolean(false) => Ok(MaxFail::NEVER),
        Value::Table(_) => {
            let mut table = Reader::new(node, "fail-fast")?;
            let failures = table.require("max-fail", |node| match &node.value {
                Value::String(text) if text == "all" => Ok(None),
                Value::Integer(_) => count(node, 1).map(Some),
                _ => Err(wrong_type(node, "a number without quotes, or \"all\"")),
            })?;
            let kill_running = table
                .get("terminate", |node| {
                    word(node, &[("wait", false), ("immediate", true)])
                })?
                .unwrap_or(false);
            table.finish()?;
            Ok(match failures {
                None => MaxFail::NEVER,
                count => MaxFail { count, kill_running },
            })
        }
        _ => Err(wrong_type(node, "a boolean, or a table such as { max-fail = 3 }")),
    }
}

/// Reads `test-threads` and `max-threads`: a number, a negative number (so many fewer than there are cores),
/// or `"num-cpus"`. `cpus` is the number of cores.
pub(super) fn test_threads(node: &Node, cpus: u32) -> Result<ThreadsRequired, ConfigError> {
    match &node.value {
        Value::String(text) if text == "num-cpus" => Ok(ThreadsRequired::NumCpus),
        Value::Integer(0) => Err(invalid(&node.spot, "the number of threads cannot be 0")),
        Value::Integer(fewer) if *fewer < 0 => {
            let left = i64::from(cpus)
                .saturating_add(*fewer)
                .clamp(1, i64::from(u32::MAX));
            Ok(ThreadsRequired::Count(u32::try_from(left).unwrap_or(1)))
        }
        Value::Integer(_) => Ok(ThreadsRequired::Count(count(node, 1)?)),
        _ => Err(wrong_type(node, "a number or \"num-cpus\"")),
    }
}

/// Reads `threads-required`.
pub(super) fn threads_required(node: &Node) -> Result<ThreadsRequired, ConfigError> {
    match &node.value {
        Value::String(text) if text == "num-cpus" => Ok(ThreadsRequired::NumCpus),
        Value::String(text) if text == "num-test-threads" => Ok(ThreadsRequired::NumTestThreads),
        Value::Integer(_) => Ok(ThreadsRequired::Count(count(node, 1)?)),
        _ => Err(wrong_type(node, "a number, \"num-cpus\" or \"num-test-threads\"")),
    }
}

/// Reads `priority`.
pub(super) fn priority(node: &Node) -> Result<i8, ConfigError> {
    integer(node, -100..=100).map(|value| i8::try_from(value).unwrap_or_default())
}

/// Reads `status-level`.
pub(super) fn status_level(node: &Node) -> Result<StatusLevel, ConfigError> {
    use StatusLevel as Level;
    word(
        node,
        &[
            ("none", Level::None),
            ("fail", Level::Fail),
            ("retry", Level::Retry),
            ("slow", Level::Slow),
            ("leak", Level::Leak),
            ("pass", Level::Pass),
            ("skip", Level::Skip),
            ("all", Level::All),
        ],
    )
}

/// Reads `final-status-level`.
pub(super) fn final_status_level(node: &Node) -> Result<FinalStatusLevel, ConfigError> {
    use FinalStatusLevel as Level;
    word(
        node,
        &[
            ("none", Level::None),
            ("fail", Level::Fail),
            ("flaky", Level::Flaky),
            ("retry", Level::Flaky),
            ("slow", Level::Slow),
            ("skip", Level::Skip),
            ("leak", Level::Leak),
            ("pass", Level::Pass),
            ("all", Level::All),
        ],
    )
}

/// Reads `success-output` and `failure-output`.
pub(super) fn output_display(node: &Node) -> Result<OutputDisplay, ConfigError> {
    word(
        node,
        &[
            ("immediate", OutputDisplay::Immediate),
            ("immediate-final", OutputDisplay::ImmediateFinal),
            ("final", OutputDisplay::Final),
            ("never", OutputDisplay::Never),
        ],
    )
}

/// Reads `junit.report-skipped`.
pub(super) fn report_skipped(node: &Node) -> Result<ReportSkipped, ConfigError> {
    word(
        node,
        &[
            ("none", ReportSkipped::None),
            ("ignored", ReportSkipped::Ignored),
            ("all", ReportSkipped::All),
        ],
    )
}

/// Reads `junit.flaky-fail-status`.
pub(super) fn flaky_fail_status(node: &Node) -> Result<FlakyFailStatus, ConfigError> {
    word(
        node,
        &[
            ("failure", FlakyFailStatus::Failure),
            ("success", FlakyFailStatus::Success),
        ],
    )
}

fn count(node: &Node, least: i64) -> Result<u32, ConfigError> {
    integer(node, least..=i64::from(u32::MAX)).map(|value| u32::try_from(value).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
