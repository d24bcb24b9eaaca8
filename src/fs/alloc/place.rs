// SPDX-License-Identifier: GPL-2.0

//! Places for data, in memory: what a write goes to before it is in the file's map.
//!
//! A [`Place`] is found when data is about to be written ([`Place::take`]). Nothing is journalled, so
//! a crash leaves its blocks free. It takes over the promise that its data had
//! ([`Place::backed_by`]) and is [`InFlight`] then: whoever writes owns it. When the write has completed
//! it is [settled](InFlight::settle), which sets it in the bitmap on disk, together with the change of
//! the file's map and in the same handle; or it is [given back](InFlight::give_back).
//!
//! | | in the group's map | on disk | counted as promised |
//! |---|---|---|---|
//! | dirty data | | | by its reservation |
//! | `Place` | taken | free | by the reservation still |
//! | `InFlight` | taken | free | by itself |
//! | `Settled` | in use | in use | no more |
//!
//! A group's map that counts anything in flight is not forgotten, so a bitmap that is read anew
//! does not bring back what is taken.
//!
//! What is taken is one run, as long as is useful if there is one: at the place that the file has
//! set aside ([`super::window`]), else behind the blocks before it, else the first run at or behind the
//! goal that is as long as is wanted for the file, else the longest there is. Small files that
//! nobody writes to any more share a pool.
//!
//! With bigalloc a cluster that the file has part of already is used again; see [`super::shared`].
//!
//! # Context
//!
//! `take`, `backed_by` and `give_back` may be called with a folio locked: they start no handle and
//! wait for no commit. They may sleep, on a group's lock or for a bitmap that is read; memory is
//! NOFS. (Who holds a group's lock may wait until a commit has copied or written a block, which needs
//! no folio and no handle.) `settle` and `undo` need a handle.
//! Locks taken: sets of windows and pools, or the table of shared clusters, then a group's; with
//! bigalloc `take` also takes `data_sem`, for a look at the map, and lets go of it.

use super::{
    change, find, groups, set_run,
    shared::{self, settle_shared, unsettle_shared},
    window, Ask, Claim,
};
use crate::{
    engine::{
        alloc::{
            cluster_of, first_block_of,
            goal::{self, Goal},
            window::{plan, Need, Window},
            Run,
        },
        reserve::Reservation,
    },
    fs::{
        fault::Fault,
        groups::Locked,
        inode::{number, MapKind},
        trace::BlocksEvent,
        tunables::Number,
        tx::Handle,
        Sb, VfsInode,
    },
    linux::nofs::NoFs,
    ondisk::{Corrupt, FileBlock, FsBlock, Geometry, Group, Ino},
};
use kernel::prelude::*;

/// Blocks of a file that need a place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// The first one.
    pub(crate) lblk: FileBlock,
    /// How many need one now (1 or more): a folio's, or those of a direct write.
    pub(crate) len: u32,
    /// How many from the first on are dirty without a gap, at least `len`: they will be asked for
    /// next, and are to be behind these.
    pub(crate) dirty: u32,
    /// How many from the first on have no place at all, dirty or not; at least `dirty`. More is
    /// never set aside for the file.
    pub(crate) hole: u32,
    /// Where best: see `engine::alloc::goal::beside`. `None` if the file has nothing near.
    pub(crate) goal: Option<Goal>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lack {
    /// There is no space, or only such as a commit will bring (`handle::may_retry` waits for it).
    Space {
        /// Whether something has been freed and waits for its commit.
        after_commit: bool,
    },
    /// EIO, ENOMEM, or EUCLEAN, which has been reported.
    Failed(Error),
}

impl Lack {
    /// The errno: ENOSPC for both kinds of no space.
    pub(crate) fn errno(self) -> Error {
        match self {
            Self::Space { .. } => ENOSPC,
            Self::Failed(e) => e,
        }
    }

    /// What a search says.
    pub(super) fn of(sb: &Sb, e: Fault) -> Self {
        match e.report(sb, 0, "block bitmap") {
            e if e == ENOSPC => Self::Space {
                after_commit: groups(sb).is_ok_and(|groups| groups.has_pending()),
            },
            e => Self::Failed(e),
        }
    }
}

impl From<Error> for Lack {
    fn from(e: Error) -> Self {
        Self::Failed(e)
    }
}

/// Blocks in a row that were found for data, which is promised space elsewhere.
#[must_use = "to be backed by a reservation or given back"]
#[derive(Debug)]
pub(crate) struct Place {
    start: FsBlock,
    blocks: u32,
    /// The clusters that were free before: all of them, or with bigalloc none.
    fresh: u32,
}

/// Clusters that are to be found for a file, as the search wants to know it.
pub(super) struct Clusters<'a> {
    pub(super) inode: &'a VfsInode,
    pub(super) ino: Ino,
    /// The first one in the file; how many are needed, are dirty, and have no place.
    pub(super) first: u32,
    pub(super) now: u32,
    pub(super) soon: u32,
    pub(super) hole: u32,
    pub(super) goal: Option<Goal>,
}

impl Place {
    /// Finds a place for up to `wanted.len` blocks of `inode`, which have none: one run. It is
    /// shorter if there is no longer one, and with bigalloc where the file has a cluster already.
    ///
    /// Each block that is wanted has to have been promised space, or to be so before
    /// [`backed_by`](Self::backed_by). May sleep, see the head of the module.
    ///
    /// Errors: see [`Lack`]; nothing has changed then.
    pub(crate) fn take(inode: &VfsInode, wanted: &Wanted) -> Result<Self, Lack> {
        let sb = inode.super_block();
        let ino = number(inode).map_err(|e| e.report_inode(inode, "inode"))?;
        let _nofs = NoFs::new();
        let geo = &sb.info().geometry;
        if geo.cluster_bits() != 0 {
            return shared::take(inode, ino, wanted).inspect(|place| place.trace(sb));
        }
        let len = wanted.len.max(1);
        let dirty = wanted.dirty.max(len);
        let clusters = Clusters {
            inode,
            ino,
            first: wanted.lblk.get(),
            now: len,
            soon: dirty,
            hole: wanted.hole.max(dirty),
            goal: wanted.goal,
        };
        let (group, run) = take_clusters(sb, &clusters)?;
        let place = Self::new(first_block_of(geo, group, run.start), run.len, run.len);
        place.trace(sb);
        Ok(place)
    }

    fn trace(&self, sb: &Sb) {
        BlocksEvent::TakePlace.of(sb, self.start.get(), self.blocks.into());
    }

    pub(super) fn new(start: FsBlock, blocks: u32, fresh: u32) -> Self {
        Self {
            start,
            blocks,
            fresh,
        }
    }

    /// The first block.
    pub(crate) fn start(&self) -> FsBlock {
        self.start
    }

    /// How many blocks, 1 or more.
    pub(crate) fn blocks(&self) -> u32 {
        self.blocks
    }

    /// The data has its place, and needs the promise of one no more: the place takes over
    /// `reservation`, of any size; what is too much of it is released, and what is missing promised.
    ///
    /// Cannot fail: to be called when all that can has been done.
    pub(crate) fn backed_by(self, sb: &Sb, reservation: Reservation) -> InFlight {
        let flight = InFlight {
            start: self.start,
            blocks: self.blocks,
        };
        let needed = if self.fresh != 0 && sb.info().geometry.cluster_bits() != 0 {
            shared::promised(sb, flight.start, flight.blocks)
        } else {
            self.fresh
        };
        if let Ok(groups) = groups(sb) {
            let had = i64::try_from(reservation.into_clusters()).unwrap_or(i64::MAX);
            let by = i64::from(needed).saturating_sub(had);
            if by != 0 {
                groups.promised.add(by);
            }
        }
        flight
    }

    /// It is not needed: free again. The reservation is as it was.
    pub(crate) fn give_back(self, sb: &Sb) {
        give_back(sb, self.start, self.blocks, false);
    }
}

/// Blocks in a row that data is being written to, and that are not in the file's map yet.
#[must_use = "to be settled or given back"]
#[derive(Debug)]
pub(crate) struct InFlight {
    start: FsBlock,
    blocks: u32,
}

/// A run of blocks in flight is written by two I/Os, the second from `start` on: each has its own part in the
/// cluster that both touch.
pub(crate) fn split_io(sb: &Sb, start: FsBlock) {
    if sb.info().geometry.cluster_bits() != 0 {
        shared::split(sb, start);
    }
}

impl InFlight {
    /// Blocks that an I/O owns, from which all that is known of them follows: the run of `blocks` from
    /// `start` on, by groups. They were given to the I/O by [`into_io`](Self::into_io), all of them, and
    /// nobody has taken them back yet.
    pub(crate) fn of_io(sb: &Sb, start: FsBlock, blocks: u32) -> impl Iterator<Item = Self> + '_ {
        let mut at = start.get();
        let mut left = blocks;
        core::iter::from_fn(move || {
            let geo = &sb.info().geometry;
            let (group, _) = geo.block_location(FsBlock::new(at));
            let first = geo.group_first_block(group).get();
            let end = first.saturating_add(geo.group_blocks(group).into());
            let here = u32::try_from(end.saturating_sub(at)).unwrap_or(u32::MAX);
            let blocks = here.min(left);
            if blocks == 0 {
                return None;
            }
            let start = FsBlock::new(at);
            at = at.saturating_add(blocks.into());
            left = left.saturating_sub(blocks);
            Some(Self { start, blocks })
        })
    }

    /// An I/O owns them from now on: the first block. See [`of_io`](Self::of_io).
    pub(crate) fn into_io(self) -> FsBlock {
        self.start
    }

    /// The first block.
    pub(crate) fn start(&self) -> FsBlock {
        self.start
    }

    /// How many blocks, 1 or more.
    pub(crate) fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Up to `blocks` (1 or more) from the front, and the rest. The table of shared clusters is
    /// locked with bigalloc.
    pub(crate) fn split(self, sb: &Sb, blocks: u32) -> (Self, Option<Self>) {
        let front = self.blocks.min(blocks.max(1));
        let rest = self.blocks.saturating_sub(front);
        let middle = self.start.get().saturating_add(front.into());
        let rest = (rest != 0).then(|| {
            let rest = Self {
                start: FsBlock::new(middle),
                blocks: rest,
            };
            shared::split(sb, rest.start);
            rest
        });
        let front = Self {
            start: self.start,
            blocks: front,
        };
        (front, rest)
    }

    /// What [`split`](Self::split) has made two of is one run again, owned by an I/O: the second part begins
    /// behind this one.
    pub(crate) fn rejoin_into_io(self, sb: &Sb) {
        let end = self.start.get().saturating_add(self.blocks.into());
        shared::unsplit(sb, FsBlock::new(end));
    }

    /// The write has completed: the blocks are in use on disk as well. They stay in flight on an
    /// error, and come back with it.
    ///
    /// `handle` has credits for a bitmap and a descriptor; with bigalloc the inode's `data_sem` is
    /// held for writing until [`Settled::mapped`]. May sleep.
    ///
    /// Errors: EUCLEAN (reported) for a damaged group, EIO, ENOMEM, and those of a journal that
    /// has been given up.
    pub(crate) fn settle(self, sb: &Sb, handle: &Handle<'_>) -> Result<Settled, (Self, Error)> {
        let geo = &sb.info().geometry;
        let (group, run) = clusters_of(geo, self.start, self.blocks);
        let settled = if geo.cluster_bits() == 0 {
            set_on_disk(sb, handle, group, run).map(|()| {
                if let Ok(groups) = groups(sb) {
                    groups.promised.sub(run.len.into());
                }
                run.len
            })
        } else {
            settle_shared(sb, handle, group, run)
        };
        match settled {
            Ok(fresh) => {
                BlocksEvent::Settle.of(sb, self.start.get(), self.blocks.into());
                Ok(Settled {
                    flight: self,
                    fresh,
                })
            }
            Err(e) => Err((self, e)),
        }
    }

    /// The write has failed, or somebody else has mapped these blocks of the file: they are free
    /// again at once, and nothing is promised for them any more. Not inside of the handle that has
    /// settled them.
    pub(crate) fn give_back(self, sb: &Sb) {
        give_back(sb, self.start, self.blocks, true);
    }
}

/// Blocks that were in flight and are in use on disk, in the transaction that is going to map them.
#[must_use = "to be mapped or undone"]
#[derive(Debug)]
pub(crate) struct Settled {
    flight: InFlight,
    /// Clusters that were not in use before.
    fresh: u32,
}

impl Settled {
    /// The first block.
    pub(crate) fn start(&self) -> FsBlock {
        self.flight.start
    }

    /// How many blocks, 1 or more.
    pub(crate) fn blocks(&self) -> u32 {
        self.flight.blocks
    }

    /// By how much `i_blocks` of the file grows, in 512-byte units.
    pub(crate) fn sectors(&self, sb: &Sb) -> u64 {
        let geo = &sb.info().geometry;
        let bits = geo.block_bits().wrapping_sub(9);
        let bits = bits.wrapping_add(geo.cluster_bits()) & 31;
        u64::from(self.fresh) << bits
    }

    /// The file's map has them.
    pub(crate) fn mapped(self, sb: &Sb) {
        shared::mapped(sb, self.flight.start, self.flight.blocks);
    }

    /// They could not be mapped: on disk they are free again, in the same handle, and in flight as
    /// they were.
    ///
    /// Errors: those of a journal that has been given up; EUCLEAN (reported). Nobody has the blocks
    /// then until e2fsck finds them.
    pub(crate) fn undo(self, sb: &Sb, handle: &Handle<'_>) -> Result<InFlight> {
        let geo = &sb.info().geometry;
        let Self { flight, .. } = self;
        let (group, run) = clusters_of(geo, flight.start, flight.blocks);
        if geo.cluster_bits() == 0 {
            clear_on_disk(sb, handle, group, run)?;
            groups(sb)?.promised.add(run.len.into());
        } else {
            unsettle_shared(sb, handle, group, run)?;
        }
        Ok(flight)
    }
}

/// The clusters that blocks of one group are in.
pub(super) fn clusters_of(geo: &Geometry, start: FsBlock, blocks: u32) -> (Group, Run) {
    let last = start.get().saturating_add(blocks.saturating_sub(1).into());
    let (group, first) = cluster_of(geo, start);
    let (_, last) = cluster_of(geo, FsBlock::new(last));
    let len = last.saturating_sub(first).saturating_add(1);
    (group, Run::new(first, len))
}

/// Blocks that are in memory only are not needed; they are in flight (`backed`), or not yet.
fn give_back(sb: &Sb, start: FsBlock, blocks: u32, backed: bool) {
    BlocksEvent::GiveBack.of(sb, start.get(), blocks.into());
    let geo = &sb.info().geometry;
    if geo.cluster_bits() != 0 {
        shared::give_back(sb, start, blocks);
        return;
    }
    let (group, run) = clusters_of(geo, start, blocks);
    if backed {
        if let Ok(groups) = groups(sb) {
            groups.promised.sub(run.len.into());
        }
    }
    window::free(sb, group, run);
}

/// Sets clusters in flight in the bitmap on disk.
///
/// Errors: as [`InFlight::settle`].
pub(super) fn set_on_disk(sb: &Sb, handle: &Handle<'_>, group: Group, run: Run) -> Result {
    let mut locked = groups(sb)?.lock(group).ok_or(EUCLEAN)?;
    if !locked.trusts_clusters() {
        return Err(EUCLEAN);
    }
    let settled = set_run(sb, handle, &mut locked, run).and_then(|()| {
        let map = locked.map(sb)?;
        Ok(map.settle(run).map_err(Corrupt::from)?)
    });
    match settled {
        Ok(()) => {
            locked.count_clusters(run.len, true);
            Ok(())
        }
        Err(e) => {
            let e = locked.distrust_clusters(e);
            drop(locked);
            Err(e.report(sb, 0, "block bitmap"))
        }
    }
}

/// Clears clusters in the bitmap on disk, which stay in flight.
///
/// Errors: as [`set_on_disk`].
pub(super) fn clear_on_disk(sb: &Sb, handle: &Handle<'_>, group: Group, run: Run) -> Result {
    let mut locked = groups(sb)?.lock(group).ok_or(EUCLEAN)?;
    if !locked.trusts_clusters() {
        return Err(EUCLEAN);
    }
    let cleared = locked
        .map(sb)
        .map(|_| ())
        .and_then(|()| {
            let clear = |buffers: &mut super::GroupBuffers<'_>, _: &_| buffers.free_clusters(run);
            change(sb, handle, &mut locked, || Ok(()), clear)
        })
        .and_then(|()| Ok(locked.map(sb)?.unsettle(run).map_err(Corrupt::from)?));
    match cleared {
        Ok(()) => {
            locked.count_clusters(run.len, false);
            Ok(())
        }
        Err(e) => {
            let e = locked.distrust_clusters(e);
            drop(locked);
            Err(e.report(sb, 0, "block bitmap"))
        }
    }
}

/// Takes clusters in memory for a file, from what is set aside for it, or anew.
pub(super) fn take_clusters(sb: &Sb, wanted: &Clusters<'_>) -> Result<(Group, Run), Lack> {
    let windows = &groups(sb)?.windows;
    if let Some((group, carved)) = windows.carve(wanted.ino, wanted.first, wanted.now) {
        window::free(sb, group, carved.skipped);
        return Ok((group, carved.taken));
    }
    take_anew(sb, wanted)
}

/// As [`take_clusters`], for a file that has nothing set aside there.
fn take_anew(sb: &Sb, wanted: &Clusters<'_>) -> Result<(Group, Run), Lack> {
    let info = sb.info();
    let geo = &info.geometry;
    let groups = groups(sb)?;
    let inode = wanted.inode;
    let bits = geo.block_bits().saturating_add(geo.cluster_bits()) & 63;
    let clusters = inode.size().saturating_sub(1).wrapping_shr(bits);
    let need = Need {
        first: wanted.first,
        now: wanted.now,
        soon: wanted.soon,
        hole: wanted.hole,
        alone: wanted.goal.is_none(),
        size: clusters.saturating_add(1),
        grows: inode.is_open_for_write(),
    };
    let low = inode.data().map_kind() == MapKind::Indirect;
    let home = || {
        let group = geo.inode_location(wanted.ino).group;
        Goal::Near(goal::home(geo, group, true, 0))
    };
    let mut ask = Ask {
        goal: wanted.goal.unwrap_or_else(home),
        len: wanted.now,
        min: wanted.now,
        low,
        last: true,
        claim: Claim::Promised,
    };
    let end = u64::from(wanted.first).saturating_add(wanted.soon.into());
    let least = info.tunables.get(Number::MbStreamReq) >> (geo.cluster_bits() & 31);
    let pooled = info.tunables.get(Number::MbGroupPrealloc);
    // At the end of an extent of its own is better than in a pool.
    let small = !matches!(wanted.goal, Some(Goal::Extend(_)))
        && pooled != 0
        && goal::is_small(need.size, end, least, !need.grows);
    if small {
        if let Ok(found) = take_small(sb, &ask, wanted.soon, pooled) {
            keep_rest(sb, wanted, found);
            return Ok((found.0, found.1.first(wanted.now)));
        }
    } else {
        let plan = plan(geo, &need, groups.free_clusters.read());
        // Room for what comes before is worth looking for, not giving up what others have.
        for (before, last) in [(plan.before, false), (0, true)] {
            if before == 0 && !last {
                continue;
            }
            let more = Ask {
                len: before.saturating_add(plan.len),
                min: before.saturating_add(wanted.now),
                last,
                ..ask
            };
            if let Ok((group, run)) = find(sb, more, |locked, run| take_run(sb, locked, run)) {
                let before = run.first(before);
                window::free(sb, group, before);
                let run = Run::new(before.end(), run.len.saturating_sub(before.len));
                keep_rest(sb, wanted, (group, run));
                return Ok((group, run.first(wanted.now)));
            }
        }
    }
    // What there is, but nothing is set aside.
    ask.min = 1;
    find(sb, ask, |locked, run| take_run(sb, locked, run)).map_err(|e| Lack::of(sb, e))
}

/// Takes a run that the group's map says is free, in memory.
fn take_run(sb: &Sb, locked: &mut Locked<'_>, run: Run) -> Result<(), Fault> {
    Ok(locked.map(sb)?.take(run).map_err(Corrupt::from)?)
}

/// Takes `len` clusters from the pool of this CPU, which has `size` when it is filled anew.
fn take_small(sb: &Sb, ask: &Ask, len: u32, size: u32) -> Result<(Group, Run), Fault> {
    let windows = &groups(sb)?.windows;
    let geo = &sb.info().geometry;
    let fits = |group: Group| !ask.low || group.get() < goal::indirect_groups(geo);
    if let Some(found) = windows.take_pooled(len, fits) {
        return Ok(found);
    }
    let mut goal = ask.goal;
    if let Some((group, left)) = windows.empty_pool() {
        // So that the next pool goes on where this one ends, if that is free.
        goal = Goal::Near(first_block_of(geo, group, left.start));
        window::free(sb, group, left);
    }
    let ask = Ask {
        goal,
        len: size.max(len),
        min: len,
        ..*ask
    };
    let (group, run) = find(sb, ask, |locked, run| take_run(sb, locked, run))?;
    let taken = run.first(len);
    let rest = Run::new(taken.end(), run.len.saturating_sub(taken.len));
    if rest.len != 0 {
        if let Some((group, other)) = windows.fill_pool(group, rest) {
            window::free(sb, group, other);
        }
    }
    Ok((group, taken))
}

/// Sets aside for the file what was found and is not needed now.
fn keep_rest(sb: &Sb, wanted: &Clusters<'_>, (group, run): (Group, Run)) {
    let rest = Run::new(
        run.start.saturating_add(wanted.now),
        run.len.saturating_sub(wanted.now),
    );
    if rest.len == 0 {
        return;
    }
    let window = Window {
        ino: wanted.ino.get(),
        first: wanted.first.saturating_add(wanted.now),
        group,
        run: rest,
    };
    let out = match groups(sb) {
        Ok(groups) => groups.windows.keep(window),
        Err(_) => Some(window),
    };
    if let Some(out) = out {
        window::free(sb, out.group, out.run);
    }
}
