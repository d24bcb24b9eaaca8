// SPDX-License-Identifier: GPL-2.0

//! Random sequences of changes against a map.

use proptest::prelude::*;

use super::subject::Subject;
use crate::build::{Lcg, Plan, PLAN};
use crate::ties;

/// Names of all lengths; a few hundred of them fill several blocks.
fn name(nr: u32) -> Vec<u8> {
    let mut rng = Lcg(nr.into());
    let len = if nr % 9 == 0 { 250 } else { rng.below(30) };
    let mut name = format!("{nr:x}").into_bytes();
    while name.len() < len {
        name.push(b'a' + rng.below(26) as u8);
    }
    name
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Insert(u32),
    Remove(u32),
    Replace(u32),
    Parent(u32),
}

fn ops(most: usize) -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (0u32..600).prop_map(Op::Insert),
        4 => (0u32..600).prop_map(Op::Remove),
        1 => (0u32..600).prop_map(Op::Replace),
        1 => (2u32..1000).prop_map(Op::Parent),
    ];
    prop::collection::vec(op, 1..most)
}

fn plans() -> impl Strategy<Value = (Plan, bool, bool)> {
    let block_size = prop_oneof![3 => Just(1024u32), 1 => Just(4096), 1 => Just(65536)];
    (
        block_size,
        0u8..3,
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(block_size, version, checksums, dir_index, file_types)| {
            let plan = Plan {
                block_size,
                version,
                checksums,
                ..PLAN
            };
            (plan, dir_index, file_types)
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence((plan, dir_index, file_types) in plans(), ops in ops(700)) {
        let mut subject = Subject::create(plan);
        subject.format.dir_index = dir_index;
        subject.format.file_types = file_types;
        for (nr, op) in ops.into_iter().enumerate() {
            match op {
                Op::Insert(n) if !subject.model.contains_key(&name(n)) => {
                    subject.insert(&name(n), 100 + n);
                }
                Op::Insert(n) | Op::Remove(n) if subject.model.contains_key(&name(n)) => {
                    subject.remove(&name(n));
                }
                Op::Replace(n) if subject.model.contains_key(&name(n)) => {
                    subject.replace(&name(n), 2000 + n);
                }
                Op::Parent(n) => subject.set_parent(n),
                _ => {}
            }
            if nr % 50 == 0 {
                subject.check();
            }
        }
        subject.check();
    }
}

/// Grows a directory, churns it, and empties it, each in an order of its own.
fn life(mut subject: Subject, names: &[Vec<u8>], seed: u64, every: usize) {
    let mut rng = Lcg(seed);
    let mut order: Vec<usize> = (0..names.len()).collect();
    rng.shuffle(&mut order);
    for (i, nr) in order.iter().enumerate() {
        subject.insert(&names[*nr], 100 + *nr as u32);
        if i % every == 0 {
            subject.check();
        }
    }
    subject.check();
    let full = subject.store.len();
    // As many come as go: holes are filled, so the directory hardly grows.
    for i in 0..names.len() * 2 {
        let nr = rng.below(names.len());
        subject.remove(&names[nr]);
        subject.insert(&names[nr], 5000 + i as u32);
        if i % (every * 2) == 0 {
            subject.check();
        }
    }
    subject.check();
    assert!(subject.store.len() <= full * 3 / 2 + 2, "{full}");
    if subject.indexed.get() {
        rng.shuffle(&mut order);
    } else {
        // From the back, or nothing could go.
        order = (0..names.len()).collect();
        order.sort_by_key(|nr| {
            let place = subject.find(&names[*nr]).place;
            std::cmp::Reverse(key(place))
        });
    }
    for (i, nr) in order.iter().enumerate() {
        subject.remove(&names[*nr]);
        if i % every == 0 {
            subject.check();
        }
    }
    subject.check();
    // What is left: the root, its levels and one leaf below each index block; or two blocks, as
    // a single one would be read in another order.
    let left = subject.store.len();
    assert!(left <= full / 20 + 2, "{left} of {full}");
}

fn key(place: rext4::engine::dir_lookup::Place) -> usize {
    match place {
        rext4::engine::dir_lookup::Place::Block { lblk, offset } => {
            lblk.get() as usize * 65536 + offset as usize
        }
        _ => unreachable!(),
    }
}

#[test]
fn grown_churned_emptied() {
    for (block_size, checksums, version, count) in [
        (1024u32, true, 1u8, 3000u32),
        (1024, false, 2, 1500),
        (4096, true, 1, 2000),
        (4096, false, 0, 1500),
        (65536, true, 1, 4000),
    ] {
        let plan = Plan {
            block_size,
            checksums,
            version,
            ..PLAN
        };
        let names: Vec<_> = (0..count).map(name).collect();
        life(Subject::create(plan), &names, count.into(), 700);
    }
}

#[test]
fn without_an_index() {
    for checksums in [true, false] {
        let plan = Plan { checksums, ..PLAN };
        let mut subject = Subject::create(plan);
        subject.format.dir_index = false;
        let names: Vec<_> = (0..600).map(name).collect();
        life(subject, &names, 9, 200);
    }
}

/// Names of equal hash fill leaves of their own, one continuing the other.
#[test]
fn collisions_span_leaves() {
    let mut names = ties::colliding(150);
    names.truncate(150);
    names.extend((0..300).map(name));
    for checksums in [true, false] {
        let plan = Plan {
            version: 0,
            checksums,
            ..PLAN
        };
        let mut subject = Subject::create(plan);
        subject.format.hash_unsigned = true;
        let seed = subject.format.hash_seed;
        subject.format.default_hash = rext4::engine::dirhash::DirHash::new(0, true, &seed);
        let mut grown = Subject::create(plan);
        grown.format = subject.format;
        for (nr, name) in names.iter().enumerate() {
            grown.insert(name, 100 + nr as u32);
        }
        grown.check();
        let continued = grown.leaves().iter().filter(|(_, c)| *c).count();
        assert!(continued > 1, "{continued}");
        life(subject, &names, 4, 200);
    }
}
