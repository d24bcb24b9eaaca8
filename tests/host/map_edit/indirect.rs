// SPDX-License-Identifier: GPL-2.0

//! Block maps of any shape against a map of single blocks.

use std::collections::BTreeSet;

use proptest::prelude::*;

use rext4::engine::extent_edit::{Needs, Progress};
use rext4::engine::indirect_edit::{remove_needs, IndirectEditor, INSERT_NEEDS};
use rext4::engine::indirect_walk::IndirectMap;
use rext4::ondisk::indirect::{verify_block, verify_root, IndirectError, PointerBits};
use rext4::ondisk::{Corrupt, FileBlock, FsBlock};

use crate::extents::{cases, joined, model_runs, place, remove, Model, Root};
use crate::store::{Device, Disk, Failure, Store, DATA, DEVICE};

/// What is done to a file.
#[derive(Clone, Debug)]
enum Op {
    Insert(u32, u32, u64),
    Remove(u32, u32, u32),
}

struct File {
    root: Root,
    store: Store,
    model: Model,
    bits: PointerBits,
}

impl File {
    fn new(block_bits: u32) -> Self {
        Self {
            root: [0; 60],
            store: Store::new(Disk::default(), 1 << block_bits),
            model: Model::new(),
            bits: PointerBits::from_block_bits(block_bits).unwrap(),
        }
    }

    fn fork(&self) -> Self {
        Self {
            root: self.root,
            store: self.store.fork(),
            model: self.model.clone(),
            bits: self.bits,
        }
    }

    fn editor<'a>(&self, store: &'a Store) -> IndirectEditor<'a, Store, Store, Device> {
        IndirectEditor::new(store, store, &DEVICE, self.bits)
    }

    fn step(&mut self, op: &Op) -> Result<Option<Op>, Failure> {
        let store = self.store.again();
        let editor = self.editor(&store);
        match *op {
            Op::Insert(first, len, start) => {
                let at = FileBlock::new(first);
                let taken = self.model.range(first..first + len).next().map(|(k, _)| *k);
                let n = editor.insert(&mut self.root, at, len, FsBlock::new(start))?;
                assert!(n <= taken.unwrap_or(first + len) - first);
                assert_eq!(n == 0, taken == Some(first));
                for n in 0..n {
                    let block = start + u64::from(n);
                    self.model.insert(first + n, (block, false));
                    self.store
                        .change(|disk| assert!(disk.data.insert(block), "test's error"));
                }
                let rest = Op::Insert(first + n, len - n, start + u64::from(n));
                Ok((n > 0 && n < len).then_some(rest))
            }
            Op::Remove(from, to, budget) => {
                let ends = (FileBlock::new(from), FileBlock::new(to));
                match editor.remove(&mut self.root, ends.0, ends.1, budget)? {
                    Progress::Done => {
                        remove(&mut self.model, from, to);
                        Ok(None)
                    }
                    Progress::More(end) => {
                        let end = end.get();
                        assert!(end > from && end <= to, "{op:?} {end}");
                        remove(&mut self.model, end, to);
                        Ok(Some(Op::Remove(from, end, budget)))
                    }
                }
            }
        }
    }

    fn run(&mut self, op: &Op, inject: bool) {
        let mut next = Some(op.clone());
        let mut steps = 0;
        while let Some(op) = next {
            if inject {
                self.try_failures(&op);
            }
            self.store.settle();
            next = self.step(&op).expect("nothing fails");
            let counts = self.store.settle();
            let needs = match op {
                Op::Remove(_, _, budget) => remove_needs(budget),
                Op::Insert(..) => INSERT_NEEDS,
            };
            let Needs {
                changed,
                allocated,
                freed,
                dropped,
            } = needs;
            assert!(counts.dropped <= dropped, "{op:?} {counts:?}");
            assert!(counts.dirtied <= changed, "{op:?} {counts:?}");
            assert!(counts.created <= allocated, "{op:?} {counts:?}");
            assert!(counts.freed <= freed, "{op:?} {counts:?}");
            assert!(counts.reads <= 3);
            self.audit(true);
            steps += 1;
            assert!(steps < 5000, "no end");
        }
    }

    fn try_failures(&self, op: &Op) {
        for n in 1.. {
            let mut victim = self.fork();
            victim.store.fail_at(n);
            let result = victim.step(op);
            let failed = victim.store.has_failed();
            victim.store.fail_at(0);
            victim.store.settle();
            if !failed {
                result.expect("nothing fails");
                return;
            }
            assert_eq!(
                result.expect_err("an error is passed on"),
                Failure::Injected
            );
            if let Op::Remove(from, to, _) = *op {
                let data = victim.store.disk().data;
                let mut gone = victim.model.clone();
                gone.retain(|_, (block, _)| !data.contains(block));
                assert!(gone.keys().all(|at| (from..to).contains(at)));
                victim.model.retain(|at, _| !gone.contains_key(at));
                victim.audit(false);
                // What was left behind does not stop the next attempt, which frees it all.
                victim.run(op, false);
                victim.run(&Op::Remove(0, u32::MAX, 7), false);
                assert!(victim.store.disk().nodes.is_empty());
                assert_eq!(victim.root, [0; 60]);
            } else {
                assert_eq!(victim.root, self.root);
                assert_eq!(victim.store.disk(), self.store.disk());
            }
        }
    }

    /// Checks that the map says what it should, and that its blocks are those in use. Tables
    /// that are empty may be there only if `!strict`.
    fn audit(&self, strict: bool) {
        let disk = self.store.disk();
        verify_root(&self.root, &DEVICE).expect("root");
        let mut nodes = BTreeSet::new();
        for (slot, pointer) in words(&self.root).into_iter().enumerate() {
            audit_table(&disk, pointer, slot.saturating_sub(11), strict, &mut nodes);
        }
        assert!(nodes.iter().eq(disk.nodes.keys()), "blocks in use");
        let map = IndirectMap::new(&self.root, self.bits, &DEVICE);
        let store = self.store.again();
        let mut seen = Vec::new();
        let mut at = FileBlock::ZERO;
        while at < self.bits.end() {
            let m = map.lookup(&store, at).expect("lookup");
            let m = m.clip(at, FileBlock::END).expect("around");
            at = m.end();
            seen.push(m);
        }
        assert_eq!(joined(&seen), model_runs(&self.model));
        let data: BTreeSet<u64> = self.model.values().map(|(block, _)| *block).collect();
        assert_eq!(data, disk.data);
        store.settle();
    }
}

fn audit_table(disk: &Disk, pointer: u32, levels: usize, strict: bool, nodes: &mut BTreeSet<u64>) {
    if pointer == 0 || levels == 0 {
        return;
    }
    assert!(nodes.insert(pointer.into()), "{pointer} is used twice");
    let bytes = &disk.nodes[&pointer.into()];
    verify_block(bytes, &DEVICE).expect("table");
    let words = words(bytes);
    assert!(!strict || words.iter().any(|p| *p != 0), "an empty table");
    for pointer in words {
        audit_table(disk, pointer, levels - 1, strict, nodes);
    }
}

fn words(bytes: &[u8]) -> Vec<u32> {
    let word = |b: &[u8]| u32::from_le_bytes(b.try_into().expect("4 bytes"));
    bytes.chunks_exact(4).map(word).collect()
}

/// Places around the seams of a map of 1 KiB blocks, where 256 pointers fit a table.
fn spot() -> impl Strategy<Value = u32> {
    let seams = [
        0u32, 12, 268, 524, 65_804, 66_060, 131_340, 131_596, 16_843_020,
    ];
    let near = prop::sample::select(seams.to_vec());
    (near, 0..24u32).prop_map(|(seam, n)| (seam + n).saturating_sub(14).min(16_843_019))
}

fn ops(count: usize) -> impl Strategy<Value = Vec<(Op, u32)>> {
    let len = prop_oneof![6 => 1..20u32, 1 => 200..600u32];
    let insert = (spot(), len, 0..3u64).prop_map(|(at, len, region)| {
        let len = len.min(16_843_020 - at);
        Op::Insert(at, len, place(region * 10, at))
    });
    let punch =
        (spot(), spot(), 0..9u32).prop_map(|(a, b, budget)| Op::Remove(a.min(b), a.max(b), budget));
    let truncate = (spot(), 0..50u32).prop_map(|(at, budget)| Op::Remove(at, u32::MAX, budget));
    let small =
        (spot(), 1..30u32, 0..9u32).prop_map(|(at, len, budget)| Op::Remove(at, at + len, budget));
    let op = prop_oneof![8 => insert, 1 => punch, 2 => small, 1 => truncate];
    let chunk = prop_oneof![2 => Just(u32::MAX), 1 => 1..40u32];
    prop::collection::vec((op, chunk), 1..count)
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn maps_follow_the_model(ops in ops(30)) {
        let mut file = File::new(10);
        for (op, chunk) in &ops {
            file.store.limit(*chunk);
            file.run(op, true);
        }
        file.run(&Op::Remove(0, u32::MAX, 100), true);
        prop_assert!(file.store.disk() == Disk::default());
        prop_assert_eq!(file.root, [0; 60]);
    }
}

#[test]
fn all_tables_on_the_way_are_made_and_go() {
    let mut file = File::new(10);
    for (at, tables) in [(0, 0), (12, 1), (268, 3), (65_804, 6), (16_843_019, 8)] {
        file.run(&Op::Insert(at, 1, place(0, at)), true);
        assert_eq!(file.store.disk().nodes.len(), tables, "{at}");
    }
    for (at, tables) in [(65_804, 6), (12, 5), (16_843_019, 2), (268, 0)] {
        file.run(&Op::Remove(at, at + 1, 0), true);
        assert_eq!(file.store.disk().nodes.len(), tables, "{at}");
    }
}

#[test]
fn what_cannot_be_addressed_is_refused() {
    let mut file = File::new(10);
    let before = file.root;
    let store = file.store.again();
    let editor = file.editor(&store);
    let mut insert = |at, len, start| {
        editor.insert(&mut file.root, FileBlock::new(at), len, FsBlock::new(start))
    };
    let corrupt = |e: IndirectError| Err(Failure::Corrupt(Corrupt::Indirect(e)));
    assert_eq!(insert(16_843_020, 1, 9), corrupt(IndirectError::PastEnd));
    assert_eq!(insert(u32::MAX, 1, 9), corrupt(IndirectError::PastEnd));
    assert_eq!(insert(0, 1, 1 << 32), corrupt(IndirectError::Wide));
    assert_eq!(
        insert(0, 2, u64::from(u32::MAX)),
        corrupt(IndirectError::Wide)
    );
    assert_eq!(insert(0, 2, u64::MAX), corrupt(IndirectError::Wide));
    assert_eq!(insert(0, 0, 9), Ok(0));
    assert_eq!(file.root, before);
    assert!(store.disk() == Disk::default());
}

#[test]
fn large_blocks_end_where_files_do() {
    // The triple indirect tree of 64 KiB blocks reaches further than a file.
    let mut file = File::new(16);
    let last = u32::MAX - 1;
    file.run(&Op::Insert(last, 1, DATA), true);
    assert_eq!(file.store.disk().nodes.len(), 3);
    let store = file.store.again();
    let editor = file.editor(&store);
    let at = FileBlock::new(last - 1);
    assert_eq!(
        editor.insert(&mut file.root, at, 5, FsBlock::new(DATA + 9)),
        Ok(1)
    );
    file.model.insert(last - 1, (DATA + 9, false));
    file.store
        .change(|disk| assert!(disk.data.insert(DATA + 9)));
    file.run(&Op::Remove(7, u32::MAX, 0), true);
    assert!(file.store.disk() == Disk::default());
}

#[test]
fn a_step_stays_within_its_budget() {
    let mut file = File::new(10);
    for at in 0..20u32 {
        file.run(&Op::Insert(12 + at, 1, place(0, at * 2)), false);
    }
    let store = file.store.again();
    let editor = file.editor(&store);
    let got = editor.remove(&mut file.root, FileBlock::ZERO, FileBlock::END, 10);
    assert_eq!(got, Ok(Progress::More(FileBlock::new(12 + 11))));
    assert_eq!(store.settle().freed, 9);
}
