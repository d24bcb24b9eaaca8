// SPDX-License-Identifier: GPL-2.0

//! The extent status cache: what is known in memory of where an inode's blocks are.
//!
//! Per inode, a set of disjoint ranges of file blocks, each with a value that says what the range
//! is. A block in no range is unknown, and the tree on disk has to be asked. One or two ranges
//! stand in the inode itself ([`InlineMap`]), which is all that most files need; with a third,
//! all of them move to a [`RangeStore`] (in the kernel a maple tree) and stay there until the map
//! is cleared.
//!
//! # Invariants
//! - Ranges do not overlap, and neighbours that continue each other are one range.
//! - A range's value holds `physical - logical`, so that any part of a range has the value of the
//!   whole: a store may cut a range without knowing what the value means.
//! - While the map has spilled, the inline slots are empty.
//!
//! # Concurrency
//! Everything but the lookups is for one writer at a time, under a lock, between the two ends of
//! a sequence count's write section. [`InlineMap::lookup_relaxed`] and [`ExtentMap::lookup`] may
//! run beside a writer, provided that the store can be read so (RCU) and the caller
//! 1. reads the sequence count (odd: a writer is at work, take the lock instead),
//! 2. looks up,
//! 3. reads the count again, after a read barrier, and throws the answer away if it moved.
//!
//! The words are atomics, loaded and stored relaxed: a racing reader may see halves of two
//! states, which step 3 discards; it never sees undefined behaviour, nor a panic.

mod unsettled;

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::mapping::{MapKind, Mapping};
use crate::ondisk::{FileBlock, FsBlock};

/// What a range of the cache is, packed so that it fits a value entry of the kernel's maple tree
/// (63 bits on a 64-bit machine).
///
/// | bits | meaning |
/// |---|---|
/// | 0..3 | kind: 1 hole, 2 written, 3 unwritten, 4 delayed, 5 in flight; others are invalid |
/// | 3..51 | physical minus logical block, modulo 2^48; 0 for kinds without a physical block |
/// | 51..62 | zero |
///
/// The modulus loses nothing: the format's block numbers have 48 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeValue(u64);

const KIND_BITS: u32 = 3;
const KIND_MASK: u64 = (1 << KIND_BITS) - 1;
const KIND_HOLE: u64 = 1;
const KIND_WRITTEN: u64 = 2;
const KIND_UNWRITTEN: u64 = 3;
const KIND_DELAYED: u64 = 4;
const KIND_IN_FLIGHT: u64 = 5;
/// Physical block numbers have 48 bits.
const BLOCK_MASK: u64 = (1 << 48) - 1;

impl RangeValue {
    /// The value for a mapping's range. `None` for a physical block of more than 48 bits, which
    /// no extent can name.
    #[inline]
    pub fn of(m: &Mapping) -> Option<Self> {
        let (kind, start) = match m.kind {
            MapKind::Hole => return Some(Self(KIND_HOLE)),
            MapKind::Delayed => return Some(Self(KIND_DELAYED)),
            MapKind::InFlight => return Some(Self(KIND_IN_FLIGHT)),
            MapKind::Written(b) => (KIND_WRITTEN, b.get()),
            MapKind::Unwritten(b) => (KIND_UNWRITTEN, b.get()),
        };
        if start > BLOCK_MASK {
            return None;
        }
        let delta = start.wrapping_sub(u64::from(m.lblk.get())) & BLOCK_MASK;
        Some(Self((delta << KIND_BITS) | kind))
    }

    /// What a store gave back for a value that it was given by [`raw`](Self::raw).
    #[inline]
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// The value as a number below 2^51, never 0.
    #[inline]
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// The mapping of `len` blocks from `lblk` in a range of this value; `None` if this is not a
    /// value that [`of`](Self::of) can have made (a torn read).
    #[inline]
    pub fn mapping(self, lblk: FileBlock, len: u32) -> Option<Mapping> {
        let delta = self.0 >> KIND_BITS;
        let start = FsBlock::new(delta.wrapping_add(u64::from(lblk.get())) & BLOCK_MASK);
        let kind = match self.0 & KIND_MASK {
            KIND_HOLE => MapKind::Hole,
            KIND_WRITTEN => MapKind::Written(start),
            KIND_UNWRITTEN => MapKind::Unwritten(start),
            KIND_DELAYED => MapKind::Delayed,
            KIND_IN_FLIGHT => MapKind::InFlight,
            _ => return None,
        };
        Some(Mapping { lblk, len, kind })
    }
}

/// A range of file blocks with its value; `last` is the last block in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First logical block.
    pub first: u32,
    /// Last logical block, not below `first`.
    pub last: u32,
    /// What the range is.
    pub value: RangeValue,
}

impl Range {
    /// The range of a mapping; `None` if it is empty or has no value.
    #[inline]
    fn of(m: &Mapping) -> Option<Self> {
        let first = m.lblk.get();
        // The end is at most END, so the last block is below it.
        let last = m.end().get().checked_sub(1)?;
        if last < first {
            return None;
        }
        Some(Self {
            first,
            last,
            value: RangeValue::of(m)?,
        })
    }

    /// The mapping of the whole range.
    #[inline]
    fn mapping(&self) -> Option<Mapping> {
        let len = self.last.checked_sub(self.first)?.checked_add(1)?;
        self.value.mapping(FileBlock::new(self.first), len)
    }
}

/// Where ranges are kept once there are more than the inode has room for: an ordered map from
/// disjoint ranges to values, which does not need to understand the values.
///
/// All methods take `&self`: the writers' lock is not the store's, see the module's head.
pub trait RangeStore {
    /// Why a change failed: no memory.
    type Error;

    /// The range that contains `at`, or else the first one above it.
    fn find(&self, at: u32) -> Option<Range>;

    /// Gives all of `range` its value. What other ranges had in it is replaced; their parts
    /// outside keep their values. It is one range with those of the same value that it touches.
    /// On an error nothing has changed.
    fn store(&self, range: Range) -> Result<(), Self::Error>;

    /// Makes `first..=last` unknown; parts of ranges outside keep their values. May need memory
    /// to cut a range in two. On an error nothing has changed.
    fn erase(&self, first: u32, last: u32) -> Result<(), Self::Error>;

    /// Makes everything unknown.
    fn clear(&self);
}

/// How many ranges stand in the inode.
const SLOTS: usize = 2;

/// In slot 0's span: the ranges are in the store. Length 0 makes it match no block.
const SPILLED: u64 = 1 << 32;

/// The part of the map that stands in the inode: two ranges, 32 bytes.
///
/// A slot is two words: the span (first block in the upper half, length in the lower; length 0 is
/// an empty slot) and the value.
#[derive(Debug, Default)]
pub struct InlineMap {
    words: [AtomicU64; SLOTS * 2],
}

impl InlineMap {
    /// A map that knows nothing.
    pub const fn new() -> Self {
        Self {
            words: [const { AtomicU64::new(0) }; SLOTS * 2],
        }
    }

    /// The known range around `at`, if it stands in the inode. Beside a writer the answer is
    /// valid only if the sequence count did not move, see the module's head.
    #[inline]
    pub fn lookup_relaxed(&self, at: FileBlock) -> Option<Mapping> {
        let [span0, value0, span1, value1] = &self.words;
        for (span, value) in [(span0, value0), (span1, value1)] {
            let span = span.load(Relaxed);
            let (first, len) = ((span >> 32) as u32, span as u32);
            if at.get().wrapping_sub(first) < len {
                let value = RangeValue(value.load(Relaxed));
                return value.mapping(FileBlock::new(first), len);
            }
        }
        None
    }

    /// Whether the ranges are in the store: a miss here means that one has to look there. Beside
    /// a writer as for [`lookup_relaxed`](Self::lookup_relaxed).
    #[inline]
    pub fn is_spilled(&self) -> bool {
        let [span0, ..] = &self.words;
        span0.load(Relaxed) == SPILLED
    }

    /// The ranges in the inode, in order.
    fn load(&self) -> Ranges {
        let mut ranges = Ranges::default();
        let [span0, value0, span1, value1] = &self.words;
        for (span, value) in [(span0, value0), (span1, value1)] {
            let span = span.load(Relaxed);
            let (first, len) = ((span >> 32) as u32, span as u32);
            if len != 0 {
                let last = first.saturating_add(len.wrapping_sub(1));
                ranges.push(Range {
                    first,
                    last,
                    value: RangeValue(value.load(Relaxed)),
                });
            }
        }
        ranges
    }

    /// Writer only: replaces the contents by up to two ranges.
    fn save(&self, a: Option<&Range>, b: Option<&Range>) {
        let [span0, value0, span1, value1] = &self.words;
        for (span, value, range) in [(span0, value0, a), (span1, value1, b)] {
            let (s, v) = match range {
                // A range ends below END = u32::MAX, so its length fits 32 bits.
                Some(r) => {
                    let len = r.last.wrapping_sub(r.first).wrapping_add(1);
                    ((u64::from(r.first) << 32) | u64::from(len), r.value.0)
                }
                None => (0, 0),
            };
            span.store(s, Relaxed);
            value.store(v, Relaxed);
        }
    }

    /// Writer only: gives `new` from the second range to the first, if it stands between the two and
    /// goes on with the first: what is written at the end of a file goes on with its data, and takes
    /// from the hole behind. Whether that was so.
    #[inline]
    fn advance(&self, new: &Range) -> bool {
        let [span0, value0, span1, _] = &self.words;
        let (a, b) = (span0.load(Relaxed), span1.load(Relaxed));
        let ((first, len), (behind, left)) = ((a >> 32, a as u32), (b >> 32, b as u32));
        let more = new.last.wrapping_sub(new.first).wrapping_add(1);
        let goes_on = len != 0
            && value0.load(Relaxed) == new.value.0
            && first.wrapping_add(len.into()) == u64::from(new.first)
            && behind == u64::from(new.first);
        // Some of it stays; so the length of `new` is not 2^32.
        if !goes_on || more >= left {
            return false;
        }
        // Both ends are below 2^32, so that nothing spills over.
        span0.store(a.wrapping_add(more.into()), Relaxed);
        let by = (u64::from(more) << 32).wrapping_sub(more.into());
        span1.store(b.wrapping_add(by), Relaxed);
        true
    }

    /// Writer only: says that the ranges are in the store.
    fn set_spilled(&self) {
        self.save(None, None);
        let [span0, ..] = &self.words;
        span0.store(SPILLED, Relaxed);
    }
}

/// The most ranges that a change of two can lead to: the two, and one new before, between and
/// after them.
const SCRATCH: usize = SLOTS * 2 + 1;

/// A few ranges in order, for working out a change of the inline slots.
#[derive(Default)]
struct Ranges {
    ranges: [Option<Range>; SCRATCH],
    len: usize,
}

impl Ranges {
    /// Appends a range above all others, as part of the last one if it continues that. A full
    /// array does not take it (see [`SCRATCH`]).
    fn push(&mut self, range: Range) {
        let last = self.len.checked_sub(1).and_then(|n| self.ranges.get_mut(n));
        if let Some(Some(last)) = last {
            if last.value == range.value && last.last.checked_add(1) == Some(range.first) {
                last.last = range.last;
                return;
            }
        }
        if let Some(slot) = self.ranges.get_mut(self.len) {
            *slot = Some(range);
            self.len = self.len.wrapping_add(1);
        }
    }

    /// Appends `first..=last` unless it is empty.
    fn push_span(&mut self, first: u32, last: Option<u32>, value: RangeValue) {
        match last {
            Some(last) if first <= last => self.push(Range { first, last, value }),
            _ => {}
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Range> {
        self.ranges.iter().flatten()
    }

    /// These ranges, with `new` where nothing was known.
    fn filled(&self, new: &Range) -> Self {
        let mut out = Self::default();
        // What of `new` is still to be placed; past `last` when all of it is.
        let mut at = Some(new.first);
        for old in self.iter() {
            if let Some(from) = at {
                let to = old.first.checked_sub(1).map(|to| to.min(new.last));
                out.push_span(from, to, new.value);
                if old.last >= from {
                    at = old.last.checked_add(1);
                }
            }
            out.push(*old);
        }
        if let Some(from) = at {
            out.push_span(from, Some(new.last), new.value);
        }
        out
    }

    /// These ranges, with `first..=last` replaced by `value`, or unknown if that is `None`.
    fn replaced(&self, first: u32, last: u32, value: Option<RangeValue>) -> Self {
        let mut out = Self::default();
        let mut new = value.map(|value| Range { first, last, value });
        for old in self.iter() {
            // The part of `old` before the range, then the range, then the part after it.
            if old.first < first {
                let to = first.checked_sub(1).map(|to| to.min(old.last));
                out.push_span(old.first, to, old.value);
            }
            if old.last >= first {
                if let Some(new) = new.take() {
                    out.push(new);
                }
            }
            if let Some(after) = last.checked_add(1) {
                out.push_span(old.first.max(after), Some(old.last), old.value);
            }
        }
        if let Some(new) = new {
            out.push(new);
        }
        out
    }
}

/// The extent map of one inode: its inline slots and its store.
pub struct ExtentMap<'a, S> {
    inline: &'a InlineMap,
    store: &'a S,
}

impl<'a, S: RangeStore> ExtentMap<'a, S> {
    /// Joins the two parts of an inode's map. `store` must be empty unless `inline` has spilled.
    #[inline]
    pub fn new(inline: &'a InlineMap, store: &'a S) -> Self {
        Self { inline, store }
    }

    /// The known range around `at`; `None` if nothing is known of it.
    #[inline]
    pub fn lookup(&self, at: FileBlock) -> Option<Mapping> {
        if !self.inline.is_spilled() {
            return self.inline.lookup_relaxed(at);
        }
        self.find(at.get())?.mapping()
    }

    /// The range of the store that contains `at`.
    #[inline]
    fn find(&self, at: u32) -> Option<Range> {
        self.store
            .find(at)
            .filter(|r| r.first <= at && at <= r.last)
    }

    /// Adds what the tree on disk says about a range. Parts of which something is known already
    /// keep it: the cache may know of changes that are not on disk yet.
    ///
    /// A hole that would be the first range to need the store is not kept: most often it is the
    /// one behind the last block of a small file, and asking the inode again is cheaper.
    ///
    /// Writer. Errors: the store's; the map then knows some of the range, or none. That is no
    /// loss, since the disk can be asked again.
    pub fn fill(&self, m: &Mapping) -> Result<(), S::Error> {
        let Some(new) = Range::of(m) else {
            return Ok(());
        };
        if self.inline.is_spilled() {
            return self.fill_store(new);
        }
        let ranges = self.inline.load().filled(&new);
        if ranges.len > SLOTS && m.kind == MapKind::Hole {
            return Ok(());
        }
        self.save(&ranges)
    }

    /// Replaces whatever is known of a range.
    ///
    /// Writer. Errors: the store's; the map is unchanged.
    pub fn set(&self, m: &Mapping) -> Result<(), S::Error> {
        let Some(new) = Range::of(m) else {
            return Ok(());
        };
        if self.inline.is_spilled() {
            return self.store.store(new);
        }
        if self.inline.advance(&new) {
            return Ok(());
        }
        self.save(
            &self
                .inline
                .load()
                .replaced(new.first, new.last, Some(new.value)),
        )
    }

    /// Forgets what is known of `from..to`.
    ///
    /// Writer. Errors: the store's (cutting a range may need memory); the map is unchanged.
    pub fn remove(&self, from: FileBlock, to: FileBlock) -> Result<(), S::Error> {
        let Some(last) = to.get().checked_sub(1) else {
            return Ok(());
        };
        let first = from.get();
        if last < first {
            return Ok(());
        }
        if self.inline.is_spilled() {
            return self.store.erase(first, last);
        }
        self.save(&self.inline.load().replaced(first, last, None))
    }

    /// Forgets everything, and gives the store's memory back. Writer.
    pub fn clear(&self) {
        let spilled = self.inline.is_spilled();
        self.inline.save(None, None);
        if spilled {
            self.store.clear();
        }
    }

    /// Whether every block of `m` is known. For the writer, before it opens a write section: a
    /// [`fill`](Self::fill) would then change nothing.
    pub fn knows(&self, m: &Mapping) -> bool {
        let mut at = m.lblk;
        // Each turn goes past one known range.
        while at < m.end() {
            match self.lookup(at) {
                Some(known) if known.end() > at => at = known.end(),
                _ => return false,
            }
        }
        true
    }

    /// Writes back a change of the inline slots, moving to the store what does not fit.
    fn save(&self, ranges: &Ranges) -> Result<(), S::Error> {
        if ranges.len <= SLOTS {
            let mut all = ranges.iter();
            self.inline.save(all.next(), all.next());
            return Ok(());
        }
        for range in ranges.iter() {
            if let Err(e) = self.store.store(*range) {
                // The inline slots still say what they said.
                self.store.clear();
                return Err(e);
            }
        }
        self.inline.set_spilled();
        Ok(())
    }

    fn fill_store(&self, new: Range) -> Result<(), S::Error> {
        let mut at = new.first;
        // Each turn goes past one known range or fills one gap.
        while at <= new.last {
            let next = self.store.find(at);
            at = match next {
                Some(known) if known.first <= at => {
                    let Some(after) = known.last.max(at).checked_add(1) else {
                        break;
                    };
                    after
                }
                _ => {
                    let gap_end = next
                        .and_then(|r| r.first.checked_sub(1))
                        .unwrap_or(u32::MAX);
                    let last = gap_end.min(new.last);
                    self.store.store(Range {
                        first: at,
                        last,
                        ..new
                    })?;
                    let Some(after) = last.checked_add(1) else {
                        break;
                    };
                    after
                }
            };
        }
        Ok(())
    }
}
