// SPDX-License-Identifier: GPL-2.0

//! The change of a group's bitmap and descriptor together, in the buffers of a transaction.
//!
//! Each function first checks all that can be wrong and then changes both: an error means that
//! nothing has changed, and that the group is damaged. The caller has write access to both blocks.
//!
//! A bitmap that the descriptor says was never written is made on first use. An inode does not
//! need the block bitmap of its group for that; C ext4 makes it then all the same, e2fsck is
//! content with either.
//!
//! Locking: the group's lock. The slot is the descriptor's place in its block; the block is shared
//! with other groups, of which nothing is read or written.

use core::ops::Deref;

use super::metadata::{init_block_bitmap, init_inode_bitmap};
use super::Run;
use crate::engine::zones::{Zone, Zones};
use crate::ondisk::group::edit::GroupEdit;
use crate::ondisk::group::{GroupDesc, GroupError};
use crate::ondisk::{bitmap, Geometry, Group};

/// One group's descriptor slot and the block of one of its bitmaps, to be changed.
pub struct GroupBuffers<'a> {
    /// The shape of the file system.
    pub geo: &'a Geometry,
    /// Which group.
    pub group: Group,
    /// The descriptor: the bytes from its start.
    pub desc: &'a mut [u8],
    /// The whole block of the block bitmap or the inode bitmap.
    pub bitmap: &'a mut [u8],
}

impl GroupBuffers<'_> {
    /// Makes the block bitmap if it was never written. Whether it was made.
    ///
    /// Errors: [`GroupError::FreeClusters`] if the descriptor counts otherwise,
    /// [`GroupError::UninitFirstGroup`], and as [`GroupDesc::parse`]; the descriptor has not
    /// changed then, and the bitmap's bytes mean as little as before.
    pub fn init_clusters<S>(&mut self, zones: &Zones<S>) -> Result<bool, GroupError>
    where
        S: Deref<Target = [Zone]>,
    {
        let desc = GroupDesc::parse(self.geo, self.group, self.desc)?;
        if !desc.block_uninit() {
            return Ok(false);
        }
        if self.group.get() == 0 {
            return Err(GroupError::UninitFirstGroup);
        }
        let free = desc.free_clusters();
        init_block_bitmap(self.geo, self.group, zones, self.bitmap);
        if bitmap::count_clear(self.bitmap, self.geo.group_clusters(self.group)) != free {
            return Err(GroupError::FreeClusters);
        }
        let mut edit = GroupEdit::of_parsed(self.geo, self.group, self.desc)?;
        edit.set_block_uninit(false).seal_block_bitmap(self.bitmap);
        edit.finish();
        Ok(true)
    }

    /// Sets clusters in the block bitmap, which has been made.
    ///
    /// Errors: [`GroupError::BitsSet`], [`GroupError::BitsOutside`], [`GroupError::FreeClusters`],
    /// and as [`GroupDesc::parse`]; nothing has changed then.
    pub fn take_clusters(&mut self, run: Run) -> Result<(), GroupError> {
        self.change_clusters(run, true)
    }

    /// Clears clusters in the block bitmap.
    ///
    /// Errors: [`GroupError::BitsClear`], [`GroupError::BitsOutside`],
    /// [`GroupError::FreeClusters`], and as [`GroupDesc::parse`]; nothing has changed then.
    pub fn free_clusters(&mut self, run: Run) -> Result<(), GroupError> {
        self.change_clusters(run, false)
    }

    fn change_clusters(&mut self, run: Run, take: bool) -> Result<(), GroupError> {
        let desc = GroupDesc::parse(self.geo, self.group, self.desc)?;
        let clusters = self.geo.group_clusters(self.group);
        if run
            .start
            .checked_add(run.len)
            .is_none_or(|end| end > clusters)
        {
            return Err(GroupError::BitsOutside);
        }
        if desc.block_uninit() {
            // Nothing but metadata is in use, and there is no bitmap to set bits in.
            return Err(if take {
                GroupError::FreeClusters
            } else {
                GroupError::BitsClear
            });
        }
        let free = desc.free_clusters();
        let free = if take {
            free.checked_sub(run.len)
        } else {
            free.checked_add(run.len).filter(|free| *free <= clusters)
        };
        // That there is an owner already says more than that a count is wrong.
        let free = free.ok_or_else(|| match take {
            true if !bitmap::is_clear(self.bitmap, run.start, run.len) => GroupError::BitsSet,
            false if !bitmap::is_set(self.bitmap, run.start, run.len) => GroupError::BitsClear,
            _ => GroupError::FreeClusters,
        })?;
        let mut edit = GroupEdit::of_parsed(self.geo, self.group, self.desc)?;
        if take {
            bitmap::set_run(self.bitmap, run.start, run.len)?;
        } else {
            bitmap::clear_run(self.bitmap, run.start, run.len)?;
        }
        edit.set_free_clusters(free)
            .flip_block_bitmap(run.start, run.len);
        edit.finish();
        Ok(())
    }

    /// Makes the inode bitmap if it was never written. Whether it was made.
    ///
    /// Errors: as [`GroupDesc::parse`].
    pub fn init_inodes(&mut self) -> Result<bool, GroupError> {
        let desc = GroupDesc::parse(self.geo, self.group, self.desc)?;
        if !desc.inode_uninit() {
            return Ok(false);
        }
        init_inode_bitmap(self.geo, self.bitmap);
        let mut edit = GroupEdit::of_parsed(self.geo, self.group, self.desc)?;
        // So far nobody had to look at how much of the table was used.
        edit.set_inode_uninit(false)
            .set_itable_unused(self.geo.inodes_per_group().get())
            .seal_inode_bitmap(self.bitmap);
        edit.finish();
        Ok(true)
    }

    /// Takes inode `index` of the group into use, in the inode bitmap, which has been made. What
    /// of the table was never used shrinks to what lies behind it.
    ///
    /// Errors: [`GroupError::BitsSet`], [`GroupError::BitsOutside`],
    /// [`GroupError::ReservedInode`], [`GroupError::FreeInodes`], [`GroupError::UsedDirs`], and as
    /// [`GroupDesc::parse`]; nothing has changed then.
    pub fn take_inode(&mut self, index: u32, is_dir: bool) -> Result<(), GroupError> {
        let per_group = self.geo.inodes_per_group().get();
        let desc = GroupDesc::parse(self.geo, self.group, self.desc)?;
        self.check_inode(index)?;
        if desc.inode_uninit() {
            return Err(GroupError::FreeInodes);
        }
        if bitmap::bit(self.bitmap, index) != Some(false) {
            return Err(GroupError::BitsSet);
        }
        let free = desc.free_inodes().checked_sub(1);
        let free = free.ok_or(GroupError::FreeInodes)?;
        let dirs = desc.used_dirs().saturating_add(is_dir.into());
        if dirs > per_group {
            return Err(GroupError::UsedDirs);
        }
        let behind = per_group.saturating_sub(index).saturating_sub(1);
        let unused = desc.itable_unused().min(behind);
        let mut edit = GroupEdit::of_parsed(self.geo, self.group, self.desc)?;
        bitmap::flip(self.bitmap, index);
        edit.set_free_inodes(free)
            .set_used_dirs(dirs)
            .flip_inode_bitmap(index, 1);
        if self.geo.features().has_group_csum() {
            edit.set_itable_unused(unused);
        }
        edit.finish();
        Ok(())
    }

    /// Frees inode `index` of the group in the inode bitmap.
    ///
    /// Errors: [`GroupError::BitsClear`], [`GroupError::BitsOutside`],
    /// [`GroupError::ReservedInode`], [`GroupError::FreeInodes`], [`GroupError::UsedDirs`], and as
    /// [`GroupDesc::parse`]; nothing has changed then.
    pub fn free_inode(&mut self, index: u32, is_dir: bool) -> Result<(), GroupError> {
        let desc = GroupDesc::parse(self.geo, self.group, self.desc)?;
        self.check_inode(index)?;
        if desc.inode_uninit() {
            return Err(GroupError::BitsClear);
        }
        if bitmap::bit(self.bitmap, index) != Some(true) {
            return Err(GroupError::BitsClear);
        }
        let free = desc.free_inodes().saturating_add(1);
        if free > self.geo.inodes_per_group().get() {
            return Err(GroupError::FreeInodes);
        }
        let dirs = desc.used_dirs().checked_sub(is_dir.into());
        let dirs = dirs.ok_or(GroupError::UsedDirs)?;
        let mut edit = GroupEdit::of_parsed(self.geo, self.group, self.desc)?;
        bitmap::flip(self.bitmap, index);
        edit.set_free_inodes(free)
            .set_used_dirs(dirs)
            .flip_inode_bitmap(index, 1);
        edit.finish();
        Ok(())
    }

    /// Only inodes from the first that is not reserved on come and go.
    fn check_inode(&self, index: u32) -> Result<(), GroupError> {
        let ino = self.geo.ino_at(self.group, index);
        let ino = ino.ok_or(GroupError::BitsOutside)?;
        if ino.get() < self.geo.first_ino() {
            return Err(GroupError::ReservedInode);
        }
        Ok(())
    }
}
