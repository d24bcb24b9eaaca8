// SPDX-License-Identifier: GPL-2.0

//! What particular changes make of an extent tree.

use rext4::engine::extent_edit::{change_needs, ExtentEditor, Inserted, Needs, Progress};
use rext4::ondisk::extent::{ExtentError, MAX_DEPTH};
use rext4::ondisk::{Corrupt, FileBlock};

use crate::extents::{empty_root, extent, place, File, Op, SEED};
use crate::store::{Disk, Failure, Store, DATA, DEVICE};

/// A file with `count` extents of one block, `step` apart.
fn scattered(capacity: u16, count: u32, step: u32) -> File {
    let mut file = File::new(1024, capacity);
    for n in 0..count {
        let at = 100 + n * step;
        file.run_quietly(&Op::Insert(at, 1, place(0, at * 2), false));
    }
    file.audit();
    file
}

#[test]
fn what_continues_is_one_extent() {
    let mut file = File::new(1024, 84);
    let mut insert = |at, len, unwritten| {
        file.run(&Op::Insert(at, len, place(0, at), unwritten), true);
        file.root_extents()
    };
    assert_eq!(insert(10, 5, false).len(), 1);
    assert_eq!(insert(15, 5, false), [extent(10, 10, DATA + 10, false)]);
    assert_eq!(insert(5, 5, false), [extent(5, 15, DATA + 5, false)]);
    assert_eq!(insert(25, 5, false).len(), 2);
    assert_eq!(insert(20, 5, false), [extent(5, 25, DATA + 5, false)]);
    assert_eq!(insert(30, 5, true).len(), 2);
    file.run(&Op::Insert(35, 5, place(1, 35), true), true);
    assert_eq!(file.root_extents().len(), 3);
    // Conversion joins with either side.
    file.run(&Op::Convert(30, 32, false), true);
    assert_eq!(file.root_extents()[0], extent(5, 27, DATA + 5, false));
    file.run(&Op::Convert(32, 40, false), true);
    assert_eq!(file.root_extents().len(), 2);
    file.run(&Op::Convert(10, 20, true), true);
    assert_eq!(file.root_extents().len(), 4);
    file.run(&Op::Convert(0, 1000, true), true);
    assert_eq!(file.root_extents().len(), 2);
}

#[test]
fn lengths_end_where_an_entry_does() {
    let mut file = File::new(1024, 84);
    file.run(&Op::Insert(0, 32767, DATA, false), false);
    file.run(&Op::Insert(32767, 1, DATA + 32767, false), false);
    assert_eq!(file.root_extents(), [extent(0, 32768, DATA, false)]);
    file.run(&Op::Insert(32768, 1, DATA + 32768, false), false);
    assert_eq!(file.root_extents().len(), 2);
    // A written extent of full length makes two unwritten ones, here the second joins.
    file.run(&Op::Convert(0, 32769, true), false);
    assert_eq!(
        file.root_extents(),
        [
            extent(0, 32767, DATA, true),
            extent(32767, 2, DATA + 32767, true)
        ]
    );
    file.run(&Op::Convert(0, 32769, false), false);
    let lens: Vec<u32> = file.root_extents().iter().map(|e| e.len).collect();
    assert_eq!(lens, [32767, 2]);
    file.run(&Op::Remove(1, u32::MAX, 0), false);
    assert_eq!(file.root_extents(), [extent(0, 1, DATA, false)]);
}

#[test]
fn what_cannot_be_expressed_is_refused() {
    let store = Store::new(Disk::default(), 1024);
    let editor = ExtentEditor::new(&store, &store, &DEVICE, Some(SEED), 1024);
    let mut root = empty_root();
    for (new, error) in [
        (extent(0, 0, 9, false), ExtentError::ZeroLength),
        (extent(0, 32769, 9, false), ExtentError::TooLong),
        (extent(0, 32768, 9, true), ExtentError::TooLong),
        (extent(u32::MAX, 1, 9, true), ExtentError::PastEnd),
        (extent(0, 1, 1 << 48, true), ExtentError::BadRun),
    ] {
        let got = editor.insert(&mut root, &new);
        assert_eq!(got, Err(Failure::Corrupt(Corrupt::Extent(error))));
    }
    assert_eq!(root, empty_root());
    let last = extent(u32::MAX - 1, 1, 9, true);
    assert_eq!(editor.insert(&mut root, &last), Ok(Inserted::Done));
    let whole = (FileBlock::ZERO, FileBlock::END);
    assert_eq!(
        editor.convert(&mut root, whole.0, whole.1, false),
        Ok(FileBlock::END)
    );
    // Empty ranges.
    let at = FileBlock::new(7);
    assert_eq!(editor.convert(&mut root, at, at, false), Ok(at));
    assert_eq!(editor.remove(&mut root, at, at, 9), Ok(Progress::Done));
}

#[test]
fn files_written_in_order_have_full_leaves() {
    for capacity in [6, 84] {
        let mut file = scattered(capacity, 3000, 2);
        let leaves = file.leaves();
        let (last, full) = leaves.split_last().unwrap();
        assert!(
            full.iter().all(|n| *n == usize::from(capacity)),
            "{leaves:?}"
        );
        assert!(*last > 0);
        // The same where the end of one allocated in advance is written bit by bit.
        file.run_quietly(&Op::Insert(50_000, 9000, place(1, 50_000), true));
        for n in 0..500 {
            file.run_quietly(&Op::Convert(50_000 + n * 8, 50_003 + n * 8, false));
        }
        file.audit();
        let leaves = file.leaves();
        let slack = leaves
            .iter()
            .filter(|n| **n != usize::from(capacity))
            .count();
        assert!(slack <= 2, "{leaves:?}");
    }
}

#[test]
fn leaves_that_run_over_elsewhere_are_halved() {
    let mut file = scattered(84, 84, 4);
    assert_eq!(file.leaves(), [84]);
    file.run(&Op::Insert(102, 1, place(5, 102), false), true);
    assert_eq!(file.leaves(), [42, 43]);
}

/// The worst case is reached, so that it is not one that was made up; at full depth, where the
/// root cannot grow, the tree says no.
#[test]
fn the_worst_case_of_an_insert_comes() {
    let mut reached = [false; MAX_DEPTH as usize + 1];
    let mut file = File::new(1024, 6);
    let mut at = 10;
    loop {
        let depth = file.depth();
        let before = file.root;
        let store = file.store.again();
        let editor = ExtentEditor::new(&store, &store, &DEVICE, Some(SEED), 1024).with_capacity(6);
        let got = editor.insert(&mut file.root, &extent(at, 1, place(0, at * 2), false));
        let counts = store.settle();
        let needs = Needs {
            changed: counts.dirtied,
            allocated: counts.created,
            ..change_needs(depth)
        };
        match got {
            Ok(Inserted::Done) => {
                file.model.insert(at, (place(0, at * 2), false));
                store.change(|disk| assert!(disk.data.insert(place(0, at * 2))));
                reached[usize::from(depth)] |= needs == change_needs(depth);
            }
            other => {
                assert_eq!(other, Err(Failure::Corrupt(ExtentError::TooDeep.into())));
                assert_eq!(depth, MAX_DEPTH);
                assert_eq!(file.root, before);
                break;
            }
        }
        at += 2;
    }
    file.audit();
    // Sequentially everything is full when the root is.
    assert_eq!(file.model.len(), 4 * 6usize.pow(5));
    assert_eq!(reached, [true; 6]);
    file.run_quietly(&Op::Remove(0, u32::MAX, 100));
    assert!(file.store.disk() == Disk::default());
}

#[test]
fn the_root_takes_the_place_of_its_only_child() {
    let mut file = scattered(6, 300, 2);
    assert_eq!(file.depth(), 3);
    file.run(&Op::Remove(108, u32::MAX, 1000), true);
    assert_eq!(file.depth(), 0);
    assert_eq!(file.root_extents().len(), 4);
    assert!(file.store.disk().nodes.is_empty());
    // So it does after a hole has been punched at the front.
    let mut file = scattered(6, 300, 2);
    let end = 100 + 2 * 297;
    file.run(&Op::Remove(0, end, 1000), false);
    assert_eq!(file.depth(), 0);
    // Five entries stay where they are.
    let mut file = scattered(6, 300, 2);
    file.run(&Op::Remove(110, u32::MAX, 1000), false);
    assert_eq!(file.depth(), 1);
}

#[test]
fn a_step_stays_within_its_budget() {
    let mut file = scattered(84, 80, 2);
    let store = file.store.again();
    let editor = ExtentEditor::new(&store, &store, &DEVICE, Some(SEED), 1024);
    let got = editor.remove(&mut file.root, FileBlock::ZERO, FileBlock::END, 10);
    // Of the ten, one is kept for the leaf.
    assert_eq!(got, Ok(Progress::More(FileBlock::new(100 + 2 * 71))));
    assert_eq!(store.settle().freed, 9);
    let end = FileBlock::new(100 + 2 * 71);
    let got = editor.remove(&mut file.root, FileBlock::ZERO, end, 1000);
    assert_eq!(got, Ok(Progress::Done));
    assert!(store.disk() == Disk::default());
}

#[test]
fn without_checksums_nothing_is_sealed() {
    let mut file = File::new(1024, 84);
    file.seed = None;
    for n in 0..200 {
        file.run_quietly(&Op::Insert(n * 2, 1, place(0, n), n % 2 == 0));
    }
    file.audit();
    for block in file.store.disk().nodes.values() {
        assert_eq!(block[1020..], [0; 4]);
    }
}
