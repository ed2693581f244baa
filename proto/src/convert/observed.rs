//! What cases were seen to depend on.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use thresh_core::observe::{
    Access, BYTES_MAX, Contact, ENTRIES_MAX, Entry, Fact, Kind, Observation, Stamp, Unobservable,
    UnobservableKind,
};

use super::{InvalidMessage, digest_from_wire, digest_to_wire};
use crate::v1;
use crate::v1::observed_contact::Kind as WireContact;
use crate::v1::observed_fact::Kind as WireFact;
use crate::v1::observed_path::Access as WireAccess;
use crate::v1::stamp::Kind as WireKind;
use crate::v1::unobservable::Kind as WireWhy;

/// Pairs of a value and its wire form, both ways.
macro_rules! pairs {
    ($to:ident, $from:ident, $field:literal, $core:ident, $wire:ident, $($name:ident)+) => {
        fn $to(value: $core) -> $wire {
            match value {
                $($core::$name => $wire::$name,)+
            }
        }

        fn $from(value: $wire) -> Result<$core, InvalidMessage> {
            match value {
                $wire::Unknown => Err(InvalidMessage::new($field, "has an unknown value")),
                $($wire::$name => Ok($core::$name),)+
            }
        }
    };
}

pairs!(access_to_wire, access_from_wire, "accesses", Access, WireAccess,
    Content Executed Metadata Link Listing Absent Replaced);
pairs!(kind_to_wire, kind_from_wire, "stamp.kind", Kind, WireKind, File Folder Link Other);
pairs!(fact_to_wire, fact_from_wire, "facts.kind", Fact, WireFact,
    Processors Memory Kernel Mounts Processes Disk Network Device Other);
pairs!(contact_to_wire, contact_from_wire, "contacts.kind", Contact, WireContact, Network Loopback Service);
pairs!(why_to_wire, why_from_wire, "unobservable.kind", UnobservableKind, WireWhy,
    Unreadable OtherAbi Call ChangedMeanwhile Stranger TooMuch Observer Refused);

/// Returns the wire form of an observation.
pub fn observation_to_wire(observation: &Observation) -> v1::Observation {
    let path = |(path, entry): (&PathBuf, &Entry)| v1::ObservedPath {
        path: path.as_os_str().as_bytes().to_vec().into(),
        accesses: entry
            .accesses
            .iter()
            .map(|access| access_to_wire(access).into())
            .collect(),
        stamp: entry.stamp.as_ref().map(stamp_to_wire),
        changed: entry.changed,
        names: entry.names.map(digest_to_wire).unwrap_or_default(),
    };
    let fact = |(kind, place): (&Fact, &String)| v1::ObservedFact {
        kind: fact_to_wire(*kind).into(),
        place: place.clone(),
    };
    let contact = |(kind, address): (&Contact, &String)| v1::ObservedContact {
        kind: contact_to_wire(*kind).into(),
        address: address.clone(),
    };
    v1::Observation {
        paths: observation.entries.iter().map(path).collect(),
        facts: observation.facts.iter().map(fact).collect(),
        contacts: observation.contacts.iter().map(contact).collect(),
        unobservable: observation.unobservable.as_ref().map(|why| v1::Unobservable {
            kind: why_to_wire(why.kind).into(),
            detail: why.detail.clone(),
        }),
    }
}

/// Reads an observation.
///
/// # Errors
/// When there are more paths than are kept, one is not absolute or not plain, comes twice, is accessed in no way, or
/// something is of an unknown kind.
pub fn observation_from_wire(observation: &v1::Observation) -> Result<Observation, InvalidMessage> {
    let bytes: usize = observation.paths.iter().map(|path| path.path.len()).sum();
    if observation.paths.len() > ENTRIES_MAX || bytes > BYTES_MAX {
        return Err(InvalidMessage::new("paths", "are more than is kept"));
    }
    let mut read = Observation::default();
    for observed in &observation.paths {
        let path = path_from_wire(&observed.path)?;
        if read.entries.insert(path, entry_from_wire(observed)?).is_some() {
            return Err(InvalidMessage::new("paths", "names one path twice"));
        }
    }
    for fact in &observation.facts {
        read.facts
            .insert(fact_from_wire(fact.kind())?, fact.place.clone());
    }
    for contact in &observation.contacts {
        read.contacts
            .insert(contact_from_wire(contact.kind())?, contact.address.clone());
    }
    if let Some(why) = &observation.unobservable {
        read.unobservable = Some(Unobservable {
            kind: why_from_wire(why.kind())?,
            detail: why.detail.clone(),
        });
    }
    Ok(read)
}

fn path_from_wire(bytes: &[u8]) -> Result<PathBuf, InvalidMessage> {
    let path = Path::new(OsStr::from_bytes(bytes));
    let is_plain = |component| matches!(component, Component::RootDir | Component::Normal(_));
    // Rebuilding it drops what `components` passes over: a dot, a slash too many.
    let plain: PathBuf = path.components().collect();
    let is_valid =
        path.is_absolute() && path.components().all(is_plain) && plain.as_os_str() == path.as_os_str();
    if !is_valid || bytes.contains(&0) {
        return Err(InvalidMessage::new("paths.path", "is not absolute and plain"));
    }
    Ok(plain)
}

fn entry_from_wire(observed: &v1::ObservedPath) -> Result<Entry, InvalidMessage> {
    if observed.accesses.is_empty() {
        return Err(InvalidMessage::missing("accesses"));
    }
    // Not by the generated accessor, which passes over what it does not know.
    let known = |access: &i32| WireAccess::try_from(*access).unwrap_or(WireAccess::Unknown);
    let accesses = observed
        .accesses
        .iter()
        .map(|access| access_from_wire(known(access)));
    Ok(Entry {
        accesses: accesses.collect::<Result<_, _>>()?,
        stamp: observed.stamp.as_ref().map(stamp_from_wire).transpose()?,
        changed: observed.changed,
        names: match observed.names.is_empty() {
            true => None,
            false => Some(digest_from_wire("names", &observed.names)?),
        },
    })
}

fn stamp_to_wire(stamp: &Stamp) -> v1::Stamp {
    v1::Stamp {
        kind: kind_to_wire(stamp.kind).into(),
        mode: stamp.mode,
        device: stamp.device,
        inode: stamp.inode,
        size: stamp.size,
        modified_ns: stamp.modified_ns,
        changed_ns: stamp.changed_ns,
    }
}

fn stamp_from_wire(stamp: &v1::Stamp) -> Result<Stamp, InvalidMessage> {
    Ok(Stamp {
        kind: kind_from_wire(stamp.kind())?,
        mode: stamp.mode,
        device: stamp.device,
        inode: stamp.inode,
        size: stamp.size,
        modified_ns: stamp.modified_ns,
        changed_ns: stamp.changed_ns,
    })
}

#[cfg(test)]
mod tests {
    use thresh_core::digest::Digest;

    use super::*;

    fn observation() -> Observation {
        let stamp = |kind| Stamp {
            kind,
            mode: 0o755,
            device: 1,
            inode: 2,
            size: 3,
            modified_ns: -4,
            changed_ns: 5,
        };
        let entry = |accesses: &[Access], stamp, changed| Entry {
            accesses: accesses.iter().copied().collect(),
            stamp,
            changed,
            names: changed.then(|| Digest::of(b"names")),
        };
        let mut observation = Observation::default();
        let file = entry(
            &[Access::Content, Access::Metadata],
            Some(stamp(Kind::File)),
            true,
        );
        observation
            .entries
            .insert(PathBuf::from(OsStr::from_bytes(b"/w/\xff")), file);
        observation.entries.insert(
            "/".into(),
            entry(&[Access::Listing], Some(stamp(Kind::Folder)), false),
        );
        observation
            .entries
            .insert("/gone".into(), entry(&[Access::Absent], None, false));
        observation.facts.insert(Fact::Memory, "/proc/meminfo".into());
        observation
            .contacts
            .insert(Contact::Network, "10.0.0.1:80".into());
        observation
    }

    #[test]
    fn an_observation_round_trips() {
        let useless = Observation::unobservable(UnobservableKind::Call, "mount");
        for observation in [observation(), useless, Observation::default()] {
            assert_eq!(
                observation_from_wire(&observation_to_wire(&observation)),
                Ok(observation)
            );
        }
    }

    #[test]
    fn impossible_observations_are_refused() {
        let spoilt = |spoil: &dyn Fn(&mut v1::Observation)| {
            let mut wire = observation_to_wire(&observation());
            spoil(&mut wire);
            observation_from_wire(&wire).unwrap_err().field
        };
        for path in ["", "w", "/w/../x", "/w/./x", "/w//x", "/w/", "/w\0"] {
            let refused = spoilt(&|wire| wire.paths[0].path = path.as_bytes().to_vec().into());
            assert_eq!(refused, "paths.path", "{path:?}");
        }
        assert_eq!(spoilt(&|wire| wire.paths.push(wire.paths[0].clone())), "paths");
        assert_eq!(
            spoilt(&|wire| wire.paths.resize(ENTRIES_MAX + 1, v1::ObservedPath::default())),
            "paths"
        );
        assert_eq!(spoilt(&|wire| wire.paths[0].accesses.clear()), "accesses");
        assert_eq!(spoilt(&|wire| wire.paths[0].accesses.push(99)), "accesses");
        assert_eq!(spoilt(&|wire| wire.facts[0].kind = 99), "facts.kind");
        assert_eq!(spoilt(&|wire| wire.contacts[0].kind = 0), "contacts.kind");
        assert_eq!(
            spoilt(&|wire| wire.unobservable = Some(v1::Unobservable::default())),
            "unobservable.kind"
        );
        assert_eq!(spoilt(&|wire| wire.paths[0].names = b"short"[..].into()), "names");
        let no_kind = spoilt(&|wire| wire.paths[0].stamp = Some(v1::Stamp::default()));
        assert_eq!(no_kind, "stamp.kind");
    }
}
