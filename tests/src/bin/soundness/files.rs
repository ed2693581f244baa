//! Places in files that are no Rust code: data, C code and the environment in cargo's configuration.

use crate::rust::other_operator;
use crate::site::{Edit, Kind, Site};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Longer files are not changed: reading them all would take long, and a suite has enough others.
const BYTES_MAX: u64 = 1 << 20;

/// Where cargo keeps the configuration of a workspace.
const CONFIG: &str = ".cargo/config.toml";

/// A file that a case who lists its folder would see.
const NEW_FILE: &str = "soundness-mutant.txt";

/// Variables that the standard library, the C library or many programs ask for.
const VARIABLES: [(&str, &str); 4] = [
    ("TZ", "Asia/Tokyo"),
    ("LANG", "tr_TR.UTF-8"),
    ("RUST_BACKTRACE", "full"),
    ("HOME", "/nonexistent"),
];

/// Whether a file is C code.
pub(crate) fn is_c(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ["c", "h", "cc", "cpp", "hpp", "cxx"].contains(&ending))
}

/// Whether a file is data: not code, and not what cargo, git and nextest read.
pub(crate) fn is_data(path: &Path) -> bool {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let hidden = [".cargo", ".config", ".github"]
        .iter()
        .any(|folder| path.starts_with(folder));
    let is_rust = path.extension().is_some_and(|ending| ending == "rs");
    let tools = [
        "Cargo.toml",
        "Cargo.lock",
        "rust-toolchain",
        "rust-toolchain.toml",
        "thresh.toml",
    ];
    !hidden && !is_rust && !is_c(path) && !tools.contains(&name) && !name.starts_with(".git")
}

/// Finds the changes of a data file below `root`: one byte of it, all of it, and a new file beside it.
pub(crate) fn data(root: &Path, path: &Path) -> Vec<Site> {
    let is_small = |info: &fs::Metadata| info.is_file() && info.len() <= BYTES_MAX;
    if !root
        .join(path)
        .symlink_metadata()
        .is_ok_and(|info| is_small(&info))
    {
        return Vec::new();
    }
    let site = |path: PathBuf, line, before: &str, after: &str, edit| Site {
        kind: Kind::Data,
        path,
        line,
        before: before.to_owned(),
        after: after.to_owned(),
        edit,
    };
    let mut sites = vec![site(path.to_owned(), 1, "the file", "nothing", Edit::Remove)];
    let content = fs::read(root.join(path)).unwrap_or_default();
    if let Some((at, other)) = other_byte(&content) {
        let line = 1 + content[..at].iter().filter(|byte| **byte == b'\n').count();
        let (before, after) = (char::from(content[at]), char::from(other));
        let edit = Edit::Replace(at..at + 1, vec![other]);
        sites.push(site(
            path.to_owned(),
            line,
            &before.to_string(),
            &after.to_string(),
            edit,
        ));
    }
    let new = path.with_file_name(NEW_FILE);
    sites.push(site(
        new,
        1,
        "nothing",
        "a new file",
        Edit::Create(b"new\n".to_vec()),
    ));
    sites
}

/// The letter or digit that is nearest behind the middle, and the next one.
fn other_byte(content: &[u8]) -> Option<(usize, u8)> {
    let middle = content.len() / 2;
    let found = content[middle..].iter().position(u8::is_ascii_alphanumeric)?;
    let byte = content[middle + found];
    let other = match byte {
        b'9' => b'0',
        b'z' | b'Z' => byte - 1,
        _ => byte + 1,
    };
    Some((middle + found, other))
}

/// Finds numbers and operators between spaces in C code, outside of comments, texts and directives.
pub(crate) fn c(path: &Path, text: &str) -> Vec<Site> {
    let mut sites = Vec::new();
    let (mut at, mut in_comment) = (0, false);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let code = blank(line, &mut in_comment);
        let mut word = 0;
        for part in code.split(|byte: char| !(byte.is_ascii_alphanumeric() || "_.+-*/%<>=!&|".contains(byte)))
        {
            let start = word;
            word += part.len() + 1;
            let after = match part.parse::<u64>() {
                Ok(value) => value.checked_add(1).map(|more| more.to_string()),
                Err(_) => other_operator(part).map(str::to_owned),
            };
            let Some(after) = after else { continue };
            sites.push(Site {
                kind: Kind::C,
                path: path.to_owned(),
                line: number + 1,
                before: part.to_owned(),
                after: after.clone(),
                edit: Edit::Replace(at + start..at + start + part.len(), after.into()),
            });
        }
        at += line.len();
    }
    sites
}

/// Returns a line with nothing but code in it, and of the same length in bytes.
fn blank(line: &str, in_comment: &mut bool) -> String {
    let is_directive = line.trim_start().starts_with('#');
    let mut quote = None;
    let mut code = String::with_capacity(line.len());
    let mut rest = line.char_indices().peekable();
    while let Some((at, letter)) = rest.next() {
        let begins = |what: &str| line[at..].starts_with(what);
        if *in_comment {
            *in_comment = !begins("*/");
        } else if quote.is_some() {
            match letter {
                '\\' => {
                    let next = rest.next().map_or(0, |(_, next)| next.len_utf8());
                    code.push_str(&" ".repeat(next));
                }
                _ if quote == Some(letter) => quote = None,
                _ => {}
            }
        } else if begins("//") {
            code.push_str(&" ".repeat(line.len() - at));
            break;
        } else if begins("/*") {
            *in_comment = true;
        } else if letter == '"' || letter == '\'' {
            quote = Some(letter);
        } else if letter.is_ascii() && !is_directive && letter != '/' {
            code.push(letter);
            continue;
        }
        code.push_str(&" ".repeat(letter.len_utf8()));
    }
    code
}

/// Finds changes of the `[env]` of cargo's configuration below `root`: its values, and new variables that the code asks for.
pub(crate) fn environment(root: &Path, asked: &BTreeSet<String>) -> Vec<Site> {
    let there = fs::read_to_string(root.join(CONFIG)).ok();
    let text = there.as_deref().unwrap_or_default();
    let section = text.find("[env]").map(|start| start + "[env]".len());
    let end = section.map(|start| start + text[start..].find("\n[").unwrap_or(text[start..].len()));
    let mut sites = Vec::new();
    let mut names = BTreeSet::new();
    for (start, line) in lines(text).filter(|(at, _)| {
        section
            .zip(end)
            .is_some_and(|(start, end)| (start..end).contains(at))
    }) {
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        names.insert(name.trim().to_owned());
        let Some(quote) = value.rfind('"') else { continue };
        let at = start + name.len() + 1 + quote;
        let shown = (line.trim().to_owned(), "one character more".to_owned());
        sites.push(environment_site(
            text,
            at,
            shown,
            Edit::Replace(at..at, b"~".to_vec()),
        ));
    }
    let known = VARIABLES.iter().map(|(name, value)| (*name, *value));
    let asked = asked
        .iter()
        .filter(|name| is_free(name))
        .map(|name| (name.as_str(), "mutant"));
    for (name, value) in known.chain(asked).filter(|(name, _)| !names.contains(*name)) {
        let line = format!("\n{name} = {{ value = \"{value}\", force = true }}");
        let (at, added) = match section {
            Some(at) => (at, line),
            None => (text.len(), format!("\n[env]{line}\n")),
        };
        let edit = match there {
            Some(_) => Edit::Replace(at..at, added.into()),
            None => Edit::Create(added.into()),
        };
        let shown = (String::new(), format!("{name}={value}"));
        sites.push(environment_site(text, at, shown, edit));
    }
    sites
}

/// Whether a configuration may set this variable without breaking the build as such.
fn is_free(name: &str) -> bool {
    let own = [
        "CARGO", "RUSTC", "RUSTUP", "NEXTEST", "OUT_DIR", "PATH", "TARGET", "HOST", "PROFILE",
    ];
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let is_taken = VARIABLES.iter().any(|(known, _)| *known == name);
    !name.is_empty() && name.chars().all(is_name) && !is_taken && !own.iter().any(|own| name.starts_with(own))
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    text.split_inclusive('\n').map(move |line| {
        let start = at;
        at += line.len();
        (start, line)
    })
}

fn environment_site(text: &str, at: usize, (before, after): (String, String), edit: Edit) -> Site {
    Site {
        kind: Kind::Environment,
        path: CONFIG.into(),
        line: 1 + text[..at].matches('\n').count(),
        before,
        after,
        edit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_code_is_changed_and_nothing_else() {
        let text = "#define A 1\n/* 2 + 3\n 4 */ int f(int a) { return a + 41; } // 5\nchar *s = \"6\\\" + 7\";\nif (a == 8 && b)\n";
        let changed: Vec<String> = c(Path::new("a.c"), text)
            .iter()
            .map(|site| {
                let Edit::Replace(range, _) = &site.edit else {
                    panic!("{site}")
                };
                assert_eq!(text[range.clone()], site.before);
                format!("{} {} {}", site.line, site.before, site.after)
            })
            .collect();
        assert_eq!(changed, ["3 + -", "3 41 42", "5 == !=", "5 8 9", "5 && ||"]);
    }

    #[test]
    fn the_environment_of_a_workspace_is_changed_and_added_to() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let root = folder.path();
        let asked = ["COLOUR", "CARGO_HOME", "not a name"].map(str::to_owned).into();
        let result = |site: &Site| {
            let applied = site.apply(root).expect("it can be changed");
            let text = fs::read_to_string(root.join(CONFIG)).expect("it is there");
            applied.restore().expect("it can be restored");
            text
        };
        let new = environment(root, &asked);
        assert_eq!(new.len(), VARIABLES.len() + 1);
        assert_eq!(
            result(&new[4]),
            "\n[env]\nCOLOUR = { value = \"mutant\", force = true }\n"
        );

        fs::create_dir_all(root.join(".cargo")).expect("the folder can be made");
        let text = "[env]\nCOLOUR = \"red\"\nTZ = { value = \"UTC\" }\n[build]\njobs = 1\n";
        fs::write(root.join(CONFIG), text).expect("the folder can be written");
        let sites = environment(root, &asked);
        assert_eq!(sites.len(), 2 + VARIABLES.len() - 1);
        assert_eq!(result(&sites[0]), text.replace("red", "red~"));
        assert_eq!(result(&sites[1]), text.replace("UTC", "UTC~"));
        let added = "[env]\nLANG = { value = \"tr_TR.UTF-8\", force = true }\n";
        assert_eq!(result(&sites[2]), text.replace("[env]\n", added));
    }

    #[test]
    fn data_loses_a_byte_and_itself_and_gains_a_neighbour() {
        let folder = tempfile::tempdir().expect("a temp folder");
        fs::write(folder.path().join("a.txt"), "one\n\n9 z\n").expect("the folder can be written");
        let sites = data(folder.path(), Path::new("a.txt"));
        let shown: Vec<String> = sites.iter().map(ToString::to_string).collect();
        let expected = [
            "a.txt:1 `the file` -> `nothing`",
            "a.txt:3 `9` -> `0`",
            "soundness-mutant.txt:1 `nothing` -> `a new file`",
        ];
        assert_eq!(shown, expected);
        assert_eq!(other_byte(b"..z"), Some((2, b'y')));
        assert_eq!(other_byte(b"a.."), None);
        let is = |path: &str| is_data(Path::new(path));
        assert!(is("tests/a.json") && is("README.md"));
        assert!(
            !is("a/Cargo.toml")
                && !is("src/lib.rs")
                && !is("a.c")
                && !is(".gitignore")
                && !is(".config/nextest.toml")
        );
    }
}
