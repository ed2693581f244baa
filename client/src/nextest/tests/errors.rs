//! Configurations that are refused, and what is said of them.

use super::*;

#[test]
fn an_unknown_profile_is_named_with_a_suggestion() {
    let error = load("[profile.ci]\n[profile.nightly]\n")
        .profile("nightli", &sample::platforms())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "find nextest profile `nightli`; did you mean `nightly`? (known: ci, default, default-miri, nightly)"
    );
    assert_eq!(error.exit_code(), 96);
}

#[test]
fn errors_name_the_place_and_the_cause() {
    for (text, expected) in [
        (
            "[profile.default]\nretrys = 1",
            ":2:1: unknown key `retrys` in `profile.default`; did you mean `retries`?",
        ),
        (
            "[profil.default]",
            ":1:2: unknown key `profil` in the file; did you mean `profile`?",
        ),
        ("[profile.ci]\nretries = -1", ":2:11: -1 is out of range"),
        (
            "[profile.ci.junit]\npth = 'x'",
            ":2:1: unknown key `pth` in `profile.ci.junit`; did you mean `path`?",
        ),
        (
            "[profile.ci.archive]\ninclude = [{ path = 'x' }]",
            ":2:12: `relative-to` is missing in archive.include",
        ),
        (
            "[profile.ci]\nbench = { slow = 1 }",
            ":2:11: unknown key `slow` in `profile.ci.bench`",
        ),
        (
            "[[profile.ci.overrides]]\nretries = 1",
            ":1:1: at least one of `filter` and `platform` is needed",
        ),
        (
            "[[profile.ci.overrides]]\nfilter = 'all()'\ndefault-filter = 'all()'",
            ":1:1: `filter` and `default-filter` cannot stand in the same override",
        ),
        (
            "[[profile.ci.overrides]]\ndefault-filter = 'all()'",
            ":1:1: `default-filter` in an override needs a `platform`",
        ),
        (
            "[[profile.ci.overrides]]\nplatform = 'cfg(unix'\nretries = 1",
            ":2:12: `cfg(unix` is not a platform",
        ),
        (
            "[[profile.ci.overrides]]\nfilter = 'test(x'\nretries = 1",
            ":2:10: invalid filterset: expected close parenthesis\n  test(x\n        ^ missing `)`",
        ),
        (
            "[profile.ci]\ndefault-filter = 'package(nope)'",
            ":2:18: invalid filterset: operator didn't match any packages\n  package(nope)\n          ^^^^ no packages matched this",
        ),
        (
            "[profile.ci]\ndefault-filter = 'default()'",
            "predicate not allowed in `default-filter` expressions",
        ),
        (
            "[test-groups.serial]\nmax-threads = 1\n[[profile.ci.overrides]]\nfilter = 'all()'\ntest-group = 'serail'",
            ":5:14: unknown test group `serail`; did you mean `serial`? (known: @global, serial)",
        ),
        (
            "[test-groups.serial]",
            ":1:1: `max-threads` is missing in test-groups.serial",
        ),
        (
            "[test-groups.'@tool:x:y']\nmax-threads = 1",
            ":1:14: a test group called `@tool:…` can only be defined by a tool",
        ),
        (
            "[test-groups.'1st']\nmax-threads = 1",
            ":1:14: `1st` cannot name a test group",
        ),
        (
            "[profile.default-ci]",
            ":1:10: `default-ci` is not a profile of nextest",
        ),
        (
            "[profile.default]\ninherits = 'default'",
            ":2:12: profile `default` cannot inherit",
        ),
        (
            "[profile.ci]\ninherits = 'bsae'\n[profile.base]",
            ":2:12: unknown profile `bsae`; did you mean `base`?",
        ),
        (
            "[profile.a]\ninherits = 'b'\n[profile.b]\ninherits = 'a'",
            ":4:12: profiles inherit in a circle: a → b → a",
        ),
        (
            "experimental = ['setup-script']",
            ":1:17: unknown experimental feature `setup-script`; did you mean `setup-scripts`?",
        ),
        (
            "nextest-version = '0.9.50-rc.1'",
            ":1:19: pre-release and build parts are not supported",
        ),
        ("a = ", ":1:5: "),
    ] {
        let error = Files::new(text, &[]).error();
        assert!(
            error.contains(&format!("nextest.toml{expected}")) || error.contains(expected),
            "{text}\n→ {error}"
        );
        assert!(error.contains(".config/nextest.toml:"), "{error}");
    }
}

#[test]
fn scripts_that_do_not_fit_are_refused() {
    let scripts = "experimental = ['setup-scripts', 'wrapper-scripts']\n[scripts.setup.s]\ncommand = 'x'\n\
                   [scripts.wrapper.w]\ncommand = 'x'\n[[profile.default.scripts]]\n";
    for (binding, expected) in [
        (
            "filter = 'all()'\nsetup = 'w'",
            "`w` is a wrapper script, not a setup script",
        ),
        (
            "filter = 'all()'\nrun-wrapper = 's'",
            "`s` is a setup script, not a run-wrapper",
        ),
        (
            "filter = 'all()'\nsetup = ['sx']",
            "unknown script `sx`; did you mean `s`? (known: s, w)",
        ),
        (
            "filter = 'test(x)'\nlist-wrapper = 'w'",
            "the filter asks for cases: test(x)",
        ),
        ("setup = 's'", "at least one of `filter` and `platform` is needed"),
        (
            "filter = 'all()'\nwrapper = 'w'",
            "unknown key `wrapper` in `profile.default.scripts`",
        ),
    ] {
        let error = Files::new(&format!("{scripts}{binding}"), &[]).error();
        assert!(error.contains(expected), "{binding}\n→ {error}");
    }
    let warnings = load(&format!("{scripts}filter = 'all()'"));
    assert!(
        warnings.warnings()[0].contains("bind no script"),
        "{:?}",
        warnings.warnings()
    );
    let error = Files::new("[scripts.setup.s]\ncommand = 'x'", &[])
        .load()
        .unwrap_err();
    assert_eq!(error.exit_code(), 95);
    assert!(
        error
            .to_string()
            .contains("nextest.toml:1:16: `setup-scripts` is experimental"),
        "{error}"
    );
}

#[test]
fn tools_must_keep_to_their_names() {
    let error = Files::new("", &[("t", "[test-groups.g]\nmax-threads = 1")]).error();
    assert!(
        error.contains("tool-0.toml:1:14: a test group that a tool defines must be called `@tool:t:NAME`"),
        "{error}"
    );
    let error = Files::new("", &[("t", "experimental = ['setup-scripts']")]).error();
    assert!(
        error.contains("a tool's configuration cannot switch on"),
        "{error}"
    );
    assert_eq!(
        "t:/x".parse::<ToolFile>().unwrap(),
        ToolFile {
            tool: "t".into(),
            path: "/x".into()
        }
    );
    for bad in ["t", "t:relative", ":/x", "@tool:/x"] {
        assert!(bad.parse::<ToolFile>().is_err(), "{bad}");
    }
}

#[test]
fn a_configuration_file_that_is_asked_for_must_exist() {
    let mut files = Files::new("", &[]);
    files.sources.config_file = Some("/nowhere/nextest.toml".into());
    let error = files.load().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("read nextest configuration /nowhere/nextest.toml: "),
        "{error}"
    );
    files.sources.config_file = Some(files.root.join("other.toml"));
    std::fs::write(files.root.join("other.toml"), "[profile.other]").unwrap();
    assert!(
        files
            .load()
            .unwrap()
            .profile("other", &sample::platforms())
            .is_ok()
    );
}
