//! A chunk as what differs from others that it resembles.
//!
//! After an edit a linker moves code and data, and each address that crosses the place of the edit changes by the same
//! few amounts. So a patch does not repeat such addresses, as a general compressor must, but says where they are and
//! what is added to each.
//!
//! A patch is five columns, one behind the other, each of another kind, since they compress better so:
//!
//! - *runs*, three numbers each: how many literals come next, how many bytes are copied from the base behind them, and
//!   how far from the end of the last copy that copy begins (zigzag). The last run may end with its literals.
//! - *literals*: bytes that are in no copy.
//! - *gaps*: for each correction, how many bytes lie between the end of the one before and it.
//! - *ranks*: for each correction the place of what is added in the list of recent ones, the last first; or [`NEW`].
//! - *addends*: what is new in that list, 4 bytes each, little-endian.
//!
//! A correction adds to 4 bytes, as a little-endian number and modulo 2^32, once all copies are made. Before the
//! columns stand the lengths of all but the last. Numbers are LEB128, at most 32 bits.

mod apply;
mod columns;
mod make;
#[cfg(test)]
mod tests;

pub(super) use apply::apply;
pub(super) use make::make;

/// Bytes that a correction is about.
const WORD: usize = 4;
/// So many addends are remembered.
const RECENT_MAX: usize = 200;
/// The rank of an addend that is not among the recent ones.
const NEW: u8 = 255;

const _: () = assert!(RECENT_MAX < NEW as usize);
