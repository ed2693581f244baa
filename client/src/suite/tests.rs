use std::collections::BTreeMap;

use nextest_metadata::{MismatchReason, RustTestSuiteStatusSummary};
use thresh_core::case::RetryPolicy;

use super::*;
use crate::build::sample;
use crate::command::CommandContext;
use crate::list::{CaseList, Listing, RunIgnored, Selection, SelectionOptions, TestBinary};
use crate::nextest::{CONFIG_PATH, ConfigSources, NextestConfig};
use crate::surroundings::Surroundings;

/// Assembles the sample workspace's suite. Each binary lists `a`, `b::x`, `slow` and, ignored, `z`.
fn suite(config: &str, options: SelectionOptions, forced: ForcedSettings) -> Suite {
    let temp = tempfile::tempdir().unwrap();
    let directory = camino::Utf8PathBuf::try_from(temp.path().to_owned()).unwrap();
    std::fs::create_dir(directory.join(".config")).unwrap();
    std::fs::write(directory.join(CONFIG_PATH), config).unwrap();
    let surroundings = Surroundings {
        directory: directory.clone(),
        ..Surroundings::default()
    };
    let (workspace, build) = (sample::workspace(), sample::build());
    let config = NextestConfig::load(&directory, &workspace.graph, &ConfigSources::default()).unwrap();
    let profile = config.profile("default", &workspace.platforms).unwrap();
    let selection = Selection::new(&options, &profile, &workspace.graph).unwrap();
    let context = CommandContext::new(&workspace, &build, &config, &profile, &surroundings).unwrap();
    let binaries = TestBinary::all(&workspace, &build).unwrap();
    let list = CaseList::parse("slow: test\nb::x: test\na: test\nz: test\n", "z: test\n").unwrap();
    let listings = Listing::all(&binaries, &selection, &profile, &context);
    let lists: BTreeMap<_, _> = listings
        .iter()
        .map(|listing| (listing.binary, list.clone()))
        .collect();
    let parts = SuiteParts {
        context: &context,
        binaries: &binaries,
        profile: &profile,
        selection: &selection,
        forced,
    };
    Suite::assemble(parts, &lists)
}

fn select(filtersets: &[&str], patterns: &[&str]) -> SelectionOptions {
    SelectionOptions {
        filtersets: filtersets.iter().map(|&text| text.to_owned()).collect(),
        patterns: patterns.iter().map(|&text| text.to_owned()).collect(),
        ..SelectionOptions::default()
    }
}

fn names(suite: &Suite) -> Vec<String> {
    suite.cases.iter().map(|case| suite.name_of(case)).collect()
}

#[test]
fn cases_are_sorted_and_settings_and_commands_are_shared() {
    let config =
        "[[profile.default.overrides]]\nfilter = 'test(slow)'\nretries = 2\nrun-extra-args = ['-x']\n";
    let suite = suite(config, SelectionOptions::default(), ForcedSettings::default());
    let ids: Vec<_> = suite.binaries.iter().map(|binary| binary.id.as_str()).collect();
    assert_eq!(ids, ["app", "app::one", "app::two", "macros"]);
    assert_eq!(
        &names(&suite)[..4],
        ["app a", "app b::x", "app slow", "app::one a"]
    );
    assert_eq!(suite.cases.len(), 12);
    assert_eq!(
        (suite.settings.len(), suite.reports.len(), suite.commands.len()),
        (2, 1, 8)
    );
    let slow = &suite.cases[2];
    assert_eq!(suite.settings[slow.settings].retries.count, 2);
    assert_eq!(suite.commands[slow.command].after, ["--nocapture", "-x"]);
    assert_eq!(suite.skipped.len(), 4);
    assert!(
        suite
            .skipped
            .iter()
            .all(|case| case.name == "z" && case.reason == MismatchReason::Ignored)
    );
    assert_eq!(suite.binaries[1].programs, ["/t/debug/rg-like"]);
    assert_eq!(
        suite.binaries[1].out_dir.as_deref().unwrap(),
        "/t/debug/build/app-1/out"
    );
    assert_eq!(suite.dynamic_libraries, ["/t/debug/libapp.so"]);
}

#[test]
fn binaries_without_a_possible_case_are_not_listed() {
    let suite = suite(
        "",
        select(&["package(macros)", "binary(two) & test(a)"], &[]),
        ForcedSettings::default(),
    );
    assert_eq!(
        names(&suite),
        ["app::two a", "macros a", "macros b::x", "macros slow"]
    );
    let statuses: Vec<_> = suite.binaries.iter().map(|binary| &binary.status).collect();
    let (listed, skipped) = (
        RustTestSuiteStatusSummary::LISTED,
        RustTestSuiteStatusSummary::SKIPPED,
    );
    assert_eq!(statuses, [&skipped, &skipped, &listed, &listed]);
    assert!(
        suite
            .skipped
            .iter()
            .any(|case| case.reason == MismatchReason::Expression)
    );
    assert_eq!(suite.to_summary().test_count, 8);
}

#[test]
fn the_default_filter_holds_unless_ignored() {
    let config = "[profile.default]\ndefault-filter = 'not package(macros) and not test(slow)'\n";
    let all = suite(config, SelectionOptions::default(), ForcedSettings::default());
    assert_eq!(all.cases.len(), 6);
    assert_eq!(
        all.binaries[3].status,
        RustTestSuiteStatusSummary::SKIPPED_DEFAULT_FILTER
    );
    let options = SelectionOptions {
        ignore_default_filter: true,
        ..select(&["not default()"], &["s"])
    };
    let rest = suite(config, options, ForcedSettings::default());
    assert_eq!(
        names(&rest),
        ["app slow", "app::one slow", "app::two slow", "macros slow"]
    );
}

#[test]
fn groups_ignored_cases_and_partitions_are_selected() {
    let config = "[test-groups.g]\nmax-threads = 1\n[[profile.default.overrides]]\nfilter = 'test(b::)'\ntest-group = 'g'\n";
    let grouped = suite(
        config,
        select(&["group(g) and package(app)"], &[]),
        ForcedSettings::default(),
    );
    assert_eq!(names(&grouped), ["app b::x", "app::one b::x", "app::two b::x"]);
    assert_eq!(
        grouped.settings[grouped.cases[0].settings].test_group.as_deref(),
        Some("g")
    );

    let options = SelectionOptions {
        run_ignored: Some(RunIgnored::All),
        partition: Some("count:1/2".parse().unwrap()),
        ..select(&["binary(one)"], &[])
    };
    let part = suite("", options, ForcedSettings::default());
    assert_eq!(names(&part), ["app::one a", "app::one slow", "app::one z"]);
    assert!(part.cases[2].ignored);
    assert_eq!(part.skipped[0].reason, MismatchReason::Partition);
}

#[test]
fn only_used_setup_scripts_are_kept() {
    let config = "experimental = ['setup-scripts']\n[scripts.setup.unused]\ncommand = 'u'\n\
                  [scripts.setup.used]\ncommand = 'x y'\n\
                  [[profile.default.scripts]]\nfilter = 'test(slow)'\nsetup = 'used'\n\
                  [[profile.default.scripts]]\nfilter = 'test(z)'\nsetup = 'unused'\n";
    let suite = suite(config, SelectionOptions::default(), ForcedSettings::default());
    let ids: Vec<_> = suite
        .setup_scripts
        .iter()
        .map(|script| script.id.as_str())
        .collect();
    assert_eq!(ids, ["used"]);
    assert_eq!(suite.setup_scripts[0].command.argv, ["x", "y"]);
    let scripts = |name: &str| {
        let case = suite.cases.iter().find(|case| case.name == name).unwrap();
        suite.commands[case.command].setup_scripts.clone()
    };
    assert_eq!((scripts("slow"), scripts("a")), (vec![0], vec![]));
}

#[test]
fn the_command_line_is_above_the_configuration() {
    let forced = ForcedSettings {
        retries: Some(RetryPolicy {
            count: 5,
            ..RetryPolicy::NONE
        }),
        ..Default::default()
    };
    let config = "[[profile.default.overrides]]\nfilter = 'test(slow)'\nretries = 2\n";
    let suite = suite(config, SelectionOptions::default(), forced);
    assert!(suite.settings.iter().all(|settings| settings.retries.count == 5));
    assert_eq!(suite.settings.len(), 1);
}
