// SPDX-License-Identifier: GPL-2.0

//! truncate(2): regular files get shorter or longer.
//!
//! What the block with the end has behind it is cleared in the page cache before anything else, and
//! nothing that is on disk is uncovered before that is on disk as well. A file that gets longer has a hole
//! at its end. Of a file that gets shorter the zeros behind the new end are written before that is its end on
//! disk, so that [`super::completion`] can let the size go on whenever blocks are mapped. It is put among the orphans together with its new size, in
//! one transaction; then its page cache goes, and its
//! blocks are freed in steps ([`truncate`]). A crash in between is made up for by the next mount.
//! Where nothing is to be freed, that one transaction is all.
//!
//! Locking: i_rwsem is held for writing. The invalidate lock is taken here, so that nobody fills the
//! page cache from blocks that go.

use super::{
    delayed::Write,
    file_inline, handle,
    inode_write::{self, Prepared},
    map, set_size_inline, truncate, Rext4Fs, VfsInode,
};
use crate::{
    engine::{credits::Op, mapping::MapKind},
    fs::orphan,
    linux::{inode_edit::InodeEdit as _, iomap, jbd2::NoHandle, setattr::SetAttr},
    ondisk::{inode::InodeFlags, FileBlock},
};
use core::sync::atomic::Ordering::Relaxed;
use kernel::prelude::*;

/// Makes the file `size` bytes long, and changes what else `attr` says. It has been found that this
/// may be done.
///
/// Errors: EINVAL for anything but a regular file; EFBIG; ENOSPC for a file whose data is in its
/// inode and would not fit there any more; EUCLEAN (reported), EIO, ENOMEM, EROFS. If it is
/// after the new size has been set, the next mount does the rest.
pub(crate) fn set_size(attr: &SetAttr<'_, Rext4Fs>, size: u64, outside: &mut NoHandle) -> Result {
    let inode = attr.inode();
    if !inode.is_regular() {
        return Err(EINVAL);
    }
    let flags = inode.data().flags();
    let geo = &inode.super_block().info().geometry;
    if !flags.contains(InodeFlags::EXTENTS) && size > geo.max_indirect_bytes() {
        return Err(EFBIG);
    }
    let old = inode.size();
    if size != old {
        inode.wait_for_direct_io(outside);
    }
    let _invalidate = inode.lock_invalidate();
    // For as long as the lock is held it is what it is.
    if inode.data().flags().contains(InodeFlags::INLINE_DATA) {
        if set_size_inline::set_size(attr, size, outside)? {
            return Ok(());
        }
        file_inline::to_blocks(inode, outside)?;
    }
    if size > old {
        grow(attr, old, size, outside)
    } else {
        shrink(attr, old, size, outside)
    }
}

fn grow(attr: &SetAttr<'_, Rext4Fs>, old: u64, size: u64, outside: &mut NoHandle) -> Result {
    let inode = attr.inode();
    uncover(inode, size, outside)?;
    store(attr, Some(size), false, outside)?;
    inode.page_cache_extended(outside, old);
    Ok(())
}

/// The file is about to become `size` bytes long, more than it is: has everything on disk that this
/// uncovers. i_rwsem and the invalidate lock are held for writing; not inside a handle.
///
/// Errors: EUCLEAN (reported), EIO, ENOMEM, ENOSPC.
pub(super) fn uncover(inode: &VfsInode, size: u64, outside: &NoHandle) -> Result {
    let old = inode.size();
    let cleared = clear_tail(inode, outside, old, size)?;
    // The end of the old last block, and what is not on disk yet.
    let shown = inode.data().disksize().min(old);
    if cleared || shown < old {
        inode.write_and_wait(outside, shown, u64::MAX)?;
    }
    Ok(())
}

/// Makes the file `size` bytes long, after [`uncover`], with the same locks.
///
/// Errors: EIO, ENOMEM, EROFS.
pub(super) fn extend(inode: &VfsInode, size: u64, outside: &mut NoHandle) -> Result {
    let old = inode.size();
    let handle = handle::begin(inode.super_block(), outside, Op::SetSize)?;
    if inode.is_sync() {
        handle.sync();
    }
    handle.need_data_flush();
    let slot = inode_write::prepare(&handle, inode)?;
    set_sizes(inode, size, slot)?;
    inode_write::note_change(&handle, inode, true);
    handle.stop()?;
    inode.page_cache_extended(outside, old);
    Ok(())
}

/// A write that should have made the file longer has failed: what it has brought behind the end goes.
/// i_rwsem is held for writing; not inside a handle.
///
/// Errors: EUCLEAN (reported), EIO, ENOMEM, EROFS. The inode may be an orphan then, so that the next mount
/// does the rest.
pub(super) fn cut_behind_end(inode: &VfsInode) -> Result {
    let mut outside = NoHandle::here()?;
    let _invalidate = inode.lock_invalidate();
    let size = inode.size();
    if inode.data().disksize() <= size {
        // Space that was set aside there stays.
        return Ok(());
    }
    let handle = handle::begin(inode.super_block(), &mut outside, Op::SetSize)?;
    let slot = inode_write::prepare(&handle, inode)?;
    orphan::add(&handle, inode)?;
    set_sizes(inode, size, slot)?;
    handle.stop()?;
    truncate::cut_to_size(inode, &mut outside)
}

/// Sets the size in memory, and on disk by `slot`, which stores the inode.
///
/// Errors: EUCLEAN (reported).
pub(super) fn set_sizes(inode: &VfsInode, size: u64, slot: Prepared<'_, '_>) -> Result {
    let info = inode.data();
    let root = info.data_sem.write();
    set_in_memory(inode, size);
    inode.touch();
    slot.store_mapped(&root)
}

/// Sets both sizes in memory; `data_sem` is held for writing. Everything below `size` is on disk.
fn set_in_memory(inode: &VfsInode, size: u64) {
    let info = inode.data();
    info.set_disksize(size);
    info.reached.store(size, Relaxed);
    inode.set_size(size);
    inode.inc_version();
}

fn shrink(attr: &SetAttr<'_, Rext4Fs>, old: u64, size: u64, outside: &mut NoHandle) -> Result {
    let inode = attr.inode();
    let changed = (size != old).then_some(size);
    let cleared = clear_tail(inode, outside, size, old)?;
    // The zeros behind the new end as well: when the file goes on there, they are what is shown until that is
    // on disk.
    let shown = inode.data().disksize().min(size);
    if cleared || shown < size {
        inode.write_and_wait(outside, shown, size.saturating_add(1))?;
    }
    if size == 0 && old != 0 {
        inode.data().was_replaced.store(true, Relaxed);
    }
    let rest = is_mapped_from(inode, truncate::end_block(inode, size))?;
    store(attr, changed, rest, outside)?;
    if rest {
        return truncate::cut_to_size(inode, outside);
    }
    inode.truncate_page_cache(outside, size);
    if is_mapped_from(inode, truncate::end_block(inode, size))? {
        // By a write that was under way.
        store(attr, None, true, outside)?;
        return truncate::cut_to_size(inode, outside);
    }
    Ok(())
}

/// The next write begins at byte `pos`, behind the end of the file: clears what lies between in the
/// block with the end. i_rwsem is held for writing; not inside a handle.
///
/// Errors: EUCLEAN (reported), EIO, ENOMEM, ENOSPC.
pub(crate) fn skip_to(inode: &VfsInode, pos: u64) -> Result {
    let outside = NoHandle::here()?;
    // The block with the end is read, changed and written.
    inode.wait_for_direct_io(&outside);
    let _invalidate = inode.lock_invalidate();
    clear_tail(inode, &outside, inode.size(), pos).map(|_| ())
}

/// Clears the bytes from `from` to the end of its block, or to byte `to` if that is before, in the page
/// cache. Whether there were any.
pub(super) fn clear_tail(inode: &VfsInode, outside: &NoHandle, from: u64, to: u64) -> Result<bool> {
    let bits = inode.super_block().info().geometry.block_bits() & 31;
    let mask = (1u64 << bits).wrapping_sub(1);
    let end = (from.saturating_add(mask) & !mask).min(to);
    if from >= end {
        return Ok(false);
    }
    iomap::clear_range::<Write>(inode, outside, from, end.saturating_sub(from))
}

/// Whether anything is mapped at `from` or behind. May sleep.
///
/// Errors: EUCLEAN (reported), EIO, ENOMEM.
fn is_mapped_from(inode: &VfsInode, from: FileBlock) -> Result<bool> {
    let (found, _) = map::lookup(inode, from, false)?;
    Ok(found.kind != MapKind::Hole || found.end() < FileBlock::END)
}

/// Stores the new size, if it is one, and the other attributes; with `orphan` the inode is made one.
fn store(
    attr: &SetAttr<'_, Rext4Fs>,
    size: Option<u64>,
    orphan: bool,
    outside: &mut NoHandle,
) -> Result {
    let inode = attr.inode();
    let sb = inode.super_block();
    let handle = handle::begin(sb, outside, Op::SetSize)?;
    if inode.is_sync() {
        handle.sync();
    }
    // What the size uncovers may have been cleared just before.
    handle.need_data_flush();
    let slot = inode_write::prepare(&handle, inode)?;
    if orphan {
        orphan::add(&handle, inode)?;
    }
    {
        let info = inode.data();
        let root = info.data_sem.write();
        if let Some(size) = size {
            set_in_memory(inode, size);
        }
        inode.touch();
        attr.apply();
        slot.store_mapped(&root)?;
    }
    handle.stop()
}
