// SPDX-License-Identifier: GPL-2.0

//! Damaged indexes: what is an error, what is worked around, and that nothing is endless.

use rext4::engine::dir_cookie::CookieWidth;
use rext4::ondisk::dir::DirError;
use rext4::ondisk::dx::DxError;
use rext4::ondisk::Corrupt;

use super::build::{htree, names, seal_index, seal_leaf, Plan, PLAN};
use super::memory::{Error, MemDir};
use super::model;

const WIDE: CookieWidth = CookieWidth::Bits64;
const OPEN: Plan = Plan {
    checksums: false,
    pairs: 10,
    entries: 12,
    ..PLAN
};
const SEALED: Plan = Plan {
    checksums: true,
    ..OPEN
};

fn sorted(dir: &MemDir) -> Vec<Vec<u8>> {
    let mut names: Vec<_> = dir.raw_entries().into_iter().map(|e| e.3).collect();
    names.extend([b".".to_vec(), b"..".to_vec()]);
    names.sort();
    names
}

/// An index that is unusable: all names are found and read, and the reason is reported.
fn check_fallback(dir: &MemDir, why: DxError) {
    let all = sorted(dir);
    for per_call in [1, 9, 1000] {
        dir.reports.borrow_mut().clear();
        let seen = dir.read_from(0, WIDE, 64, per_call).unwrap();
        let mut got: Vec<_> = seen.iter().map(|s| s.name.clone()).collect();
        got.sort();
        assert_eq!(got, all, "{why:?}");
        assert_eq!(dir.reported(), [Corrupt::Dx(why)]);
        // Positions are offsets now, also for a reader who comes with one.
        let from = seen[seen.len() / 2].position;
        let rest = dir.read_from(from, WIDE, 64, per_call).unwrap();
        assert_eq!(rest, seen[seen.len() / 2..]);
    }
    dir.reports.borrow_mut().clear();
    for (_, _, ino, name) in dir.raw_entries() {
        assert_eq!(dir.lookup(&name).unwrap().unwrap().ino.get(), ino);
    }
    assert_eq!(dir.lookup(b"nothing").unwrap(), None);
    assert_eq!(dir.lookup(b"..").unwrap().unwrap().ino.get(), 2);
    assert!(dir.reported().iter().all(|r| *r == Corrupt::Dx(why)));
    assert!(!dir.reported().is_empty());
}

#[test]
fn an_unusable_root_is_worked_around() {
    for plan in [OPEN, SEALED] {
        let cases: [(usize, &[u8], DxError); 6] = [
            (28, &[9], DxError::HashVersion),
            (28, &[6], DxError::HashVersion),
            (30, &[2], DxError::TooDeep),
            (31, &[1], DxError::Flags),
            (44, &[0, 0xff, 0, 0], DxError::PastEnd),
            (48, &[0, 0, 0, 0], DxError::Order),
        ];
        for (at, bytes, why) in cases {
            let mut dir = htree(plan, &names(600));
            dir.change(0, |b| {
                b[at..at + bytes.len()].copy_from_slice(bytes);
                seal_index(plan, b, 32);
            });
            check_fallback(&dir, why);
        }
    }
    // Where checksums are, a wrong limit means that the checksum is not where it should be.
    for (at, bytes, why) in [
        (32, [1, 0], DxError::Limit),
        (34, [0, 0], DxError::Count),
        (34, [255, 0], DxError::Count),
    ] {
        let mut dir = htree(OPEN, &names(600));
        dir.change(0, |b| b[at..at + 2].copy_from_slice(&bytes));
        check_fallback(&dir, why);
    }
}

#[test]
fn a_node_that_points_back_is_a_cycle() {
    let mut dir = htree(OPEN, &names(600));
    let node = dir.blocks[0].as_ref().unwrap()[36..40].to_vec();
    let lblk = u32::from_le_bytes(node.clone().try_into().unwrap());
    dir.change(lblk, |b| b[12..16].copy_from_slice(&node));
    check_fallback(&dir, DxError::Cycle);
    dir.change(lblk, |b| b[12..16].copy_from_slice(&[0; 4]));
    check_fallback(&dir, DxError::Cycle);
}

#[test]
fn a_bad_index_checksum_is_an_error() {
    let mut dir = htree(SEALED, &names(600));
    dir.change(0, |b| b[40] ^= 2);
    let bad = || Error::Corrupt(Corrupt::Dx(DxError::Checksum));
    assert_eq!(dir.lookup(b"x"), Err(bad()));
    assert_eq!(dir.lookup(b".."), Err(bad()));
    assert_eq!(dir.read_from(0, WIDE, 9, 9), Err((vec![], bad())));
}

#[test]
fn later_damage_ends_reading_behind_what_was_good() {
    let good = htree(SEALED, &names(600));
    let expected = model::indexed(&good, &good.format.hash(1).unwrap());
    let leaves = model::leaves(&good);
    let victim = leaves[leaves.len() / 2].0;
    let names_in = |lblk: u32| -> Vec<Vec<u8>> {
        let entries = good.raw_entries().into_iter();
        entries.filter(|e| e.0 == lblk).map(|e| e.3).collect()
    };
    let lost = names_in(victim);
    let before = expected
        .iter()
        .position(|(_, _, name)| lost.contains(name))
        .unwrap();
    type Damage = fn(&mut MemDir, u32);
    let cases: [(Damage, Error); 3] = [
        (
            |dir, at| dir.change(at, |b| b[8] ^= 1),
            Error::Corrupt(Corrupt::Dir(DirError::Checksum)),
        ),
        (
            |dir, at| dir.punch(at),
            Error::Corrupt(Corrupt::Dir(DirError::Hole)),
        ),
        (|dir, at| dir.broken = Some(at), Error::Io),
    ];
    for (damage, error) in cases {
        let mut dir = htree(SEALED, &names(600));
        damage(&mut dir, victim);
        for per_call in [1, 10, 1000] {
            let (seen, e) = dir.read_from(0, WIDE, 64, per_call).unwrap_err();
            assert_eq!(e, error);
            assert_eq!(seen.len(), before);
            assert_eq!(seen.last().unwrap().name, expected[before - 1].2);
        }
        for name in &lost {
            assert_eq!(dir.lookup(name).as_ref(), Err(&error));
        }
        let (_, _, other) = &expected[5];
        assert!(dir.lookup(other).unwrap().is_some());
        // Behind it, all is well.
        let behind = before + lost.len();
        let position = WIDE.position(expected[behind].0);
        let rest = dir.read_from(position, WIDE, 64, 50).unwrap();
        assert_eq!(rest.len(), expected.len() - behind);
    }
}

#[test]
fn a_bad_record_hides_the_rest_of_its_leaf() {
    let mut dir = htree(SEALED, &names(600));
    let victim = model::leaves(&dir)[7].0;
    let in_leaf: Vec<_> = dir
        .raw_entries()
        .into_iter()
        .filter(|e| e.0 == victim)
        .collect();
    let (_, offset, _, bad) = in_leaf[3].clone();
    dir.change(victim, |b| {
        b[offset + 4..offset + 6].copy_from_slice(&8u16.to_le_bytes());
        seal_leaf(SEALED, b);
    });
    let seen: Vec<_> = dir.read_all().into_iter().map(|s| s.name).collect();
    assert_eq!(seen.len(), 602 - (in_leaf.len() - 3));
    assert!(in_leaf[..3].iter().all(|e| seen.contains(&e.3)));
    assert_eq!(dir.reported(), [Corrupt::Dir(DirError::ShortRecord)]);
    // Lookup sees what is in front of it, and else cannot say that a name does not exist.
    assert!(dir.lookup(&in_leaf[1].3).unwrap().is_some());
    let error = Error::Corrupt(Corrupt::Dir(DirError::ShortRecord));
    assert_eq!(dir.lookup(&bad), Err(error));
}

#[test]
fn a_later_unusable_node_is_an_error_not_the_end() {
    let mut dir = htree(OPEN, &names(600));
    let root = dir.blocks[0].as_ref().unwrap();
    let third = u32::from_le_bytes(root[52..56].try_into().unwrap());
    dir.change(third, |b| b[8] ^= 1);
    for per_call in [1, 10, 1000] {
        let (seen, e) = dir.read_from(0, WIDE, 64, per_call).unwrap_err();
        assert_eq!(e, Error::Corrupt(Corrupt::Dx(DxError::Limit)));
        assert!(seen.len() > 10);
    }
    // Lookup falls back.
    for (_, _, ino, name) in dir.raw_entries() {
        assert_eq!(dir.lookup(&name).unwrap().unwrap().ino.get(), ino);
    }
}

#[test]
fn descending_hashes_do_not_make_readdir_endless() {
    // Each node is in order by itself, but the first one goes beyond where the second starts.
    let mut dir = htree(OPEN, &names(600));
    let root = dir.blocks[0].as_ref().unwrap();
    let first = u32::from_le_bytes(root[36..40].try_into().unwrap());
    dir.change(first, |b| {
        let last = 8 + 9 * 8;
        b[last..last + 4].copy_from_slice(&0xf000_0000u32.to_le_bytes());
    });
    check_fallback(&dir, DxError::Order);

    // The second node's own hash is higher than one of the pairs in it.
    let mut dir = htree(OPEN, &names(600));
    let root = dir.blocks[0].as_ref().unwrap();
    let second = u32::from_le_bytes(root[44..48].try_into().unwrap());
    dir.change(second, |b| {
        b[16..20].copy_from_slice(&0x100u32.to_le_bytes())
    });
    for per_call in [1, 10, 1000] {
        let (seen, e) = dir.read_from(0, WIDE, 64, per_call).unwrap_err();
        assert_eq!(e, Error::Corrupt(Corrupt::Dx(DxError::Order)));
        assert!(seen.is_sorted_by_key(|s| s.position));
        assert!(seen.len() > 100);
    }
    for (_, _, ino, name) in dir.raw_entries() {
        assert_eq!(dir.lookup(&name).unwrap().unwrap().ino.get(), ino);
    }

    // All pairs say that one hash goes on and on, through the same leaf.
    let mut dir = htree(OPEN, &names(600));
    for lblk in 0..dir.blocks.len() as u32 {
        let block = dir.blocks[lblk as usize].as_ref().unwrap();
        let start = match lblk {
            0 => 32,
            _ if block[4..8] == [0, 4, 0, 0] && block[0] == 0 => 8,
            _ => continue,
        };
        dir.change(lblk, |b| {
            let count = usize::from(b[start + 2]);
            for i in 1..count {
                b[start + i * 8..][..4].copy_from_slice(&3u32.to_le_bytes());
                let leaf = b[start + 4..start + 8].to_vec();
                b[start + i * 8 + 4..][..4].copy_from_slice(&leaf);
            }
        });
    }
    dir.most_reads = 1000;
    // One hash in every leaf: some names come again and again, or the order is found to be bad; the
    // reads are bounded (`most_reads` panics) either way.
    let _ = dir.read_from(0, WIDE, 16, 10);
    assert!(dir.reads.get() > 1);
    dir.reads.set(0);
    let _ = dir.lookup(b"nothing");
}
