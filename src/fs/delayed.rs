// SPDX-License-Identifier: GPL-2.0

//! Data in the page cache that has no blocks yet: writing reserves space, and no more.
//!
//! Where a write meets a hole, as many clusters are promised to it as it may come to need
//! (`alloc::reserve`), and its blocks are *delayed* in the extent status cache. [`super::writeback`]
//! finds blocks for them when they are written to disk. How much is promised to a file follows from
//! its cache: one cluster for each that has a delayed block. So whoever changes what is delayed counts
//! before and after ([`Delayed`]).
//!
//! A block that is in flight and is written to again is delayed again, with a promise of its own: should
//! the I/O fail, the new contents need a place still. A completion that succeeds makes it written.
//!
//! A map of indirect blocks needs tables for what comes into it, and file systems without extents have
//! nothing set aside for that. So for each stretch of as many blocks as a table has pointers, in which
//! any are delayed or in flight, [`TABLES`] more are promised, until all that is in it has been mapped.
//!
//! Locking: i_rwsem (writes) or the invalidate lock and the folio's (page faults); `data_sem` is taken
//! here. Not inside a handle.

use super::{
    alloc, handle,
    inode::{self, InodeInfo},
    map,
    options::Toggles,
    trace::{self, RangeEvent},
    Rext4Fs, VfsInode,
};
use crate::{
    engine::{
        extent_map::ExtentMap,
        mapping::{MapKind, Mapping},
        reserve::Reservation,
    },
    linux::{
        delay,
        iomap::{self, BufferedWrite, Iomap, IomapOps, Placed, Request},
        jbd2::NoHandle,
        maple::RangeTree,
        sched,
    },
    ondisk::{inode::InodeFlags, FileBlock},
};
use core::{ops::Range, sync::atomic::Ordering::Relaxed};
use kernel::prelude::*;

/// Mappings for writing to the page cache.
pub(crate) struct Write;

/// How many tables the blocks of a stretch can need: it may lie across two, under different ones.
const TABLES: u32 = 5;

/// How many blocks are reserved at once at most: 1 GiB with blocks of 4 KiB.
const MOST: u32 = 1 << 18;

impl IomapOps for Write {
    type Fs = Rext4Fs;

    #[inline]
    fn begin(
        inode: &VfsInode,
        pos: u64,
        len: u64,
        request: Request,
        out: &mut Iomap<'_>,
    ) -> Result {
        place(inode, pos, len, request, out)?;
        if !request.is_fault() && !request.clears() {
            delay::Place::Mapped.pass();
        }
        Ok(())
    }

    const ENDS: bool = true;

    fn end(
        inode: &VfsInode,
        pos: u64,
        len: u64,
        written: u64,
        request: Request,
        done: &mut Iomap<'_>,
    ) -> Result {
        iomap::release_unused::<Self>(inode, pos, len, written, request, done);
        if written != 0 && done.is_new() && !request.is_fault() && !request.clears() {
            seek_places(inode);
        }
        Ok(())
    }
}

impl BufferedWrite for Write {
    fn is_valid(inode: &VfsInode, cookie: u64) -> bool {
        inode.data().seq.still(cookie)
    }

    fn punch(inode: &VfsInode, from: u64, to: u64) {
        let bits = inode.super_block().info().geometry.block_bits() & 31;
        let block = |pos: u64| FileBlock::new(u32::try_from(pos >> bits).unwrap_or(u32::MAX));
        forget(inode, block(from), block(to));
    }
}

/// Says where a write goes, and sets space aside if it has no place: see [`IomapOps::begin`].
#[inline(always)]
fn place(inode: &VfsInode, pos: u64, len: u64, request: Request, out: &mut Iomap<'_>) -> Result {
    let sb = inode.super_block();
    handle::may_write(sb)?;
    let info = inode.data();
    if info.flags().contains(InodeFlags::INLINE_DATA) {
        // Who writes has contents leave the inode before (`file_inline::to_blocks`).
        return Err(EOPNOTSUPP);
    }
    let bits = sb.info().geometry.block_bits() & 31;
    let at = FileBlock::new(u32::try_from(pos >> bits).map_err(|_| EFBIG)?);
    let end = pos.saturating_add(len);
    let mut tries = 0;
    // Whoever makes us look again has changed something.
    loop {
        let (m, cookie) = map::lookup(inode, at, request.nowait())?;
        if request.clears() {
            trace::mapping(RangeEvent::MapZero, inode, &m);
        } else {
            trace::mapping(RangeEvent::MapWrite, inode, &m);
        }
        let offset = u64::from(m.lblk.get()) << bits;
        let length = u64::from(m.len) << bits;
        match m.kind {
            MapKind::Written(block) => {
                out.placed(Placed::Mapped, block.get() << bits, offset, length);
            }
            MapKind::Unwritten(block) => {
                let mut length = length;
                if request.clears() {
                    match clear_what_is_dirty(inode, pos..end, &m, cookie, out) {
                        // Behind the end of the file there is nothing in the cache.
                        Some(to) if to <= at => {
                            out.hole(offset, length);
                            out.set_cookie(cookie);
                            return Ok(());
                        }
                        Some(to) => length = u64::from(m.lblk.distance_to(to)) << bits,
                        None => continue,
                    }
                }
                out.placed(Placed::Unwritten, block.get() << bits, offset, length);
            }
            MapKind::Delayed => out.delayed(offset, length, false),
            MapKind::Hole if request.clears() => out.hole(offset, length),
            MapKind::Hole | MapKind::InFlight => {
                if request.nowait() {
                    return Err(EAGAIN);
                }
                let last = end.saturating_sub(1) >> bits;
                let to = FileBlock::new(u32::try_from(last).unwrap_or(u32::MAX));
                let to = to.saturating_add(1).min(m.end());
                match reserve(inode, at, to, cookie) {
                    Ok(Some((blocks, cookie))) => {
                        let offset = u64::from(at.get()) << bits;
                        out.delayed(offset, u64::from(blocks) << bits, true);
                        out.set_cookie(cookie);
                        return Ok(());
                    }
                    Ok(None) => continue,
                    // A commit needs no folio, so that this can wait for one with it locked.
                    // (Other writes are tried again by who makes them, without.)
                    Err(e)
                        if e == ENOSPC
                            && request.is_fault()
                            && handle::may_retry(sb, &mut tries) =>
                    {
                        continue
                    }
                    Err(e) => return Err(e),
                }
            }
        }
        out.set_cookie(cookie);
        return Ok(());
    }
}

/// How many clusters of a file wait for a place at most with `nodelalloc`.
const FEW: u64 = 256;

/// Space has been promised to a write: has data written back, which gives it its place, where there is not
/// much more to promise, or the user wants it soon (`nodelalloc`: a place is found when data is written to
/// disk, never before, so that is begun, if it is not too little; the rest when the file is closed). No folio
/// is locked; nothing that completes a write takes i_rwsem, which is held.
#[inline]
fn seek_places(inode: &VfsInode) {
    let sb = inode.super_block();
    let shortage = alloc::shortage(sb);
    if shortage.write_back {
        sb.start_writeback();
    }
    let many = || inode.data().delayed() >= FEW;
    if shortage.at_once || (!sb.info().has(Toggles::DELALLOC) && many()) {
        inode.start_writeback();
    }
}

/// Has the dirty folios of `bytes` found that are in `m`, unwritten blocks, and not behind the end of the
/// file: nothing else of them is there to be cleared. (Without that, iomap writes them first, for them to be
/// written blocks.) Where the mapping ends that they are for, or `None` if it is not as it was under `cookie`
/// any more.
fn clear_what_is_dirty(
    inode: &VfsInode,
    bytes: Range<u64>,
    m: &Mapping,
    cookie: u64,
    out: &mut Iomap<'_>,
) -> Option<FileBlock> {
    let info = inode.data();
    // What is being written would be clean and another mapping, and be missed, when that has ended.
    let _lock = info.data_sem.read();
    if info.seq.current() != cookie {
        return None;
    }
    let bits = inode.super_block().info().geometry.block_bits() & 31;
    let up = |pos: u64| pos.saturating_add((1u64 << bits).wrapping_sub(1)) >> bits;
    let to = bytes.end.min(u64::from(m.end().get()) << bits);
    let to = to.min(up(inode.size()) << bits);
    let to = if bytes.start < to {
        up(out.clear_dirty_folios(bytes.start, to))
    } else {
        to >> bits
    };
    Some(FileBlock::new(u32::try_from(to).unwrap_or(u32::MAX)).min(m.end()))
}

/// Reserves space for blocks from `at` on, up to `to`, in a range that is not delayed, as many as there is
/// space for: how many, and the cookie under which they are delayed. `None` if what was found under `cookie` is not so any
/// more.
///
/// Errors: ENOSPC, ENOMEM.
fn reserve(
    inode: &VfsInode,
    at: FileBlock,
    to: FileBlock,
    cookie: u64,
) -> Result<Option<(u32, u64)>> {
    let info = inode.data();
    let sb = inode.super_block();
    let bits = sb.info().geometry.cluster_bits();
    let mut len = at.distance_to(to).clamp(1, MOST);
    let _lock = info.data_sem.write();
    if info.seq.current() != cookie {
        return Ok(None);
    }
    let cache = info.extent_map();
    loop {
        let end = at.saturating_add(len);
        // All clusters that the blocks are in, but for those that have their promise.
        let first = at.get().wrapping_shr(bits);
        let last = end.get().saturating_sub(1).wrapping_shr(bits);
        let clusters = last.saturating_sub(first).saturating_add(1);
        // In a range that is not delayed, and is known by the block, there is nothing promised.
        let promised = if bits == 0 {
            0
        } else {
            cache.delayed_clusters(at, end, bits)
        };
        let needed = clusters.saturating_sub(promised);
        let tables = match stretch_bits(inode) {
            None => 0,
            Some(bits) => {
                let first = at.get().wrapping_shr(bits);
                let last = end.get().saturating_sub(1).wrapping_shr(bits);
                let stretches = last.saturating_sub(first).saturating_add(1);
                stretches
                    .saturating_sub(cache.unmapped_stretches(at, end, bits))
                    .saturating_mul(TABLES)
            }
        };
        match alloc::reserve(sb, u64::from(needed).saturating_add(tables.into())) {
            Ok(reservation) => {
                let delayed = Mapping {
                    lblk: at,
                    len,
                    kind: MapKind::Delayed,
                };
                if let Err(e) = info.seq.write(|| cache.set(&delayed)) {
                    alloc::release(sb, reservation);
                    return Err(e);
                }
                // The cache says so from now on.
                trace::mapping(RangeEvent::CacheInsert, inode, &delayed);
                info.count_delayed(i64::from(needed));
                let _ = reservation.into_clusters();
                return Ok(Some((len, info.seq.current())));
            }
            Err(e) if e == ENOSPC && len > 1 => len >>= 1,
            Err(e) => return Err(e),
        }
    }
}

/// Changes what is known of a map; `data_sem` is held for writing. For changes that cannot be left
/// out: if there is no memory, it waits for some. What it needs is a node of a tree.
pub(super) fn certainly(info: &InodeInfo, change: impl Fn() -> Result) {
    info.seq.write(|| {
        while let Err(e) = change() {
            if kernel::warn_on!(e != ENOMEM) {
                // Not a range: a mistake of ours, which waiting does not mend.
                break;
            }
            let _ = sched::relax();
        }
    });
}

/// How many blocks a table of the map of `inode` has pointers for, as a shift, if it has tables.
fn stretch_bits(inode: &VfsInode) -> Option<u32> {
    let sb = inode.super_block();
    (inode.data().map_kind() == inode::MapKind::Indirect)
        .then(|| sb.info().geometry.block_bits().saturating_sub(2) & 31)
}

/// What is promised to a range, so that it can be told afterwards what is not needed any more.
#[must_use]
pub(super) struct Delayed {
    from: FileBlock,
    to: FileBlock,
    clusters: u32,
    stretches: u32,
}

impl Delayed {
    /// Looks at `from..to`; `data_sem` is held for writing until [`gone`](Self::gone).
    pub(super) fn look(
        inode: &VfsInode,
        cache: &ExtentMap<'_, RangeTree>,
        from: FileBlock,
        to: FileBlock,
    ) -> Self {
        let bits = inode.super_block().info().geometry.cluster_bits();
        let stretches = |bits| cache.unmapped_stretches(from, to, bits);
        Self {
            from,
            to,
            clusters: cache.delayed_clusters(from, to, bits),
            stretches: stretch_bits(inode).map_or(0, stretches),
        }
    }

    /// What was promised to clusters that have no delayed blocks any more, and to tables for stretches
    /// of which everything is mapped.
    pub(super) fn gone(self, inode: &VfsInode, cache: &ExtentMap<'_, RangeTree>) -> Reservation {
        if self.clusters == 0 && self.stretches == 0 {
            return Reservation::NONE;
        }
        let now = Self::look(inode, cache, self.from, self.to);
        let clusters = self.clusters.saturating_sub(now.clusters);
        let stretches = self.stretches.saturating_sub(now.stretches);
        inode.data().count_delayed(-i64::from(clusters));
        let tables = u64::from(stretches).saturating_mul(TABLES.into());
        Reservation::of(u64::from(clusters).saturating_add(tables))
    }
}

/// Blocks `from..to` are not going to be written: what was promised to those of them that are delayed
/// is given back. Takes `data_sem`.
pub(super) fn forget(inode: &VfsInode, from: FileBlock, to: FileBlock) {
    let info = inode.data();
    let _lock = info.data_sem.write();
    let cache = info.extent_map();
    let delayed = Delayed::look(inode, &cache, from, to);
    if delayed.clusters != 0 {
        certainly(info, || cache.remove_delayed(from, to));
        trace::unknown(RangeEvent::CacheRemove, inode, from, to);
    }
    alloc::release(inode.super_block(), delayed.gone(inode, &cache));
}

/// Has everything that is not in the map of `inode` yet written, and waits. Not inside a handle.
///
/// Errors: EIO, ENOSPC.
pub(super) fn write_out(inode: &VfsInode, outside: &NoHandle) -> Result {
    let info = inode.data();
    let settled = {
        let _lock = info.data_sem.read();
        info.extent_map().settled()
    };
    if settled && info.disksize() >= inode.size() {
        return Ok(());
    }
    inode.write_and_wait(outside, 0, u64::MAX)
}

impl InodeInfo {
    /// How many clusters are promised to data that has no place.
    pub(crate) fn delayed(&self) -> u64 {
        u64::try_from(self.delayed.load(Relaxed)).unwrap_or(0)
    }

    fn count_delayed(&self, by: i64) {
        self.delayed.fetch_add(by, Relaxed);
    }
}
