// SPDX-License-Identifier: GPL-2.0

//! Dirty data on its way to disk.
//!
//! Data that is delayed gets blocks from the allocator, in memory only, and is written to them: it is
//! *in flight*. Nothing has been journalled by then. When the write has ended, [`super::completion`] puts
//! the blocks into the file's map, in a transaction; a crash before that leaves them free, and the
//! file as it was. Written blocks are written in place, and unwritten ones as well, to be marked
//! written afterwards.
//!
//! The I/O owns its blocks: what they are follows from the ioend, of which each is one run of the
//! file and of the device.
//!
//! Locking: a folio is locked, whose blocks nobody else makes delayed, writes or punches meanwhile;
//! `data_sem` is taken here. A commit needs no folio, so that we may wait for one.

use super::{
    alloc::{self, Lack, Place, Wanted},
    completion,
    delayed::{self, certainly, Delayed},
    handle, map,
    options::Toggles,
    trace::{self, RangeEvent},
    Rext4Fs, VfsInode,
};
use crate::{
    engine::{
        alloc::goal::{self, Goal, Neighbour},
        mapping::{MapKind, Mapping},
    },
    linux::{
        delay,
        ioend::Batch,
        iomap::{Iomap, Placed},
        writeback::WritebackOps,
    },
    ondisk::{FileBlock, FsBlock},
};
use kernel::prelude::*;

/// Writes regular files back.
pub(crate) struct Writeback;

/// What a pass over a file keeps: the blocks that were found last, which are in no map yet.
#[derive(Default)]
pub(crate) struct Pass(Option<Neighbour>);

impl WritebackOps for Writeback {
    type Fs = Rext4Fs;
    type Pass = Pass;

    fn place(inode: &VfsInode, pass: &mut Pass, pos: u64, len: u64, out: &mut Iomap<'_>) -> Result {
        let sb = inode.super_block();
        handle::may_write(sb)?;
        let bits = sb.info().geometry.block_bits() & 31;
        let at = FileBlock::new(u32::try_from(pos >> bits).map_err(|_| EFBIG)?);
        let wanted = u32::try_from(len >> bits).unwrap_or(u32::MAX).max(1);
        let mut tries = 0;
        // Whoever makes us look again has changed something.
        loop {
            let (m, _) = map::lookup(inode, at, false)?;
            let Some(part) = m.clip(at, at.saturating_add(wanted)) else {
                return Err(EUCLEAN);
            };
            let (offset, length) = (u64::from(at.get()) << bits, u64::from(part.len) << bits);
            match part.kind {
                MapKind::Written(block) => {
                    trace::mapping(RangeEvent::MapWriteback, inode, &part);
                    out.placed(Placed::Mapped, block.get() << bits, offset, length);
                    return Ok(());
                }
                MapKind::Unwritten(block) => {
                    trace::mapping(RangeEvent::MapWriteback, inode, &part);
                    out.placed(Placed::Unwritten, block.get() << bits, offset, length);
                    return Ok(());
                }
                // Clean, but for bits that were set behind what was the end of the file.
                MapKind::Hole | MapKind::InFlight => {
                    out.hole(offset, length);
                    return Ok(());
                }
                MapKind::Delayed => {}
            }
            match find(inode, pass, &m, at, part.len) {
                Ok(Some((block, blocks))) => {
                    let found = Mapping {
                        lblk: at,
                        len: blocks,
                        kind: MapKind::Written(FsBlock::new(block)),
                    };
                    trace::mapping(RangeEvent::MapWriteback, inode, &found);
                    let length = u64::from(blocks) << bits;
                    out.placed(Placed::Mapped, block << bits, offset, length);
                    out.set_filling();
                    if sb.info().geometry.cluster_bits() != 0 {
                        // Each run has its own part in the clusters at its ends.
                        out.set_alone();
                    }
                    return Ok(());
                }
                Ok(None) => {}
                Err(Lack::Space { after_commit: true }) if handle::may_retry(sb, &mut tries) => {}
                Err(lack) => return Err(lack.errno()),
            }
        }
    }

    fn abandon(inode: &VfsInode, from: u64, to: u64) {
        let bits = inode.super_block().info().geometry.block_bits() & 31;
        let block = |pos: u64| FileBlock::new(u32::try_from(pos >> bits).unwrap_or(u32::MAX));
        delayed::forget(inode, block(from), block(to));
    }

    fn end(_inode: &VfsInode, _pass: Pass) {}

    fn wants_completion(inode: &VfsInode, _start: u64, end: u64) -> bool {
        let info = inode.super_block().info();
        end > inode.data().disksize() || info.has(Toggles::DATA_ERR_ABORT)
    }

    fn complete(inode: &VfsInode, batch: &Batch<'_>) {
        completion::complete(inode, batch);
    }
}

/// Finds blocks for up to `len` delayed blocks at `at`, which are in the delayed range `m`, and has
/// them in flight: the first block, and how many. `None` if they are not delayed any more.
fn find(
    inode: &VfsInode,
    pass: &mut Pass,
    m: &Mapping,
    at: FileBlock,
    len: u32,
) -> Result<Option<(u64, u32)>, Lack> {
    let sb = inode.super_block();
    let dirty = at.distance_to(m.end());
    let hole = match map::lookup(inode, m.end(), true) {
        Ok((behind, _)) if behind.kind == MapKind::Hole => {
            dirty.saturating_add(m.end().distance_to(behind.end()))
        }
        _ => dirty,
    };
    let place = Place::take(
        inode,
        &Wanted {
            lblk: at,
            len,
            dirty,
            hole,
            goal: goal(inode, pass, at)?,
        },
    )?;
    delay::Place::Placed.pass();
    // No more than was asked for.
    let blocks = place.blocks();
    let info = inode.data();
    let _lock = info.data_sem.write();
    let cache = info.extent_map();
    if cache.delayed_run(at) < blocks {
        place.give_back(sb);
        return Ok(None);
    }
    let to = at.saturating_add(blocks);
    let delayed = Delayed::look(inode, &cache, at, to);
    let in_flight = Mapping {
        lblk: at,
        len: blocks,
        kind: MapKind::InFlight,
    };
    certainly(info, || cache.set(&in_flight));
    trace::mapping(RangeEvent::CacheInsert, inode, &in_flight);
    let flight = place.backed_by(sb, delayed.gone(inode, &cache));
    let start = flight.into_io();
    pass.0 = Some(Neighbour {
        lblk: at,
        len: blocks,
        start,
    });
    Ok(Some((start.get(), blocks)))
}

/// Finds blocks for up to `len` blocks at `at`, which are in a hole and not delayed: they are in flight
/// at once, and owned by the caller: the first block, and how many. May sleep.
///
/// i_rwsem is held, so that the hole stays one or is filled by other direct I/O only; no data of its
/// clusters is delayed.
///
/// Errors: ENOSPC, also if a commit would bring some; EIO, ENOMEM, EUCLEAN (reported).
pub(super) fn find_now(inode: &VfsInode, at: FileBlock, len: u32) -> Result<(FsBlock, u32)> {
    let sb = inode.super_block();
    let bits = sb.info().geometry.cluster_bits() & 31;
    let first = at.get().wrapping_shr(bits);
    let last = at.get().saturating_add(len.max(1).saturating_sub(1));
    let clusters = last.wrapping_shr(bits).saturating_sub(first);
    let reservation = alloc::reserve_some(sb, clusters.saturating_add(1))?;
    // As far as the promise goes.
    let has = u32::try_from(reservation.clusters()).unwrap_or(u32::MAX);
    let end = u64::from(first.saturating_add(has)).wrapping_shl(bits);
    let end = FileBlock::new(u32::try_from(end).unwrap_or(u32::MAX));
    let len = len.min(at.distance_to(end)).max(1);
    let goal = goal(inode, &Pass::default(), at);
    let place = goal.map_err(Lack::Failed).and_then(|goal| {
        let wanted = Wanted {
            lblk: at,
            len,
            dirty: len,
            hole: len,
            goal,
        };
        Place::take(inode, &wanted)
    });
    match place {
        Ok(place) => {
            let flight = place.backed_by(sb, reservation);
            let blocks = flight.blocks();
            Ok((flight.into_io(), blocks))
        }
        Err(lack) => {
            alloc::release(sb, reservation);
            Err(lack.errno())
        }
    }
}

/// How many ranges without a place are passed over on the way to a neighbour.
const MAX_GAPS: u32 = 4;

/// Where blocks from `at` on should be: as far behind the nearest ones before as in the file.
pub(super) fn goal(inode: &VfsInode, pass: &Pass, at: FileBlock) -> Result<Option<Goal>> {
    let geo = &inode.super_block().info().geometry;
    let last = pass.0.filter(|last| last.lblk < at);
    let mut next = at;
    for _ in 0..MAX_GAPS {
        let Some(before) = next.get().checked_sub(1) else {
            break;
        };
        if let Some(last) = last {
            if last.lblk.saturating_add(last.len) >= next {
                return Ok(goal::beside(geo, at, last));
            }
        }
        let (m, _) = map::lookup(inode, FileBlock::new(before), false)?;
        let (MapKind::Written(start) | MapKind::Unwritten(start)) = m.kind else {
            next = m.lblk;
            continue;
        };
        let neighbour = Neighbour {
            lblk: m.lblk,
            len: m.len,
            start,
        };
        return Ok(goal::beside(geo, at, neighbour));
    }
    Ok(last.and_then(|last| goal::beside(geo, at, last)))
}
