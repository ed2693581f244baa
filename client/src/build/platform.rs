//! The platforms of a build and the toolchain that makes it.

use std::process::{Child, Command, Stdio};

use camino::{Utf8Path, Utf8PathBuf};
use nextest_metadata::{
    BuildPlatformsSummary, HostPlatformSummary, PlatformLibdirSummary, PlatformLibdirUnavailable,
    RustBuildMetaSummary, TargetPlatformSummary,
};
use target_spec::{Platform, TargetFeatures};

use super::cargo_config::AskedTarget;
use super::error::BuildError;
use crate::surroundings::Surroundings;

/// Host and target of a build.
#[derive(Clone, Debug)]
pub struct Platforms {
    /// The machine that builds.
    pub host: Platform,
    /// The platform asked for by `--target` or its like.
    pub asked: Option<Platform>,
    /// The toolchain's library folder for the host.
    pub host_libdir: Option<Utf8PathBuf>,
    /// The toolchain's library folder for the target asked for.
    pub asked_libdir: Option<Utf8PathBuf>,
}

impl Platforms {
    /// Returns the platform that most test binaries are built for.
    pub fn target(&self) -> &Platform {
        self.asked.as_ref().unwrap_or(&self.host)
    }

    /// Returns the folders with the standard library's dynamic libraries.
    pub fn libdirs(&self) -> impl Iterator<Item = &Utf8Path> {
        self.host_libdir
            .iter()
            .chain(&self.asked_libdir)
            .map(Utf8PathBuf::as_path)
    }

    /// Returns the platforms as `nextest-metadata` writes them.
    pub(super) fn summary(&self) -> BuildPlatformsSummary {
        BuildPlatformsSummary {
            host: HostPlatformSummary {
                platform: self.host.to_summary(),
                libdir: libdir_summary(self.host_libdir.as_ref()),
            },
            targets: self
                .asked
                .iter()
                .map(|platform| TargetPlatformSummary {
                    platform: platform.to_summary(),
                    libdir: libdir_summary(self.asked_libdir.as_ref()),
                })
                .collect(),
        }
    }

    /// Reads the platforms of a build made elsewhere.
    pub(super) fn from_summary(meta: &RustBuildMetaSummary) -> Result<Self, String> {
        let platform = |summary: &target_spec::summaries::PlatformSummary| {
            summary
                .to_platform()
                .map_err(|error| format!("unknown platform: {error}"))
        };
        let Some(summary) = &meta.platforms else {
            return Err("it was made by a nextest older than 0.9.72".to_owned());
        };
        let target = match &summary.targets[..] {
            [] => None,
            [target] => Some(target),
            _ => return Err("builds for several targets are not supported".to_owned()),
        };
        Ok(Self {
            host: platform(&summary.host.platform)?,
            asked: target.map(|target| platform(&target.platform)).transpose()?,
            host_libdir: libdir(&summary.host.libdir),
            asked_libdir: target.and_then(|target| libdir(&target.libdir)),
        })
    }
}

fn libdir(summary: &PlatformLibdirSummary) -> Option<Utf8PathBuf> {
    match summary {
        PlatformLibdirSummary::Available { path } => Some(path.clone()),
        PlatformLibdirSummary::Unavailable { .. } => None,
    }
}

fn libdir_summary(path: Option<&Utf8PathBuf>) -> PlatformLibdirSummary {
    match path {
        Some(path) => PlatformLibdirSummary::Available { path: path.clone() },
        None => PlatformLibdirSummary::Unavailable {
            reason: PlatformLibdirUnavailable::RUSTC_FAILED,
        },
    }
}

/// The Rust toolchain.
#[derive(Clone, Debug, Default)]
pub struct Toolchain {
    /// What `rustc -vV` prints; empty where there is no rustc.
    pub version: String,
    /// The toolchain's folder.
    pub sysroot: Option<Utf8PathBuf>,
}

/// The two questions to rustc, asked and not yet answered.
pub(super) struct RustcQuestions {
    program: String,
    version: Option<Child>,
    folders: Option<Child>,
}

impl RustcQuestions {
    /// Starts rustc twice: it prints either its version or its folders.
    pub(super) fn ask(surroundings: &Surroundings) -> Self {
        let program = surroundings.text("RUSTC").unwrap_or("rustc").to_owned();
        let ask = |arguments: &[&str]| rustc(&program, surroundings, arguments).spawn().ok();
        let version = ask(&["-vV"]);
        let folders = ask(&["--print", "sysroot", "--print", "target-libdir"]);
        Self {
            program,
            version,
            folders,
        }
    }

    /// Waits for the host platform. Without rustc it is the one that Thresh was built for.
    pub(super) fn host(&mut self) -> Result<(Platform, String), BuildError> {
        let version = answer(self.version.take()).unwrap_or_default();
        let platform = Platform::from_rustc_version_verbose(version.as_bytes(), TargetFeatures::Unknown)
            .or_else(|_| Platform::build_target())
            .map_err(|error| BuildError::Target {
                triple: "host".to_owned(),
                message: error.to_string(),
            })?;
        Ok((platform, version))
    }

    /// Waits for the toolchain's folder and its library folder for the host.
    pub(super) fn folders(&mut self) -> (Option<Utf8PathBuf>, Option<Utf8PathBuf>) {
        let text = answer(self.folders.take()).unwrap_or_default();
        let mut lines = text.lines().map(|line| Some(Utf8PathBuf::from(line)));
        (lines.next().flatten(), lines.next().flatten())
    }

    /// Finds the platform asked for and its library folder.
    pub(super) fn target(
        &self,
        asked: &AskedTarget,
        host: &Platform,
        surroundings: &Surroundings,
    ) -> Result<Target, BuildError> {
        let (platform, argument) = self.resolve(asked, host, surroundings)?;
        let child = rustc(
            &self.program,
            surroundings,
            &["--print", "target-libdir", "--target", &argument],
        );
        let text = answer({ child }.spawn().ok()).unwrap_or_default();
        let libdir = text.lines().next().map(Utf8PathBuf::from);
        Ok(Target {
            platform,
            argument,
            libdir,
        })
    }

    fn resolve(
        &self,
        asked: &AskedTarget,
        host: &Platform,
        surroundings: &Surroundings,
    ) -> Result<(Platform, String), BuildError> {
        let triple = asked.triple.as_str();
        if triple == "host-tuple" {
            return Ok((host.clone(), host.triple_str().to_owned()));
        }
        if triple.ends_with(".json") {
            return custom(triple, &asked.base.join(triple));
        }
        if let Ok(platform) = Platform::new_strict(triple.to_owned(), TargetFeatures::Unknown) {
            return Ok((platform, triple.to_owned()));
        }
        let search = surroundings.variable("RUST_TARGET_PATH").unwrap_or_default();
        for folder in std::env::split_paths(search).filter_map(|path| Utf8PathBuf::try_from(path).ok()) {
            let path = folder.join(format!("{triple}.json"));
            if path.is_file() {
                return custom(triple, &path);
            }
        }
        let cfg = answer(
            rustc(&self.program, surroundings, &["--print=cfg", "--target", triple])
                .spawn()
                .ok(),
        );
        cfg.and_then(|cfg| Platform::new_custom_cfg(triple.to_owned(), &cfg, TargetFeatures::Unknown).ok())
            .map_or_else(|| Platform::new(triple.to_owned(), TargetFeatures::Unknown), Ok)
            .map(|platform| (platform, triple.to_owned()))
            .map_err(|error| target_error(triple, &error))
    }
}

/// A target platform.
pub(super) struct Target {
    pub(super) platform: Platform,
    /// What to call it in arguments of cargo and rustc.
    pub(super) argument: String,
    pub(super) libdir: Option<Utf8PathBuf>,
}

fn custom(triple: &str, path: &Utf8Path) -> Result<(Platform, String), BuildError> {
    let path = path
        .canonicalize_utf8()
        .map_err(|error| target_error(triple, &error))?;
    let json = std::fs::read_to_string(&path).map_err(|error| target_error(triple, &error))?;
    let name = path.file_stem().unwrap_or(triple).to_owned();
    let platform = Platform::new_custom(name, &json, TargetFeatures::Unknown)
        .map_err(|error| target_error(triple, &error))?;
    Ok((platform, path.into_string()))
}

fn target_error(triple: &str, error: &dyn std::error::Error) -> BuildError {
    BuildError::Target {
        triple: triple.to_owned(),
        message: error.to_string(),
    }
}

fn rustc(program: &str, surroundings: &Surroundings, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(&surroundings.directory)
        .stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Returns what a process printed, when it succeeded.
fn answer(child: Option<Child>) -> Option<String> {
    let output = child?
        .wait_with_output()
        .ok()
        .filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}
