// SPDX-License-Identifier: GPL-2.0

//! What a lookup of a file's block yields.
//!
//! Extent trees, indirect maps and the extent status cache all answer with a [`Mapping`]: not
//! the one block that was asked for but the whole range around it of which the same can be said,
//! as far as the source could see it.

use crate::ondisk::extent::Extent;
use crate::ondisk::{FileBlock, FsBlock};

/// What is known about a range of file blocks. The block in it is where the range begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// Nothing is allocated; reads as zeros.
    Hole,
    /// Data in consecutive physical blocks.
    Written(FsBlock),
    /// Consecutive physical blocks that were allocated but never written; reads as zeros.
    Unwritten(FsBlock),
    /// Data in the page cache for which space has been reserved, and no blocks chosen. Only the
    /// extent status cache knows of it.
    Delayed,
    /// A hole on disk, and a write to blocks that were chosen for it is under way. Only the extent
    /// status cache knows of it; whoever writes knows the blocks.
    InFlight,
}

/// A range of file blocks and what it maps to.
///
/// A lookup's answer contains the block that was asked for, so `len` is at least 1; the range
/// ends at or before [`FileBlock::END`], except that the answer about `END` itself is a hole of
/// one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First logical block.
    pub lblk: FileBlock,
    /// Length in blocks.
    pub len: u32,
    /// What the range is.
    pub kind: MapKind,
}

impl Mapping {
    /// A hole from `from` up to, not including, `to`.
    #[inline]
    pub const fn hole(from: FileBlock, to: FileBlock) -> Self {
        Self {
            lblk: from,
            len: from.distance_to(to),
            kind: MapKind::Hole,
        }
    }

    /// The answer to a lookup of [`FileBlock::END`], which is never mapped.
    #[inline]
    pub const fn at_end() -> Self {
        Self {
            lblk: FileBlock::END,
            len: 1,
            kind: MapKind::Hole,
        }
    }

    /// One past the last logical block.
    #[inline]
    pub const fn end(&self) -> FileBlock {
        self.lblk.saturating_add(self.len)
    }

    /// Whether `at` lies in the range.
    #[inline]
    pub const fn contains(&self, at: FileBlock) -> bool {
        at.get().wrapping_sub(self.lblk.get()) < self.len
    }

    /// The physical block of the first logical block; `None` where the map on disk has none.
    #[inline]
    pub const fn physical(&self) -> Option<FsBlock> {
        match self.kind {
            MapKind::Hole | MapKind::Delayed | MapKind::InFlight => None,
            MapKind::Written(b) | MapKind::Unwritten(b) => Some(b),
        }
    }

    /// The part of the range in `from..to`; `None` if that is empty.
    #[inline]
    pub fn clip(&self, from: FileBlock, to: FileBlock) -> Option<Self> {
        let lblk = self.lblk.max(from);
        let len = lblk.distance_to(self.end().min(to));
        if len == 0 {
            return None;
        }
        let skip = u64::from(self.lblk.distance_to(lblk));
        let kind = match self.kind {
            plain @ (MapKind::Hole | MapKind::Delayed | MapKind::InFlight) => plain,
            MapKind::Written(b) => MapKind::Written(b.checked_add(skip)?),
            MapKind::Unwritten(b) => MapKind::Unwritten(b.checked_add(skip)?),
        };
        Some(Self { lblk, len, kind })
    }

    /// Takes `next` in if it goes on where `self` ends, logically and physically. Returns whether
    /// it did.
    #[inline]
    pub fn extend(&mut self, next: &Self) -> bool {
        let Some(len) = self.len.checked_add(next.len) else {
            return false;
        };
        let skip = u64::from(self.len);
        let continues = match (self.kind, next.kind) {
            (MapKind::Hole, MapKind::Hole)
            | (MapKind::Delayed, MapKind::Delayed)
            | (MapKind::InFlight, MapKind::InFlight) => true,
            (MapKind::Written(a), MapKind::Written(b))
            | (MapKind::Unwritten(a), MapKind::Unwritten(b)) => a.checked_add(skip) == Some(b),
            _ => false,
        };
        if continues && self.end() == next.lblk {
            self.len = len;
            true
        } else {
            false
        }
    }
}

impl From<Extent> for Mapping {
    #[inline]
    fn from(e: Extent) -> Self {
        let kind = if e.unwritten {
            MapKind::Unwritten(e.start)
        } else {
            MapKind::Written(e.start)
        };
        Self {
            lblk: e.first,
            len: e.len,
            kind,
        }
    }
}

/// Joins neighbouring ranges on their way to a visitor, and remembers the one around a block.
///
/// A file larger than an extent can be (128 MiB with 4 KiB blocks) is a chain of extents even
/// where it is contiguous on disk; nobody above wants to hear of the seams.
pub(super) struct Joiner<F> {
    visit: F,
    pending: Option<Mapping>,
    at: FileBlock,
    found: Option<Mapping>,
}

impl<F: FnMut(&Mapping)> Joiner<F> {
    /// Will pass ranges to `visit`, and find the one around `at`.
    #[inline]
    pub(super) fn new(at: FileBlock, visit: F) -> Self {
        Self {
            visit,
            pending: None,
            at,
            found: None,
        }
    }

    /// The next range, above all ranges before it and not empty.
    #[inline]
    pub(super) fn push(&mut self, next: Mapping) {
        if let Some(pending) = &mut self.pending {
            if pending.extend(&next) {
                return;
            }
        }
        self.flush();
        self.pending = Some(next);
    }

    #[inline]
    fn flush(&mut self) {
        if let Some(done) = self.pending.take() {
            if done.contains(self.at) {
                self.found = Some(done);
            }
            (self.visit)(&done);
        }
    }

    /// The end of the ranges; yields the joined one around `at`.
    #[inline]
    pub(super) fn finish(mut self) -> Option<Mapping> {
        self.flush();
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(lblk: u32, len: u32, start: u64) -> Mapping {
        Mapping {
            lblk: FileBlock::new(lblk),
            len,
            kind: MapKind::Written(FsBlock::new(start)),
        }
    }

    #[test]
    fn clip_moves_the_physical_start_along() {
        let m = written(10, 5, 100);
        let clip = |a, b| m.clip(FileBlock::new(a), FileBlock::new(b));
        assert_eq!(clip(0, 100), Some(m));
        assert_eq!(clip(12, 100), Some(written(12, 3, 102)));
        assert_eq!(clip(0, 12), Some(written(10, 2, 100)));
        assert_eq!(clip(15, 100), None);
        assert_eq!(clip(0, 10), None);
        assert_eq!(clip(14, 12), None);
    }

    #[test]
    fn extend_joins_only_what_goes_on() {
        let cases = [
            (written(15, 5, 105), true),
            (written(15, 5, 106), false),
            (written(16, 5, 106), false),
            (written(16, 5, 105), false),
            (written(5, 5, 95), false),
            (Mapping::hole(FileBlock::new(15), FileBlock::END), false),
            (
                Mapping {
                    kind: MapKind::Unwritten(FsBlock::new(105)),
                    ..written(15, 5, 0)
                },
                false,
            ),
        ];
        for (next, joins) in cases {
            let mut m = written(10, 5, 100);
            assert_eq!(m.extend(&next), joins, "{next:?}");
            assert_eq!(m.len, if joins { 10 } else { 5 });
        }
    }

    #[test]
    fn the_end_of_the_block_space_is_a_hole() {
        assert!(Mapping::at_end().contains(FileBlock::END));
        assert!(!Mapping::hole(FileBlock::ZERO, FileBlock::END).contains(FileBlock::END));
    }
}
