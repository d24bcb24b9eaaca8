// SPDX-License-Identifier: GPL-2.0

//! Changing an extent tree: mapping blocks, marking them written or unwritten, unmapping them, moving
//! them to another place in the file, or on the device.
//!
//! Every change comes down to one primitive on one leaf: some neighbouring entries are replaced
//! by up to three others (`prepare`). What follows from it for the nodes above (a leaf that
//! runs over is split, which adds an index to its parent, and so on up to the root; a leaf's new
//! first key goes into the parent's index) is derived there and nowhere else, so that an insert, a
//! conversion, an exchange (`remap`) and a hole punched into an extent share all code that can damage a tree. Removal
//! of whole entries, which can empty nodes, is one other case (`remove`); moving entries, which
//! changes keys only, the other (`shift`).
//!
//! Invariants of the trees that are left behind, all of which readers rely on:
//! - a node's first entry has the key of the index that points to the node. (C ext4 and e2fsck
//!   demand it of leaves and index nodes alike.) So an extent that is mapped before all others
//!   lowers the keys on the way to it, and one that loses its head may raise some;
//! - no node but the root is empty, and a root without entries has depth 0;
//! - extents do not overlap, and neighbours in a leaf that continue each other are one extent as
//!   far as an entry can express its length, if they were changed by us.
//!
//! A leaf that runs over at its end keeps all it has room for and hands on the rest, so that a
//! file written in order has full leaves. Anywhere else it is cut in half: C ext4 cuts at the
//! place of the insertion instead, which fills leaves in order as well but can leave a nearly
//! full leaf nearly full. Neighbouring nodes are not merged when they get emptier; the root takes
//! the place of its only child when that fits (C ext4 does so from depth 1 to 0 only).
//!
//! With bigalloc the tree counts in blocks like everywhere. A block is at the same place in its
//! cluster on disk as in the file's, so that all blocks of one are the same file's, and which of
//! them are in use stands in the tree: [`Blocks::free`] is asked to free whole clusters, when the
//! last of their blocks is unmapped.
//!
//! Locking: the caller holds the inode's data lock exclusively, and writes the inode, whose
//! `i_block` the root is, in the same transaction.

mod convert;
mod insert;
mod path;
mod prepare;
mod remap;
mod remove;
mod shift;

pub use insert::Inserted;
pub use remap::Remap;
pub use shift::Shift;

use super::change::{Blocks, Transaction};
use crate::ondisk::bounds::BlockBounds;
use crate::ondisk::extent::edit::{block_capacity, MIN_CAPACITY};
use crate::ondisk::extent::{MAX_DEPTH, ROOT_SIZE};
use crate::ondisk::seal::Seal;
use crate::ondisk::FileBlock;

/// How many tree blocks a change can need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Blocks of the tree that are changed, the root not counted.
    pub changed: u32,
    /// Blocks that are allocated, and written like the changed ones.
    pub allocated: u32,
    /// Calls of [`Blocks::free`], each of which frees blocks of one group.
    pub freed: u32,
    /// How many of these calls free one block of the tree's own.
    pub dropped: u32,
}

/// Worst case of [`ExtentEditor::insert`] and of [`ExtentEditor::convert`] for a tree whose root
/// has depth `depth`: each node on the path is split, and the root's entries move to a block of
/// their own. A tree of full depth cannot grow, so that its root does not.
pub const fn change_needs(depth: u16) -> Needs {
    let root = if depth < MAX_DEPTH { 1 } else { 0 };
    Needs {
        changed: depth as u32,
        allocated: (depth as u32).saturating_add(root),
        freed: 0,
        dropped: 0,
    }
}

/// Worst case of one call of [`ExtentEditor::remove`] with `budget`. Blocks are allocated only
/// where a hole is punched into the middle of an extent, or where freeing one from its head is
/// interrupted; nodes are emptied only where neither is the case.
pub const fn remove_needs(depth: u16, budget: u32) -> Needs {
    Needs {
        allocated: change_needs(depth).allocated,
        ..truncate_needs(depth, budget)
    }
}

/// As [`remove_needs`], where nothing is mapped behind the range: no extent is cut in two, so
/// that nothing is allocated. The root's only child is freed in a call of its own.
pub const fn truncate_needs(depth: u16, budget: u32) -> Needs {
    let least = least_budget(depth);
    Needs {
        changed: depth as u32,
        allocated: 0,
        freed: if budget > least { budget } else { least },
        dropped: depth as u32,
    }
}

/// The least budget with which [`ExtentEditor::remove`] is sure to get on: one call of
/// [`Blocks::free`] for data, and one for each node that may be empty then.
pub const fn least_budget(depth: u16) -> u32 {
    (depth as u32).saturating_add(1)
}

/// How far an operation that is done in steps has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// There is nothing left to do.
    Done,
    /// To be called again, with this block for the end of the range: what lies from here up to
    /// the end that was given is done. The transaction may be restarted before.
    More(FileBlock),
}

/// What changes extent trees of one inode in one transaction.
pub struct ExtentEditor<'a, T, B, Z> {
    tx: &'a T,
    blocks: &'a B,
    bounds: &'a Z,
    seed: Option<u32>,
    seal: Seal,
    capacity: u16,
    /// Blocks of a cluster, less 1.
    cluster_mask: u32,
}

impl<'a, T, B, Z> ExtentEditor<'a, T, B, Z>
where
    T: Transaction,
    B: Blocks<Error = T::Error>,
    Z: BlockBounds,
{
    /// Changes the tree of an inode whose checksum seed is `seed` (`None` without metadata
    /// checksums), on a file system with blocks of `block_size` (at least 1024) bytes.
    #[inline]
    pub fn new(
        tx: &'a T,
        blocks: &'a B,
        bounds: &'a Z,
        seed: Option<u32>,
        block_size: usize,
    ) -> Self {
        Self {
            tx,
            blocks,
            bounds,
            seed,
            seal: seed.map_or(Seal::Plain, Seal::Extent),
            capacity: block_capacity(block_size).max(MIN_CAPACITY),
            cluster_mask: 0,
        }
    }

    /// Frees clusters of `2^bits` (at most 2^31) blocks rather than blocks. Only
    /// [`remove`](Self::remove) heeds that: who inserts has found out which cluster it is.
    #[must_use]
    pub fn with_cluster_bits(mut self, bits: u32) -> Self {
        self.cluster_mask = 1u32.wrapping_shl(bits).wrapping_sub(1);
        self
    }

    /// Makes nodes of `capacity` entries (at least [`MIN_CAPACITY`], at most what a block has
    /// room for) rather than full ones: how tests get deep trees. e2fsck objects to such nodes.
    #[must_use]
    pub fn with_capacity(mut self, capacity: u16) -> Self {
        self.capacity = capacity.clamp(MIN_CAPACITY, self.capacity);
        self
    }
}

/// The root, as it stands in an inode.
type Root = [u8; ROOT_SIZE];
