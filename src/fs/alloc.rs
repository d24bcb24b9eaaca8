// SPDX-License-Identifier: GPL-2.0

//! Taking and freeing blocks in a transaction; [`inodes`] does the same with inodes.
//!
//! What `engine::alloc` decides is carried out here: under the group's lock, with write access to
//! the bitmap and to the descriptor taken first, both change together, and the counts with them.
//! A bitmap that was never written is made with the first change, without being read.
//!
//! Freed clusters stay in use in memory until the transaction that freed them has been committed
//! ([`freed`]): a crash before would bring back what they were part of. Without a journal they can
//! be had again at once.
//!
//! A group that turns out to be damaged is reported once and left alone from then on. Who wants to
//! take goes on to others; what is freed in it is lost until e2fsck has repaired it, and whoever
//! frees need not care: the rest of the operation is as right as ever.
//!
//! Lock order: see [`super::groups`].

mod freed;
mod inodes;
mod place;
mod reserve;
mod shared;
mod stats;
mod window;

pub(crate) use freed::{discard_step, release_all, Discards, Last as LastFreed};
pub(crate) use inodes::{distrust_inode, free_inode, is_inode_used, take_inode};
#[allow(unused_imports, reason = "kunit/places uses all of it")]
pub(crate) use place::{split_io, InFlight, Lack, Place, Settled, Wanted};
pub(crate) use reserve::{release, reserve, reserve_some, shortage};
pub(crate) use shared::Shared;
pub(crate) use stats::Stats;
pub(crate) use window::{give_up, give_up_all, Windows};

use super::{
    fault::Fault,
    groups::{Groups, Locked},
    inode::MapKind,
    trace::BlocksEvent,
    tunables::Number,
    tx::Handle,
    Sb, VfsInode,
};
use crate::{
    engine::{
        alloc::{
            cluster_of,
            disk::GroupBuffers,
            first_block_of,
            goal::{self, Goal},
            Run, Search,
        },
        change::{Blocks, Was},
        credits::METADATA_AT_ONCE,
        zones::{Zone, Zones},
    },
    ondisk::{group::GroupError, Corrupt, FsBlock, Geometry, Group},
};
use core::cell::Cell;
use freed::Ready;
use kernel::prelude::*;

/// The groups of a file system that can be written.
///
/// Errors: EROFS on one that cannot.
fn groups(sb: &Sb) -> Result<&Groups> {
    sb.info().groups.as_ref().ok_or(EROFS)
}

/// What is to be found.
#[derive(Clone, Copy)]
struct Ask {
    /// Near what.
    goal: Goal,
    /// How many clusters are useful, and how few will do.
    len: u32,
    min: u32,
    /// Whether the blocks' numbers have to fit 32 bits.
    low: bool,
    /// Whether what is kept for files is given up if there is nothing else.
    last: bool,
    /// On whose account.
    claim: Claim,
}

/// The right to take clusters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// Whoever asks: see [`super::reserved`].
    New,
    /// The same, for metadata of what was promised space: also the pool that is kept for that.
    Pool,
    /// They were promised, or nobody counts on them: they are not counted either.
    Promised,
}

/// Looks for clusters, and has `take` take them, with the lock of their group held.
///
/// May sleep. Errors: ENOSPC; EIO, ENOMEM, and those of `take`. Damage is reported, takes a group
/// out of use, and is none.
fn find(
    sb: &Sb,
    ask: Ask,
    mut take: impl FnMut(&mut Locked<'_>, Run) -> Result<(), Fault>,
) -> Result<(Group, Run), Fault> {
    let groups = groups(sb)?;
    let info = sb.info();
    if ask.claim != Claim::Promised {
        let pool = ask.claim == Claim::Pool;
        let check = &info.reserved;
        check.check(&info.geometry, groups, ask.min.into(), pool)?;
    }
    match look(sb, groups, ask, &mut take) {
        Err(Fault::Errno(e)) if e == ENOSPC && ask.last && give_up_all(sb) => {
            look(sb, groups, ask, &mut take)
        }
        found => found,
    }
}

/// One search for [`find`].
fn look(
    sb: &Sb,
    groups: &Groups,
    ask: Ask,
    take: &mut impl FnMut(&mut Locked<'_>, Run) -> Result<(), Fault>,
) -> Result<(Group, Run), Fault> {
    let Ask { goal, len, min, .. } = ask;
    let info = sb.info();
    let geo = &info.geometry;
    let mut search = Search::new(geo, goal, len, min);
    if ask.low {
        search = search.among(goal::indirect_groups(geo));
    }
    let mut failed = None;
    let stats = (info.tunables.get(Number::MbStats) != 0).then_some(&groups.stats);
    // Each group comes at most once for each length, of which there are at most 32.
    while let Some(attempt) = search.next(groups.runs()) {
        let Some(mut locked) = groups.lock(attempt.group) else {
            continue;
        };
        if !locked.trusts_clusters() {
            locked.publish_longest();
            continue;
        }
        let taken = match locked.map(sb) {
            Ok(map) => match map.choose(attempt.want) {
                Some(run) => take(&mut locked, run).map(|()| Some(run)),
                None => Ok(None),
            },
            Err(e) => Err(e),
        };
        match taken {
            Ok(found) => {
                locked.publish_longest();
                if let Some(stats) = stats {
                    stats.tried(attempt.round, found.is_some());
                }
                if let Some(run) = found {
                    if let Some(stats) = stats {
                        let here = cluster_of(geo, goal.block()) == (attempt.group, run.start);
                        stats.ended(run.len >= len, here);
                    }
                    return Ok((attempt.group, run));
                }
            }
            Err(e @ Fault::Corrupt(_)) => {
                // Others may have space.
                let e = locked.distrust_clusters(e);
                drop(locked);
                let _ = e.report(sb, 0, "block bitmap");
            }
            Err(e) if e.is_of_the_journal() => return Err(e),
            Err(e) => {
                // A bitmap that cannot be read: not tried again before something has been freed.
                locked.publish_longest();
                failed.get_or_insert(e);
            }
        }
    }
    if let Some(stats) = stats {
        stats.ended(false, false);
    }
    Err(failed.unwrap_or(ENOSPC.into()))
}

/// Sets clusters in the block bitmap of their group, which is made if it was never written.
///
/// Errors: corruption, EIO, ENOMEM, and those of a journal that has been given up; nothing has
/// changed then.
fn set_run(sb: &Sb, handle: &Handle<'_>, locked: &mut Locked<'_>, run: Run) -> Result<(), Fault> {
    change(
        sb,
        handle,
        locked,
        || Ok(()),
        |buffers, zones| {
            buffers.init_clusters(zones)?;
            buffers.take_clusters(run)
        },
    )
}

/// Changes the block bitmap and the descriptor of a group. `before` is called when nothing but `f`
/// can fail any more. An error means that neither has changed.
fn change(
    sb: &Sb,
    handle: &Handle<'_>,
    locked: &mut Locked<'_>,
    before: impl FnOnce() -> Result,
    f: impl FnOnce(&mut GroupBuffers<'_>, &Zones<KVVec<Zone>>) -> Result<(), GroupError>,
) -> Result<(), Fault> {
    let info = sb.info();
    let geo = &info.geometry;
    let desc = locked.read_desc(sb)?;
    let made = !locked.desc(geo, &desc)?.block_uninit();
    let (device, block) = (sb.device(), locked.state.block_bitmap);
    let mut bitmap = if made {
        handle.edit(device.read(block)?)?
    } else {
        handle.create(device, block)?
    };
    let access = handle.access(desc)?;
    before()?;
    let group = locked.number;
    {
        let mut desc = access.open(&mut locked.state.desc).ok_or(EUCLEAN)?;
        let mut buffers = GroupBuffers {
            geo,
            group,
            desc: &mut desc,
            bitmap: &mut bitmap,
        };
        f(&mut buffers, &info.zones).map_err(Corrupt::from)?;
    }
    bitmap.dirty(None);
    access.dirty();
    Ok(())
}

/// Blocks for one object (an inode, say), in one handle: allocated near where they should be,
/// counted, and freed.
pub(crate) struct Allocation<'a> {
    sb: &'a Sb,
    handle: &'a Handle<'a>,
    /// Blocks that the object has got, and those that it has lost.
    got: Cell<u64>,
    lost: Cell<u64>,
    /// See [`Ask`].
    low: bool,
    claim: Claim,
}

impl<'a> Allocation<'a> {
    /// Nothing taken yet.
    pub(crate) fn new(sb: &'a Sb, handle: &'a Handle<'a>) -> Self {
        Self {
            sb,
            handle,
            got: Cell::new(0),
            lost: Cell::new(0),
            low: false,
            claim: Claim::New,
        }
    }

    /// The same for the block map of `inode`: of one with indirect blocks, these have 32 bits for
    /// what they name.
    pub(crate) fn of_map(inode: &'a VfsInode, handle: &'a Handle<'a>) -> Self {
        Self {
            low: inode.data().map_kind() == MapKind::Indirect,
            ..Self::new(inode.super_block(), handle)
        }
    }

    /// The same for data that was promised space: what its map needs may come from what is kept
    /// back for that, so that completions do not fail. Tables of indirect blocks have been promised
    /// together with the data ([`super::delayed`]).
    pub(crate) fn of_promised(inode: &'a VfsInode, handle: &'a Handle<'a>) -> Self {
        let of_map = Self::of_map(inode, handle);
        let claim = if of_map.low {
            Claim::Promised
        } else {
            Claim::Pool
        };
        Self { claim, ..of_map }
    }

    /// The same for a change that gives space back, or moves it: what its map needs may come from what is kept
    /// back.
    pub(crate) fn using_pool(self) -> Self {
        Self {
            claim: Claim::Pool,
            ..self
        }
    }

    /// How many blocks clusters have.
    fn blocks_of(&self, clusters: u32) -> u64 {
        u64::from(clusters) << (self.sb.info().geometry.cluster_bits() & 31)
    }

    /// By how much `i_blocks` of the object changes, in 512-byte units: up and down.
    pub(crate) fn sectors(&self) -> (u64, u64) {
        let bits = self.sb.info().geometry.block_bits().wrapping_sub(9) & 31;
        (self.got.get() << bits, self.lost.get() << bits)
    }

    /// Takes up to `len` (at least `min`) clusters near `goal`, on disk and in memory: the first
    /// block, and how many clusters.
    ///
    /// May sleep. Errors: ENOSPC; EIO, ENOMEM, and those of a journal that has been given up.
    pub(crate) fn take(&self, goal: Goal, len: u32, min: u32) -> Result<(FsBlock, u32), Fault> {
        let take = |locked: &mut Locked<'_>, run| self.take_run(locked, run);
        let ask = Ask {
            goal,
            len,
            min,
            low: self.low,
            last: true,
            claim: self.claim,
        };
        let (group, run) = find(self.sb, ask, take)?;
        let got = self.blocks_of(run.len);
        self.got.set(self.got.get().saturating_add(got));
        let geo = &self.sb.info().geometry;
        let start = first_block_of(geo, group, run.start);
        BlocksEvent::Allocate.of(self.sb, start.get(), got);
        Ok((start, run.len))
    }

    /// Takes a run that the group's map says is free.
    fn take_run(&self, locked: &mut Locked<'_>, run: Run) -> Result<(), Fault> {
        set_run(self.sb, self.handle, locked, run)?;
        // Under the same lock as the search: what was free still is.
        let map = locked.map(self.sb)?;
        map.take(run).map_err(Corrupt::from)?;
        map.settle(run).map_err(Corrupt::from)?;
        locked.count_clusters(run.len, true);
        Ok(())
    }

    /// Frees clusters of one group, which are in use. The blocks `revoked` of them, from the first
    /// to before the second, were metadata.
    ///
    /// Errors: EIO, and those of a journal that has been given up; nothing has been freed then.
    /// Damage is reported, and is none.
    fn free_run(&self, group: Group, run: Run, revoked: (u64, u64)) -> Result<(), Fault> {
        let mut locked = groups(self.sb)?.lock(group).ok_or(EUCLEAN)?;
        if !locked.trusts_clusters() {
            return Ok(());
        }
        // The memory first: afterwards nothing may fail.
        let ready = Ready::new(self.sb, self.handle, &locked, run)?;
        match self.clear_run(&mut locked, run, revoked) {
            Ok(()) => {
                ready.freed(self.sb, self.handle, locked, run);
                Ok(())
            }
            Err(e @ Fault::Corrupt(_)) => {
                let e = locked.distrust_clusters(e);
                drop(locked);
                let _ = e.report(self.sb, 0, "block bitmap");
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    fn clear_run(
        &self,
        locked: &mut Locked<'_>,
        run: Run,
        (first, end): (u64, u64),
    ) -> Result<(), Fault> {
        locked.map(self.sb)?;
        let clusters = self.sb.info().geometry.cluster_bits() != 0;
        let revoke = || {
            // What is forgotten is lost, so this comes when nothing else can fail.
            for block in first..end {
                match self.handle.revoke(self.sb.device(), block) {
                    // When it was unmapped, and others kept its cluster.
                    Err(e) if clusters && e == EUCLEAN => {}
                    revoked => revoked?,
                }
            }
            Ok(())
        };
        change(self.sb, self.handle, locked, revoke, |buffers, _| {
            buffers.free_clusters(run)
        })?;
        let map = locked.map(self.sb)?;
        // On disk they were in use; if not in memory, the map is wrong.
        map.free(run).map_err(Corrupt::from)?;
        locked.count_clusters(run.len, false);
        Ok(())
    }
}

/// The blocks at the end of the run of `len` (> 0) from `start` that are freed at once: those of
/// one group, and of metadata no more than are counted with, but whole clusters. The group, its
/// clusters that they touch, and the first of them.
fn at_once(geo: &Geometry, start: FsBlock, len: u32, was: Was) -> Option<(Group, Run, FsBlock)> {
    let last = start.checked_add(u64::from(len).saturating_sub(1))?;
    let (group, end) = cluster_of(geo, last);
    let (first_group, mut from) = cluster_of(geo, start);
    if first_group != group {
        from = 0;
    }
    let most = last.get().checked_sub(METADATA_AT_ONCE.into());
    if let Some(too_many) = most.filter(|_| was == Was::Metadata) {
        let (in_group, cluster) = cluster_of(geo, FsBlock::new(too_many));
        if in_group == group {
            // The whole cluster would be too much.
            from = from.max(cluster.saturating_add(1)).min(end);
        }
    }
    let first = first_block_of(geo, group, from).max(start);
    let run = Run::new(from, end.saturating_sub(from).saturating_add(1));
    Some((group, run, first))
}

impl Blocks for Allocation<'_> {
    type Error = Fault;

    fn allocate(&self, goal: FsBlock) -> Result<FsBlock, Fault> {
        Ok(self.take(Goal::Near(goal), 1, 1)?.0)
    }

    fn give_back(&self, block: FsBlock) {
        // In the transaction that took it: whoever replays that sees neither.
        if self.free(block, 1, Was::Data).is_err() {
            // The journal has been given up, or the block is lost until e2fsck finds it.
            return;
        }
        let blocks = self.blocks_of(1);
        self.lost.set(self.lost.get().saturating_sub(blocks));
        self.got.set(self.got.get().saturating_sub(blocks));
    }

    /// Frees whole clusters: all those that have blocks of the run. Where the rest of one stays in
    /// use, it is for the caller to leave it out.
    fn free(&self, start: FsBlock, len: u32, was: Was) -> Result<u32, Fault> {
        let geo = &self.sb.info().geometry;
        let (group, mut run, mut first) = at_once(geo, start, len, was).ok_or(EUCLEAN)?;
        let (in_flight, alike) = shared::alike(self.sb, group, run);
        if alike < run.len {
            run = Run::new(run.end().saturating_sub(alike), alike);
            first = first_block_of(geo, group, run.start);
        }
        let end = start.get().saturating_add(len.into());
        let blocks = end.saturating_sub(first.get());
        let revoked = match was {
            Was::Metadata => (first.get(), end),
            Was::Data => (0, 0),
        };
        if !in_flight || !shared::unmap(self.sb, self.handle, group, run)? {
            self.free_run(group, run, revoked)?;
        }
        BlocksEvent::Free.of(self.sb, first.get(), blocks);
        let lost = self.blocks_of(run.len);
        self.lost.set(self.lost.get().saturating_add(lost));
        Ok(u32::try_from(blocks).unwrap_or(len))
    }
}
