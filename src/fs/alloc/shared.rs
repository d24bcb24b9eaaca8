// SPDX-License-Identifier: GPL-2.0

//! Clusters in flight of which several writes have parts: bigalloc.
//!
//! A cluster belongs to one cluster's worth of a file, so blocks of it that are written at
//! different times go to the same cluster on disk, in flight or in use. The table has every cluster
//! that anything in flight is in, by its place and by its owner, with the number of its users. The first
//! completion settles it; the last user that goes, if it was not settled, frees it.
//!
//! Who looks for a place enters the table first and looks at the map then: a cluster that came to
//! be mapped and left the table before was in the map by then, so the two never miss each other. If
//! the map says otherwise than the table, the place is given back and the search begins anew.
//!
//! A cluster whose blocks are taken out of the map while others of it are in flight stays: it is
//! free on disk and in flight again ([`unmap`]).
//!
//! Where clusters are blocks none of this is needed: a block in flight has one owner.
//!
//! Locking: the table's mutex, before groups' locks and the sets of windows. `data_sem` comes
//! before it.

use super::{
    groups,
    place::{
        clear_on_disk, clusters_of, set_on_disk, take_clusters, Clusters, Lack, Place, Wanted,
    },
    window,
};
use crate::{
    engine::alloc::{first_block_of, Run},
    fs::{map, tx::Handle, Sb, VfsInode},
    ondisk::{FsBlock, Geometry, Group, Ino},
};
use kernel::{new_mutex, prelude::*, rbtree::RBTree, sync::Mutex};

/// How often a search begins anew at most: each time somebody else has got a place.
const TURNS: u32 = 1000;

/// A cluster of a file: the inode number, and which.
type Owner = (u32, u32);

/// What is known of a cluster in flight.
struct Entry {
    owner: Owner,
    /// How many runs of blocks have part of it.
    users: u32,
    state: State,
    /// Whether it is counted as promised.
    promised: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Free on disk.
    Flying,
    /// Set on disk, by a completion that is about to map it.
    Settling,
    /// In use.
    Settled,
}

struct Table {
    /// By the first block.
    places: RBTree<u64, Entry>,
    /// The first block, by owner.
    owners: RBTree<Owner, u64>,
}

/// The clusters in flight of a file system. Empty where clusters are blocks.
pub(crate) struct Shared(Pin<KBox<Mutex<Table>>>);

impl Shared {
    /// None.
    ///
    /// Errors: ENOMEM.
    pub(crate) fn new() -> Result<Self> {
        let table = Table {
            places: RBTree::new(),
            owners: RBTree::new(),
        };
        let table = new_mutex!(table, "rext4 shared clusters");
        Ok(Self(KBox::pin_init(table, GFP_KERNEL)?))
    }
}

impl Table {
    /// One user more for the cluster of `owner`, if it is in flight: its first block.
    fn join(&mut self, owner: Owner) -> Option<u64> {
        let base = *self.owners.get(&owner)?;
        let entry = self.places.get_mut(&base)?;
        entry.users = entry.users.saturating_add(1);
        Some(base)
    }

    /// A cluster is in flight from now on, with one user. False if its owner has one already. In a
    /// scope without recursion into file systems.
    ///
    /// Errors: ENOMEM.
    fn enter(&mut self, base: u64, owner: Owner, state: State) -> Result<bool> {
        if self.owners.get(&owner).is_some() || self.places.get(&base).is_some() {
            return Ok(false);
        }
        let entry = Entry {
            owner,
            users: 1,
            state,
            promised: false,
        };
        self.owners.try_create_and_insert(owner, base, GFP_KERNEL)?;
        if let Err(e) = self.places.try_create_and_insert(base, entry, GFP_KERNEL) {
            self.owners.remove(&owner);
            return Err(e);
        }
        Ok(true)
    }

    /// A user goes. If it was the last one, what is known of the cluster.
    fn leave(&mut self, base: u64) -> Option<Entry> {
        let entry = self.places.get_mut(&base)?;
        entry.users = entry.users.saturating_sub(1);
        if entry.users != 0 {
            return None;
        }
        let entry = self.places.remove(&base)?;
        self.owners.remove(&entry.owner);
        Some(entry)
    }
}

/// The first blocks of the clusters of a run.
fn bases(geo: &Geometry, group: Group, run: Run) -> impl Iterator<Item = (u32, u64)> + '_ {
    (run.start..run.end()).map(move |at| (at, first_block_of(geo, group, at).get()))
}

/// [`map::mapped_cluster`] as a number.
fn mapped_cluster(inode: &VfsInode, cluster: u32) -> Result<Option<u64>> {
    Ok(map::mapped_cluster(inode, cluster)?.map(FsBlock::get))
}

/// [`Place::take`] where clusters have several blocks.
pub(super) fn take(inode: &VfsInode, ino: Ino, wanted: &Wanted) -> Result<Place, Lack> {
    for _ in 0..TURNS {
        if let Some(place) = try_take(inode, ino, wanted)? {
            return Ok(place);
        }
    }
    Err(Lack::Failed(EBUSY))
}

/// One try: `None` if somebody else was faster.
fn try_take(inode: &VfsInode, ino: Ino, wanted: &Wanted) -> Result<Option<Place>, Lack> {
    let sb = inode.super_block();
    let geo = &sb.info().geometry;
    let table = &groups(sb)?.shared.0;
    let (bits, mask) = (geo.cluster_bits() & 31, geo.cluster_ratio().wrapping_sub(1));
    let lblk = wanted.lblk.get();
    let (first, within) = (lblk >> bits, lblk & mask);
    let owner = (ino.get(), first);
    let len = wanted.len.max(1);
    let in_first = len.min(geo.cluster_ratio().saturating_sub(within));
    let at = |base: u64| FsBlock::new(base.saturating_add(within.into()));

    let joined = table.lock().join(owner);
    if let Some(base) = joined {
        return check(inode, first, Some(base), Place::new(at(base), in_first, 0));
    }
    if let Some(base) = mapped_cluster(inode, first)? {
        if !table.lock().enter(base, owner, State::Settled)? {
            return Ok(None);
        }
        let place = Place::new(at(base), in_first, 0);
        // It may have been unmapped, and somebody else's, before it was in the table.
        return match mapped_cluster(inode, first) {
            Ok(Some(now)) if now == base => Ok(Some(place)),
            result => {
                place.give_back(sb);
                result?;
                Ok(None)
            }
        };
    }

    let clusters = |blocks: u32| within.saturating_add(blocks).saturating_add(mask) >> bits;
    let whole = |blocks: u32| within.saturating_add(blocks) >> bits;
    let mut now = clusters(len);
    let last = first.saturating_add(now.saturating_sub(1));
    // What is behind these in the last cluster may have its place.
    let ends_inside = within.saturating_add(len) & mask != 0;
    let other = now > 1 && ends_inside && mapped_cluster(inode, last)?.is_some();
    if other {
        now = now.saturating_sub(1);
    }
    let hole = whole(wanted.hole.max(len)).max(now);
    let asked = Clusters {
        inode,
        ino,
        first,
        now,
        soon: clusters(wanted.dirty.max(len)).min(hole),
        hole,
        goal: wanted.goal,
    };
    let (group, run) = take_clusters(sb, &asked)?;
    let mut entered = 0u32;
    let mut result = Ok(());
    {
        let mut table = table.lock();
        for (at, base) in bases(geo, group, run) {
            let nr = first.wrapping_add(at.wrapping_sub(run.start));
            match table.enter(base, (ino.get(), nr), State::Flying) {
                Ok(true) => entered = entered.saturating_add(1),
                Ok(false) => break,
                Err(e) => {
                    result = Err(e);
                    break;
                }
            }
        }
    }
    let unused = Run::new(
        run.start.saturating_add(entered),
        run.len.saturating_sub(entered),
    );
    window::free(sb, group, unused);
    if entered == 0 {
        result?;
        return Ok(None);
    }
    let blocks = entered.wrapping_shl(bits).saturating_sub(within).min(len);
    let start = at(first_block_of(geo, group, run.start).get());
    let place = Place::new(start, blocks, entered);
    if entered == now && !other && now > 1 && ends_inside {
        match mapped_cluster(inode, last) {
            Ok(None) => {}
            result => {
                place.give_back(sb);
                result?;
                return Ok(None);
            }
        }
    }
    check(inode, first, None, place)
}

/// Whether the first cluster of a place that has been entered is not mapped elsewhere, as that of
/// somebody who was faster; `joined` is the cluster of who was in the table before.
fn check(
    inode: &VfsInode,
    first: u32,
    joined: Option<u64>,
    place: Place,
) -> Result<Option<Place>, Lack> {
    match mapped_cluster(inode, first) {
        Ok(None) => Ok(Some(place)),
        Ok(base) if base == joined => Ok(Some(place)),
        result => {
            place.give_back(inode.super_block());
            result?;
            Ok(None)
        }
    }
}

/// What blocks are in that were found free is to be counted as promised, unless somebody else has
/// settled it already: how many clusters.
pub(super) fn promised(sb: &Sb, start: FsBlock, blocks: u32) -> u32 {
    let mut count = 0u32;
    each(sb, start, blocks, |table, base| {
        if let Some(entry) = table.places.get_mut(&base) {
            if entry.state == State::Flying && !entry.promised {
                entry.promised = true;
                count = count.saturating_add(1);
            }
        }
    });
    count
}

/// The cluster of a block has one user more if the block is inside of it: a run has been split there.
pub(super) fn split(sb: &Sb, at: FsBlock) {
    let mask = sb.info().geometry.cluster_ratio().wrapping_sub(1);
    if at.get() & u64::from(mask) == 0 {
        return;
    }
    each(sb, at, 1, |table, base| {
        if let Some(entry) = table.places.get_mut(&base) {
            entry.users = entry.users.saturating_add(1);
        }
    });
}

/// Takes back a [`split`]: the run is one again.
pub(super) fn unsplit(sb: &Sb, at: FsBlock) {
    let mask = sb.info().geometry.cluster_ratio().wrapping_sub(1);
    if at.get() & u64::from(mask) == 0 {
        return;
    }
    each(sb, at, 1, |table, base| {
        if let Some(entry) = table.places.get_mut(&base) {
            entry.users = entry.users.saturating_sub(1).max(1);
        }
    });
}

/// Calls `f` for the clusters that blocks are in, with the table locked. Not where clusters are blocks.
fn each(sb: &Sb, start: FsBlock, blocks: u32, mut f: impl FnMut(&mut Table, u64)) {
    let geo = &sb.info().geometry;
    if geo.cluster_bits() == 0 {
        return;
    }
    if let Ok(groups) = groups(sb) {
        let (group, run) = clusters_of(geo, start, blocks);
        let mut table = groups.shared.0.lock();
        for (_, base) in bases(geo, group, run) {
            f(&mut table, base);
        }
    }
}

/// A user of the clusters that blocks are in goes.
pub(super) fn give_back(sb: &Sb, start: FsBlock, blocks: u32) {
    let geo = &sb.info().geometry;
    let Ok(groups) = groups(sb) else {
        return;
    };
    let (group, run) = clusters_of(geo, start, blocks);
    let mut table = groups.shared.0.lock();
    for (at, base) in bases(geo, group, run) {
        let Some(entry) = table.leave(base) else {
            continue;
        };
        if entry.promised {
            groups.promised.sub(1);
        }
        if entry.state == State::Flying {
            window::free(sb, group, Run::new(at, 1));
        }
    }
}

/// Sets those clusters of a run on disk that nobody has set yet: how many.
///
/// Errors: as [`set_on_disk`]; nothing has changed then.
pub(super) fn settle_shared(sb: &Sb, handle: &Handle<'_>, group: Group, run: Run) -> Result<u32> {
    let groups = groups(sb)?;
    let geo = &sb.info().geometry;
    let mut table = groups.shared.0.lock();
    let flying = |table: &Table, base| {
        let entry = table.places.get(&base);
        entry.is_some_and(|entry| entry.state == State::Flying)
    };
    let mut count = 0u32;
    let mut at = run.start;
    // Each turn goes on by a cluster at least.
    while at < run.end() {
        let rest = Run::new(at, run.end().saturating_sub(at));
        let mut len = 0u32;
        for (_, base) in bases(geo, group, rest).take_while(|(_, base)| flying(&table, *base)) {
            let _ = base;
            len = len.saturating_add(1);
        }
        if len == 0 {
            at = at.saturating_add(1);
            continue;
        }
        let part = rest.first(len);
        if let Err(e) = set_on_disk(sb, handle, group, part) {
            drop(table);
            let _ = unsettle_shared(sb, handle, group, run);
            return Err(e);
        }
        for (_, base) in bases(geo, group, part) {
            if let Some(entry) = table.places.get_mut(&base) {
                entry.state = State::Settling;
                if core::mem::replace(&mut entry.promised, false) {
                    groups.promised.sub(1);
                }
            }
        }
        count = count.saturating_add(len);
        at = part.end();
    }
    Ok(count)
}

/// Undoes [`settle_shared`].
///
/// Errors: as [`clear_on_disk`].
pub(super) fn unsettle_shared(sb: &Sb, handle: &Handle<'_>, group: Group, run: Run) -> Result {
    let groups = groups(sb)?;
    let geo = &sb.info().geometry;
    let mut table = groups.shared.0.lock();
    for (at, base) in bases(geo, group, run) {
        let Some(entry) = table.places.get_mut(&base) else {
            continue;
        };
        if entry.state == State::Settling {
            clear_on_disk(sb, handle, group, Run::new(at, 1))?;
            entry.state = State::Flying;
            entry.promised = true;
            groups.promised.add(1);
        }
    }
    Ok(())
}

/// Blocks have been mapped: their clusters are in use, and have a user less.
pub(super) fn mapped(sb: &Sb, start: FsBlock, blocks: u32) {
    each(sb, start, blocks, |table, base| {
        if let Some(entry) = table.places.get_mut(&base) {
            entry.state = State::Settled;
            table.leave(base);
        }
    });
}

/// How many clusters at the end of a run are alike: in flight as well (true), or not.
pub(super) fn alike(sb: &Sb, group: Group, run: Run) -> (bool, u32) {
    let geo = &sb.info().geometry;
    if geo.cluster_bits() == 0 {
        return (false, run.len);
    }
    let Ok(groups) = groups(sb) else {
        return (false, run.len);
    };
    let table = groups.shared.0.lock();
    if table.places.is_empty() {
        return (false, run.len);
    }
    let is_in = |at: u32| {
        let base = first_block_of(geo, group, at).get();
        table.places.get(&base).is_some()
    };
    let last = is_in(run.end().saturating_sub(1));
    let mut len = 0u32;
    for _ in (run.start..run.end())
        .rev()
        .take_while(|at| is_in(*at) == last)
    {
        len = len.saturating_add(1);
    }
    (last, len)
}

/// Clusters that are in flight as well have been taken out of the map: they are free on disk, and stay
/// in flight. False if one of them is not in flight any more: nothing has changed then.
///
/// Errors: as [`clear_on_disk`].
pub(super) fn unmap(sb: &Sb, handle: &Handle<'_>, group: Group, run: Run) -> Result<bool> {
    let groups = groups(sb)?;
    let geo = &sb.info().geometry;
    let mut table = groups.shared.0.lock();
    if !bases(geo, group, run).all(|(_, base)| table.places.get(&base).is_some()) {
        return Ok(false);
    }
    clear_on_disk(sb, handle, group, run)?;
    for (_, base) in bases(geo, group, run) {
        if let Some(entry) = table.places.get_mut(&base) {
            entry.state = State::Flying;
            entry.promised = true;
            groups.promised.add(1);
        }
    }
    Ok(true)
}
