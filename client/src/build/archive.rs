//! A cargo-nextest archive as the build.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs::File;
use std::io::BufReader;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use guppy::graph::PackageGraph;
use nextest_metadata::{BinaryListSummary, RustBuildMetaSummary, RustNonTestBinaryKind};

use super::cargo_config::CargoConfig;
use super::error::BuildError;
use super::platform::{Platforms, RustcQuestions, Toolchain};
use super::workspace::{Build, Workspace};
use crate::surroundings::Surroundings;

const CARGO_METADATA: &str = "target/nextest/cargo-metadata.json";
const BINARIES_METADATA: &str = "target/nextest/binaries-metadata.json";
const LIBDIRS: &str = "target/nextest/libdirs";

/// How to open an archive.
#[derive(Clone, Debug, Default)]
pub struct ArchiveOptions {
    /// The archive: a `.tar.zst` file.
    pub file: Utf8PathBuf,
    /// Where to unpack it; `None` is a temporary folder that goes away with the [`Build`].
    pub extract_to: Option<Utf8PathBuf>,
    /// Unpack although the folder holds a `target` already.
    pub extract_overwrite: bool,
    /// Where the workspace's sources are, if not where they were when the archive was made.
    pub workspace_remap: Option<Utf8PathBuf>,
    /// The values of cargo's `--config`.
    pub config: Vec<String>,
}

/// Unpacks an archive and reads what it holds.
///
/// # Errors
/// When it is not a whole cargo-nextest archive, an entry would leave the folder, or the sources are missing.
pub fn open_archive(
    options: &ArchiveOptions,
    surroundings: &Surroundings,
) -> Result<(Workspace, Build), BuildError> {
    let opening = Opening { file: &options.file };
    let mut rustc = RustcQuestions::ask(surroundings);
    let (folder, unpacked) = opening.folder(options, surroundings)?;
    opening.unpack(&surroundings.directory.join(&options.file), &folder)?;

    let json = opening.read(&folder, CARGO_METADATA)?;
    let graph = PackageGraph::from_json(json).map_err(|error| opening.fault(error.to_string()))?;
    let mut binaries: BinaryListSummary = serde_json::from_str(&opening.read(&folder, BINARIES_METADATA)?)
        .map_err(|error| opening.fault(format!("{BINARIES_METADATA}: {error}")))?;
    let mut platforms =
        Platforms::from_summary(&binaries.rust_build_meta).map_err(|message| opening.fault(message))?;
    let libdir = |name: &str| Some(folder.join(LIBDIRS).join(name)).filter(|path| path.is_dir());
    platforms.host_libdir = libdir("host");
    platforms.asked_libdir = libdir("target/0");
    binaries.rust_build_meta.platforms = Some(platforms.summary());
    move_to(&mut binaries, &folder.join("target"));

    let root = match &options.workspace_remap {
        None => graph.workspace().root().to_owned(),
        Some(root) => surroundings
            .directory
            .join(root)
            .canonicalize_utf8()
            .map_err(|error| opening.fault(format!("--workspace-remap {root}: {error}")))?,
    };
    let manifest = root.join("Cargo.toml");
    if !manifest.exists() {
        return Err(BuildError::NoSources { manifest });
    }
    // The toolchain of this machine, which made nothing here, still belongs to the platform.
    let (_, version) = rustc.host()?;
    let (sysroot, _) = rustc.folders();
    let dynamic_libraries = dynamic_libraries(&binaries.rust_build_meta);
    let workspace = Workspace {
        root,
        graph,
        platforms,
        toolchain: Toolchain { version, sysroot },
        cargo_config: CargoConfig::discover(&options.config, surroundings)?,
    };
    Ok((
        workspace,
        Build {
            binaries,
            dynamic_libraries,
            is_unoptimised: false,
            _unpacked: unpacked,
        },
    ))
}

fn dynamic_libraries(meta: &RustBuildMetaSummary) -> BTreeSet<Utf8PathBuf> {
    let files = meta.non_test_binaries.values().flatten();
    let libraries = files.filter(|file| file.kind == RustNonTestBinaryKind::DYLIB);
    libraries
        .map(|file| meta.target_directory.join(&file.path))
        .collect()
}

/// Sets all absolute paths to be below `target`.
fn move_to(binaries: &mut BinaryListSummary, target: &Utf8Path) {
    let meta = &mut binaries.rust_build_meta;
    let build_directory = meta
        .build_directory
        .take()
        .unwrap_or_else(|| meta.target_directory.clone());
    for binary in binaries.rust_binaries.values_mut() {
        if let Ok(relative) = binary.binary_path.strip_prefix(&build_directory) {
            binary.binary_path = target.join(relative);
        }
    }
    meta.target_directory = target.to_owned();
    meta.build_directory = Some(target.to_owned());
}

/// The archive that is being opened, for messages.
struct Opening<'a> {
    file: &'a Utf8Path,
}

impl Opening<'_> {
    fn fault(&self, message: impl Into<String>) -> BuildError {
        BuildError::Archive {
            file: self.file.to_owned(),
            message: message.into(),
        }
    }

    fn folder(
        &self,
        options: &ArchiveOptions,
        surroundings: &Surroundings,
    ) -> Result<(Utf8PathBuf, Option<tempfile::TempDir>), BuildError> {
        let fault = |error: std::io::Error| self.fault(format!("make a folder for it: {error}"));
        let Some(folder) = &options.extract_to else {
            let temp = tempfile::Builder::new()
                .prefix("thresh-archive-")
                .tempdir()
                .map_err(fault)?;
            let path = Utf8PathBuf::try_from(temp.path().canonicalize().map_err(fault)?)
                .map_err(|error| self.fault(error.to_string()))?;
            return Ok((path, Some(temp)));
        };
        let folder = surroundings.directory.join(folder);
        std::fs::create_dir_all(&folder).map_err(fault)?;
        let folder = folder.canonicalize_utf8().map_err(fault)?;
        let target = folder.join("target");
        if target.exists() && !options.extract_overwrite {
            return Err(self.fault(format!(
                "{target} exists already; pass --extract-overwrite to replace it"
            )));
        }
        Ok((folder, None))
    }

    fn unpack(&self, path: &Utf8Path, folder: &Utf8Path) -> Result<(), BuildError> {
        let truncated = |error: std::io::Error| {
            let cause = error
                .source()
                .map_or_else(String::new, |cause| format!(": {cause}"));
            self.fault(format!(
                "it is not a whole .tar.zst archive of cargo nextest archive: {error}{cause}"
            ))
        };
        let file = File::open(path).map_err(|error| self.fault(error.to_string()))?;
        let decoder = zstd::Decoder::new(BufReader::new(file)).map_err(truncated)?;
        let mut archive = tar::Archive::new(decoder);
        for entry in archive.entries().map_err(truncated)? {
            let mut entry = entry.map_err(truncated)?;
            let path = entry.path().map_err(truncated)?.into_owned();
            let path = Utf8PathBuf::try_from(path).map_err(|error| self.fault(error.to_string()))?;
            let is_inside = path
                .components()
                .all(|part| matches!(part, Utf8Component::Normal(_)));
            if !is_inside || !path.starts_with("target") {
                return Err(self.fault(format!("entry `{path}` would leave the folder `target`")));
            }
            let kind = entry.header().entry_type();
            if !kind.is_file() && !kind.is_dir() {
                return Err(self.fault(format!("entry `{path}` is neither a file nor a folder")));
            }
            // `unpack_in` also refuses to go through a link that leaves the folder.
            let inside = entry.unpack_in(folder).map_err(truncated)?;
            if !inside {
                return Err(self.fault(format!("entry `{path}` would leave the folder `target`")));
            }
        }
        Ok(())
    }

    fn read(&self, folder: &Utf8Path, name: &str) -> Result<String, BuildError> {
        std::fs::read_to_string(folder.join(name)).map_err(|error| {
            self.fault(format!(
                "it was not made by cargo nextest archive: {name}: {error}"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes an archive with the given entries and tries to open it.
    fn open(entries: &[(&str, &[u8], tar::EntryType)], cut: Option<usize>) -> String {
        let temp = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::try_from(temp.path().to_owned()).unwrap();
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content, kind) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_entry_type(*kind);
            // Not `set_path`, which refuses what this test is about.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            if *kind == tar::EntryType::Symlink {
                header.set_link_name("/etc").unwrap();
            }
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        let mut bytes = zstd::encode_all(&builder.into_inner().unwrap()[..], 0).unwrap();
        bytes.truncate(cut.unwrap_or(bytes.len()));
        let file = root.join("a.tar.zst");
        std::fs::write(&file, bytes).unwrap();
        let options = ArchiveOptions {
            file,
            ..ArchiveOptions::default()
        };
        let surroundings = Surroundings {
            directory: root.clone(),
            cpus: 1,
            ..Surroundings::default()
        };
        let error = open_archive(&options, &surroundings).unwrap_err();
        assert_eq!(error.exit_code(), 96);
        assert!(!root.join("escaped").exists() && !root.parent().unwrap().join("escaped").exists());
        error.to_string()
    }

    #[test]
    fn entries_that_leave_the_folder_are_refused() {
        let file = tar::EntryType::Regular;
        for path in ["../escaped", "target/../../escaped", "/tmp/escaped", "escaped"] {
            let error = open(&[(path, b"x", file)], None);
            assert!(error.contains("would leave the folder"), "{path}: {error}");
        }
        let error = open(&[("target/link", b"", tar::EntryType::Symlink)], None);
        assert!(error.contains("is neither a file nor a folder"), "{error}");
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let file = tar::EntryType::Regular;
        let hash = |at: u64| thresh_core::digest::Digest::of(&at.to_le_bytes());
        let noise: Vec<u8> = (0..2_000).flat_map(|at| *hash(at).as_bytes()).collect();
        let error = open(&[("target/a", &noise, file)], Some(20_000));
        assert!(error.contains("not a whole .tar.zst archive"), "{error}");
        let error = open(&[], Some(0));
        assert!(error.contains("archive"), "{error}");
        let error = open(&[("target/a", b"x", file)], None);
        assert!(error.contains("cargo-metadata.json"), "{error}");
        let error = open(&[(CARGO_METADATA, b"{", file)], None);
        assert!(error.contains("open archive"), "{error}");
    }
}
