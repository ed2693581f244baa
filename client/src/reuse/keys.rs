//! From a suite and its files to the key parts of every case.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use camino::Utf8Path;
use rayon::prelude::*;
use thresh_cas::{DigestError, DigestMemo, Digested, ListError, digest_many, folder_files};
use thresh_core::digest::Digest;
use thresh_core::environment::EnvironmentPolicy;
use thresh_core::fault::Fault;
use thresh_core::reuse::KeyParts;

use super::code::CodeKeys;
use super::environment::{Version, environment_record, inherited, loads_more};
use super::libraries::{LibraryError, NeededLibraries};
use super::outside::Outside;
use super::platform::platform_record;
use super::record::Record;
use crate::suite::{Suite, SuiteCase};

/// The keys could not be made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file of the build could not be hashed.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// A build script's output folder could not be listed.
    #[error(transparent)]
    List(#[from] ListError),
    /// A binary's headers could not be read.
    #[error(transparent)]
    Library(#[from] LibraryError),
}

impl KeyError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Digest(error) => error.fault(),
            Self::List(error) => error.fault(),
            Self::Library(error) => error.fault(),
        }
    }
}

/// The files of a build that cases use, with their digests.
#[derive(Clone, Debug)]
pub struct SuiteFiles {
    digests: BTreeMap<PathBuf, Digested>,
    /// The test binaries with a selected case, by position.
    binaries: BTreeMap<usize, PathBuf>,
    libraries: NeededLibraries,
    /// Position of each binary of `binaries` in `libraries`.
    library_positions: BTreeMap<usize, usize>,
    /// Programs and outputs of build scripts.
    programs: BTreeSet<PathBuf>,
}

impl SuiteFiles {
    /// Hashes the test binaries that have a selected case, the libraries that they need, the programs of the
    /// build and the outputs of build scripts.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn digest(suite: &Suite, memo: &mut DigestMemo) -> Result<Self, KeyError> {
        let positions: BTreeSet<usize> = suite.cases.iter().map(|case| case.binary).collect();
        let binaries: BTreeMap<usize, PathBuf> = positions
            .iter()
            .map(|at| (*at, suite.binaries[*at].path.clone().into_std_path_buf()))
            .collect();
        let paths: Vec<PathBuf> = binaries.values().cloned().collect();
        let folders: Vec<PathBuf> = suite
            .library_folders
            .iter()
            .map(|folder| folder.clone().into_std_path_buf())
            .collect();
        let libraries = NeededLibraries::find(&paths, &folders)?;
        let programs = programs(suite)?;
        let all: BTreeSet<&Path> = paths
            .iter()
            .map(PathBuf::as_path)
            .chain(libraries.all())
            .chain(programs.iter().map(PathBuf::as_path))
            .collect();
        let all: Vec<PathBuf> = all.into_iter().map(Path::to_owned).collect();
        let digests = digest_many(&all, memo)?
            .into_iter()
            .map(|digested| (digested.path.clone(), digested));
        Ok(Self {
            digests: digests.collect(),
            library_positions: positions
                .iter()
                .enumerate()
                .map(|(at, binary)| (*binary, at))
                .collect(),
            binaries,
            libraries,
            programs,
        })
    }

    /// The digest of the test binary at `position`, if a case of it is selected.
    pub fn binary(&self, position: usize) -> Option<Digest> {
        Some(self.digest_of(self.binaries.get(&position)?))
    }

    /// That binary as it was hashed.
    pub(super) fn hashed(&self, position: usize) -> Option<&Digested> {
        self.digests.get(self.binaries.get(&position)?)
    }

    /// The test binaries with a selected case: position, and how it was hashed.
    pub(super) fn binaries(&self) -> impl Iterator<Item = (usize, &Digested)> {
        let all = self.binaries.iter();
        all.filter_map(|(at, path)| Some((*at, self.digests.get(path)?)))
    }

    /// Programs and outputs of build scripts as they were hashed.
    pub(super) fn program_files(&self) -> impl Iterator<Item = &Digested> {
        self.programs().filter_map(|path| self.digests.get(path))
    }

    /// The libraries that the test binary at `position` needs, sorted.
    pub fn libraries(&self, position: usize) -> &[PathBuf] {
        self.library_positions
            .get(&position)
            .map_or(&[], |at| self.libraries.of(*at))
    }

    /// Programs and outputs of build scripts, sorted.
    pub fn programs(&self) -> impl Iterator<Item = &Path> {
        self.programs.iter().map(PathBuf::as_path)
    }

    /// Every file that was hashed.
    pub fn all(&self) -> impl Iterator<Item = &Digested> {
        self.digests.values()
    }

    fn digest_of(&self, path: &Path) -> Digest {
        self.digests
            .get(path)
            .expect("every file of the suite was hashed")
            .digest
    }
}

/// The programs of the build and everything that build scripts wrote. A file that is listed and then gone was
/// never usable.
fn programs(suite: &Suite) -> Result<BTreeSet<PathBuf>, KeyError> {
    let mut programs: BTreeSet<PathBuf> = suite
        .programs
        .iter()
        .map(|path| path.clone().into_std_path_buf())
        .filter(|path| path.is_file())
        .collect();
    let outputs: Vec<Vec<PathBuf>> = out_dirs(suite)
        .par_iter()
        .map(|folder| files_below(folder))
        .collect::<Result<_, _>>()?;
    programs.extend(outputs.into_iter().flatten());
    Ok(programs)
}

/// The output folders of all build scripts, absolute, those that are there.
pub(crate) fn out_dirs(suite: &Suite) -> Vec<PathBuf> {
    let meta = &suite.rust_build_meta;
    let base: &Utf8Path = meta.build_directory.as_deref().unwrap_or(&suite.target_directory);
    let folders = meta
        .build_script_out_dirs
        .values()
        .map(|folder| base.join(folder).into_std_path_buf());
    let folders: BTreeSet<PathBuf> = folders.filter(|folder| folder.is_dir()).collect();
    folders.into_iter().collect()
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>, ListError> {
    let files = folder_files(folder)?.into_iter().map(|file| folder.join(file));
    // Links to nowhere and empty folders hold no content.
    Ok(files.filter(|path| path.is_file()).collect())
}

/// What keys are made from, besides the suite.
#[derive(Clone, Copy, Debug)]
pub struct KeyInputs<'a> {
    /// The suite.
    pub suite: &'a Suite,
    /// The files of its build.
    pub files: &'a SuiteFiles,
    /// The digest of the manifest of the workspace's files.
    pub sources: Digest,
    /// What cases can reach of their binaries.
    pub code: &'a CodeKeys,
    /// Files that cases may use outside of it.
    pub outside: &'a Outside,
    /// The client's environment.
    pub variables: &'a BTreeMap<OsString, OsString>,
    /// Which of it counts.
    pub policy: &'a EnvironmentPolicy,
    /// The cases run on the client's machine.
    pub in_place: bool,
    /// What cases are known to read may take the place of the workspace's files.
    pub own_files: bool,
}

/// The distinct key parts of a suite and the records behind them.
#[derive(Clone, Debug, Default)]
pub struct CaseKeys {
    /// Distinct key parts.
    pub parts: Vec<KeyParts>,
    /// For each case of the suite the position of its key parts; none for one that is never reused, because
    /// nothing is known of what its setup scripts do.
    pub of_case: Vec<Option<usize>>,
    /// For each case the part `code` that takes the place of its binary's where it is known what the case reads.
    pub code: Vec<Option<Digest>>,
    /// For each case the part `environment` that takes the place of its command's together with `code`, if another does.
    pub environment: Vec<Option<Digest>>,
    /// For each case the digest of what an earlier pass was seen to read, if all of that is still so; or
    /// [`KeyParts::no_files`], if its code can open none.
    pub seen: Vec<Option<Digest>>,
    /// The records of all parts but the cases' own `code` and `files`, whose record is the manifest.
    pub records: BTreeMap<Digest, Record>,
}

/// Makes the key parts of every case.
pub fn case_keys(inputs: &KeyInputs<'_>) -> CaseKeys {
    let suite = inputs.suite;
    let platform = platform_record(&suite.platform, &suite.rustc_version);
    let programs = programs_record(inputs.files, inputs.outside);
    let of_command = of_commands(inputs);
    let mut keys = CaseKeys::default();
    let (platform, programs) = (keys.keep(platform), keys.keep(programs));
    let of_command: Vec<CommandParts<Digest>> = of_command
        .into_iter()
        .map(|parts| parts.map(|record| keys.keep(record)))
        .collect();
    let mut known: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for case in &suite.cases {
        let has_scripts = !suite.commands[case.command].setup_scripts.is_empty();
        let own = own(inputs, case, &of_command[case.command]).filter(|_| !has_scripts);
        keys.code.push(own.map(|own| own.code));
        keys.environment.push(own.and_then(|own| own.environment));
        let opens_nothing = own.is_some_and(|own| own.opens_nothing);
        keys.seen.push(opens_nothing.then(KeyParts::no_files));
        if has_scripts {
            keys.of_case.push(None);
            continue;
        }
        let position = known
            .get(&(case.binary, case.command))
            .copied()
            .unwrap_or_else(|| {
                let command = &of_command[case.command];
                let code = keys.keep(code_record(inputs.files, case.binary, None));
                keys.parts.push(KeyParts {
                    code,
                    arguments: command.arguments,
                    environment: command.environment,
                    platform,
                    files: inputs.sources,
                    programs,
                });
                keys.parts.len() - 1
            });
        known.insert((case.binary, case.command), position);
        keys.of_case.push(Some(position));
    }
    keys
}

/// What the cases of one command share: records, or their digests.
struct CommandParts<T> {
    arguments: T,
    environment: T,
    /// For cases that do not look at their package's version.
    without_version: T,
    /// Only the binary, the build's libraries and the system's are in a case's process.
    is_as_built: bool,
}

impl<T> CommandParts<T> {
    fn map<U>(self, mut change: impl FnMut(T) -> U) -> CommandParts<U> {
        CommandParts {
            arguments: change(self.arguments),
            environment: change(self.environment),
            without_version: change(self.without_version),
            is_as_built: self.is_as_built,
        }
    }
}

fn of_commands(inputs: &KeyInputs<'_>) -> Vec<CommandParts<Record>> {
    let inherited = inherited(inputs.variables, inputs.policy, inputs.in_place);
    let commands = inputs.suite.commands.par_iter().map(|command| {
        let mut arguments = Record::new("arguments v2");
        let before = command.before.iter().map(|word| without_hash(word));
        arguments.add("before the name", shell_words::join(before));
        arguments.add("after the name", shell_words::join(&command.after));
        arguments.add("working directory", command.cwd.as_str());
        let environment = |version| environment_record(&inherited, &command.env, inputs.policy, version);
        CommandParts {
            arguments,
            environment: environment(Version::Counts),
            without_version: environment(Version::Unseen),
            is_as_built: !loads_more(inputs.variables, &inherited, &command.env),
        }
    });
    commands.collect()
}

/// Parts that are a case's own.
#[derive(Clone, Copy)]
struct Own {
    code: Digest,
    environment: Option<Digest>,
    opens_nothing: bool,
}

/// The parts that are a case's own, if it is known what it can reach.
fn own(inputs: &KeyInputs<'_>, case: &SuiteCase, command: &CommandParts<Digest>) -> Option<Own> {
    // What starts it in the binary's place may do so in any way.
    let reach = inputs
        .code
        .of(case.binary, &case.name)
        .filter(|_| is_started_alone(inputs.suite, case))?;
    let is_blind = !reach.sees_version && command.is_as_built;
    Some(Own {
        code: code_record(inputs.files, case.binary, Some(reach.key)).digest(),
        environment: is_blind.then_some(command.without_version),
        opens_nothing: !reach.opens && command.is_as_built && inputs.own_files,
    })
}

/// A binary's path without the hash that cargo puts into its name: that changes with the version of the package or of what
/// it depends on, whether or not a case can reach anything of it. What it does reach is in its code.
fn without_hash(word: &str) -> &str {
    match word.rsplit_once('-') {
        Some((name, hash)) if name.contains('/') && hash.len() == 16 && hash.bytes().all(is_hex) => name,
        _ => word,
    }
}

fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// Whether nothing else is started for a case than its binary.
pub(crate) fn is_started_alone(suite: &Suite, case: &SuiteCase) -> bool {
    let program = suite.commands[case.command].before.first();
    program.is_some_and(|program| *program == suite.binaries[case.binary].path)
}

impl CaseKeys {
    /// The key parts of a case; none for one that is never reused.
    pub fn parts_of(&self, case: usize) -> Option<KeyParts> {
        match self.seen.get(case).copied().flatten() {
            Some(seen) => Some(self.own_parts_of(case)?.with_seen(seen)),
            None => self.whole_parts_of(case),
        }
    }

    /// The same with the whole binary and the whole workspace.
    pub(crate) fn whole_parts_of(&self, case: usize) -> Option<KeyParts> {
        Some(self.parts[self.of_case.get(case).copied().flatten()?].clone())
    }

    /// Whether a case's code can open no file, so that nobody has to look what it reads.
    pub fn opens_nothing(&self, case: usize) -> bool {
        self.seen.get(case) == Some(&Some(KeyParts::no_files()))
    }

    /// The same with the case's own code, which counts where it is known what the case reads.
    pub fn own_parts_of(&self, case: usize) -> Option<KeyParts> {
        let mut parts = self.whole_parts_of(case)?;
        parts.code = self.code[case].unwrap_or(parts.code);
        parts.environment = self.environment[case].unwrap_or(parts.environment);
        Some(parts)
    }

    fn keep(&mut self, record: Record) -> Digest {
        let digest = record.digest();
        self.records.entry(digest).or_insert(record);
        digest
    }
}

/// `reach` is the key of what the case can reach of the binary; without it all of it counts.
pub(super) fn code_record(files: &SuiteFiles, binary: usize, reach: Option<Digest>) -> Record {
    let mut record = Record::new("code v2");
    match (reach, files.binary(binary)) {
        (Some(reach), _) => record.add("reachable code", reach.to_string()),
        (None, Some(digest)) => record.add("test binary", digest.to_string()),
        (None, None) => {}
    }
    for library in files.libraries(binary) {
        // By name, not by path: which folder a library comes from shows in the environment.
        let name = library.file_name().unwrap_or_default().to_string_lossy();
        record.add(name, files.digest_of(library).to_string());
    }
    record
}

fn programs_record(files: &SuiteFiles, outside: &Outside) -> Record {
    let mut record = Record::new("programs v1");
    for path in files.programs() {
        record.add(path.to_string_lossy(), files.digest_of(path).to_string());
    }
    for file in &outside.files {
        record.add(file.path.to_string_lossy(), file.digest.to_string());
    }
    record
}

#[cfg(test)]
pub(super) mod tests;
