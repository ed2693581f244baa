use std::fmt::Debug;

use camino::Utf8Path;

use super::*;
use crate::nextest::document;

/// Reads `value` as the value of a key with `read`; an error is returned without its place.
fn read<T: Debug>(value: &str, read: impl Fn(&Node) -> Result<T, ConfigError>) -> Result<T, String> {
    let root =
        document::parse(Utf8Path::new("f"), &format!("v = {value}")).map_err(|error| error.to_string())?;
    let Value::Table(table) = &root.value else {
        panic!("a document is a table")
    };
    read(table.get("v").expect("the key is there")).map_err(|error| {
        let text = error.to_string();
        assert!(text.contains("f:1:"), "the error has a place: {text}");
        text.split_once(": ")
            .expect("a place")
            .1
            .split_once(": ")
            .expect("a message")
            .1
            .to_owned()
    })
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn retries_are_a_number_or_a_table() {
    assert_eq!(
        read("3", retries),
        Ok(RetryPolicy {
            count: 3,
            ..RetryPolicy::NONE
        })
    );
    assert_eq!(
        read(
            "{ backoff = \"fixed\", count = 2, delay = \"5s\", jitter = true }",
            retries
        ),
        Ok(RetryPolicy {
            count: 2,
            backoff: Backoff::Fixed(seconds(5)),
            jitter: true
        })
    );
    assert_eq!(
        read(
            "{ backoff = \"exponential\", count = 4, delay = \"1s\", max-delay = \"10s\" }",
            retries
        ),
        Ok(RetryPolicy {
            count: 4,
            backoff: Backoff::Exponential {
                delay: seconds(1),
                max_delay: Some(seconds(10))
            },
            jitter: false
        })
    );
}

#[test]
fn bad_retries_are_refused() {
    for (value, expected) in [
        ("-1", "-1 is out of range: expected 0 to 4294967295"),
        (
            "\"3\"",
            "expected a number, or a table such as { backoff = \"fixed\", count = 5 }, found a string",
        ),
        ("{ count = 3 }", "`backoff` is missing in retries"),
        (
            "{ backoff = \"linear\", count = 3 }",
            "unknown value \"linear\": expected \"fixed\" or \"exponential\"",
        ),
        (
            "{ backoff = \"fixed\", count = 3, jitter = true }",
            "`jitter` needs a `delay` above zero",
        ),
        (
            "{ backoff = \"fixed\", count = 3, dely = \"1s\" }",
            "unknown key `dely` in `retries`; did you mean `delay`?",
        ),
        (
            "{ backoff = \"exponential\", count = 0, delay = \"1s\" }",
            "`count`, `delay` and `max-delay` cannot be zero with exponential backoff",
        ),
        (
            "{ backoff = \"exponential\", count = 1, delay = \"2s\", max-delay = \"1s\" }",
            "`max-delay` cannot be less than `delay`",
        ),
    ] {
        assert_eq!(read(value, retries), Err(expected.to_owned()), "{value}");
    }
}

#[test]
fn slow_timeouts_are_a_period_or_a_table() {
    assert_eq!(read("\"\"", slow_timeout), Ok(None));
    assert_eq!(
        read("\"1m 30s\"", slow_timeout),
        Ok(Some(SlowTimeout {
            period: seconds(90),
            ..SlowTimeout::default()
        }))
    );
    assert_eq!(
        read(
            "{ period = \"2s\", terminate-after = 3, grace-period = \"0s\", on-timeout = \"pass\" }",
            slow_timeout
        ),
        Ok(Some(SlowTimeout {
            period: seconds(2),
            terminate_after: Some(3),
            grace_period: Duration::ZERO,
            on_timeout_passes: true
        }))
    );
    assert_eq!(
        read("{ period = \"2s\", terminate-after = 0 }", slow_timeout),
        Err("0 is out of range: expected 1 to 4294967295".to_owned())
    );
    assert_eq!(
        read("\"soon\"", slow_timeout),
        Err("\"soon\" is not a duration: expected number at 0".to_owned())
    );
}

#[test]
fn leak_timeouts_are_a_period_or_a_table() {
    assert_eq!(
        read("\"1s\"", leak_timeout),
        Ok(LeakTimeout {
            period: seconds(1),
            leak_passes: true
        })
    );
    assert_eq!(
        read("{ period = \"1s\", result = \"fail\" }", leak_timeout),
        Ok(LeakTimeout {
            period: seconds(1),
            leak_passes: false
        })
    );
    assert!(read("5", leak_timeout).is_err());
}

#[test]
fn fail_fast_is_a_boolean_or_a_table() {
    assert_eq!(
        read("true", fail_fast),
        Ok(MaxFail {
            count: Some(1),
            kill_running: false
        })
    );
    assert_eq!(read("false", fail_fast), Ok(MaxFail::NEVER));
    assert_eq!(
        read("{ max-fail = 7, terminate = \"immediate\" }", fail_fast),
        Ok(MaxFail {
            count: Some(7),
            kill_running: true
        })
    );
    assert_eq!(read("{ max-fail = \"all\" }", fail_fast), Ok(MaxFail::NEVER));
    assert!(read("{ max-fail = \"7\" }", fail_fast).is_err());
    assert!(read("{ max-fail = 0 }", fail_fast).is_err());
}

#[test]
fn threads_count_up_or_down() {
    assert_eq!(
        read("4", |node| test_threads(node, 8)),
        Ok(ThreadsRequired::Count(4))
    );
    assert_eq!(
        read("-3", |node| test_threads(node, 8)),
        Ok(ThreadsRequired::Count(5))
    );
    assert_eq!(
        read("-30", |node| test_threads(node, 8)),
        Ok(ThreadsRequired::Count(1))
    );
    assert_eq!(
        read("\"num-cpus\"", |node| test_threads(node, 8)),
        Ok(ThreadsRequired::NumCpus)
    );
    assert!(read("0", |node| test_threads(node, 8)).is_err());
    assert_eq!(read("2", threads_required), Ok(ThreadsRequired::Count(2)));
    assert_eq!(
        read("\"num-test-threads\"", threads_required),
        Ok(ThreadsRequired::NumTestThreads)
    );
    assert!(read("0", threads_required).is_err());
}

#[test]
fn words_name_their_alternatives() {
    assert_eq!(read("\"retry\"", final_status_level), Ok(FinalStatusLevel::Flaky));
    assert_eq!(
        read("\"immediate-final\"", output_display),
        Ok(OutputDisplay::ImmediateFinal)
    );
    assert_eq!(read("-100", priority), Ok(-100));
    assert_eq!(
        read("101", priority),
        Err("101 is out of range: expected -100 to 100".to_owned())
    );
    assert_eq!(
        read("\"maybe\"", flaky_result),
        Err("unknown value \"maybe\": expected \"pass\" or \"fail\"".to_owned())
    );
}
