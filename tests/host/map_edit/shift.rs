// SPDX-License-Identifier: GPL-2.0

//! Ranges that are taken out of a file or put into it: everything behind moves.

use proptest::prelude::*;
use rext4::engine::extent_edit::Shift;

use crate::extents::{cases, File, Op};
use crate::store::DATA;

#[derive(Clone, Debug)]
enum Change {
    Map {
        at: u32,
        len: u32,
        apart: bool,
        unwritten: bool,
    },
    TakeOut {
        at: u32,
        len: u32,
    },
    PutIn {
        at: u32,
        len: u32,
    },
}

/// Takes the blocks from `at` on out of the file, and closes the gap.
fn take_out(file: &mut File, at: u32, len: u32) {
    file.run(&Op::Remove(at, at + len, 4), true);
    file.run(&Op::Shift(at + len, at + len, Shift::Back(len)), true);
}

/// Makes room for blocks in front of block `at`.
fn put_in(file: &mut File, at: u32, len: u32) {
    file.run(&Op::Split(at), true);
    file.run(&Op::Shift(at, u32::MAX, Shift::Forth(len)), true);
}

fn changes(space: u32, count: usize) -> impl Strategy<Value = Vec<Change>> {
    let map = (0..space, 1..6u32, any::<bool>(), any::<bool>()).prop_map(
        |(at, len, apart, unwritten)| Change::Map {
            at,
            len,
            apart,
            unwritten,
        },
    );
    let out = (0..space, 1..40u32).prop_map(|(at, len)| Change::TakeOut { at, len });
    let room = (0..space, 1..40u32).prop_map(|(at, len)| Change::PutIn { at, len });
    prop::collection::vec(prop_oneof![10 => map, 2 => out, 2 => room], 1..count)
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn everything_behind_moves(changes in changes(700, 220)) {
        let mut file = File::new(1024, 6);
        let mut block = DATA;
        for change in changes {
            match change {
                Change::Map { at, len, apart, unwritten } => {
                    // Now and then behind what was mapped last.
                    block += u64::from(apart);
                    file.run(&Op::Insert(at, len, block, unwritten), true);
                    block += u64::from(len);
                }
                Change::TakeOut { at, len } => take_out(&mut file, at, len),
                Change::PutIn { at, len } => put_in(&mut file, at, len),
            }
        }
        file.run(&Op::Remove(0, u32::MAX, 3), true);
    }
}

/// An extent is cut in two for room in the middle of it, and is one again when that is taken out.
#[test]
fn there_and_back() {
    let mut file = File::new(1024, 6);
    file.run(&Op::Insert(10, 20, DATA, false), true);
    put_in(&mut file, 15, 8);
    let parts: Vec<_> = file
        .root_extents()
        .iter()
        .map(|e| (e.first.get(), e.len))
        .collect();
    assert_eq!(parts, [(10, 5), (23, 15)]);
    take_out(&mut file, 15, 8);
    let parts: Vec<_> = file
        .root_extents()
        .iter()
        .map(|e| (e.first.get(), e.len))
        .collect();
    assert_eq!(parts, [(10, 20)]);
}

/// In a deep tree the keys of all nodes above the leaves follow, also where nothing is mapped as far
/// towards the beginning as the range.
#[test]
fn keys_follow() {
    let mut file = File::new(1024, 6);
    for n in 0..400u32 {
        file.run_quietly(&Op::Insert(
            100 + n * 2,
            1,
            DATA + u64::from(n) * 2,
            n % 5 == 0,
        ));
    }
    assert!(file.depth() >= 3);
    put_in(&mut file, 0, 77);
    put_in(&mut file, 500, 1);
    take_out(&mut file, 3, 150);
    take_out(&mut file, 30, 1000);
    assert_eq!(file.model.keys().collect::<Vec<_>>(), [&27, &29]);
}

/// What would come to be behind the end of any file stays where it is.
#[test]
fn not_behind_the_end() {
    let mut file = File::new(1024, 6);
    file.run(&Op::Insert(u32::MAX - 10, 5, DATA, false), true);
    file.run(&Op::Insert(7, 5, DATA + 100, false), true);
    let before = file.root;
    assert!(file.step(&Op::Shift(7, u32::MAX, Shift::Forth(6))).is_err());
    assert_eq!(file.root, before);
    file.run(&Op::Shift(7, u32::MAX, Shift::Forth(5)), true);
}
