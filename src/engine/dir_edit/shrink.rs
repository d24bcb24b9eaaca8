// SPDX-License-Identifier: GPL-2.0

//! Giving back the blocks of a directory that have become empty.
//!
//! A removal that empties a leaf gives back one block ([`REMOVE_DROPS`](super::REMOVE_DROPS)).
//! From front to back, an entry must not move: only an empty block at the end goes. With an index, an
//! empty leaf goes from anywhere: the directory's last block, leaf or index block, moves to its
//! place, and the pair that led there is redirected. So a directory is as large as it has to be,
//! as long as leaves are emptied one by one. The hashes of the leaf that goes fall to its
//! neighbour on the left, or on the right if it is the first below its index block. Continuation
//! marks stay as they are: one that has lost its reason makes a lookup read a leaf more.
//!
//! What stays: the only leaf below an index block, because a block without pairs is no index
//! block, and index blocks themselves, with the number of levels.
//!
//! Each step takes write access to what it changes, then has the last block freed, and changes
//! the rest after that: so it happens as a whole or not at all. Errors only mean that the blocks
//! stay. What is written between freeing and the end of the step is all in one transaction.

use crate::ondisk::dx;
use crate::ondisk::dx::edit::DxPairs;
use crate::ondisk::FileBlock;

use super::super::change::DirChange;
use super::super::dir::{DirBlock, Directory};
use super::super::htree::{Branch, Next, Walk};

/// Most leaves that are passed in search of the pair that leads to a block whose hashes are not
/// known: a few index blocks' worth.
const SEARCH: u32 = 2048;

/// Called after the removal of `name`, which leaves block `emptied` (not block 0) without
/// entries. Returns whether the directory has lost a block.
#[inline(never)] // Rare, and no part of the removal's stack.
pub(super) fn shrink<D: DirChange>(
    dir: &Directory<'_, D>,
    name: &[u8],
    emptied: FileBlock,
) -> bool {
    // Without the feature, an index that is there all the same is left to whoever repairs it.
    if dir.indexed && !dir.has_index() {
        return false;
    }
    let Some(last) = dir.block_count().get().checked_sub(1).map(FileBlock::new) else {
        return false;
    };
    let gone = if dir.has_index() {
        drop_leaf(dir, name, emptied, last)
    } else {
        drop_last(dir, emptied, last)
    };
    gone.is_some()
}

/// Whether block `lblk` holds records, none of them in use. Without checksums this is true of an
/// index block as well.
fn is_blank<D: DirChange>(dir: &Directory<'_, D>, lblk: FileBlock) -> bool {
    lblk != FileBlock::ZERO
        && match dir.read_any(lblk) {
            Ok(DirBlock::Mapped(block)) => dir.records(&block).is_blank(),
            _ => false,
        }
}

/// Drops the last block of a directory without an index if it is `empty`, or another one that has
/// become empty when it was not the last.
fn drop_last<D: DirChange>(
    dir: &Directory<'_, D>,
    empty: FileBlock,
    last: FileBlock,
) -> Option<()> {
    let left = Directory {
        size: u64::from(last.get()).wrapping_shl(dir.block_bits()),
        ..*dir
    };
    // Positions that are out must keep their meaning: see `dir_edit`.
    if left.hash_order() != dir.hash_order() || (empty != last && !is_blank(dir, last)) {
        return None;
    }
    dir.blocks.remove_last(last).ok()
}

/// Drops `empty`, a leaf without entries, from an index, and `last`, the directory's last block,
/// from the directory. `name` was in the leaf.
fn drop_leaf<D: DirChange>(
    dir: &Directory<'_, D>,
    name: &[u8],
    empty: FileBlock,
    last: FileBlock,
) -> Option<()> {
    let format = &dir.format.dx;
    let hash = dir.read_root().ok()?.2;
    let key = hash.hash(name).major;
    let (from, is_leaf) = locate(dir, empty, Some(key))?;
    if !is_leaf || from.count < 2 {
        return None;
    }
    if empty == last {
        let mut edit = edit_index(dir, from.node)?;
        dir.blocks.remove_last(last).ok()?;
        if let Some(mut pairs) = DxPairs::new(&mut edit, is_root(from.node), format) {
            pairs.remove(from.pair);
        }
        dir.blocks.dirty(edit, dir.index_seal(is_root(from.node)));
        return Some(());
    }

    // Something that the last block can be found by.
    let key = match dir.read_any(last) {
        Ok(DirBlock::Mapped(block)) => match dx::node(&block, format) {
            Ok(index) => index.hash(1),
            Err(_) => {
                let area = dir.records(&block);
                area.first_name().map(|name| hash.hash(name).major)
            }
        },
        _ => return None,
    };
    let (to, is_leaf) = locate(dir, last, key)?;
    // A leaf that is an index block, too: the index is damaged.
    let twice = from.node == empty || to.node == empty || to.node == last;
    if twice || (is_leaf && from.node == last) {
        return None;
    }
    let moving = if is_leaf {
        dir.read_leaf(last).ok()?
    } else {
        dir.read_node(last).ok()?
    };
    let mut target = dir.blocks.edit(dir.read_leaf(empty).ok()?).ok()?;
    // The pair that leads to the empty leaf may be in the block that moves.
    let mut from_edit = if from.node == last {
        None
    } else {
        Some(edit_index(dir, from.node)?)
    };
    let mut to_edit = if to.node == from.node {
        None
    } else {
        Some(edit_index(dir, to.node)?)
    };
    dir.blocks.remove_last(last).ok()?;

    for (to, from) in target.iter_mut().zip(moving.iter()) {
        *to = *from;
    }
    drop(moving);
    {
        let edit = to_edit.as_mut().or(from_edit.as_mut());
        let pairs = edit.and_then(|edit| DxPairs::new(edit, is_root(to.node), format));
        if let Some(mut pairs) = pairs {
            pairs.set_block(to.pair, empty);
        }
    }
    {
        let edit = from_edit.as_mut().unwrap_or(&mut target);
        if let Some(mut pairs) = DxPairs::new(edit, is_root(from.node), format) {
            pairs.remove(from.pair);
        }
    }
    let target_seal = if is_leaf {
        dir.leaf_seal()
    } else {
        dir.index_seal(false)
    };
    dir.blocks.dirty(target, target_seal);
    for (edit, node) in [(from_edit, from.node), (to_edit, to.node)] {
        if let Some(edit) = edit {
            dir.blocks.dirty(edit, dir.index_seal(is_root(node)));
        }
    }
    Some(())
}

#[inline]
fn is_root(node: FileBlock) -> bool {
    node == FileBlock::ZERO
}

/// Takes write access to an index block.
fn edit_index<D: DirChange>(dir: &Directory<'_, D>, node: FileBlock) -> Option<D::Edit> {
    let block = if is_root(node) {
        dir.read_root().ok()?.0
    } else {
        dir.read_node(node).ok()?
    };
    dir.blocks.edit(block).ok()
}

/// The pair that leads to `block`, and whether that is a leaf: among those that a lookup for hash
/// `key` visits, else among the first [`SEARCH`] leaves and what leads there.
fn locate<D: DirChange>(
    dir: &Directory<'_, D>,
    block: FileBlock,
    key: Option<u32>,
) -> Option<(Branch, bool)> {
    let mut walk = Walk::new(dir).ok()?;
    walk.seek(key.unwrap_or(0)).ok()?;
    for _ in 0..SEARCH {
        if let Some(branch) = walk.branch_to(block) {
            return Some((branch, walk.leaf() == block));
        }
        let next = match key {
            Some(key) => walk.advance_within(key & !1).ok()?,
            None => walk.advance().ok()?,
        };
        if next == Next::End {
            break;
        }
        dir.blocks.relax().ok()?;
    }
    None
}
