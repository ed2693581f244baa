//! The environment part of a key.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use thresh_core::digest::Digest;
use thresh_core::environment::EnvironmentPolicy;

use super::record::Record;
use crate::command::{SETUP_WORKER_VARIABLES, WORKER_VARIABLES};

/// What cargo says of the version of a case's package.
const VERSION_VARIABLES: [&str; 5] = [
    "CARGO_PKG_VERSION",
    "CARGO_PKG_VERSION_MAJOR",
    "CARGO_PKG_VERSION_MINOR",
    "CARGO_PKG_VERSION_PATCH",
    "CARGO_PKG_VERSION_PRE",
];

/// Variables by which the loader runs code in a case's process that nobody has looked at.
const PRELOAD_VARIABLES: [&str; 2] = ["LD_PRELOAD", "LD_AUDIT"];

/// Whether the loader may put other code than a binary, the build's libraries and the system's into processes with these
/// variables. Folders for libraries that the client names itself may have another C library.
///
/// `client`: all variables of the client, since its library folders are in those of a command on a farm as well.
pub(super) fn loads_more(
    client: &BTreeMap<OsString, OsString>,
    inherited: &BTreeMap<OsString, OsString>,
    command: &[(String, OsString)],
) -> bool {
    let is_set = |name: &str| {
        let own = command
            .iter()
            .rev()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value);
        let value = own.or_else(|| inherited.get(OsStr::new(name)));
        value.is_some_and(|value| !value.is_empty())
    };
    let folders = client.get(OsStr::new("LD_LIBRARY_PATH"));
    folders.is_some_and(|folders| !folders.is_empty()) || PRELOAD_VARIABLES.into_iter().any(is_set)
}

/// The variables of the client that a case gets: on the client's machine all, on a farm those that travel.
pub(crate) fn inherited(
    client: &BTreeMap<OsString, OsString>,
    policy: &EnvironmentPolicy,
    in_place: bool,
) -> BTreeMap<OsString, OsString> {
    let goes = |name: &OsStr| in_place || name.to_str().is_some_and(|name| policy.travels(name));
    client
        .iter()
        .filter(|(name, _)| goes(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Whether a package's version counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// It does.
    Counts,
    /// The case's code does not look at it.
    Unseen,
}

/// Records the environment of a command: what is inherited and, over it, what the command sets. Variables that
/// name a run, an attempt or a slot ([`WORKER_VARIABLES`]) are left out: the worker sets them whatever the
/// client has, they differ at every run, and a case whose outcome depends on them is not worth reusing.
pub(super) fn environment_record(
    inherited: &BTreeMap<OsString, OsString>,
    command: &[(String, OsString)],
    policy: &EnvironmentPolicy,
    version: Version,
) -> Record {
    let mut record = Record::new("environment v1");
    let own = command.iter().map(|(name, value)| (OsStr::new(name), value));
    for (name, value) in inherited
        .iter()
        .map(|(name, value)| (name.as_os_str(), value))
        .chain(own)
    {
        // A name that is not UTF-8 is in no list, so it counts; its escapes keep it apart from others.
        let name = name
            .to_str()
            .map_or_else(|| format!("{name:?}").into(), Cow::Borrowed);
        let is_unseen = version == Version::Unseen && VERSION_VARIABLES.contains(&&*name);
        if policy.is_in_key(&name) && !is_of_one_run(&name) && !is_unseen {
            record.add(name, Digest::of(value.as_encoded_bytes()).to_string());
        }
    }
    record
}

fn is_of_one_run(name: &str) -> bool {
    WORKER_VARIABLES.contains(&name) || SETUP_WORKER_VARIABLES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(client: &[(&str, &str)], command: &[(&str, &str)]) -> Digest {
        let client = client
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect();
        let command: Vec<_> = command
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).into()))
            .collect();
        environment_record(&client, &command, &EnvironmentPolicy::default(), Version::Counts).digest()
    }

    #[test]
    fn ordinary_variables_count_and_those_of_one_run_do_not() {
        let base = digest(&[("A", "1")], &[("CARGO_PKG_NAME", "x")]);
        assert_ne!(base, digest(&[("A", "2")], &[("CARGO_PKG_NAME", "x")]));
        assert_ne!(base, digest(&[("A", "1")], &[("CARGO_PKG_NAME", "y")]));
        for name in WORKER_VARIABLES
            .into_iter()
            .chain(["GITHUB_RUN_ID", "SHLVL", "NEXTEST_ENV"])
        {
            assert_eq!(
                base,
                digest(&[("A", "1"), (name, "7")], &[("CARGO_PKG_NAME", "x")]),
                "{name}"
            );
        }
    }

    #[test]
    fn a_version_that_is_not_looked_at_does_not_count() {
        let digest = |version: &str, name: &str, counts: Version| {
            let command = [
                ("CARGO_PKG_VERSION".to_owned(), version.into()),
                ("CARGO_PKG_VERSION_PATCH".to_owned(), version.into()),
                ("CARGO_PKG_NAME".to_owned(), name.into()),
            ];
            environment_record(&BTreeMap::new(), &command, &EnvironmentPolicy::default(), counts).digest()
        };
        assert_ne!(
            digest("1", "x", Version::Counts),
            digest("2", "x", Version::Counts)
        );
        assert_eq!(
            digest("1", "x", Version::Unseen),
            digest("2", "x", Version::Unseen)
        );
        assert_ne!(
            digest("1", "x", Version::Unseen),
            digest("1", "y", Version::Unseen)
        );
    }

    #[test]
    fn who_loads_more_is_told() {
        type Variables = BTreeMap<OsString, OsString>;
        let none = Variables::new();
        let preloads = |value: &str| Variables::from([("LD_PRELOAD".into(), value.into())]);
        assert!(loads_more(&none, &preloads("/lib/x.so"), &[]));
        assert!(!loads_more(&none, &preloads(""), &[]));
        let of_command = |name: &str, value: &str| [(name.to_owned(), OsString::from(value))];
        assert!(!loads_more(
            &none,
            &preloads("/lib/x.so"),
            &of_command("LD_PRELOAD", "")
        ));
        assert!(loads_more(&none, &none, &of_command("LD_AUDIT", "x")));
        let folders = of_command("LD_LIBRARY_PATH", "/build:/lib");
        assert!(!loads_more(&none, &none, &folders), "cargo's own");
        // On a farm the client's variable does not travel, and its folders do.
        let client = Variables::from([("LD_LIBRARY_PATH".into(), "/lib".into())]);
        assert!(loads_more(&client, &none, &folders));
    }

    #[test]
    fn names_that_are_not_utf8_are_kept_apart() {
        use std::os::unix::ffi::OsStringExt;
        let digest = |first: &str| {
            let client = [(b"A\xfe", first), (b"A\xff", "2")]
                .map(|(name, value)| (OsString::from_vec(name.to_vec()), value.into()))
                .into();
            environment_record(&client, &[], &EnvironmentPolicy::default(), Version::Counts).digest()
        };
        assert_ne!(digest("1"), digest("2"));
    }

    #[test]
    fn the_command_wins_over_the_client() {
        assert_eq!(
            digest(&[("A", "1")], &[("A", "2")]),
            digest(&[("A", "3")], &[("A", "2")])
        );
    }

    #[test]
    fn only_what_travels_reaches_a_farm() {
        let client = [("LANG", "C"), ("HOME", "/home/u")]
            .map(|(name, value)| (name.into(), value.into()))
            .into();
        let policy = EnvironmentPolicy::default();
        assert_eq!(inherited(&client, &policy, true).len(), 2);
        let names: Vec<_> = inherited(&client, &policy, false).into_keys().collect();
        assert_eq!(names, ["LANG"]);
    }
}
