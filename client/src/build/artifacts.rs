//! From cargo's messages to the list of test binaries.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};
use cargo_metadata::{Artifact, BuildScript, Message, TargetKind};
use guppy::PackageId;
use guppy::graph::PackageGraph;
use nextest_metadata::{
    BinaryListSummary, BuildPlatform, BuildScriptInfoSummary, RustBinaryId, RustBuildMetaSummary,
    RustNonTestBinaryKind, RustNonTestBinarySummary, RustTestBinaryKind, RustTestBinarySummary,
};
use serde::Deserialize;

use super::error::BuildError;
use super::platform::Platforms;
use super::workspace::Build;

/// The messages that matter, kept until the package graph is there.
#[derive(Debug, Default)]
pub(super) struct Messages {
    artifacts: Vec<Artifact>,
    build_scripts: Vec<BuildScript>,
}

impl Messages {
    /// Takes one line of cargo's output. What is not a message is the output of something else.
    pub(super) fn take(&mut self, line: &str) {
        let mut deserializer = serde_json::Deserializer::from_str(line);
        deserializer.disable_recursion_limit();
        match Message::deserialize(&mut deserializer) {
            Ok(Message::CompilerArtifact(artifact)) => self.artifacts.push(artifact),
            Ok(Message::BuildScriptExecuted(script)) => self.build_scripts.push(script),
            _ => {}
        }
    }

    /// Returns the build that the messages tell of.
    pub(super) fn into_build(self, graph: &PackageGraph, platforms: &Platforms) -> Result<Build, BuildError> {
        let mut collector = Collector::new(graph, platforms);
        collector.is_unoptimised = self
            .artifacts
            .iter()
            .all(|artifact| artifact.profile.opt_level == "0");
        for artifact in self.artifacts {
            collector.artifact(artifact)?;
        }
        for script in self.build_scripts {
            collector.build_script(script);
        }
        Ok(collector.finish())
    }
}

struct Collector<'g> {
    graph: &'g PackageGraph,
    /// The target triple where it was asked for, which is then part of paths.
    asked: Option<String>,
    target_directory: Utf8PathBuf,
    build_directory: Utf8PathBuf,
    list: BinaryListSummary,
    dynamic_libraries: BTreeSet<Utf8PathBuf>,
    is_unoptimised: bool,
}

impl<'g> Collector<'g> {
    fn new(graph: &'g PackageGraph, platforms: &Platforms) -> Self {
        let workspace = graph.workspace();
        let target_directory = workspace.target_directory().to_owned();
        let build_directory = workspace
            .build_directory()
            .unwrap_or(&target_directory)
            .to_owned();
        let rust_build_meta = RustBuildMetaSummary {
            target_directory: target_directory.clone(),
            build_directory: Some(build_directory.clone()),
            build_script_info: Some(Default::default()),
            platforms: Some(platforms.summary()),
            target_platforms: vec![platforms.target().to_summary()],
            target_platform: platforms
                .asked
                .as_ref()
                .map(|platform| platform.triple_str().to_owned()),
            ..RustBuildMetaSummary::default()
        };
        Self {
            graph,
            asked: platforms
                .asked
                .as_ref()
                .map(|platform| platform.triple_str().to_owned()),
            target_directory,
            build_directory,
            list: BinaryListSummary {
                rust_build_meta,
                rust_binaries: Default::default(),
            },
            dynamic_libraries: BTreeSet::new(),
            is_unoptimised: false,
        }
    }

    fn artifact(&mut self, artifact: Artifact) -> Result<(), BuildError> {
        let kinds = &artifact.target.kind;
        if let Some(path) = &artifact.executable {
            let base = path
                .strip_prefix(&self.build_directory)
                .ok()
                .and_then(base_output_directory);
            if let Some(base) = base {
                self.list
                    .rust_build_meta
                    .base_output_directories
                    .insert(base.to_owned());
            }
            if artifact.profile.test {
                return self.test_binary(&artifact, path);
            }
            if kinds.contains(&TargetKind::Bin) {
                self.non_test_binary(&artifact, RustNonTestBinaryKind::BIN_EXE, path);
            }
            return Ok(());
        }
        let is_library = |kind: &TargetKind| matches!(kind, TargetKind::DyLib | TargetKind::CDyLib);
        if kinds.iter().any(is_library) {
            for path in &artifact.filenames {
                self.non_test_binary(&artifact, RustNonTestBinaryKind::DYLIB, path);
            }
        }
        if kinds
            .iter()
            .any(|kind| is_library(kind) || matches!(kind, TargetKind::ProcMacro))
        {
            let loadable = |path: &&Utf8PathBuf| matches!(path.extension(), Some("so" | "dylib" | "dll"));
            self.dynamic_libraries
                .extend(artifact.filenames.iter().filter(loadable).cloned());
        }
        Ok(())
    }

    fn test_binary(&mut self, artifact: &Artifact, path: &Utf8Path) -> Result<(), BuildError> {
        let package_id = artifact.package_id.repr.clone();
        let package = self
            .graph
            .metadata(&PackageId::new(package_id.clone()))
            .map_err(|_| BuildError::UnknownPackage {
                package: package_id.clone(),
            })?;
        let kinds = &artifact.target.kind;
        let is_library = |kind: &TargetKind| {
            use TargetKind as Kind;
            matches!(
                kind,
                Kind::Lib | Kind::RLib | Kind::DyLib | Kind::CDyLib | Kind::StaticLib
            )
        };
        let (kind, build_platform) = if kinds.iter().any(is_library) {
            (RustTestBinaryKind::LIB, BuildPlatform::Target)
        } else {
            match kinds.first() {
                Some(TargetKind::ProcMacro) => (RustTestBinaryKind::PROC_MACRO, BuildPlatform::Host),
                Some(kind) => (RustTestBinaryKind::new(kind.to_string()), BuildPlatform::Target),
                None => (RustTestBinaryKind::new("unknown"), BuildPlatform::Target),
            }
        };
        let binary_name = artifact.target.name.clone();
        let binary_id = RustBinaryId::from_parts(package.name(), &kind, &binary_name);
        let binary = RustTestBinarySummary {
            binary_id: binary_id.clone(),
            binary_name,
            package_id,
            kind,
            binary_path: path.to_owned(),
            build_platform,
        };
        self.list.rust_binaries.insert(binary_id, binary);
        Ok(())
    }

    fn non_test_binary(&mut self, artifact: &Artifact, kind: RustNonTestBinaryKind, path: &Utf8Path) {
        // A path outside the target directory would be another package's business.
        let Ok(relative) = path.strip_prefix(&self.target_directory) else {
            return;
        };
        let binary = RustNonTestBinarySummary {
            name: artifact.target.name.clone(),
            kind,
            path: relative.to_owned(),
            build_platform: Some(self.platform_of(path)),
        };
        let package = artifact.package_id.repr.clone();
        self.list
            .rust_build_meta
            .non_test_binaries
            .entry(package)
            .or_default()
            .insert(binary);
    }

    /// Guesses from its path what an artifact was built for: cargo does not say.
    fn platform_of(&self, path: &Utf8Path) -> BuildPlatform {
        let Some(triple) = &self.asked else {
            return BuildPlatform::Target;
        };
        let relative = [&self.target_directory, &self.build_directory]
            .into_iter()
            .filter_map(|root| path.strip_prefix(root).ok())
            .min_by_key(|relative| relative.as_str().len());
        match relative {
            Some(relative) if relative.starts_with(triple) => BuildPlatform::Target,
            _ => BuildPlatform::Host,
        }
    }

    fn build_script(&mut self, script: BuildScript) {
        let meta = &mut self.list.rust_build_meta;
        for path in &script.linked_paths {
            // `native=/path` and its like.
            let path = path
                .as_str()
                .split_once('=')
                .map_or(path.as_path(), |(_, path)| Utf8Path::new(path));
            if let Ok(relative) = path.strip_prefix(&self.build_directory) {
                meta.linked_paths.insert(relative.to_owned());
            }
        }
        let package = script.package_id.repr;
        let in_workspace = self
            .graph
            .metadata(&PackageId::new(package.clone()))
            .is_ok_and(|package| package.in_workspace());
        if !in_workspace {
            return;
        }
        if let Ok(relative) = script.out_dir.strip_prefix(&self.build_directory) {
            meta.build_script_out_dirs
                .insert(package.clone(), relative.to_owned());
        }
        if !script.env.is_empty() {
            let envs = script.env.into_iter().collect();
            let infos = meta.build_script_info.get_or_insert_default();
            infos.insert(package, BuildScriptInfoSummary { envs });
        }
    }

    fn finish(mut self) -> Build {
        let packages: BTreeSet<&String> = self
            .list
            .rust_binaries
            .values()
            .map(|binary| &binary.package_id)
            .collect();
        let meta = &mut self.list.rust_build_meta;
        meta.build_script_out_dirs
            .retain(|package, _| packages.contains(package));
        if let Some(infos) = &mut meta.build_script_info {
            infos.retain(|package, _| packages.contains(package));
        }
        Build {
            binaries: self.list,
            dynamic_libraries: self.dynamic_libraries,
            is_unoptimised: self.is_unoptimised,
            _unpacked: None,
        }
    }
}

/// Returns the `[<triple>/]<profile>` part of an executable's path below the build directory: for
/// `debug/deps/x`, `debug/examples/x` and cargo's newer `debug/build/package/hash/out/x`.
fn base_output_directory(relative: &Utf8Path) -> Option<&Utf8Path> {
    let folder = relative.parent()?;
    let base = match folder.file_name()? {
        "deps" | "examples" => folder.parent()?,
        "out" => folder
            .ancestors()
            .nth(3)
            .filter(|folder| folder.file_name() == Some("build"))?
            .parent()?,
        _ => return None,
    };
    (!base.as_str().is_empty()).then_some(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_output_directories_are_found_in_both_layouts() {
        for (path, expected) in [
            ("debug/deps/x", Some("debug")),
            (
                "x86_64-unknown-linux-gnu/release/deps/x",
                Some("x86_64-unknown-linux-gnu/release"),
            ),
            ("debug/examples/x", Some("debug")),
            ("debug/build/package/0123/out/x", Some("debug")),
            ("debug/build/package-0123/out", None),
            ("deps/x", None),
            ("debug/x", None),
        ] {
            assert_eq!(
                base_output_directory(Utf8Path::new(path)),
                expected.map(Utf8Path::new),
                "{path}"
            );
        }
    }

    #[test]
    fn lines_that_are_no_messages_are_passed_over() {
        let mut messages = Messages::default();
        for line in [
            "",
            "hello",
            "{}",
            "{\"reason\":\"build-finished\",\"success\":true}",
        ] {
            messages.take(line);
        }
        assert!(messages.artifacts.is_empty() && messages.build_scripts.is_empty());
    }
}
