// SPDX-License-Identifier: GPL-2.0

//! Superblocks: what only writers need. Holding off a freeze, giving blocks back to the device.

#![allow(dead_code, reason = "the write path is being built on top of this")]

use super::{bindings, fs_context::FsContext, fs_type::FileSystem, super_block::SuperBlock};
use kernel::{error::to_result, prelude::*, types::NotThreadSafe};

/// While this lives the file system is not frozen completely: what a task does of its own accord,
/// without having been asked by a system call.
#[must_use]
pub(crate) struct IntWrite<'a, F: FileSystem> {
    sb: &'a SuperBlock<F>,
    _not_send: NotThreadSafe,
}

/// While this lives the file system is not frozen: what takes part in writing as system calls do.
#[must_use]
pub(crate) struct Write<'a, F: FileSystem> {
    sb: &'a SuperBlock<F>,
    _not_send: NotThreadSafe,
}

impl<F: FileSystem> SuperBlock<F> {
    /// Holds off a freeze, waiting for one to end; for writes that come from inside (evicting a
    /// deleted inode). Lock order: before a handle is started. With a handle a freeze is held off
    /// already, and this would wait for it in circles.
    pub(crate) fn start_intwrite(&self) -> IntWrite<'_, F> {
        // SAFETY: a live superblock; released in `drop`, by the same task.
        unsafe { bindings::sb_start_intwrite(self.as_raw()) };
        IntWrite {
            sb: self,
            _not_send: NotThreadSafe,
        }
    }

    /// As [`start_intwrite`](Self::start_intwrite), unless that would have to wait. For what is
    /// written on the occasion of an operation that need not write, such as open: whether the task
    /// has a hold on writing then depends on how the file is opened, so it must not wait for one.
    pub(crate) fn try_start_intwrite(&self) -> Option<IntWrite<'_, F>> {
        // SAFETY: as above.
        let held = unsafe { bindings::sb_start_intwrite_trylock(self.as_raw()) };
        held.then(|| IntWrite {
            sb: self,
            _not_send: NotThreadSafe,
        })
    }

    /// Holds off a freeze unless there is one: for background work, which just waits for its next
    /// turn. What system calls bring has such a hold already.
    pub(crate) fn try_start_write(&self) -> Option<Write<'_, F>> {
        // SAFETY: as above.
        let held = unsafe { bindings::sb_start_write_trylock(self.as_raw()) };
        held.then(|| Write {
            sb: self,
            _not_send: NotThreadSafe,
        })
    }

    /// Tells the device that nobody needs what is in `blocks` blocks of the file system from
    /// `block` on. May sleep; the caller makes sure that nobody gets these blocks meanwhile.
    ///
    /// Errors: EOPNOTSUPP if the device does not care, EIO; EINVAL for more than the device has.
    pub(crate) fn discard(&self, block: u64, blocks: u64) -> Result {
        self.check_range(block, blocks)?;
        // SAFETY: the device of a live superblock is open.
        to_result(unsafe {
            bindings::sb_issue_discard(self.as_raw(), block, blocks, bindings::GFP_NOFS)
        })
    }

    /// Whether the device can make its blocks read as zeroes without all of them being written.
    pub(crate) fn zeroes_cheaply(&self) -> bool {
        // SAFETY: the device of a live superblock is open.
        unsafe { bindings::bdev_write_zeroes_unmap((*self.as_raw()).s_bdev) }
    }

    /// Makes `blocks` blocks of the file system from `block` on read as zeroes, past the buffer
    /// cache, and waits for it. May sleep.
    ///
    /// Errors: EIO; EINVAL for more than the device has.
    pub(crate) fn zero_blocks(&self, block: u64, blocks: u64) -> Result {
        self.check_range(block, blocks)?;
        // SAFETY: as above.
        to_result(unsafe {
            bindings::sb_issue_zeroout(self.as_raw(), block, blocks, bindings::GFP_NOFS)
        })
    }

    /// Has dirty data be written back, because there is little free space, and waits until it has been
    /// submitted: for folios, not for their completion. Does nothing if somebody mounts or unmounts. Locks that
    /// may be held: i_rwsem.
    pub(crate) fn start_writeback(&self) {
        // SAFETY: a superblock that is in use; takes its lock if it is free.
        unsafe {
            bindings::try_to_writeback_inodes_sb(
                self.as_raw(),
                bindings::wb_reason_WB_REASON_FS_FREE_SPACE,
            );
        }
    }

    /// Writes everything that is dirty, data and metadata, and waits. `s_umount` is held, in a
    /// remount for example.
    ///
    /// Errors: EIO, ENOSPC.
    pub(crate) fn sync_filesystem(&self, _remount: &FsContext) -> Result {
        // SAFETY: a live superblock, which the context of a remount has locked.
        to_result(unsafe { bindings::sync_filesystem(self.as_raw()) })
    }

    /// Calls `f` while the file system is frozen: everything has been written, and nobody writes.
    /// Waits for all who do, so nothing that holds off a freeze may be held.
    ///
    /// Errors: those of freezing; `f` has not been called then.
    pub(crate) fn while_frozen(&self, f: impl FnOnce()) -> Result {
        // SAFETY: the device of a live superblock is open; thawed below.
        to_result(unsafe { bindings::bdev_freeze((*self.as_raw()).s_bdev) })?;
        f();
        // SAFETY: frozen above. That it could not be thawed shows soon enough.
        unsafe { bindings::bdev_thaw((*self.as_raw()).s_bdev) };
        Ok(())
    }

    /// Whether the device has these blocks: the functions above shift them to sectors.
    fn check_range(&self, block: u64, blocks: u64) -> Result {
        let size = self.block_size() as u64;
        let end = block
            .checked_add(blocks)
            .and_then(|end| end.checked_mul(size));
        match end {
            Some(end) if end <= self.device_bytes() => Ok(()),
            _ => Err(EINVAL),
        }
    }
}

impl<F: FileSystem> Drop for IntWrite<'_, F> {
    fn drop(&mut self) {
        // SAFETY: taken by this task when the guard was made.
        unsafe { bindings::sb_end_intwrite(self.sb.as_raw()) };
    }
}

impl<F: FileSystem> Drop for Write<'_, F> {
    fn drop(&mut self) {
        // SAFETY: taken by this task when the guard was made.
        unsafe { bindings::sb_end_write(self.sb.as_raw()) };
    }
}
