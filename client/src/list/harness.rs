//! Which test binaries have a harness of their own.
//!
//! The list of a libtest binary is in its code, so it can be remembered by the code's digest. Another harness
//! may read its cases from files, so its list cannot.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use nextest_metadata::RustTestBinaryKind;
use serde::Deserialize;

/// The manifests read so far.
#[derive(Debug, Default)]
pub(super) struct Harnesses(BTreeMap<Utf8PathBuf, Option<Manifest>>);

#[derive(Debug, Default, Deserialize)]
struct Manifest {
    lib: Option<Target>,
    #[serde(default)]
    bin: Vec<Target>,
    #[serde(default)]
    example: Vec<Target>,
    #[serde(default)]
    test: Vec<Target>,
    #[serde(default)]
    bench: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: Option<String>,
    harness: Option<bool>,
}

impl Harnesses {
    /// Whether the target `name` of the package with this manifest has its own harness. An unreadable manifest
    /// cannot tell, so it may have.
    pub(super) fn has_own(&mut self, manifest: &Utf8Path, kind: &RustTestBinaryKind, name: &str) -> bool {
        let read = || toml::from_str(&std::fs::read_to_string(manifest).ok()?).ok();
        let manifest = self.0.entry(manifest.to_owned()).or_insert_with(read);
        manifest
            .as_ref()
            .is_none_or(|manifest| manifest.has_own_harness(kind, name))
    }
}

impl Manifest {
    fn has_own_harness(&self, kind: &RustTestBinaryKind, name: &str) -> bool {
        let targets: Vec<&Target> = match kind.as_str() {
            "lib" | "proc-macro" => return self.lib.as_ref().is_some_and(|lib| lib.harness == Some(false)),
            "bin" => self.bin.iter().collect(),
            "example" => self.example.iter().collect(),
            "test" => self.test.iter().collect(),
            "bench" => self.bench.iter().collect(),
            _ => return true,
        };
        let is_this = |target: &&Target| target.name.as_deref().is_none_or(|own| own == name);
        targets
            .into_iter()
            .filter(is_this)
            .any(|target| target.harness == Some(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_tells_the_harness_of_each_target() {
        let manifest: Manifest = toml::from_str(
            "package.name = 'p'\nlib.harness = false\n[[test]]\nname = 'own'\nharness = false\n[[test]]\nname = 'plain'\n",
        )
        .unwrap();
        assert!(manifest.has_own_harness(&RustTestBinaryKind::LIB, "p"));
        assert!(manifest.has_own_harness(&RustTestBinaryKind::TEST, "own"));
        assert!(!manifest.has_own_harness(&RustTestBinaryKind::TEST, "plain"));
        assert!(!manifest.has_own_harness(&RustTestBinaryKind::TEST, "found-by-cargo"));
        assert!(!manifest.has_own_harness(&RustTestBinaryKind::BIN, "own"));
        assert!(Harnesses::default().has_own("/nowhere/Cargo.toml".into(), &RustTestBinaryKind::LIB, "p"));
    }
}
