// SPDX-License-Identifier: GPL-2.0

//! What changes of maps really change, against what the table of credits says of them.

use std::collections::BTreeSet;

use rext4::engine::change::Was;
use rext4::engine::credits::{Credits, Map, Op as Row, Shape};

use crate::extents::{place, File, Op};

fn map(file: &File) -> Map {
    Map::Extents {
        depth: file.depth(),
    }
}

fn shape() -> Shape {
    Shape::largest(1024, false)
}

/// What `f` changes, makes and frees of the tree.
fn measure(file: &mut File, f: impl FnOnce(&mut File)) -> [u32; 3] {
    let before = file.store.disk().nodes;
    f(file);
    let after = file.store.disk().nodes;
    let both = before.iter().filter_map(|(n, b)| Some((b, after.get(n)?)));
    let changed = both.filter(|(b, a)| b != a).count();
    let new = after.keys().filter(|n| !before.contains_key(n)).count();
    let freed = before.keys().filter(|n| !after.contains_key(n)).count();
    [changed as u32, new as u32, freed as u32]
}

fn insert(file: &mut File, at: u32) {
    file.run_quietly(&Op::Insert(at, 1, place(0, at), false));
}

/// A file of single blocks with gaps, whose tree of full nodes has no room left below its root.
fn full(depth: u16, capacity: u16) -> File {
    let mut file = File::new(1024, capacity);
    for n in 0..4 * u32::from(capacity).pow(depth.into()) {
        insert(&mut file, 10 + 4 * n);
    }
    assert_eq!(file.depth(), depth);
    file
}

/// Runs that are put into a map one after the other, in one transaction.
fn allocate(file: &mut File, at: &[u32]) -> u32 {
    let runs = at.len() as u32;
    let asked = shape().credits(Row::Allocate(map(file), runs));
    let [changed, new, _] = measure(file, |file| at.iter().for_each(|at| insert(file, *at)));
    let used = Credits {
        // The inode; a bitmap and a descriptor for each run and node.
        blocks: 1 + changed + new + 2 * (runs + new),
        revokes: new,
    };
    assert!(used.revokes <= asked.revokes, "{used:?} {asked:?}");
    assert!(used.blocks <= asked.blocks, "{used:?} {asked:?}");
    asked.blocks - used.blocks
}

/// Each run in a full leaf of its own: nearly what is asked for. A node that the root has moved
/// into is counted as split sooner than it is.
#[test]
fn runs_in_full_leaves() {
    for depth in 0..3 {
        for runs in [1u32, 2, 4] {
            let mut file = full(depth, 84);
            let leaf = 4 * 84 * 84u32.pow(depth.saturating_sub(2).into());
            let at: Vec<u32> = (0..runs).map(|n| 12 + n * leaf).collect();
            let slack = allocate(&mut file, &at);
            match (depth, runs) {
                (_, 1) => assert_eq!(slack, 0),
                (0, _) | (1, _) => assert!(slack <= 3, "{depth} {runs} {slack}"),
                // Neighbouring leaves share the node above them.
                _ => assert!(slack <= 4 * 3 * runs, "{depth} {runs} {slack}"),
            }
        }
    }
}

#[test]
fn many_runs_anywhere() {
    for depth in 0..3 {
        let mut seed = 5u32;
        for runs in [7, 50, 400] {
            let mut file = full(depth, 84);
            let most = 4 * 4 * 84u32.pow(depth.into());
            let mut at = BTreeSet::new();
            while at.len() < runs {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let n = 11 + 2 * ((seed >> 8) % (most + 2000));
                if !file.model.contains_key(&n) {
                    at.insert(n);
                }
            }
            let at: Vec<u32> = at.into_iter().collect();
            allocate(&mut file, &at);
        }
    }
}

/// A truncation in steps, each in a transaction of its own.
#[test]
fn steps_of_a_truncation() {
    for (depth, budget) in [(0, 0), (1, 0), (1, 16), (2, 0), (2, 16), (3, 0), (3, 9)] {
        let mut file = full(depth, 6);
        // Every block is in a group of its own, as it were.
        file.store.limit(1);
        let mut least = u32::MAX;
        let mut next = Some(Op::Remove(0, u32::MAX, budget));
        while let Some(op) = next {
            let row = Row::TruncateStep {
                map: map(&file),
                budget,
                was: Was::Data,
            };
            let asked = shape().credits(row);
            file.store.settle();
            next = file.step(&op).expect("nothing fails");
            let counts = file.store.settle();
            assert_eq!(counts.created, 0);
            let used = 1 + counts.dirtied + 2 * counts.freed;
            assert!(used <= asked.blocks && counts.dropped <= asked.revokes);
            least = least.min(asked.blocks - used);
        }
        // A node that is freed is not changed as well, and a small one ends a step before a large
        // budget is used up.
        let most = u32::from(depth) + if budget > 7 { 2 * (budget - 7) } else { 0 };
        assert!(least <= most, "{depth} {budget} {least}");
        assert!(file.model.is_empty());
    }
}
