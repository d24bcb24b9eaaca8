// SPDX-License-Identifier: GPL-2.0

//! The smallest records of a stream, in order, in memory that the caller lends.
//!
//! Reading a directory in hash order means sorting a leaf's entries, or those of several leaves
//! where a hash continues from one to the next. A leaf may hold more entries than there is room
//! for: then only the smallest are kept, and the reader comes back for the rest. So memory is
//! constant, whatever the disk says.
//!
//! Invariant: the first `len` records are what was kept; once `truncated`, they form a heap with
//! the largest on top until `sort` is called.

use crate::ondisk::FileBlock;

/// Where an entry is and how it sorts. 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Major and minor hash (`NameHash::key`).
    key: u64,
    /// Sorts entries of equal key in the order in which they are met: the leaf's place in its
    /// chain (16 bits), the leaf (32 bits), the offset in it in words of 4 bytes (16 bits).
    at: u64,
}

impl Record {
    /// A record to fill fresh memory with.
    pub const EMPTY: Self = Self { key: 0, at: 0 };

    /// An entry at `offset` bytes (a multiple of 4, below 256 KiB) in block `lblk`, the
    /// `chain`-th leaf of the chain.
    #[inline]
    pub(super) fn new(key: u64, chain: u16, lblk: FileBlock, offset: usize) -> Self {
        let word = (offset >> 2) as u16;
        let at = (u64::from(chain) << 48) | (u64::from(lblk.get()) << 16) | u64::from(word);
        Self { key, at }
    }

    #[inline]
    pub(super) fn key(self) -> u64 {
        self.key
    }

    #[inline]
    pub(super) fn lblk(self) -> FileBlock {
        FileBlock::new((self.at >> 16) as u32)
    }

    #[inline]
    pub(super) fn offset(self) -> usize {
        usize::from(self.at as u16) << 2
    }

    #[inline]
    fn before(self, other: Self) -> bool {
        let wide = |r: Self| (u128::from(r.key) << 64) | u128::from(r.at);
        wide(self) < wide(other)
    }
}

/// A selection in progress.
pub(super) struct Batch<'m> {
    records: &'m mut [Record],
    len: usize,
    truncated: bool,
}

impl<'m> Batch<'m> {
    /// Starts with nothing selected.
    #[inline]
    pub(super) fn new(records: &'m mut [Record]) -> Self {
        Self {
            records,
            len: 0,
            truncated: false,
        }
    }

    /// Number of records kept so far.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether records were left out for lack of room.
    #[inline]
    pub(super) fn truncated(&self) -> bool {
        self.truncated
    }

    /// Adds a record, if there is room or it comes before one that was kept.
    #[inline]
    pub(super) fn push(&mut self, record: Record) {
        match self.records.get_mut(self.len) {
            Some(slot) => {
                *slot = record;
                self.len = self.len.wrapping_add(1);
            }
            None => self.replace(record),
        }
    }

    #[cold]
    fn replace(&mut self, record: Record) {
        if !self.truncated {
            self.truncated = true;
            let mut root = self.records.len() >> 1;
            while let Some(up) = root.checked_sub(1) {
                root = up;
                self.sift_down(root);
            }
        }
        if let Some(top) = self.records.first_mut() {
            if record.before(*top) {
                *top = record;
                self.sift_down(0);
            }
        }
    }

    /// Moves the record at `root` down until none below it is larger.
    fn sift_down(&mut self, root: usize) {
        let Some(&moving) = self.records.get(root) else {
            return;
        };
        let mut hole = root;
        // A child's index is more than twice its parent's, so this ends with the slice.
        loop {
            let mut child = hole.wrapping_mul(2).wrapping_add(1);
            let Some(&left) = self.records.get(child) else {
                break;
            };
            let mut larger = left;
            if let Some(&right) = self.records.get(child.wrapping_add(1)) {
                if left.before(right) {
                    larger = right;
                    child = child.wrapping_add(1);
                }
            }
            if !moving.before(larger) {
                break;
            }
            if let Some(slot) = self.records.get_mut(hole) {
                *slot = larger;
            }
            hole = child;
        }
        if let Some(slot) = self.records.get_mut(hole) {
            *slot = moving;
        }
    }

    /// Brings what was kept into order.
    pub(super) fn sort(&mut self) -> &[Record] {
        let kept = self.records.get_mut(..self.len).unwrap_or_default();
        sort(kept);
        kept
    }
}

/// Shell sort with Ciura's gaps: in place, no recursion, no allocation, no worst case that a
/// directory could be built to meet (a leaf's few hundred records cost about ten steps each),
/// and, unlike the standard library's, no path to a panic.
fn sort(records: &mut [Record]) {
    const GAPS: [usize; 11] = [7983, 3548, 1577, 701, 301, 132, 57, 23, 10, 4, 1];
    for gap in GAPS {
        if gap >= records.len() {
            continue;
        }
        for start in gap..records.len() {
            let Some(&moving) = records.get(start) else {
                break;
            };
            let mut hole = start;
            while let Some(below) = hole.checked_sub(gap) {
                match records.get(below) {
                    Some(&record) if moving.before(record) => {
                        if let Some(slot) = records.get_mut(hole) {
                            *slot = record;
                        }
                        hole = below;
                    }
                    _ => break,
                }
            }
            if let Some(slot) = records.get_mut(hole) {
                *slot = moving;
            }
        }
    }
}
