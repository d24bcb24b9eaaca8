// SPDX-License-Identifier: GPL-2.0

//! The way from the root to the leaf that is to be changed, with all nodes on it held.
//!
//! The rules of the descent are those of [`extent_walk`](crate::engine::extent_walk), which
//! forgets the nodes that it has passed; here each is kept together with the place of the entry
//! that was followed. A block before all that is mapped leads to the first leaf, because that is
//! where it would be mapped.

use core::ops::Deref;

use super::{ExtentEditor, Root};
use crate::engine::change::{Blocks, Transaction};
use crate::ondisk::bounds::BlockBounds;
use crate::ondisk::extent::edit::Shape;
use crate::ondisk::extent::{verify_block, Entries, ExtentError, Node, RawExtent, MAX_DEPTH};
use crate::ondisk::{Corrupt, FileBlock, FsBlock};

/// The most blocks on a path.
pub(super) const LEVELS: usize = MAX_DEPTH as usize;

/// A node in a block.
#[derive(Clone, Copy)]
pub(super) struct Level {
    /// The block.
    pub number: FsBlock,
    /// The place of the node's index in its parent, which has fewer than 2^16.
    slot: u16,
    /// The node's shape.
    pub shape: Shape,
}

impl Level {
    /// The place of the node's index in its parent.
    #[inline]
    pub fn slot(&self) -> usize {
        usize::from(self.slot)
    }
}

/// How a node's block is held: first to be read, then to be changed.
enum Held<K, E> {
    None,
    Read(K),
    Change(E),
}

impl<K: Deref<Target = [u8]>, E: Deref<Target = [u8]>> Held<K, E> {
    #[inline]
    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::None => None,
            Self::Read(block) => Some(block),
            Self::Change(edit) => Some(edit),
        }
    }

    #[inline]
    fn read(&mut self, block: K) -> &[u8] {
        *self = Self::Read(block);
        self.bytes().unwrap_or_default()
    }
}

/// From the root to a leaf. Large, so that it is made once and lent from there.
pub(super) struct Path<T: Transaction> {
    /// The depth of the root, and so the number of blocks on the path, at most [`LEVELS`].
    pub depth: u16,
    /// The root's shape.
    pub root: Shape,
    /// The first block that the parents leave to the leaf.
    pub from: FileBlock,
    /// One past the last block that they leave to it.
    pub to: FileBlock,
    /// The nodes from the root's child down to the leaf; the rest means nothing.
    levels: [Level; LEVELS],
    /// Their blocks.
    held: [Held<T::Block, T::Edit>; LEVELS],
}

impl<T: Transaction> Path<T> {
    /// A path to be found.
    #[inline]
    pub fn new() -> Self {
        let none = Level {
            number: FsBlock::new(0),
            slot: 0,
            shape: Shape::default(),
        };
        Self {
            depth: 0,
            root: Shape::default(),
            from: FileBlock::ZERO,
            to: FileBlock::END,
            levels: [none; LEVELS],
            held: [const { Held::None }; LEVELS],
        }
    }

    /// The number of the leaf; `None` if it is the root.
    #[inline]
    pub fn last(&self) -> Option<usize> {
        usize::from(self.depth).checked_sub(1)
    }

    /// Node `n` below the root, 0 being its child.
    #[inline]
    pub fn level(&self, n: usize) -> Option<&Level> {
        self.levels.get(..usize::from(self.depth))?.get(n)
    }

    /// Takes write access to node `n`.
    #[inline]
    pub fn open(&mut self, n: usize, tx: &T) -> Result<(), T::Error> {
        if let Some(held) = self.held.get_mut(n) {
            if let Held::Read(block) = core::mem::replace(held, Held::None) {
                *held = Held::Change(tx.edit(block)?);
            }
        }
        Ok(())
    }

    /// The bytes of node `n`, to which there is write access.
    #[inline]
    pub fn bytes_mut(&mut self, n: usize) -> Option<&mut [u8]> {
        match self.held.get_mut(n)? {
            Held::Change(edit) => Some(edit),
            _ => None,
        }
    }

    /// The write access to node `n`.
    #[inline]
    pub fn take(&mut self, n: usize) -> Option<T::Edit> {
        match core::mem::replace(self.held.get_mut(n)?, Held::None) {
            Held::Change(edit) => Some(edit),
            _ => None,
        }
    }

    /// Lets go of all blocks.
    #[inline]
    pub fn release(&mut self) {
        for held in &mut self.held {
            *held = Held::None;
        }
    }

    /// The extents of the leaf.
    #[inline]
    pub fn leaf<'a>(&'a self, root: &'a Root) -> Result<Entries<'a, RawExtent>, ExtentError> {
        let block = self.last().and_then(|last| self.held.get(last)?.bytes());
        leaf(root, block)
    }
}

/// The extents of the leaf in `block`, or in the root if there is no block.
#[inline]
fn leaf<'a>(
    root: &'a Root,
    block: Option<&'a [u8]>,
) -> Result<Entries<'a, RawExtent>, ExtentError> {
    let node = match block {
        Some(block) => Node::child(block, 0)?,
        None => Node::root(root)?.0,
    };
    match node {
        Node::Leaf(entries) => Ok(entries),
        Node::Index(_) => Err(ExtentError::BadDepth),
    }
}

impl<T, B, Z> ExtentEditor<'_, T, B, Z>
where
    T: Transaction,
    B: Blocks<Error = T::Error>,
    Z: BlockBounds,
{
    /// Reads block `number`, a node.
    #[inline]
    pub(super) fn read(&self, number: FsBlock) -> Result<T::Block, T::Error> {
        self.tx
            .read(number, |bytes| verify_block(bytes, self.seed, self.bounds))
    }

    /// Goes down to the leaf whose range contains `at`, which is below `END`; to the first leaf
    /// if `at` lies before all ranges.
    pub(super) fn find(
        &self,
        root: &Root,
        at: FileBlock,
        path: &mut Path<T>,
    ) -> Result<(), T::Error> {
        let (mut node, depth) = Node::root(root).map_err(Corrupt::from)?;
        path.depth = depth;
        path.root = Shape::of_root(root).map_err(Corrupt::from)?;
        // `left` is the depth of the next node to read; the depth in the root is at most 5.
        let places = path.levels.iter_mut().zip(path.held.iter_mut());
        for (left, (level, held)) in (0..depth).rev().zip(places) {
            let step = self.step(&node, at, &mut path.from, &mut path.to);
            let (number, slot) = step.map_err(Corrupt::from)?;
            let block = held.read(self.read(number)?);
            node = Node::child(block, left).map_err(Corrupt::from)?;
            if node.first() != Some(path.from) {
                return Err(Corrupt::from(ExtentError::OutsideParent).into());
            }
            *level = Level {
                number,
                slot: slot as u16,
                shape: Shape::of_block(block, self.capacity).map_err(Corrupt::from)?,
            };
        }
        Ok(())
    }

    /// Chooses the entry of an index node for `at` and narrows `from..to` to its range.
    #[inline]
    fn step(
        &self,
        node: &Node<'_>,
        at: FileBlock,
        from: &mut FileBlock,
        to: &mut FileBlock,
    ) -> Result<(FsBlock, usize), ExtentError> {
        let Node::Index(entries) = node else {
            return Err(ExtentError::BadDepth);
        };
        let slot = entries.up_to(at).saturating_sub(1);
        let raw = entries.get(slot).ok_or(ExtentError::EmptyNode)?;
        let index = raw.check(self.bounds)?;
        if index.first < *from {
            return Err(ExtentError::OutsideParent);
        }
        if let Some(next) = entries.get(slot.wrapping_add(1)) {
            let next = crate::ondisk::extent::RawEntry::first(next);
            // Above `at` and above this entry if the node is sorted; a search in one that is not
            // may end anywhere.
            if next <= at || next <= index.first {
                return Err(ExtentError::Unsorted);
            }
            if next >= *to {
                return Err(ExtentError::OutsideParent);
            }
            *to = next;
        }
        *from = index.first;
        Ok((index.child, slot))
    }
}
