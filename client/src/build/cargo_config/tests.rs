use super::*;

fn surroundings(directory: &Utf8Path, variables: &[(&str, &str)]) -> Surroundings {
    Surroundings {
        directory: directory.to_owned(),
        variables: variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        cpus: 1,
    }
}

/// Writes `nested/.cargo/config.toml` below `.cargo/config.toml` and returns the nested folder.
fn folders(root: &Utf8Path, outer: &str, inner: &str) -> Utf8PathBuf {
    let nested = root.join("nested");
    for (folder, text) in [(root, outer), (&*nested, inner)] {
        std::fs::create_dir_all(folder.join(".cargo")).unwrap();
        std::fs::write(folder.join(".cargo/config.toml"), text).unwrap();
    }
    nested
}

#[test]
fn nearer_variables_win_and_present_ones_stay_unless_forced() {
    let temp = tempfile::tempdir().unwrap();
    let root = Utf8PathBuf::try_from(temp.path().canonicalize().unwrap()).unwrap();
    let outer = "env = { A = 'outer', B = { value = 'outer', force = true }, C = 'c' }";
    let inner = "env = { A = 'inner', B = 'inner', D = { value = 'd', relative = true }, E = 'e' }";
    let nested = folders(&root, outer, inner);
    let present = surroundings(
        &nested,
        &[("A", "present"), ("B", "present"), ("HOME", "/nowhere")],
    );
    let config = CargoConfig::discover(&["env.E='given'".to_owned()], &present).unwrap();
    let variables: BTreeMap<_, _> = config.variables(&present).into_iter().collect();
    let expected = [
        ("A", "present"),
        ("B", "inner"),
        ("C", "c"),
        ("D", nested.join("d").as_str()),
        ("E", "given"),
    ]
    .map(|(name, value)| (name.to_owned(), OsString::from(value)));
    assert_eq!(variables, BTreeMap::from(expected));
}

#[test]
fn runners_come_from_config_then_environment_then_files() {
    let temp = tempfile::tempdir().unwrap();
    let root = Utf8PathBuf::try_from(temp.path().canonicalize().unwrap()).unwrap();
    let triple = "x86_64-unknown-linux-gnu";
    let outer = format!("target.{triple}.runner = 'outer'");
    let nested = folders(
        &root,
        &outer,
        "[target.'cfg(unix)']\nrunner = ['bin/run', 'x y']\n",
    );
    let platform = Platform::new(triple, target_spec::TargetFeatures::Unknown).unwrap();
    let plain = surroundings(&nested, &[("HOME", "/nowhere")]);
    let found = |given: &[String], surroundings: &Surroundings| {
        CargoConfig::discover(given, surroundings)
            .unwrap()
            .runner(&platform, surroundings)
    };
    let inner = nested.join("bin/run").into_string();
    assert_eq!(found(&[], &plain).unwrap(), Some(vec![inner, "x y".to_owned()]));
    let variable = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER";
    let with_variable = surroundings(&nested, &[("HOME", "/nowhere"), (variable, "wine -q")]);
    assert_eq!(
        found(&[], &with_variable).unwrap(),
        Some(vec!["wine".to_owned(), "-q".to_owned()])
    );
    let given = [format!("target.{triple}.runner='given'")];
    assert_eq!(
        found(&given, &with_variable).unwrap(),
        Some(vec!["given".to_owned()])
    );
    assert!(found(&[format!("target.{triple}.runner=[]")], &plain).is_err());
}

#[test]
fn the_target_is_found_and_several_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let root = Utf8PathBuf::try_from(temp.path().canonicalize().unwrap()).unwrap();
    let nested = folders(&root, "build.target = ['a', 'b']", "");
    let plain = surroundings(&nested, &[("HOME", "/nowhere")]);
    let config = CargoConfig::discover(&[], &plain).unwrap();
    assert_eq!(config.target(Some("t"), &plain).unwrap().unwrap().triple, "t");
    let error = config.target(None, &plain).unwrap_err().to_string();
    assert!(error.contains("more than one build.target"), "{error}");
    let with_variable = surroundings(&nested, &[("HOME", "/nowhere"), ("CARGO_BUILD_TARGET", "e")]);
    assert_eq!(config.target(None, &with_variable).unwrap().unwrap().triple, "e");
}

#[test]
fn the_wrapper_of_rustc_is_the_one_that_cargo_would_use() {
    let temp = tempfile::tempdir().unwrap();
    let root = Utf8PathBuf::try_from(temp.path().canonicalize().unwrap()).unwrap();
    let nested = folders(
        &root,
        "build.rustc-wrapper = 'outer'",
        "build.rustc-wrapper = 'bin/inner'",
    );
    let found = |given: &[String], variables: &[(&str, &str)]| {
        let variables = [variables, &[("HOME", "/nowhere")]].concat();
        let surroundings = surroundings(&nested, &variables);
        CargoConfig::discover(given, &surroundings)
            .unwrap()
            .compiler_wrapper(&surroundings)
    };
    let inner = nested.join("bin/inner").into_string();
    assert_eq!(found(&[], &[]), Some(inner.into()));
    let by_variable = [("CARGO_BUILD_RUSTC_WRAPPER", "sccache")];
    assert_eq!(found(&[], &by_variable), Some("sccache".into()));
    let given = ["build.rustc-wrapper='given'".to_owned()];
    assert_eq!(found(&given, &by_variable), Some("given".into()));
    assert_eq!(found(&given, &[("RUSTC_WRAPPER", "first")]), Some("first".into()));
    assert_eq!(
        found(&given, &[("RUSTC_WRAPPER", "")]),
        None,
        "so it is switched off"
    );
}

#[test]
fn flags_that_optimise_are_found_wherever_they_are_set() {
    let temp = tempfile::tempdir().unwrap();
    let root = Utf8PathBuf::try_from(temp.path().canonicalize().unwrap()).unwrap();
    let optimise = |inner: &str, variables: &[(&str, &str)]| {
        let nested = folders(&root, "", inner);
        let variables = [variables, &[("HOME", "/nowhere")]].concat();
        let surroundings = surroundings(&nested, &variables);
        CargoConfig::discover(&[], &surroundings)
            .unwrap()
            .flags_optimise(&surroundings)
    };
    assert!(!optimise("", &[("RUSTFLAGS", "-g")]));
    assert!(!optimise("build.rustflags = ['-g']", &[]));
    assert!(optimise("", &[("RUSTFLAGS", "-Copt-level=1")]));
    assert!(optimise("", &[("CARGO_ENCODED_RUSTFLAGS", "-g\u{1f}-O")]));
    assert!(optimise("build.rustflags = '-C opt-level=2'", &[]));
    assert!(optimise("target.'cfg(unix)'.rustflags = ['-O']", &[]));
    assert!(optimise("", &[("RUSTFLAGS", "@flags")]));
    assert!(optimise("", &[("RUSTC_WRAPPER", "./mine")]));
    assert!(optimise("", &[("RUSTC_WORKSPACE_WRAPPER", "clippy-driver")]));
    assert!(optimise("build.rustc-workspace-wrapper = 'mine'", &[]));
    assert!(optimise("build.rustc = 'mine'", &[]));
    assert!(!optimise(
        "build.rustc-wrapper = '/usr/bin/sccache'",
        &[("RUSTC", "/x/bin/rustc")]
    ));
    // They may be in there.
    assert!(optimise("include = ['more.toml']", &[]));
}
