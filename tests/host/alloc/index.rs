// SPDX-License-Identifier: GPL-2.0

//! The index of groups against a vector, and under threads.

use std::sync::atomic::AtomicU32;

use proptest::prelude::*;

use rext4::engine::alloc::index::{storage_len, GroupIndex, MAX_VALUE};
use rext4::ondisk::Group;

pub fn new(groups: u32) -> GroupIndex<Vec<AtomicU32>> {
    let storage = (0..storage_len(groups))
        .map(|_| AtomicU32::new(77))
        .collect();
    GroupIndex::new(storage, groups).expect("storage")
}

fn model_find(values: &[u32], from: u32, least: u32) -> Option<Group> {
    let n = values.len() as u32;
    let from = if from < n { from } else { 0 };
    let mut order = (from..n).chain(0..from);
    order
        .find(|g| values[*g as usize] >= least.max(1))
        .map(Group::new)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn random_changes_and_searches(
        groups in prop_oneof![1u32..40, 250u32..260, 1u32..5000],
        ops in prop::collection::vec(
            (any::<u32>(), prop_oneof![0u32..4, 0u32..1000, any::<u32>()], any::<u32>(), 0u32..1100),
            1..150,
        ),
    ) {
        let index = new(groups);
        let mut model = vec![0; groups as usize];
        prop_assert_eq!((index.max(), index.find(Group::new(0), 0)), (0, None));
        for (group, value, from, least) in ops {
            let group = group % groups;
            index.set(Group::new(group), value);
            model[group as usize] = value.min(MAX_VALUE);
            prop_assert_eq!(index.get(Group::new(group)), value.min(MAX_VALUE));
            prop_assert_eq!(index.max(), *model.iter().max().unwrap());
            let from = from % (groups + 2);
            let want = model_find(&model, from, least);
            prop_assert_eq!(index.find(Group::new(from), least), want);
            prop_assert_eq!(index.scan(Group::new(from), least), want);
            let mut part = model.iter().take(group as usize).skip(from as usize);
            let part = part.position(|v| *v >= least.max(1)).map(|n| Group::new(from + n as u32));
            prop_assert_eq!(index.find_in(from, group, least), part);
        }
    }
}

#[test]
fn sizes() {
    // Eight groups are one node; 17 are two below one.
    assert_eq!(
        [1, 16, 17, 256, 257].map(storage_len),
        [16, 16, 48, 272, 320]
    );
    let short = vec![AtomicU32::new(0), AtomicU32::new(0)];
    assert!(GroupIndex::new(short, 1).is_none());
    assert!(GroupIndex::new(Vec::new(), 0).is_none());
    let index = new(5);
    index.set(Group::new(5), 9);
    index.set(Group::new(u32::MAX), 9);
    assert_eq!((index.max(), index.get(Group::new(5))), (0, 0));
}

/// Whatever the threads do, afterwards the nodes say what the groups say.
#[test]
fn changes_that_meet() {
    const GROUPS: u32 = 300;
    const THREADS: u32 = 4;
    for round in 0..60u32 {
        let index = new(GROUPS);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let index = &index;
                scope.spawn(move || {
                    let mut random = round * THREADS + thread + 1;
                    for _ in 0..200 {
                        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        // Each thread has groups of its own, side by side with the others'.
                        let group = (random >> 8) % (GROUPS / THREADS) * THREADS + thread;
                        index.set(Group::new(group), random >> 28);
                        let found = index.find(Group::new(group), 1 + ((random >> 4) & 15));
                        assert!(found.is_none_or(|g| g.get() < GROUPS));
                    }
                });
            }
        });
        let values: Vec<u32> = (0..GROUPS).map(|g| index.get(Group::new(g))).collect();
        assert_eq!(index.max(), *values.iter().max().unwrap(), "round {round}");
        for least in 1..17 {
            for from in [0, 100, 299] {
                let want = model_find(&values, from, least);
                assert_eq!(index.find(Group::new(from), least), want, "round {round}");
            }
        }
    }
}
