// SPDX-License-Identifier: GPL-2.0

//! Walking a directory's hash index.
//!
//! A [`Walk`] begins by reading the root. It goes to the leaf that holds a hash ([`Walk::seek`])
//! and from there from leaf to leaf in the order of the index. It holds the index blocks on its
//! path, at most three.
//!
//! Bounds: levels are limited by the format, a block may not be its own ancestor, and from a seek
//! on no more leaves are visited than the directory has blocks, however often the index names
//! them.

use crate::ondisk::dx::{DxError, DxIndex, MAX_LEVELS};
use crate::ondisk::FileBlock;

use super::dir::{index_failure, DirBlocks, Directory, IndexFailure};
use super::dirhash::DirHash;

/// An index block on the path, and the pair taken in it.
struct Frame<B> {
    lblk: FileBlock,
    block: B,
    pair: usize,
}

/// A pair of the index, for whoever wants to change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Branch {
    /// The index block that it is in; block 0 is the root.
    pub(super) node: FileBlock,
    /// Its place there.
    pub(super) pair: usize,
    /// How many pairs that block has.
    pub(super) count: usize,
}

/// The hashes that a block's pairs may have: those between its own pair in its parent and the
/// pair behind that. A block with others would make a reader miss names, or go round in circles.
struct Range {
    low: u32,
    high: u32,
}

impl Range {
    /// The root's.
    const ALL: Self = Self {
        low: 0,
        high: u32::MAX,
    };

    /// Whether all pairs are inside, given that they are in order.
    #[inline]
    fn check(&self, index: &DxIndex<'_>) -> Result<(), DxError> {
        let last = index.count().wrapping_sub(1);
        match (index.hash(1), index.hash(last)) {
            (Some(first), Some(last)) if first < self.low || last > self.high => {
                Err(DxError::Order)
            }
            _ => Ok(()),
        }
    }

    /// The range of what pair `nr` leads to.
    #[inline]
    fn narrow(&mut self, index: &DxIndex<'_>, nr: usize) {
        self.low = index.hash(nr).unwrap_or(self.low);
        self.high = index.hash(nr.wrapping_add(1)).unwrap_or(self.high);
    }
}

/// A position in the index: a leaf, and the way to it.
pub(super) struct Walk<'w, 'a, D: DirBlocks> {
    dir: &'w Directory<'a, D>,
    /// From the root down; `levels + 1` of them are in use.
    frames: [Option<Frame<D::Block>>; MAX_LEVELS],
    levels: usize,
    hash: DirHash,
    /// The leaf; block 0, the root, before the first seek.
    leaf: FileBlock,
    /// The hash that the leaf starts at, if the walk came to it from the one before.
    start: Option<u32>,
    /// Leaves that may still be visited.
    left: u32,
}

/// What comes after a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another leaf, whose hashes start at this one; bit 0 is the continuation mark.
    Leaf(u32),
    /// No other leaf; or, for a lookup, none that can hold the hash.
    End,
}

impl<'w, 'a, D: DirBlocks> Walk<'w, 'a, D> {
    /// Reads the root.
    #[inline]
    pub(super) fn new(dir: &'w Directory<'a, D>) -> Result<Self, IndexFailure<D::Error>> {
        let (block, info, hash) = dir.read_root()?;
        Ok(Self {
            dir,
            frames: [
                Some(Frame {
                    lblk: FileBlock::ZERO,
                    block,
                    pair: 0,
                }),
                None,
                None,
            ],
            levels: info.levels.into(),
            hash,
            leaf: FileBlock::ZERO,
            start: None,
            left: 0,
        })
    }

    /// Descends to the leaf for hash `target`, from wherever the walk is. After an error the walk
    /// is of no more use.
    pub(super) fn seek(&mut self, target: u32) -> Result<(), IndexFailure<D::Error>> {
        self.start = None;
        self.left = self.dir.block_count().get();
        let mut path = [FileBlock::ZERO; MAX_LEVELS];
        let mut range = Range::ALL;
        let frames = self.frames.iter_mut().take(self.levels.wrapping_add(1));
        for (level, frame) in frames.enumerate() {
            if level != 0 {
                let lblk = self.leaf;
                let block = self.dir.read_node(lblk)?;
                *frame = Some(Frame {
                    lblk,
                    block,
                    pair: 0,
                });
            }
            let Some(frame) = frame else {
                return Err(index_failure(DxError::TooDeep));
            };
            let index = self.dir.pairs(&frame.block, level == 0)?;
            range.check(&index).map_err(index_failure)?;
            frame.pair = index.search(target);
            range.narrow(&index, frame.pair);
            let child = index.block(frame.pair);
            self.leaf = child.ok_or_else(|| index_failure(DxError::Count))?;
            // Unused places hold 0, the root, which nothing may lead back to anyway.
            if path.contains(&self.leaf) {
                return Err(index_failure(DxError::Cycle));
            }
            if let Some(slot) = path.get_mut(level.wrapping_add(1)) {
                *slot = self.leaf;
            }
        }
        Ok(())
    }

    /// Whether the walk came to its leaf from the one before, and the leaf starts at this hash:
    /// then there is no need to seek.
    #[inline]
    pub(super) fn starts_at(&self, hash: u32) -> bool {
        self.start == Some(hash)
    }

    /// The function that orders this index.
    #[inline]
    pub(super) fn hash(&self) -> &DirHash {
        &self.hash
    }

    /// The leaf that the walk is at.
    #[inline]
    pub(super) fn leaf(&self) -> FileBlock {
        self.leaf
    }

    /// How many levels of index blocks there are between the root and the leaves.
    #[inline]
    pub(super) fn levels(&self) -> usize {
        self.levels
    }

    /// The pair taken in the index block of this level; the root's is 0.
    pub(super) fn branch(&self, level: usize) -> Result<Branch, IndexFailure<D::Error>> {
        let Some(Some(frame)) = self.frames.get(level) else {
            return Err(index_failure(DxError::TooDeep));
        };
        Ok(Branch {
            node: frame.lblk,
            pair: frame.pair,
            count: self.dir.pairs(&frame.block, level == 0)?.count(),
        })
    }

    /// The pair on the path that leads to block `child`, be that the leaf or an index block.
    pub(super) fn branch_to(&self, child: FileBlock) -> Option<Branch> {
        if child == self.leaf {
            return self.branch(self.levels).ok();
        }
        let below = self
            .frames
            .iter()
            .flatten()
            .take(self.levels.wrapping_add(1));
        let (level, _) = below
            .enumerate()
            .find(|(_, frame)| frame.lblk == child && child != FileBlock::ZERO)?;
        self.branch(level.checked_sub(1)?).ok()
    }

    /// Takes the index block of this level out of the walk, which is of no more use then.
    pub(super) fn take(&mut self, level: usize) -> Option<D::Block> {
        Some(self.frames.get_mut(level)?.take()?.block)
    }

    /// Suggests that the next `most` leaves below the same index block be read, for a reader who
    /// will want them all.
    pub(super) fn readahead(&self, most: u32) {
        let Some(Some(frame)) = self.frames.get(self.levels) else {
            return;
        };
        let Ok(index) = self.dir.pairs(&frame.block, self.levels == 0) else {
            return;
        };
        // Neighbours in the index are often neighbours on disk, after `e2fsck -D` always.
        let mut run: Option<(FileBlock, u32)> = None;
        for i in 1..=most as usize {
            let Some(leaf) = index.block(frame.pair.wrapping_add(i)) else {
                break;
            };
            run = match run {
                Some((start, len)) if start.saturating_add(len) == leaf => {
                    Some((start, len.wrapping_add(1)))
                }
                done => {
                    if let Some((start, len)) = done {
                        self.dir.blocks.readahead(start, len);
                    }
                    Some((leaf, 1))
                }
            };
        }
        if let Some((start, len)) = run {
            self.dir.blocks.readahead(start, len);
        }
    }

    /// Moves to the next leaf, whatever it holds.
    pub(super) fn advance(&mut self) -> Result<Next, IndexFailure<D::Error>> {
        self.step(None)
    }

    /// Moves to the next leaf if names with `hash` continue there.
    pub(super) fn advance_within(&mut self, hash: u32) -> Result<Next, IndexFailure<D::Error>> {
        self.step(Some(hash))
    }

    fn step(&mut self, within: Option<u32>) -> Result<Next, IndexFailure<D::Error>> {
        // The lowest level with another pair. The frames are left alone until it is certain that
        // the walk goes there.
        let mut level = self.levels;
        let (mut child, hash) = loop {
            let Some(Some(frame)) = self.frames.get_mut(level) else {
                return Ok(Next::End);
            };
            let index = self.dir.pairs(&frame.block, level == 0)?;
            let nr = frame.pair.wrapping_add(1);
            if let (Some(child), Some(hash)) = (index.block(nr), index.hash(nr)) {
                if within.is_some_and(|within| hash & !1 != within) {
                    return Ok(Next::End);
                }
                frame.pair = nr;
                break (child, hash);
            }
            match level.checked_sub(1) {
                Some(up) => level = up,
                None => return Ok(Next::End),
            }
        };
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => return Err(index_failure(DxError::Cycle)),
        }
        // Below the level that moved on, every level starts at its first pair.
        if level < self.levels {
            let mut range = Range::ALL;
            for (depth, frame) in (0..=level).zip(self.frames.iter().flatten()) {
                range.narrow(&self.dir.pairs(&frame.block, depth == 0)?, frame.pair);
            }
            let depth = self.levels.wrapping_sub(level);
            let below = self.frames.iter_mut().skip(level.wrapping_add(1));
            for frame in below.take(depth) {
                let block = self.dir.read_node(child)?;
                let index = self.dir.pairs(&block, false)?;
                range.check(&index).map_err(index_failure)?;
                range.narrow(&index, 0);
                let first = index.block(0);
                let lblk = child;
                child = first.ok_or_else(|| index_failure(DxError::Count))?;
                *frame = Some(Frame {
                    lblk,
                    block,
                    pair: 0,
                });
            }
        }
        self.leaf = child;
        self.start = Some(hash);
        Ok(Next::Leaf(hash))
    }
}
