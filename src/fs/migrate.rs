// SPDX-License-Identifier: GPL-2.0

//! EXT4_IOC_MIGRATE and `chattr +e`: a file that is mapped by direct and indirect blocks gets an extent
//! tree. FS_IOC_SETFLAGS without the flag has it go back, for a file so small that it needs no tables.
//!
//! The data stays where it is. A tree of the same runs is built, and the tables are freed, in one
//! transaction: a crash leaves the one map or the other. A file whose map is too large for that keeps
//! the map it has.
//!
//! Where the tables are is found out before anything is changed. So a block bitmap that has one of them
//! free does not make it a node of the tree while it is needed.
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
        sort::sort_by_key,
    },
    linux::{buffer::Verified, jbd2::NoHandle, nofs::NoFs, open_file::OpenFile, sched::relax},
    ondisk::{
        extent::{
            edit::{max_len, EMPTY_ROOT},
            Extent, ExtentError, Node, ROOT_SIZE,
        },
        features::Incompat,
        indirect::IndirectError,
        inode::InodeFlags,
        search::partition_point,
        Corrupt, FileBlock, FsBlock,
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

/// [`migrate`], with i_rwsem held, and for who may do that.
///
/// Errors: as there, but EACCES; ERESTARTSYS when the task is to die.
pub(super) fn with_lock(inode: &VfsInode, outside: &mut NoHandle) -> Result {
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
    let Size { runs, tables: old } = {
        let root = info.data_sem.read();
        if info.delayed() != 0 || !info.extent_map().settled() {
            return Err(EAGAIN);
        }
        let _nofs = NoFs::new();
        let size = measure(inode, &root, most);
        size.map_err(|e| e.report_inode(inode, "block map"))?
    };
    // What might have to be undone.
    let new = KVVec::with_capacity(migration_blocks(runs) as usize, GFP_KERNEL)?;
    let tables = u32::try_from(old.len()).unwrap_or(u32::MAX);
    let handle = handle::begin(sb, outside, Op::Migrate { runs, tables })?;
    let result = change(&handle, inode, new, &old);
    let result = result.map_err(|e| e.report_inode(inode, "block map"));
    result.and(handle.stop())
}

/// Blocks that an inode has pointers for itself.
const DIRECT: u32 = 12;

/// Gives the file, whose i_rwsem is held, a block map again: one extent at most, of blocks that the inode
/// itself has pointers for.
///
/// Errors: EINVAL for a file that has no tree, and on a file system without extents; EOPNOTSUPP for any
/// that has more, with bigalloc, and where blocks' numbers need not fit; EAGAIN, EROFS, EIO, EUCLEAN
/// (reported), ENOMEM.
pub(super) fn to_blocks(inode: &VfsInode, outside: &mut NoHandle) -> Result {
    let sb = inode.super_block();
    let geo = &sb.info().geometry;
    let info = inode.data();
    if !geo.has(Incompat::EXTENTS) || info.map_kind() != MapKind::Extents {
        return Err(EINVAL);
    }
    let small = inode.size() <= geo.max_indirect_bytes();
    if geo.cluster_bits() != 0 || geo.blocks_count() > u32::MAX.into() || !small {
        return Err(EOPNOTSUPP);
    }
    handle::may_write(sb)?;
    inode.wait_for_direct_io(outside);
    let _invalidate = inode.lock_invalidate();
    if inode.is_regular() {
        inode.write_and_wait(outside, 0, u64::MAX)?;
    }
    let handle = handle::begin(sb, outside, Op::UpdateInode)?;
    let result = point_at(&handle, inode);
    let result = result.map_err(|e| e.report_inode(inode, "block map"));
    result.and(handle.stop())
}

/// Puts pointers in the place of the tree.
fn point_at(handle: &Handle<'_>, inode: &VfsInode) -> Result<(), Fault> {
    let info = inode.data();
    let slot = inode_write::prepare(handle, inode)?;
    let _kind = info.xattr_sem.write();
    let mut root = info.data_sem.write();
    if info.delayed() != 0 || !info.extent_map().settled() {
        return Err(EAGAIN.into());
    }
    let mut block = [0u8; ROOT_SIZE];
    let entries = match Node::root(&root.block).map_err(Corrupt::from)? {
        (Node::Leaf(entries), _) if entries.len() <= 1 => entries,
        _ => return Err(EOPNOTSUPP.into()),
    };
    if let Some(raw) = entries.get(0) {
        let bounds = FileBounds::new(inode.super_block().info(), inode.ino());
        let extent = raw.check(&bounds).map_err(Corrupt::from)?;
        if extent.unwritten || extent.end() > FileBlock::new(DIRECT) {
            return Err(EOPNOTSUPP.into());
        }
        let pointers = block.chunks_exact_mut(4).skip(extent.first.get() as usize);
        let mut at = extent.start;
        for pointer in pointers.take(extent.len as usize) {
            let number = u32::try_from(at.get()).map_err(|_| EOPNOTSUPP)?;
            if let Some(bytes) = pointer.first_chunk_mut() {
                *bytes = number.to_le_bytes();
            }
            at = at.checked_add(1).ok_or(EUCLEAN)?;
        }
    }
    info.seq.write(|| {
        root.block = block;
        info.set_map_kind(MapKind::Indirect);
        info.change_flags(InodeFlags::EXTENTS, InodeFlags::from_bits(0));
    });
    let stored = slot.store_mapped(&root);
    inode_write::note_change(handle, inode, true);
    Ok(stored?)
}

/// How large a map is.
struct Size {
    /// The extents that its runs come to.
    runs: u32,
    /// Its tables, in the order of their numbers.
    tables: KVVec<FsBlock>,
}

/// Errors: ENOSPC for more than `most` tables, which no transaction has room for; damage, also of a map
/// that has more tables than the inode has blocks, or one twice, and so perhaps no end; ERESTARTSYS; EIO,
/// ENOMEM.
fn measure(inode: &VfsInode, root: &Root, most: u32) -> Result<Size, Fault> {
    let geo = &inode.super_block().info().geometry;
    let has = inode.sectors() >> (geo.block_bits().saturating_sub(9) & 31);
    let has = has.min(geo.blocks_count());
    let (mut runs, mut tables) = (0u32, KVVec::new());
    let mut extents = Extents::default();
    each(inode, root, &mut |part| {
        match part {
            Part::Data(run) => extents.add(&run, &mut |_| {
                runs = runs.saturating_add(1);
                Ok(())
            })?,
            Part::Table(block) => {
                relax()?;
                vec::make_room(&mut tables)?;
                vec::push(&mut tables, block)?;
                if tables.len() as u64 > has {
                    return Err(Corrupt::from(IndirectError::TooManyTables).into());
                }
            }
        }
        if tables.len() > most as usize {
            return Err(ENOSPC.into());
        }
        Ok(())
    })?;
    extents.end(&mut |_| {
        runs = runs.saturating_add(1);
        Ok(())
    })?;
    sort_by_key(&mut tables, |block| block.get());
    let mut pairs = tables.iter().zip(tables.iter().skip(1));
    if pairs.any(|(one, next)| one == next) {
        return Err(Corrupt::from(IndirectError::SameTable).into());
    }
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

/// Builds the tree and frees the tables, which are `old`. `new` has room for the blocks of the tree.
///
/// Errors: ENOSPC, EIO, ENOMEM, damage, and those of a journal that has been given up; the file has the
/// map that it had then.
fn change(
    handle: &Handle<'_>,
    inode: &VfsInode,
    new: KVVec<FsBlock>,
    old: &[FsBlock],
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
        tables: old,
    };
    let mut tree = EMPTY_ROOT;
    let built = {
        let bounds = FileBounds::new(sb.info(), inode.ino());
        let tx = Tx::new(handle, sb.device(), Verified::Extent);
        let editor = ExtentEditor::new(&tx, &building, &bounds, info.csum_seed(), sb.block_size());
        let mut insert = |extent: &Extent| match editor.insert(&mut tree, extent)? {
            Inserted::Done => Ok(()),
            Inserted::Taken(_) => Err(Corrupt::from(ExtentError::Unsorted).into()),
        };
        let mut extents = Extents::default();
        let read = each(inode, &root, &mut |part| match part {
            Part::Data(run) => extents.add(&run, &mut insert),
            Part::Table(_) => Ok(()),
        });
        read.and_then(|()| extents.end(&mut insert))
    };
    // Nothing but a journal that has been given up keeps a block from being freed.
    let taken = building.taken.take();
    let useless = if built.is_ok() {
        info.seq.write(|| {
            root.block = tree;
            info.set_map_kind(MapKind::Extents);
            info.set_flags(info.flags().union(InodeFlags::EXTENTS));
        });
        old
    } else {
        &taken
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
    /// Those of the old map, in order.
    tables: &'a [FsBlock],
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
        let at = partition_point(self.tables, |table| *table < block);
        if self.tables.get(at) == Some(&block) {
            self.allocation.give_back(block);
            return Err(Corrupt::from(IndirectError::TableFree).into());
        }
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
