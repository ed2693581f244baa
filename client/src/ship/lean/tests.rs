use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use object::{Object, ObjectSection, ObjectSymbol};

use super::*;

const LINK: &str = "0123456789abcdef";

fn lean(path: &Path) -> Option<Vec<u8>> {
    let file = File::open(path).unwrap();
    let lean = Lean::of(&file, LINK).unwrap()?;
    let mut bytes = Vec::new();
    lean.reader(file).read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, lean.size());
    Some(bytes)
}

#[test]
fn this_very_program_runs_without_its_debug_sections_and_names_them() {
    let whole_path = std::env::current_exe().unwrap();
    let whole = fs::read(&whole_path).unwrap();
    let bytes = lean(&whole_path).unwrap();

    let file = object::File::parse(&*bytes).unwrap();
    assert!(file.section_by_name(".debug_info").is_none());
    assert_eq!(file.gnu_debuglink().unwrap().unwrap().0, LINK.as_bytes());
    let (size, mut compared, mut apart) = (whole.len() as u64, 0, 0);
    let whole = object::File::parse(&*whole).unwrap();
    for section in whole.sections() {
        let name = section.name().unwrap();
        if name.starts_with(".debug_") && section.address() == 0 {
            apart += section.size();
            continue;
        }
        if name == ".shstrtab" {
            continue;
        }
        let same = file.section_by_index(section.index()).unwrap();
        assert_eq!(same.name().unwrap(), name);
        assert_eq!(same.data().unwrap(), section.data().unwrap(), "{name}");
        compared += 1;
    }
    assert!(compared > 10);
    assert!(bytes.len() as u64 <= size - apart + 100);
    let symbols = |file: &object::File<'_>| {
        file.symbols()
            .map(|s| (s.address(), s.section()))
            .collect::<Vec<_>>()
    };
    assert_eq!(symbols(&file), symbols(&whole));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lean");
    fs::write(&path, &bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let listed = Command::new(&path).arg("--list").output().unwrap();
    assert!(String::from_utf8_lossy(&listed.stdout).contains("this_very_program_runs"));
    assert_eq!(lean(&path), None, "there is nothing more to take away");
}

#[test]
fn any_part_of_it_is_what_the_whole_has_there() {
    let path = std::env::current_exe().unwrap();
    let (file, all) = (File::open(&path).unwrap(), lean(&path).unwrap());
    let lean = Lean::of(&file, LINK).unwrap().unwrap();
    let tail = all.len() - 5000;
    for (offset, length) in [
        (0, 1),
        (0, 200),
        (60, 8),
        (63, 5000),
        (tail, 5000),
        (tail + 4000, 1000),
    ] {
        let mut part = vec![0xff; length];
        lean.read_exact_at(&file, &mut part, offset as u64).unwrap();
        assert_eq!(part, all[offset..offset + length], "{length} from {offset}");
    }
    let beyond = lean.read_exact_at(&file, &mut [0; 2], lean.size() - 1);
    assert_eq!(beyond.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn what_is_no_sound_program_is_left_alone() {
    let whole = fs::read(std::env::current_exe().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let mut refused = vec![
        Vec::new(),
        b"#!/bin/sh\n".to_vec(),
        whole[..whole.len() - 1].to_vec(),
    ];
    refused.extend([4, 5, 16, 54, 58].map(|at| {
        let mut wrong = whole.clone();
        wrong[at] = 0x77;
        wrong
    }));
    for content in refused {
        fs::write(&path, content).unwrap();
        assert_eq!(lean(&path), None);
    }
}

#[test]
fn damaged_tables_never_panic() {
    let whole = fs::read(std::env::current_exe().unwrap()).unwrap();
    let header = one::<Header>(&whole).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let tables = [
        (0, size_of::<Header>()),
        (header.e_phoff.get(LE) as usize, 3 * size_of::<Segment>()),
        (
            header.e_shoff.get(LE) as usize,
            usize::from(header.e_shnum.get(LE)) * size_of::<Section>(),
        ),
    ];
    fs::write(&path, &whole).unwrap();
    let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    for (begin, length) in tables {
        for at in (begin..begin + length).step_by(7) {
            file.write_all_at(&[0xff; 8], at as u64).unwrap();
            // Whatever comes of it, it can be asked for.
            if let Some(lean) = Lean::of(&file, LINK).unwrap() {
                let _ = lean.read_exact_at(&file, &mut [0; 9000], lean.size() - 9000);
            }
            let sound = &whole[at..(at + 8).min(whole.len())];
            file.write_all_at(sound, at as u64).unwrap();
            file.set_len(whole.len() as u64).unwrap();
        }
    }
}
