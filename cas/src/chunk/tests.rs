use std::collections::BTreeSet;

use thresh_core::chunk::{CHUNK_BYTES_MAX, Codec, Part, Recipe};
use thresh_core::digest::Digest;

use super::*;
use crate::testing::noise;

fn cut(content: &[u8]) -> Vec<Piece> {
    Cutter::new(content).collect::<Result<_, _>>().unwrap()
}

fn recipe(pieces: &[Piece]) -> Recipe {
    Recipe::new(pieces.iter().map(|piece| piece.part).collect()).unwrap()
}

fn digests(pieces: &[Piece]) -> BTreeSet<Digest> {
    pieces.iter().map(|piece| piece.part.digest).collect()
}

#[test]
fn chunks_make_the_content_again() {
    for length in [0, 1, CHUNK_BYTES_MAX, 3 << 20] {
        let content = noise(1, length);
        let pieces = cut(&content);
        let together: Vec<u8> = pieces.iter().flat_map(|piece| piece.content.clone()).collect();
        assert_eq!(together, content);
        for piece in &pieces {
            assert_eq!(piece.part.digest, Digest::of(&piece.content));
            assert!(piece.content.len() <= CHUNK_BYTES_MAX);
        }
    }
}

/// Where a stream is read in pieces must not show.
#[test]
fn cuts_depend_on_the_content_alone() {
    struct Slow<'a>(&'a [u8]);
    impl std::io::Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let length = buffer.len().min(977);
            self.0.read(&mut buffer[..length])
        }
    }
    let content = noise(2, 5 << 20);
    let slowly: Result<Vec<Piece>, _> = Cutter::new(Slow(&content)).collect();
    assert_eq!(slowly.unwrap(), cut(&content));
}

#[test]
fn an_insertion_changes_few_chunks() {
    let content = noise(3, 8 << 20);
    let mut edited = content.clone();
    edited.splice(4_000_000..4_000_000, *b"one line more");
    let (before, after) = (digests(&cut(&content)), digests(&cut(&edited)));
    assert!(after.difference(&before).count() <= 3);
}

#[test]
fn a_recipe_is_read_as_it_was_written() {
    let made = recipe(&cut(&noise(6, 1 << 20)));
    assert_eq!(made.size(), 1 << 20);
    for made in [made.clone(), made.with_base(Some(Digest::of(b"base")))] {
        assert_eq!(decode_recipe(&encode_recipe(&made)), Ok(made));
    }
}

#[test]
fn bytes_that_are_no_recipe_are_refused() {
    let mut encoded = encode_recipe(&recipe(&cut(&noise(7, 1 << 20))));
    assert_eq!(decode_recipe(b"something else"), Err(RecipeError::Header));
    for length in [0, 5, 20] {
        assert!(decode_recipe(&encoded[..length]).is_err());
    }
    let torn = &encoded[..encoded.len() - 1];
    assert_eq!(decode_recipe(torn), Err(RecipeError::Truncated));
    let end = encoded.len();
    encoded[end - 4..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(decode_recipe(&encoded), Err(RecipeError::Part(_))));
}

#[test]
fn a_chunk_is_unpacked_as_it_was_packed() {
    let text = b"the same again and again ".repeat(1_000);
    let packed = pack(Digest::of(&text), &text);
    assert!(packed.codec == Codec::Zstd && packed.data.len() < text.len() / 10);
    assert_eq!(unpack(&packed, &[]), Ok(text));
    // What cannot be compressed, the empty chunk among it, goes as it is.
    for content in [noise(8, 10_000), Vec::new()] {
        let packed = pack(Digest::of(&content), &content);
        assert_eq!((packed.codec, &packed.data), (Codec::Raw, &content));
        assert_eq!(unpack(&packed, &[]), Ok(content));
    }
}

#[test]
fn a_chunk_packed_against_one_that_resembles_it_is_short() {
    let base = noise(9, CHUNK_BYTES_MAX);
    let mut content = base.clone();
    for at in (0..content.len()).step_by(1_000) {
        content[at] ^= 1;
    }
    let digest = Digest::of(&content);
    let packed = pack_against(digest, &content, vec![Digest::of(&base)], &base);
    assert!(packed.data.len() < content.len() / 20, "{}", packed.data.len());
    assert_eq!(unpack(&packed, &base).as_ref(), Ok(&content));
    assert!(unpack(&packed, &noise(10, base.len())).is_err());
    assert!(unpack(&packed, &[]).is_err());
}

#[test]
fn frames_that_lie_are_refused() {
    let content = b"content ".repeat(100);
    let sound = pack(Digest::of(&content), &content);
    let changed = |change: &dyn Fn(&mut thresh_core::chunk::Frame)| {
        let mut frame = sound.clone();
        change(&mut frame);
        unpack(&frame, &[]).unwrap_err()
    };
    let data = |error| matches!(error, FrameError::Data { .. });
    assert!(data(changed(&|frame| frame.size -= 1)));
    assert!(data(changed(&|frame| frame.size += 1)));
    assert!(data(changed(&|frame| frame.data.truncate(10))));
    assert!(data(changed(&|frame| frame.data.clear())));
    assert!(matches!(
        changed(&|frame| frame.digest = Digest::of(b"other")),
        FrameError::WrongDigest { .. }
    ));
    assert!(matches!(
        changed(&|frame| frame.size = u32::MAX),
        FrameError::Long { .. }
    ));
}

/// Few bytes that say that they are a gigabyte.
#[test]
fn a_bomb_takes_no_memory() {
    let bomb = zstd::bulk::compress(&vec![0; 1 << 30], 19).unwrap();
    let frame = thresh_core::chunk::Frame {
        digest: Digest::of(b""),
        size: CHUNK_BYTES_MAX as u32,
        bases: Vec::new(),
        codec: Codec::Zstd,
        data: bomb,
    };
    assert!(matches!(unpack(&frame, &[]), Err(FrameError::Data { .. })));
    assert!(matches!(unpack(&frame, &[0; 10]), Err(FrameError::Data { .. })));
}

#[test]
fn a_chunk_is_aligned_with_those_at_the_same_share_of_the_older_version() {
    let content = noise(11, 4 << 20);
    let old = cut(&content);
    let mut edited = content.clone();
    edited.splice(10..10, noise(12, 50_000));
    let new = cut(&edited);
    let (old_recipe, new_recipe) = (recipe(&old), recipe(&new));
    let alignment = Alignment::new(&new_recipe, &old_recipe);
    for (index, piece) in new.iter().enumerate().skip(3) {
        let bases = &old_recipe.parts()[alignment.bases(index)];
        let held = old.iter().any(|old| old.part.digest == piece.part.digest);
        let found = bases.iter().any(|base: &Part| base.digest == piece.part.digest);
        // Cut points move only where something was put in.
        assert!(held && found, "part {index}");
        let bytes: usize = bases.iter().map(|base| base.size as usize).sum();
        assert!(bytes <= thresh_core::chunk::BASE_BYTES_MAX);
    }
    let empty = Recipe::new(Vec::new()).unwrap();
    assert_eq!(Alignment::new(&new_recipe, &empty).bases(0), 0..0);
}
