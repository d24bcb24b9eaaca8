// SPDX-License-Identifier: GPL-2.0

//! From a block of a file to a block of the device.
//!
//! [`lookup`] answers from the extent status cache without a lock: the inode's inline ranges, or
//! its store, read inside a sequence that is checked afterwards. A miss takes `data_sem`, asks
//! the tree on disk and fills the cache with everything that the leaf says.
//!
//! The sequence's value under which an answer was found goes to iomap as the mapping's validity
//! cookie; whatever can make a mapping stale changes it.
//!
//! Locking: `data_sem` is below i_rwsem, the invalidate lock and folio locks; memory is taken
//! NOFS under it, since reclaim may write to this very file.

use super::{
    alloc,
    delayed::Delayed,
    fault::Fault,
    inode::{InodeInfo, MapKind, Root},
    meta::{FileBounds, Meta},
    trace::{self, RangeEvent},
    VfsInode,
};
use crate::{
    engine::{
        extent_map::ExtentMap,
        extent_walk::ExtentTree,
        indirect_walk::IndirectMap,
        mapping::{self, Mapping},
    },
    linux::{buffer::Verified, maple::RangeTree, nofs::NoFs},
    ondisk::{extent::ExtentError, Corrupt, FileBlock, FsBlock},
};
use core::sync::atomic::Ordering::Relaxed;
use kernel::prelude::*;

/// An inode's cache is emptied when it may hold more ranges than this, some 2 MiB: a map is known
/// to lead in circles, or is of a size that is better looked up again than kept. What is on disk
/// can be read at any time.
const MAX_RANGES: u32 = 1 << 16;

impl InodeInfo {
    /// What is known of the inode's map.
    #[inline]
    pub(super) fn extent_map(&self) -> ExtentMap<'_, RangeTree> {
        ExtentMap::new(&self.map, &self.store)
    }
}

/// The range around block `at` of `inode`, and the value of the sequence that it is valid under.
///
/// May sleep unless `nowait`. Errors: EUCLEAN (reported), EIO, ENOMEM; EAGAIN with `nowait` when
/// the answer is not cached.
#[inline]
pub(crate) fn lookup(inode: &VfsInode, at: FileBlock, nowait: bool) -> Result<(Mapping, u64)> {
    let info = inode.data();
    if let Some(seq) = info.seq.begin() {
        if let Some(found) = info.extent_map().lookup(at) {
            if info.seq.still(seq) {
                inode.super_block().info().cache_hits.inc();
                trace::mapping(RangeEvent::CacheHit, inode, &found);
                return Ok((found, seq));
            }
        }
    }
    if nowait {
        return Err(EAGAIN);
    }
    lookup_slow(inode, at)
}

/// As [`lookup`], from the tree on disk, under `data_sem`.
#[cold]
#[inline(never)]
fn lookup_slow(inode: &VfsInode, at: FileBlock) -> Result<(Mapping, u64)> {
    let info = inode.data();
    let _nofs = NoFs::new();
    let root = info.data_sem.write();
    let cache = info.extent_map();
    // Somebody else may have asked while we waited for the lock.
    let sbi = inode.super_block().info();
    if let Some(found) = cache.lookup(at) {
        sbi.cache_hits.inc();
        trace::mapping(RangeEvent::CacheHit, inode, &found);
        return Ok((found, info.seq.current()));
    }
    sbi.cache_misses.inc();
    trace::unknown(RangeEvent::CacheMiss, inode, at, at.saturating_add(1));
    let mut stored = info.stored.load(Relaxed);
    if stored > MAX_RANGES && cache.settled() {
        info.seq.write(|| cache.clear());
        stored = 0;
    }
    let found = walk(inode, info, &root, at, |m| {
        if !cache.knows(m) {
            stored = stored.saturating_add(1);
            trace::mapping(RangeEvent::CacheInsert, inode, m);
            // Without memory the cache just knows less.
            info.seq.write(|| {
                let _ = cache.fill(m);
            });
        }
    });
    info.stored.store(stored, Relaxed);
    let found = found.map_err(|e| e.report_inode(inode, "block map"))?;
    // Not what the cache knows better: what is delayed or in flight is a hole to the tree.
    let found = cache.clip_to_unknown(&found, at).unwrap_or(found);
    Ok((cache.lookup(at).unwrap_or(found), info.seq.current()))
}

/// The first block of `inode` at or behind `from`, before `to`, that is mapped, and to which block.
/// May sleep; takes `data_sem`.
///
/// Errors: as [`lookup`].
pub(crate) fn first_mapped(
    inode: &VfsInode,
    from: FileBlock,
    to: FileBlock,
) -> Result<Option<(FileBlock, FsBlock)>> {
    let mut at = from;
    // Each turn goes on by a block at least.
    while at < to {
        let (m, _) = lookup(inode, at, false)?;
        if let mapping::MapKind::Written(start) | mapping::MapKind::Unwritten(start) = m.kind {
            let block = start.checked_add(m.lblk.distance_to(at).into());
            return Ok(Some((at, block.ok_or(EUCLEAN)?)));
        }
        at = m.end().max(at.saturating_add(1));
    }
    Ok(None)
}

/// The first block of the cluster that `cluster` of `inode` is in, if any of its blocks is mapped; with
/// bigalloc. May sleep; takes `data_sem`.
///
/// Errors: EUCLEAN (reported), EIO, ENOMEM.
pub(crate) fn mapped_cluster(inode: &VfsInode, cluster: u32) -> Result<Option<FsBlock>> {
    let geo = &inode.super_block().info().geometry;
    let first = FileBlock::new(cluster.wrapping_shl(geo.cluster_bits()));
    let end = first.saturating_add(geo.cluster_ratio());
    let Some((at, block)) = first_mapped(inode, first, end)? else {
        return Ok(None);
    };
    let mask = u64::from(geo.cluster_ratio().wrapping_sub(1));
    if (block.get() ^ u64::from(at.get())) & mask != 0 {
        // Extents need not be where clusters are on an image that is made up.
        let e = Fault::from(Corrupt::from(ExtentError::BadRun));
        return Err(e.report_inode(inode, "block map"));
    }
    Ok(Some(FsBlock::new(block.get() & !mask)))
}

/// Asks the tree on disk.
pub(super) fn walk(
    inode: &VfsInode,
    info: &InodeInfo,
    root: &Root,
    at: FileBlock,
    visit: impl FnMut(&Mapping),
) -> Result<Mapping, Fault> {
    let sb = inode.super_block();
    let bounds = FileBounds::new(sb.info(), inode.ino());
    match info.map_kind() {
        MapKind::Extents => ExtentTree::new(&root.block, info.csum_seed(), &bounds).lookup_leaf(
            &Meta::new(sb, Verified::Extent),
            at,
            visit,
        ),
        MapKind::Indirect => IndirectMap::new(&root.block, sb.info().pointer_bits, &bounds)
            .lookup_leaf(&Meta::new(sb, Verified::Indirect), at, visit),
        MapKind::None => Ok(Mapping::hole(FileBlock::ZERO, FileBlock::END)),
    }
}

/// Asks the tree on disk for the range around one block, which may be a part of what continues; `data_sem`
/// is held. A search, where [`walk`] reads all of a leaf. May sleep.
///
/// Errors: EIO, damage.
pub(super) fn find(
    inode: &VfsInode,
    info: &InodeInfo,
    root: &Root,
    at: FileBlock,
) -> Result<Mapping, Fault> {
    let sb = inode.super_block();
    let bounds = FileBounds::new(sb.info(), inode.ino());
    match info.map_kind() {
        MapKind::Extents => ExtentTree::new(&root.block, info.csum_seed(), &bounds)
            .lookup(&Meta::new(sb, Verified::Extent), at),
        MapKind::Indirect => IndirectMap::new(&root.block, sb.info().pointer_bits, &bounds)
            .lookup(&Meta::new(sb, Verified::Indirect), at),
        MapKind::None => Ok(Mapping::hole(FileBlock::ZERO, FileBlock::END)),
    }
}

/// Checks the root of the block map of an inode that is being read.
///
/// Errors: what is wrong with it.
pub(crate) fn verify_root(
    bounds: &FileBounds<'_>,
    kind: MapKind,
    block: &[u8; 60],
) -> Result<(), Corrupt> {
    match kind {
        MapKind::Extents => Ok(crate::ondisk::extent::verify_root(block, bounds)?),
        MapKind::Indirect => Ok(crate::ondisk::indirect::verify_root(block, bounds)?),
        MapKind::None => Ok(()),
    }
}

/// Reads the whole block map of `inode` into the cache (FIEMAP_FLAG_CACHE). May sleep.
///
/// Errors: EUCLEAN (reported), EIO; ERESTARTSYS when the task is being killed.
pub(crate) fn precache(inode: &VfsInode) -> Result {
    let mut at = FileBlock::ZERO;
    // Each turn goes past a range; there are at most as many as blocks on the device.
    while at < FileBlock::END {
        let (m, _) = lookup(inode, at, false)?;
        at = m.end().max(at.saturating_add(1));
        crate::linux::sched::relax()?;
    }
    Ok(())
}

/// Forgets what is known of the map of `inode`, unless some of it is not on disk. Takes `data_sem`.
pub(crate) fn forget_all(inode: &VfsInode) {
    let info = inode.data();
    let _lock = info.data_sem.write();
    if forget_settled(info) {
        trace::unknown(
            RangeEvent::CacheRemove,
            inode,
            FileBlock::ZERO,
            FileBlock::END,
        );
    }
}

/// As [`forget_all`], if nobody uses the map just now: memory is short. Whether all was forgotten.
/// Does not sleep, and takes nothing but `data_sem`, if that is free.
pub(super) fn shrink(info: &InodeInfo) -> bool {
    match info.data_sem.try_write() {
        Some(_lock) => forget_settled(info),
        None => false,
    }
}

/// Forgets everything, unless some of it is not on disk. `data_sem` is held for writing.
fn forget_settled(info: &InodeInfo) -> bool {
    let cache = info.extent_map();
    let settled = cache.settled();
    if settled {
        info.seq.write(|| cache.clear());
        info.stored.store(0, Relaxed);
    }
    settled
}

/// Gives back the memory of an inode's cache, and what is promised to data that was not written: it is
/// being evicted.
pub(crate) fn forget(inode: &VfsInode) {
    let info = inode.data();
    if info.map.is_spilled() || info.delayed() != 0 {
        let _lock = info.data_sem.write();
        let cache = info.extent_map();
        let delayed = Delayed::look(inode, &cache, FileBlock::ZERO, FileBlock::END);
        info.seq.write(|| cache.clear());
        trace::unknown(
            RangeEvent::CacheRemove,
            inode,
            FileBlock::ZERO,
            FileBlock::END,
        );
        alloc::release(inode.super_block(), delayed.gone(inode, &cache));
    }
}
