//! The columns of a patch, as bytes.

use super::{NEW, RECENT_MAX};

/// The columns while a patch is made.
#[derive(Debug, Default)]
pub(super) struct Columns {
    pub(super) runs: Vec<u8>,
    pub(super) literals: Vec<u8>,
    pub(super) gaps: Vec<u8>,
    pub(super) ranks: Vec<u8>,
    pub(super) addends: Vec<u8>,
}

impl Columns {
    /// The columns together.
    pub(super) fn join(&self) -> Vec<u8> {
        let first = [&self.runs, &self.literals, &self.gaps, &self.ranks];
        let mut out = Vec::new();
        for column in first {
            put_number(&mut out, u32::try_from(column.len()).unwrap_or(u32::MAX));
        }
        for column in first.into_iter().chain([&self.addends]) {
            out.extend_from_slice(column);
        }
        out
    }
}

/// Columns that are read.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub(super) runs: &'a [u8],
    pub(super) literals: &'a [u8],
    pub(super) gaps: &'a [u8],
    pub(super) ranks: &'a [u8],
    pub(super) addends: &'a [u8],
}

impl<'a> Reading<'a> {
    /// Takes apart what [`Columns::join`] put together; `None` where the lengths are not so.
    pub(super) fn of(mut patch: &'a [u8]) -> Option<Self> {
        let mut lengths = [0; 4];
        for length in &mut lengths {
            *length = number(&mut patch)?;
        }
        let [runs, literals, gaps, ranks] = lengths.map(|length| take(&mut patch, length as usize));
        Some(Self {
            runs: runs?,
            literals: literals?,
            gaps: gaps?,
            ranks: ranks?,
            addends: patch,
        })
    }
}

/// The addends that were used last, the last one first.
#[derive(Debug, Default)]
pub(super) struct Recent(Vec<u32>);

impl Recent {
    /// Where an addend is in the list, or [`NEW`]; from now on it is the first.
    pub(super) fn rank(&mut self, addend: u32) -> u8 {
        match self.0.iter().position(|recent| *recent == addend) {
            Some(at) => {
                self.0[..=at].rotate_right(1);
                u8::try_from(at).expect("the list is short")
            }
            None => {
                self.add(addend);
                NEW
            }
        }
    }

    /// The addend at a place of the list, which is the first from now on.
    pub(super) fn at(&mut self, rank: u8) -> Option<u32> {
        let addend = *self.0.get(usize::from(rank))?;
        self.0[..=usize::from(rank)].rotate_right(1);
        Some(addend)
    }

    /// Puts an addend first.
    pub(super) fn add(&mut self, addend: u32) {
        self.0.truncate(RECENT_MAX - 1);
        self.0.insert(0, addend);
    }
}

/// The first bytes, which are taken away; `None` where there are not so many.
pub(super) fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

pub(super) fn put_number(out: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number away; `None` where there is none, or one of more than 32 bits.
pub(super) fn number(bytes: &mut &[u8]) -> Option<u32> {
    let mut number: u32 = 0;
    for shift in (0..u32::BITS).step_by(7) {
        let byte = *take(bytes, 1)?.first()?;
        let bits = u32::from(byte & 0x7f);
        let shifted = bits << shift;
        if shifted >> shift != bits {
            return None;
        }
        number |= shifted;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// A signed number as one that is short where it is near zero.
pub(super) fn zigzag(number: i32) -> u32 {
    ((number << 1) ^ (number >> 31)).cast_unsigned()
}

/// What [`zigzag`] was given.
pub(super) fn unzigzag(number: u32) -> i32 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}
