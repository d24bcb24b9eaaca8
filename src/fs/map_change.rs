// SPDX-License-Identifier: GPL-2.0

//! Blocks into and out of an inode's block map, one at a time: those of directories, slow symbolic
//! links and EA inodes, whose contents are metadata and are journalled.
//!
//! The map's root is in memory ([`Root`], under `data_sem`) and reaches the slot when the caller
//! stores the inode, in the same handle. What is known in memory about the map (the extent status
//! cache) is changed under `data_sem` as well, inside the sequence that readers check.
//!
//! # Clusters
//!
//! With bigalloc a block lies at the same place in its cluster on disk as in the file. The first
//! block of a cluster of the file that is mapped takes a whole cluster; the others are in it
//! already, and the last one that goes frees it. Contents of this kind are mapped and unmapped at
//! their end, but C ext4 or e2fsck may have left holes in a directory: so the map is asked which
//! other blocks of the cluster there are.
//!
//! Locking: i_rwsem of the inode exclusively, or the inode is being made or evicted; a handle;
//! `data_sem` is taken here.

use super::{
    alloc::Allocation,
    fault::Fault,
    inode::{number, MapKind, Root},
    map,
    meta::FileBounds,
    tx::{Handle, Tx},
    Sb, VfsInode,
};
use crate::{
    engine::{
        alloc::goal::{self, Goal, Neighbour},
        change::{Blocks, Was},
        credits::{Map, METADATA_AT_ONCE},
        extent_edit::{ExtentEditor, Inserted, Progress},
        indirect_edit::IndirectEditor,
        mapping::{self, Mapping},
    },
    linux::{buffer::Verified, inode_edit::InodeEdit as _},
    ondisk::{
        bounds::BlockBounds as _,
        extent::{Extent, ExtentError, Node},
        Corrupt, FileBlock, FsBlock,
    },
};
use kernel::prelude::*;

/// The map of `inode`, for the table of credits. Takes `data_sem`.
pub(crate) fn shape(inode: &VfsInode) -> Map {
    let info = inode.data();
    match info.map_kind() {
        MapKind::Extents => Map::Extents {
            depth: depth(&info.data_sem.read()),
        },
        MapKind::Indirect => Map::Indirect,
        // A directory in its inode may come to have a map.
        MapKind::None => Map::Extents { depth: 0 },
    }
}

/// Levels of an extent tree below its root, which has been verified.
pub(super) fn depth(root: &Root) -> u16 {
    Node::root(&root.block).map_or(0, |(_, depth)| depth)
}

/// Gives `inode`, an inode with a block map, a block for metadata contents at `lblk`, where there
/// is none: allocated, mapped and counted in the inode's space. Nothing is written to it.
///
/// The caller sets the size, and stores the inode in the same handle. May sleep.
///
/// Errors: ENOSPC, EIO, ENOMEM, damage of the map, and those of a journal that has been given up;
/// nothing has changed then.
pub(crate) fn map_new(
    handle: &Handle<'_>,
    inode: &VfsInode,
    lblk: FileBlock,
) -> Result<FsBlock, Fault> {
    let sb = inode.super_block();
    let geo = &sb.info().geometry;
    let info = inode.data();
    let before = match lblk.get().checked_sub(1) {
        Some(before) => Some(map::lookup(inode, FileBlock::new(before), false)?.0),
        None => None,
    };
    let within = lblk.get() & geo.cluster_ratio().wrapping_sub(1);
    // Another block of the cluster has brought this one along.
    let shared = if geo.cluster_bits() == 0 {
        None
    } else {
        let cluster = lblk.get().wrapping_shr(geo.cluster_bits());
        let first = map::mapped_cluster(inode, cluster)?;
        first.and_then(|first| first.checked_add(within.into()))
    };
    let mut root = info.data_sem.write();
    let allocation = Allocation::of_map(inode, handle);
    let neighbour = before.and_then(|m| match m.kind {
        mapping::MapKind::Written(start) => Some((m, start)),
        _ => None,
    });
    let bounds = FileBounds::new(sb.info(), inode.ino());
    let (block, taken) = match shared {
        Some(block) => {
            // The rest of a cluster need not be what it should on an image that is made up.
            if bounds.check_run(block.get(), 1).is_none() {
                return Err(Corrupt::from(ExtentError::BadRun).into());
            }
            (block, None)
        }
        None => {
            let (first, _) = allocation.take(goal(sb, inode, lblk, neighbour)?, 1, 1)?;
            let block = first.checked_add(within.into()).ok_or(EUCLEAN)?;
            (block, Some(first))
        }
    };
    if let Err(e) = insert(handle, inode, &mut root, &allocation, lblk, block) {
        if let Some(first) = taken {
            allocation.give_back(first);
        }
        return Err(e);
    }
    account(inode, &allocation);
    let known = Mapping {
        lblk,
        len: 1,
        kind: mapping::MapKind::Written(block),
    };
    remember(inode, |cache| cache.set(&known));
    Ok(block)
}

/// Takes the last block of `inode`, which is `lblk` and has metadata contents, out of its map, and
/// frees it (it is revoked). The caller sets the size, and stores the inode in the same handle. May
/// sleep.
///
/// Errors: EIO, ENOMEM, damage, and those of a journal that has been given up. The block is where
/// it was then.
pub(crate) fn unmap_last(
    handle: &Handle<'_>,
    inode: &VfsInode,
    lblk: FileBlock,
) -> Result<(), Fault> {
    let sb = inode.super_block();
    let geo = &sb.info().geometry;
    let info = inode.data();
    let first = FileBlock::new(lblk.get() & !geo.cluster_ratio().wrapping_sub(1));
    let keeps_cluster = first < lblk && map::first_mapped(inode, first, lblk)?.is_some();
    let mut root = info.data_sem.write();
    let allocation = Allocation::new(sb, handle);
    let contents = Contents {
        allocation: &allocation,
        handle,
        sb,
        keeps_cluster,
    };
    let mut result = remove(handle, inode, &mut root, &contents, lblk);
    if result.is_err() {
        // It may be that the block has gone, and a block of the map that it leaves empty could not.
        let found = map::find(inode, info, &root, lblk);
        if found.is_ok_and(|m| m.kind == mapping::MapKind::Hole) {
            result = Ok(());
        }
    }
    account(inode, &allocation);
    remember(inode, |cache| cache.remove(lblk, FileBlock::END));
    result
}

/// Where a block for `lblk` should come from: behind the one before it, or near the inode.
fn goal(
    sb: &Sb,
    inode: &VfsInode,
    lblk: FileBlock,
    before: Option<(Mapping, FsBlock)>,
) -> Result<Goal, Fault> {
    let geo = &sb.info().geometry;
    let beside = before.and_then(|(m, start)| {
        let neighbour = Neighbour {
            lblk: m.lblk,
            len: m.len,
            start,
        };
        goal::beside(geo, lblk, neighbour)
    });
    if let Some(goal) = beside {
        return Ok(goal);
    }
    let group = geo.inode_location(number(inode)?).group;
    Ok(Goal::Near(goal::home(geo, group, false, 0)))
}

/// Puts one block into the map.
fn insert(
    handle: &Handle<'_>,
    inode: &VfsInode,
    root: &mut Root,
    allocation: &Allocation<'_>,
    lblk: FileBlock,
    block: FsBlock,
) -> Result<(), Fault> {
    let sb = inode.super_block();
    let info = inode.data();
    let bounds = FileBounds::new(sb.info(), inode.ino());
    let mapped = match info.map_kind() {
        MapKind::Extents => {
            let tx = Tx::new(handle, sb.device(), Verified::Extent);
            let new = Extent {
                first: lblk,
                len: 1,
                start: block,
                unwritten: false,
            };
            ExtentEditor::new(&tx, allocation, &bounds, info.csum_seed(), sb.block_size())
                .insert(&mut root.block, &new)?
                == Inserted::Done
        }
        MapKind::Indirect => {
            let tx = Tx::new(handle, sb.device(), Verified::Indirect);
            IndirectEditor::new(&tx, allocation, &bounds, sb.info().pointer_bits).insert(
                &mut root.block,
                lblk,
                1,
                block,
            )? == 1
        }
        MapKind::None => return Err(EUCLEAN.into()),
    };
    if mapped {
        Ok(())
    } else {
        // A block behind the end of the contents that is mapped all the same.
        Err(Corrupt::from(ExtentError::Unsorted).into())
    }
}

/// Takes everything from `lblk` on out of the map.
fn remove(
    handle: &Handle<'_>,
    inode: &VfsInode,
    root: &mut Root,
    contents: &Contents<'_>,
    lblk: FileBlock,
) -> Result<(), Fault> {
    let sb = inode.super_block();
    let info = inode.data();
    let bounds = FileBounds::new(sb.info(), inode.ino());
    let mut to = FileBlock::END;
    // One block goes, and then perhaps the root takes the place of its only child.
    for _ in 0..2 {
        let progress =
            match info.map_kind() {
                MapKind::Extents => {
                    let tx = Tx::new(handle, sb.device(), Verified::Extent);
                    ExtentEditor::new(&tx, contents, &bounds, info.csum_seed(), sb.block_size())
                        .remove(&mut root.block, lblk, to, 0)
                }
                MapKind::Indirect => {
                    let tx = Tx::new(handle, sb.device(), Verified::Indirect);
                    IndirectEditor::new(&tx, contents, &bounds, sb.info().pointer_bits).remove(
                        &mut root.block,
                        lblk,
                        to,
                        0,
                    )
                }
                MapKind::None => return Ok(()),
            };
        match progress {
            Ok(Progress::Done) => break,
            Ok(Progress::More(end)) => to = end,
            // What was to go has gone: only the tree is a level higher than it need be.
            Err(_) if to == lblk => break,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Counts what the inode has got and lost.
pub(super) fn account(inode: &VfsInode, allocation: &Allocation<'_>) {
    let (got, lost) = allocation.sectors();
    if got != 0 || lost != 0 {
        inode.update_sectors(|old| old.saturating_add(got).saturating_sub(lost));
    }
}

/// Changes what is known of the map; `data_sem` is held for writing. Without memory nothing is known
/// any more: the tree on disk can be asked.
pub(super) fn remember(
    inode: &VfsInode,
    change: impl FnOnce(
        &crate::engine::extent_map::ExtentMap<'_, crate::linux::maple::RangeTree>,
    ) -> Result,
) {
    let info = inode.data();
    let cache = info.extent_map();
    info.seq.write(|| {
        // Contents that are metadata are never delayed.
        if change(&cache).is_err() && cache.settled() {
            cache.clear();
        }
    });
}

/// Frees contents that are metadata: each block is revoked, and no more at a time than the credits
/// are for.
struct Contents<'a> {
    allocation: &'a Allocation<'a>,
    handle: &'a Handle<'a>,
    sb: &'a Sb,
    /// The block's cluster has others of the inode's, and stays.
    keeps_cluster: bool,
}

impl Blocks for Contents<'_> {
    type Error = Fault;

    fn allocate(&self, goal: FsBlock) -> Result<FsBlock, Fault> {
        self.allocation.allocate(goal)
    }

    fn give_back(&self, block: FsBlock) {
        self.allocation.give_back(block);
    }

    fn free(&self, start: FsBlock, len: u32, was: Was) -> Result<u32, Fault> {
        if was == Was::Metadata {
            return self.allocation.free(start, len, was);
        }
        let at_once = len.min(METADATA_AT_ONCE);
        let skip = len.saturating_sub(at_once);
        let start = start.checked_add(skip.into()).ok_or(EUCLEAN)?;
        if self.keeps_cluster {
            for n in 0..at_once {
                let block = start.get().saturating_add(n.into());
                self.handle.revoke(self.sb.device(), block)?;
            }
            return Ok(at_once);
        }
        self.allocation.free(start, at_once, Was::Metadata)
    }
}
