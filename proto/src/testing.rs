//! The search for bytes that a parser cannot take: it begins with valid ones and changes little of them.
//!
//! Parsers that only their own crate reaches are searched there, the others in the `fuzz` tests of the whole program.

use proptest::arbitrary::any;
use proptest::test_runner::{Config, TestRunner};

/// What is done to valid bytes, and how little of it.
pub type Tampering = (u8, Vec<(u16, u8)>, Option<u16>, Vec<u8>);

/// Changes few bytes, cuts off the end, and puts something behind it, or not all of that.
///
/// # Panics
/// When there are no bytes.
pub fn tampered(valid: &[u8], (little, changes, cut, behind): &Tampering) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    for (at, value) in changes.iter().take(usize::from(little % 5)) {
        let at = usize::from(*at) % bytes.len();
        bytes[at] = *value;
    }
    if let (Some(cut), true) = (cut, little & 0x40 == 0) {
        bytes.truncate(usize::from(*cut) % (valid.len() + 1));
    }
    if little & 0x80 == 0 {
        bytes.extend_from_slice(behind);
    }
    bytes
}

/// Has `parse` read so many inputs that were made of `valid` bytes.
///
/// # Panics
/// When `parse` does.
pub fn fuzz(inputs: u32, valid: &[u8], parse: impl Fn(&[u8])) {
    let config = Config {
        cases: inputs,
        failure_persistence: None,
        ..Config::default()
    };
    let searched = TestRunner::new(config).run(&any::<Tampering>(), |tampering| {
        parse(&tampered(valid, &tampering));
        Ok(())
    });
    if let Err(found) = searched {
        panic!("{found}");
    }
}
