// SPDX-License-Identifier: GPL-2.0

//! Changing an ext2/ext3 block map.
//!
//! Both operations are done in steps that concern one table of data pointers each, with the
//! tables above it as far as they come or go with it. All that can fail is done before anything
//! is written. Tables have no checksum, and an empty one is as good as none, so that here, other
//! than in an extent tree, nothing is lost when freeing a table fails: it stays, empty, and the
//! next removal that comes by frees it.
//!
//! Pointers have 32 bits, so that blocks for such a file, its tables included, must come from the
//! first 2^32 of the device; the allocator's implementer sees to that, and others are refused.
//!
//! Locking: the caller holds the inode's data lock exclusively, and writes the inode, whose
//! `i_block` the root is, in the same transaction.

mod insert;
mod remove;

use super::change::{Blocks, Transaction};
use crate::ondisk::bounds::BlockBounds;
use crate::ondisk::indirect::{verify_block, PointerBits, ROOT_SIZE};
use crate::ondisk::FsBlock;

use super::extent_edit::Needs;

/// The most tables between `i_block` and a data block.
const LEVELS: usize = 3;

/// Worst case of one call of [`IndirectEditor::insert`]: all tables on the way are missing, or
/// the first two of them are there, of which one is changed.
pub const INSERT_NEEDS: Needs = Needs {
    changed: 1,
    allocated: LEVELS as u32,
    freed: 0,
    dropped: 0,
};

/// Worst case of one call of [`IndirectEditor::remove`] with `budget`.
pub const fn remove_needs(budget: u32) -> Needs {
    Needs {
        changed: LEVELS as u32,
        allocated: 0,
        freed: if budget > LEAST_BUDGET {
            budget
        } else {
            LEAST_BUDGET
        },
        dropped: LEVELS as u32,
    }
}

/// The least budget with which [`IndirectEditor::remove`] is sure to get on: one call of
/// [`Blocks::free`] for data, and one for each table that may be empty then.
pub const LEAST_BUDGET: u32 = LEVELS as u32 + 1;

/// What changes block maps of one inode in one transaction.
pub struct IndirectEditor<'a, T, B, Z> {
    tx: &'a T,
    blocks: &'a B,
    bounds: &'a Z,
    bits: PointerBits,
}

impl<'a, T, B, Z> IndirectEditor<'a, T, B, Z>
where
    T: Transaction,
    B: Blocks<Error = T::Error>,
    Z: BlockBounds,
{
    /// Changes the map of an inode on a file system with blocks of `2^(bits + 2)` bytes.
    #[inline]
    pub fn new(tx: &'a T, blocks: &'a B, bounds: &'a Z, bits: PointerBits) -> Self {
        Self {
            tx,
            blocks,
            bounds,
            bits,
        }
    }

    /// Reads block `number`, a table.
    #[inline]
    fn read(&self, number: FsBlock) -> Result<T::Block, T::Error> {
        self.tx
            .read(number, |bytes| verify_block(bytes, self.bounds))
    }
}

/// `i_block`.
type Root = [u8; ROOT_SIZE];
