//! In which ways a case depends on a path.

use std::fmt;

/// A way to depend on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Opened for reading: all that is in it, and its [`Access::Metadata`].
    Content,
    /// Executed, or the interpreter or loader of what was: all that it can do.
    Executed,
    /// Asked about: that it is there, its kind, mode and, of a file, its size. Times are not kept on farms and do not
    /// count.
    Metadata,
    /// Where a symbolic link leads, also on the way to something else.
    Link,
    /// The names in a folder, and of which kind each is.
    Listing,
    /// That nothing is there.
    Absent,
    /// Written over as a whole: that nothing is there, or a file of what mode, which it keeps.
    Replaced,
}

/// All of them.
const ALL: [Access; 7] = [
    Access::Content,
    Access::Executed,
    Access::Metadata,
    Access::Link,
    Access::Listing,
    Access::Absent,
    Access::Replaced,
];

/// A set of them.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Accesses(u8);

impl Accesses {
    /// Adds one.
    pub fn insert(&mut self, access: Access) {
        self.0 |= 1 << access as u8;
    }

    /// Whether it is among them.
    pub fn contains(self, access: Access) -> bool {
        self.0 & (1 << access as u8) != 0
    }

    /// Goes through them in order.
    pub fn iter(self) -> impl Iterator<Item = Access> {
        ALL.into_iter().filter(move |access| self.contains(*access))
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Access> for Accesses {
    fn from_iter<I: IntoIterator<Item = Access>>(accesses: I) -> Self {
        let mut set = Self::default();
        accesses.into_iter().for_each(|access| set.insert(access));
        set
    }
}

impl fmt::Debug for Accesses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        let set: Accesses = [Access::Link, Access::Content, Access::Link]
            .into_iter()
            .collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [Access::Content, Access::Link]);
        assert!(!set.contains(Access::Absent) && !set.is_empty());
        assert!(Accesses::default().is_empty());
    }
}
