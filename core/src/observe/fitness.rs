//! Which observations a pass may be kept with.

use super::access::Access;
use super::entry::{Contact, Fact, Observation, UnobservableKind};

/// The bits by which a program gets the rights of its owner or group.
const SET_ID: u32 = 0o6000;

/// Why what a case was seen to read does not tell when its pass holds again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It depends on more than is known.
    #[error("{0}")]
    Unobservable(String),
    /// On a property of the machine.
    #[error("it looked at the machine: {0}")]
    Machine(String),
    /// On somebody else's answer.
    #[error("it talked to {0}")]
    Contact(String),
}

impl Observation {
    /// Whether the case depends on its paths alone, as far as was seen.
    ///
    /// Two things are taken for no inputs. Processors: every libtest binary asks how many there are, to choose a number of
    /// threads that `--exact` leaves without meaning. And ports of the case's own machine, where what answers is the case
    /// itself, or a service that other cases use as well.
    ///
    /// # Errors
    /// It depends on something else.
    pub fn fitness(&self) -> Result<(), Unfit> {
        if let Some(why) = &self.unobservable {
            return Err(Unfit::Unobservable(why.to_string()));
        }
        if let Some((_, place)) = self.facts.iter().find(|(fact, _)| **fact != Fact::Processors) {
            return Err(Unfit::Machine(place.clone()));
        }
        let stranger = self
            .contacts
            .iter()
            .find(|(contact, _)| **contact != Contact::Loopback);
        match stranger {
            Some((_, address)) => Err(Unfit::Contact(address.clone())),
            None => Ok(()),
        }
    }

    /// Whether the case may have done what it cannot do while it is observed: put a listener on itself, or run a program with
    /// its owner's rights.
    pub fn may_have_hindered(&self) -> bool {
        if let Some(why) = &self.unobservable {
            return why.kind == UnobservableKind::Refused;
        }
        self.entries.values().any(|entry| {
            let is_executed = entry.accesses.contains(Access::Executed);
            is_executed && entry.stamp.is_some_and(|stamp| stamp.mode & SET_ID != 0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, Kind, Stamp};
    use super::*;

    #[test]
    fn what_cannot_be_done_while_observed_is_told_from_the_rest() {
        let executed = |access: Access, mode| {
            let stamp = Stamp {
                kind: Kind::File,
                mode,
                device: 0,
                inode: 0,
                size: 0,
                modified_ns: 0,
                changed_ns: 0,
            };
            let entry = Entry {
                accesses: [access].into_iter().collect(),
                stamp: Some(stamp),
                names: None,
                changed: false,
            };
            let mut seen = Observation::default();
            seen.entries.insert("/bin/x".into(), entry);
            seen.may_have_hindered()
        };
        assert!(executed(Access::Executed, 0o4755));
        assert!(!executed(Access::Executed, 0o755) && !executed(Access::Metadata, 0o4755));
        let unobservable = |kind| Observation::unobservable(kind, "x").may_have_hindered();
        assert!(unobservable(UnobservableKind::Refused));
        assert!(!unobservable(UnobservableKind::Call) && !unobservable(UnobservableKind::TooMuch));
        assert!(!Observation::default().may_have_hindered());
    }

    #[test]
    fn only_paths_processors_and_the_own_machine_are_fit() {
        let mut seen = Observation::default();
        seen.facts.insert(Fact::Processors, "/sys/x".to_owned());
        seen.contacts.insert(Contact::Loopback, "127.0.0.1:1".to_owned());
        assert_eq!(seen.fitness(), Ok(()));
        let mut machine = seen.clone();
        machine.facts.insert(Fact::Memory, "/proc/meminfo".to_owned());
        assert_eq!(machine.fitness(), Err(Unfit::Machine("/proc/meminfo".to_owned())));
        for contact in [Contact::Network, Contact::Service] {
            let mut talks = seen.clone();
            talks.contacts.insert(contact, "10.0.0.1:80".to_owned());
            assert_eq!(talks.fitness(), Err(Unfit::Contact("10.0.0.1:80".to_owned())));
        }
        let unknown = Observation::unobservable(UnobservableKind::Call, "mount");
        assert!(matches!(unknown.fitness(), Err(Unfit::Unobservable(_))));
    }
}
