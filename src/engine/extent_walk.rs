// SPDX-License-Identifier: GPL-2.0

//! From a file block to a physical block through an extent tree.
//!
//! A descent reads one node per level. What bounds it is the depth in the root, which is at most
//! 5, and that each child must be exactly one less deep than its parent. Between parent and child
//! these rules are checked in each descent, since a buffer is verified by itself and only once:
//! - a child's first entry begins where the index that points to it begins (so no node can serve
//!   two indexes, and a hole before a subtree needs no read);
//! - a child's entries end at or before the parent's next index.
//!
//! Only the entries that a descent uses are checked; that the others do not overlap them was
//! established when the node was verified, see `ondisk::extent`.
//!
//! Locking: the tree must not change during a call (the caller holds the inode's data lock).

use core::ops::ControlFlow;

use super::mapping::{Joiner, Mapping};
use super::source::BlockSource;
use crate::ondisk::bounds::BlockBounds;
use crate::ondisk::extent::{
    verify_block, Entries, Extent, ExtentError, Node, RawEntry as _, RawExtent, RawIndex, ROOT_SIZE,
};
use crate::ondisk::{Corrupt, FileBlock, FsBlock};

/// An inode's extent tree: the root in `i_block` and what is needed to check the rest.
pub struct ExtentTree<'a, B> {
    root: &'a [u8; ROOT_SIZE],
    seed: Option<u32>,
    bounds: &'a B,
}

/// The end of a descent: a leaf, and the logical range that its parents leave to it.
struct Found<K> {
    /// The block that holds the leaf; `None` for the root.
    leaf: Option<K>,
    /// First logical block of the range.
    from: FileBlock,
    /// One past the last logical block of the range.
    to: FileBlock,
}

/// Where a descent can end.
enum Descent<K> {
    Leaf(Found<K>),
    /// Before the first index of the root: nothing to read.
    Hole(Mapping),
}

impl<'a, B: BlockBounds> ExtentTree<'a, B> {
    /// The tree of an inode whose `i_block` is `root` and whose checksum seed is `seed` (`None`
    /// without metadata checksums). `root` should have passed
    /// [`verify_root`](crate::ondisk::extent::verify_root) when the inode was read.
    #[inline]
    pub fn new(root: &'a [u8; ROOT_SIZE], seed: Option<u32>, bounds: &'a B) -> Self {
        Self { root, seed, bounds }
    }

    /// The extent or the hole around logical block `at`. A hole is whole: it reaches from the
    /// extent before it to the extent after it, or to the ends of the block space.
    ///
    /// May sleep in `source`. Errors: from `source`, or [`Corrupt::Extent`].
    pub fn lookup<S: BlockSource>(&self, source: &S, at: FileBlock) -> Result<Mapping, S::Error> {
        if at >= FileBlock::END {
            return Ok(Mapping::at_end());
        }
        match self.descend(source, at)? {
            Descent::Hole(hole) => Ok(hole),
            Descent::Leaf(found) => Ok(self.search(&found, at).map_err(Corrupt::from)?),
        }
    }

    /// Like [`lookup`](Self::lookup), and offers everything that the leaf tells to `visit`:
    /// extents and the holes between them, in order, neighbours that continue each other joined.
    /// The answer is the joined range around `at`. The visitor fills a cache from one read.
    ///
    /// On an error some ranges may have been offered; each of them is what the disk says.
    pub fn lookup_leaf<S, F>(
        &self,
        source: &S,
        at: FileBlock,
        visit: F,
    ) -> Result<Mapping, S::Error>
    where
        S: BlockSource,
        F: FnMut(&Mapping),
    {
        if at >= FileBlock::END {
            return Ok(Mapping::at_end());
        }
        let mut joiner = Joiner::new(at, visit);
        match self.descend(source, at)? {
            Descent::Hole(hole) => joiner.push(hole),
            Descent::Leaf(found) => {
                self.each(&found, |m| joiner.push(m))
                    .map_err(Corrupt::from)?;
            }
        }
        // The ranges of a leaf fill `from..to`, which contains `at`.
        Ok(joiner
            .finish()
            .ok_or(Corrupt::from(ExtentError::OutsideParent))?)
    }

    /// Passes the ranges that cover `from..to` to `visit`, extents and holes in order, as they
    /// stand in the tree (not joined, not clipped at either end), until `visit` breaks.
    ///
    /// Reads each leaf once. Bounded by the leaves of the tree: each of them is a block of its
    /// own, since its first block is unique.
    pub fn walk<S, F>(
        &self,
        source: &S,
        from: FileBlock,
        to: FileBlock,
        mut visit: F,
    ) -> Result<(), S::Error>
    where
        S: BlockSource,
        F: FnMut(&Mapping) -> ControlFlow<()>,
    {
        let to = to.min(FileBlock::END);
        let mut at = from;
        while at < to {
            let mut stop = false;
            let mut offer = |m: Mapping| {
                if !stop && m.end() > at && m.lblk < to {
                    stop = visit(&m).is_break();
                }
            };
            let end = match self.descend(source, at)? {
                Descent::Hole(hole) => {
                    offer(hole);
                    hole.end()
                }
                Descent::Leaf(found) => {
                    self.each(&found, &mut offer).map_err(Corrupt::from)?;
                    found.to
                }
            };
            // `at` lay below `end`: each turn makes progress.
            if stop || end <= at {
                break;
            }
            at = end;
        }
        Ok(())
    }

    /// Visits all nodes but the root, each after those below it. `visit` may change nothing but a node's
    /// checksum.
    ///
    /// May sleep in `source`. Errors: from `source` and `visit`, or [`Corrupt::Extent`]. No more nodes than
    /// there are blocks are visited: what a node begins with says where it belongs, and what it has lies before
    /// what follows it.
    pub fn each_node<S, F>(&self, source: &S, visit: &mut F) -> Result<(), S::Error>
    where
        S: BlockSource,
        F: FnMut(S::Block) -> Result<(), S::Error>,
    {
        let (root, depth) = Node::root(self.root).map_err(Corrupt::from)?;
        self.each_below(source, &root, depth, FileBlock::END, visit)
    }

    /// The same below `node`, whose depth is `depth`: one less with each call, and at most 5. What it has
    /// lies before `to`.
    fn each_below<S, F>(
        &self,
        source: &S,
        node: &Node<'_>,
        depth: u16,
        to: FileBlock,
        visit: &mut F,
    ) -> Result<(), S::Error>
    where
        S: BlockSource,
        F: FnMut(S::Block) -> Result<(), S::Error>,
    {
        let (Node::Index(entries), Some(below)) = (node, depth.checked_sub(1)) else {
            return Ok(());
        };
        for (n, raw) in entries.iter().enumerate() {
            let index = raw.check(self.bounds).map_err(Corrupt::from)?;
            let next = entries.get(n.saturating_add(1)).map(|next| next.first());
            let to = next.unwrap_or(to);
            if index.first >= to {
                return Err(Corrupt::from(ExtentError::Unsorted).into());
            }
            let verify = |bytes: &[u8]| verify_block(bytes, self.seed, self.bounds);
            let block = source.read(index.child, verify)?;
            let child = Node::child(&block, below).map_err(Corrupt::from)?;
            if child.first() != Some(index.first) {
                return Err(Corrupt::from(ExtentError::OutsideParent).into());
            }
            if let Node::Leaf(extents) = &child {
                let last = extents.len().checked_sub(1).and_then(|n| extents.get(n));
                let last = last.map(|raw| raw.check(self.bounds)).transpose();
                if last
                    .map_err(Corrupt::from)?
                    .is_some_and(|last| last.end() > to)
                {
                    return Err(Corrupt::from(ExtentError::OutsideParent).into());
                }
            }
            self.each_below(source, &child, below, to, visit)?;
            visit(block)?;
        }
        Ok(())
    }

    /// Goes down to the leaf whose range contains `at`, which is below `END`.
    fn descend<S: BlockSource>(
        &self,
        source: &S,
        at: FileBlock,
    ) -> Result<Descent<S::Block>, S::Error> {
        let (root, depth) = Node::root(self.root).map_err(Corrupt::from)?;
        let mut found = Found {
            leaf: None,
            from: FileBlock::ZERO,
            to: FileBlock::END,
        };
        let Node::Index(entries) = root else {
            return Ok(Descent::Leaf(found));
        };
        if let Some(first) = entries.first() {
            if at < first {
                return Ok(Descent::Hole(Mapping::hole(FileBlock::ZERO, first)));
            }
        }
        // `left` is the depth of the next node to read.
        let mut next = self.step(entries, at, &mut found.from, &mut found.to);
        for left in (0..depth).rev() {
            let child = next.map_err(Corrupt::from)?;
            let block = source.read(child, |bytes| verify_block(bytes, self.seed, self.bounds))?;
            let node = Node::child(&block, left).map_err(Corrupt::from)?;
            if node.first() != Some(found.from) {
                return Err(Corrupt::from(ExtentError::OutsideParent).into());
            }
            match node {
                Node::Leaf(_) => {
                    found.leaf = Some(block);
                    return Ok(Descent::Leaf(found));
                }
                Node::Index(entries) => {
                    next = self.step(entries, at, &mut found.from, &mut found.to);
                }
            }
        }
        // `Node::child` yields a leaf at depth 0, so that the loop has returned.
        Err(Corrupt::from(ExtentError::BadDepth).into())
    }

    /// Chooses the entry of an index node for `at` and narrows `from..to` to its range.
    #[inline]
    fn step(
        &self,
        entries: Entries<'_, RawIndex>,
        at: FileBlock,
        from: &mut FileBlock,
        to: &mut FileBlock,
    ) -> Result<FsBlock, ExtentError> {
        let (raw, next) = entries.at_or_before(at).ok_or(ExtentError::OutsideParent)?;
        let index = raw.check(self.bounds)?;
        if index.first < *from {
            return Err(ExtentError::OutsideParent);
        }
        if let Some(next) = next {
            // Above `at` if the node is sorted; a search in one that is not may end anywhere.
            if next <= at {
                return Err(ExtentError::Unsorted);
            }
            if next >= *to {
                return Err(ExtentError::OutsideParent);
            }
            *to = next;
        }
        *from = index.first;
        Ok(index.child)
    }

    /// The entries of the leaf that a descent has found.
    #[inline]
    fn entries<'f, K>(&'f self, found: &'f Found<K>) -> Result<Entries<'f, RawExtent>, ExtentError>
    where
        K: core::ops::Deref<Target = [u8]>,
    {
        let node = match &found.leaf {
            Some(block) => Node::child(block, 0)?,
            None => Node::root(self.root)?.0,
        };
        match node {
            Node::Leaf(entries) => Ok(entries),
            Node::Index(_) => Err(ExtentError::BadDepth),
        }
    }

    /// The extent or hole around `at` in the leaf.
    fn search<K>(&self, found: &Found<K>, at: FileBlock) -> Result<Mapping, ExtentError>
    where
        K: core::ops::Deref<Target = [u8]>,
    {
        let entries = self.entries(found)?;
        let Some((raw, next)) = entries.at_or_before(at) else {
            // Before the first extent, or in an empty file: the root, as elsewhere a node's
            // first entry begins where its range does.
            let to = entries.first().unwrap_or(found.to);
            if to <= at {
                return Err(ExtentError::Unsorted);
            }
            return Ok(Mapping::hole(found.from, to));
        };
        let extent = self.check(raw, found.from, found.to)?;
        if at < extent.end() {
            return Ok(extent.into());
        }
        let to = next.unwrap_or(found.to);
        if to <= at {
            return Err(ExtentError::Unsorted);
        }
        if to > found.to {
            return Err(ExtentError::OutsideParent);
        }
        Ok(Mapping::hole(extent.end(), to))
    }

    /// Every extent and hole of the leaf, in order.
    #[inline]
    fn each<K, F>(&self, found: &Found<K>, mut visit: F) -> Result<(), ExtentError>
    where
        K: core::ops::Deref<Target = [u8]>,
        F: FnMut(Mapping),
    {
        let mut at = found.from;
        for raw in self.entries(found)?.iter() {
            let extent = self.check(raw, at, found.to)?;
            if at < extent.first {
                visit(Mapping::hole(at, extent.first));
            }
            visit(extent.into());
            at = extent.end();
        }
        if at < found.to {
            visit(Mapping::hole(at, found.to));
        }
        Ok(())
    }

    /// Checks an extent, and that it lies in `from..to`.
    #[inline]
    fn check(
        &self,
        raw: &RawExtent,
        from: FileBlock,
        to: FileBlock,
    ) -> Result<Extent, ExtentError> {
        let extent = raw.check(self.bounds)?;
        if extent.first < from || extent.end() > to {
            return Err(ExtentError::OutsideParent);
        }
        Ok(extent)
    }
}
