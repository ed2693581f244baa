//! The command line of a linker, or of a C compiler that links: what is linked, in which order, with which flags.
//!
//! Flags that are known not to change which object a name leads to, which objects are taken or in which order, are part of each key.
//! Any other makes the binary one piece ([`Unclear`]).

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use thresh_core::digest::{Digest, FieldHasher};

/// A command line that cannot be understood for certain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the linker was called with {0}")]
pub(crate) struct Unclear(pub(crate) String);

/// What a command line asks for.
#[derive(Debug, Default)]
pub(crate) struct Link {
    pub(crate) output: PathBuf,
    pub(crate) inputs: Vec<Input>,
    /// Folders of `-L`, in order.
    pub(crate) folders: Vec<PathBuf>,
    /// What else was said, in order, without paths that change from build to build.
    pub(crate) flags: Vec<String>,
    /// Symbols that are kept because the command line says so.
    pub(crate) kept: Vec<String>,
    /// Whether this makes no executable: a library, an object.
    pub(crate) partial: bool,
}

impl Link {
    /// Whether the linker is lld, whose choices among archives and order of what it takes from them are known.
    pub(crate) fn by_lld(&self) -> bool {
        let mut chosen = self
            .flags
            .iter()
            .filter_map(|flag| flag.strip_prefix("-fuse-ld="));
        chosen.next_back().is_some_and(|linker| linker.ends_with("lld"))
    }

    /// A digest of all that is asked for, but for the files that are linked, which have other names and folders at each link,
    /// and for the folders in which others are looked for.
    pub(crate) fn asked(&self) -> Digest {
        let mut hasher = FieldHasher::new("thresh reach asked v1");
        hasher.field(&(self.flags.len() as u64).to_le_bytes());
        // What is kept is among them.
        self.flags.iter().for_each(|flag| {
            hasher.field(flag.as_bytes());
        });
        for input in &self.inputs {
            if let Source::Library { name, is_static } = &input.source {
                let how = [u8::from(*is_static), u8::from(input.whole)];
                hasher.field(name.as_bytes()).field(&how);
            }
        }
        hasher.finish()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Input {
    pub(crate) source: Source,
    /// Every member of the archive is taken.
    pub(crate) whole: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    File(PathBuf),
    Library { name: String, is_static: bool },
}

/// Flags, without their values, that change neither where names lead nor what is taken: what is kept of it shows in the binary, or
/// is reckoned with.
const KNOWN: &str = "\
    -s -S -n -N -E -v -t -pie -no-pie -nopie -rdynamic -nodefaultlibs -nostdlib -nostdlib++ -nostartfiles -pthread -pipe \
    -no-canonical-prefixes -Qunused-arguments -Bsymbolic -Bsymbolic-functions -static-libgcc -static-libstdc++ \
    --pie --no-pie --gc-sections --no-gc-sections --print-gc-sections --as-needed --no-as-needed --add-needed --no-add-needed \
    --copy-dt-needed-entries --no-copy-dt-needed-entries --export-dynamic --no-export-dynamic --export-dynamic-symbol \
    --eh-frame-hdr --no-eh-frame-hdr --build-id --strip-debug --strip-all --discard-all --discard-locals --discard-none \
    --compress-debug-sections --gdb-index --icf --hash-style --enable-new-dtags --disable-new-dtags --no-dynamic-linker \
    --no-undefined --unresolved-symbols --allow-shlib-undefined --no-allow-shlib-undefined --undefined-version \
    --no-undefined-version --exclude-libs --fatal-warnings --no-fatal-warnings --warn-unresolved-symbols --warn-common \
    --warn-backrefs --no-warn-backrefs --warn-execstack --no-warn-execstack --no-warnings --no-warn-mismatch \
    --no-warn-search-mismatch --no-warn-rwx-segments --threads --no-threads --thread-count --color-diagnostics \
    --no-color-diagnostics --demangle --no-demangle --stats --time-trace --verbose --version --trace --cref --print-map \
    --error-limit --relax --no-relax --emit-relocs -q --pack-dyn-relocs --rosegment --no-rosegment --nmagic --omagic \
    --image-base --package-metadata --no-mmap-output-file --no-keep-memory --reduce-memory-overheads --no-fork --fork \
    --perf --quick-exit --no-quick-exit -fuse-ld -fPIC -fpic -fPIE -fpie -fno-pie -fno-PIE -fno-plt -fno-lto \
    -fno-use-linker-plugin -ffunction-sections -fdata-sections -fcolor-diagnostics -fdiagnostics-color";

/// Beginnings of such flags: what a C compiler is told that has nothing to compile.
const KNOWN_STARTS: &[&str] = &["-O", "-g", "-m", "-W", "-B", "-fdiagnostics", "--lto"];

/// Keywords of `-z`, without their values, that are such flags.
const KEYWORDS: &str = "relro norelro now lazy noexecstack execstack defs undefs origin nodelete nodlopen combreloc nocombreloc \
    separate-code noseparate-code separate-loadable-segments max-page-size common-page-size text notext textoff \
    keep-text-section-prefix nokeep-text-section-prefix pack-relative-relocs nopack-relative-relocs rel rela shstk ibt \
    force-ibt cet-report bti-report force-bti pac-plt nognustack stack-size globalaudit initfirst interpose rodynamic \
    start-stop-gc nostart-stop-gc start-stop-visibility copyreloc nocopyreloc sectionheader nosectionheader retpolineplt \
    hazardplt ifunc-noplt x86-64-v2 x86-64-v3 x86-64-v4 x86-64-baseline isa-level-report indirect-extern-access \
    noindirect-extern-access dynamic-undefined-weak nodynamic-undefined-weak";

/// Flags whose value is the next argument.
const VALUED: &[&str] = &[
    "-z",
    "-m",
    "-rpath",
    "--rpath",
    "-rpath-link",
    "--rpath-link",
    "-dynamic-linker",
    "--dynamic-linker",
    "-I",
    "-soname",
    "--soname",
    "-h",
    "-Map",
    "--Map",
    "-target",
    "--target",
    "--sysroot",
    "-B",
    "-plugin",
    "--plugin",
    "-plugin-opt",
    "--plugin-opt",
    "--hash-style",
    "--dependency-file",
    "--param",
];

/// Flags whose value is a file that says what is exported: its content counts, not its path.
const LISTS: &[&str] = &[
    "--dynamic-list",
    "--version-script",
    "--export-dynamic-symbol-list",
    "--retain-symbols-file",
];

/// Flags whose value is a symbol that is kept.
const KEPT: &[&str] = &[
    "-u",
    "--undefined",
    "--require-defined",
    "-e",
    "--entry",
    "-init",
    "--init",
    "-fini",
    "--fini",
];

/// Reads the arguments of a linker. Relative paths stay as they are.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Link, Unclear> {
    let mut reading = Reading {
        words: flatten(expand(arguments, 0)?).into_iter(),
        link: Link {
            output: PathBuf::from("a.out"),
            ..Link::default()
        },
        state: State::default(),
        pushed: Vec::new(),
    };
    while let Some(word) = reading.words.next() {
        reading.word(&word)?;
    }
    Ok(reading.link)
}

/// Finds only where the output goes.
pub(crate) fn output(arguments: &[OsString]) -> Option<PathBuf> {
    let arguments = flatten(expand(arguments, 0).ok()?);
    let at = arguments.iter().position(|argument| argument == "-o")?;
    arguments.get(at + 1).map(PathBuf::from)
}

/// Puts the content of response files in their place.
fn expand(arguments: &[OsString], depth: u32) -> Result<Vec<OsString>, Unclear> {
    let mut all = Vec::new();
    for argument in arguments {
        let Some(path) = argument.as_bytes().strip_prefix(b"@") else {
            all.push(argument.clone());
            continue;
        };
        // A file that is not there is an argument like any other, to cc and to ld.
        match fs::read(OsStr::from_bytes(path)) {
            Ok(text) if depth < 8 => all.extend(expand(&words(&text), depth + 1)?),
            Ok(_) => return Err(Unclear("response files that name one another".to_owned())),
            Err(_) => all.push(argument.clone()),
        }
    }
    Ok(all)
}

/// The words of a response file: between white space, with quotes and backslashes.
fn words(text: &[u8]) -> Vec<OsString> {
    let mut all = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match (byte, quote) {
            (b'\\', _) => word.get_or_insert_default().extend(bytes.next()),
            (b'"' | b'\'', None) => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (byte, Some(open)) if byte == open => quote = None,
            (byte, None) if byte.is_ascii_whitespace() => all.extend(word.take()),
            (byte, _) => word.get_or_insert_default().push(byte),
        }
    }
    all.extend(word);
    all.into_iter().map(OsString::from_vec).collect()
}

/// Takes `-Wl,a,b` and `-Xlinker a` apart, so that both kinds of linker read the same.
fn flatten(arguments: Vec<OsString>) -> Vec<OsString> {
    let mut all = Vec::new();
    for argument in arguments {
        match argument.as_bytes().strip_prefix(b"-Wl,") {
            Some(list) => {
                let parts = list.split(|byte| *byte == b',');
                all.extend(parts.map(|part| OsStr::from_bytes(part).to_owned()));
            }
            None if argument == "-Xlinker" => {}
            None => all.push(argument),
        }
    }
    all
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    is_static: bool,
    whole: bool,
}

struct Reading {
    words: std::vec::IntoIter<OsString>,
    link: Link,
    state: State,
    pushed: Vec<State>,
}

impl Reading {
    fn word(&mut self, word: &OsStr) -> Result<(), Unclear> {
        let Some(text) = word.to_str() else {
            return self.path(word);
        };
        if !text.starts_with('-') || text == "-" {
            return self.path(word);
        }
        if self.input(text)? || self.mode(text)? {
            return Ok(());
        }
        let (flag, joined) = match text.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (text, None),
        };
        self.flag(flag, joined)
    }

    fn path(&mut self, path: &OsStr) -> Result<(), Unclear> {
        self.link.inputs.push(Input {
            source: Source::File(PathBuf::from(path)),
            whole: self.state.whole,
        });
        Ok(())
    }

    fn value(&mut self, flag: &str) -> Result<OsString, Unclear> {
        self.words
            .next()
            .ok_or_else(|| Unclear(format!("{flag} and no value")))
    }

    /// `-o`, `-L` and `-l`, each with its value behind it or beside it.
    fn input(&mut self, text: &str) -> Result<bool, Unclear> {
        let forms = [("-o", "--output"), ("-L", "--library-path"), ("-l", "--library")];
        let found = forms.iter().find_map(|(short, long)| {
            if let Some(rest) = text.strip_prefix(long) {
                return rest
                    .strip_prefix('=')
                    .or(rest.is_empty().then_some(""))
                    .map(|rest| (*short, rest));
            }
            text.strip_prefix(short).map(|rest| (*short, rest))
        });
        let Some((kind, rest)) = found else {
            return Ok(false);
        };
        let value = if rest.is_empty() {
            self.value(text)?
        } else {
            OsString::from(rest)
        };
        match kind {
            "-o" => self.link.output = PathBuf::from(value),
            "-L" => self.link.folders.push(PathBuf::from(value)),
            _ => {
                let name = value
                    .into_string()
                    .map_err(|_| Unclear("a library whose name is no text".to_owned()))?;
                self.link.inputs.push(Input {
                    source: Source::Library {
                        name,
                        is_static: self.state.is_static,
                    },
                    whole: self.state.whole,
                });
            }
        }
        Ok(true)
    }

    /// What changes how the inputs that follow are taken.
    fn mode(&mut self, text: &str) -> Result<bool, Unclear> {
        match text {
            "-Bstatic" | "-dn" | "-non_shared" => self.state.is_static = true,
            "-Bdynamic" | "-dy" | "-call_shared" => self.state.is_static = false,
            "-static" | "--static" | "-static-pie" => {
                self.state.is_static = true;
                self.link.flags.push(text.to_owned());
            }
            "--whole-archive" => self.state.whole = true,
            "--no-whole-archive" => self.state.whole = false,
            "--push-state" => self.pushed.push(self.state),
            "--pop-state" => {
                self.state = self
                    .pushed
                    .pop()
                    .ok_or_else(|| Unclear(format!("{text} too often")))?;
            }
            "-shared" | "--shared" | "-Bshareable" | "-r" | "--relocatable" => {
                self.link.partial = true;
            }
            "--start-group" | "--end-group" | "-(" | "-)" => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn flag(&mut self, flag: &str, joined: Option<String>) -> Result<(), Unclear> {
        let valued = VALUED.contains(&flag) || LISTS.contains(&flag) || KEPT.contains(&flag);
        // `-z` has its value in the next word, or in the same one without an equals sign.
        let (flag, joined) = match (flag.strip_prefix("-z"), joined) {
            (Some(keyword), value) if !keyword.is_empty() => (
                "-z",
                Some(
                    [keyword, value.as_deref().unwrap_or_default()]
                        .join("=")
                        .trim_end_matches('=')
                        .to_owned(),
                ),
            ),
            (_, joined) => (flag, joined),
        };
        if !valued && flag != "-z" && !is_known(flag) {
            return Err(Unclear(match joined {
                Some(value) => format!("{flag}={value}"),
                None => flag.to_owned(),
            }));
        }
        let value = match joined {
            None if valued => {
                let value = self.value(flag)?;
                Some(value.to_string_lossy().into_owned())
            }
            joined => joined,
        };
        let said = match value {
            None => flag.to_owned(),
            Some(path) if LISTS.contains(&flag) => {
                let content =
                    fs::read(Path::new(&path)).map_err(|_| Unclear(format!("{flag} and no such file")))?;
                format!("{flag}={}", Digest::of(&content))
            }
            Some(value) if flag == "-z" && !is_keyword(&value) => {
                return Err(Unclear(format!("-z {value}")));
            }
            Some(value) => {
                if KEPT.contains(&flag) {
                    self.link.kept.push(value.clone());
                }
                format!("{flag}={value}")
            }
        };
        self.link.flags.push(said);
        Ok(())
    }
}

fn is_known(flag: &str) -> bool {
    KNOWN.split_ascii_whitespace().any(|known| known == flag)
        || KNOWN_STARTS.iter().any(|start| flag.starts_with(start))
}

fn is_keyword(value: &str) -> bool {
    let keyword = value.split_once('=').map_or(value, |(keyword, _)| keyword);
    KEYWORDS.split_ascii_whitespace().any(|known| known == keyword)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(arguments: &[&str]) -> Result<Link, Unclear> {
        parse(&arguments.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn inputs_keep_their_order() {
        let link = of(&[
            "-m64",
            "a.o",
            "-Wl,-Bstatic",
            "b.rlib",
            "-lz",
            "-Wl,-Bdynamic",
            "-l",
            "c",
            "-o",
            "out",
        ]);
        let link = link.expect("it is clear");
        let library = |name: &str, is_static| Source::Library {
            name: name.to_owned(),
            is_static,
        };
        let sources: Vec<Source> = link.inputs.into_iter().map(|input| input.source).collect();
        let file = |name: &str| Source::File(PathBuf::from(name));
        assert_eq!(
            sources,
            [
                file("a.o"),
                file("b.rlib"),
                library("z", true),
                library("c", false)
            ]
        );
        assert_eq!(link.output, Path::new("out"));
        assert_eq!(link.flags, ["-m64"]);
    }

    #[test]
    fn response_files_are_read() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), "a\\ b.o\n'c d.o' -L/x\n-o\n\"o\"").expect("written");
        let link = of(&[&format!("@{}", file.path().display())]).expect("it is clear");
        assert_eq!(link.inputs.len(), 2);
        assert_eq!(link.inputs[0].source, Source::File(PathBuf::from("a b.o")));
        assert_eq!(link.folders, [PathBuf::from("/x")]);
    }

    #[test]
    fn scripts_and_renamed_symbols_are_refused() {
        for refused in [
            "-Tx.ld",
            "-Wl,--defsym=a=b",
            "-Wl,--wrap=malloc",
            "-Wl,-T,x",
            "-Wl,--undefined-glob=plug_*",
            "-Wl,-z,muldefs",
            "-Wl,--shuffle-sections=*=1",
            "-specs=x",
            "--a-flag-of-tomorrow",
        ] {
            assert!(of(&[refused, "a.o"]).is_err(), "{refused}");
        }
    }

    #[test]
    fn what_rustc_says_is_clear() {
        let said = [
            "-m64",
            "-Wl,--as-needed",
            "-B/x/gcc-ld",
            "-fuse-ld=lld",
            "-Wl,--eh-frame-hdr",
            "-Wl,-z,noexecstack",
            "-Wl,--gc-sections",
            "-pie",
            "-Wl,-z,relro,-z,now",
            "-Wl,-znow",
            "-Wl,-zmax-page-size=4096",
            "-Wl,-O1",
            "-Wl,--strip-debug",
            "-Wl,-rpath,/x",
            "-nodefaultlibs",
            "-Wl,--export-dynamic",
        ];
        let link = of(&said).expect("it is clear");
        assert!(link.by_lld() && link.flags.contains(&"-z=max-page-size=4096".to_owned()));
        assert!(
            !of(&["-fuse-ld=lld", "-fuse-ld=mold"])
                .expect("it is clear")
                .by_lld()
        );
    }

    #[test]
    fn whole_archives_are_noted() {
        let link = of(&[
            "-Wl,--push-state,--whole-archive",
            "a.a",
            "-Wl,--pop-state",
            "b.a",
        ])
        .expect("it is clear");
        assert_eq!(
            link.inputs.iter().map(|input| input.whole).collect::<Vec<_>>(),
            [true, false]
        );
    }
}
