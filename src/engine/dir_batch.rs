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
        self.key < other.key || (self.key == other.key && self.at < other.at)
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

    /// Brings what was kept into order. All keys must be `low` or above, and should be below
    /// `high`.
    pub(super) fn sort(&mut self, low: u64, high: u64) -> &[Record] {
        let kept = self.records.get_mut(..self.len).unwrap_or_default();
        let high = match kept.first() {
            Some(top) if self.truncated => top.key,
            _ => high,
        };
        sort(kept, low, high);
        kept
    }
}

/// Buckets of the first pass over a batch.
const BUCKETS: usize = 128;
/// More records than this in one bucket are more than an insertion sort should see.
const CROWD: u16 = 24;

/// Sorts records whose keys are spread evenly over some range, as the hashes of one leaf are, at
/// a cost that does not grow with their number: each goes into one of 128 buckets, in place, and
/// insertion sort does the rest. Keys that are spread unevenly, which takes a legacy hash or a
/// damaged index, are left to Shell sort.
///
/// The standard library's sort would do, but for its path to a panic.
#[inline(never)] // The buckets are on the stack no longer than needed.
fn sort(records: &mut [Record], low: u64, high: u64) {
    let bits = 64u32.wrapping_sub(high.wrapping_sub(low).leading_zeros());
    let shift = bits.saturating_sub(BUCKETS.trailing_zeros());
    // In the order of the keys, wherever `high` is.
    let bucket = |record: &Record| {
        let spread = record.key.wrapping_sub(low).wrapping_shr(shift);
        spread.min(BUCKETS as u64 - 1) as usize
    };
    let mut ends = [0u16; BUCKETS];
    let Ok(_) = u16::try_from(records.len()) else {
        return shell_sort(records);
    };
    for record in records.iter() {
        if let Some(end) = ends.get_mut(bucket(record)) {
            *end = end.wrapping_add(1);
        }
    }
    let (mut sum, mut most) = (0u16, 0u16);
    for end in ends.iter_mut() {
        most = most.max(*end);
        sum = sum.wrapping_add(*end);
        *end = sum;
    }
    if most > CROWD {
        return shell_sort(records);
    }
    // A bucket is filled from its end downwards. Each round takes the record at `at`, which may
    // belong anywhere, puts it where it belongs, goes on with the one that was there, and stops
    // with one that belongs at `at`.
    for at in 0..sum {
        let Some(&taken) = records.get(usize::from(at)) else {
            break;
        };
        let mut moving = taken;
        // An end at or below `at` means that this record has been put here before.
        while let Some(end) = ends.get_mut(bucket(&moving)).filter(|end| **end > at) {
            *end = end.wrapping_sub(1);
            if *end == at {
                break;
            }
            let Some(slot) = records.get_mut(usize::from(*end)) else {
                break;
            };
            core::mem::swap(slot, &mut moving);
        }
        if let Some(slot) = records.get_mut(usize::from(at)) {
            *slot = moving;
        }
    }
    insertion_sort(records, 1);
}

/// Shell sort with Ciura's gaps.
fn shell_sort(records: &mut [Record]) {
    const GAPS: [usize; 11] = [7983, 3548, 1577, 701, 301, 132, 57, 23, 10, 4, 1];
    for gap in GAPS {
        if gap < records.len() {
            insertion_sort(records, gap);
        }
    }
}

/// Sorts each of the `gap` sequences of records that are `gap` apart.
#[inline]
fn insertion_sort(records: &mut [Record], gap: usize) {
    for start in gap..records.len() {
        let Some(&moving) = records.get(start) else {
            break;
        };
        let mut hole = start;
        while let Some(below) = hole.checked_sub(gap) {
            let Some(&record) = records.get(below).filter(|record| moving.before(**record)) else {
                break;
            };
            if let Some(slot) = records.get_mut(hole) {
                *slot = record;
            }
            hole = below;
        }
        if hole == start {
            continue;
        }
        if let Some(slot) = records.get_mut(hole) {
            *slot = moving;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(n: usize, mut key: impl FnMut(u64) -> u64) -> Vec<Record> {
        (0..n as u64)
            .map(|i| Record { key: key(i), at: i })
            .collect()
    }

    fn sorted(mut all: Vec<Record>) -> Vec<Record> {
        all.sort_by_key(|r| (r.key, r.at));
        all
    }

    #[test]
    fn sorts_whatever_the_spread() {
        let mut x = 1u64;
        let mut random = |_| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            x ^ (x >> 29)
        };
        for n in [0, 1, 2, 3, 10, 100, 137, 341, 4096] {
            let even = records(n, &mut random);
            for all in [
                even.clone(),
                even.iter().rev().copied().collect(),
                sorted(even.clone()),
                even.iter()
                    .map(|r| Record {
                        key: r.key >> 40,
                        ..*r
                    })
                    .collect(),
                even.iter()
                    .map(|r| Record {
                        key: r.key & 3,
                        ..*r
                    })
                    .collect(),
                even.iter().map(|r| Record { key: 7, at: r.key }).collect(),
                // Crowded: all but one at the low end.
                even.iter()
                    .map(|r| Record {
                        key: if r.at == 5 { u64::MAX } else { r.key >> 20 },
                        ..*r
                    })
                    .collect(),
            ] {
                let expected = sorted(all.clone());
                let low = expected.first().map_or(0, |r| r.key);
                let high = expected.last().map_or(0, |r| r.key);
                let middle = expected.get(n / 2).map_or(0, |r| r.key);
                for (low, high) in [(low, high), (0, u64::MAX), (low, middle), (low, low)] {
                    let mut got = all.clone();
                    sort(&mut got, low, high);
                    assert_eq!(got, expected);
                }
            }
        }
        let mut many = records(70_000, &mut random);
        let expected = sorted(many.clone());
        sort(&mut many, 0, u64::MAX);
        assert_eq!(many, expected);
    }

    #[test]
    fn keeps_the_smallest() {
        for room in [1usize, 2, 3, 10, 64] {
            for n in [0usize, 1, 2, 3, 9, 10, 11, 63, 64, 65, 500] {
                let all = records(n, |i| (i * 7919) % 100);
                let mut memory = vec![Record::EMPTY; room];
                let mut batch = Batch::new(&mut memory);
                for &record in &all {
                    batch.push(record);
                }
                assert_eq!(batch.truncated(), n > room);
                assert_eq!(batch.len(), n.min(room));
                let mut expected = sorted(all);
                expected.truncate(room);
                assert_eq!(batch.sort(0, u64::MAX), expected);
            }
        }
    }

    #[test]
    fn record_fields() {
        let r = Record::new(u64::MAX, u16::MAX, FileBlock::new(u32::MAX), 65524);
        assert_eq!(r.key(), u64::MAX);
        assert_eq!(r.lblk(), FileBlock::new(u32::MAX));
        assert_eq!(r.offset(), 65524);
        assert!(Record::new(1, 1, FileBlock::ZERO, 0).before(Record::new(
            1,
            2,
            FileBlock::ZERO,
            0
        )));
    }
}
