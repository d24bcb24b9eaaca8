// SPDX-License-Identifier: GPL-2.0

//! Unmapping blocks, in steps.
//!
//! A step works on the last leaf of the range that is left, from its end. That way the tree is
//! whole after each step, the file's map simply ends earlier (or the hole begins earlier), and
//! the caller can restart its transaction between any two steps.
//!
//! Freeing blocks can fail, and can stop in the middle of an extent; both happen before anything
//! is written that depends on it. So when it fails, the tree is left with exactly the blocks that
//! have not been freed. One thing is given up for that: when the last extents of a node are gone
//! and freeing the node's own block fails, the tree is written without it and the block stays
//! allocated, for e2fsck to find. (A node cannot stay without entries, and its blocks are gone.
//! C ext4 leaks what it fails to free, data too.)
//!
//! With clusters, a run of blocks that are unmapped may begin and end inside of one. Such a
//! cluster stays if a block before the run, or behind the whole range, is in it: it goes when that
//! block does. Otherwise all of it goes, whichever blocks of it have been mapped. What lies
//! between the run and the end of the range is unmapped already. C ext4 keeps in mind, from leaf
//! to leaf, which cluster it may have to free; here the tree is asked, in which the neighbour is.

use core::ops::Range;

use super::path::Path;
use super::prepare::{Prepared, Splice};
use super::{least_budget, ExtentEditor, Progress, Root};
use crate::engine::change::{Blocks, Transaction, Was};
use crate::ondisk::bounds::BlockBounds;
use crate::ondisk::extent::edit::{NodeMut, Shape, ROOT_CAPACITY};
use crate::ondisk::extent::{Entries, Extent, ExtentError, Node, RawEntry, RawExtent};
use crate::ondisk::{Corrupt, FileBlock, FsBlock};

/// Which clusters of a range others than its blocks are in.
#[derive(Clone, Copy, Default)]
struct Shared {
    /// The one with the first block of the leaf: a block of an earlier leaf is.
    leaf: bool,
    /// The one with the end of the range: a block behind that is.
    end: bool,
}

/// What a step has freed of the entries of one leaf.
struct Freed<E> {
    /// The first of the entries that are gone.
    gone: usize,
    /// What is left of the entry before them, if it has lost its tail.
    short: Option<Extent>,
    /// Where the file's map ends now.
    end: FileBlock,
    /// Why it came to an end too early.
    error: Option<E>,
}

impl<T, B, Z> ExtentEditor<'_, T, B, Z>
where
    T: Transaction,
    B: Blocks<Error = T::Error>,
    Z: BlockBounds,
{
    /// Unmaps and frees the blocks of `from..to`, or some of them at the range's end: one step,
    /// with at most `budget` calls of [`Blocks::free`], or [`least_budget`] of them if that is
    /// more. On [`Progress::More`] the caller goes on with another end, after it has restarted
    /// its transaction if that has no room for [`remove_needs`](super::remove_needs) left.
    /// [`FileBlock::END`] for `to` truncates.
    ///
    /// May sleep. Errors: as for [`insert`](Self::insert), and from freeing. The tree is valid
    /// after an error too, and maps what has not been freed.
    pub fn remove(
        &self,
        root: &mut Root,
        from: FileBlock,
        to: FileBlock,
        budget: u32,
    ) -> Result<Progress, T::Error> {
        let Some(last) = to.get().checked_sub(1).filter(|_| from < to) else {
            return self.shrink(root, from);
        };
        let mut path = Path::new();
        self.find(root, FileBlock::new(last), &mut path)?;
        let entries = path.leaf(root).map_err(Corrupt::from)?;
        let below = entries.up_to(FileBlock::new(last));
        let extent = self
            .at(entries, below.checked_sub(1))
            .map_err(Corrupt::from)?;
        let Some(extent) = extent.filter(|extent| extent.end() > from) else {
            // The root's child, which may be freed, is held by the path.
            path.release();
            return self.shrink(root, from);
        };
        if extent.end() > to {
            self.punch(root, &mut path, below.saturating_sub(1), &extent, from, to)
        } else {
            self.cut_tail(root, &mut path, below, from, to, budget)
        }
    }

    /// Unmaps blocks of entry `n`, `extent`, that goes on behind `to`.
    fn punch(
        &self,
        root: &mut Root,
        path: &mut Path<T>,
        n: usize,
        extent: &Extent,
        from: FileBlock,
        to: FileBlock,
    ) -> Result<Progress, T::Error> {
        let hole = extent.clip(from, to).ok_or(ExtentError::BadRun);
        let hole = hole.map_err(Corrupt::from)?;
        let may_lose_head = n == 0 && path.depth > 0 && hole.first == extent.first;
        let entries = path.leaf(root).map_err(Corrupt::from)?;
        let leaf = self.is_leaf_shared(root, path, extent.first)?;
        let before = self.is_head_shared(entries, n, extent, hole.first, leaf);
        let before = before.map_err(Corrupt::from)?;
        // Even where only the head goes there may be one more entry meanwhile: blocks are freed
        // from the hole's end, perhaps not all at once.
        let mut ready = self.unprepared();
        self.prepare(path, &mut ready, 1, may_lose_head, extent.start)?;
        // The extent goes on behind it.
        let freed = self.free(&hole, before, true)?;
        let cut = FileBlock::new(to.get().saturating_sub(freed));
        let mut splice = Splice::new(n, 1);
        let parts = [
            extent.clip(FileBlock::ZERO, cut),
            extent.clip(to, FileBlock::END),
        ];
        for part in parts.iter().flatten() {
            // Parts of what an entry expresses can be expressed.
            let _ = splice.push(part);
        }
        let first = may_lose_head && cut == extent.first;
        ready.apply(root, path, &splice, first);
        self.go_on(root, from, cut)
    }

    /// Unmaps what lies in `from..to` of the first `below` entries of a leaf, none of which goes
    /// on behind `to`.
    fn cut_tail(
        &self,
        root: &mut Root,
        path: &mut Path<T>,
        below: usize,
        from: FileBlock,
        to: FileBlock,
        budget: u32,
    ) -> Result<Progress, T::Error> {
        let entries = path.leaf(root).map_err(Corrupt::from)?;
        let count = entries.len();
        let all = entries.first().is_some_and(|first| first >= from);
        let nodes = if all && below == count {
            least_budget(path.depth).saturating_sub(1)
        } else {
            0
        };
        let budget = budget.max(least_budget(path.depth)).saturating_sub(nodes);
        let key = all && path.depth > 0;
        let shared = self.shared(root, path, entries.first(), to)?;
        let mut ready = self.unprepared();
        self.prepare(path, &mut ready, 0, key, FsBlock::new(0))?;
        let freed = self.free_tail(root, path, below, from..to, budget, shared);
        if freed.gone == 0 && freed.short.is_none() && below == count {
            let done = self.drop_leaf(root, path, &mut ready);
            return match freed.error {
                Some(e) => Err(e),
                None => done.and_then(|()| self.go_on(root, from, freed.end)),
            };
        }
        let kept = usize::from(freed.short.is_some());
        let at = freed.gone.saturating_sub(kept);
        let mut splice = Splice::new(at, below.saturating_sub(at));
        if let Some(short) = &freed.short {
            let _ = splice.push(short);
        }
        if splice.remove > 0 {
            let first = key && freed.gone == 0 && freed.short.is_none();
            ready.apply(root, path, &splice, first);
        }
        match freed.error {
            Some(e) => Err(e),
            None => self.go_on(root, from, freed.end),
        }
    }

    /// Frees the blocks in `range` of the first `below` entries of a leaf, from the end.
    fn free_tail(
        &self,
        root: &Root,
        path: &Path<T>,
        below: usize,
        range: Range<FileBlock>,
        budget: u32,
        shared: Shared,
    ) -> Freed<T::Error> {
        let from = range.start;
        let mut freed = Freed {
            gone: below,
            short: None,
            end: path.to,
            error: None,
        };
        let entries = match path.leaf(root) {
            Ok(entries) => entries,
            Err(e) => {
                freed.error = Some(Corrupt::from(e).into());
                return freed;
            }
        };
        let mut budget = budget;
        while let Some(n) = freed.gone.checked_sub(1) {
            let extent = match self.at(entries, Some(n)) {
                Ok(Some(extent)) if extent.end() <= freed.end => extent,
                Err(e) => {
                    freed.error = Some(Corrupt::from(e).into());
                    break;
                }
                // Verified to be in order, and changed since: nothing may be freed twice.
                _ => {
                    freed.error = Some(Corrupt::from(ExtentError::Unsorted).into());
                    break;
                }
            };
            let Some(mut rest) = extent.clip(from, FileBlock::END) else {
                // All that is left of the leaf, and of the leaves before it, lies below.
                freed.end = from;
                break;
            };
            let before = match self.is_head_shared(entries, n, &extent, rest.first, shared.leaf) {
                Ok(before) => before,
                Err(e) => {
                    freed.error = Some(Corrupt::from(e).into());
                    break;
                }
            };
            let behind = shared.end && self.same_cluster(rest.end(), range.end);
            // Each turn takes one of the budget.
            while rest.len > 0 && budget > 0 {
                match self.free(&rest, before, behind) {
                    Ok(len) => rest.len = rest.len.saturating_sub(len),
                    Err(e) => {
                        freed.error = Some(e);
                        break;
                    }
                }
                budget = budget.saturating_sub(1);
            }
            let end = rest.end();
            let short = extent.clip(FileBlock::ZERO, end);
            if end < extent.end() {
                freed.end = end;
                freed.short = short;
                if short.is_none() {
                    freed.gone = n;
                }
            }
            if rest.len > 0 || short.is_some() || freed.error.is_some() {
                break;
            }
        }
        if freed.gone == 0 && freed.short.is_none() {
            freed.end = freed.end.min(path.from);
        }
        freed
    }

    /// Frees blocks at the end of a run of data; yields how many are to be unmapped for that. A
    /// cluster that the run begins inside of stays if `before`, one that it ends inside of if
    /// `behind`.
    #[inline]
    fn free(&self, run: &Extent, before: bool, behind: bool) -> Result<u32, T::Error> {
        let mask = u64::from(self.cluster_mask);
        let (start, len) = (run.start.get(), u64::from(run.len));
        let end = start.saturating_add(len);
        let up = |block: u64| block.saturating_add(mask) & !mask;
        let first = if before { up(start) } else { start & !mask };
        let last = if behind { end & !mask } else { up(end) };
        let Some(count) = last.checked_sub(first).filter(|count| *count > 0) else {
            return Ok(run.len);
        };
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let freed = self.blocks.free(FsBlock::new(first), count, Was::Data)?;
        if freed >= count {
            return Ok(run.len);
        }
        let unmapped = end.saturating_sub(last.saturating_sub(freed.into()));
        let unmapped = u32::try_from(unmapped).unwrap_or(u32::MAX);
        Ok(unmapped.clamp(1, run.len.max(1)))
    }

    /// Whether two blocks are in one cluster, `b` not at its beginning.
    #[inline]
    fn same_cluster(&self, a: FileBlock, b: FileBlock) -> bool {
        let mask = self.cluster_mask;
        b.get() & mask != 0 && a.get() & !mask == b.get() & !mask
    }

    /// Whether the cluster of block `at` of entry `n` of a leaf, `extent`, has a block that is
    /// mapped before `at`. Which is so if `leaf` for the first entry's first block.
    #[inline]
    fn is_head_shared(
        &self,
        entries: Entries<'_, RawExtent>,
        n: usize,
        extent: &Extent,
        at: FileBlock,
        leaf: bool,
    ) -> Result<bool, ExtentError> {
        let within = at.get() & self.cluster_mask;
        if within == 0 {
            return Ok(false);
        }
        if at > extent.first {
            return Ok(true);
        }
        let Some(before) = n.checked_sub(1) else {
            return Ok(leaf);
        };
        let before = self.at(entries, Some(before))?;
        let start = FileBlock::new(at.get().wrapping_sub(within));
        Ok(before.is_some_and(|before| before.end() > start))
    }

    /// Finds out what [`Shared`] says for the range that ends with `to`; `first` is the first
    /// block of the path's leaf. Nobody has write access yet.
    #[inline]
    fn shared(
        &self,
        root: &Root,
        path: &Path<T>,
        first: Option<FileBlock>,
        to: FileBlock,
    ) -> Result<Shared, T::Error> {
        if self.cluster_mask == 0 {
            return Ok(Shared::default());
        }
        let leaf = match first {
            Some(first) => self.is_leaf_shared(root, path, first)?,
            None => false,
        };
        let within = to.get() & self.cluster_mask;
        let end = if within == 0 || to == FileBlock::END {
            false
        } else {
            let end = (to.get() | self.cluster_mask).saturating_add(1);
            self.is_mapped(root, to, FileBlock::new(end))?
        };
        Ok(Shared { leaf, end })
    }

    /// Whether the cluster of block `first`, the first of the path's leaf, has a block of an earlier
    /// leaf.
    #[inline]
    fn is_leaf_shared(
        &self,
        root: &Root,
        path: &Path<T>,
        first: FileBlock,
    ) -> Result<bool, T::Error> {
        let start = FileBlock::new(first.get() & !self.cluster_mask);
        if path.depth == 0 || start >= first {
            return Ok(false);
        }
        self.is_mapped(root, start, first)
    }

    /// Whether any block of `from..to`, which is not empty, is mapped.
    #[cold]
    fn is_mapped(&self, root: &Root, from: FileBlock, to: FileBlock) -> Result<bool, T::Error> {
        let last = FileBlock::new(to.get().saturating_sub(1));
        let mut path = Path::new();
        self.find(root, last, &mut path)?;
        let entries = path.leaf(root).map_err(Corrupt::from)?;
        let below = entries.up_to(last).checked_sub(1);
        let extent = self.at(entries, below).map_err(Corrupt::from)?;
        Ok(extent.is_some_and(|extent| extent.end() > from))
    }

    /// Takes a leaf that has lost all its entries out of the tree, with the nodes above that are
    /// empty without it.
    fn drop_leaf(
        &self,
        root: &mut Root,
        path: &mut Path<T>,
        ready: &mut Prepared<'_, T, B>,
    ) -> Result<(), T::Error> {
        let mut result = Ok(());
        let mut slot = 0usize;
        let mut n = path.last();
        while let Some((node, &level)) = n.and_then(|n| Some((n, path.level(n)?))) {
            if path.last() != n && level.shape.count > 1 {
                ready.cut(root, path, n, slot);
                return result;
            }
            // Write access is given up before the block is freed.
            drop(path.take(node));
            let freed = self.blocks.free(level.number, 1, Was::Metadata);
            result = result.and(freed.map(drop));
            slot = level.slot();
            n = node.checked_sub(1);
        }
        if path.depth > 0 && path.root.count > 1 {
            ready.cut(root, path, None, slot);
        } else if let Some(mut node) = NodeMut::root(root) {
            node.become_empty();
        }
        result
    }

    /// The end of a step that has unmapped `end` and what lies behind it.
    #[inline]
    fn go_on(&self, root: &Root, from: FileBlock, end: FileBlock) -> Result<Progress, T::Error> {
        let shape = Shape::of_root(root).map_err(Corrupt::from)?;
        let (_, depth) = Node::root(root).map_err(Corrupt::from)?;
        // An empty map has nothing to shrink either.
        if shape.count == 0 || (end <= from && (depth == 0 || shape.count > 1)) {
            Ok(Progress::Done)
        } else {
            Ok(Progress::More(end.max(from)))
        }
    }

    /// Lets the root take the place of its only child, if the child's entries fit. One level per
    /// step.
    fn shrink(&self, root: &mut Root, from: FileBlock) -> Result<Progress, T::Error> {
        let (node, depth) = Node::root(root).map_err(Corrupt::from)?;
        let (Node::Index(entries), Some(below)) = (node, depth.checked_sub(1)) else {
            return Ok(Progress::Done);
        };
        let (Some(raw), 1) = (entries.get(0), entries.len()) else {
            return Ok(Progress::Done);
        };
        let index = raw.check(self.bounds).map_err(Corrupt::from)?;
        let block = self.read(index.child)?;
        if Shape::of_block(&block, 0).map_err(Corrupt::from)?.count > ROOT_CAPACITY {
            return Ok(Progress::Done);
        }
        let child = Node::child(&block, below).map_err(Corrupt::from)?;
        if child.first() != Some(raw.first()) {
            return Err(Corrupt::from(ExtentError::OutsideParent).into());
        }
        // The entries are taken over first, aside: the block is let go before it is freed.
        let mut shrunk = *root;
        if let Some(mut node) = NodeMut::root(&mut shrunk) {
            node.become_child(&child);
        }
        drop(block);
        self.blocks.free(index.child, 1, Was::Metadata)?;
        *root = shrunk;
        self.go_on(root, from, from)
    }
}
