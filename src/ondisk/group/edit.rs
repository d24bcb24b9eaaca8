// SPDX-License-Identifier: GPL-2.0

//! Changing a group descriptor in its slot.
//!
//! A [`GroupEdit`] borrows one slot of a descriptor block; [`finish`](GroupEdit::finish) stores
//! the descriptor's checksum, of this slot only: computing those of a whole block anew would make
//! a damaged neighbour look sound.
//!
//! The bitmaps' checksums are changed by what has been flipped
//! ([`crc_update`](crate::ondisk::crc_update)), so they stay as right or as wrong as they were;
//! only a bitmap that has just been made gets one of its own.
//!
//! Locking: the group's lock, under which the slot is read as well. Several groups share the block.

use super::{
    block_bitmap_checksum, inode_bitmap_checksum, update_checksum, GroupDesc, GroupError, High, Low,
};
use super::{BLOCK_UNINIT, INODE_UNINIT, INODE_ZEROED};
use crate::ondisk::crc_update::crc32c_flip;
use crate::ondisk::raw::FromBytes;
use crate::ondisk::{Geometry, Group};
use zerocopy::little_endian::U16;

/// A descriptor that is being changed.
#[must_use = "its checksum is stored by `finish`"]
pub struct GroupEdit<'a> {
    geo: &'a Geometry,
    group: Group,
    bytes: &'a mut [u8],
}

impl<'a> GroupEdit<'a> {
    /// The descriptor of `group` at the start of `bytes`, which has been verified before.
    ///
    /// Errors: as [`GroupDesc::parse`].
    pub fn new(geo: &'a Geometry, group: Group, bytes: &'a mut [u8]) -> Result<Self, GroupError> {
        GroupDesc::parse(geo, group, bytes)?;
        Self::of_parsed(geo, group, bytes)
    }

    /// As [`new`](Self::new), of bytes that [`GroupDesc::parse`] has just been happy with.
    ///
    /// Errors: [`GroupError::Truncated`].
    #[inline]
    pub fn of_parsed(
        geo: &'a Geometry,
        group: Group,
        bytes: &'a mut [u8],
    ) -> Result<Self, GroupError> {
        if bytes.len() < geo.desc_size().into() {
            return Err(GroupError::Truncated);
        }
        Ok(Self { geo, group, bytes })
    }

    /// Stores the free clusters of the group: those clear in its bitmap on disk.
    pub fn set_free_clusters(&mut self, n: u32) -> &mut Self {
        self.set(n, |l| &mut l.free_blocks, |h| &mut h.free_blocks)
    }

    /// Stores the free inodes of the group.
    pub fn set_free_inodes(&mut self, n: u32) -> &mut Self {
        self.set(n, |l| &mut l.free_inodes, |h| &mut h.free_inodes)
    }

    /// Stores how many of the group's inodes are directories.
    pub fn set_used_dirs(&mut self, n: u32) -> &mut Self {
        self.set(n, |l| &mut l.used_dirs, |h| &mut h.used_dirs)
    }

    /// Stores how many inodes at the end of the table were never used.
    pub fn set_itable_unused(&mut self, n: u32) -> &mut Self {
        self.set(n, |l| &mut l.itable_unused, |h| &mut h.itable_unused)
    }

    /// Says whether the inode bitmap is still to be made.
    pub fn set_inode_uninit(&mut self, on: bool) -> &mut Self {
        self.set_flag(INODE_UNINIT, on)
    }

    /// Says whether the block bitmap is still to be made.
    pub fn set_block_uninit(&mut self, on: bool) -> &mut Self {
        self.set_flag(BLOCK_UNINIT, on)
    }

    /// Says whether the inode table has been zeroed on disk.
    pub fn set_inode_zeroed(&mut self, on: bool) -> &mut Self {
        self.set_flag(INODE_ZEROED, on)
    }

    /// The `bits` bits from `first` of the block bitmap have been flipped.
    pub fn flip_block_bitmap(&mut self, first: u32, bits: u32) -> &mut Self {
        if self.geo.csum_seed().is_some() {
            let len = self.geo.clusters_per_group().get() / 8;
            self.flip(
                crc32c_flip(0, len, first, bits),
                |l| &mut l.block_bitmap_csum,
                |h| &mut h.block_bitmap_csum,
            );
        }
        self
    }

    /// The `bits` bits from `first` of the inode bitmap have been flipped.
    pub fn flip_inode_bitmap(&mut self, first: u32, bits: u32) -> &mut Self {
        if self.geo.csum_seed().is_some() {
            let len = self.geo.inodes_per_group().get() / 8;
            self.flip(
                crc32c_flip(0, len, first, bits),
                |l| &mut l.inode_bitmap_csum,
                |h| &mut h.inode_bitmap_csum,
            );
        }
        self
    }

    /// The block bitmap has just been made; `bitmap` is its whole block.
    pub fn seal_block_bitmap(&mut self, bitmap: &[u8]) -> &mut Self {
        if let Some(csum) = block_bitmap_checksum(self.geo, bitmap) {
            super::set_block_bitmap_checksum(self.geo, self.bytes, csum);
        }
        self
    }

    /// The inode bitmap has just been made; `bitmap` is its whole block.
    pub fn seal_inode_bitmap(&mut self, bitmap: &[u8]) -> &mut Self {
        if let Some(csum) = inode_bitmap_checksum(self.geo, bitmap) {
            super::set_inode_bitmap_checksum(self.geo, self.bytes, csum);
        }
        self
    }

    /// Stores the descriptor's checksum.
    pub fn finish(self) {
        update_checksum(self.geo, self.group, self.bytes);
    }

    /// The two structures; the second only with `64bit`, without which its place belongs to the
    /// next descriptor.
    fn halves(&mut self) -> (Option<&mut Low>, Option<&mut High>) {
        let Ok((low, rest)) = Low::mut_from_prefix(self.bytes) else {
            return (None, None);
        };
        let high = High::mut_from_prefix(rest).ok().map(|(high, _)| high);
        (Some(low), high.filter(|_| self.geo.is_64bit()))
    }

    fn set(
        &mut self,
        n: u32,
        low_field: impl FnOnce(&mut Low) -> &mut U16,
        high_field: impl FnOnce(&mut High) -> &mut U16,
    ) -> &mut Self {
        let (low, high) = self.halves();
        if let Some(low) = low {
            *low_field(low) = (n as u16).into();
        }
        if let Some(high) = high {
            *high_field(high) = ((n >> 16) as u16).into();
        }
        self
    }

    fn flip(
        &mut self,
        delta: u32,
        low_field: impl FnOnce(&mut Low) -> &mut U16,
        high_field: impl FnOnce(&mut High) -> &mut U16,
    ) {
        let (low, high) = self.halves();
        if let Some(low) = low {
            let field = low_field(low);
            *field = (field.get() ^ delta as u16).into();
        }
        if let Some(high) = high {
            let field = high_field(high);
            *field = (field.get() ^ (delta >> 16) as u16).into();
        }
    }

    /// Flags mean something only where descriptors have checksums; without, they stay as they are.
    fn set_flag(&mut self, flag: u16, on: bool) -> &mut Self {
        if self.geo.features().has_group_csum() {
            if let (Some(low), _) = self.halves() {
                let others = low.flags.get() & !flag;
                low.flags = (others | if on { flag } else { 0 }).into();
            }
        }
        self
    }
}
