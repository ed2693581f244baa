//! Which dynamic libraries a binary loads, read from its ELF headers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use object::elf::{DT_NEEDED, FileHeader32, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, FileKind, ReadCache, ReadRef, StringTable};
use rayon::prelude::*;
use thresh_core::fault::Fault;

/// A binary's libraries could not be told.
#[derive(Debug, thiserror::Error)]
#[error("read the headers of {}: {cause}", path.display())]
pub struct LibraryError {
    /// The binary or library.
    pub path: PathBuf,
    /// Why.
    pub cause: io::Error,
}

impl LibraryError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        Fault::Environment
    }
}

/// The libraries that binaries load from the build and the toolchain, directly or through one another. Those
/// of the system are not among them: they belong to the platform.
#[derive(Clone, Debug, Default)]
pub struct NeededLibraries {
    by_binary: Vec<Vec<PathBuf>>,
}

impl NeededLibraries {
    /// Reads the headers of `binaries` and finds the libraries that they need in `folders`, the first folder
    /// first.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn find(binaries: &[PathBuf], folders: &[PathBuf]) -> Result<Self, LibraryError> {
        let shelf = Shelf::new(folders);
        let named: Vec<Vec<String>> = binaries
            .par_iter()
            .map(|path| needed(path))
            .collect::<Result<_, _>>()?;
        let mut known: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
        let mut by_binary = Vec::with_capacity(binaries.len());
        for names in named {
            let mut found = BTreeSet::new();
            let mut open = names;
            while let Some(name) = open.pop() {
                let Some(path) = shelf.find(&name) else { continue };
                if !found.insert(path.clone()) {
                    continue;
                }
                if !known.contains_key(&path) {
                    known.insert(path.clone(), needed(&path)?);
                }
                open.extend(known[&path].iter().cloned());
            }
            by_binary.push(found.into_iter().collect());
        }
        Ok(Self { by_binary })
    }

    /// The libraries of the binary at `position`, sorted.
    pub fn of(&self, position: usize) -> &[PathBuf] {
        &self.by_binary[position]
    }

    /// All of them, sorted.
    pub fn all(&self) -> BTreeSet<&Path> {
        self.by_binary.iter().flatten().map(PathBuf::as_path).collect()
    }
}

/// The dynamic libraries in the folders of the library path.
struct Shelf {
    by_name: BTreeMap<String, PathBuf>,
}

impl Shelf {
    fn new(folders: &[PathBuf]) -> Self {
        let mut by_name = BTreeMap::new();
        for folder in folders {
            // A folder of the path that is not there holds nothing, as for the loader.
            for entry in folder.read_dir().into_iter().flatten().flatten() {
                if let Some(name) = entry.file_name().to_str().filter(|name| name.contains(".so")) {
                    by_name.entry(name.to_owned()).or_insert_with(|| entry.path());
                }
            }
        }
        Self { by_name }
    }

    fn find(&self, name: &str) -> Option<PathBuf> {
        self.by_name.get(name).cloned()
    }
}

/// The names of the libraries that the file at `path` needs; none for what is not ELF (a script, for example).
fn needed(path: &Path) -> Result<Vec<String>, LibraryError> {
    let failed = |cause| LibraryError {
        path: path.to_owned(),
        cause,
    };
    let file = File::open(path).map_err(failed)?;
    let cache = ReadCache::new(file);
    let names = match FileKind::parse(&cache) {
        Ok(FileKind::Elf64) => names::<FileHeader64<Endianness>, _>(&cache),
        Ok(FileKind::Elf32) => names::<FileHeader32<Endianness>, _>(&cache),
        _ => return Ok(Vec::new()),
    };
    names.map_err(|error| failed(io::Error::other(error)))
}

fn names<'d, Elf: FileHeader<Endian = Endianness>, R: ReadRef<'d>>(
    data: R,
) -> object::read::Result<Vec<String>> {
    let header = Elf::parse(data)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, data)?;
    let Some(entries) = segments
        .iter()
        .find_map(|segment| segment.dynamic(endian, data).transpose())
        .transpose()?
    else {
        return Ok(Vec::new());
    };
    let value = |wanted: u32| {
        let mut tagged = entries.iter().filter(|entry| entry.tag32(endian) == Some(wanted));
        tagged.next().map(|entry| entry.d_val(endian).into())
    };
    let (Some(address), Some(size)) = (value(object::elf::DT_STRTAB), value(object::elf::DT_STRSZ)) else {
        return Ok(Vec::new());
    };
    let offset = segments.iter().find_map(|segment| {
        let (start, length) = (segment.p_vaddr(endian).into(), segment.p_filesz(endian).into());
        let within = address.checked_sub(start).filter(|within| *within < length)?;
        (segment.p_type(endian) == object::elf::PT_LOAD).then(|| segment.p_offset(endian).into() + within)
    });
    let Some(offset) = offset else {
        return Ok(Vec::new());
    };
    let strings = StringTable::new(data, offset, offset.saturating_add(size));
    let needed = entries
        .iter()
        .filter(|entry| entry.tag32(endian) == Some(DT_NEEDED));
    Ok(needed
        .filter_map(|entry| strings.get(u32::try_from(entry.d_val(endian).into()).ok()?).ok())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_needs_the_c_library() {
        let names = needed(&std::env::current_exe().unwrap()).unwrap();
        assert!(names.iter().any(|name| name.starts_with("libc.so")), "{names:?}");
    }

    #[test]
    fn libraries_are_found_in_the_folders_and_followed() {
        let folder = tempfile::tempdir().unwrap();
        let exe = std::env::current_exe().unwrap();
        // Any ELF file will do as the library; it needs itself again, which must not loop.
        let library = folder.path().join("libc.so.6");
        std::fs::copy(&exe, &library).unwrap();
        let found = NeededLibraries::find(std::slice::from_ref(&exe), &[folder.path().to_owned()]).unwrap();
        assert_eq!(found.of(0), [library]);
        let none = NeededLibraries::find(&[exe], &["/nowhere".into()]).unwrap();
        assert!(none.all().is_empty());
    }

    #[test]
    fn scripts_need_nothing_and_missing_files_are_named() {
        let script = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(script.path(), "#!/bin/sh\n").unwrap();
        assert!(needed(script.path()).unwrap().is_empty());
        assert!(
            needed(Path::new("/nowhere/x"))
                .unwrap_err()
                .to_string()
                .contains("/nowhere/x")
        );
    }
}
