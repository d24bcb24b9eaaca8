// SPDX-License-Identifier: GPL-2.0

//! Clusters that are kept for files that grow, and for small files.
//!
//! Both are taken in memory only and counted nowhere, so they are as free as ever for statfs, and
//! for who finds no other space: that one has them all [given up](give_up_all).
//!
//! - [Windows](Window) belong to a file. They are in a table of so many, by inode number, in which
//!   a new one pushes out the one of its set that has not been used for longest: nothing grows with the
//!   number of files. A file that two tasks write at different places has two.
//! - A pool belongs to a CPU. Small files that nobody has open for writing any more get their
//!   blocks from its front, so that those that are written one after the other lie side by side,
//!   without a look at any group.
//!
//! There is no goal for streams as C ext4 has one: it spares it the search through groups that are full,
//! which the index of groups does here.
//!
//! Locking: a spinlock for each set and each pool, under which nothing else is taken.

use super::groups;
use crate::{
    engine::alloc::{
        window::{Carved, Window},
        Run,
    },
    fs::{fault::Fault, Sb},
    ondisk::{Corrupt, Group, Ino},
};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use kernel::{
    cpu::{nr_cpu_ids, CpuId},
    new_spinlock,
    prelude::*,
    sync::SpinLock,
};

/// Windows in a set.
const WAYS: usize = 4;
/// Sets.
const SETS: u32 = 64;

/// The windows of a set, the one that was used last in front.
type Set = [Option<Window>; WAYS];
/// What is left of a CPU's pool.
type Pool = Option<(Group, Run)>;

/// All windows and pools of a file system.
pub(crate) struct Windows {
    sets: KVVec<Pin<KBox<SpinLock<Set>>>>,
    pools: KVVec<Pin<KBox<SpinLock<Pool>>>>,
    /// How many windows there are.
    count: AtomicU32,
}

impl Windows {
    /// None yet.
    ///
    /// Errors: ENOMEM.
    pub(crate) fn new() -> Result<Self> {
        let mut sets = KVVec::with_capacity(SETS as usize, GFP_KERNEL)?;
        for _ in 0..SETS {
            let set = KBox::pin_init(new_spinlock!([None; WAYS], "rext4 windows"), GFP_KERNEL)?;
            sets.push_within_capacity(set).map_err(|_| ENOMEM)?;
        }
        let cpus = nr_cpu_ids();
        let mut pools = KVVec::with_capacity(cpus as usize, GFP_KERNEL)?;
        for _ in 0..cpus {
            let pool = KBox::pin_init(new_spinlock!(None, "rext4 pool"), GFP_KERNEL)?;
            pools.push_within_capacity(pool).map_err(|_| ENOMEM)?;
        }
        Ok(Self {
            sets,
            pools,
            count: AtomicU32::new(0),
        })
    }

    fn set(&self, ino: u32) -> Option<&SpinLock<Set>> {
        Some(&**self.sets.get((ino & SETS.wrapping_sub(1)) as usize)?)
    }

    fn pool(&self) -> Option<&SpinLock<Pool>> {
        Some(&**self.pools.get(CpuId::current().as_u32() as usize)?)
    }

    /// Takes up to `len` clusters for `cluster` of a file and those behind it out of its window.
    /// What is skipped is to be given back.
    pub(super) fn carve(&self, ino: Ino, cluster: u32, len: u32) -> Option<(Group, Carved)> {
        if self.count.load(Relaxed) == 0 {
            return None;
        }
        let mut set = self.set(ino.get())?.lock();
        let at = set
            .iter()
            .position(|w| w.is_some_and(|w| w.has(ino.get(), cluster)))?;
        let window = set.get_mut(at)?.take()?;
        let carved = window.carve(cluster, len);
        if carved.rest.is_some() {
            to_front(&mut set, at, carved.rest);
        } else {
            self.count.fetch_sub(1, Relaxed);
        }
        Some((window.group, carved))
    }

    /// Keeps a window. The one that it pushes out is to be given back.
    pub(super) fn keep(&self, window: Window) -> Option<Window> {
        let Some(set) = self.set(window.ino) else {
            return Some(window);
        };
        let mut set = set.lock();
        let free = set.iter().position(Option::is_none);
        let at = free.unwrap_or(WAYS.wrapping_sub(1));
        let out = set.get_mut(at).and_then(Option::take);
        to_front(&mut set, at, Some(window));
        if out.is_none() {
            self.count.fetch_add(1, Relaxed);
        }
        out
    }

    /// Takes a window away: any of those of `ino`, or of any file in a set.
    fn remove(&self, set: &SpinLock<Set>, ino: Option<Ino>) -> Option<Window> {
        let mut set = set.lock();
        let mine = |w: &Window| ino.is_none_or(|ino| ino.get() == w.ino);
        let place = set.iter_mut().find(|w| w.as_ref().is_some_and(mine))?;
        let window = place.take();
        self.count.fetch_sub(1, Relaxed);
        window
    }

    /// Takes `len` clusters from this CPU's pool, if it has as many and `fits`.
    pub(super) fn take_pooled(
        &self,
        len: u32,
        fits: impl FnOnce(Group) -> bool,
    ) -> Option<(Group, Run)> {
        let mut pool = self.pool()?.lock();
        let (group, run) = (*pool)?;
        if run.len < len || !fits(group) {
            return None;
        }
        let rest = Run::new(run.start.saturating_add(len), run.len.saturating_sub(len));
        *pool = (rest.len != 0).then_some((group, rest));
        Some((group, run.first(len)))
    }

    /// Empties this CPU's pool. What was in it is to be given back.
    pub(super) fn empty_pool(&self) -> Option<(Group, Run)> {
        self.pool()?.lock().take()
    }

    /// Fills this CPU's pool. What is in the way is to be given back.
    pub(super) fn fill_pool(&self, group: Group, run: Run) -> Option<(Group, Run)> {
        match self.pool() {
            Some(pool) => pool.lock().replace((group, run)),
            None => Some((group, run)),
        }
    }
}

/// Puts a window to the front of its set, in place of that at `at`.
fn to_front(set: &mut Set, at: usize, window: Option<Window>) {
    let mut carry = window;
    for place in set.iter_mut().take(at.saturating_add(1)) {
        core::mem::swap(place, &mut carry);
    }
}

/// Clusters that were taken in memory are free again. Takes their group's lock.
pub(super) fn free(sb: &Sb, group: Group, run: Run) {
    if run.len == 0 {
        return;
    }
    let Some(mut locked) = groups(sb).ok().and_then(|groups| groups.lock(group)) else {
        return;
    };
    if let Err(e) = locked.give_back(run) {
        let e = locked.distrust_clusters(Fault::from(Corrupt::from(e)));
        drop(locked);
        let _ = e.report(sb, 0, "block bitmap");
    }
}

/// Nothing is kept for file `ino` any more: nobody has it open for writing, it has been cut, or it
/// leaves memory. Takes groups' locks.
#[inline]
pub(crate) fn give_up(sb: &Sb, ino: Ino) {
    let Some(groups) = sb.info().groups.as_ref() else {
        return;
    };
    let windows = &groups.windows;
    if windows.count.load(Relaxed) == 0 {
        return;
    }
    let Some(set) = windows.set(ino.get()) else {
        return;
    };
    while let Some(window) = windows.remove(set, Some(ino)) {
        free(sb, window.group, window.run);
    }
}

/// Nothing is kept for any file any more: somebody needs the space, or writing ends. Whether there was
/// anything. Takes groups' locks.
#[cold]
pub(crate) fn give_up_all(sb: &Sb) -> bool {
    let Some(groups) = sb.info().groups.as_ref() else {
        return false;
    };
    let windows = &groups.windows;
    let mut any = false;
    for set in windows.sets.iter() {
        // Others may put new ones in meanwhile: each is taken away once.
        for _ in 0..WAYS {
            let Some(window) = windows.remove(set, None) else {
                break;
            };
            free(sb, window.group, window.run);
            any = true;
        }
    }
    for pool in windows.pools.iter() {
        let left = pool.lock().take();
        if let Some((group, run)) = left {
            free(sb, group, run);
            any = true;
        }
    }
    any
}
