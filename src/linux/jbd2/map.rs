// SPDX-License-Identifier: GPL-2.0

//! Where a journal's blocks are on the device.

use kernel::{prelude::*, rbtree::RBTree};

/// Where the blocks of a journal are, without a hole.
///
/// Runs of blocks that are consecutive both in the journal and on the device, found by their last
/// block: the first run that does not end before a block is the one that holds it, if any does.
///
/// # Invariants
///
/// Both trees hold the same runs. In the journal each begins where the one before ends, the first
/// at 0, and the last ends in front of `len`; on the device they do not overlap.
pub(crate) struct BlockMap {
    /// Last block of a run in the journal: its first block there, and on the device.
    logical: RBTree<u32, (u32, u64)>,
    /// Last block of a run on the device: its first block there.
    physical: RBTree<u64, u64>,
    len: u32,
}

impl BlockMap {
    /// A map of no blocks.
    pub(crate) fn new() -> Self {
        Self {
            logical: RBTree::new(),
            physical: RBTree::new(),
            len: 0,
        }
    }

    /// Blocks of the journal that are mapped.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Adds `len` blocks from `start` of the device on, behind those that are mapped.
    ///
    /// Errors: EUCLEAN for nothing at all, for blocks beyond the end of all devices, and for
    /// blocks that are mapped already; ENOMEM, after which the map is of no use.
    pub(crate) fn push(&mut self, start: u64, len: u32) -> Result {
        let more = len.checked_sub(1).ok_or(EUCLEAN)?;
        let last = self.len.checked_add(more).ok_or(EUCLEAN)?;
        let end = last.checked_add(1).ok_or(EUCLEAN)?;
        let last_physical = start.checked_add(more.into()).ok_or(EUCLEAN)?;
        if self.overlaps(start, last_physical) {
            return Err(EUCLEAN);
        }
        self.physical
            .try_create_and_insert(last_physical, start, GFP_KERNEL)?;
        self.logical
            .try_create_and_insert(last, (self.len, start), GFP_KERNEL)?;
        // INVARIANT: the run begins where the one before ended.
        self.len = end;
        Ok(())
    }

    /// Where block `block` of the journal is; `None` beyond its end.
    pub(crate) fn physical(&self, block: u32) -> Option<u64> {
        let cursor = self.logical.cursor_lower_bound(&block)?;
        let (first, start) = *cursor.current().1;
        start.checked_add(block.checked_sub(first)?.into())
    }

    /// Whether block `block` of the device belongs to the journal.
    pub(crate) fn contains(&self, block: u64) -> bool {
        self.overlaps(block, block)
    }

    /// Whether any of `first..=last` of the device belongs to the journal.
    fn overlaps(&self, first: u64, last: u64) -> bool {
        match self.physical.cursor_lower_bound(&first) {
            Some(cursor) => *cursor.current().1 <= last,
            None => false,
        }
    }
}
