// SPDX-License-Identifier: GPL-2.0

//! Surgery on extent trees, with nodes in memory, against an array.

use kernel::prelude::*;

#[kunit_tests(rext4_extent_edit)]
mod tests {
    use super::super::memory::{span, span_mut, Copy, Failure, Memory, Random, BLOCK_SIZE};
    use crate::{
        engine::{
            change::{Blocks, Transaction, Was},
            extent_edit::{ExtentEditor, Inserted, Progress},
            extent_walk::ExtentTree,
            mapping::{MapKind, Mapping},
            source::BlockSource,
        },
        fs::vec::{filled, push},
        ondisk::{
            bounds::BlockBounds,
            extent::{edit::MIN_CAPACITY, Extent, ROOT_SIZE},
            seal::Seal,
            Corrupt, FileBlock, FsBlock,
        },
    };
    use core::{cell::Cell, ops::ControlFlow};
    use kernel::prelude::*;

    /// Blocks of the file.
    const FILE: u32 = 400;
    /// Blocks that nodes may be in, from 1 on.
    const NODES: u32 = 200;
    /// Where data is: the file's blocks have a place each in two areas.
    const DATA: u32 = 1000;
    const SEED: Option<u32> = Some(0x0bad_cafe);

    struct Store {
        nodes: Memory,
        used: KVec<Cell<bool>>,
        data: KVec<Cell<bool>>,
        /// The most blocks to free in one call.
        chunk: Cell<u32>,
        /// Set when something is used in a way that is not allowed.
        misused: Cell<bool>,
    }

    struct Device;

    impl BlockBounds for Device {
        fn check_run(&self, first: u64, len: u32) -> Option<FsBlock> {
            let end = first.checked_add(len.into())?;
            let good = first > 0 && len > 0 && end <= 1 << 20;
            good.then_some(FsBlock::new(first))
        }
    }

    fn cells(len: u32) -> Result<KVec<Cell<bool>>> {
        let mut cells = KVec::with_capacity(len as usize, GFP_KERNEL)?;
        for _ in 0..len {
            push(&mut cells, Cell::new(false))?;
        }
        Ok(cells)
    }

    impl Store {
        fn new() -> Result<Self> {
            Ok(Self {
                nodes: Memory::new(NODES as usize)?,
                used: cells(NODES)?,
                data: cells(FILE.wrapping_mul(2))?,
                chunk: Cell::new(u32::MAX),
                misused: Cell::new(false),
            })
        }

        /// Sets whether data block `block` is in use, which it has not been the same way.
        fn mark(&self, block: u64, used: bool) {
            let slot = block.checked_sub(DATA.into());
            let slot = slot.and_then(|n| self.data.get(n as usize));
            if slot.is_none_or(|slot| slot.replace(used) == used) {
                self.misused.set(true);
            }
        }

        fn mark_node(&self, block: FsBlock, used: bool) {
            let slot = self.used.get(block.get() as usize);
            if slot.is_none_or(|slot| slot.replace(used) == used) {
                self.misused.set(true);
            }
        }

        fn is_empty(&self) -> bool {
            let none = |cells: &KVec<Cell<bool>>| cells.iter().all(|used| !used.get());
            !self.misused.get() && none(&self.used) && none(&self.data)
        }
    }

    impl BlockSource for Store {
        type Block = Copy;
        type Error = Failure;

        fn read<V>(&self, block: FsBlock, verify: V) -> Result<Copy, Failure>
        where
            V: FnOnce(&[u8]) -> Result<(), Corrupt>,
        {
            let copy = self.nodes.load(block.get() as usize)?;
            verify(&copy)?;
            Ok(copy)
        }
    }

    impl Transaction for Store {
        type Edit = Copy;

        fn edit(&self, block: Copy) -> Result<Copy, Failure> {
            Ok(block)
        }

        fn create(&self, at: FsBlock) -> Result<Copy, Failure> {
            Copy::zeros(at.get() as usize)
        }

        fn dirty(&self, mut edit: Copy, seal: Seal) {
            seal.close(&mut edit);
            self.nodes.store(&edit);
        }
    }

    impl Blocks for Store {
        type Error = Failure;

        fn allocate(&self, _: FsBlock) -> Result<FsBlock, Failure> {
            let mut number = 1u32;
            while self.used.get(number as usize).is_some_and(Cell::get) {
                number = number.wrapping_add(1);
            }
            if number >= NODES {
                return Err(Failure::Other(ENOSPC));
            }
            let block = FsBlock::new(number.into());
            self.mark_node(block, true);
            Ok(block)
        }

        fn give_back(&self, block: FsBlock) {
            self.mark_node(block, false);
        }

        fn free(&self, start: FsBlock, len: u32, was: Was) -> Result<u32, Failure> {
            if was == Was::Metadata {
                self.mark_node(start, false);
                return Ok(1);
            }
            let freed = len.min(self.chunk.get());
            let end = start.get().wrapping_add(len.into());
            for block in end.wrapping_sub(freed.into())..end {
                self.mark(block, false);
            }
            Ok(freed)
        }
    }

    /// What the array has for a mapped block.
    fn stored(block: u64, unwritten: bool) -> u32 {
        (block as u32) << 1 | u32::from(unwritten)
    }

    /// Whether the tree says what the array does, from block 0 to the last without a gap.
    fn same(root: &[u8; ROOT_SIZE], store: &Store, model: &[u32]) -> Result<bool, Failure> {
        let (mut good, mut at) = (true, 0u32);
        let visit = |m: &Mapping| {
            good &= m.lblk.get() == at;
            let mut offset = 0u64;
            for expected in span(model, at, m.len) {
                let found = match m.kind {
                    MapKind::Hole | MapKind::Delayed | MapKind::InFlight => 0,
                    MapKind::Written(start) => stored(start.get().wrapping_add(offset), false),
                    MapKind::Unwritten(start) => stored(start.get().wrapping_add(offset), true),
                };
                good &= found == *expected;
                offset = offset.wrapping_add(1);
            }
            at = m.end().get();
            ControlFlow::Continue(())
        };
        let tree = ExtentTree::new(root, SEED, &Device);
        tree.walk(store, FileBlock::ZERO, FileBlock::END, visit)?;
        Ok(good && at == FileBlock::END.get() && !store.misused.get())
    }

    fn depth(root: &[u8; ROOT_SIZE]) -> u8 {
        root.get(6).copied().unwrap_or(0)
    }

    /// Small nodes make a deep tree of few extents.
    #[test]
    fn random_changes_match_a_model() -> Result {
        let store = Store::new()?;
        let editor = ExtentEditor::new(&store, &store, &Device, SEED, BLOCK_SIZE)
            .with_capacity(MIN_CAPACITY);
        let mut root = [0u8; ROOT_SIZE];
        // A header without entries, with room for four.
        for (byte, value) in root.iter_mut().zip([0x0a, 0xf3, 0, 0, 4]) {
            *byte = value;
        }
        let mut model = filled(0u32, FILE as usize)?;
        let mut random = Random(0x1234_4321);
        let mut deepest = 0;
        for round in 0..900u32 {
            let first = random.below(FILE);
            let len = random.below(if round & 3 == 0 { 30 } else { 4 });
            let len = len.wrapping_add(1).min(FILE.wrapping_sub(first));
            let end = first.wrapping_add(len);
            let (from, to) = (FileBlock::new(first), FileBlock::new(end));
            let unwritten = random.below(2) == 1;
            store.chunk.set(random.below(8).wrapping_add(1));
            match random.below(10) {
                0..=5 => {
                    let area = random.below(2).wrapping_mul(FILE);
                    let start = u64::from(DATA.wrapping_add(area).wrapping_add(first));
                    let new = Extent {
                        first: from,
                        len,
                        start: FsBlock::new(start),
                        unwritten,
                    };
                    let is_hole = span(&model, first, len).iter().all(|stored| *stored == 0);
                    match editor.insert(&mut root, &new)? {
                        Inserted::Done => {
                            assert!(is_hole);
                            let mut block = start;
                            for slot in span_mut(&mut model, first, len) {
                                *slot = stored(block, unwritten);
                                store.mark(block, true);
                                block = block.wrapping_add(1);
                            }
                        }
                        Inserted::Taken(at) => assert!(!is_hole && at >= from && at < to),
                    }
                }
                6 | 7 => {
                    let mut at = from;
                    // One extent per call.
                    for _ in 0..FILE {
                        if at >= to {
                            break;
                        }
                        at = editor.convert(&mut root, at, to, unwritten)?;
                    }
                    assert!(at == to);
                    let span = span_mut(&mut model, first, len);
                    for slot in span.iter_mut().filter(|slot| **slot != 0) {
                        *slot = *slot & !1 | u32::from(unwritten);
                    }
                }
                _ => {
                    let mut to = to;
                    let budget = random.below(9);
                    let mut done = false;
                    for _ in 0..FILE {
                        match editor.remove(&mut root, from, to, budget)? {
                            Progress::More(end) => to = end,
                            Progress::Done => {
                                done = true;
                                break;
                            }
                        }
                    }
                    assert!(done);
                    span_mut(&mut model, first, len).fill(0);
                }
            }
            deepest = depth(&root).max(deepest);
            assert!(same(&root, &store, &model)?);
        }
        assert!(deepest >= 2);
        let mut end = FileBlock::END;
        let mut done = false;
        for _ in 0..2 * FILE {
            match editor.remove(&mut root, FileBlock::ZERO, end, 0)? {
                Progress::More(to) => end = to,
                Progress::Done => {
                    done = true;
                    break;
                }
            }
        }
        assert!(done && depth(&root) == 0 && store.is_empty());
        Ok(())
    }
}
