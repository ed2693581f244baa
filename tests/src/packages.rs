//! Third-party suites: packages of the cargo registry whose packaged sources hold their tests.

use crate::thresh::repository;
use cargo_metadata::MetadataCommand;
use std::path::PathBuf;

/// The packages that this package pins as dev-dependencies for their suites.
pub const PINNED: &[&str] = &["semver", "bytes", "globset"];

/// Returns the folder where cargo unpacked a package that this workspace depends on, and its version.
///
/// # Panics
/// When cargo cannot say, or no such package is a dependency.
pub fn source(name: &str) -> (PathBuf, String) {
    let metadata = MetadataCommand::new()
        .current_dir(repository())
        .exec()
        .unwrap_or_else(|error| panic!("cargo metadata failed: {error}"));
    let tests = metadata
        .packages
        .iter()
        .find(|package| package.name.as_str() == "thresh-tests");
    let wanted = tests.and_then(|tests| {
        tests
            .dependencies
            .iter()
            .find(|dependency| dependency.name == name)
            .map(|dependency| &dependency.req)
    });
    let mut found = metadata.packages.iter().filter(|package| {
        package.name.as_str() == name && wanted.is_none_or(|wanted| wanted.matches(&package.version))
    });
    let package = found
        .next()
        .unwrap_or_else(|| panic!("no dependency is called {name}"));
    let folder = package.manifest_path.parent().expect("a manifest is in a folder");
    (folder.to_owned().into(), package.version.to_string())
}
