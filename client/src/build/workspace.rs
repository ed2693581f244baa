//! The workspace and its build, as everything after it sees them.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};
use guppy::graph::{PackageGraph, PackageMetadata};
use nextest_metadata::BinaryListSummary;

use super::cargo_config::CargoConfig;
use super::platform::{Platforms, Toolchain};

/// A Cargo workspace.
#[derive(Debug)]
pub struct Workspace {
    /// Its root, where its sources are now.
    pub root: Utf8PathBuf,
    /// Its packages and their dependencies.
    pub graph: PackageGraph,
    /// What it is built on and for.
    pub platforms: Platforms,
    /// What it is built with.
    pub toolchain: Toolchain,
    /// Cargo's configuration there.
    pub cargo_config: CargoConfig,
}

impl Workspace {
    /// Returns the folder of a package: where its cases run.
    pub fn folder_of(&self, package: &PackageMetadata<'_>) -> Utf8PathBuf {
        let manifest = package.manifest_path();
        let folder = manifest.parent().unwrap_or(manifest);
        match folder.strip_prefix(self.graph.workspace().root()) {
            Ok(inside) if inside.as_str().is_empty() => self.root.clone(),
            Ok(inside) => self.root.join(inside),
            Err(_) => folder.to_owned(),
        }
    }
}

/// The test binaries of a workspace and what belongs to them.
#[derive(Debug)]
pub struct Build {
    /// The binaries, in nextest's form; paths are where the files are now.
    pub binaries: BinaryListSummary,
    /// The dynamic libraries that the workspace's packages and their dependencies gave, absolute.
    pub dynamic_libraries: BTreeSet<Utf8PathBuf>,
    /// Every crate of it was compiled without optimisation.
    pub is_unoptimised: bool,
    /// Holds an unpacked archive; its end removes the files.
    pub(super) _unpacked: Option<tempfile::TempDir>,
}

impl Build {
    /// Returns the folder that build scripts and test binaries are in.
    pub fn build_directory(&self) -> &Utf8Path {
        let meta = &self.binaries.rust_build_meta;
        meta.build_directory.as_deref().unwrap_or(&meta.target_directory)
    }
}
