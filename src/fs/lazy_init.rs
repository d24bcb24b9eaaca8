// SPDX-License-Identifier: GPL-2.0

//! Zeroing the inode tables that mkfs has left as they were (`lazy_itable_init`).
//!
//! Until a table is zeroed, what of it has never been used may hold anything, and only the
//! descriptor's count keeps e2fsck from taking that for inodes. So a mount that can write zeroes
//! table by table in the background, and says so in the descriptors (`INODE_ZEROED`). In between it
//! waits `init_itable` times as long as the first table took, which leaves the device to others
//! for most of the time. It begins some random seconds after the mount, so that many mounts at once
//! do not all begin at once; pauses while the file system is frozen; and ends at a remount to
//! read-only or with `noinit_itable`.
//!
//! A table is written past the buffer cache, while nobody may take an inode of the part that has
//! never been used. What the cache has of it (the readahead of inodes looks that far) is zeroed
//! there as well. Only then, in a transaction, is the flag set.
//!
//! Locking: one step at a time, see `linux::background`. The lock of tables, then that of the
//! group; no handle is held while the table is written.

use super::{background::Due, fault::Fault, groups::Groups, handle, options::Toggles, Sb};
use crate::{
    linux::{jbd2::NoHandle, random::random_u32, sched::relax, time::monotonic_ms},
    ondisk::{
        group::{edit::GroupEdit, GroupDesc, GroupError},
        Corrupt, Geometry, Group,
    },
};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use kernel::prelude::*;

/// Milliseconds that the first table has to wait for at most.
const MAX_DELAY: u32 = 5000;
/// Milliseconds to the next look at a file system that is frozen.
const RETRY: u32 = 1000;

/// How far a file system's tables have been zeroed.
pub(crate) struct LazyInit {
    /// The group to go on with. None is left if there is no such group.
    next: AtomicU32,
    /// Milliseconds to wait between two tables; 0 until the first is done.
    pause: AtomicU32,
    /// When to go on.
    due: Due,
}

impl LazyInit {
    /// Nothing to do.
    pub(crate) const fn idle() -> Self {
        Self {
            next: AtomicU32::new(u32::MAX),
            pause: AtomicU32::new(0),
            due: Due::never(),
        }
    }

    fn stop(&self) {
        self.next.store(u32::MAX, Relaxed);
    }
}

/// The file system is being made ready to be written: begins with the first group, when the
/// background work is woken up.
pub(crate) fn start(sb: &Sb) {
    if !is_wanted(sb) {
        return;
    }
    let lazy = &sb.info().lazy_init;
    let delay = random_u32().checked_rem(MAX_DELAY).unwrap_or(0);
    lazy.pause.store(0, Relaxed);
    lazy.due.put_off(delay.into());
    lazy.next.store(0, Relaxed);
}

/// The file system cannot be written any more.
pub(crate) fn stop(sb: &Sb) {
    sb.info().lazy_init.stop();
}

/// The options have changed: begins, unless that has happened already.
pub(crate) fn update(sb: &Sb) {
    let info = sb.info();
    let idle = info.lazy_init.next.load(Relaxed) >= info.geometry.groups_count();
    if idle && !sb.is_rdonly() {
        start(sb);
    }
}

fn is_wanted(sb: &Sb) -> bool {
    let info = sb.info();
    info.geometry.features().has_group_csum()
        && info.has(Toggles::INIT_ITABLE)
        && !info.emergency.is_shut_down()
        && !info.emergency.is_readonly()
}

/// A step of the background work: at most one table. The milliseconds to the next step.
pub(crate) fn step(sb: &Sb) -> Option<u32> {
    let info = sb.info();
    let lazy = &info.lazy_init;
    let mut group = lazy.next.load(Relaxed);
    if group >= info.geometry.groups_count() {
        return None;
    }
    if !is_wanted(sb) {
        lazy.stop();
        return None;
    }
    let early = lazy.due.left();
    if early != 0 {
        return Some(early);
    }
    // A remount for writing may not have come to its end.
    let write = sb.try_start_write().filter(|_| !sb.is_rdonly());
    let Some(_write) = write else {
        lazy.due.put_off(RETRY.into());
        return Some(RETRY);
    };
    let began = monotonic_ms();
    while group < info.geometry.groups_count() {
        if sb.is_stopping() || relax().is_err() {
            return None;
        }
        let done = zero(sb, Group::new(group));
        group = group.saturating_add(1);
        match done {
            Ok(false) => continue,
            Ok(true) => {}
            Err(_) => {
                // It has been reported if there was damage. Nothing depends on the rest.
                lazy.stop();
                return None;
            }
        }
        lazy.next.store(group, Relaxed);
        if lazy.pause.load(Relaxed) == 0 {
            let took = monotonic_ms().saturating_sub(began);
            let pause = took.saturating_mul(info.options.lock().init_itable().into());
            lazy.pause
                .store(u32::try_from(pause).unwrap_or(u32::MAX).max(1), Relaxed);
        }
        let pause = lazy.pause.load(Relaxed);
        lazy.due.put_off(pause.into());
        return Some(pause);
    }
    lazy.stop();
    None
}

/// Zeroes the table of a group, unless it has been. Whether there was something to do.
///
/// Errors: EIO, ENOMEM, and those of a journal that has been given up. Damage is reported, and is
/// none.
fn zero(sb: &Sb, group: Group) -> Result<bool> {
    let info = sb.info();
    let groups = info.groups.as_ref().ok_or(EROFS)?;
    {
        let _tables = groups.tables.lock();
        let (first, end) = match claim(sb, groups, group) {
            Ok(Some(part)) => part,
            Ok(None) => return Ok(false),
            Err(Fault::Errno(e)) => return Err(e),
            Err(e) => {
                let _ = e.report(sb, 0, "inode table");
                return Ok(false);
            }
        };
        let zeroed = write(sb, group, first, end);
        if let Some(mut locked) = groups.lock(group) {
            locked.state.zeroing = false;
        }
        zeroed?;
    }
    mark(sb, groups, group)?;
    Ok(true)
}

/// Keeps everybody from taking inodes of the part of a table that has never been used, if that is
/// still to be zeroed: its first block in the table, and the one behind its last.
fn claim(sb: &Sb, groups: &Groups, group: Group) -> Result<Option<(u32, u32)>, Fault> {
    let geo = &sb.info().geometry;
    let mut locked = groups.lock(group).ok_or(EUCLEAN)?;
    let buffer = locked.read_desc(sb)?;
    let part = {
        let desc = locked.desc(geo, &buffer)?;
        if desc.inode_zeroed() {
            return Ok(None);
        }
        unused(geo, &desc)?
    };
    locked.state.zeroing = true;
    Ok(Some(part))
}

/// The blocks of a table that have no inodes that were ever used.
fn unused(geo: &Geometry, desc: &GroupDesc<'_>) -> Result<(u32, u32), Fault> {
    let used = if desc.inode_uninit() {
        0
    } else {
        let unused = desc.itable_unused();
        let used = geo.inodes_per_group().get().checked_sub(unused);
        used.ok_or(Corrupt::from(GroupError::FreeInodes))?
    };
    let bits = geo.inodes_per_block_bits();
    let in_part = 1u32.wrapping_shl(bits).wrapping_sub(1);
    let first = used.saturating_add(in_part).wrapping_shr(bits);
    let end = geo.itable_blocks_per_group();
    Ok((first.min(end), end))
}

/// Zeroes blocks of a table, on the device and in memory.
///
/// Errors: EIO, ENOMEM.
fn write(sb: &Sb, group: Group, first: u32, end: u32) -> Result {
    let info = sb.info();
    let len = end.saturating_sub(first);
    if len == 0 {
        return Ok(());
    }
    let table = info.inode_tables.get(group.get() as usize);
    let start = table.ok_or(EUCLEAN)?.saturating_add(first.into());
    sb.zero_blocks(start, len.into())?;
    for n in 0..len {
        sb.device().zero_cached(start.saturating_add(n.into()));
    }
    if info.has(Toggles::BARRIER) {
        // The flag may reach the medium by another way than this device's cache.
        sb.device().flush()?;
    }
    Ok(())
}

/// Says in the descriptor that the table has been zeroed.
fn mark(sb: &Sb, groups: &Groups, group: Group) -> Result {
    let geo = &sb.info().geometry;
    let mut outside = NoHandle::here()?;
    let handle = handle::begin_blocks(sb, &mut outside, 1)?;
    let marked = {
        let mut locked = groups.lock(group).ok_or(EUCLEAN)?;
        let access = handle.access(locked.read_desc(sb)?)?;
        let marked = {
            let mut slot = access.open(&mut locked.state.desc).ok_or(EUCLEAN)?;
            GroupEdit::new(geo, group, &mut slot).map(|mut edit| {
                edit.set_inode_zeroed(true);
                edit.finish();
            })
        };
        if marked.is_ok() {
            access.dirty();
        }
        marked
    };
    let result = marked.map_err(|e| Fault::from(Corrupt::from(e)).report(sb, 0, "inode table"));
    result.and(handle.stop())
}
