// SPDX-License-Identifier: GPL-2.0

//! Names that share a hash: with the legacy hash they can be made.

use rext4::engine::dir_cookie::CookieWidth;
use rext4::engine::dirhash::DirHash;

use super::build::{htree, names, Plan, PLAN};
use super::memory::MemDir;
use super::model;
use super::order::check_order;

const FACTOR: u32 = 7_152_373;

/// One step of the legacy hash with an unsigned byte.
fn step((last, before): (u32, u32), byte: u8) -> (u32, u32) {
    let mut hash = before.wrapping_add(last ^ u32::from(byte).wrapping_mul(FACTOR));
    if hash & 0x8000_0000 != 0 {
        hash = hash.wrapping_sub(0x7fff_ffff);
    }
    (hash, last)
}

/// The byte that takes `state` to `target`, if there is one.
fn solve((last, before): (u32, u32), target: u32) -> Option<u8> {
    // The inverse of FACTOR modulo 2^32.
    let mut inverse = FACTOR;
    for _ in 0..5 {
        inverse = inverse.wrapping_mul(2u32.wrapping_sub(FACTOR.wrapping_mul(inverse)));
    }
    [target, target.wrapping_add(0x7fff_ffff)]
        .into_iter()
        .filter_map(|raw| {
            let byte = (raw.wrapping_sub(before) ^ last).wrapping_mul(inverse);
            u8::try_from(byte).ok()
        })
        .find(|&byte| !matches!(byte, 0 | b'/') && step((last, before), byte).0 == target)
}

/// At least `n` names with the same legacy hash (unsigned bytes), each a prefix and 4 bytes.
pub fn colliding(n: usize) -> Vec<Vec<u8>> {
    let hash_of = |name: &[u8]| {
        name.iter()
            .fold((0x12a3_fe2d, 0x37ab_e8f9), |s, &b| step(s, b))
    };
    let target = hash_of(b"some name").0;
    let mut found = vec![b"some name".to_vec()];
    let usable = || (1u8..=255).filter(|b| *b != b'/');
    for prefix in 0.. {
        let prefix = format!("p{prefix}-").into_bytes();
        let start = hash_of(&prefix);
        for a in usable() {
            for b in usable() {
                let two = step(step(start, a), b);
                for c in usable() {
                    if let Some(d) = solve(step(two, c), target) {
                        let mut name = prefix.clone();
                        name.extend([a, b, c, d]);
                        found.push(name);
                    }
                }
            }
        }
        if found.len() >= n {
            return found;
        }
    }
    unreachable!()
}

fn legacy(plan: Plan, names: &[(u32, Vec<u8>)]) -> MemDir {
    let mut dir = htree(plan, names);
    // The builder's hash signs bytes; these names need the other kind.
    dir.format.hash_unsigned = true;
    dir
}

#[test]
fn ties_come_once_and_in_ext4s_order() {
    let ties = colliding(14);
    let hash = DirHash::new(3, true, &[0; 4]).unwrap();
    let key = hash.hash(&ties[0]).key();
    assert!(ties.iter().all(|name| hash.hash(name).key() == key));
    let count = ties.len();

    let plan = Plan { version: 3, ..PLAN };
    let mut all = names(60);
    all.extend(
        ties.iter()
            .zip(1000..)
            .map(|(name, ino)| (ino, name.clone())),
    );
    // A group in one leaf, over several, and over several nodes of the index.
    for (entries, pairs, large_dir) in [
        (usize::MAX, usize::MAX, false),
        (5, usize::MAX, false),
        (3, 6, true),
    ] {
        let plan = Plan {
            entries,
            pairs,
            large_dir,
            ..plan
        };
        let mut dir = legacy(plan, &all);
        // Version 3 is how the builder is told; on disk it is 0.
        dir.change(0, |root| {
            root[28] = 0;
            super::build::seal_index(plan, root, 32);
        });
        let continued = model::leaves(&dir).iter().filter(|(_, c)| *c).count();
        assert_eq!(continued > 1, entries < count, "{continued}");

        let expected = model::indexed(&dir, &hash);
        assert_eq!(expected.len(), all.len() + 2);
        // Neither a batch nor the cursor's count of ties depends on the other.
        for (records, restless) in [
            (count, false),
            (count + 1, false),
            (count + 1, true),
            (256, false),
            (256, true),
        ] {
            dir.restless.set(restless);
            for per_call in [1, 2, 5, 1000] {
                let seen = dir
                    .read_from(0, CookieWidth::Bits64, records, per_call)
                    .unwrap();
                if records > count {
                    check_order(&seen, &expected, CookieWidth::Bits64);
                }
                assert_eq!(seen.len(), expected.len());
            }
        }
        // Too many for the batch: each once, in the order of the chain.
        let mut sorted: Vec<_> = expected.iter().map(|(_, _, name)| name.clone()).collect();
        sorted.sort();
        let mut orders = Vec::new();
        for (records, restless) in [1, 2, 3, 5, count - 1]
            .into_iter()
            .flat_map(|n| [(n, false), (n, true)])
        {
            dir.restless.set(restless);
            for per_call in [1, 2, 3, 5, 7, 1000] {
                let seen = dir
                    .read_from(0, CookieWidth::Bits64, records, per_call)
                    .unwrap();
                let positions: Vec<_> = seen.iter().map(|s| s.position).collect();
                assert!(positions.is_sorted());
                let mut names: Vec<_> = seen.iter().map(|s| s.name.clone()).collect();
                orders.push(names.clone());
                names.sort();
                assert_eq!(names, sorted, "{records} records, {per_call} a call");
            }
        }
        assert!(orders.iter().all(|order| *order == orders[0]));

        // The same with more room from the second call on, where a chain has several leaves.
        dir.grows.set(true);
        for (records, per_call) in [1, 3, count - 1]
            .into_iter()
            .flat_map(|n| [(n, 1), (n, 2), (n, 5), (n, 7)])
        {
            let seen = dir
                .read_from(0, CookieWidth::Bits64, records, per_call)
                .unwrap();
            let mut names: Vec<_> = seen.iter().map(|s| s.name.clone()).collect();
            names.sort();
            assert_eq!(
                names, sorted,
                "{records} records at first, {per_call} a call"
            );
        }
        dir.grows.set(false);

        dir.restless.set(false);
        // A seek to their position gives all of them again, as in C ext4.
        let position = CookieWidth::Bits64.position(key);
        let from: Vec<_> = expected
            .iter()
            .filter(|(k, ..)| *k >= key)
            .cloned()
            .collect();
        let seen = dir
            .read_from(position, CookieWidth::Bits64, 256, 2)
            .unwrap();
        check_order(&seen, &from, CookieWidth::Bits64);

        // Lookup finds every one, wherever in the chain it is, and misses what is not there.
        for (ino, name) in &all {
            assert_eq!(dir.lookup(name).unwrap().unwrap().ino.get(), *ino);
        }
        let stranger = colliding(count + 1).pop().unwrap();
        assert_eq!(hash.hash(&stranger).key(), key);
        assert_eq!(dir.lookup(&stranger).unwrap(), None);
        assert_eq!(dir.reported(), []);
    }
}
