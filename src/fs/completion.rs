// SPDX-License-Identifier: GPL-2.0

//! Writes that have ended: their blocks come into the file's map, and its size to disk.
//!
//! For each write that has ended well, in one transaction for a batch if it fits: blocks that were in
//! flight are set in their bitmap and mapped; unwritten blocks are marked written; and the size on disk
//! follows. A write that has failed gives its blocks back.
//!
//! The first one to map a block wins: a filler that finds it mapped gives its own back. (The writes
//! overlapped, so that either order is right.)
//!
//! The size on disk rises to the end of what has been mapped, in the same transaction: e2fsck does not like
//! blocks behind it. What lies before and is not on disk yet is a hole there. In the block with what was the
//! end of the file there are zeros behind that: whoever makes a file end inside of a block has them written
//! before ([`super::set_size`]).
//!
//! Locking: on the completion workqueue. Takes a handle, then `data_sem`; nothing may be waited for
//! that needs a write to end. Who waits for folios holds i_rwsem or the invalidate lock, so these are
//! not taken.

use super::{
    alloc::{self, Allocation, InFlight},
    delayed::{certainly, Delayed},
    fault::Fault,
    handle,
    inode::{MapKind, Root},
    inode_write, map,
    map_change::{self, account},
    meta::FileBounds,
    options::Toggles,
    trace::{self, RangeEvent},
    tx::{Handle, Tx},
    VfsInode,
};
use crate::{
    engine::{
        credits::{Map, Op},
        extent_edit::{ExtentEditor, Inserted},
        indirect_edit::IndirectEditor,
        mapping::{self, Mapping},
    },
    linux::{
        buffer::Verified,
        delay::Place,
        inode_edit::InodeEdit as _,
        ioend::{Batch, Ended},
        jbd2::NoHandle,
    },
    ondisk::{
        extent::{edit::max_len, Extent, ExtentError},
        Corrupt, FileBlock, FsBlock,
    },
};
use core::sync::atomic::Ordering::Relaxed;
use kernel::prelude::*;

/// A write, in blocks.
#[derive(Clone, Copy)]
struct Write {
    from: FileBlock,
    to: FileBlock,
    start: FsBlock,
    /// The byte of the file at which it ended.
    end: u64,
    /// A direct write: nothing in the cache says that it is in flight.
    direct: bool,
}

impl Write {
    fn of(inode: &VfsInode, ended: &Ended<'_>) -> Self {
        let bits = inode.super_block().info().geometry.block_bits() & 31;
        let block = |pos: u64| FileBlock::new(u32::try_from(pos >> bits).unwrap_or(u32::MAX));
        let from = block(ended.start());
        Self {
            from,
            to: block(ended.start().saturating_add(ended.len())).max(from),
            start: FsBlock::new(ended.address() >> bits),
            end: ended.end(),
            direct: ended.is_direct(),
        }
    }

    /// Where block `at` of it is.
    fn at(&self, at: FileBlock) -> FsBlock {
        let distance = self.from.distance_to(at);
        FsBlock::new(self.start.get().saturating_add(distance.into()))
    }
}

/// Completes the writes of `batch`.
pub(super) fn complete(inode: &VfsInode, batch: &Batch<'_>) {
    Place::Ended.pass();
    let well = || batch.iter().filter(|ended| ended.result().is_ok());
    for ended in batch.iter() {
        if let Err(e) = ended.result() {
            if ended.fills() {
                let write = Write::of(inode, &ended);
                abandon(inode, &write, write.from);
            }
            report(inode, e);
        }
    }
    let mut outside = match NoHandle::here() {
        Ok(outside) => outside,
        Err(e) => return fail_all(inode, batch, e),
    };
    if well().next().is_some() {
        let first = Op::Allocate(map_change::shape(inode), 1);
        match handle::insist_on(inode.super_block(), &mut outside, first) {
            Ok(handle) => transact(handle, inode, batch),
            Err(e) => fail_all(inode, batch, e),
        }
    }
}

/// There can be no transaction.
#[cold]
fn fail_all(inode: &VfsInode, batch: &Batch<'_>, error: Error) {
    for ended in batch.iter().filter(|ended| ended.result().is_ok()) {
        if ended.fills() {
            let write = Write::of(inode, &ended);
            abandon(inode, &write, write.from);
        }
        ended.fail(error);
    }
}

/// Data is lost: `data_err=abort` wants no more of it.
#[cold]
fn report(inode: &VfsInode, error: Error) {
    let sb = inode.super_block();
    if let Some(journal) = sb.journal() {
        if sb.info().has(Toggles::DATA_ERR_ABORT) && handle::may_write(sb).is_ok() {
            journal.abort(error);
        }
    }
}

/// Completes those writes of `batch` that have ended well. One that cannot be is failed.
fn transact(mut handle: Handle<'_>, inode: &VfsInode, batch: &Batch<'_>) {
    handle.need_data_flush();
    for ended in batch.iter().filter(|ended| ended.result().is_ok()) {
        if let Err(e) = apply(&mut handle, inode, &ended) {
            ended.fail(e);
        }
    }
    let raised = raise(&mut handle, inode, batch);
    if let Err(e) = raised.and(handle.stop()) {
        for ended in batch.iter().filter(|ended| ended.result().is_ok()) {
            ended.fail(e);
        }
    }
}

/// How often in a row the map may turn out to have got deeper.
const MAX_TURNS: u32 = 16;

/// Brings a write that has ended well into the map.
///
/// Errors: EIO, ENOMEM, EUCLEAN (reported), and those of a journal that has been given up. The rest of
/// its blocks have been given back.
fn apply(handle: &mut Handle<'_>, inode: &VfsInode, ended: &Ended<'_>) -> Result {
    let write = Write::of(inode, ended);
    let fills = ended.fills();
    if !fills && !ended.is_unwritten() {
        return Ok(());
    }
    let applied = take_steps(inode, &write, |at| {
        if fills {
            fill(handle, inode, &write, at, Some(ended.end()))
        } else {
            convert(handle, inode, &write, at)
        }
    });
    applied.map_err(|(at, e)| {
        if fills {
            abandon(inode, &write, at);
        }
        e
    })
}

/// Goes through the blocks of `write` by `step`, which says how far it has come. An error comes with
/// the block at which there was one.
fn take_steps(
    inode: &VfsInode,
    write: &Write,
    mut step: impl FnMut(FileBlock) -> Result<FileBlock, Fault>,
) -> Result<(), (FileBlock, Error)> {
    let (mut at, mut turns) = (write.from, 0u32);
    while at < write.to {
        match step(at) {
            Ok(next) if next > at => (at, turns) = (next, 0),
            Ok(_) if turns < MAX_TURNS => turns = turns.saturating_add(1),
            Ok(_) => return Err((at, EUCLEAN)),
            Err(e) => return Err((at, e.report_inode(inode, "block map"))),
        }
    }
    Ok(())
}

/// Gives back the blocks of `write` from `at` on, which are in flight: they will not be mapped.
#[cold]
fn abandon(inode: &VfsInode, write: &Write, at: FileBlock) {
    let sb = inode.super_block();
    let info = inode.data();
    if !write.direct {
        let _lock = info.data_sem.write();
        let cache = info.extent_map();
        let delayed = Delayed::look(inode, &cache, at, write.to);
        certainly(info, || cache.remove_settled(at, write.to));
        trace::unknown(RangeEvent::CacheRemove, inode, at, write.to);
        alloc::release(sb, delayed.gone(inode, &cache));
    }
    let len = at.distance_to(write.to);
    InFlight::of_io(sb, write.at(at), len).for_each(|flight| flight.give_back(sb));
}

/// Whether the tree has got deeper than `shape` says: then a change takes more credits.
fn is_deeper(root: &Root, shape: Map) -> bool {
    matches!(shape, Map::Extents { depth } if map_change::depth(root) > depth)
}

/// Maps blocks that are in flight, a run from `start` on, at `at` in the file as unwritten: in a
/// transaction of their own. Those that cannot be have been given back.
///
/// i_rwsem and the invalidate lock are held for writing, and none of them is delayed.
///
/// Errors: EIO, ENOMEM, EUCLEAN (reported), EROFS.
pub(super) fn map_unwritten(
    inode: &VfsInode,
    at: FileBlock,
    blocks: u32,
    start: FsBlock,
    outside: &mut NoHandle,
) -> Result {
    let write = Write {
        from: at,
        to: at.saturating_add(blocks),
        start,
        end: 0,
        direct: true,
    };
    let first = Op::Allocate(map_change::shape(inode), 1);
    let mut handle = match handle::begin(inode.super_block(), outside, first) {
        Ok(handle) => handle,
        Err(e) => {
            abandon(inode, &write, at);
            return Err(e);
        }
    };
    if inode.is_sync() {
        handle.sync();
    }
    let mapped = take_steps(inode, &write, |at| {
        fill(&mut handle, inode, &write, at, None)
    });
    let mapped = mapped.map_err(|(at, e)| {
        abandon(inode, &write, at);
        e
    });
    mapped.and(handle.stop())
}

/// Maps blocks of `write` from `at` on, one run: where the next begins. `end` is the byte of the file
/// at which the write ended; if nothing has been written, the blocks are mapped as unwritten.
fn fill(
    handle: &mut Handle<'_>,
    inode: &VfsInode,
    write: &Write,
    at: FileBlock,
    end: Option<u64>,
) -> Result<FileBlock, Fault> {
    let sb = inode.super_block();
    let info = inode.data();
    let shape = map_change::shape(inode);
    if end.is_some() {
        room(handle, inode, Op::Allocate(shape, 1))?;
    } else {
        handle::make_room(sb, handle, Op::Allocate(shape, 1))?;
    }
    let slot = inode_write::prepare(handle, inode)?;
    let mut root = info.data_sem.write();
    if is_deeper(&root, shape) {
        return Ok(at);
    }
    let found = map::find(inode, info, &root, at)?;
    let part = found.clip(at, write.to).ok_or(EUCLEAN)?;
    let cache = info.extent_map();
    // The part of it that is in one group.
    let flight = InFlight::of_io(sb, write.at(at), at.distance_to(write.to)).next();
    let flight = flight.ok_or(EUCLEAN)?;
    if let (mapping::MapKind::Unwritten(_), Some(_)) = (part.kind, end) {
        // Nobody sets space aside where data is in flight: what was written would be lost.
        return Err(EIO.into());
    }
    if part.kind != mapping::MapKind::Hole {
        let to = part.end();
        let delayed = Delayed::look(inode, &cache, at, to);
        certainly(info, || cache.set(&part));
        trace::mapping(RangeEvent::CacheInsert, inode, &part);
        alloc::release(sb, delayed.gone(inode, &cache));
        drop(root);
        let (ours, rest) = flight.split(sb, part.len);
        rest.map(InFlight::into_io);
        let to = at.saturating_add(ours.blocks());
        ours.give_back(sb);
        return Ok(to);
    }
    let most = match info.map_kind() {
        MapKind::Indirect => sb.info().pointer_bits.in_table(at),
        _ => max_len(end.is_none()),
    };
    let (flight, rest) = flight.split(sb, part.len.min(most));
    let has_rest = rest.map(InFlight::into_io).is_some();
    // If it comes to nothing it is given back with the rest.
    let whole_again = |flight: InFlight| {
        if has_rest {
            flight.rejoin_into_io(sb);
        } else {
            let _ = flight.into_io();
        }
    };
    let settled = match flight.settle(sb, handle) {
        Ok(settled) => settled,
        Err((flight, e)) => {
            whole_again(flight);
            return Err(e.into());
        }
    };
    let start = settled.start();
    let new = Mapping {
        lblk: at,
        len: settled.blocks(),
        kind: match end {
            Some(_) => mapping::MapKind::Written(start),
            None => mapping::MapKind::Unwritten(start),
        },
    };
    let allocation = if write.direct && info.map_kind() == MapKind::Indirect {
        // Nobody has set tables aside for it.
        Allocation::of_map(inode, handle)
    } else {
        Allocation::of_promised(inode, handle)
    };
    let inserted = insert(handle, inode, &mut root, &allocation, &new, start);
    if let Err(e) = inserted {
        if let Ok(flight) = settled.undo(sb, handle) {
            whole_again(flight);
        }
        return Err(e);
    }
    inode.add_sectors(settled.sectors(sb));
    account(inode, &allocation);
    settled.mapped(sb);
    trace::mapping(RangeEvent::MapComplete, inode, &new);
    remember(inode, &new);
    if let Some(end) = end {
        // In the same transaction: no block is mapped behind the size on disk.
        let bits = sb.info().geometry.block_bits() & 31;
        let mapped = (u64::from(new.end().get()) << bits).min(end);
        let size = if write.direct { end } else { 0 };
        rise(inode, mapped, size.max(inode.size()));
    }
    let stored = slot.store_mapped(&root);
    inode_write::note_change(handle, inode, true);
    stored?;
    Ok(new.end())
}

/// Notes that blocks are mapped; `data_sem` is held for writing.
pub(super) fn remember(inode: &VfsInode, new: &Mapping) {
    let info = inode.data();
    let cache = info.extent_map();
    let delayed = Delayed::look(inode, &cache, new.lblk, new.end());
    certainly(info, || cache.set(new));
    trace::mapping(RangeEvent::CacheInsert, inode, new);
    alloc::release(inode.super_block(), delayed.gone(inode, &cache));
}

/// Puts blocks in a hole into the map.
fn insert(
    handle: &Handle<'_>,
    inode: &VfsInode,
    root: &mut Root,
    allocation: &Allocation<'_>,
    new: &Mapping,
    start: FsBlock,
) -> Result<(), Fault> {
    let sb = inode.super_block();
    let info = inode.data();
    let bounds = FileBounds::new(sb.info(), inode.ino());
    let mapped = match info.map_kind() {
        MapKind::Extents => {
            let tx = Tx::new(handle, sb.device(), Verified::Extent);
            let extent = Extent {
                first: new.lblk,
                len: new.len,
                start,
                unwritten: matches!(new.kind, mapping::MapKind::Unwritten(_)),
            };
            ExtentEditor::new(&tx, allocation, &bounds, info.csum_seed(), sb.block_size())
                .insert(&mut root.block, &extent)?
                == Inserted::Done
        }
        MapKind::Indirect => {
            let tx = Tx::new(handle, sb.device(), Verified::Indirect);
            IndirectEditor::new(&tx, allocation, &bounds, sb.info().pointer_bits).insert(
                &mut root.block,
                new.lblk,
                new.len,
                start,
            )? == new.len
        }
        MapKind::None => return Err(EUCLEAN.into()),
    };
    if mapped {
        Ok(())
    } else {
        Err(Corrupt::from(ExtentError::Unsorted).into())
    }
}

/// Marks unwritten blocks of `write` from `at` on as written, one extent: how far it has come.
fn convert(
    handle: &mut Handle<'_>,
    inode: &VfsInode,
    write: &Write,
    at: FileBlock,
) -> Result<FileBlock, Fault> {
    let sb = inode.super_block();
    let info = inode.data();
    let shape = map_change::shape(inode);
    room(handle, inode, Op::Convert(shape, 1))?;
    let slot = inode_write::prepare(handle, inode)?;
    let mut root = info.data_sem.write();
    if is_deeper(&root, shape) {
        return Ok(at);
    }
    let bounds = FileBounds::new(sb.info(), inode.ino());
    let allocation = Allocation::of_promised(inode, handle);
    let tx = Tx::new(handle, sb.device(), Verified::Extent);
    let reached = ExtentEditor::new(&tx, &allocation, &bounds, info.csum_seed(), sb.block_size())
        .convert(&mut root.block, at, write.to, false)?;
    account(inode, &allocation);
    let bits = sb.info().geometry.block_bits() & 31;
    let mapped = (u64::from(reached.get()) << bits).min(write.end);
    let size = if write.direct { write.end } else { 0 };
    rise(inode, mapped, size.max(inode.size()));
    let cache = info.extent_map();
    let written = Mapping {
        lblk: at,
        len: at.distance_to(reached),
        kind: mapping::MapKind::Written(write.at(at)),
    };
    certainly(info, || cache.set(&written));
    trace::mapping(RangeEvent::MapComplete, inode, &written);
    trace::mapping(RangeEvent::CacheInsert, inode, &written);
    let stored = slot.store_mapped(&root);
    inode_write::note_change(handle, inode, true);
    stored?;
    Ok(reached)
}

/// As far as data has been mapped, up to byte `reached`, the size on disk follows in memory, if the file of
/// `size` bytes goes so far; `data_sem` is held for writing. Whether it has.
fn rise(inode: &VfsInode, reached: u64, size: u64) -> bool {
    let info = inode.data();
    let reached = info.reached.load(Relaxed).max(reached.min(size));
    info.reached.store(reached, Relaxed);
    let new = reached.min(size);
    if new <= info.disksize() {
        return false;
    }
    info.set_disksize(new);
    true
}

/// The size on disk follows what is on disk.
fn raise(handle: &mut Handle<'_>, inode: &VfsInode, batch: &Batch<'_>) -> Result {
    let info = inode.data();
    let ends = || {
        let well = batch.iter().filter(|ended| ended.result().is_ok());
        well.map(|ended| ended.end())
    };
    let reached = ends().fold(info.reached.load(Relaxed), u64::max);
    // A direct write makes the file longer when all of it has ended, and until then nobody else does: what
    // has been mapped is not to lie behind the end on disk.
    let direct = || {
        let well = batch.iter().filter(|ended| ended.result().is_ok());
        well.filter(Ended::is_direct).map(|ended| ended.end())
    };
    let size = || direct().fold(inode.size(), u64::max);
    if info.disksize() >= reached.min(size()) {
        return Ok(());
    }
    room(handle, inode, Op::UpdateInode)?;
    let slot = inode_write::prepare(handle, inode)?;
    let root = info.data_sem.write();
    if !rise(inode, ends().fold(0, u64::max), size()) {
        return Ok(());
    }
    slot.store_mapped(&root)?;
    inode_write::note_change(handle, inode, true);
    Ok(())
}

/// Makes room for `op` in `handle`, for data that is in the device's cache.
fn room(handle: &mut Handle<'_>, inode: &VfsInode, op: Op) -> Result {
    handle::make_room(inode.super_block(), handle, op)?;
    // It may be another transaction's by now.
    handle.need_data_flush();
    Ok(())
}
