// SPDX-License-Identifier: GPL-2.0

//! Pointing to blocks where there is a hole.

use super::{IndirectEditor, Root, LEVELS};
use crate::engine::change::{Blocks, Transaction};
use crate::ondisk::bounds::BlockBounds;
use crate::ondisk::indirect::edit::{pointer, TableMut};
use crate::ondisk::indirect::{IndirectError, Path, Table};
use crate::ondisk::seal::Seal;
use crate::ondisk::{Corrupt, FileBlock, FsBlock};

/// Tables that have been allocated, the one of data pointers first; given back unless linked.
struct Fresh<'t, T: Transaction, B: Blocks> {
    tx: &'t T,
    blocks: &'t B,
    list: [Option<(FsBlock, T::Edit)>; LEVELS],
}

impl<T: Transaction, B: Blocks<Error = T::Error>> Fresh<'_, T, B> {
    fn fill(&mut self, count: usize, goal: FsBlock) -> Result<(), T::Error> {
        for place in self.list.iter_mut().take(count) {
            let number = self.blocks.allocate(goal)?;
            let edit = match pointer(number) {
                Ok(()) => self.tx.create(number),
                Err(e) => Err(Corrupt::from(e).into()),
            };
            match edit {
                Ok(edit) => *place = Some((number, edit)),
                Err(e) => {
                    self.blocks.give_back(number);
                    return Err(e);
                }
            }
        }
        Ok(())
    }
}

impl<T: Transaction, B: Blocks> Fresh<'_, T, B> {
    /// Writes the tables: `len` pointers to the blocks from `start` in the lowest, and one to the
    /// next lower table in each of the others. Yields the topmost; nothing if there is none.
    fn link(&mut self, path: &Path, start: FsBlock, len: usize) -> Option<FsBlock> {
        let mut top = None;
        let levels = self.list.iter_mut().zip(0u32..);
        for (place, below) in levels {
            let Some((number, mut edit)) = place.take() else {
                break;
            };
            if let Some(mut table) = TableMut::open(&mut edit) {
                match top {
                    None => table.set(path.slot_in(0), start, len),
                    Some(lower) => table.set(path.slot_in(below), lower, 1),
                }
            }
            self.tx.dirty(edit, Seal::Plain);
            top = Some(number);
        }
        top
    }
}

impl<T: Transaction, B: Blocks> Drop for Fresh<'_, T, B> {
    #[inline]
    fn drop(&mut self) {
        for (number, edit) in self.list.iter_mut().rev().filter_map(Option::take) {
            drop(edit);
            self.blocks.give_back(number);
        }
    }
}

impl<T, B, Z> IndirectEditor<'_, T, B, Z>
where
    T: Transaction,
    B: Blocks<Error = T::Error>,
    Z: BlockBounds,
{
    /// Maps the `len` (> 0) blocks from `first` to those from `start`, or some of them at the
    /// front: as many as one table holds, up to the first that is mapped already. Yields how many;
    /// 0 if `first` itself is mapped.
    ///
    /// May sleep. Errors: from the transaction and the allocator, [`Corrupt::Indirect`] for a
    /// damaged map and for what it cannot address; nothing has changed then. Cost: see
    /// [`INSERT_NEEDS`](super::INSERT_NEEDS).
    pub fn insert(
        &self,
        root: &mut Root,
        first: FileBlock,
        len: u32,
        start: FsBlock,
    ) -> Result<u32, T::Error> {
        let path = self.bits.path(first).filter(|_| first < FileBlock::END);
        let path = path.ok_or(Corrupt::from(IndirectError::PastEnd))?;
        // The table where the way ends or breaks off, with how many tables are missing below.
        let mut block: Option<T::Block> = None;
        let mut below = path.levels();
        let (slot, len) = loop {
            let (table, slot) = self.view(root, &path, block.as_deref(), below)?;
            if below == 0 {
                break (slot, room(&table, slot, first, len));
            }
            let next = table.pointer(slot, self.bounds).map_err(Corrupt::from)?;
            let Some(next) = next else {
                // A missing table is as large as any, and begins where its span does.
                break (slot, self.room_in_new(&path, first, len));
            };
            block = Some(self.read(next)?);
            below = below.wrapping_sub(1);
        };
        let Some(more) = len.checked_sub(1) else {
            return Ok(0);
        };
        let last = start.checked_add(more.into());
        let last = last.ok_or(Corrupt::from(IndirectError::Wide))?;
        pointer(last).map_err(Corrupt::from)?;
        let edit = match block {
            Some(block) => Some(self.tx.edit(block)?),
            None => None,
        };
        let mut fresh = Fresh {
            tx: self.tx,
            blocks: self.blocks,
            list: [const { None }; LEVELS],
        };
        fresh.fill(below as usize, start)?;
        let (target, count) = match fresh.link(&path, start, len as usize) {
            Some(top) => (top, 1),
            None => (start, len as usize),
        };
        match edit {
            Some(mut edit) => {
                if let Some(mut table) = TableMut::open(&mut edit) {
                    table.set(slot, target, count);
                }
                self.tx.dirty(edit, Seal::Plain);
            }
            None => {
                if let Some(mut table) = TableMut::open(root) {
                    table.set(slot, target, count);
                }
            }
        }
        Ok(len)
    }

    /// The table in `block`, or in the root if there is no block, and the path's slot in it;
    /// `levels` levels of tables lie below the slot.
    #[inline]
    fn view<'f>(
        &self,
        root: &'f Root,
        path: &Path,
        block: Option<&'f [u8]>,
        levels: u32,
    ) -> Result<(Table<'f>, usize), Corrupt> {
        Ok(match block {
            None => (Table::root(root, self.bits)?, path.root_slot()),
            Some(block) => (path.table(block, levels)?, path.slot_in(levels)),
        })
    }

    /// How much of a run from `first` fits the table of data pointers at the path's end.
    #[inline]
    fn room_in_new(&self, path: &Path, first: FileBlock, len: u32) -> u32 {
        let slots = self.bits.slots().saturating_sub(path.slot_in(0));
        let slots = u32::try_from(slots).unwrap_or(u32::MAX);
        len.min(slots).min(first.distance_to(FileBlock::END))
    }
}

/// How much of a run from `first` fits the empty slots of `table` from `slot` on.
#[inline]
fn room(table: &Table<'_>, slot: usize, first: FileBlock, len: u32) -> u32 {
    let end = slot.saturating_add(len as usize).min(table.data_slots());
    let end = table.first_used(slot, end).unwrap_or(end);
    let room = u32::try_from(end.saturating_sub(slot)).unwrap_or(u32::MAX);
    room.min(first.distance_to(FileBlock::END))
}
