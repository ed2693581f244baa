use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::digest::Digest;
use crate::time::Timestamp;

const START: Timestamp = Timestamp::from_micros(1_000_000);

fn wish(number: u64, blob: &[u8]) -> Wish {
    Wish {
        number,
        site: "site".to_owned(),
        digest: Digest::of(blob),
        address: format!("worker-{number}"),
        unable: BTreeSet::new(),
    }
}

fn assigned(number: u64, source: Source) -> Assigned {
    Assigned { number, source }
}

fn peer(number: u64) -> Source {
    Source::Peer(format!("worker-{number}"))
}

#[test]
fn the_first_take_it_from_the_store_and_the_others_from_them() {
    let (mut spread, mut out) = (Spread::new(SpreadPolicy::default()), Vec::new());
    for number in 0..8 {
        spread.want(START, wish(number, b"blob"), &mut out);
    }
    assert_eq!(out, [assigned(0, Source::Store), assigned(1, Source::Store)]);
    out.clear();
    // It has it before it says that its fetch is over.
    spread.hold("site", Digest::of(b"blob"), "worker-0", &mut out);
    let from_first = [2, 3, 4].map(|number| assigned(number, peer(0)));
    assert_eq!(out, from_first, "nobody gives more than three at a time");
    out.clear();
    spread.end(0, &mut out);
    assert_eq!(out, [assigned(5, Source::Store)], "a place at the store is free");
    out.clear();
    spread.end(2, &mut out);
    assert_eq!(out, [assigned(6, peer(0))]);
}

#[test]
fn sites_and_blobs_have_nothing_to_do_with_each_other() {
    let (mut spread, mut out) = (Spread::new(SpreadPolicy::default()), Vec::new());
    spread.hold("site", Digest::of(b"blob"), "worker-9", &mut out);
    spread.want(START, wish(1, b"other"), &mut out);
    let elsewhere = Wish {
        site: "elsewhere".to_owned(),
        ..wish(2, b"blob")
    };
    spread.want(START, elsewhere, &mut out);
    spread.want(START, wish(3, b"blob"), &mut out);
    let expected = [
        assigned(1, Source::Store),
        assigned(2, Source::Store),
        assigned(3, peer(9)),
    ];
    assert_eq!(out, expected);
}

#[test]
fn who_could_not_give_is_not_named_again_and_nobody_is_sent_to_itself() {
    let (mut spread, mut out) = (Spread::new(SpreadPolicy::default()), Vec::new());
    let digest = Digest::of(b"blob");
    spread.hold("site", digest, "worker-1", &mut out);
    spread.hold("site", digest, "gone", &mut out);
    let again = Wish {
        unable: BTreeSet::from(["gone".to_owned()]),
        ..wish(1, b"blob")
    };
    spread.want(START, again, &mut out);
    assert_eq!(out, [assigned(1, Source::Store)]);
    out.clear();
    spread.want(START, wish(2, b"blob"), &mut out);
    assert_eq!(out, [assigned(2, peer(1))]);
}

#[test]
fn who_waits_long_is_sent_to_the_store() {
    let policy = SpreadPolicy {
        from_store_max: 1,
        ..SpreadPolicy::default()
    };
    let (mut spread, mut out) = (Spread::new(policy), Vec::new());
    for number in 0..3 {
        spread.want(START, wish(number, b"blob"), &mut out);
    }
    out.clear();
    // One that went away is not answered.
    spread.end(1, &mut out);
    let deadline = START.after(Duration::from_secs(10));
    assert_eq!(spread.next_deadline(), Some(deadline));
    spread.advance(deadline.before(Duration::from_millis(1)), &mut out);
    assert_eq!(out, []);
    spread.advance(deadline, &mut out);
    assert_eq!(out, [assigned(2, Source::Store)]);
    assert_eq!(spread.next_deadline(), None);
}

#[test]
fn what_is_remembered_is_bounded() {
    let policy = SpreadPolicy {
        blobs_max: 100,
        ..SpreadPolicy::default()
    };
    let (mut spread, mut out) = (Spread::new(policy), Vec::new());
    for number in 0..1_000_u64 {
        spread.hold("site", Digest::of(&number.to_le_bytes()), "worker-0", &mut out);
    }
    spread.want(START, wish(1, &999_u64.to_le_bytes()), &mut out);
    spread.want(START, wish(2, &0_u64.to_le_bytes()), &mut out);
    assert_eq!(out, [assigned(1, peer(0)), assigned(2, Source::Store)]);
}

#[test]
fn who_is_gone_is_named_once_and_who_comes_back_is_named_again() {
    let (mut spread, mut out) = (Spread::new(SpreadPolicy::default()), Vec::new());
    let [blob, other] = [Digest::of(b"blob"), Digest::of(b"other")];
    for digest in [blob, other] {
        spread.hold("site", digest, "gone", &mut out);
    }
    let again = Wish {
        unable: BTreeSet::from(["gone".to_owned()]),
        ..wish(1, b"blob")
    };
    spread.want(START, again, &mut out);
    spread.want(START, wish(2, b"other"), &mut out);
    assert_eq!(out, [assigned(1, Source::Store), assigned(2, Source::Store)]);
    out.clear();
    spread.hold("site", other, "gone", &mut out);
    spread.want(START, wish(3, b"other"), &mut out);
    assert_eq!(out, [assigned(3, Source::Peer("gone".to_owned()))]);
}

#[test]
fn of_many_who_have_it_the_last_are_remembered() {
    let policy = SpreadPolicy {
        holders_max: 2,
        gives_max: 1,
        from_store_max: 1,
        ..SpreadPolicy::default()
    };
    let (mut spread, mut out) = (Spread::new(policy), Vec::new());
    for number in 0..4 {
        spread.hold("site", Digest::of(b"blob"), &format!("worker-{number}"), &mut out);
    }
    for number in 10..13 {
        spread.want(START, wish(number, b"blob"), &mut out);
    }
    let expected = [
        assigned(10, peer(3)),
        assigned(11, peer(2)),
        assigned(12, Source::Store),
    ];
    assert_eq!(out, expected);
}

/// Rounds in which every fetch takes equally long.
#[test]
fn a_thousand_have_it_after_a_few_rounds() {
    let (mut spread, mut out) = (Spread::new(SpreadPolicy::default()), Vec::new());
    let digest = Digest::of(b"blob");
    for number in 0..1_000 {
        spread.want(START, wish(number, b"blob"), &mut out);
    }
    let (mut rounds, mut done, mut from_store) = (0, 0, 0);
    while !out.is_empty() {
        rounds += 1;
        let mut given: BTreeMap<String, u32> = BTreeMap::new();
        let now = std::mem::take(&mut out);
        for assigned in &now {
            match &assigned.source {
                Source::Store => from_store += 1,
                Source::Peer(address) => *given.entry(address.clone()).or_default() += 1,
            }
        }
        assert!(given.values().all(|gives| *gives <= 3), "{given:?}");
        for assigned in now {
            done += 1;
            spread.hold("site", digest, &format!("worker-{}", assigned.number), &mut out);
            spread.end(assigned.number, &mut out);
        }
    }
    assert_eq!(done, 1_000);
    assert!(rounds <= 7, "{rounds}");
    assert!(from_store <= 2 * rounds, "{from_store} of {rounds} rounds");
}
