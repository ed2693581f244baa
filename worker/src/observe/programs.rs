//! What the kernel reads besides a program when it executes it: nobody opens that with a call of his own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use thresh_core::observe::Stamp;

use super::look::Root;

/// How many programs are remembered.
const REMEMBERED_MAX: usize = 1024;
/// The kernel looks no further for the interpreter of a script.
const SCRIPT_MAX: usize = 256;
/// Nobody's program has more segments.
const SEGMENTS_MAX: usize = 64;
const INTERPRETER: u32 = 3;
const NAME_MAX: u64 = 4096;

/// The interpreters of programs, remembered from case to case.
#[derive(Debug, Default)]
pub(super) struct Programs(BTreeMap<(u64, u64, u64, i64), Option<PathBuf>>);

impl Programs {
    /// Returns the interpreter or loader that a program names.
    pub(super) fn interpreter(&mut self, root: &Root, path: &Path, stamp: &Stamp) -> Option<PathBuf> {
        let version = (stamp.device, stamp.inode, stamp.size, stamp.changed_ns);
        if let Some(known) = self.0.get(&version) {
            return known.clone();
        }
        // What cannot be read here the kernel may not execute either, or it is of a kind that names none.
        let found = root.open(path).and_then(|file| read(&file)).unwrap_or_default();
        if self.0.len() >= REMEMBERED_MAX {
            self.0.clear();
        }
        self.0.insert(version, found.clone());
        found
    }
}

fn read(file: &File) -> io::Result<Option<PathBuf>> {
    let mut head = Vec::new();
    file.take(SCRIPT_MAX as u64).read_to_end(&mut head)?;
    if let Some(script) = head.strip_prefix(b"#!") {
        return Ok(of_script(script));
    }
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return Ok(None);
    }
    of_elf(file, &head)
}

fn of_script(head: &[u8]) -> Option<PathBuf> {
    let line = head.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t' | 0));
    let name = words.find(|word| !word.is_empty())?;
    Some(PathBuf::from(OsStr::from_bytes(name)))
}

/// Of a program of 64 bits, little endian; those of others make other system calls.
fn of_elf(file: &File, head: &[u8]) -> io::Result<Option<PathBuf>> {
    let (Some(table), Some(each), Some(count)) = (word(head, 32), half(head, 54), half(head, 56)) else {
        return Ok(None);
    };
    let (each, count) = (usize::from(each), usize::from(count).min(SEGMENTS_MAX));
    if each < 56 {
        return Ok(None);
    }
    let mut segments = vec![0; each * count];
    file.read_exact_at(&mut segments, table)?;
    for segment in segments.chunks_exact(each) {
        let is_interpreter = segment[..4] == INTERPRETER.to_le_bytes();
        if let (true, Some(start), Some(length)) = (is_interpreter, word(segment, 8), word(segment, 32)) {
            let mut name = vec![0; usize::try_from(length.min(NAME_MAX)).map_err(io::Error::other)?];
            file.read_exact_at(&mut name, start)?;
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            return Ok(Some(PathBuf::from(OsStr::from_bytes(name))));
        }
    }
    Ok(None)
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_names_its_interpreter() {
        let name = |text: &str| of_script(text.as_bytes());
        assert_eq!(name(" /bin/sh -e\nrest"), Some(PathBuf::from("/bin/sh")));
        assert_eq!(
            name("/usr/bin/env\trust-script"),
            Some(PathBuf::from("/usr/bin/env"))
        );
        assert_eq!(name(" \n/bin/sh"), None);
    }

    #[test]
    fn this_program_names_its_loader() {
        let own = File::open(std::env::current_exe().unwrap()).unwrap();
        let loader = read(&own).unwrap().expect("tests are linked dynamically");
        assert!(
            loader.is_absolute() && loader.to_string_lossy().contains("ld-"),
            "{loader:?}"
        );
    }

    #[test]
    fn what_is_cut_off_names_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("program");
        std::fs::write(&path, b"\x7fELF\x02\x01").unwrap();
        assert_eq!(read(&File::open(&path).unwrap()).unwrap(), None);
    }
}
