// SPDX-License-Identifier: GPL-2.0

//! The tree of free runs against a vector of booleans.

use proptest::prelude::*;

use rext4::engine::alloc::runs::{storage_len, RunTree, MAX_BITS};
use rext4::engine::alloc::summary::{Summary, ORDERS};
use rext4::engine::alloc::Run;
use rext4::ondisk::group::GroupError;

use crate::images::Random;

/// What the tree must say, the slow way; `true` is in use.
struct Model(Vec<bool>);

impl Model {
    fn run_at(&self, start: u32, max: u32) -> u32 {
        let rest = self.0.iter().skip(start as usize).take(max as usize);
        rest.take_while(|used| !**used).count() as u32
    }

    fn find(&self, from: u32, len: u32) -> Option<Run> {
        let mut open = 0;
        for at in from..self.0.len() as u32 {
            open = if self.0[at as usize] { 0 } else { open + 1 };
            if len != 0 && open == len {
                return Some(Run::new(at + 1 - len, len));
            }
        }
        None
    }

    fn longest(&self) -> u32 {
        let free = self.0.split(|used| *used).map(<[bool]>::len);
        free.max().unwrap_or(0) as u32
    }

    fn free(&self) -> u32 {
        self.0.iter().filter(|used| !**used).count() as u32
    }

    /// Sets a run if all of it is otherwise.
    fn change(&mut self, run: Run, used: bool) -> Result<(), GroupError> {
        let end = u64::from(run.start) + u64::from(run.len);
        if end > self.0.len() as u64 {
            return Err(GroupError::BitsOutside);
        }
        let bits = &mut self.0[run.start as usize..end as usize];
        if bits.contains(&used) {
            return Err(if used {
                GroupError::BitsSet
            } else {
                GroupError::BitsClear
            });
        }
        bits.fill(used);
        Ok(())
    }

    fn bitmap(&self) -> Vec<u8> {
        // What is behind the end is not looked at.
        let mut bytes = vec![0x5a; self.0.len().div_ceil(512) * 64];
        for (n, used) in self.0.iter().enumerate() {
            bytes[n / 8] &= !(1 << (n % 8));
            bytes[n / 8] |= u8::from(*used) << (n % 8);
        }
        bytes
    }
}

fn tree(bits: u32) -> RunTree<Vec<u64>> {
    RunTree::new(vec![0x1234; storage_len(bits)], bits).expect("storage")
}

fn check(tree: &RunTree<Vec<u64>>, model: &Model, at: u32, len: u32) {
    assert_eq!(tree.free(), model.free());
    assert_eq!(tree.longest(), model.longest());
    assert_eq!(tree.run_at(at, len), model.run_at(at, len), "{at} {len}");
    assert_eq!(tree.find(at, len), model.find(at, len), "{at} {len}");
    let run = Run::new(at, len);
    let bits = model.0.get(at as usize..(at + len) as usize);
    assert_eq!(tree.is_free(run), bits.is_some_and(|b| !b.contains(&true)));
    assert_eq!(tree.is_used(run), bits.is_some_and(|b| !b.contains(&false)));
    // The longest run is there, and nothing longer.
    let longest = model.longest();
    assert_eq!(tree.find(0, longest), model.find(0, longest));
    assert_eq!(tree.find(0, longest + 1), None);
}

/// Sizes around words, chunks and levels.
fn sizes() -> impl Strategy<Value = u32> {
    prop_oneof![
        1u32..70,
        500u32..530,
        1000u32..1100,
        2040u32..2060,
        Just(8192),
        8000u32..9000
    ]
}

/// Runs of all sizes: most short, some as long as the group.
fn run() -> impl Strategy<Value = (u16, u16)> {
    (
        any::<u16>(),
        prop_oneof![0u16..4, 0u16..70, 0u16..600, 0u16..9000],
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn random_changes_and_searches(
        bits in sizes(),
        fill in prop::collection::vec(run(), 0..60),
        ops in prop::collection::vec((0u8..4, run(), run()), 1..60),
    ) {
        let mut model = Model(vec![false; bits as usize]);
        for (start, len) in fill {
            let start = usize::from(start) % bits as usize;
            let end = (start + usize::from(len)).min(bits as usize);
            model.0[start..end].fill(true);
        }
        let mut tree = tree(bits);
        prop_assert_eq!((tree.free(), tree.longest()), (0, 0));
        tree.load(&model.bitmap());
        for (kind, (start, len), (at, want)) in ops {
            let at = u32::from(at) % (bits + 2);
            check(&tree, &model, at, want.into());
            let run = Run::new(u32::from(start) % (bits + 2), len.into());
            match kind {
                0 => prop_assert_eq!(tree.take(run), model.change(run, true)),
                1 => prop_assert_eq!(tree.release(run), model.change(run, false)),
                // What has been found can be taken.
                2 => {
                    if let Some(found) = tree.find(at, want.into()) {
                        prop_assert_eq!(tree.take(found), Ok(()));
                        prop_assert_eq!(model.change(found, true), Ok(()));
                    }
                }
                _ => {
                    tree.mark(run);
                    if run.end() <= bits {
                        model.0[run.start as usize..run.end() as usize].fill(true);
                    }
                }
            }
        }
        // A tree that was changed says what one says that is loaded.
        let mut fresh = self::tree(bits);
        fresh.load(&model.bitmap());
        prop_assert_eq!(format!("{fresh:?}"), format!("{tree:?}"));
    }

    #[test]
    fn noise(
        bits in sizes(),
        words in prop::collection::vec(any::<u64>(), 1..40),
        dense in any::<bool>(),
        at in any::<u16>(),
    ) {
        let used = |n: usize| {
            let bit = |salt: usize| (words[(n / 64 + salt) % words.len()] >> (n % 64)) & 1 == 1;
            if dense { bit(0) || bit(1) } else { bit(0) && bit(1) && bit(2) }
        };
        let model = Model((0..bits as usize).map(used).collect());
        let mut tree = tree(bits);
        tree.load(&model.bitmap());
        let at = u32::from(at) % bits;
        for len in 0..40 {
            check(&tree, &model, at, len);
        }
    }
}

#[test]
fn the_largest_group() {
    let mut tree = tree(MAX_BITS);
    tree.clear();
    assert_eq!((tree.free(), tree.longest()), (MAX_BITS, MAX_BITS));
    let all = Run::new(0, MAX_BITS);
    assert_eq!(tree.find(0, MAX_BITS), Some(all));
    assert_eq!(tree.run_at(1, u32::MAX), MAX_BITS - 1);
    tree.take(all).unwrap();
    assert_eq!(
        tree.take(Run::new(MAX_BITS - 1, 1)),
        Err(GroupError::BitsSet)
    );
    assert_eq!(
        tree.take(Run::new(MAX_BITS, 1)),
        Err(GroupError::BitsOutside)
    );
    assert_eq!(
        tree.take(Run::new(1, u32::MAX)),
        Err(GroupError::BitsOutside)
    );
    // Every second cluster: nothing is longer than one, wherever one looks.
    for n in 0..MAX_BITS / 2 {
        tree.release(Run::new(2 * n, 1)).unwrap();
    }
    assert_eq!((tree.free(), tree.longest()), (MAX_BITS / 2, 1));
    assert_eq!(
        tree.find(MAX_BITS / 2 + 1, 1),
        Some(Run::new(MAX_BITS / 2 + 2, 1))
    );
    assert_eq!(tree.find(0, 2), None);
    tree.release(Run::new(400_001, 1)).unwrap();
    assert_eq!(tree.find(0, 3), Some(Run::new(400_000, 3)));
    assert_eq!(tree.find(400_001, 3), None);
}

#[test]
fn a_bitmap_that_is_short_has_nothing_free_behind_its_end() {
    let mut tree = tree(1024);
    tree.load(&[0; 70]);
    assert_eq!((tree.free(), tree.longest()), (512, 512));
}

/// Buddies as they are defined: the largest aligned powers of two that are free.
fn buddies(free: &[bool], max_order: u32) -> [u32; ORDERS] {
    let mut buddies = [0; ORDERS];
    let whole = |at: usize, order: u32| {
        let len = 1usize << order;
        at % len == 0
            && free
                .get(at..at + len)
                .is_some_and(|run| run.iter().all(|f| *f))
    };
    let mut at = 0;
    while at < free.len() {
        match (0..=max_order).rev().find(|order| whole(at, *order)) {
            Some(order) => {
                buddies[order as usize] += 1;
                at += 1 << order;
            }
            None => at += 1,
        }
    }
    buddies
}

#[test]
fn summaries() {
    let mut random = Random(77);
    for round in 0..200u32 {
        let bits = 1 + random.below(4000);
        let mut tree = RunTree::new(vec![0; storage_len(bits)], bits).unwrap();
        tree.clear();
        let mut free = vec![true; bits as usize];
        for _ in 0..random.below(1 + round) {
            let start = random.below(bits);
            let run = Run::new(start, 1 + random.below(bits - start).min(random.below(300)));
            tree.mark(run);
            free[start as usize..run.end() as usize].fill(false);
        }
        let summary = Summary::of(&tree, 10);
        let runs: Vec<Run> = tree.runs().collect();
        let mut expected = vec![false; bits as usize];
        for run in &runs {
            expected[run.start as usize..run.end() as usize].fill(true);
        }
        assert_eq!(expected, free);
        assert!(runs.windows(2).all(|w| w[0].end() < w[1].start));
        assert_eq!(summary.free, free.iter().filter(|f| **f).count() as u32);
        assert_eq!(summary.fragments, runs.len() as u32);
        assert_eq!(
            summary.first_free,
            free.iter().position(|f| *f).map(|n| n as u32)
        );
        assert_eq!(summary.buddies, buddies(&free, 11));
        assert_eq!(summary.largest().is_some(), summary.free != 0);
    }
    let full = RunTree::new(vec![0; storage_len(64)], 64).unwrap();
    let summary = Summary::of(&full, 12);
    assert_eq!((summary.largest(), summary.average(12)), (None, None));
}
