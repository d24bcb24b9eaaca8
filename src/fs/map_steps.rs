// SPDX-License-Identifier: GPL-2.0

//! Changes of the extents of a file that allocate and free no data: their state, and their place in the
//! file. One leaf or one extent per step; between two the handle may be restarted.
//!
//! Locking: i_rwsem and the invalidate lock are held for writing, nothing of what is changed is dirty or
//! in flight; `data_sem` is taken for each step.

use super::{
    alloc::Allocation,
    delayed::certainly,
    fault::Fault,
    handle,
    inode::{MapKind, Root},
    inode_write,
    map_change::{self, account},
    meta::FileBounds,
    tx::{Handle, Tx},
    VfsInode,
};
use crate::{
    engine::{
        credits::{Map, Op},
        extent_edit::{ExtentEditor, Progress, Shift},
    },
    linux::buffer::Verified,
    ondisk::{extent::ExtentError, Corrupt, FileBlock},
};
use kernel::prelude::*;

/// A change.
#[derive(Clone, Copy)]
pub(super) enum Edit {
    /// What is mapped in `from..to` becomes unwritten, or written.
    State {
        from: FileBlock,
        to: FileBlock,
        unwritten: bool,
    },
    /// An extent begins at `at`, if anything is mapped there.
    Split { at: FileBlock },
    /// Everything from `from` on, where an extent begins if anything is mapped there, moves to another
    /// place, which is a hole.
    Shift { from: FileBlock, by: Shift },
}

impl Edit {
    /// The first block of which the map changes, and one past the last.
    fn range(self) -> (FileBlock, FileBlock) {
        match self {
            Self::State { from, to, .. } => (from, to),
            Self::Split { at } => (at, at),
            Self::Shift { from, by } => {
                let to = by.of(from).unwrap_or(from);
                (from.min(to), FileBlock::END)
            }
        }
    }
}

/// A step, for the table of credits. Takes `data_sem`.
pub(super) fn op(inode: &VfsInode) -> Op {
    Op::Convert(map_change::shape(inode), 1)
}

/// How often in a row the map may turn out to have got deeper, or a step may lead nowhere.
const MAX_STALLS: u32 = 16;

/// Does all steps of `edit` in `handle`, which may be restarted; the inode is stored.
///
/// Errors: EUCLEAN (reported), EIO, ENOMEM, ENOSPC for a block of the map (not from a shift), and those of a
/// journal that has been given up. Some steps may have been done.
pub(super) fn run(handle: &mut Handle<'_>, inode: &VfsInode, edit: Edit) -> Result {
    let mut at = match edit {
        Edit::State { from, .. } => from,
        Edit::Split { at } => at,
        Edit::Shift { from, by } => match by {
            Shift::Back(_) => from,
            Shift::Forth(_) => FileBlock::END,
        },
    };
    let mut stalls = 0u32;
    while stalls < MAX_STALLS {
        let op = op(inode);
        handle::make_room(inode.super_block(), handle, op)?;
        let step = step(handle, inode, edit, at, op);
        match step.map_err(|e| e.report_inode(inode, "block map"))? {
            Progress::Done => return Ok(()),
            Progress::More(next) if next != at => (at, stalls) = (next, 0),
            Progress::More(_) => stalls = stalls.saturating_add(1),
        }
    }
    Err(Fault::from(Corrupt::from(ExtentError::Unsorted)).report_inode(inode, "block map"))
}

fn step(
    handle: &Handle<'_>,
    inode: &VfsInode,
    edit: Edit,
    at: FileBlock,
    op: Op,
) -> Result<Progress, Fault> {
    let info = inode.data();
    let slot = inode_write::prepare(handle, inode)?;
    let mut root = info.data_sem.write();
    if matches!(op, Op::Convert(Map::Extents { depth }, _) if map_change::depth(&root) > depth) {
        return Ok(Progress::More(at));
    }
    if info.map_kind() != MapKind::Extents {
        return Err(EUCLEAN.into());
    }
    let progress = change(handle, inode, &mut root, edit, at)?;
    let (from, to) = edit.range();
    let cache = info.extent_map();
    certainly(info, || cache.remove(from, to));
    let stored = slot.store_mapped(&root);
    inode_write::note_change(handle, inode, true);
    stored?;
    Ok(progress)
}

/// Changes the tree.
fn change(
    handle: &Handle<'_>,
    inode: &VfsInode,
    root: &mut Root,
    edit: Edit,
    at: FileBlock,
) -> Result<Progress, Fault> {
    let sb = inode.super_block();
    let bounds = FileBounds::new(sb.info(), inode.ino());
    let tx = Tx::new(handle, sb.device(), Verified::Extent);
    let allocation = Allocation::of_map(inode, handle).using_pool();
    let seed = inode.data().csum_seed();
    let editor = ExtentEditor::new(&tx, &allocation, &bounds, seed, sb.block_size());
    let root = &mut root.block;
    let progress = match edit {
        Edit::State { to, .. } if at >= to => Ok(Progress::Done),
        Edit::State { to, unwritten, .. } => {
            editor.convert(root, at, to, unwritten).map(Progress::More)
        }
        Edit::Split { at } => editor.split(root, at).map(|()| Progress::Done),
        Edit::Shift { from, by } => editor.shift(root, from, at, by),
    };
    account(inode, &allocation);
    progress
}
