use super::columns::{Columns, number, put_number, unzigzag, zigzag};
use super::*;
use crate::testing::noise;

/// Makes a patch, applies it, and returns its length.
fn made(base: &[u8], content: &[u8]) -> usize {
    let patch = make(base, content).unwrap();
    assert_eq!(apply(&patch, base, content.len()).unwrap(), content);
    patch.len()
}

/// Numbers as a linker writes addresses.
fn addresses(first: u32, count: u32) -> Vec<u8> {
    let scattered = |number: u32| first + number * 24 + number.wrapping_mul(0x9e37_79b9) % 1_000 * 16;
    (0..count).map(scattered).flat_map(u32::to_le_bytes).collect()
}

fn numbers(numbers: &[u32]) -> Vec<u8> {
    let mut out = Vec::new();
    numbers.iter().for_each(|number| put_number(&mut out, *number));
    out
}

#[test]
fn what_was_moved_put_in_or_left_out_is_found() {
    let base = noise(1, 100_000);
    assert!(made(&base, &base) < 20);
    assert!(made(&base, &base[40_000..50_000]) < 20);
    assert!(made(&base, &[&base[..100], b"put in", &base[100..]].concat()) < 50);
    assert!(made(&base, &[&base[..100], &base[5_000..]].concat()) < 50);
    assert!(made(&base, &[&base[60_000..], &base[..60_000]].concat()) < 50);
    let mut content = base.clone();
    content[50_000] ^= 0xff;
    *content.last_mut().unwrap() ^= 0xff;
    assert!(made(&base, &content) < 50);
}

#[test]
fn addresses_that_move_together_are_two_bytes_each() {
    let code = noise(2, 40_000);
    let woven = |addresses: &[u8]| -> Vec<u8> {
        let (words, _) = addresses.as_chunks::<4>();
        let pieces = code.chunks(40).zip(words);
        pieces.flat_map(|(code, word)| [code, word].concat()).collect()
    };
    let (old, new) = (addresses(0x10_0000, 1_000), addresses(0x10_0860, 1_000));
    assert!(made(&woven(&old), &woven(&new)) < 2_100);
    // As a table, of which half the bytes differ.
    assert!(made(&old, &new) < 2_500);
}

#[test]
fn short_and_foreign_content_has_no_patch_or_a_right_one() {
    let base = noise(3, 1_000);
    assert_eq!(make(&base, &[]), None);
    assert_eq!(make(&base, &noise(4, 1_000)), None);
    assert_eq!(make(&[], &base), None);
    for length in 1..80 {
        let mut content = base[100..100 + length].to_vec();
        content[length - 1] = !content[length - 1];
        if let Some(patch) = make(&base, &content) {
            assert_eq!(apply(&patch, &base, length).unwrap(), content);
        }
    }
}

#[test]
fn patches_that_make_something_else_are_refused() {
    let base = noise(5, 100);
    let columns = |runs: &[u32], literals: &[u8], gaps: &[u32], ranks: &[u8], addends: &[u8]| {
        let columns = Columns {
            runs: numbers(runs),
            literals: literals.to_vec(),
            gaps: numbers(gaps),
            ranks: ranks.to_vec(),
            addends: addends.to_vec(),
        };
        columns.join()
    };
    let size = 20;
    let is_refused = |patch: &[u8]| apply(patch, &base, size).is_none();
    let sound = columns(&[2, 18, zigzag(7)], b"ab", &[3, 5], &[NEW, 0], &[1, 0, 0, 0]);
    let mut expected = [b"ab", &base[7..25]].concat();
    for at in [3, 12] {
        let word: &mut [u8; 4] = expected[at..].first_chunk_mut().unwrap();
        *word = u32::from_le_bytes(*word).wrapping_add(1).to_le_bytes();
    }
    assert_eq!(apply(&sound, &base, size), Some(expected));
    assert!(is_refused(&[]));
    for length in 0..sound.len() {
        assert!(is_refused(&sound[..length]), "{length}");
    }
    // Too short, too long, before the begin of the base, behind its end, nothing at all, and no end.
    for runs in [
        &[2, 17, zigzag(7)][..],
        &[2, 19, zigzag(7)],
        &[2, 18, zigzag(-1)],
        &[2, 18, zigzag(83)],
        &[2, 0, 0, 0, 0, 0, 0, 18, 0],
        &[2, 18],
        &[2, u32::MAX, zigzag(7)],
    ] {
        assert!(is_refused(&columns(runs, b"ab", &[], &[], &[])), "{runs:?}");
    }
    let runs = [2, 18, zigzag(7)];
    // Literals that nobody wants, and corrections behind the end, of nothing, and of what is not in the list.
    assert!(is_refused(&columns(&runs, b"abc", &[], &[], &[])));
    assert!(is_refused(&columns(&runs, b"ab", &[17], &[NEW], &[1; 4])));
    assert!(is_refused(&columns(&runs, b"ab", &[u32::MAX], &[NEW], &[1; 4])));
    assert!(is_refused(&columns(&runs, b"ab", &[3], &[NEW], &[1; 3])));
    assert!(is_refused(&columns(&runs, b"ab", &[3], &[0], &[])));
    assert!(is_refused(&columns(&runs, b"ab", &[3], &[NEW], &[1; 5])));
}

/// Whatever is done to a patch, it makes something of the right length or nothing.
#[test]
fn tampered_patches_do_no_harm() {
    let base = noise(6, 5_000);
    let mut content = [&base[2_000..], b"between", &base[..3_000]].concat();
    for at in (0..content.len()).step_by(90) {
        content[at] ^= 0x55;
    }
    let patch = make(&base, &content).unwrap();
    for at in 0..patch.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut tampered = patch.clone();
            tampered[at] = value;
            if let Some(made) = apply(&tampered, &base, content.len()) {
                assert_eq!(made.len(), content.len());
            }
        }
    }
}

#[test]
fn numbers_are_read_as_they_were_written() {
    for value in [0, 1, 127, 128, 300, 1 << 28, u32::MAX] {
        assert_eq!(number(&mut &numbers(&[value])[..]), Some(value));
        let signed = value.cast_signed();
        assert_eq!(unzigzag(zigzag(signed)), signed);
    }
    for bytes in [&[][..], &[0x80], &[0xff; 5], &[0xff, 0xff, 0xff, 0xff, 0x10]] {
        assert_eq!(number(&mut &*bytes), None, "{bytes:?}");
    }
}
