//! What is linked: files found, read and taken apart, in the linker's order.

use std::fs::File;
use std::path::{Path, PathBuf};

use object::read::archive::ArchiveFile;
use rayon::prelude::*;
use thresh_core::digest::Digest;

use crate::arguments::{Input, Link, Source};
use crate::excerpt::Excerpt;
use crate::memo::{Memo, stamp};
use crate::raw::Shape;
use crate::unit::Unit;

/// Why the inputs of a link cannot be taken apart.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    #[error("{path} cannot be read: {cause}")]
    Read { path: String, cause: std::io::Error },
    #[error("{name} cannot be taken apart: {cause}")]
    Shape { name: String, cause: Shape },
    #[error("the static library {0} was not found in the folders of the command line")]
    Missing(String),
}

/// An object of the link.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) unit: Unit,
    /// File, and member if it is an archive's.
    pub(crate) name: String,
    /// Taken whether it is needed or not.
    pub(crate) always: bool,
    /// Comes with the Rust toolchain.
    pub(crate) toolchain: bool,
    /// The file, if the object is no member of an archive.
    pub(crate) path: Option<PathBuf>,
}

/// A dynamic library that the binary may load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Library {
    /// Its path, or what was said after `-l`.
    pub(crate) name: String,
    /// The digest of its content; none for a library of the system, which is only named.
    pub(crate) digest: Option<Digest>,
}

#[derive(Debug, Default)]
pub(crate) struct Inputs {
    pub(crate) parts: Vec<Part>,
    pub(crate) libraries: Vec<Library>,
}

/// Reads all inputs of a link.
pub(crate) fn read(link: &Link, memo: &Memo) -> Result<Inputs, InputError> {
    // Many are read into one memory, one after the other: there are hundreds of files in a link.
    let each = |content: &mut Excerpt, input| input_of(link, input, memo, content);
    let each = link.inputs.par_iter().map_init(Excerpt::default, each);
    let each: Vec<Inputs> = each.collect::<Result<_, _>>()?;
    let mut all = Inputs::default();
    for inputs in each {
        all.parts.extend(inputs.parts);
        all.libraries.extend(inputs.libraries);
    }
    Ok(all)
}

fn input_of(link: &Link, input: &Input, memo: &Memo, content: &mut Excerpt) -> Result<Inputs, InputError> {
    match &input.source {
        Source::File(path) => file(path, input.whole, memo, content),
        Source::Library { name, is_static } => match search(&link.folders, name, *is_static) {
            Some(path) => file(&path, input.whole, memo, content),
            None if *is_static && !SYSTEM.contains(&name.as_str()) => Err(InputError::Missing(name.clone())),
            // Found in a folder of the system, by a search that is the linker's own.
            None => Ok(Inputs {
                libraries: vec![Library {
                    name: format!("-l{name}"),
                    digest: None,
                }],
                parts: Vec::new(),
            }),
        },
    }
}

/// Whether there may be a dynamic library among the inputs whose content can be looked at.
pub(crate) fn may_have_libraries(link: &Link) -> bool {
    link.inputs.iter().any(|input| match &input.source {
        Source::File(path) => {
            let ending = path.extension().and_then(|ending| ending.to_str());
            !matches!(ending, Some("o" | "rlib" | "a"))
        }
        Source::Library { name, is_static } => {
            !is_static && search(&link.folders, name, *is_static).is_some()
        }
    })
}

/// Libraries of the C compiler and the C library, which are told by the platform's part of a key.
pub(crate) const SYSTEM: &[&str] = &[
    "c", "m", "dl", "rt", "util", "pthread", "gcc", "gcc_eh", "gcc_s", "unwind",
];

fn search(folders: &[PathBuf], name: &str, is_static: bool) -> Option<PathBuf> {
    let names = match name.strip_prefix(':') {
        Some(exact) => vec![exact.to_owned()],
        None if is_static => vec![format!("lib{name}.a")],
        None => vec![format!("lib{name}.so"), format!("lib{name}.a")],
    };
    let mut paths = folders
        .iter()
        .flat_map(|folder| names.iter().map(move |name| folder.join(name)));
    paths.find(|path| path.is_file())
}

/// `content` is memory to read into.
fn file(path: &Path, whole: bool, memo: &Memo, content: &mut Excerpt) -> Result<Inputs, InputError> {
    // Of archives only is more kept.
    let is_object = path.extension().is_some_and(|ending| ending == "o");
    let stamp = (!is_object).then(|| stamp(path)).flatten();
    let digest = stamp.as_ref().and_then(|stamp| memo.digest(stamp));
    if let Some(units) = digest.and_then(|digest| memo.archive(&digest)) {
        return Ok(archive(path, units, whole));
    }
    let read = File::open(path).and_then(|file| content.read(&file));
    read.map_err(|cause| InputError::Read {
        path: path.display().to_string(),
        cause,
    })?;
    let whole_file = content.whole().unwrap_or_default();
    if whole_file.starts_with(b"!<arch>\n") {
        return Ok(archive(
            path,
            units(path, whole_file, stamp.as_deref(), memo)?,
            whole,
        ));
    }
    if is_dynamic(whole_file) {
        return Ok(Inputs {
            libraries: vec![Library {
                name: path.display().to_string(),
                digest: Some(Digest::of(whole_file)),
            }],
            parts: Vec::new(),
        });
    }
    let name = path.display().to_string();
    let unit = Unit::parse(&*content).map_err(|cause| InputError::Shape {
        name: name.clone(),
        cause,
    })?;
    let part = Part {
        unit,
        name,
        always: true,
        toolchain: false,
        path: Some(path.to_owned()),
    };
    Ok(Inputs {
        parts: vec![part],
        libraries: Vec::new(),
    })
}

fn is_dynamic(content: &[u8]) -> bool {
    content.starts_with(b"\x7fELF") && content.get(16..18) == Some(&object::elf::ET_DYN.to_le_bytes()[..])
}

fn units(
    path: &Path,
    content: &[u8],
    stamp: Option<&str>,
    memo: &Memo,
) -> Result<Vec<(String, Unit)>, InputError> {
    let digest = Digest::from_bytes(*blake3::Hasher::new().update_rayon(content).finalize().as_bytes());
    if let Some(stamp) = stamp {
        memo.keep_digest(stamp, &digest);
    }
    if let Some(units) = memo.archive(&digest) {
        return Ok(units);
    }
    let units = members(path, content)?;
    memo.keep_archive(&digest, &units);
    Ok(units)
}

fn archive(path: &Path, units: Vec<(String, Unit)>, whole: bool) -> Inputs {
    let toolchain = is_toolchain(path);
    let file = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let parts = units.into_iter().map(|(member, unit)| Part {
        unit,
        name: format!("{file}({member})"),
        always: whole,
        toolchain,
        path: None,
    });
    Inputs {
        parts: parts.collect(),
        libraries: Vec::new(),
    }
}

/// Whether an archive is one of the toolchain's own: `…/rustlib/TARGET/lib/FILE`.
fn is_toolchain(path: &Path) -> bool {
    let mut folders = path.ancestors().skip(1).map(Path::file_name);
    let library = folders.next().flatten().is_some_and(|name| name == "lib");
    library && folders.nth(1).flatten().is_some_and(|name| name == "rustlib")
}

/// Takes the members of an archive apart, except the metadata that only the compiler reads.
pub(crate) fn members(path: &Path, content: &[u8]) -> Result<Vec<(String, Unit)>, InputError> {
    let shape = |name: String| move |cause: Shape| InputError::Shape { name, cause };
    let whole = |cause: object::read::Error| shape(path.display().to_string())(cause.into());
    let archive = ArchiveFile::parse(content).map_err(whole)?;
    if archive.is_thin() {
        let cause = Shape::Unknown("its members elsewhere".to_owned());
        return Err(shape(path.display().to_string())(cause));
    }
    let mut members = Vec::new();
    for member in archive.members() {
        let member = member.map_err(whole)?;
        let name = String::from_utf8_lossy(member.name()).into_owned();
        if !name.starts_with("lib.rmeta") {
            members.push((name, member.data(content).map_err(whole)?));
        }
    }
    let units = members.into_par_iter().map(|(name, data)| {
        let unit = Unit::parse(data).map_err(shape(format!("{}({name})", path.display())))?;
        Ok((name, unit))
    });
    units.collect()
}
