//! The analysis of one link: made after the linker ended, kept in a file, read by who wants keys.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use object::elf;
use thresh_core::digest::{Digest, FieldHasher};

use crate::arguments::{self, Link};
use crate::assemble;
use crate::certain;
use crate::condense;
use crate::constructors::Constructors;
use crate::effects::{self, Effects};
use crate::encode::{Damaged, Reader, Writer};
use crate::excerpt::Excerpt;
use crate::graph;
use crate::harness::{self, Harness};
use crate::image;
use crate::imports;
use crate::inputs::{self, Inputs, Library, Part};
use crate::made::Made;
use crate::memo::{self, Memo, write_whole};
use crate::raw::Raw;
use crate::record::{self, CaseRecord, Detail, Head};
use crate::resolve::Resolution;
use crate::trim::mark_used;

/// The first bytes of a kept analysis. The number changes with the form of the file, with how keys are made and with what is known of
/// imports: an analysis of another version is none.
const HEAD: &[u8] = b"thresh reach 11\n";

/// Negative levels of Zstandard are the fast ones: the build waits for this, and few are ever read again.
const LEVEL: i32 = -5;

/// The bytes of a digest of what is kept: a bit that has turned over must not pass for a key.
const SUM_BYTES: usize = 32;

/// The ending of the names of kept analyses.
const ENDING: &str = "reach";

/// Which panic locations a key counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locations {
    /// All, with line and column.
    Exact,
    /// None, except for a case that can observe one: only the file's name counts. Holds only if **every** crate of the
    /// binary was compiled without optimisation (`opt-level = 0`), as observers in optimised code cannot be told. The
    /// caller has to know; nothing in an object file says so.
    IgnoreUnlessObserved,
}

/// What is known of one test binary, but for how it differs from another: its keys.
#[derive(Debug)]
pub struct Summary(pub(crate) Head);

/// All that is known of one test binary.
#[derive(Debug)]
pub struct Analysis {
    summary: Summary,
    pub(crate) detail: Detail,
}

/// The keys of one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaseKey<'a> {
    /// As libtest lists it.
    pub name: &'a str,
    /// Marked `#[ignore]`.
    pub ignored: bool,
    /// Over all that the case can reach.
    pub key: Digest,
    /// Whether the case can observe lines of panic locations.
    pub observes: bool,
    /// Whether its code may open files, or learn of the machine in another way. If not, what it reaches, its
    /// arguments, its environment and its working directory are all that it depends on.
    pub opens: bool,
    /// Whether its code may look at the version of its package in its environment (`CARGO_PKG_VERSION` and its parts). It
    /// may under [`Locations::Exact`], where nothing is known of how things were compiled.
    pub sees_version: bool,
}

/// Why a kept analysis cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is not there or cannot be read.
    #[error("{path} cannot be read: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The file is another version's.
    #[error("{0} is of another version of thresh; build again")]
    Version(PathBuf),
    /// The file is damaged.
    #[error("{0} is damaged; remove it and build again")]
    Damaged(PathBuf),
}

impl Analysis {
    /// The file in which the analysis of a binary is kept, whether there is one or not. None if the binary cannot be read, is no executable, or is
    /// no longer the one whose digest is asked for.
    ///
    /// The file is named by what a process has of the binary: most of it is debug information, in which an analysis has no part.
    /// `digest` is that of the whole binary, and `is_same` says whether it still is, by the metadata of the file.
    pub fn path(
        folder: &Path,
        binary: &Path,
        digest: &Digest,
        is_same: impl Fn(&Metadata) -> bool,
    ) -> Option<PathBuf> {
        let memo = Memo::new(folder);
        let name = format!("loaded-{digest}");
        if let Some(loaded) = memo.digest(&name) {
            return Some(file(folder, &loaded));
        }
        let mut opened = File::open(binary).ok()?;
        let stands = |opened: &File| opened.metadata().ok().filter(|data| is_same(data));
        stands(&opened)?;
        let loaded = image::Image::digest_of(&mut opened)?;
        if memo::is_settled(&stands(&opened)?) {
            memo.keep_digest(&name, &loaded);
        }
        Some(file(folder, &loaded))
    }

    /// Reads a kept analysis.
    ///
    /// # Errors
    /// [`LoadError`]: not there, of another version, damaged. There are no keys then.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let (head, mut file, sum) = read_head(path)?;
        let mut rest = Vec::new();
        file.read_to_end(&mut rest).map_err(|cause| LoadError::Read {
            path: path.to_owned(),
            cause,
        })?;
        let whole = Some(rest).filter(|rest| Digest::of(rest) == sum).ok_or(Damaged);
        let detail = whole.and_then(|rest| read(&rest, |reader| Detail::read(reader, &head)));
        Ok(Self {
            detail: detail.map_err(|_| LoadError::Damaged(path.to_owned()))?,
            summary: Summary(head),
        })
    }

    /// Its keys.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }
}

impl Summary {
    /// Reads the keys of a kept analysis, which takes a fraction of [`Analysis::load`]'s time.
    ///
    /// # Errors
    /// [`LoadError`]: not there, of another version, damaged. There are no keys then.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        Ok(Self(read_head(path)?.0))
    }

    /// Why cases are not told apart, if they are not: then the digest of the whole binary has to be each case's key.
    pub fn whole(&self) -> Option<&str> {
        self.0.whole.as_deref()
    }

    /// The keys of all cases, in the order of the binary's array. Of several cases with one name each is given. A case
    /// that is not among them has no key but the digest of the binary: optimisation at link time, for one, can make
    /// libtest a part of `main`, and then no case is found.
    pub fn keys(&self, locations: Locations) -> impl Iterator<Item = CaseKey<'_>> {
        self.0.cases.iter().map(move |case| case_key(case, locations))
    }

    /// The key of all that a program reaches from its `main`, if it is no test binary and could be analysed.
    pub fn program(&self, locations: Locations) -> Option<Digest> {
        let common = self.0.common.as_ref().filter(|_| self.0.whole.is_none())?;
        self.0.cases.is_empty().then_some(match locations {
            Locations::IgnoreUnlessObserved if !common.observes => common.masked,
            _ => common.exact,
        })
    }

    /// How long the analysis took, the file's writing apart, when it was made.
    pub fn took(&self) -> Duration {
        Duration::from_micros(self.0.took_us)
    }
}

/// Reads the first part of a kept analysis; returns the file, of which the second is left, and the sum of that.
fn read_head(path: &Path) -> Result<(Head, File, Digest), LoadError> {
    let unreadable = |cause| LoadError::Read {
        path: path.to_owned(),
        cause,
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let mut next = |count: usize| {
        let mut bytes = Vec::new();
        let read = file.by_ref().take(count as u64).read_to_end(&mut bytes);
        read.map(|_| bytes).map_err(unreadable)
    };
    if next(HEAD.len())? != HEAD {
        return Err(LoadError::Version(path.to_owned()));
    }
    let damaged = || LoadError::Damaged(path.to_owned());
    let [of_first, of_rest] = [next(SUM_BYTES)?, next(SUM_BYTES)?];
    let of_rest = Digest::try_from(&of_rest[..]).map_err(|_| damaged())?;
    let length: [u8; 4] = next(4)?.try_into().map_err(|_| damaged())?;
    let first = next(u32::from_le_bytes(length) as usize)?;
    if Digest::of(&first).as_bytes()[..] != of_first {
        return Err(damaged());
    }
    let head = read(&first, Head::read).map_err(|_| damaged())?;
    mark_used(path);
    Ok((head, file, of_rest))
}

fn file(folder: &Path, loaded: &Digest) -> PathBuf {
    folder.join(format!("{loaded}.{ENDING}"))
}

fn read<T>(packed: &[u8], part: impl FnOnce(&mut Reader<'_>) -> Result<T, Damaged>) -> Result<T, Damaged> {
    let bytes = zstd::decode_all(packed).map_err(|_| Damaged)?;
    let mut reader = Reader::new(&bytes);
    let value = part(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Keeps an analysis; `detail` is what a [`Detail`] is read from.
fn save(path: &Path, head: &Head, detail: &[u8]) -> std::io::Result<()> {
    let head = written(|writer| head.write(writer));
    let (first, rest) = rayon::join(
        || zstd::encode_all(&head[..], LEVEL),
        || zstd::encode_all(detail, LEVEL),
    );
    let (first, rest) = (first?, rest?);
    let length = u32::try_from(first.len()).map_err(std::io::Error::other)?;
    let sums = [&first, &rest].map(|part| Digest::of(part));
    let [of_first, of_rest] = sums.each_ref().map(|sum| &sum.as_bytes()[..]);
    write_whole(
        path,
        &[HEAD, of_first, of_rest, &length.to_le_bytes(), &first, &rest],
    )
}

fn case_key(case: &CaseRecord, locations: Locations) -> CaseKey<'_> {
    CaseKey {
        name: &case.name,
        ignored: case.ignored,
        key: match locations {
            Locations::Exact => case.keys.exact,
            Locations::IgnoreUnlessObserved => case.keys.masked,
        },
        observes: case.keys.observes,
        opens: case.effects.opens,
        sees_version: case.effects.sees_version || locations == Locations::Exact,
    }
}

/// Analyses a link that a linker has just made, and keeps what was found in `folder`. Without an executable there is
/// nothing to do. An analysis that fails says why and makes the binary one piece. One that is kept already stays, if it holds.
///
/// # Errors
/// The analysis could not be written. The binary has none then.
pub fn analyse(arguments: &[OsString], folder: &Path) -> std::io::Result<Option<PathBuf>> {
    let start = Instant::now();
    let (output, link) = match arguments::parse(arguments) {
        Ok(link) if link.partial || is_build_script(&link.output) => return Ok(None),
        Ok(link) => (link.output.clone(), Ok(link)),
        Err(unclear) => match arguments::output(arguments) {
            Some(output) => (output, Err(unclear.to_string())),
            None => return Ok(None),
        },
    };
    let Some(image) = image::Image::read(&output) else {
        return Ok(None);
    };
    let path = file(folder, &image.digest);
    if link.as_ref().is_ok_and(|link| is_known(&path, link)) {
        return Ok(Some(path));
    }
    let asked = link.as_ref().ok().map(Link::asked);
    let found = link.and_then(|link| record(&link, &image, &Memo::new(folder)));
    let (mut head, detail) = found.unwrap_or_else(|why| {
        let head = Head {
            whole: Some(why),
            ..Head::default()
        };
        (head, written(record::write_nothing))
    });
    head.asked = asked;
    head.took_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    save(&path, &head, &detail)?;
    Ok(Some(path))
}

/// Whether there is an analysis already that holds for this link: of the same bytes in memory, made in the same way. What it says
/// is true of these bytes, whichever objects came to them this time. Only the content of a dynamic library is not in them: where
/// one is linked that can be looked at, or perhaps, it is.
fn is_known(path: &Path, link: &Link) -> bool {
    if inputs::may_have_libraries(link) {
        return false;
    }
    let Ok((head, ..)) = read_head(path) else {
        return false;
    };
    head.whole.is_none() && head.asked == Some(link.asked())
}

/// Build scripts are linked by the same linker, run once, and have no cases.
fn is_build_script(output: &Path) -> bool {
    let name = output.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with("build_script_"))
}

/// Returns the keys, and what a [`Detail`] is read from.
fn record(link: &Link, image: &image::Image, memo: &Memo) -> Result<(Head, Vec<u8>), String> {
    let names = image.names.as_ref().ok_or("the names in it cannot be read")?;
    let Inputs { parts, libraries } = inputs::read(link, memo).map_err(|error| error.to_string())?;
    if names.needed.is_empty() {
        // Linkers are not always told of it by name, and it counts by its version only.
        return Err("no library is loaded with it, so the system's may be in it".to_owned());
    }
    if let Some(name) = unseen(&libraries, names) {
        return Err(format!(
            "it was linked with {name} from a folder of the system, perhaps statically"
        ));
    }
    let entries = graph::ENTRIES.iter().map(|name| (*name).to_owned());
    let roots: Vec<String> = link.kept.iter().chain(&names.exports).cloned().collect();
    let needed: Vec<String> = entries.chain(roots.iter().cloned()).collect();
    let resolution = Resolution::new(&parts, &needed, &names.imports);
    let harness = harness(&parts, &resolution)?;
    let machine = parts.first().map(|part| part.unit.machine);
    if parts.iter().any(|part| Some(part.unit.machine) != machine) {
        return Err("its objects are for several machines".to_owned());
    }
    certain::chosen(link, &parts, &resolution)?;
    let is_compared = machine == Some(elf::EM_X86_64);
    let by_part = harness.as_ref().map(|(part, harness)| (*part, harness));
    let rooted =
        assemble::build(&parts, &resolution, by_part, image.digest, &roots).map_err(|e| e.to_string())?;
    let made = Made {
        parts: &parts,
        resolution: &resolution,
        harness: by_part,
        rooted: &rooted,
        is_dynamic: !names.needed.is_empty(),
    };
    let compare = || if is_compared { image.compare(made) } else { Ok(()) };
    let all = [&rooted.common[..], &rooted.kept, &rooted.cases].concat();
    let (is_like, mut hashes) = rayon::join(compare, || condense::hashes(&rooted.graph, &all));
    is_like?;
    certain::defined(&rooted, &hashes, &resolution, names)?;
    let are_known = imports::are_known(&names.needed) && !names.has_own_folders;
    if !are_known {
        // A library of Rust may look at the lines of what it is given.
        hashes.observes.fill(true);
    }
    let surroundings = surroundings(
        link,
        machine.unwrap_or_default(),
        &libraries,
        names,
        harness.is_some(),
    );
    let harness = harness.as_ref().map(|(_, harness)| harness);
    let constructors = Constructors::of(&rooted);
    let effects = match are_known {
        true => effects::of_cases(&rooted, &constructors, &hashes.reached),
        false => vec![Effects::ANY; rooted.cases.len()],
    };
    let found = record::Found {
        rooted: &rooted,
        hashes: &hashes,
        constructors: &constructors,
    };
    let head = found.head(&effects, harness, &surroundings, libraries);
    Ok((head, written(|writer| found.write_detail(writer))))
}

fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    write(&mut writer);
    writer.into_bytes()
}

/// A library of the system that was named and is not among those that the binary is loaded with: it may be a static one,
/// and then its content should count.
fn unseen<'l>(libraries: &'l [Library], names: &image::Names) -> Option<&'l str> {
    let named = libraries.iter().filter(|library| library.digest.is_none());
    let mut named = named.map(|library| library.name.trim_start_matches("-l"));
    named.find(|name| {
        let file = format!("lib{name}.so");
        !inputs::SYSTEM.contains(name) && !names.needed.iter().any(|needed| needed.starts_with(&file))
    })
}

/// What counts for every case besides the graph: how keys are made, how it was linked, what it is loaded with, and dynamic
/// libraries whole.
fn surroundings(
    link: &Link,
    machine: u16,
    libraries: &[Library],
    names: &image::Names,
    harness: bool,
) -> Digest {
    let mut hasher = FieldHasher::new("thresh reach link v2");
    hasher
        .field(HEAD)
        .field(&machine.to_le_bytes())
        .field(&[u8::from(harness)]);
    link.flags.iter().for_each(|flag| {
        hasher.field(flag.as_bytes());
    });
    hasher.field(b"libraries");
    for library in libraries {
        // Where a library of the build stands may differ; the name by which it is loaded is in its content.
        match &library.digest {
            Some(digest) => hasher.field(digest.as_bytes()),
            None => hasher.field(library.name.as_bytes()),
        };
    }
    // Which of those that were named are loaded depends on what all of the binary refers to; they do something when they are loaded,
    // and their names are there for who asks.
    hasher.field(b"needed");
    names.needed.iter().for_each(|name| {
        hasher.field(name.as_bytes());
    });
    hasher.field(&names.thread_pages.to_le_bytes());
    hasher.finish()
}

/// Finds the harness of a test binary, and in which part it is.
fn harness(parts: &[Part], resolution: &Resolution<'_>) -> Result<Option<(u32, Harness)>, String> {
    let calls = |part: &Part| {
        let unit = &part.unit;
        let mut names = unit
            .references
            .iter()
            .map(|reference| &unit.names[reference.name]);
        names.any(harness::is_entry)
    };
    let mut callers = resolution
        .taken
        .iter()
        .filter(|index| calls(&parts[**index as usize]));
    let Some(index) = callers.next() else {
        return Ok(None);
    };
    if callers.next().is_some() {
        return Err(harness::HarnessError::Several.to_string());
    }
    let part = &parts[*index as usize];
    let path = part
        .path
        .as_ref()
        .ok_or_else(|| format!("its harness is in {}", part.name))?;
    let mut content = Excerpt::default();
    let read = File::open(path).and_then(|file| content.read(&file));
    read.map_err(|cause| format!("{} cannot be read: {cause}", path.display()))?;
    let raw = Raw::parse(&content).map_err(|cause| format!("{}: {cause}", path.display()))?;
    let harness = harness::find(&raw).map_err(|error| error.to_string())?;
    Ok(Some((*index, harness)))
}
