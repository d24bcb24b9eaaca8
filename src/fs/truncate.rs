// SPDX-License-Identifier: GPL-2.0

//! Freeing a file's blocks, from one on or those of a range, in steps.
//!
//! A file may have any number of extents, in any number of groups, and a transaction holds a
//! bounded number of changes. So a step unmaps and frees some blocks at the file's end, and stores
//! the inode, whose map simply ends earlier then; between two steps the handle may be restarted.
//! For the time in between, the inode has to be an orphan: then a crash is followed by the rest of
//! the steps.
//!
//! Locking: i_rwsem of the inode for writing, and for a regular file the invalidate lock, or the
//! inode is being evicted; `data_sem` is taken for each step. Nobody maps anything meanwhile behind
//! the block that the file is to end with.

use super::{
    alloc::{self, Allocation},
    delayed::{certainly, Delayed},
    fault::Fault,
    handle,
    inode::{number, MapKind, Root},
    inode_write, map,
    map_change::{self, account, remember},
    meta::FileBounds,
    orphan,
    trace::{self, RangeEvent},
    tx::{Handle, Tx},
    vec, VfsInode,
};
use crate::{
    engine::{
        change::{Blocks, Was},
        credits::{Map, Op},
        extent_edit::{ExtentEditor, Progress},
        indirect_edit::IndirectEditor,
        mapping,
    },
    linux::{
        buffer::Verified,
        inode_edit::InodeEdit as _,
        insist::insist,
        jbd2::{NoHandle, Room},
        sched::relax,
    },
    ondisk::{
        extent::{edit::EMPTY_ROOT, ExtentError, Node, ROOT_SIZE},
        inode::InodeFlags,
        Corrupt, FileBlock, FsBlock,
    },
};
use core::ops::Range;
use kernel::prelude::*;

/// How many runs of blocks a step frees, unless the map asks for more: all that a root in the inode
/// holds, or a good part of what a group's bitmap takes to read.
const BUDGET: u32 = 16;
/// The same for a map without blocks of its own, which has no more extents.
const BUDGET_FLAT: u32 = 4;

/// How often a step may leave the end where it was: it takes a level off the tree then.
const MAX_STALLS: u32 = 8;

/// What the blocks of `inode` are to the journal: contents of directories, symlinks and EA inodes
/// are written through it.
fn contents(inode: &VfsInode) -> Was {
    let journalled = !inode.is_regular() || inode.data().flags().contains(InodeFlags::EA_INODE);
    if journalled {
        Was::Metadata
    } else {
        Was::Data
    }
}

/// A step, for the table of credits. Takes `data_sem`.
pub(crate) fn step_op(inode: &VfsInode) -> Op {
    let map = map_change::shape(inode);
    let budget = match map {
        Map::Extents { depth: 0 } => BUDGET_FLAT,
        _ => BUDGET,
    };
    Op::TruncateStep {
        map,
        budget,
        was: contents(inode),
    }
}

/// The same, of a range with something behind it. Takes `data_sem`.
pub(crate) fn punch_op(inode: &VfsInode) -> Op {
    Op::PunchStep(map_change::shape(inode), BUDGET)
}

/// Whether `inode` has no blocks, as far as its map says. Takes `data_sem`.
pub(crate) fn is_empty(inode: &VfsInode) -> bool {
    let info = inode.data();
    match info.map_kind() {
        MapKind::None => true,
        MapKind::Extents => {
            let root = info.data_sem.read();
            matches!(Node::root(&root.block), Ok((Node::Leaf(entries), _)) if entries.len() == 0)
        }
        MapKind::Indirect => info.data_sem.read().block.iter().all(|byte| *byte == 0),
    }
}

/// The only block of `inode`, which `root` leads to; `None` if there are others, or none.
fn only_block(inode: &VfsInode, root: &Root) -> Option<FsBlock> {
    let (sb, info) = (inode.super_block(), inode.data());
    if info.map_kind() != MapKind::Extents || sb.info().geometry.cluster_ratio() != 1 {
        return None;
    }
    let Ok((Node::Leaf(entries), _)) = Node::root(&root.block) else {
        return None;
    };
    let only = entries.get(0).filter(|_| entries.len() == 1)?;
    let extent = only.check(&FileBounds::new(sb.info(), inode.ino())).ok()?;
    (extent.len == 1).then_some(extent.start)
}

/// Whether `inode` has exactly one block, and its map none. Takes `data_sem`.
pub(super) fn has_only_block(inode: &VfsInode) -> bool {
    only_block(inode, &inode.data().data_sem.read()).is_some()
}

/// Frees the only block of `inode`, of which [`has_only_block`] is true and which is metadata;
/// returns the root of its map, which is empty then. The caller stores the inode in the same handle.
/// May sleep.
///
/// Errors: damage, EIO, ENOMEM, those of a journal that has been given up. Nothing has changed then.
pub(super) fn free_only_block(
    handle: &Handle<'_>,
    inode: &VfsInode,
) -> Result<[u8; ROOT_SIZE], Fault> {
    let mut root = inode.data().data_sem.write();
    let block = only_block(inode, &root).ok_or(EUCLEAN)?;
    let allocation = Allocation::new(inode.super_block(), handle);
    allocation.free(block, 1, Was::Metadata)?;
    root.block = EMPTY_ROOT;
    account(inode, &allocation);
    remember(inode, |cache| {
        cache.clear();
        Ok(())
    });
    Ok(root.block)
}

/// Whether `inode` is of a kind that can be truncated.
pub(crate) fn can_truncate(inode: &VfsInode) -> bool {
    let info = inode.data();
    let inline = info.flags().contains(InodeFlags::INLINE_DATA);
    inode.is_regular() || inode.is_dir() || (info.map_kind() != MapKind::None && !inline)
}

/// Unmaps and frees all blocks of `inode` from `from` on, in `handle`, which may be restarted; the
/// inode is stored. It is an orphan, unless the caller knows that one step is enough.
///
/// May sleep, and wait for commits. Errors: EUCLEAN (reported), EIO, ENOMEM, ENOSPC for a journal
/// that is too small; EROFS when it has been given up. What has not been freed is mapped still, and
/// the inode has been stored like that.
pub(crate) fn free_from(handle: &mut Handle<'_>, inode: &VfsInode, from: FileBlock) -> Result {
    free_range(handle, inode, from, FileBlock::END)
}

/// As [`free_from`], of the blocks before `to`. What is behind it stays, so that the inode need not be
/// an orphan: between two steps the file has a part of the hole.
///
/// Errors: as there, and ENOSPC for a block of the map.
pub(crate) fn free_range(
    handle: &mut Handle<'_>,
    inode: &VfsInode,
    from: FileBlock,
    end: FileBlock,
) -> Result {
    let sb = inode.super_block();
    if inode.data().map_kind() == MapKind::None {
        return Ok(());
    }
    let mut to = end;
    let mut stalls = 0u32;
    while stalls < MAX_STALLS {
        let op = if end == FileBlock::END {
            step_op(inode)
        } else {
            punch_op(inode)
        };
        if handle::ensure(sb, handle, op)? == Room::Full {
            handle::restart(sb, handle, op)?;
            // A task that is to die finishes all the same.
            let _ = relax();
        }
        let progress = step(handle, inode, from..to, end, op);
        match progress.map_err(|e| e.report_inode(inode, "block map"))? {
            Progress::Done => return Ok(()),
            Progress::More(end) if end < to => {
                to = end;
                stalls = 0;
            }
            Progress::More(_) => stalls = stalls.saturating_add(1),
        }
    }
    Err(Fault::from(Corrupt::from(ExtentError::Unsorted)).report_inode(inode, "block map"))
}

/// The first block behind the end of a file of `size` bytes.
pub(crate) fn end_block(inode: &VfsInode, size: u64) -> FileBlock {
    let bits = inode.super_block().info().geometry.block_bits();
    let whole = size.wrapping_shr(bits);
    let part = u64::from(whole.wrapping_shl(bits) != size);
    // No file has more blocks than that.
    let blocks = u32::try_from(whole.saturating_add(part));
    blocks.map_or(FileBlock::END, FileBlock::new)
}

/// Has everything behind the size of `inode` go: what the page cache has there, and the blocks.
/// Afterwards it is no orphan any more. Its modification time is now.
///
/// i_rwsem and, of a regular file, the invalidate lock are held; the size has been set, and the
/// inode is an orphan. May sleep, and wait for commits.
///
/// Errors: as [`free_from`]. The inode is an orphan still then, so that the next mount finishes it.
pub(crate) fn cut_to_size(inode: &VfsInode, outside: &mut NoHandle) -> Result {
    let sb = inode.super_block();
    let size = inode.size();
    if inode.is_regular() {
        inode.truncate_page_cache(outside, size);
    }
    let op = step_op(inode);
    // The size has been set: half of it all has been done.
    let mut handle = handle::insist_on(sb, outside, op)?;
    if inode.is_sync() {
        handle.sync();
    }
    // What recovery may have cleared.
    handle.need_data_flush();
    let result = finish(&mut handle, inode, size);
    result.and(handle.stop())
}

fn finish(handle: &mut Handle<'_>, inode: &VfsInode, size: u64) -> Result {
    if let Ok(ino) = number(inode) {
        alloc::give_up(inode.super_block(), ino);
    }
    free_from(handle, inode, end_block(inode, size))?;
    handle::make_room(inode.super_block(), handle, Op::OrphanDel)?;
    let slot = inode_write::prepare(handle, inode)?;
    orphan::del(handle, inode)?;
    inode.touch();
    slot.store()
}

/// Clears what is behind byte `size` in the block that it is in, in the page cache and on disk:
/// when the file gets longer again, zeros are to be there.
///
/// For recovery: nothing of the file is dirty, and what is written here goes past its writeback. i_rwsem and the invalidate lock are held; not inside a
/// handle.
///
/// Errors: EUCLEAN (reported), EIO, ENOMEM.
pub(crate) fn zero_tail(inode: &VfsInode, outside: &NoHandle, size: u64) -> Result {
    let device = inode.super_block().device();
    let bits = device.block_size().trailing_zeros();
    let start = size.wrapping_shr(bits).wrapping_shl(bits);
    let Some(block) = tail_block(inode, size)? else {
        return Ok(());
    };
    let mut bytes = insist(|| vec::filled(0u8, device.block_size() as usize))?;
    inode.read_cached(start, &mut bytes)?;
    let kept = usize::try_from(size.wrapping_sub(start)).unwrap_or(usize::MAX);
    let Some(tail) = bytes.get_mut(kept..) else {
        return Ok(());
    };
    if tail.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    tail.fill(0);
    inode.truncate_page_cache(outside, size);
    device.overwrite(block.get(), &bytes)
}

/// The block with byte `size`, if that is inside a block and there is anything in it.
///
/// Errors: EUCLEAN (reported), EIO, ENOMEM.
pub(crate) fn tail_block(inode: &VfsInode, size: u64) -> Result<Option<FsBlock>> {
    let end = end_block(inode, size);
    let bits = inode.super_block().info().geometry.block_bits();
    let whole = u64::from(end.get()).wrapping_shl(bits) == size;
    let Some(last) = end.get().checked_sub(1).filter(|_| !whole) else {
        return Ok(None);
    };
    let last = FileBlock::new(last);
    let (found, _) = map::lookup(inode, last, false)?;
    Ok(match found.clip(last, FileBlock::END).map(|m| m.kind) {
        Some(mapping::MapKind::Written(block)) => Some(block),
        _ => None,
    })
}

/// One step of [`free_range`], which goes up to `end`, of which `range` is left.
fn step(
    handle: &Handle<'_>,
    inode: &VfsInode,
    Range {
        start: from,
        end: to,
    }: Range<FileBlock>,
    end: FileBlock,
    op: Op,
) -> Result<Progress, Fault> {
    let (map, budget, was) = match op {
        Op::TruncateStep { map, budget, was } => (map, budget, was),
        Op::PunchStep(map, budget) => (map, budget, Was::Data),
        _ => return Ok(Progress::Done),
    };
    let sb = inode.super_block();
    let info = inode.data();
    let bounds = FileBounds::new(sb.info(), inode.ino());
    let slot = inode_write::prepare(handle, inode)?;
    let allocation = Allocation::of_map(inode, handle).using_pool();
    let blocks = Contents {
        allocation: &allocation,
        was,
    };
    let mut guard = info.data_sem.write();
    if let Map::Extents { depth } = map {
        if map_change::depth(&guard) > depth {
            // Somebody has written in front of what goes: that takes more credits.
            return Ok(Progress::More(to));
        }
    }
    let root: &mut [u8; ROOT_SIZE] = &mut guard.block;
    let progress = match info.map_kind() {
        MapKind::Extents => {
            let tx = Tx::new(handle, sb.device(), Verified::Extent);
            ExtentEditor::new(&tx, &blocks, &bounds, info.csum_seed(), sb.block_size())
                .with_cluster_bits(sb.info().geometry.cluster_bits())
                .remove(root, from, to, budget)
        }
        MapKind::Indirect => {
            let tx = Tx::new(handle, sb.device(), Verified::Indirect);
            IndirectEditor::new(&tx, &blocks, &bounds, sb.info().pointer_bits)
                .remove(root, from, to, budget)
        }
        MapKind::None => Ok(Progress::Done),
    };
    // Also after an error, part of it may have been done.
    account(inode, &allocation);
    let cache = info.extent_map();
    let delayed = Delayed::look(inode, &cache, from, end);
    certainly(info, || cache.remove(from, end));
    trace::unknown(RangeEvent::CacheRemove, inode, from, end);
    alloc::release(sb, delayed.gone(inode, &cache));
    let stored = slot.store_mapped(&guard);
    inode_write::note_change(handle, inode, true);
    let progress = progress?;
    stored?;
    Ok(progress)
}

/// A file's blocks: the editors know which of them are the map's, and call the others data.
struct Contents<'a> {
    allocation: &'a Allocation<'a>,
    was: Was,
}

impl Blocks for Contents<'_> {
    type Error = Fault;

    fn allocate(&self, goal: FsBlock) -> Result<FsBlock, Fault> {
        self.allocation.allocate(goal)
    }

    fn give_back(&self, block: FsBlock) {
        self.allocation.give_back(block);
    }

    fn free(&self, start: FsBlock, len: u32, was: Was) -> Result<u32, Fault> {
        let was = match was {
            Was::Data => self.was,
            Was::Metadata => Was::Metadata,
        };
        self.allocation.free(start, len, was)
    }
}
