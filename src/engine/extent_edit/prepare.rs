// SPDX-License-Identifier: GPL-2.0

//! Replacing neighbouring entries of a leaf, and what follows from it above.
//!
//! [`ExtentEditor::prepare`] takes everything that a change can need, knowing only how many
//! entries it adds at most and whether it may change the leaf's first key: write access to the
//! nodes, new blocks for those that run over. [`Prepared::apply`] then writes, with nothing left
//! that could fail. In between the caller may free the data blocks that are unmapped, whose
//! number decides what exactly is written. New blocks that were not needed are given back.
//!
//! Going up from the leaf, a change arrives at each node as at most two requests: the key of the
//! entry that was followed becomes another one, and behind it comes an index for a new node.

use super::path::{Level, Path, LEVELS};
use super::{ExtentEditor, Root};
use crate::engine::change::{Blocks, Transaction};
use crate::ondisk::bounds::BlockBounds;
use crate::ondisk::extent::edit::{Entry, NodeMut, Shape};
use crate::ondisk::extent::{Extent, ExtentError, Index, MAX_DEPTH};
use crate::ondisk::seal::Seal;
use crate::ondisk::{Corrupt, FileBlock, FsBlock};

/// Replaces `remove` entries of a leaf from `at` on by up to three others.
pub(super) struct Splice {
    pub at: usize,
    pub remove: usize,
    new: [Entry; 3],
    len: usize,
}

impl Splice {
    /// Takes out `remove` entries from `at` on.
    #[inline]
    pub fn new(at: usize, remove: usize) -> Self {
        Self {
            at,
            remove,
            new: [[0; 12]; 3],
            len: 0,
        }
    }

    /// Adds `extent` to what is put in. More than three are an error of the caller; extents that
    /// no entry can express are an error.
    #[inline]
    pub fn push(&mut self, extent: &Extent) -> Result<(), ExtentError> {
        let entry = extent.entry()?;
        let place = self
            .new
            .get_mut(self.len)
            .ok_or(ExtentError::TooManyEntries)?;
        *place = entry;
        self.len = self.len.wrapping_add(1);
        Ok(())
    }

    #[inline]
    fn entries(&self) -> &[Entry] {
        self.new.get(..self.len).unwrap_or_default()
    }

    /// How many entries the leaf gains.
    #[inline]
    pub fn growth(&self) -> usize {
        self.len.saturating_sub(self.remove)
    }
}

/// New blocks for a change, and what it takes to write them; given back unless used.
pub(super) struct Prepared<'t, T: Transaction, B: Blocks> {
    tx: &'t T,
    blocks: &'t B,
    seal: Seal,
    capacity: u16,
    /// From the front; the last one is taken first.
    fresh: [Option<(FsBlock, T::Edit)>; LEVELS + 1],
}

impl<T: Transaction, B: Blocks> Prepared<'_, T, B> {
    #[inline]
    fn take(&mut self) -> Option<(FsBlock, T::Edit)> {
        self.fresh.iter_mut().rev().find_map(Option::take)
    }
}

impl<T: Transaction, B: Blocks> Drop for Prepared<'_, T, B> {
    #[inline]
    fn drop(&mut self) {
        while let Some((number, edit)) = self.take() {
            drop(edit);
            self.blocks.give_back(number);
        }
    }
}

impl<T, B, Z> ExtentEditor<'_, T, B, Z>
where
    T: Transaction,
    B: Blocks<Error = T::Error>,
    Z: BlockBounds,
{
    /// A change that nothing has been prepared for.
    #[inline]
    pub(super) fn unprepared(&self) -> Prepared<'_, T, B> {
        Prepared {
            tx: self.tx,
            blocks: self.blocks,
            seal: self.seal,
            capacity: self.capacity,
            fresh: [const { None }; LEVELS + 1],
        }
    }

    /// Takes what a change of the path's leaf needs that adds at most `growth` entries, and that
    /// may change its first key or empty it if `key`: write access to nodes of the path, always
    /// to the leaf, and new blocks near `goal`.
    ///
    /// Errors: from the transaction and the allocator, and [`ExtentError::TooDeep`]; nothing has
    /// changed then.
    pub(super) fn prepare(
        &self,
        path: &mut Path<T>,
        ready: &mut Prepared<'_, T, B>,
        growth: usize,
        key: bool,
        goal: FsBlock,
    ) -> Result<(), T::Error> {
        let (mut growth, mut key) = (growth, key);
        let mut fresh = 0usize;
        let mut goal = goal;
        // The place of the entry, in the node at hand, under which the change is.
        let mut slot = 0usize;
        for n in (0..usize::from(path.depth)).rev() {
            let Some(&level) = path.level(n) else {
                break;
            };
            // The leaf is changed in any case, a node above it only if something arrives there.
            if path.last() != Some(n) && growth == 0 && !key {
                break;
            }
            path.open(n, self.tx)?;
            if growth > 0 && !fits(level.shape, growth) {
                fresh = fresh.wrapping_add(1);
                growth = 1;
                goal = level.number;
            } else {
                growth = 0;
            }
            // Only a node's first key is known to its parent.
            key &= slot == 0;
            slot = level.slot();
        }
        if growth > 0 && !fits(path.root, growth) {
            if path.depth >= MAX_DEPTH {
                // No tree of sound nodes comes here, see `MAX_DEPTH`. C ext4 would make a tree
                // that it then refuses to read.
                return Err(Corrupt::from(ExtentError::TooDeep).into());
            }
            fresh = fresh.wrapping_add(1);
        }
        for place in ready.fresh.iter_mut().take(fresh) {
            let number = self.blocks.allocate(goal)?;
            match self.tx.create(number) {
                Ok(edit) => *place = Some((number, edit)),
                Err(e) => {
                    self.blocks.give_back(number);
                    return Err(e);
                }
            }
        }
        Ok(())
    }
}

#[inline]
fn fits(shape: Shape, growth: usize) -> bool {
    usize::from(shape.count).saturating_add(growth) <= usize::from(shape.capacity)
}

/// What has to be done in the node above.
#[derive(Default)]
pub(super) struct Above {
    /// The new key of the entry that was followed.
    pub key: Option<FileBlock>,
    /// An index to come behind it.
    index: Option<Entry>,
}

impl<T: Transaction, B: Blocks> Prepared<'_, T, B> {
    /// Changes the leaf, which is left with at least one entry unless it is the root, and what
    /// follows from it above. `first` says whether the leaf gets another first key.
    pub fn apply(&mut self, root: &mut Root, path: &mut Path<T>, splice: &Splice, first: bool) {
        let mut above = Above::default();
        let Some(leaf) = path.last() else {
            let Some(mut node) = NodeMut::root(root) else {
                return;
            };
            self.splice_root(&mut node, splice.at, splice.remove, splice.entries());
            return;
        };
        self.splice_node(
            path,
            leaf,
            splice.at,
            splice.remove,
            splice.entries(),
            first,
            &mut above,
        );
        self.ascend(root, path, leaf, above);
    }

    /// Takes entry `slot` out of node `n`, or of the root if there is no `n`; the node is left
    /// with at least one entry.
    pub fn cut(&mut self, root: &mut Root, path: &mut Path<T>, n: Option<usize>, slot: usize) {
        match n {
            Some(n) => {
                let mut above = Above::default();
                self.splice_node(path, n, slot, 1, &[], slot == 0, &mut above);
                self.ascend(root, path, n, above);
            }
            None => {
                if let Some(mut node) = NodeMut::root(root) {
                    node.splice(slot, 1, &[]);
                }
            }
        }
    }

    /// Hands requests from node `n` upwards.
    pub fn ascend(&mut self, root: &mut Root, path: &mut Path<T>, n: usize, above: Above) {
        let (mut above, mut n) = (above, n);
        while above.key.is_some() || above.index.is_some() {
            let Some(slot) = path.level(n).map(Level::slot) else {
                return;
            };
            let Some(parent) = n.checked_sub(1) else {
                let Some(mut node) = NodeMut::root(root) else {
                    return;
                };
                if let Some(key) = above.key {
                    node.set_key(slot, key);
                }
                if let Some(index) = above.index {
                    self.splice_root(&mut node, slot.wrapping_add(1), 0, &[index]);
                }
                return;
            };
            n = parent;
            let mut next = Above {
                key: above.key.filter(|_| slot == 0),
                index: None,
            };
            if let Some(key) = above.key {
                let bytes = path.bytes_mut(n);
                if let Some(mut node) = bytes.and_then(|b| NodeMut::open(b, self.capacity)) {
                    node.set_key(slot, key);
                }
            }
            let index = above.index;
            self.splice_node(
                path,
                n,
                slot.wrapping_add(1),
                0,
                index.as_slice(),
                false,
                &mut next,
            );
            above = next;
        }
    }

    /// Splices node `n`, which is split if it runs over, and puts it into the transaction.
    #[allow(clippy::too_many_arguments)]
    fn splice_node(
        &mut self,
        path: &mut Path<T>,
        n: usize,
        at: usize,
        remove: usize,
        new: &[Entry],
        first: bool,
        above: &mut Above,
    ) {
        let Some(mut edit) = path.take(n) else {
            return;
        };
        if let Some(mut node) = NodeMut::open(&mut edit, self.capacity) {
            let room = node.capacity();
            let rest = node.count().saturating_sub(remove);
            let total = rest.saturating_add(new.len());
            if total <= room {
                node.splice(at, remove, new);
            } else {
                // At the end of the node: nothing but what does not fit leaves it.
                let keep = if at >= rest { room } else { total >> 1 };
                above.index = self.split(&mut node, at, remove, new, keep);
            }
            if first {
                above.key = node.first();
            }
        }
        self.tx.dirty(edit, self.seal);
    }

    /// Splices the root; if it runs over, all entries move to a new node.
    fn splice_root(&mut self, node: &mut NodeMut<'_>, at: usize, remove: usize, new: &[Entry]) {
        let rest = node.count().saturating_sub(remove);
        if rest.saturating_add(new.len()) <= node.capacity() {
            node.splice(at, remove, new);
        } else if let Some(index) = self.split(node, at, remove, new, 0) {
            node.become_parent(index);
        }
    }

    /// Splices a node, of which only `keep` entries stay in it; the others move to a new node,
    /// whose index this yields.
    fn split(
        &mut self,
        node: &mut NodeMut<'_>,
        at: usize,
        remove: usize,
        new: &[Entry],
        keep: usize,
    ) -> Option<Entry> {
        let (number, mut edit) = self.take()?;
        let mut first = None;
        if let Some(mut right) = NodeMut::format(&mut edit, node.depth(), self.capacity) {
            node.split(&mut right, at, remove, new, keep);
            first = right.first();
        }
        self.tx.dirty(edit, self.seal);
        let index = Index {
            first: first?,
            child: number,
        };
        index.entry().ok()
    }
}
