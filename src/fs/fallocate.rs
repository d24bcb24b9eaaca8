// SPDX-License-Identifier: GPL-2.0

//! fallocate(2): space for a range of a file, zeroes in it, and ranges that are taken out or put in.
//!
//! Whatever is dirty in the range is written out first, so that nothing of it is delayed or in
//! flight, and nothing becomes so: who writes holds i_rwsem, and page faults the invalidate lock,
//! which are both held here. Then what is in the page cache goes, and the map is changed in steps. The
//! map is whole after each of them, so that a crash leaves a part of the change and no more.
//!
//! Space that is set aside is unwritten, and found like that for data: in memory first, as in
//! [`super::writeback`], then mapped in a transaction. Of a file with indirect blocks, which has no
//! unwritten blocks and is no tree that ranges could be moved in, only holes are made (EOPNOTSUPP for the
//! rest, as ext4 has it).
//!
//! Locking: i_rwsem and the invalidate lock are taken here, then handles, then `data_sem`.

use super::{
    alloc, completion,
    delayed::Write,
    file_inline, handle,
    inode::{self, number},
    inode_sync, inode_write, map,
    map_steps::{self, Edit},
    set_size::{clear_tail, extend, set_sizes, uncover},
    truncate,
    tx::Handle,
    writeback, Rext4Fs, VfsInode,
};
use crate::{
    engine::{credits::Op, extent_edit::Shift, mapping::MapKind},
    linux::{
        fallocate::{Change, Fallocate},
        file::{FileOps as _, Fsync},
        inode_edit::InodeEdit as _,
        iomap,
        jbd2::NoHandle,
        open_file::OpenFile,
        sched::relax,
    },
    ondisk::{extent::edit::max_len, FileBlock},
};
use kernel::{page::PAGE_SIZE, prelude::*};

/// Does what `what` says.
///
/// Errors: EOPNOTSUPP for what this file cannot have; EINVAL, EFBIG for ranges that it cannot have;
/// ENOSPC, when part of the space may have been set aside; EUCLEAN (reported), EIO, ENOMEM, EROFS;
/// ERESTARTSYS when the task is to die.
pub(crate) fn fallocate(file: &OpenFile<Rext4Fs>, what: Fallocate) -> Result {
    let inode = file.inode();
    handle::may_write(inode.super_block())?;
    inode.with_lock(|| locked(file, what))?;
    if file.is_sync() {
        let all = Fsync {
            start: 0,
            end: i64::MAX,
            datasync: false,
        };
        inode_sync::fsync(file, all)?;
    }
    Ok(())
}

/// [`fallocate`] with i_rwsem held.
fn locked(file: &OpenFile<Rext4Fs>, what: Fallocate) -> Result {
    let inode = file.inode();
    let sb = inode.super_block();
    let mut outside = NoHandle::here()?;
    {
        let _invalidate = inode.lock_invalidate();
        file_inline::to_blocks(inode, &mut outside)?;
    }
    if what.change != Change::Punch && inode.data().map_kind() != inode::MapKind::Extents {
        return Err(EOPNOTSUPP);
    }
    if what.change == Change::WriteZeroes && !sb.zeroes_cheaply() {
        return Err(EOPNOTSUPP);
    }
    let size = inode.size();
    match what.change {
        Change::Take | Change::Put => check_range(inode, &what)?,
        Change::Allocate | Change::Zero | Change::WriteZeroes => {
            if !what.keep_size && what.end() > size {
                inode.check_new_size(what.end())?;
            }
        }
        Change::Punch => {}
    }
    inode.wait_for_direct_io(&outside);
    file.modified()?;
    let _invalidate = inode.lock_invalidate();
    if let Ok(ino) = number(inode) {
        alloc::give_up(sb, ino);
    }
    match what.change {
        Change::Allocate => allocate(inode, &what, &mut outside),
        Change::Punch => punch(inode, &what, &mut outside),
        Change::Zero | Change::WriteZeroes => zero(inode, &what, &mut outside),
        Change::Take => take_out(inode, &what, &mut outside),
        Change::Put => put_in(inode, &what, &mut outside),
    }
}

/// Ranges that are moved are whole clusters inside of the file.
///
/// Errors: EINVAL, EFBIG.
fn check_range(inode: &VfsInode, what: &Fallocate) -> Result {
    let geo = &inode.super_block().info().geometry;
    let bits = geo.block_bits().saturating_add(geo.cluster_bits()) & 63;
    let mask = (1u64 << bits).wrapping_sub(1);
    if (what.offset | what.len) & mask != 0 {
        return Err(EINVAL);
    }
    let size = inode.size();
    if what.change == Change::Take {
        return if what.end() < size {
            Ok(())
        } else {
            Err(EINVAL)
        };
    }
    if what.offset >= size {
        return Err(EINVAL);
    }
    let max = u64::try_from(super::file::File::max_bytes(inode)).unwrap_or(0);
    let new = size.saturating_add(what.len);
    if new > max {
        return Err(EFBIG);
    }
    inode.check_new_size(new)
}

/// Bytes to blocks: the one that a byte is in.
fn block_of(inode: &VfsInode, byte: u64) -> FileBlock {
    let bits = inode.super_block().info().geometry.block_bits() & 63;
    FileBlock::new(u32::try_from(byte >> bits).unwrap_or(u32::MAX))
}

fn byte_of(inode: &VfsInode, block: FileBlock) -> u64 {
    let bits = inode.super_block().info().geometry.block_bits() & 63;
    u64::from(block.get()) << bits
}

/// Has what is dirty in the range written, and waits: of all clusters that it touches.
fn write_out(inode: &VfsInode, from: u64, to: u64, outside: &NoHandle) -> Result {
    let geo = &inode.super_block().info().geometry;
    let bits = geo.block_bits().saturating_add(geo.cluster_bits()) & 63;
    let mask = (1u64 << bits).wrapping_sub(1);
    inode.write_and_wait(outside, from & !mask, to.saturating_add(mask) & !mask)
}

/// Space for the range, which is unwritten.
fn allocate(inode: &VfsInode, what: &Fallocate, outside: &mut NoHandle) -> Result {
    let (from, to) = (
        block_of(inode, what.offset),
        truncate::end_block(inode, what.end()),
    );
    write_out(inode, what.offset, what.end(), outside)?;
    let grows = !what.keep_size && what.end() > inode.size();
    if grows {
        uncover(inode, what.end(), outside)?;
    }
    let (reached, result) = fill_holes(inode, from, to, outside);
    // Also what there has been space for is the file's.
    let new = what.end().min(byte_of(inode, reached));
    if grows && new > inode.size() {
        extend(inode, new, outside)?;
    }
    result
}

/// Gives all holes of `from..to` unwritten blocks: how far that has come, and why no further.
fn fill_holes(
    inode: &VfsInode,
    from: FileBlock,
    to: FileBlock,
    outside: &mut NoHandle,
) -> (FileBlock, Result) {
    let sb = inode.super_block();
    let (mut at, mut tries) = (from, 0);
    while at < to {
        match fill_hole(inode, at, to, outside) {
            Ok(next) => (at, tries) = (next, 0),
            Err(e) if e == ENOSPC && handle::may_retry(sb, &mut tries) => {}
            Err(e) => return (at, Err(e)),
        }
        if let Err(e) = relax() {
            return (at, Err(e));
        }
    }
    (to, Ok(()))
}

/// One run of blocks at `at`, if that is in a hole: where the next begins.
fn fill_hole(
    inode: &VfsInode,
    at: FileBlock,
    to: FileBlock,
    outside: &mut NoHandle,
) -> Result<FileBlock> {
    let (m, _) = map::lookup(inode, at, false)?;
    if m.kind != MapKind::Hole {
        return Ok(m.end().max(at.saturating_add(1)));
    }
    let hole = at.distance_to(m.end().min(to)).min(max_len(true));
    let (start, blocks) = writeback::find_now(inode, at, hole)?;
    completion::map_unwritten(inode, at, blocks, start, outside)?;
    Ok(at.saturating_add(blocks))
}

/// The whole blocks of the range; that with the end of the file counts as whole if the range goes to
/// there.
fn whole_blocks(inode: &VfsInode, what: &Fallocate) -> (FileBlock, FileBlock) {
    let from = truncate::end_block(inode, what.offset);
    let size = inode.size();
    let to = block_of(inode, what.end());
    if what.end() >= size {
        return (from, to.max(truncate::end_block(inode, size)));
    }
    (from, to)
}

/// Clears what of the range is in blocks that are not whole in it, in the page cache.
fn clear_edges(
    inode: &VfsInode,
    what: &Fallocate,
    (from, to): (FileBlock, FileBlock),
    outside: &NoHandle,
) -> Result {
    let end = what.end().min(inode.size());
    clear_tail(inode, outside, what.offset, end)?;
    let last = byte_of(inode, to);
    if from <= to && last >= what.offset && last < end {
        iomap::clear_range::<Write>(inode, outside, last, end.saturating_sub(last))?;
    }
    Ok(())
}

/// What the page cache has of whole blocks goes; what is dirty around them is on disk.
fn clear_cache(
    inode: &VfsInode,
    what: &Fallocate,
    (from, to): (FileBlock, FileBlock),
    outside: &NoHandle,
) -> Result {
    write_out(
        inode,
        what.offset,
        what.end().max(byte_of(inode, to)),
        outside,
    )?;
    if from < to {
        inode.drop_page_cache(outside, byte_of(inode, from), byte_of(inode, to));
    }
    Ok(())
}

/// A hole.
fn punch(inode: &VfsInode, what: &Fallocate, outside: &mut NoHandle) -> Result {
    let sb = inode.super_block();
    let whole = whole_blocks(inode, what);
    clear_edges(inode, what, whole, outside)?;
    clear_cache(inode, what, whole, outside)?;
    let (from, to) = whole;
    if from >= to {
        return Ok(());
    }
    let mut handle = handle::begin(sb, outside, truncate::punch_op(inode))?;
    if inode.is_sync() {
        handle.sync();
    }
    let freed = truncate::free_range(&mut handle, inode, from, to);
    freed.and(handle.stop())
}

/// Zeroes: unwritten blocks, or with `WriteZeroes` such as have zeroes.
fn zero(inode: &VfsInode, what: &Fallocate, outside: &mut NoHandle) -> Result {
    let whole = whole_blocks(inode, what);
    let grows = !what.keep_size && what.end() > inode.size();
    clear_edges(inode, what, whole, outside)?;
    if grows {
        uncover(inode, what.end(), outside)?;
    }
    clear_cache(inode, what, whole, outside)?;
    let (from, to) = (
        block_of(inode, what.offset),
        truncate::end_block(inode, what.end()),
    );
    let (reached, mut result) = fill_holes(inode, from, to, outside);
    if result.is_ok() {
        // Behind the old end there are no others.
        let to = whole.1.max(if grows { to } else { whole.1 });
        result = set_state(inode, whole.0, to, true, outside);
    }
    let new = what.end().min(byte_of(inode, reached));
    if grows && new > inode.size() {
        extend(inode, new, outside)?;
    }
    if result.is_ok() && what.change == Change::WriteZeroes {
        // Written blocks are not to be behind the end.
        let to = truncate::end_block(inode, inode.size()).min(whole.1.max(to));
        result = write_zeroes(inode, whole.0, to, outside);
    }
    result
}

/// Marks what is mapped in `from..to` as unwritten, or written.
fn set_state(
    inode: &VfsInode,
    from: FileBlock,
    to: FileBlock,
    unwritten: bool,
    outside: &mut NoHandle,
) -> Result {
    if from >= to {
        return Ok(());
    }
    let mut handle = begin(inode, outside)?;
    if !unwritten {
        // The zeroes are in the device's cache.
        handle.need_data_flush();
    }
    let edit = Edit::State {
        from,
        to,
        unwritten,
    };
    let done = map_steps::run(&mut handle, inode, edit);
    done.and(handle.stop())
}

/// A handle for changes of the map.
fn begin<'a>(inode: &'a VfsInode, outside: &'a mut NoHandle) -> Result<Handle<'a>> {
    let handle = handle::begin(inode.super_block(), outside, map_steps::op(inode))?;
    if inode.is_sync() {
        handle.sync();
    }
    Ok(handle)
}

/// Has the device zero the unwritten blocks of `from..to`, which are written then.
fn write_zeroes(
    inode: &VfsInode,
    from: FileBlock,
    to: FileBlock,
    outside: &mut NoHandle,
) -> Result {
    let sb = inode.super_block();
    let mut at = from;
    while at < to {
        let (m, _) = map::lookup(inode, at, false)?;
        let part = m.clip(at, to).ok_or(EUCLEAN)?;
        if let MapKind::Unwritten(start) = part.kind {
            sb.zero_blocks(start.get(), part.len.into())?;
        }
        at = part.end().max(at.saturating_add(1));
        relax()?;
    }
    set_state(inode, from, to, false, outside)
}

/// Everything from the range on is on disk, and nowhere else; what is before it and not below the size on
/// disk, which changes, is on disk as well.
fn settle_from(inode: &VfsInode, offset: u64, outside: &NoHandle) -> Result {
    // A folio's part cannot go.
    let from = offset & !(PAGE_SIZE as u64).wrapping_sub(1);
    inode.write_and_wait(outside, from.min(inode.data().disksize()), u64::MAX)?;
    inode.truncate_page_cache(outside, from);
    Ok(())
}

/// Takes the range out of the file.
fn take_out(inode: &VfsInode, what: &Fallocate, outside: &mut NoHandle) -> Result {
    settle_from(inode, what.offset, outside)?;
    let (from, to) = (block_of(inode, what.offset), block_of(inode, what.end()));
    let sb = inode.super_block();
    let mut handle = handle::begin(sb, outside, truncate::punch_op(inode))?;
    if inode.is_sync() {
        handle.sync();
    }
    let done = take_out_in(&mut handle, inode, what, from, to);
    done.and(handle.stop())
}

fn take_out_in(
    handle: &mut Handle<'_>,
    inode: &VfsInode,
    what: &Fallocate,
    from: FileBlock,
    to: FileBlock,
) -> Result {
    truncate::free_range(handle, inode, from, to)?;
    let by = Shift::Back(from.distance_to(to));
    map_steps::run(handle, inode, Edit::Shift { from: to, by })?;
    let size = inode.size().saturating_sub(what.len);
    store_size(handle, inode, size)
}

/// Makes room for the range.
fn put_in(inode: &VfsInode, what: &Fallocate, outside: &mut NoHandle) -> Result {
    uncover(inode, inode.size().saturating_add(what.len), outside)?;
    settle_from(inode, what.offset, outside)?;
    let (from, to) = (block_of(inode, what.offset), block_of(inode, what.end()));
    // What is behind the end of the file moves as well.
    let mut mapped = FileBlock::END;
    // Each turn goes past one hole that is known by itself.
    while let Some(last) = mapped.get().checked_sub(1) {
        match map::lookup(inode, FileBlock::new(last), false)?.0 {
            hole if hole.kind == MapKind::Hole && hole.lblk < mapped => mapped = hole.lblk,
            _ => break,
        }
    }
    let by = Shift::Forth(from.distance_to(to));
    if by.of(mapped.max(from)).is_none() {
        return Err(EINVAL);
    }
    let mut handle = begin(inode, outside)?;
    let size = inode.size().saturating_add(what.len);
    let done = map_steps::run(&mut handle, inode, Edit::Split { at: from });
    // From here on nothing is allocated. The size first: what moves stays in the file.
    let done = done.and_then(|()| store_size(&mut handle, inode, size));
    let done = done.and_then(|()| map_steps::run(&mut handle, inode, Edit::Shift { from, by }));
    done.and(handle.stop())
}

/// Sets the size, in memory and on disk.
fn store_size(handle: &mut Handle<'_>, inode: &VfsInode, size: u64) -> Result {
    handle::make_room(inode.super_block(), handle, Op::UpdateInode)?;
    let slot = inode_write::prepare(handle, inode)?;
    set_sizes(inode, size, slot)?;
    inode_write::note_change(handle, inode, true);
    Ok(())
}
