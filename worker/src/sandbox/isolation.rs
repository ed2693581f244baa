//! How far cases are kept from the machine and from one another.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use rustix::process::Resource;

/// How far cases are kept from the machine and from one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The run's folders and temp folders of one's own; else a process like any other. What cases write to the run's
    /// folders is seen by later ones.
    None,
    /// Besides: writes that are gone with the case, processes that end with it, no way to more privileges, and the
    /// farm's own files out of reach.
    Private,
    /// Besides: a machine that cannot be written to, with no home folders and no sockets, shared memory of one's own,
    /// and no network but one's own loopback.
    Sealed,
}

/// What network cases have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// The machine's, without the cloud's metadata service and the farm itself.
    Host,
    /// A loopback interface of one's own.
    Loopback,
    /// None that is up.
    Nothing,
}

/// What a case, all its processes together, may use. What is not set is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory in bytes; beyond it the kernel kills.
    pub memory_bytes: Option<u64>,
    /// Processes and threads at a time; beyond it no further ones can be started.
    pub processes: Option<u32>,
    /// CPU time of each single process in seconds; beyond it SIGXCPU, soon after it SIGKILL.
    pub cpu_seconds: Option<u64>,
}

impl Limits {
    /// Whether something is limited for which control groups are best.
    pub(super) fn wants_group(&self) -> bool {
        self.memory_bytes.is_some() || self.processes.is_some()
    }

    /// What holds for each process by itself; `in_group` says that a control group holds what it can. The number of
    /// processes is none of it: `RLIMIT_NPROC` counts all that a user has.
    pub(crate) fn of_each_process(&self, in_group: bool) -> impl Iterator<Item = (Resource, u64)> {
        let wanted = [
            (Resource::Cpu, self.cpu_seconds),
            (Resource::As, self.memory_bytes.filter(|_| !in_group)),
        ];
        let set = |(resource, most): (_, Option<_>)| Some((resource, most?));
        wanted.into_iter().filter_map(set)
    }

    /// What does not hold as it is set where there is no control group, in words.
    pub(super) fn without_group(&self) -> Option<&'static str> {
        match (self.memory_bytes, self.processes) {
            (None, None) => None,
            (Some(_), None) => Some("the address space is limited for each process by itself"),
            (None, Some(_)) => Some("the number of processes is not limited"),
            (Some(_), Some(_)) => {
                Some("the address space is limited for each process by itself, their number not at all")
            }
        }
    }
}

/// Where what isolated cases write to the run's folders is kept while they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scratch {
    /// In memory, at most half of the machine's for a case: several times as fast to set up.
    Memory,
    /// On the worker's disk.
    Disk,
}

/// How a worker isolates the cases that it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Isolation {
    /// How far.
    pub level: Level,
    /// `None` is what is usual for the level: the machine's, or with [`Level::Sealed`] a loopback.
    pub network: Option<Network>,
    /// What a case may use.
    pub limits: Limits,
    /// Where what cases write is kept.
    pub scratch: Scratch,
    /// Folders that no case sees, such as the worker's own.
    pub hidden: Vec<PathBuf>,
    /// What no case may connect to, besides the cloud's metadata services: the farm's own sockets.
    pub unreachable: Vec<SocketAddr>,
}

impl Isolation {
    /// Usual settings for a level.
    pub fn at(level: Level) -> Self {
        Self {
            level,
            network: None,
            limits: Limits::default(),
            scratch: Scratch::Memory,
            hidden: Vec::new(),
            unreachable: Vec::new(),
        }
    }

    /// What cases go without where nothing can be had, and why, in words.
    pub(crate) fn shortfalls(&self, why: &str) -> Vec<String> {
        let level = match self.level {
            Level::None => None,
            level => Some(format!("cases are not {level}: {why}")),
        };
        let limits = self.limits.without_group().map(str::to_owned);
        level.into_iter().chain(limits).collect()
    }

    pub(super) fn network(&self) -> Network {
        match (self.network, self.level) {
            (Some(network), _) => network,
            (None, Level::Sealed) => Network::Loopback,
            (None, _) => Network::Host,
        }
    }
}

impl Level {
    const ALL: [Self; 3] = [Self::None, Self::Private, Self::Sealed];

    fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Private => "private",
            Self::Sealed => "sealed",
        }
    }
}

impl Network {
    const ALL: [Self; 3] = [Self::Host, Self::Loopback, Self::Nothing];

    fn word(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Loopback => "loopback",
            Self::Nothing => "none",
        }
    }
}

impl Scratch {
    const ALL: [Self; 2] = [Self::Memory, Self::Disk];

    fn word(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
        }
    }
}

/// A word that is none of those expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is none of {expected}")]
pub struct UnknownWord {
    word: String,
    expected: String,
}

fn named<T: Copy, const N: usize>(
    all: [T; N],
    word_of: fn(T) -> &'static str,
    word: &str,
) -> Result<T, UnknownWord> {
    let found = all.into_iter().find(|value| word_of(*value) == word);
    found.ok_or_else(|| UnknownWord {
        word: word.to_owned(),
        expected: all.map(word_of).join(", "),
    })
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Level {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        named(Self::ALL, Self::word, word)
    }
}

impl FromStr for Network {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        named(Self::ALL, Self::word, word)
    }
}

impl FromStr for Scratch {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        named(Self::ALL, Self::word, word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written_and_others_are_told_what_there_is() {
        for level in Level::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        for scratch in Scratch::ALL {
            assert_eq!(scratch.to_string().parse(), Ok(scratch));
        }
        for network in Network::ALL {
            assert_eq!(network.word().parse(), Ok(network));
        }
        let error = "privat".parse::<Level>().unwrap_err();
        assert_eq!(error.to_string(), "`privat` is none of none, private, sealed");
    }
}
