// SPDX-License-Identifier: GPL-2.0

//! The block map of ext2 and ext3: direct, indirect, double and triple indirect pointers.
//!
//! `i_block` holds 15 pointers of 32 bits: 12 to data blocks, then one each to a tree of one, two
//! and three levels of blocks full of pointers. 0 means "nothing there", at any level. There is
//! no magic number and no checksum, so all that can be verified is that each pointer may be
//! pointed at. Format: `Documentation/filesystems/ext4/blockmap.rst`.
//!
//! This file knows the shape: which slot of which table leads to a logical block, and which
//! logical range a slot covers. Following the pointers is the engine's part.

use zerocopy::little_endian::U32;
use zerocopy::FromBytes;

use super::bounds::BlockBounds;
use super::error::Corrupt;
use super::ids::{FileBlock, FsBlock};

pub mod edit;

/// Size in bytes of `i_block`.
pub const ROOT_SIZE: usize = 60;

/// Pointers in `i_block` that lead to data directly.
pub const DIRECT: usize = 12;

/// Pointers in `i_block`: the direct ones, then one tree each of 1, 2 and 3 levels.
const ROOT_SLOTS: usize = 15;
const _: () = assert!(ROOT_SIZE == ROOT_SLOTS * size_of::<U32>());

crate::corrupt_area! {
    /// What can be wrong with an indirect block map.
    IndirectError {
        BadPointer = "block map: pointer outside the file system or inside its metadata",
        BadBlock = "block map: indirect block of the wrong size",
        PastEnd = "block map: beyond the last block that it can address",
        Wide = "block map: block number wider than 32 bits",
        TooManyTables = "block map: more tables than the inode has blocks",
        SameTable = "block map: a table in two places",
        TableFree = "block map: a table that the block bitmap has free",
    }
}

/// The number of pointers in one block as a power of two: 8 (1 KiB blocks) to 14 (64 KiB).
///
/// Every shift in this file is by at most three times this, which fits 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointerBits(u32);

impl PointerBits {
    /// From the block size as a power of two (10..=16); `None` for anything else.
    #[inline]
    pub const fn from_block_bits(block_bits: u32) -> Option<Self> {
        if block_bits >= 10 && block_bits <= 16 {
            Some(Self(block_bits.wrapping_sub(2)))
        } else {
            None
        }
    }

    /// How many pointers a block has.
    #[inline]
    pub const fn slots(self) -> usize {
        self.span(1) as usize
    }

    /// How many blocks a pointer to a tree of `levels` (0..=3) levels stands for, as a shift.
    #[inline]
    const fn span_shift(self, levels: u32) -> u32 {
        self.0.wrapping_mul(levels)
    }

    /// How many blocks a pointer to a tree of `levels` (0..=3) levels stands for.
    #[inline]
    const fn span(self, levels: u32) -> u64 {
        1u64.wrapping_shl(self.span_shift(levels))
    }

    /// The logical block at which slot `slot` of `i_block` begins; for 15, where the map ends.
    #[inline]
    const fn root_slot_start(self, slot: usize) -> u64 {
        match slot {
            0..=12 => slot as u64,
            // At most 2^42 and a little: no sum here can wrap.
            13 => self.span(1).wrapping_add(12),
            14 => self.span(2).wrapping_add(self.root_slot_start(13)),
            _ => self.span(3).wrapping_add(self.root_slot_start(14)),
        }
    }

    /// One past the last logical block that the map can address, at most [`FileBlock::END`].
    #[inline]
    pub fn end(self) -> FileBlock {
        clamp(self.root_slot_start(ROOT_SLOTS))
    }

    /// How many blocks from `at` on have their pointers in the same table, or in `i_block` itself; 1 or
    /// more.
    #[inline]
    pub fn in_table(self, at: FileBlock) -> u32 {
        let direct = DIRECT as u32;
        match at.get().checked_sub(direct) {
            None => direct.saturating_sub(at.get()),
            // Trees of tables follow one another without a gap.
            Some(behind) => {
                let table = self.span(1) as u32;
                table.saturating_sub(behind & table.wrapping_sub(1))
            }
        }
    }

    /// The way from `i_block` to logical block `at`; `None` beyond what the map can address.
    #[inline]
    pub fn path(self, at: FileBlock) -> Option<Path> {
        let at = u64::from(at.get());
        let mut levels = 0u32;
        while levels <= 3 {
            let slot = DIRECT.wrapping_add(levels as usize);
            if at < self.root_slot_start(slot) {
                break;
            }
            levels = levels.wrapping_add(1);
        }
        // `at` lies in the last slot whose start it reaches: the direct ones have 0 levels.
        match levels {
            0 => Some(Path {
                bits: self,
                slot: at as usize,
                levels: 0,
                base: at,
                offset: 0,
            }),
            1..=3 => {
                let slot = DIRECT.wrapping_add(levels as usize).wrapping_sub(1);
                let base = self.root_slot_start(slot);
                let offset = at.wrapping_sub(base);
                Some(Path {
                    bits: self,
                    slot,
                    levels,
                    base,
                    offset,
                })
            }
            _ => None,
        }
    }
}

/// The way from `i_block` to one logical block.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    bits: PointerBits,
    slot: usize,
    levels: u32,
    base: u64,
    offset: u64,
}

impl Path {
    /// The slot of `i_block` to start from.
    #[inline]
    pub const fn root_slot(&self) -> usize {
        self.slot
    }

    /// How many indirect blocks lie between `i_block` and the data block: 0 to 3.
    #[inline]
    pub const fn levels(&self) -> u32 {
        self.levels
    }

    /// The slot to follow in the indirect block that has `below` further levels of indirect
    /// blocks under it (0 for the one that points to data).
    #[inline]
    pub const fn slot_in(&self, below: u32) -> usize {
        let slot = self.offset.wrapping_shr(self.bits.span_shift(below));
        (slot & self.bits.span(1).wrapping_sub(1)) as usize
    }

    /// Views `block` as that indirect block. The slice must be one file system block.
    #[inline]
    pub fn table<'a>(&self, block: &'a [u8], below: u32) -> Result<Table<'a>, IndirectError> {
        let slots = pointers(block)?;
        if slots.len() as u64 != self.bits.span(1) {
            return Err(IndirectError::BadBlock);
        }
        let shift = self.bits.span_shift(below);
        let covered = self.bits.span(below.wrapping_add(1)).wrapping_sub(1);
        Ok(Table {
            slots,
            bits: self.bits,
            start: Start::Block {
                base: self.base.wrapping_add(self.offset & !covered),
                shift,
            },
        })
    }
}

/// Where a table's slots begin in the file.
#[derive(Clone, Copy)]
enum Start {
    /// In `i_block`: see [`PointerBits::root_slot_start`].
    Root,
    /// In a block: slots of equal span from logical block `base` on.
    Block { base: u64, shift: u32 },
}

/// A view of one table of pointers: `i_block` or an indirect block.
#[derive(Clone, Copy)]
pub struct Table<'a> {
    slots: &'a [U32],
    bits: PointerBits,
    start: Start,
}

/// A run of slots of one table that say the same thing: all empty, or consecutive data blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRun {
    /// First logical block.
    pub first: FileBlock,
    /// One past the last logical block.
    pub end: FileBlock,
    /// The first physical block, unchecked; 0 for a hole.
    pub start: u32,
}

impl<'a> Table<'a> {
    /// Views `i_block`.
    #[inline]
    pub fn root(i_block: &'a [u8; ROOT_SIZE], bits: PointerBits) -> Result<Self, IndirectError> {
        Ok(Self {
            slots: pointers(i_block)?,
            bits,
            start: Start::Root,
        })
    }

    /// What slot `slot` holds: `Ok(None)` if it is empty.
    ///
    /// Errors: [`IndirectError::BadPointer`] if the pointer must not be followed,
    /// [`IndirectError::BadBlock`] if there is no such slot.
    #[inline]
    pub fn pointer<B: BlockBounds>(
        &self,
        slot: usize,
        bounds: &B,
    ) -> Result<Option<FsBlock>, IndirectError> {
        match self.slots.get(slot).ok_or(IndirectError::BadBlock)?.get() {
            0 => Ok(None),
            p => match bounds.check_run(u64::from(p), 1) {
                Some(block) => Ok(Some(block)),
                None => Err(IndirectError::BadPointer),
            },
        }
    }

    /// The logical block at which `slot` begins. The end of the map reads as the end of the
    /// block space: nothing can be mapped beyond, so what lies there is part of a last hole.
    #[inline]
    pub fn slot_start(&self, slot: usize) -> FileBlock {
        let start = match self.start {
            Start::Root if slot >= ROOT_SLOTS => return FileBlock::END,
            Start::Root => self.bits.root_slot_start(slot),
            Start::Block { base, shift } => base.wrapping_add((slot as u64).wrapping_shl(shift)),
        };
        clamp(start)
    }

    /// Whether pointers in `slot` lead to data rather than to another table.
    #[inline]
    pub fn is_data(&self, slot: usize) -> bool {
        match self.start {
            Start::Root => slot < DIRECT,
            Start::Block { shift, .. } => shift == 0,
        }
    }

    /// How many slots there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many slots at the front of a table with data pointers have data pointers.
    #[inline]
    pub fn data_slots(&self) -> usize {
        match self.start {
            Start::Root => DIRECT,
            Start::Block { .. } => self.slots.len(),
        }
    }

    /// Whether all slots are empty.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.slots.iter().all(|p| p.get() == 0)
    }

    /// The slot that logical block `at` lies in: the first one for what lies before the table,
    /// the number of slots for what lies behind it.
    #[inline]
    pub fn slot_of(&self, at: FileBlock) -> usize {
        let slot = match self.start {
            Start::Root => self.bits.path(at).map(|path| path.root_slot()),
            Start::Block { base, shift } => {
                let offset = u64::from(at.get()).saturating_sub(base);
                usize::try_from(offset.wrapping_shr(shift)).ok()
            }
        };
        slot.unwrap_or(usize::MAX).min(self.slots.len())
    }

    /// The last slot of `from..to` that is not empty.
    #[inline]
    pub fn last_used(&self, from: usize, to: usize) -> Option<usize> {
        let slots = self.slots.get(from..to.min(self.slots.len()))?;
        let place = slots.iter().rposition(|p| p.get() != 0)?;
        Some(from.wrapping_add(place))
    }

    /// The first slot of `from..to` that is not empty.
    #[inline]
    pub fn first_used(&self, from: usize, to: usize) -> Option<usize> {
        let slots = self.slots.get(from..to.min(self.slots.len()))?;
        let place = slots.iter().position(|p| p.get() != 0)?;
        Some(from.wrapping_add(place))
    }

    /// The slots from `from` (at the lowest) up to `last` that point to consecutive data blocks:
    /// the first of them and its pointer, unchecked. `None` if `last` is empty.
    #[inline]
    pub fn run_up_to(&self, from: usize, last: usize) -> Option<(usize, u32)> {
        let mut pointer = self.slots.get(last)?.get();
        let mut slot = last;
        if pointer == 0 {
            return None;
        }
        while let Some(before) = slot.checked_sub(1).filter(|before| *before >= from) {
            match self.slots.get(before).map(|p| p.get()) {
                Some(p) if p != 0 && p.checked_add(1) == Some(pointer) => pointer = p,
                _ => break,
            }
            slot = before;
        }
        Some((slot, pointer))
    }

    /// Whether the slot after `slot` goes on with what `slot` says.
    #[inline]
    fn continues(&self, slot: usize, pointer: u32) -> bool {
        let next = slot.wrapping_add(1);
        match self.slots.get(next) {
            None => false,
            Some(p) if pointer == 0 => p.get() == 0,
            Some(p) => self.is_data(next) && pointer.checked_add(1) == Some(p.get()),
        }
    }

    /// The longest run of this table that contains `slot`; `None` if the slot leads to another
    /// table or does not exist. Looks at each slot at most once.
    #[inline]
    pub fn run_around(&self, slot: usize) -> Option<SlotRun> {
        let here = self.slots.get(slot)?.get();
        if here != 0 && !self.is_data(slot) {
            return None;
        }
        let mut first = slot;
        let mut start = here;
        while let Some(before) = first.checked_sub(1) {
            let Some(p) = self.slots.get(before) else {
                break;
            };
            if !self.continues(before, p.get()) {
                break;
            }
            first = before;
            start = p.get();
        }
        let (run, _) = self.run_from(first, start, slot, here);
        Some(run)
    }

    /// The run that begins at slot `first` with pointer `start`, known to reach at least to slot
    /// `known` with pointer `pointer`; and the slot after its last.
    #[inline]
    fn run_from(&self, first: usize, start: u32, known: usize, pointer: u32) -> (SlotRun, usize) {
        let mut last = known;
        let mut pointer = pointer;
        while self.continues(last, pointer) {
            last = last.wrapping_add(1);
            pointer = if pointer == 0 {
                0
            } else {
                pointer.wrapping_add(1)
            };
        }
        let after = last.wrapping_add(1);
        let run = SlotRun {
            first: self.slot_start(first),
            end: self.slot_start(after),
            start,
        };
        (run, after)
    }

    /// All runs of this table in order; slots that lead to other tables are left out.
    #[inline]
    pub fn runs(&self) -> Runs<'a> {
        Runs {
            table: *self,
            next: 0,
        }
    }
}

/// Iterator over the runs of a [`Table`]; see [`Table::runs`].
pub struct Runs<'a> {
    table: Table<'a>,
    next: usize,
}

impl Iterator for Runs<'_> {
    type Item = SlotRun;

    #[inline]
    fn next(&mut self) -> Option<SlotRun> {
        loop {
            let slot = self.next;
            let pointer = self.table.slots.get(slot)?.get();
            if pointer != 0 && !self.table.is_data(slot) {
                self.next = slot.wrapping_add(1);
                continue;
            }
            let (run, after) = self.table.run_from(slot, pointer, slot, pointer);
            self.next = after;
            // Slots past the end of the block space say nothing.
            if run.first < run.end {
                return Some(run);
            }
        }
    }
}

/// Triple indirect maps of large blocks reach further than a file can.
#[inline]
fn clamp(block: u64) -> FileBlock {
    FileBlock::new(u32::try_from(block).unwrap_or(u32::MAX))
}

#[inline]
fn pointers(bytes: &[u8]) -> Result<&[U32], IndirectError> {
    <[U32]>::ref_from_bytes(bytes).map_err(|_| IndirectError::BadBlock)
}

/// Checks that every pointer is empty or may be pointed at, consecutive ones in one go: asking
/// costs a search among the metadata zones, and most files are contiguous.
fn check_pointers<B: BlockBounds>(bytes: &[u8], bounds: &B) -> Result<(), IndirectError> {
    let check = |start: u32, len: u32| {
        if len == 0 || bounds.check_run(u64::from(start), len).is_some() {
            Ok(())
        } else {
            Err(IndirectError::BadPointer)
        }
    };
    let (mut start, mut len) = (0u32, 0u32);
    for p in pointers(bytes)? {
        let p = p.get();
        if len != 0 && start.checked_add(len) == Some(p) {
            len = len.wrapping_add(1);
            continue;
        }
        check(start, len)?;
        (start, len) = (p, u32::from(p != 0));
    }
    check(start, len)
}

/// Verifies the 15 pointers in `i_block`, for an inode without the extents flag whose data is in
/// blocks (not a fast symlink, a device or inline data).
pub fn verify_root<B: BlockBounds>(
    i_block: &[u8; ROOT_SIZE],
    bounds: &B,
) -> Result<(), IndirectError> {
    check_pointers(i_block, bounds)
}

/// Verifies an indirect block of any level: each pointer is empty or may be pointed at. Runs
/// once per time in memory, see [`BlockSource::read`].
///
/// [`BlockSource::read`]: crate::engine::source::BlockSource::read
pub fn verify_block<B: BlockBounds>(block: &[u8], bounds: &B) -> Result<(), Corrupt> {
    Ok(check_pointers(block, bounds)?)
}
