//! Which chunks that rest in sealed packs a receiver reads where those are kept, and which it is sent.

use crate::digest::Digest;

/// Where a chunk is in a sealed pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// The pack's name.
    pub pack: Digest,
    /// Where its record begins.
    pub offset: u64,
    /// The length of its record in bytes.
    pub bytes: u64,
    /// Whether it is packed against the bases that were named.
    pub against_bases: bool,
}

/// A request for less costs more than the bytes.
const BYTES_MIN: u64 = 64 << 10;
/// What is read at once at most: the receiver holds it in memory.
const BYTES_MAX: u64 = 4 << 20;
/// What may lie unwanted between two chunks that are read at once.
const GAP_MAX: u64 = 64 << 10;
/// Chunks of one reading.
const CHUNKS_MAX: usize = 2_048;

/// How a few chunks that follow one another are to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// From here: so many of them.
    Here(usize),
    /// In one reading of this pack.
    Elsewhere(Digest, Vec<Located>),
}

/// Decides how chunks are to be had, in the order asked. `places` says where each is that can be read elsewhere.
pub fn ways(places: &[Option<Located>]) -> Vec<Way> {
    let mut ways = Vec::new();
    let mut rest = places;
    while !rest.is_empty() {
        let run = run(rest);
        let bytes: u64 = run.iter().map(|place| place.bytes).sum();
        let taken = match run.first() {
            Some(first) if bytes >= BYTES_MIN => {
                ways.push(Way::Elsewhere(first.pack, run.clone()));
                run.len()
            }
            _ => {
                let taken = run.len().max(1);
                match ways.last_mut() {
                    Some(Way::Here(count)) => *count += taken,
                    _ => ways.push(Way::Here(taken)),
                }
                taken
            }
        };
        rest = &rest[taken..];
    }
    ways
}

/// The first chunks, as far as they follow one another in one pack.
fn run(places: &[Option<Located>]) -> Vec<Located> {
    let mut run: Vec<Located> = Vec::new();
    for place in places.iter().map_while(Option::as_ref) {
        if let (Some(first), Some(last)) = (run.first(), run.last()) {
            let end = last.offset + last.bytes;
            let follows = place.pack == first.pack && place.offset >= end && place.offset - end <= GAP_MAX;
            let fits = place.offset + place.bytes - first.offset.min(place.offset) <= BYTES_MAX;
            if !follows || !fits || run.len() == CHUNKS_MAX {
                break;
            }
        }
        run.push(*place);
    }
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(pack: &[u8], offset: u64, bytes: u64) -> Option<Located> {
        Some(Located {
            pack: Digest::of(pack),
            offset,
            bytes,
            against_bases: false,
        })
    }

    fn elsewhere(pack: &[u8], places: &[Option<Located>]) -> Way {
        Way::Elsewhere(Digest::of(pack), places.iter().copied().flatten().collect())
    }

    #[test]
    fn chunks_that_follow_one_another_are_read_at_once() {
        let places = [
            at(b"a", 8, 60_000),
            at(b"a", 60_008, 60_000),
            at(b"a", 150_000, 10),
        ];
        assert_eq!(ways(&places), [elsewhere(b"a", &places)]);
        assert_eq!(ways(&[]), []);
    }

    #[test]
    fn what_is_small_or_scattered_comes_from_here() {
        let places = [at(b"a", 500, 60_000), at(b"a", 8, 100), None, at(b"b", 8, 60_000)];
        assert_eq!(ways(&places), [Way::Here(4)]);
        let places = [
            None,
            at(b"a", 8, 70_000),
            at(b"b", 8, 70_000),
            at(b"b", 900_000, 9),
        ];
        let expected = [
            Way::Here(1),
            elsewhere(b"a", &places[1..2]),
            elsewhere(b"b", &places[2..3]),
            Way::Here(1),
        ];
        assert_eq!(ways(&places), expected);
    }

    #[test]
    fn a_reading_is_bounded() {
        let places: Vec<_> = (0..40)
            .map(|number| at(b"a", number * (256 << 10), 256 << 10))
            .collect();
        let ways = ways(&places);
        assert_eq!(ways.len(), 3);
        assert!(matches!(&ways[0], Way::Elsewhere(_, chunks) if chunks.len() == 16));
    }
}
