//! A test binary with all that its commands need.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};
use guppy::PackageId;
use guppy::graph::PackageMetadata;
use nextest_filtering::BinaryQuery;
use nextest_metadata::{
    BuildPlatform, RustBinaryId, RustNonTestBinaryKind, RustTestBinaryKind, RustTestBinarySummary,
};

use super::harness::Harnesses;
use crate::build::{Build, BuildError, Workspace};

/// A test binary.
#[derive(Debug)]
pub struct TestBinary<'g> {
    summary: &'g RustTestBinarySummary,
    /// Its package.
    pub package: PackageMetadata<'g>,
    /// Its package's folder: where its cases run.
    pub folder: Utf8PathBuf,
    /// The programs that its cases are told of: name and absolute path.
    pub programs: BTreeSet<(String, Utf8PathBuf)>,
    /// Whether the manifest gives it a harness other than libtest, whose list may depend on anything.
    pub has_own_harness: bool,
}

impl<'g> TestBinary<'g> {
    /// Returns the binaries of a build, sorted as nextest sorts them.
    ///
    /// # Errors
    /// When a binary belongs to a package that the workspace does not know.
    pub fn all(workspace: &'g Workspace, build: &'g Build) -> Result<Vec<Self>, BuildError> {
        let mut harnesses = Harnesses::default();
        let binaries = build.binaries.rust_binaries.values();
        binaries
            .map(|summary| Self::new(workspace, build, summary, &mut harnesses))
            .collect()
    }

    fn new(
        workspace: &'g Workspace,
        build: &'g Build,
        summary: &'g RustTestBinarySummary,
        harnesses: &mut Harnesses,
    ) -> Result<Self, BuildError> {
        let package = workspace
            .graph
            .metadata(&PackageId::new(summary.package_id.clone()))
            .map_err(|_| BuildError::UnknownPackage {
                package: summary.package_id.clone(),
            })?;
        let meta = &build.binaries.rust_build_meta;
        // Like cargo, only integration tests and benchmarks are told of programs.
        let is_told = [RustTestBinaryKind::TEST, RustTestBinaryKind::BENCH].contains(&summary.kind);
        let programs = meta
            .non_test_binaries
            .get(&summary.package_id)
            .into_iter()
            .flatten()
            .filter(|program| is_told && program.kind == RustNonTestBinaryKind::BIN_EXE)
            .map(|program| (program.name.clone(), meta.target_directory.join(&program.path)))
            .collect();
        let folder = workspace.folder_of(&package);
        let has_own_harness =
            harnesses.has_own(&folder.join("Cargo.toml"), &summary.kind, &summary.binary_name);
        Ok(Self {
            summary,
            package,
            folder,
            programs,
            has_own_harness,
        })
    }

    /// Returns its id.
    pub fn id(&self) -> &'g RustBinaryId {
        &self.summary.binary_id
    }

    /// Returns its package's id.
    pub fn package_id(&self) -> &'g str {
        &self.summary.package_id
    }

    /// Returns where it is, absolute.
    pub fn path(&self) -> &'g Utf8Path {
        &self.summary.binary_path
    }

    /// Returns what it was built for.
    pub fn build_platform(&self) -> BuildPlatform {
        self.summary.build_platform
    }

    /// Returns what nextest's metadata says of it.
    pub fn summary(&self) -> &'g RustTestBinarySummary {
        self.summary
    }

    /// Returns it as filtersets see it.
    pub fn query(&self) -> BinaryQuery<'_> {
        use guppy::graph::cargo::BuildPlatform as Platform;
        BinaryQuery {
            package_id: self.package.id(),
            binary_id: &self.summary.binary_id,
            binary_name: &self.summary.binary_name,
            kind: &self.summary.kind,
            platform: match self.summary.build_platform {
                BuildPlatform::Target => Platform::Target,
                BuildPlatform::Host => Platform::Host,
            },
        }
    }
}
