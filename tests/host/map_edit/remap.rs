// SPDX-License-Identifier: GPL-2.0

//! Blocks of a file that come to be elsewhere on the device.

use proptest::prelude::*;
use rext4::engine::change::Transaction;
use rext4::engine::credits::{Credits, Map, Op as Row, Shape};
use rext4::engine::extent_walk::ExtentTree;
use rext4::ondisk::seal::Seal;
use rext4::ondisk::FsBlock;

use crate::extents::{cases, extent, place, File, Op, SEED};
use crate::store::{Failure, DATA, DEVICE};

fn ops(space: u32, count: usize) -> impl Strategy<Value = Vec<Op>> {
    let insert = (0..space, 1..6u32, 0..3u64, any::<bool>())
        .prop_map(|(at, len, region, unwritten)| Op::Insert(at, len, place(region, at), unwritten));
    let remap = (0..space, 1..6u32, 3..6u64, any::<bool>())
        .prop_map(|(at, len, region, unwritten)| Op::Remap(at, len, place(region, at), unwritten));
    let punch = (0..space, 1..20u32).prop_map(|(at, len)| Op::Remove(at, at + len, 4));
    prop::collection::vec(prop_oneof![6 => insert, 8 => remap, 1 => punch], 1..count)
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn anywhere(ops in ops(600, 250)) {
        let mut file = File::new(1024, 6);
        for op in &ops {
            let op = match *op {
                // To where it is not already.
                Op::Remap(at, len, start, unwritten) => {
                    let from = file.entry(at, len).map_or(0, |old| old.start.get());
                    let region = (from.saturating_sub(DATA) >> 24) + 1;
                    let start = if from == start { place(region.max(3), at) } else { start };
                    // Blocks that others have come to, part of the way.
                    let len = (0..len).find(|n| {
                        let new = start + u64::from(*n);
                        file.model.get(&(at + n)).is_some_and(|(block, _)| *block == new)
                    }).unwrap_or(len);
                    Op::Remap(at, len.max(1), start, unwritten)
                }
                ref op => op.clone(),
            };
            if let Op::Remap(at, _, start, _) = op {
                if file.model.get(&at).is_some_and(|(block, _)| *block == start) {
                    continue;
                }
            }
            file.run(&op, true);
        }
        file.run(&Op::Remove(0, u32::MAX, 3), true);
    }
}

/// A file in many pieces is in one when each of them has come to where it belongs.
#[test]
fn pieces_become_one() {
    for depth in [1, 2] {
        let mut file = File::new(1024, if depth == 1 { 84 } else { 6 });
        let most = if depth == 1 { 80 } else { 30 };
        for n in 0..most {
            file.run(&Op::Insert(n, 1, place(u64::from(n % 2), n), true), false);
        }
        assert_eq!(file.depth(), depth);
        let leaves = file.leaves();
        assert_eq!(leaves.iter().sum::<usize>(), most as usize);
        // 7 has no factor in common with either.
        for n in 0..most {
            let at = n * 7 % most;
            file.run(&Op::Remap(at, 1, place(2, at), false), true);
        }
        assert_eq!(file.leaves(), vec![1; leaves.len()]);
    }
}

/// Long extents, which not every state can express.
#[test]
fn longest() {
    let mut file = File::new(1024, 84);
    file.run(&Op::Insert(0, 1 << 15, place(0, 0), false), true);
    let store = file.store.again();
    let editor = file.editor(&store);
    let old = file.entry(0, 1 << 15).expect("mapped");
    assert!(editor
        .remap(&file.root, &old, FsBlock::new(place(1, 0)), true)
        .is_err());
    store.settle();
    file.run(&Op::Remap(0, (1 << 15) - 1, place(1, 0), true), true);
    file.run(
        &Op::Remap((1 << 15) - 1, 1, place(1, (1 << 15) - 1), true),
        true,
    );
    assert_eq!(file.root_extents().len(), 2);
    file.run(&Op::Remap(0, (1 << 15) - 1, place(2, 0), false), true);
    file.run(
        &Op::Remap((1 << 15) - 1, 1, place(2, (1 << 15) - 1), false),
        true,
    );
    assert_eq!(file.root_extents().len(), 1);
}

/// What the tree does not say is not changed, and what is not applied has not happened.
#[test]
fn refused_and_dropped() {
    let mut file = File::new(1024, 6);
    for n in 0..40 {
        let op = Op::Insert(10 + 10 * n, 5, place(0, 10 + 10 * n), n % 2 == 0);
        file.run_quietly(&op);
    }
    let (root, disk) = (file.root, file.store.disk());
    let store = file.store.again();
    let editor = file.editor(&store);
    let to = FsBlock::new(place(1, 0));
    for old in [
        extent(9, 1, place(0, 9), true),
        extent(9, 2, place(0, 9), true),
        extent(10, 5, place(0, 11), true),
        extent(10, 5, place(0, 10), false),
        extent(10, 6, place(0, 10), true),
        extent(15, 5, place(0, 15), true),
        extent(9_000, 1, place(0, 9_000), true),
    ] {
        let ready = editor
            .remap(&file.root, &old, to, false)
            .expect("nothing fails");
        assert!(ready.is_none(), "{old:?}");
        store.settle();
    }
    for n in 0..40 {
        let old = file.entry(11 + 10 * n, 3).expect("mapped");
        let ready = editor
            .remap(&file.root, &old, to, false)
            .expect("nothing fails");
        assert!(ready.is_some(), "{old:?}");
        drop(ready);
        store.settle();
    }
    assert!(file.root == root && file.store.disk() == disk);
    file.audit();
}

/// A tree that comes to belong to another inode: all of its nodes, each once, after those below it.
#[test]
fn another_inode() {
    for (depth, capacity) in [(0, 84), (1, 84), (3, 6)] {
        let mut file = File::new(1024, capacity);
        for n in 0..4 * u32::from(capacity).pow(depth) {
            file.run_quietly(&Op::Insert(4 * n, 3, place(0, 4 * n), false));
        }
        let store = file.store.again();
        let tree = ExtentTree::new(&file.root, file.seed, &DEVICE);
        let mut leaves_first = Vec::new();
        tree.each_node(&store, &mut |block| {
            leaves_first.push(u16::from_le_bytes([block[6], block[7]]));
            let edit = store.edit(block)?;
            store.dirty(edit, Seal::Extent(SEED ^ 1));
            Ok(())
        })
        .expect("nothing fails");
        assert_eq!(leaves_first.len(), file.store.disk().nodes.len());
        let mut last = u16::MAX;
        for depth in leaves_first {
            assert!(depth == 0 || depth <= last + 1);
            last = depth;
        }
        file.seed = Some(SEED ^ 1);
        file.store.settle();
        file.audit();
        if depth == 0 {
            continue;
        }
        // Not by who it does not belong to, and an error ends it.
        let tree = ExtentTree::new(&file.root, Some(SEED), &DEVICE);
        assert!(tree.each_node(&store, &mut |_| Ok(())).is_err());
        let tree = ExtentTree::new(&file.root, file.seed, &DEVICE);
        let mut seen = 0;
        let ended = tree.each_node(&store, &mut |_| {
            seen += 1;
            Err(Failure::Injected)
        });
        assert_eq!((ended, seen), (Err(Failure::Injected), 1));
        store.settle();
    }
}

/// No more changes than are asked for, when both trees are full.
#[test]
fn credits() {
    for depth in 0..3u16 {
        let mut files = [0, 1].map(|_| {
            let mut file = File::new(1024, 84);
            for n in 0..4 * 84u32.pow(depth.into()) {
                file.run_quietly(&Op::Insert(4 * n, 3, place(0, 4 * n), false));
            }
            assert_eq!(file.depth(), depth);
            file
        });
        let shape = Shape::largest(1024, false);
        let map = Map::Extents { depth };
        let asked = shape.credits(Row::Swap(map, map));
        let mut used = Credits::default();
        for file in &mut files {
            file.store.settle();
            file.step(&Op::Remap(5, 1, place(1, 5), true))
                .expect("nothing fails");
            let counts = file.store.settle();
            // The inode; a bitmap and a descriptor for each new node.
            used.blocks += 1 + counts.dirtied + 3 * counts.created;
            used.revokes += counts.created;
        }
        assert_eq!(used, asked);
    }
}
