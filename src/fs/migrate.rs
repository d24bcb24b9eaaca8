// SPDX-License-Identifier: GPL-2.0

//! EXT4_IOC_MIGRATE: a file that is mapped by direct and indirect blocks gets an extent tree.
//!
//! The data stays where it is. A tree of the same runs is built, and the tables are freed, in one
//! transaction: a crash leaves the one map or the other. A file whose map is too large for that keeps
//! the map it has.
//!
//! Locking: i_rwsem exclusively, and the invalidate lock, so that nothing comes to be mapped; everything
//! that is dirty has been written before. In the handle xattr_sem and `data_sem`, which protect what
//! kind of map it is.

use super::{
    alloc::Allocation,
    fault::Fault,
    handle,
    inode::{MapKind, Root},
    inode_write,
    map_change::account,
    meta::{FileBounds, Meta},
    tx::{Handle, Tx},
    vec, Rext4Fs, VfsInode,
};
use crate::{
    engine::{
        change::{Blocks, Was},
        credits::{migration_blocks, Op},
        extent_edit::{ExtentEditor, Inserted},
        indirect_walk::{IndirectMap, Part},
        mapping::{MapKind as Kind, Mapping},
    },
    linux::{buffer::Verified, jbd2::NoHandle, nofs::NoFs, open_file::OpenFile},
    ondisk::{
        extent::{
            edit::{max_len, EMPTY_ROOT},
            Extent, ExtentError,
        },
        features::Incompat,
        inode::InodeFlags,
        Corrupt, FsBlock,
    },
};
use core::cell::Cell;
use kernel::prelude::*;

/// Gives the file an extent tree.
///
/// Errors: EACCES; EINVAL for a file that has one or whose contents are in its inode, and on a file
/// system without extents; EOPNOTSUPP with bigalloc; ENOSPC for a map that does not fit a transaction,
/// and when there is no space for the tree; EAGAIN, EROFS, EIO, EUCLEAN (reported), ENOMEM.
pub(super) fn migrate(file: &OpenFile<Rext4Fs>) -> Result<isize> {
    let inode = file.inode();
    if !file.idmap().owner_or_capable(inode) {
        return Err(EACCES);
    }
    let _write = file.want_write()?;
    let mut outside = NoHandle::here()?;
    inode.with_lock(|| with_lock(inode, &mut outside))?;
    Ok(0)
}

fn with_lock(inode: &VfsInode, outside: &mut NoHandle) -> Result {
    let sb = inode.super_block();
    let geo = &sb.info().geometry;
    let info = inode.data();
    if !geo.has(Incompat::EXTENTS) || info.map_kind() != MapKind::Indirect {
        return Err(EINVAL);
    }
    if geo.cluster_bits() != 0 {
        return Err(EOPNOTSUPP);
    }
    handle::may_write(sb)?;
    inode.wait_for_direct_io(outside);
    let _invalidate = inode.lock_invalidate();
    if inode.is_regular() {
        inode.write_and_wait(outside, 0, u64::MAX)?;
    }
    let most = sb
        .journal()
        .map_or(u32::MAX, |journal| journal.max_credits());
    let Size { runs, tables } = {
        let root = info.data_sem.read();
        if info.delayed() != 0 || !info.extent_map().settled() {
            return Err(EAGAIN);
        }
        let _nofs = NoFs::new();
        let size = measure(inode, &root, most);
        size.map_err(|e| e.report_inode(inode, "block map"))?
    };
    // What might have to be undone, and what is to be freed.
    let new = KVVec::with_capacity(migration_blocks(runs) as usize, GFP_KERNEL)?;
    let old = KVVec::with_capacity(tables as usize, GFP_KERNEL)?;
    let handle = handle::begin(sb, outside, Op::Migrate { runs, tables })?;
    let result = change(&handle, inode, new, old);
    let result = result.map_err(|e| e.report_inode(inode, "block map"));
    result.and(handle.stop())
}

/// How large a map is: the extents that its runs come to, and its tables.
struct Size {
    runs: u32,
    tables: u32,
}

/// Errors: ENOSPC for more than `most` tables, which no transaction has room for; damage, EIO, ENOMEM.
fn measure(inode: &VfsInode, root: &Root, most: u32) -> Result<Size, Fault> {
    let (mut runs, mut tables) = (0u32, 0u32);
    let mut extents = Extents::default();
    each(inode, root, &mut |part| {
        match part {
            Part::Data(run) => extents.add(&run, &mut |_| {
                runs = runs.saturating_add(1);
                Ok(())
            })?,
            Part::Table(_) => tables = tables.saturating_add(1),
        }
        if tables > most {
            return Err(ENOSPC.into());
        }
        Ok(())
    })?;
    extents.end(&mut |_| {
        runs = runs.saturating_add(1);
        Ok(())
    })?;
    Ok(Size { runs, tables })
}

/// Visits the map of `inode`, which has indirect blocks.
fn each(
    inode: &VfsInode,
    root: &Root,
    visit: &mut impl FnMut(Part) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let sb = inode.super_block();
    let bounds = FileBounds::new(sb.info(), inode.ino());
    let map = IndirectMap::new(&root.block, sb.info().pointer_bits, &bounds);
    map.for_each(&Meta::new(sb, Verified::Indirect), visit)
}

/// Puts runs together to extents.
#[derive(Default)]
struct Extents(Option<Extent>);

impl Extents {
    /// The next run.
    fn add(
        &mut self,
        run: &Mapping,
        full: &mut impl FnMut(&Extent) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut rest = Some(*run);
        // Each turn fills an extent, or uses up the run.
        while let Some(run) = rest {
            let Kind::Written(start) = run.kind else {
                return Ok(());
            };
            let open = self.0.take().filter(|open| open.len < max_len(false));
            let mut extent = match open {
                Some(open) if continues(&open, &run, start) => open,
                Some(open) => {
                    full(&open)?;
                    Extent {
                        first: run.lblk,
                        len: 0,
                        start,
                        unwritten: false,
                    }
                }
                None => Extent {
                    first: run.lblk,
                    len: 0,
                    start,
                    unwritten: false,
                },
            };
            let take = run.len.min(max_len(false).saturating_sub(extent.len));
            extent.len = extent.len.saturating_add(take);
            let at = run.lblk.saturating_add(take);
            rest = run.clip(at, run.end()).filter(|rest| rest.len != 0);
            if extent.len == max_len(false) {
                full(&extent)?;
            } else {
                self.0 = Some(extent);
            }
        }
        Ok(())
    }

    /// There are no more.
    fn end(&mut self, full: &mut impl FnMut(&Extent) -> Result<(), Fault>) -> Result<(), Fault> {
        match self.0.take() {
            Some(open) => full(&open),
            None => Ok(()),
        }
    }
}

/// Whether a run goes on where an extent ends, in the file and on the device.
fn continues(extent: &Extent, run: &Mapping, start: FsBlock) -> bool {
    extent.first.saturating_add(extent.len) == run.lblk
        && extent.start.checked_add(extent.len.into()) == Some(start)
}

/// Builds the tree and frees the tables. `new` and `old` have room for the blocks of both.
///
/// Errors: ENOSPC, EIO, ENOMEM, damage, and those of a journal that has been given up; the file has the
/// map that it had then.
fn change(
    handle: &Handle<'_>,
    inode: &VfsInode,
    new: KVVec<FsBlock>,
    mut old: KVVec<FsBlock>,
) -> Result<(), Fault> {
    let sb = inode.super_block();
    let info = inode.data();
    let slot = inode_write::prepare(handle, inode)?;
    let _kind = info.xattr_sem.write();
    let mut root = info.data_sem.write();
    let allocation = Allocation::new(sb, handle);
    let building = Building {
        allocation: &allocation,
        taken: Cell::new(new),
    };
    let mut tree = EMPTY_ROOT;
    let built = {
        let bounds = FileBounds::new(sb.info(), inode.ino());
        let tx = Tx::new(handle, sb.device(), Verified::Extent);
        let editor = ExtentEditor::new(&tx, &building, &bounds, info.csum_seed, sb.block_size());
        let mut insert = |extent: &Extent| match editor.insert(&mut tree, extent)? {
            Inserted::Done => Ok(()),
            Inserted::Taken(_) => Err(Corrupt::from(ExtentError::Unsorted).into()),
        };
        let mut extents = Extents::default();
        let read = each(inode, &root, &mut |part| match part {
            Part::Data(run) => extents.add(&run, &mut insert),
            Part::Table(block) => Ok(vec::push(&mut old, block)?),
        });
        read.and_then(|()| extents.end(&mut insert))
    };
    // Nothing but a journal that has been given up keeps a block from being freed.
    let useless = if built.is_ok() {
        info.seq.write(|| {
            root.block = tree;
            info.set_map_kind(MapKind::Extents);
            info.set_flags(info.flags().union(InodeFlags::EXTENTS));
        });
        old
    } else {
        building.taken.take()
    };
    let mut freed = Ok(());
    for block in useless.iter().filter(|block| **block != NONE) {
        let result = allocation.free(*block, 1, Was::Metadata);
        freed = freed.and(result.map(|_| ()));
    }
    account(inode, &allocation);
    let stored = slot.store_mapped(&root);
    inode_write::note_change(handle, inode, true);
    built?;
    freed?;
    Ok(stored?)
}

/// Blocks for the new tree, all of which are remembered.
struct Building<'a> {
    allocation: &'a Allocation<'a>,
    taken: Cell<KVVec<FsBlock>>,
}

impl Building<'_> {
    fn with<R>(&self, f: impl FnOnce(&mut KVVec<FsBlock>) -> R) -> R {
        let mut taken = self.taken.take();
        let result = f(&mut taken);
        self.taken.set(taken);
        result
    }
}

/// No block: in place of one that was given back.
const NONE: FsBlock = FsBlock::new(0);

/// How many blocks a change of a tree takes at most, and then some.
const RECENT: usize = 16;

/// Puts `by` in the place of `old`, if that is among the last ones. Whether it was.
fn replace(taken: &mut KVVec<FsBlock>, old: FsBlock, by: FsBlock) -> bool {
    let mut recent = taken.iter_mut().rev().take(RECENT);
    match recent.find(|block| **block == old) {
        Some(block) => {
            *block = by;
            true
        }
        None => false,
    }
}

impl Blocks for Building<'_> {
    type Error = Fault;

    fn allocate(&self, goal: FsBlock) -> Result<FsBlock, Fault> {
        let block = self.allocation.allocate(goal)?;
        let remembered =
            self.with(|taken| replace(taken, NONE, block) || vec::push(taken, block).is_ok());
        if !remembered {
            self.allocation.give_back(block);
            return Err(ENOSPC.into());
        }
        Ok(block)
    }

    fn give_back(&self, block: FsBlock) {
        self.with(|taken| replace(taken, block, NONE));
        self.allocation.give_back(block);
    }

    /// Nothing is removed from the tree.
    fn free(&self, _start: FsBlock, _len: u32, _was: Was) -> Result<u32, Fault> {
        Err(EUCLEAN.into())
    }
}
