// SPDX-License-Identifier: GPL-2.0

//! Which physical blocks an inode may refer to.
//!
//! Extent trees and indirect maps name physical blocks in three places (data runs, index
//! targets, indirect blocks), and the rule for all of them is the same: inside the device, and
//! not in the file system's own metadata. The first half is known from the superblock alone
//! (`Geometry`); the second needs the group descriptors and differs for the journal inode,
//! whose blocks are a metadata zone of their own. So the parsers ask through this trait, and the
//! owner of the mount decides how much it can answer.

use super::geometry::Geometry;
use super::ids::FsBlock;

/// The judge of physical runs found in an inode's block map.
pub trait BlockBounds {
    /// Checks the run of `len` blocks from physical block `first`; both come from disk and are
    /// not trusted. `None` when any block of the run must not be referred to, or `len` is 0.
    fn check_run(&self, first: u64, len: u32) -> Option<FsBlock>;
}

/// The part that follows from the superblock: inside the device, and behind the superblock
/// (the first data block), which no file shares.
impl BlockBounds for Geometry {
    #[inline]
    fn check_run(&self, first: u64, len: u32) -> Option<FsBlock> {
        if first <= u64::from(self.first_data_block()) {
            return None;
        }
        self.check_run(first, len)
    }
}
