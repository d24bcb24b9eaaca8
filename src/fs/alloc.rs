// SPDX-License-Identifier: GPL-2.0

//! Taking and freeing blocks and inodes in a transaction.
//!
//! What `engine::alloc` decides is carried out here: under the group's lock, with write access to
//! the bitmap and to the descriptor taken first, both change together, and the counts with them.
//!
//! Freed clusters stay in use in memory until the transaction that freed them has been committed
//! ([`Freed`]): a crash before would bring back what they were part of. Without a journal they can
//! be had again at once.
//!
//! Lock order: see [`super::groups`].

use super::{
    fault::Fault,
    groups::{Groups, Locked},
    tx::Handle,
    Rext4Fs, Sb,
};
use crate::{
    engine::{
        alloc::{
            cluster_of,
            disk::GroupBuffers,
            first_block_of,
            goal::Goal,
            inode_bits::find_free_inode,
            orlov::{self, GroupStats, Parent},
            Run, Search,
        },
        change::{Blocks, Was},
    },
    linux::jbd2::{AtCommit, Commit, CommitCallback, OfSuper},
    ondisk::{Corrupt, FsBlock, Group, Ino},
};
use core::cell::Cell;
use kernel::prelude::*;

/// Clusters that a transaction has freed.
pub(crate) struct Freed {
    group: Group,
    run: Run,
}

impl CommitCallback<OfSuper<Rext4Fs>> for Freed {
    fn committed(self, owner: &OfSuper<Rext4Fs>, _commit: Commit) {
        // Also of a transaction that was given up: nothing is written any more.
        let _ = self.release(owner);
    }
}

impl Freed {
    /// The clusters can be had again.
    fn release(&self, sb: &Sb) -> Result<(), Fault> {
        let groups = groups(sb)?;
        let mut locked = groups.lock(self.group).ok_or(EUCLEAN)?;
        locked.committed(self.run).map_err(Corrupt::from)?;
        locked.publish_longest();
        Ok(())
    }
}

/// The groups of a file system that can be written.
///
/// Errors: EROFS on one that cannot.
fn groups(sb: &Sb) -> Result<&Groups> {
    sb.info().groups.as_ref().ok_or(EROFS)
}

/// Blocks for one object (an inode, say), in one handle: allocated near where they should be,
/// counted, and freed.
pub(crate) struct Allocation<'a> {
    sb: &'a Sb,
    handle: &'a Handle<'a>,
    /// Blocks that the object has got, and those that it has lost.
    got: Cell<u64>,
    lost: Cell<u64>,
}

impl<'a> Allocation<'a> {
    /// Nothing taken yet.
    pub(crate) fn new(sb: &'a Sb, handle: &'a Handle<'a>) -> Self {
        Self {
            sb,
            handle,
            got: Cell::new(0),
            lost: Cell::new(0),
        }
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
        let groups = groups(self.sb)?;
        let info = self.sb.info();
        let geo = &info.geometry;
        info.reserved.check(geo, groups, min.into())?;
        let mut search = Search::new(geo, goal, len, min);
        // Each group comes at most once for each length, of which there are at most 32.
        while let Some(attempt) = search.next(groups.runs()) {
            let Some(mut locked) = groups.lock(attempt.group) else {
                continue;
            };
            let found = match locked.map(self.sb) {
                Ok(map) => map.choose(attempt.want),
                Err(e @ Fault::Corrupt(_)) => {
                    // Reported, and out of use from now on. Others may have space.
                    let _ = e.report(self.sb, 0, "block bitmap");
                    None
                }
                Err(Fault::Errno(e)) if e == ENOSPC => None,
                Err(e) => return Err(e),
            };
            let Some(run) = found else {
                locked.publish_longest();
                continue;
            };
            match self.take_run(&mut locked, run) {
                Ok(()) => {
                    self.got.set(
                        self.got
                            .get()
                            .saturating_add(u64::from(run.len) << (geo.cluster_bits() & 31)),
                    );
                    return Ok((first_block_of(geo, attempt.group, run.start), run.len));
                }
                Err(e @ Fault::Corrupt(_)) => {
                    let e = locked.distrust_clusters(e);
                    let _ = e.report(self.sb, 0, "block bitmap");
                }
                Err(e) => return Err(e),
            }
        }
        Err(ENOSPC.into())
    }

    /// Takes a run that the group's map says is free.
    fn take_run(&self, locked: &mut Locked<'_>, run: Run) -> Result<(), Fault> {
        self.change(locked, |buffers, zones| {
            buffers.init_clusters(zones)?;
            buffers.take_clusters(run)
        })?;
        // Under the same lock as the search: what was free still is.
        let map = locked.map(self.sb)?;
        map.take(run).map_err(Corrupt::from)?;
        map.settle(run).map_err(Corrupt::from)?;
        locked.count_clusters(run.len, true);
        locked.publish_longest();
        Ok(())
    }

    /// Changes the block bitmap and the descriptor of a group. An error means that nothing has.
    fn change(
        &self,
        locked: &mut Locked<'_>,
        f: impl FnOnce(
            &mut GroupBuffers<'_>,
            &crate::engine::zones::Zones<KVVec<crate::engine::zones::Zone>>,
        ) -> Result<(), crate::ondisk::group::GroupError>,
    ) -> Result<(), Fault> {
        let info = self.sb.info();
        let geo = &info.geometry;
        let block = locked.with_desc(self.sb, |_, desc| Ok(desc.block_bitmap()))?;
        let mut bitmap = self.handle.edit(self.sb.device().read(block.get())?)?;
        let access = self.handle.access(locked.read_desc(self.sb)?)?;
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

    /// Frees clusters of one group, of which `run` are in use.
    fn free_run(&self, group: Group, run: Run) -> Result<(), Fault> {
        let groups = groups(self.sb)?;
        // The memory first: afterwards nothing may fail.
        let freed = AtCommit::new(Freed { group, run }, GFP_KERNEL)?;
        {
            let mut locked = groups.lock(group).ok_or(EUCLEAN)?;
            let known = locked.map(self.sb).map(|_| ());
            let result = known
                .and_then(|()| self.change(&mut locked, |buffers, _| buffers.free_clusters(run)));
            if let Err(e) = result {
                return Err(locked.distrust_clusters(e));
            }
            let map = locked.map(self.sb)?;
            if let Err(e) = map.free(run) {
                // On disk they were in use, in memory they were not: the map is wrong.
                return Err(locked.distrust_clusters(Corrupt::from(e).into()));
            }
            locked.count_clusters(run.len, false);
        }
        if let Some(at_once) = self.handle.on_commit(freed) {
            at_once.release(self.sb)?;
        }
        Ok(())
    }
}

impl Blocks for Allocation<'_> {
    type Error = Fault;

    fn allocate(&self, goal: FsBlock) -> Result<FsBlock, Fault> {
        Ok(self.take(Goal::Near(goal), 1, 1)?.0)
    }

    fn give_back(&self, block: FsBlock) {
        // In the transaction that took it: whoever replays that sees neither.
        if let Err(e) = self.free(block, 1, Was::Data) {
            let _ = e.report(self.sb, 0, "block bitmap");
            return;
        }
        self.lost.set(self.lost.get().saturating_sub(1));
        self.got.set(self.got.get().saturating_sub(1));
    }

    fn free(&self, start: FsBlock, len: u32, was: Was) -> Result<u32, Fault> {
        let geo = &self.sb.info().geometry;
        let last = start
            .checked_add(u64::from(len).saturating_sub(1))
            .ok_or(EUCLEAN)?;
        // One group at a time, from the end.
        let (group, end) = cluster_of(geo, last);
        let (first_group, first) = cluster_of(geo, start);
        let from = if first_group == group { first } else { 0 };
        let begin = first_block_of(geo, group, from).get().max(start.get());
        let blocks = last.get().saturating_sub(begin).saturating_add(1);
        let run = Run::new(from, end.saturating_sub(from).saturating_add(1));
        if was == Was::Metadata {
            for n in 0..blocks {
                let block = begin.saturating_add(n);
                self.handle.revoke(self.sb.device(), block)?;
            }
        }
        self.free_run(group, run)?;
        self.lost.set(self.lost.get().saturating_add(blocks));
        Ok(u32::try_from(blocks).unwrap_or(len))
    }
}

/// Takes an inode into use, for a directory or something else, near `parent`. `hash` spreads
/// directories (a hash of the name).
///
/// May sleep. Errors: ENOSPC when there is none; EIO, and those of a journal that has been given up.
pub(crate) fn take_inode(
    sb: &Sb,
    handle: &Handle<'_>,
    parent: &Parent,
    is_dir: bool,
    hash: u32,
) -> Result<Ino, Fault> {
    let groups = groups(sb)?;
    let geo = &sb.info().geometry;
    let totals = groups.totals();
    let mut next = if is_dir {
        orlov::place_directory(geo, groups, &totals, parent, hash)
    } else {
        orlov::place_file(geo, groups, &totals, parent)
    };
    // Each turn but the first goes one group on.
    for _ in 0..=geo.groups_count() {
        let Some(number) = next else {
            break;
        };
        if groups.free_inodes(number) != 0 {
            let mut locked = groups.lock(number).ok_or(EUCLEAN)?;
            match take_inode_of(sb, handle, &mut locked, is_dir) {
                Ok(Some(ino)) => return Ok(ino),
                Ok(None) => {}
                Err(Fault::Errno(e)) if e == ENOSPC => {}
                Err(e @ Fault::Corrupt(_)) => {
                    let e = locked.distrust_inodes(e);
                    drop(locked);
                    let _ = e.report(sb, 0, "inode bitmap");
                }
                Err(e) => return Err(e),
            }
        }
        next = orlov::next_group(geo, groups, number);
    }
    Err(ENOSPC.into())
}

fn take_inode_of(
    sb: &Sb,
    handle: &Handle<'_>,
    locked: &mut Locked<'_>,
    is_dir: bool,
) -> Result<Option<Ino>, Fault> {
    let known = locked.inode_bitmap(sb)?;
    let number = locked.number;
    let found = locked.with_desc(sb, |geo, desc| {
        let bytes = known.as_deref().unwrap_or(&[]);
        let index = find_free_inode(geo, number, desc, bytes, 0);
        Ok(index.map(|index| (index, desc.inode_bitmap())))
    })?;
    let Some((index, block)) = found else {
        return Ok(None);
    };
    let buffer = match known {
        Some(buffer) => buffer,
        None => sb.device().read(block.get())?,
    };
    let geo = &sb.info().geometry;
    change_inodes(sb, handle, locked, buffer, |buffers| {
        buffers.init_inodes()?;
        buffers.take_inode(index, is_dir)
    })?;
    locked.count_inode(is_dir, true);
    Ok(geo.ino_at(number, index))
}

/// Frees an inode's number.
///
/// May sleep. Errors: EUCLEAN (reported) when it is not in use, EIO, and those of a journal that
/// has been given up; nothing has changed then.
pub(crate) fn free_inode(sb: &Sb, handle: &Handle<'_>, ino: Ino, is_dir: bool) -> Result {
    let result = try_free_inode(sb, handle, ino, is_dir);
    result.map_err(|e| e.report(sb, ino.get().into(), "inode bitmap"))
}

fn try_free_inode(sb: &Sb, handle: &Handle<'_>, ino: Ino, is_dir: bool) -> Result<(), Fault> {
    let groups = groups(sb)?;
    let geo = &sb.info().geometry;
    let number = geo.inode_location(ino).group;
    let per_group = geo.inodes_per_group().get();
    let index = ino
        .get()
        .wrapping_sub(1)
        .checked_rem(per_group)
        .ok_or(EUCLEAN)?;
    let mut locked = groups.lock(number).ok_or(EUCLEAN)?;
    let Some(buffer) = locked.inode_bitmap(sb)? else {
        return Err(Corrupt::from(crate::ondisk::group::GroupError::BitsClear).into());
    };
    let freed = change_inodes(sb, handle, &mut locked, buffer, |buffers| {
        buffers.free_inode(index, is_dir)
    });
    freed.map_err(|e| locked.distrust_inodes(e))?;
    locked.count_inode(is_dir, false);
    Ok(())
}

/// Changes the inode bitmap, in `buffer`, and the descriptor of a group. An error means that
/// nothing has.
fn change_inodes<'h>(
    sb: &'h Sb,
    handle: &'h Handle<'_>,
    locked: &mut Locked<'_>,
    buffer: crate::linux::buffer::Buffer<'h>,
    f: impl FnOnce(&mut GroupBuffers<'_>) -> Result<(), crate::ondisk::group::GroupError>,
) -> Result<(), Fault> {
    let mut bitmap = handle.edit(buffer)?;
    let access = handle.access(locked.read_desc(sb)?)?;
    let group = locked.number;
    {
        let mut desc = access.open(&mut locked.state.desc).ok_or(EUCLEAN)?;
        let mut buffers = GroupBuffers {
            geo: &sb.info().geometry,
            group,
            desc: &mut desc,
            bitmap: &mut bitmap,
        };
        f(&mut buffers).map_err(Corrupt::from)?;
    }
    bitmap.dirty_as(crate::linux::buffer::Verified::InodeBitmap, None);
    access.dirty();
    Ok(())
}
