//! What every case of `fixtures/parity` must come to, for each way of running it. `cargo nextest` agrees with
//! each word of it (`tests/parity.rs` asks).

use crate::status::{Status, Statuses, Word};

/// One way of running the fixture.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// For messages.
    pub name: &'static str,
    /// Arguments after those that select all targets.
    pub args: &'static [&'static str],
    /// What its cases come to.
    pub groups: &'static [Group],
}

/// Cases of one binary with one status.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    binary_id: &'static str,
    status: Status,
    names: &'static [&'static str],
}

impl Setting {
    /// Returns the cases and what each comes to.
    pub fn statuses(&self) -> Statuses {
        let cases = self.groups.iter().flat_map(|group| {
            group
                .names
                .iter()
                .map(|name| ((group.binary_id.to_owned(), full_name(name)), group.status))
        });
        cases.collect()
    }
}

/// What stands for the name of nearly 4,000 characters in the tables below.
const LONG: &str = "<long>";

fn full_name(name: &str) -> String {
    if name == LONG {
        format!("long {}", "x/".repeat(1997))
    } else {
        name.to_owned()
    }
}

const PASS: Status = Status::PASSED;
const FLAKY: Status = Status::new(Word::Flaky, true);
const FAIL: Status = Status::new(Word::Failed, false);
const CRASH: Status = Status::new(Word::Crashed, false);
const TIMEOUT: Status = Status::new(Word::TimedOut, false);

const fn group(binary_id: &'static str, status: Status, names: &'static [&'static str]) -> Group {
    Group {
        binary_id,
        status,
        names,
    }
}

/// Every way of running the fixture that is checked.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "default",
        args: &[],
        groups: DEFAULT,
    },
    Setting {
        name: "with-retries",
        args: &["-P", "with-retries"],
        groups: WITH_RETRIES,
    },
    Setting {
        name: "with-termination",
        args: &["-P", "with-termination"],
        groups: WITH_TERMINATION,
    },
    Setting {
        name: "with-platform-filter",
        args: &["-P", "with-platform-filter"],
        groups: PLATFORM_FILTER,
    },
    Setting {
        name: "inherited",
        args: &["-P", "inherited"],
        groups: INHERITED,
    },
    Setting {
        name: "ignored only",
        args: &["--run-ignored", "only"],
        groups: IGNORED,
    },
    Setting {
        name: "retries on the command line",
        args: &["-P", "with-retries", "--retries", "1", "-E", "test(passes_on)"],
        groups: RETRIES_BY_FLAG,
    },
];

const DEFAULT: &[Group] = &[
    group("c-abi", PASS, &["tests::a_c_library_has_cases_too"]),
    group("cases", PASS, &["tests::doubles", "tests::nested::deeper"]),
    group(
        "cases::bench/measured",
        PASS,
        &["a_benchmark_target_has_cases_too"],
    ),
    group("cases::bin/greeter", PASS, &["a_binary_has_cases_too"]),
    group("cases::example/shown", PASS, &["an_example_has_cases_too"]),
    group("dynamic", PASS, &["tests::a_dynamic_library_has_cases_too"]),
    group(
        "generated",
        PASS,
        &[
            "tests::out_dir_at_run_time",
            "tests::variables_of_the_build_script",
        ],
    ),
    group(
        "linked::at_run_time",
        PASS,
        &["the_library_is_found", "the_macro_expands"],
    ),
    group("macros", PASS, &["tests::a_procedural_macro_has_cases_too"]),
    group(
        "cases::groups",
        PASS,
        &[
            "alone_1",
            "alone_2",
            "alone_3",
            "heavy_1",
            "heavy_2",
            "in_no_group",
            "pair_1",
            "pair_2",
            "pair_3",
            "with_high_priority",
            "with_low_priority",
        ],
    ),
    group("cases::leaks", PASS, &["leaves_a_child_without_handles"]),
    group(
        "cases::leaks",
        Status::new(Word::Leaked, true),
        &["leaks_and_passes"],
    ),
    group(
        "cases::leaks",
        Status::new(Word::Leaked, false),
        &["leaks_and_counts_as_failed"],
    ),
    group("cases::leaks", FAIL, &["leaks_and_fails"]),
    group(
        "cases::outcomes",
        PASS,
        &[
            "panics_as_it_should",
            "passes",
            "passes_by_exit_code",
            "passes_with_much_output",
            "passes_with_odd_output",
            "passes_with_result",
        ],
    ),
    group(
        "cases::outcomes",
        FAIL,
        &[
            "does_not_panic_as_it_should",
            "fails_by_assert",
            "fails_by_exit_code",
            "fails_by_panic",
            "fails_with_odd_output",
            "fails_with_result",
        ],
    ),
    group(
        "cases::outcomes",
        CRASH,
        &["crashes_by_abort", "crashes_by_sigkill"],
    ),
    group(
        "cases::programs",
        PASS,
        &[
            "beside_the_test_binary",
            "by_a_name_with_a_hyphen",
            "by_the_path_at_build_time",
            "by_the_path_at_run_time",
        ],
    ),
    group(
        "cases::retries",
        FAIL,
        &[
            "attempt_id_names_the_attempt",
            "flaky_counts_as_failed",
            "never_passes",
            "passes_on_attempt_2",
            "passes_on_attempt_3",
            "passes_on_attempt_4_with_backoff",
        ],
    ),
    group("cases::retries", CRASH, &["crashes_then_passes"]),
    group(
        "cases::surroundings",
        PASS,
        &[
            "arguments",
            "current_folder_is_the_package_root",
            "executable_bits_are_kept",
            "backtraces_name_lines",
            "files_by_absolute_path",
            "library_path_holds_the_target_folder",
            "nextest_variables",
            "other_cases_have_no_wrapper",
            "other_cases_see_nothing_of_the_setup_script",
            "override_of_this_platform",
            "own_process_group",
            "package_folder_can_be_written",
            "package_variables_are_those_of_the_build",
            "run_id_is_a_uuid",
            "run_wrapper_is_used",
            "setup_script_exports",
            "standard_input_is_empty",
            "target_tmpdir_can_be_written",
            "temporary_folder_can_be_written",
            "variables_of_the_cargo_configuration",
        ],
    ),
    group(
        "harness::custom",
        PASS,
        &[
            "a benchmark",
            "a name with  two spaces",
            "colon: inside: test",
            "dir/sub dir/file.txt",
            LONG,
            "quote \" ' \\ $HOME `id` *",
            "seen through the list wrapper",
            "with extra arguments",
            "ünïcödé – 名前 🦀",
        ],
    ),
    group("harness::custom", FAIL, &["fails here"]),
];

const WITH_RETRIES: &[Group] = &[
    group("cases::outcomes", PASS, &["passes"]),
    group("cases::outcomes", FAIL, &["fails_by_exit_code"]),
    group(
        "cases::retries",
        FLAKY,
        &[
            "attempt_id_names_the_attempt",
            "crashes_then_passes",
            "passes_on_attempt_2",
            "passes_on_attempt_3",
            "passes_on_attempt_4_with_backoff",
        ],
    ),
    group(
        "cases::retries",
        Status::new(Word::Flaky, false),
        &["flaky_counts_as_failed"],
    ),
    group("cases::retries", FAIL, &["never_passes"]),
];

const WITH_TERMINATION: &[Group] = &[
    group("cases::timing", PASS, &["quick", "slow_but_in_time"]),
    group("cases::timing", FLAKY, &["stays_on_the_first_attempt"]),
    group(
        "cases::timing",
        Status::new(Word::TimedOut, true),
        &["stays_and_passes_for_it"],
    ),
    group(
        "cases::timing",
        TIMEOUT,
        &[
            "stays",
            "stays_and_exits_with_zero_on_sigterm",
            "stays_and_ignores_sigterm",
            "stays_with_a_stubborn_child",
        ],
    ),
];

const PLATFORM_FILTER: &[Group] = &[
    group("cases::outcomes", PASS, &["passes"]),
    group("cases::outcomes", FAIL, &["fails_by_panic"]),
];

const INHERITED: &[Group] = &[
    group("cases::retries", FLAKY, &["passes_on_attempt_2"]),
    group("cases::retries", FAIL, &["never_passes"]),
];

const IGNORED: &[Group] = &[
    group("cases::outcomes", PASS, &["ignored_passes"]),
    group("cases::outcomes", FAIL, &["ignored_fails"]),
    group("harness::custom", PASS, &["ignored here"]),
];

const RETRIES_BY_FLAG: &[Group] = &[
    group("cases::retries", FLAKY, &["passes_on_attempt_2"]),
    group(
        "cases::retries",
        FAIL,
        &["passes_on_attempt_3", "passes_on_attempt_4_with_backoff"],
    ),
];
