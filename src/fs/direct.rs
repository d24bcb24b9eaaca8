// SPDX-License-Identifier: GPL-2.0

//! Where direct writes go.
//!
//! To blocks that are written, in place; to unwritten ones, which are marked when that has been done;
//! and into holes as writeback does: blocks are found in memory, written, and mapped by
//! [`super::completion`] then. So a write into a hole shows no old contents of the device, whatever
//! happens, and needs i_rwsem no more than shared. Of two that fill the same hole at the same time the
//! first to end is what the file has.
//!
//! The size on disk follows the bios of a write that makes the file longer; the one in memory changes
//! when all have ended. (C ext4 makes the inode an orphan meanwhile; here nothing is mapped behind the
//! size on disk at any time.) If some have not, what they have brought is cut off again.
//!
//! Locking: i_rwsem, shared or not; no handle, no folio.

use super::{alloc, file_inline, handle, map, set_size, writeback, Rext4Fs, VfsInode};
use crate::{
    engine::mapping::MapKind,
    linux::{
        direct::DirectWrite,
        inode_edit::InodeEdit as _,
        iomap::{Iomap, IomapOps, Placed, Request},
        jbd2::NoHandle,
    },
    ondisk::{inode::InodeFlags, FileBlock, FsBlock},
};
use core::sync::atomic::Ordering::Relaxed;
use kernel::prelude::*;

/// Mappings for direct writes.
pub(crate) struct Direct;

impl IomapOps for Direct {
    type Fs = Rext4Fs;

    fn begin(
        inode: &VfsInode,
        pos: u64,
        len: u64,
        request: Request,
        out: &mut Iomap<'_>,
    ) -> Result {
        let sb = inode.super_block();
        handle::may_write(sb)?;
        if inode.data().flags().contains(InodeFlags::INLINE_DATA) {
            return Err(ENOTBLK);
        }
        let bits = sb.info().geometry.block_bits() & 31;
        let at = FileBlock::new(u32::try_from(pos >> bits).map_err(|_| EFBIG)?);
        let last = pos.saturating_add(len).saturating_sub(1) >> bits;
        let to = FileBlock::new(u32::try_from(last).unwrap_or(u32::MAX)).saturating_add(1);
        let mut tries = 0;
        if request.is_untorn() {
            // It is of one block (`file::untorn_size`).
            out.set_untorn();
        }
        loop {
            let (m, _) = map::lookup(inode, at, request.nowait())?;
            let (offset, length) = (u64::from(m.lblk.get()) << bits, u64::from(m.len) << bits);
            if m.end() < to && (request.overwrites() || request.nowait()) {
                // All of it or nothing: it is tried again otherwise, from the beginning.
                return Err(EAGAIN);
            }
            match m.kind {
                MapKind::Written(block) => {
                    out.placed(Placed::Mapped, block.get() << bits, offset, length);
                    if is_dirty(inode, pos.saturating_add(len)) {
                        out.set_dirty();
                    }
                    return Ok(());
                }
                MapKind::Unwritten(_) | MapKind::Hole if request.overwrites() => {
                    return Err(EAGAIN);
                }
                MapKind::Unwritten(block) => {
                    out.placed(Placed::Unwritten, block.get() << bits, offset, length);
                    return Ok(());
                }
                // Somebody writes to a mapping of the file as well.
                MapKind::Delayed | MapKind::InFlight => return Err(ENOTBLK),
                MapKind::Hole if request.nowait() => return Err(EAGAIN),
                MapKind::Hole => {}
            }
            let hole = at.distance_to(m.end().min(to)).max(1);
            match writeback::find_now(inode, at, hole) {
                Ok((start, blocks)) => {
                    let (offset, length) = (u64::from(at.get()) << bits, u64::from(blocks) << bits);
                    out.placed(Placed::Mapped, start.get() << bits, offset, length);
                    out.set_filling();
                    return Ok(());
                }
                Err(e) if e == ENOSPC && handle::may_retry(sb, &mut tries) => {}
                Err(e) => return Err(e),
            }
        }
    }

    const ENDS: bool = true;

    fn end(
        inode: &VfsInode,
        pos: u64,
        _len: u64,
        written: u64,
        _request: Request,
        done: &mut Iomap<'_>,
    ) -> Result {
        let Some((offset, length, address)) = done.filling() else {
            return Ok(());
        };
        // What no bio has taken.
        let sb = inode.super_block();
        let bits = sb.info().geometry.block_bits() & 31;
        let used = pos.saturating_add(written).saturating_sub(offset);
        let left = length.saturating_sub(used) >> bits;
        if let Ok(left) = u32::try_from(left) {
            let start = FsBlock::new(address.saturating_add(used) >> bits);
            alloc::InFlight::of_io(sb, start, left).for_each(|flight| flight.give_back(sb));
        }
        Ok(())
    }
}

/// Whether more than the data of a write in place up to byte `end` has to get to disk before the write has
/// lasted: the map of the blocks, the size.
fn is_dirty(inode: &VfsInode, end: u64) -> bool {
    let info = inode.data();
    let tid = info.datasync_tid.load(Relaxed);
    let committed = inode.super_block().journal();
    end > info.disksize() || !committed.is_some_and(|journal| journal.is_committed(tid))
}

impl DirectWrite for Direct {
    type Writeback = writeback::Writeback;

    fn split(inode: &VfsInode, address: u64) {
        let sb = inode.super_block();
        let bits = sb.info().geometry.block_bits() & 31;
        alloc::split_io(sb, FsBlock::new(address >> bits));
    }

    fn before_growing(inode: &VfsInode, pos: u64) -> Result {
        let info = inode.data();
        let size = inode.size();
        if size != 0 && pos <= size && info.disksize() >= size {
            return Ok(());
        }
        let mut outside = NoHandle::here()?;
        if pos > size {
            // What is cleared in the block with the end is read, changed and written.
            inode.wait_for_direct_io(&outside);
        }
        let _invalidate = inode.lock_invalidate();
        if size == 0 {
            // Its contents could have come into the inode.
            file_inline::to_blocks(inode, &mut outside)?;
        }
        // What is not on disk yet would hold the size there back.
        set_size::uncover(inode, pos.max(size), &outside)
    }

    fn grown(inode: &VfsInode, end: u64) {
        let old = inode.size();
        inode.set_size(end);
        if let Ok(outside) = NoHandle::here() {
            inode.page_cache_extended(&outside, old);
        }
    }

    fn after_failing(inode: &VfsInode) {
        // If it cannot be done now, recovery or the next truncation does it.
        let _ = set_size::cut_behind_end(inode);
    }
}
