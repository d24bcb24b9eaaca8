// SPDX-License-Identifier: GPL-2.0

//! Unmapping blocks, in steps.
//!
//! A step goes to the last table of data pointers in the range that points to anything (passing
//! over missing subtrees in one go, and over empty tables, which it frees), frees what it points
//! to from the end, and then the table and those above it, if they are empty without it.

use super::{IndirectEditor, Root, LEAST_BUDGET, LEVELS};
use crate::engine::change::{Blocks, Transaction, Was};
use crate::engine::extent_edit::Progress;
use crate::ondisk::bounds::BlockBounds;
use crate::ondisk::indirect::edit::{only_slot, TableMut};
use crate::ondisk::indirect::{IndirectError, Path, Table};
use crate::ondisk::seal::Seal;
use crate::ondisk::{Corrupt, FileBlock, FsBlock};

/// The tables on the way to a block, from the root's child on.
struct Way<K> {
    path: Path,
    /// How many there are.
    count: usize,
    numbers: [FsBlock; LEVELS],
    blocks: [Option<K>; LEVELS],
}

impl<K: core::ops::Deref<Target = [u8]>> Way<K> {
    /// How many levels of tables lie below table `n` of the way.
    #[inline]
    fn below(&self, n: usize) -> u32 {
        let levels = self.path.levels().wrapping_sub(1);
        levels.saturating_sub(u32::try_from(n).unwrap_or(u32::MAX))
    }

    /// The path's slot in table `n`, or in the root if there is no `n`.
    #[inline]
    fn slot(&self, n: Option<usize>) -> usize {
        match n {
            Some(n) => self.path.slot_in(self.below(n)),
            None => self.path.root_slot(),
        }
    }

    #[inline]
    fn bytes(&self, n: usize) -> Option<&[u8]> {
        self.blocks.get(n)?.as_deref()
    }
}

/// Which slots of a table of data pointers to empty.
#[derive(Clone, Copy)]
struct Slots {
    from: usize,
    to: usize,
}

/// Write access to the tables that may change.
type Edits<E> = [Option<E>; LEVELS];

impl<T, B, Z> IndirectEditor<'_, T, B, Z>
where
    T: Transaction,
    B: Blocks<Error = T::Error>,
    Z: BlockBounds,
{
    /// Unmaps and frees the blocks of `from..to`, or some of them at the range's end: one step,
    /// with at most `budget` calls of [`Blocks::free`], or [`LEAST_BUDGET`] of them if that is
    /// more. On [`Progress::More`] the caller goes on with another end, after it has restarted
    /// its transaction if that has no room for [`remove_needs`](super::remove_needs) left.
    /// [`FileBlock::END`] for `to` truncates.
    ///
    /// May sleep. Errors: from the transaction and from freeing, [`Corrupt::Indirect`]. The map is
    /// valid after an error too, and maps what has not been freed.
    pub fn remove(
        &self,
        root: &mut Root,
        from: FileBlock,
        to: FileBlock,
        budget: u32,
    ) -> Result<Progress, T::Error> {
        let last = to.min(self.bits.end()).get().checked_sub(1);
        let last = last.map(FileBlock::new).filter(|last| *last >= from);
        let Some(path) = last.and_then(|last| self.bits.path(last)) else {
            return Ok(Progress::Done);
        };
        let mut way = Way {
            path,
            count: 0,
            numbers: [FsBlock::new(0); LEVELS],
            blocks: [const { None }; LEVELS],
        };
        // Each turn reads a table one level further down.
        loop {
            let table = self.last_table(root, &way).map_err(Corrupt::from)?;
            let slot = way.slot(way.count.checked_sub(1));
            let low = table.slot_of(from);
            let start = table.slot_start(0);
            let Some(used) = table.last_used(low, slot.wrapping_add(1)) else {
                if way.count == 0 {
                    return Ok(Progress::Done);
                }
                if table.is_empty() {
                    let none = Slots { from: 0, to: 0 };
                    return self.empty(root, way, none, true, budget, from, start);
                }
                return Ok(go_on(from, start));
            };
            let to = used.wrapping_add(1);
            let end = table.slot_start(to).get();
            let data = table.is_data(used);
            let alone = data
                && way.count > 0
                && table.last_used(0, low).is_none()
                && table.last_used(to, table.len()).is_none();
            let next = if data {
                None
            } else {
                table.pointer(used, self.bounds).map_err(Corrupt::from)?
            };
            if used != slot {
                let path = self.bits.path(FileBlock::new(end.saturating_sub(1)));
                way.path = path.ok_or(Corrupt::from(IndirectError::PastEnd))?;
            }
            if data {
                let slots = Slots { from: low, to };
                return self.empty(root, way, slots, alone, budget, from, start);
            }
            let next = next.ok_or(Corrupt::from(IndirectError::BadPointer))?;
            let block = self.read(next)?;
            let places = way
                .numbers
                .get_mut(way.count)
                .zip(way.blocks.get_mut(way.count));
            let Some((number, place)) = places else {
                return Err(Corrupt::from(IndirectError::BadPointer).into());
            };
            *number = next;
            *place = Some(block);
            way.count = way.count.wrapping_add(1);
        }
    }

    /// The last table of the way.
    #[inline]
    fn last_table<'f, K>(&self, root: &'f Root, way: &'f Way<K>) -> Result<Table<'f>, IndirectError>
    where
        K: core::ops::Deref<Target = [u8]>,
    {
        match way.count.checked_sub(1) {
            None => Table::root(root, self.bits),
            Some(n) => {
                let bytes = way.bytes(n).ok_or(IndirectError::BadBlock)?;
                way.path.table(bytes, way.below(n))
            }
        }
    }

    /// Frees what `slots` of the last table point to, and if `whole`, when nothing else is in the
    /// table, the table as well. `start` is the logical block at which the table begins.
    #[allow(clippy::too_many_arguments)]
    fn empty(
        &self,
        root: &mut Root,
        mut way: Way<T::Block>,
        slots: Slots,
        whole: bool,
        budget: u32,
        from: FileBlock,
        start: FileBlock,
    ) -> Result<Progress, T::Error> {
        let top = self.first_kept(&way, whole).map_err(Corrupt::from)?;
        let mut edits: Edits<T::Edit> = [const { None }; LEVELS];
        // `top` is the uppermost table that stays, one of the way or (`None`) the root.
        let lowest = way.count;
        for n in top.unwrap_or(0)..lowest {
            if let (Some(place), Some(block)) = (
                edits.get_mut(n),
                way.blocks.get_mut(n).and_then(Option::take),
            ) {
                *place = Some(self.tx.edit(block)?);
            }
        }
        let tables = lowest.saturating_sub(top.map_or(0, |top| top.wrapping_add(1)));
        let tables = u32::try_from(tables).unwrap_or(u32::MAX);
        let budget = budget.max(LEAST_BUDGET).saturating_sub(tables);
        let leaf = lowest.checked_sub(1);
        let (cut, freed) = {
            let bytes = leaf.and_then(|n| edits.get(n)?.as_deref());
            let table = match bytes {
                Some(bytes) => way.path.table(bytes, 0),
                None => Table::root(root, self.bits),
            };
            // An empty table of any level has no slots to free.
            if slots.from == slots.to {
                (slots.to, Ok(()))
            } else {
                self.free_slots(&table.map_err(Corrupt::from)?, slots, budget)
            }
        };
        // A slot with a data pointer is one block.
        let end = if slots.from == slots.to {
            start
        } else {
            start.saturating_add(u32::try_from(cut).unwrap_or(u32::MAX))
        };
        if cut > slots.from || freed.is_err() || !whole {
            self.clear(root, &mut edits, leaf, cut, slots.to);
            return freed.map(|()| go_on(from, end));
        }
        self.free_tables(root, &way, &mut edits, slots, top)?;
        Ok(go_on(from, end))
    }

    /// The lowest table of the way that is left when the last one is emptied, and goes if it is
    /// `whole`; `None` for the root.
    fn first_kept(&self, way: &Way<T::Block>, whole: bool) -> Result<Option<usize>, IndirectError> {
        let Some(mut n) = way.count.checked_sub(1) else {
            return Ok(None);
        };
        if !whole {
            return Ok(Some(n));
        }
        while let Some(above) = n.checked_sub(1) {
            let bytes = way.bytes(above).ok_or(IndirectError::BadBlock)?;
            if !only_slot(bytes, way.slot(Some(above)))? {
                return Ok(Some(above));
            }
            n = above;
        }
        Ok(None)
    }

    /// Frees the blocks that `slots` point to, from the end, as far as `budget` goes. Yields the
    /// first slot whose block, like those of all after it, has been freed.
    fn free_slots(
        &self,
        table: &Table<'_>,
        slots: Slots,
        budget: u32,
    ) -> (usize, Result<(), T::Error>) {
        let mut cut = slots.to;
        let mut budget = budget;
        while let Some(last) = table.last_used(slots.from, cut) {
            cut = last.wrapping_add(1);
            let Some(left) = budget.checked_sub(1) else {
                return (cut, Ok(()));
            };
            budget = left;
            let freed = self.free_run(table, slots.from, last);
            match freed {
                Ok(len) => cut = cut.saturating_sub(len as usize),
                Err(e) => return (cut, Err(e)),
            }
        }
        (slots.from, Ok(()))
    }

    /// Frees blocks at the end of the run of consecutive ones that ends with slot `last`.
    fn free_run(&self, table: &Table<'_>, from: usize, last: usize) -> Result<u32, T::Error> {
        let run = table.run_up_to(from, last);
        let (first, start) = run.ok_or(Corrupt::from(IndirectError::BadPointer))?;
        let len = last.saturating_sub(first).saturating_add(1);
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let start = self.bounds.check_run(u64::from(start), len);
        let start = start.ok_or(Corrupt::from(IndirectError::BadPointer))?;
        let freed = self.blocks.free(start, len, Was::Data)?;
        Ok(freed.clamp(1, len.max(1)))
    }

    /// Frees the tables of the way below `top`, from the last one, and takes the pointer to the
    /// uppermost of them away; each is emptied before.
    fn free_tables(
        &self,
        root: &mut Root,
        way: &Way<T::Block>,
        edits: &mut Edits<T::Edit>,
        slots: Slots,
        top: Option<usize>,
    ) -> Result<(), T::Error> {
        let mut slots = slots;
        let mut n = way.count.checked_sub(1);
        while let Some(table) = n.filter(|_| n != top) {
            let number = way.numbers.get(table).copied();
            let number = number.ok_or(Corrupt::from(IndirectError::BadBlock))?;
            // Emptied first: if it cannot be freed, it is left as a table of nothing.
            self.clear(root, edits, n, slots.from, slots.to);
            edits.get_mut(table).map(Option::take);
            self.blocks.free(number, 1, Was::Metadata)?;
            n = table.checked_sub(1);
            let slot = way.slot(n);
            slots = Slots {
                from: slot,
                to: slot.wrapping_add(1),
            };
        }
        self.clear(root, edits, n, slots.from, slots.to);
        Ok(())
    }

    /// Empties slots of table `n`, or of the root if there is no `n`.
    fn clear(
        &self,
        root: &mut Root,
        edits: &mut Edits<T::Edit>,
        n: Option<usize>,
        from: usize,
        to: usize,
    ) {
        if from >= to {
            return;
        }
        let Some(n) = n else {
            if let Some(mut table) = TableMut::open(root) {
                table.clear(from, to);
            }
            return;
        };
        if let Some(mut edit) = edits.get_mut(n).and_then(Option::take) {
            if let Some(mut table) = TableMut::open(&mut edit) {
                table.clear(from, to);
            }
            self.tx.dirty(edit, Seal::Plain);
        }
    }
}

/// The end of a step that has unmapped `end` and what lies behind it.
#[inline]
fn go_on(from: FileBlock, end: FileBlock) -> Progress {
    if end <= from {
        Progress::Done
    } else {
        Progress::More(end)
    }
}
