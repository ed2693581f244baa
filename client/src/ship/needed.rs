//! Dynamic libraries that binaries ask for, outside the target folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use object::read::elf::{Dyn, ElfFile64, FileHeader};

/// Returns, by folder, the libraries that `binaries` need, directly or through one another, and that are found
/// in one of `folders`. What is found nowhere there is the system's, and is left to the worker's system.
///
/// A file that is not a 64-bit ELF object, or is damaged, needs nothing: its own start will say what is wrong.
pub(super) fn needed_libraries(
    binaries: impl IntoIterator<Item = PathBuf>,
    folders: &[PathBuf],
) -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
    let mut found: BTreeMap<PathBuf, BTreeSet<PathBuf>> = BTreeMap::new();
    if folders.is_empty() {
        return found;
    }
    let mut seen = BTreeSet::new();
    let mut open: Vec<PathBuf> = binaries.into_iter().collect();
    while let Some(file) = open.pop() {
        for name in needed(&file) {
            if !seen.insert(name.clone()) {
                continue;
            }
            let place = folders.iter().find(|folder| folder.join(&name).is_file());
            if let Some(folder) = place {
                open.push(folder.join(&name));
                found
                    .entry(folder.clone())
                    .or_default()
                    .insert(PathBuf::from(name));
            }
        }
    }
    found
}

/// The names in a file's `DT_NEEDED` entries.
fn needed(file: &Path) -> Vec<String> {
    std::fs::read(file)
        .ok()
        .and_then(|data| parse(&data))
        .unwrap_or_default()
}

fn parse(data: &[u8]) -> Option<Vec<String>> {
    let elf = ElfFile64::<object::Endianness>::parse(data).ok()?;
    let endian = elf.endian();
    let sections = elf.elf_header().sections(endian, data).ok()?;
    let (entries, link) = sections.dynamic(endian, data).ok()??;
    let strings = sections.strings(endian, data, link).ok()?;
    let wanted = entries
        .iter()
        .filter(|entry| entry.d_tag(endian) == u64::from(object::elf::DT_NEEDED));
    let names = wanted.filter_map(|entry| entry.string(endian, strings).ok());
    Some(
        names
            .filter_map(|name| std::str::from_utf8(name).ok())
            .map(str::to_owned)
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_elf_file_needs_nothing() {
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"\x7fELF\x02\x01\x01garbage"), None);
        assert!(needed_libraries([PathBuf::from("/bin/sh")], &[]).is_empty());
    }

    #[test]
    fn this_program_needs_the_c_library() {
        let this = std::env::current_exe().unwrap();
        assert!(
            needed(&this).iter().any(|name| name.starts_with("libc.so")),
            "{:?}",
            needed(&this)
        );
    }
}
