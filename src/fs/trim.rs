// SPDX-License-Identifier: GPL-2.0

//! FITRIM: telling the device which blocks nobody needs.
//!
//! Free runs of clusters are taken in memory, discarded, and given back, one by one: so nobody gets
//! them meanwhile, and nobody waits for the group's lock. What is free is what can be had: not what
//! has been freed in a transaction that may still be lost, and not what is in flight.
//!
//! A group that has been gone through is not gone through again until something in it has been
//! freed, or shorter runs are asked for. The numbers that come out are C ext4's.
//!
//! It works on a read-only mount as well. e2fsck may have changed such a file system since its
//! groups were last read, so they are read anew.

use super::{fault::Fault, groups::Groups, options::Toggles, trace::BlocksEvent, Sb};
use crate::{
    engine::alloc::{cluster_of, first_block_of, Run},
    linux::sched,
    ondisk::{features::Compat, Corrupt, FsBlock, Geometry, Group},
};
use core::sync::atomic::Ordering::Relaxed;
use kernel::prelude::*;

/// What FITRIM is about, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Range {
    /// Where it begins.
    pub(crate) start: u64,
    /// How long it is; in the end, how much has been discarded.
    pub(crate) len: u64,
    /// The shortest run that is worth it.
    pub(crate) min_len: u64,
}

/// A range in clusters.
struct Clusters {
    first: (Group, u32),
    last: (Group, u32),
    min: u32,
}

/// Whether anything can be discarded.
///
/// Errors: EOPNOTSUPP; EROFS when the journal was not replayed.
pub(crate) fn check(sb: &Sb) -> Result {
    let info = sb.info();
    if !sb.device().can_discard() {
        return Err(EOPNOTSUPP);
    }
    if info.has(Toggles::NOLOAD) && info.geometry.has(Compat::HAS_JOURNAL) {
        return Err(EROFS);
    }
    Ok(())
}

/// Discards what is free in `range`, and returns how many bytes that was. May take long; a fatal
/// signal ends it early, with what has been done so far.
///
/// Errors: those of [`check`]; EINVAL for a range that is none; EUCLEAN (reported), EIO, ENOMEM.
pub(crate) fn trim(sb: &Sb, range: Range) -> Result<u64> {
    check(sb)?;
    let geo = &sb.info().geometry;
    let granularity = sb.device().discard_granularity();
    let Some(range) = clusters(geo, range, granularity)? else {
        return Ok(0);
    };
    let groups = Groups::known(sb)?;
    if sb.is_rdonly() {
        let _loading = groups.loading.lock();
        groups.reload(sb)?;
    }
    let mut trimmed = 0u64;
    let (first, last) = (range.first.0.get(), range.last.0.get());
    for number in first..=last {
        if sched::is_interrupted() {
            break;
        }
        let from = if number == first { range.first.1 } else { 0 };
        let to = if number == last {
            range.last.1
        } else {
            geo.clusters_per_group().get().saturating_sub(1)
        };
        let group = Group::new(number);
        let clusters = trim_group(sb, groups, group, (from, to), range.min)?;
        trimmed = trimmed.saturating_add(clusters);
    }
    groups.last_trim.store(range.min.into(), Relaxed);
    let bits = geo.cluster_bits().saturating_add(geo.block_bits());
    Ok(trimmed.wrapping_shl(bits))
}

/// The clusters of a range of bytes; `None` if there is nothing in it that could be discarded.
///
/// Errors: EINVAL.
fn clusters(geo: &Geometry, range: Range, granularity: u32) -> Result<Option<Clusters>> {
    let bits = geo.block_bits() & 63;
    let up = |bytes: u64| {
        let blocks = bytes >> bits;
        let all = 1u64.wrapping_shl(geo.cluster_bits()).wrapping_sub(1);
        blocks.saturating_add(all).wrapping_shr(geo.cluster_bits())
    };
    let per_group = u64::from(geo.clusters_per_group().get());
    let start = range.start >> bits;
    let mut min = up(range.min_len);
    if min > per_group || start >= geo.blocks_count() || range.len < geo.block_size().into() {
        return Err(EINVAL);
    }
    if range.min_len < granularity.into() {
        // The device would not do anything with less.
        min = up(granularity.into());
        if min > per_group {
            return Ok(None);
        }
    }
    let first = u64::from(geo.first_data_block());
    let end = start.saturating_add((range.len >> bits).saturating_sub(1));
    let end = end.min(geo.blocks_count().saturating_sub(1));
    if end <= first {
        return Ok(None);
    }
    Ok(Some(Clusters {
        first: cluster_of(geo, FsBlock::new(start.max(first))),
        last: cluster_of(geo, FsBlock::new(end)),
        // Not more than in a group.
        min: u32::try_from(min)?,
    }))
}

/// Discards the free runs of a group that begin in a range, both ends included. How many clusters.
fn trim_group(
    sb: &Sb,
    groups: &Groups,
    group: Group,
    (from, to): (u32, u32),
    min: u32,
) -> Result<u64> {
    let geo = &sb.info().geometry;
    // Taken runs are not to be forgotten by a remount.
    let _loading = groups.loading.lock();
    let clusters = geo.group_clusters(group);
    let mut whole = from == 0 && to >= clusters.saturating_sub(1);
    let mut trimmed = 0u64;
    let mut at = from;
    let known = {
        let mut locked = groups.lock(group).ok_or(EUCLEAN)?;
        if !locked.trusts_clusters() {
            return Ok(0);
        }
        let free = locked.map(sb).map(|map| map.free_clusters());
        match free {
            Ok(free) if free < min => return Ok(0),
            Ok(_) => {}
            Err(e) => {
                drop(locked);
                return Err(e.report(sb, 0, "block bitmap"));
            }
        }
        locked.state.trimmed && u64::from(min) >= groups.last_trim.load(Relaxed)
    };
    if known {
        return Ok(0);
    }
    loop {
        let run = {
            let mut locked = groups.lock(group).ok_or(EUCLEAN)?;
            let found = locked.take_free(at, min);
            match found {
                Some(run) if run.start <= to => run,
                Some(run) => {
                    // Behind the range.
                    let given_back = locked.give_back(run);
                    given_back.map_err(|_| EUCLEAN)?;
                    break;
                }
                None => break,
            }
        };
        let done = discard(sb, geo, group, run);
        let given_back = groups.lock(group).ok_or(EUCLEAN)?.give_back(run);
        given_back.map_err(|e| Fault::from(Corrupt::from(e)).report(sb, 0, "block bitmap"))?;
        if done.is_err_and(|e| e != EOPNOTSUPP) {
            return Ok(trimmed);
        }
        trimmed = trimmed.saturating_add(run.len.into());
        whole |= from == 0 && run.end() >= clusters;
        at = run.end().saturating_add(1);
        if sched::is_interrupted() {
            return Ok(trimmed);
        }
        // A fatal signal has been looked for.
        let _ = sched::relax();
    }
    if whole {
        if let Some(mut locked) = groups.lock(group) {
            locked.state.trimmed = true;
        }
    }
    Ok(trimmed)
}

fn discard(sb: &Sb, geo: &Geometry, group: Group, run: Run) -> Result {
    let start = first_block_of(geo, group, run.start);
    let blocks = u64::from(run.len).wrapping_shl(geo.cluster_bits());
    BlocksEvent::Discard.of(sb, start.get(), blocks);
    sb.discard(start.get(), blocks)
}
