//! A small workspace for tests, without running cargo: packages `app` (library, `rg-like` program, two
//! integration tests, a build script) and `macros` (procedural macro), below `/w` with target directory `/t`.

use std::collections::{BTreeMap, BTreeSet};

use guppy::graph::PackageGraph;
use nextest_metadata::{
    BinaryListSummary, BuildPlatform, BuildScriptInfoSummary, RustBinaryId, RustBuildMetaSummary,
    RustNonTestBinaryKind, RustNonTestBinarySummary, RustTestBinaryKind, RustTestBinarySummary,
};
use serde_json::{Value, json};
use target_spec::{Platform, TargetFeatures};

use super::{Build, CargoConfig, Platforms, Toolchain, Workspace};

const APP: &str = "path+file:///w/app#0.3.1";
const MACROS: &str = "path+file:///w/macros#1.0.0-rc.1";

/// Returns the workspace's packages.
pub(crate) fn graph() -> PackageGraph {
    let target = |kind: &str, name: &str| {
        json!({"kind": [kind], "crate_types": [if kind == "proc-macro" { kind } else { "bin" }], "name": name,
               "src_path": format!("/w/{name}.rs"), "edition": "2024", "doc": false, "doctest": false, "test": true})
    };
    let package = |id: &str, name: &str, version: &str, targets: Value| {
        json!({"name": name, "version": version, "id": id, "license": "MIT", "license_file": null,
               "description": null, "source": null, "dependencies": [], "targets": targets, "features": {},
               "manifest_path": format!("/w/{name}/Cargo.toml"), "metadata": null, "publish": null,
               "authors": ["A", "B <b@example.org>"], "categories": [], "keywords": [], "readme": null,
               "repository": null, "homepage": "https://example.org", "documentation": null,
               "edition": "2024", "links": null, "default_run": null, "rust_version": "1.80"})
    };
    let mut library = target("lib", "app");
    library["crate_types"] = json!(["lib"]);
    let app = json!([
        library,
        target("bin", "rg-like"),
        target("test", "one"),
        target("test", "two")
    ]);
    let node = |id: &str| json!({"id": id, "dependencies": [], "deps": [], "features": []});
    let metadata = json!({
        "packages": [
            package(APP, "app", "0.3.1", app),
            package(MACROS, "macros", "1.0.0-rc.1", json!([target("proc-macro", "macros")])),
        ],
        "workspace_members": [APP, MACROS],
        "workspace_default_members": [APP, MACROS],
        "resolve": {"nodes": [node(APP), node(MACROS)], "root": null},
        "target_directory": "/t", "version": 1, "workspace_root": "/w", "metadata": null,
    });
    PackageGraph::from_json(metadata.to_string()).unwrap()
}

/// Returns the platforms of an ordinary build.
pub(crate) fn platforms() -> Platforms {
    Platforms {
        host: Platform::new("x86_64-unknown-linux-gnu", TargetFeatures::Unknown).unwrap(),
        asked: None,
        host_libdir: Some("/toolchain/lib".into()),
        asked_libdir: None,
    }
}

/// Returns the workspace.
pub(crate) fn workspace() -> Workspace {
    Workspace {
        root: "/w".into(),
        graph: graph(),
        platforms: platforms(),
        toolchain: Toolchain {
            version: "rustc 1.0".to_owned(),
            sysroot: None,
        },
        cargo_config: CargoConfig::default(),
    }
}

/// Returns its build.
pub(crate) fn build() -> Build {
    let program = |name: &str, kind| RustNonTestBinarySummary {
        name: name.to_owned(),
        kind,
        path: format!("debug/{name}").into(),
        build_platform: Some(BuildPlatform::Target),
    };
    let programs = BTreeSet::from([
        program("rg-like", RustNonTestBinaryKind::BIN_EXE),
        program("libapp.so", RustNonTestBinaryKind::DYLIB),
    ]);
    let envs = BTreeMap::from([
        ("FROM_BUILD".to_owned(), "1".to_owned()),
        ("OWN".to_owned(), "build".to_owned()),
    ]);
    let binaries = [
        ("app", APP, "app", RustTestBinaryKind::LIB, BuildPlatform::Target),
        ("app", APP, "one", RustTestBinaryKind::TEST, BuildPlatform::Target),
        ("app", APP, "two", RustTestBinaryKind::TEST, BuildPlatform::Target),
        (
            "macros",
            MACROS,
            "macros",
            RustTestBinaryKind::PROC_MACRO,
            BuildPlatform::Host,
        ),
    ]
    .map(|(package, package_id, name, kind, build_platform)| {
        let id = RustBinaryId::from_parts(package, &kind, name);
        let summary = RustTestBinarySummary {
            binary_id: id.clone(),
            binary_name: name.to_owned(),
            package_id: package_id.to_owned(),
            kind,
            binary_path: format!("/t/debug/deps/{name}").into(),
            build_platform,
        };
        (id, summary)
    });
    Build {
        binaries: BinaryListSummary {
            rust_build_meta: RustBuildMetaSummary {
                target_directory: "/t".into(),
                build_directory: Some("/t".into()),
                base_output_directories: BTreeSet::from(["debug".into()]),
                non_test_binaries: BTreeMap::from([(APP.to_owned(), programs)]),
                build_script_out_dirs: BTreeMap::from([(APP.to_owned(), "debug/build/app-1/out".into())]),
                build_script_info: Some(BTreeMap::from([(
                    APP.to_owned(),
                    BuildScriptInfoSummary { envs },
                )])),
                ..RustBuildMetaSummary::default()
            },
            rust_binaries: BTreeMap::from(binaries),
        },
        dynamic_libraries: BTreeSet::from(["/t/debug/libapp.so".into()]),
        is_unoptimised: true,
        _unpacked: None,
    }
}
