// SPDX-License-Identifier: GPL-2.0

//! The allocator of clusters and inodes: everything about it that needs no kernel.
//!
//! On disk a group's free space is a bitmap and a count. In memory there are two structures:
//!
//! - for each group that has been used, a [`GroupMap`]: a bitmap of the clusters in use, with a
//!   tree of free runs over it ([`runs`]), so that "the first run of n at or after the goal" and
//!   "the longest run" cost O(log n), and nothing is allocated under the group's lock;
//! - for all groups, a [`GroupIndex`]: a tree of atomics with the longest run of each, read and
//!   changed without a lock, so that a search finds a group without walking them all.
//!
//! [`Search`] is the policy, which groups to try in which order for which length; [`goal`] says
//! where a file's blocks should go, [`window`] how many are kept for it behind those that it gets; [`orlov`] where an inode should. [`disk`] makes the change in
//! a group's bitmap and descriptor once it goes into a transaction.
//!
//! # Clusters in use
//!
//! The bitmap in memory has every cluster that must not be handed out:
//!
//! | state | on disk | in memory | counted in |
//! |---|---|---|---|
//! | free | clear | clear | `free` |
//! | in flight: taken for a write that has not completed | clear | set | `in_flight` |
//! | in use | set | set | |
//! | pending: freed in a transaction that has not been committed | clear | set | `pending` |
//!
//! A write takes free clusters (in flight), and its completion settles them together with the
//! bitmap on disk; freeing clears them on disk and leaves them pending until the commit. So what
//! is in memory and not on disk are the in-flight and the pending clusters, which somebody holds:
//! the write its blocks, the transaction its list of freed runs. The counts say how many there
//! are, which makes reloading simple. A group that has none is [idle](GroupMap::is_idle): it can be
//! dropped from memory, and built from its bitmap again. One that has some stays, or is built
//! again and told of each held run by [`take`](GroupMap::take) and
//! [`take_pending`](GroupMap::take_pending) before anyone else may look.
//!
//! # Locking
//!
//! A `GroupMap` is changed and searched under its group's lock, the innermost of the file
//! system's. The index is read at any time; what it says is a hint, to be checked under the lock.
//! It is updated under the group's lock, or after it.

pub mod disk;
pub mod goal;
pub mod index;
pub mod inode_bits;
pub mod map;
pub mod metadata;
mod node;
pub mod orlov;
pub mod runs;
pub mod search;
pub mod summary;
pub mod window;

pub use index::GroupIndex;
pub use map::GroupMap;
pub use runs::RunTree;
pub use search::Search;
pub use summary::Summary;

use crate::ondisk::{FsBlock, Geometry, Group};

/// Clusters in a row in a group, counted from the group's first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// The first one.
    pub start: u32,
    /// How many.
    pub len: u32,
}

impl Run {
    /// `len` clusters from `start`.
    #[inline]
    pub const fn new(start: u32, len: u32) -> Self {
        Self { start, len }
    }

    /// One past the last.
    #[inline]
    pub const fn end(self) -> u32 {
        self.start.saturating_add(self.len)
    }

    /// At most its first `len` clusters.
    #[inline]
    pub fn first(self, len: u32) -> Self {
        Self::new(self.start, self.len.min(len))
    }
}

/// The group of a block, and the cluster in it that holds the block.
#[inline]
pub fn cluster_of(geo: &Geometry, block: FsBlock) -> (Group, u32) {
    let (group, at) = geo.block_location(block);
    (group, at.wrapping_shr(geo.cluster_bits()))
}

/// The first block of a cluster of a group.
#[inline]
pub fn first_block_of(geo: &Geometry, group: Group, cluster: u32) -> FsBlock {
    let offset = u64::from(cluster).wrapping_shl(geo.cluster_bits());
    FsBlock::new(geo.group_first_block(group).get().saturating_add(offset))
}
