//! Names of things. A newtype each, so that none can stand where another is meant.

use std::fmt;
use std::str::FromStr;

/// Names a run: 128 random bits chosen by the client, printed as a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(u128);

impl RunId {
    /// Wraps the 128 bits.
    pub const fn from_u128(bits: u128) -> Self {
        Self(bits)
    }

    /// Returns the 128 bits.
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let b = self.0;
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            b >> 96,
            (b >> 80) & 0xffff,
            (b >> 64) & 0xffff,
            (b >> 48) & 0xffff,
            b & 0xffff_ffff_ffff
        )
    }
}

/// The text is not a hyphenated UUID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a run id: expected the form xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")]
pub struct InvalidRunId;

impl FromStr for RunId {
    type Err = InvalidRunId;

    fn from_str(text: &str) -> Result<Self, InvalidRunId> {
        let hyphens = [8, 13, 18, 23];
        let well_formed = text.len() == 36
            && text.bytes().enumerate().all(|(at, byte)| {
                if hyphens.contains(&at) {
                    byte == b'-'
                } else {
                    byte.is_ascii_hexdigit()
                }
            });
        if !well_formed {
            return Err(InvalidRunId);
        }
        u128::from_str_radix(&text.replace('-', ""), 16)
            .map(Self)
            .map_err(|_| InvalidRunId)
    }
}

/// Names one connection of one worker to the coordinator. A worker that reconnects gets a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u64);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{}", self.0)
    }
}

/// Names a lease; never used twice by one coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "l{}", self.0)
    }
}

/// Numbers the grants of a test case of a run, upwards. An outcome that carries another generation than one that
/// is leased now is stale and refused.
///
/// The upper 32 bits are the epoch of the coordinator, so that a coordinator that takes over never gives a
/// generation that its predecessor gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation that precedes all of an epoch.
    pub const fn before_epoch(epoch: u32) -> Self {
        Self((epoch as u64) << 32)
    }
}

macro_rules! index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $name {
            /// Returns the position as a `usize`, to index a slice.
            pub const fn at(self) -> usize {
                self.0 as usize
            }
        }
    };
}

index! {
    /// The position of a test case in its run's list of cases.
    CaseIndex
}
index! {
    /// The position of a test binary in its run's list of binaries.
    BinaryIndex
}
index! {
    /// The position of a test group in its run's list of groups.
    GroupIndex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_id_text_form_round_trips() {
        let id = RunId::from_u128(0x0192_3456_789a_7bcd_8eef_0123_4567_89ab);
        assert_eq!(id.to_string(), "01923456-789a-7bcd-8eef-0123456789ab");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in [
            "",
            "01923456",
            "01923456-789a-7bcd-8eef-0123456789aé",
            "01923456x789a-7bcd-8eef-0123456789ab",
        ] {
            assert_eq!(bad.parse::<RunId>(), Err(InvalidRunId));
        }
    }
}
