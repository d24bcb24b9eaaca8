// SPDX-License-Identifier: GPL-2.0

//! truncate(2): regular files get shorter or longer.
//!
//! A file that gets longer has a hole at its end; what its old last block has behind the old end is
//! cleared before. A file that gets shorter is put among the orphans together with its new size, in
//! one transaction; then its page cache goes, what is left of its last block is cleared, and its
//! blocks are freed in steps ([`truncate`]). A crash in between is made up for by the next mount.
//! Where nothing is to be cleared or freed, that one transaction is all.
//!
//! Locking: i_rwsem is held for writing. The invalidate lock is taken here, so that nobody fills the
//! page cache from blocks that go.

use super::{handle, inode_write, map, set_size_inline, truncate, Rext4Fs, VfsInode};
use crate::{
    engine::{credits::Op, mapping::MapKind},
    fs::orphan,
    linux::{inode_edit::InodeEdit as _, jbd2::NoHandle, setattr::SetAttr},
    ondisk::{inode::InodeFlags, FileBlock},
};
use kernel::prelude::*;

/// Makes the file `size` bytes long, and changes what else `attr` says. It has been found that this
/// may be done.
///
/// Errors: EINVAL for anything but a regular file; EFBIG; EOPNOTSUPP for a file whose data is in
/// its inode and would not fit there any more; EUCLEAN (reported), EIO, ENOMEM, EROFS. If it is
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
    if size < old {
        inode.wait_for_direct_io(outside);
    }
    let _invalidate = inode.lock_invalidate();
    if flags.contains(InodeFlags::INLINE_DATA) {
        return set_size_inline::set_size(attr, size, outside);
    }
    if size > old {
        grow(attr, old, size, outside)
    } else {
        shrink(attr, old, size, outside)
    }
}

fn grow(attr: &SetAttr<'_, Rext4Fs>, old: u64, size: u64, outside: &mut NoHandle) -> Result {
    let inode = attr.inode();
    truncate::zero_tail(inode, outside, old)?;
    store(attr, Some(size), false, outside)?;
    inode.page_cache_extended(outside, old);
    Ok(())
}

fn shrink(attr: &SetAttr<'_, Rext4Fs>, old: u64, size: u64, outside: &mut NoHandle) -> Result {
    let inode = attr.inode();
    let changed = (size != old).then_some(size);
    let rest = is_mapped_from(inode, truncate::end_block(inode, size))?
        || (changed.is_some() && truncate::tail_block(inode, size)?.is_some());
    store(attr, changed, rest, outside)?;
    if rest {
        return truncate::cut_to_size(inode, outside);
    }
    inode.truncate_page_cache(outside, size);
    Ok(())
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
    let slot = inode_write::prepare(&handle, inode)?;
    if orphan {
        orphan::add(&handle, inode)?;
    }
    {
        let info = inode.data();
        let root = info.data_sem.write();
        if let Some(size) = size {
            info.set_disksize(size);
            inode.set_size(size);
            inode.inc_version();
        }
        inode.touch();
        attr.apply();
        slot.store_mapped(&root)?;
    }
    handle.stop()
}
