// SPDX-License-Identifier: GPL-2.0

//! What of a file is not on disk yet, as its extent status cache knows it: delayed ranges, which
//! hold a reservation each, and ranges in flight.
//!
//! These are facts that exist nowhere else. So [`clear`](ExtentMap::clear) is not for a map that has
//! any ([`settled`](ExtentMap::settled) says so), and whoever replaces a delayed range by something
//! else has to give back what was reserved for it: [`delayed_clusters`](ExtentMap::delayed_clusters)
//! counts that, before and after.

use super::{ExtentMap, Range, RangeStore, RangeValue, KIND_DELAYED, KIND_IN_FLIGHT, KIND_MASK};
use crate::engine::mapping::Mapping;
use crate::ondisk::FileBlock;

impl RangeValue {
    /// Whether the range's newest contents are on disk, as far as the cache knows.
    fn is_settled(self) -> bool {
        !self.is_unmapped()
    }

    fn is_delayed(self) -> bool {
        self.0 & KIND_MASK == KIND_DELAYED
    }

    fn is_unmapped(self) -> bool {
        matches!(self.0 & KIND_MASK, KIND_DELAYED | KIND_IN_FLIGHT)
    }
}

impl<S: RangeStore> ExtentMap<'_, S> {
    /// The known range that contains `at`, or else the first one above it. For the writer.
    fn next(&self, at: u32) -> Option<Range> {
        if self.inline.is_spilled() {
            return self.store.find(at);
        }
        let ranges = self.inline.load();
        let found = ranges.iter().find(|range| range.last >= at).copied();
        found
    }

    /// Visits the known ranges that have blocks in `first..=last`, in order, until `visit` says that
    /// it has seen enough (`false`).
    fn visit(&self, first: u32, last: u32, mut visit: impl FnMut(&Range) -> bool) {
        let mut at = first;
        // Each turn goes past one range.
        while let Some(range) = self.next(at).filter(|_| first <= last) {
            if range.first > last || range.last < at || !visit(&range) || range.last >= last {
                return;
            }
            at = range.last.saturating_add(1);
        }
    }

    /// How many clusters of `2^bits` blocks that have blocks of `from..to` have delayed blocks, in that
    /// range or outside: each holds a reservation. Writer.
    #[must_use]
    pub fn delayed_clusters(&self, from: FileBlock, to: FileBlock, bits: u32) -> u32 {
        self.count(from, to, bits, RangeValue::is_delayed)
    }

    /// The same for stretches of `2^bits` blocks that have blocks which are delayed or in flight: those
    /// will need a place in the file's map. Writer.
    #[must_use]
    pub fn unmapped_stretches(&self, from: FileBlock, to: FileBlock, bits: u32) -> u32 {
        self.count(from, to, bits, RangeValue::is_unmapped)
    }

    fn count(
        &self,
        from: FileBlock,
        to: FileBlock,
        bits: u32,
        counts: impl Fn(RangeValue) -> bool,
    ) -> u32 {
        let Some(last) = to.get().checked_sub(1).filter(|last| *last >= from.get()) else {
            return 0;
        };
        let inside = 1u32.wrapping_shl(bits).wrapping_sub(1);
        let (first, last) = (from.get() & !inside, last | inside);
        let (mut count, mut next) = (0u32, 0u32);
        self.visit(first, last, |range| {
            if counts(range.value) {
                let a = range.first.max(first).wrapping_shr(bits).max(next);
                let b = range.last.min(last).wrapping_shr(bits).saturating_add(1);
                count = count.saturating_add(b.saturating_sub(a));
                next = next.max(b);
            }
            true
        });
        count
    }

    /// Whether block `at` is delayed. Writer.
    #[must_use]
    pub fn is_delayed(&self, at: FileBlock) -> bool {
        self.delayed_run(at) != 0
    }

    /// The first block at or above `from` whose newest contents are not on disk. Writer.
    pub fn first_unsettled(&self, from: FileBlock) -> Option<FileBlock> {
        let mut found = None;
        self.visit(from.get(), u32::MAX, |range| {
            if range.value.is_settled() {
                return true;
            }
            found = Some(FileBlock::new(range.first.max(from.get())));
            false
        });
        found
    }

    /// Whether everything that is known stands on disk as well, so that it can be forgotten. Writer.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.first_unsettled(FileBlock::ZERO).is_none()
    }

    /// The part of `m` around `at` of which nothing is known; `m`, which the tree on disk has yielded,
    /// contains `at`. `None` if something is known of `at`. Writer.
    #[must_use]
    pub fn clip_to_unknown(&self, m: &Mapping, at: FileBlock) -> Option<Mapping> {
        let (mut from, mut to) = (m.lblk, m.end());
        let last = to.get().checked_sub(1)?;
        let mut known = false;
        self.visit(m.lblk.get(), last, |range| {
            if range.last < at.get() {
                from = FileBlock::new(range.last.saturating_add(1));
                return true;
            }
            known = range.first <= at.get();
            to = FileBlock::new(range.first);
            false
        });
        if known {
            return None;
        }
        m.clip(from, to.min(m.end()))
    }

    /// The next delayed blocks at or above `at`, in a row, if the first is `at` itself. Writer.
    #[must_use]
    pub fn delayed_run(&self, at: FileBlock) -> u32 {
        match self.next(at.get()) {
            Some(range) if range.first <= at.get() && range.value.is_delayed() => {
                range.last.saturating_sub(at.get()).saturating_add(1)
            }
            _ => 0,
        }
    }

    /// Forgets what is known of `from..to` but for what is delayed. Writer. Errors: the store's; the
    /// map then knows some of it.
    pub fn remove_settled(&self, from: FileBlock, to: FileBlock) -> Result<(), S::Error> {
        self.remove_where(from, to, |value| !value.is_delayed())
    }

    /// Forgets what is delayed in `from..to`, and nothing else. Writer. Errors: the store's; the map
    /// then knows some of it.
    pub fn remove_delayed(&self, from: FileBlock, to: FileBlock) -> Result<(), S::Error> {
        self.remove_where(from, to, RangeValue::is_delayed)
    }

    fn remove_where(
        &self,
        from: FileBlock,
        to: FileBlock,
        goes: impl Fn(RangeValue) -> bool,
    ) -> Result<(), S::Error> {
        let mut at = from;
        // Each turn goes past one range.
        while let Some(range) = self.next(at.get()).filter(|range| range.first < to.get()) {
            let end = FileBlock::new(range.last.saturating_add(1)).min(to);
            if goes(range.value) {
                self.remove(at.max(FileBlock::new(range.first)), end)?;
            }
            if end <= at || end >= to {
                break;
            }
            at = end;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{InlineMap, RangeValue};
    use super::*;
    use crate::engine::mapping::MapKind;
    use crate::ondisk::FsBlock;
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    /// A store for the host: first block -> last block and value.
    #[derive(Default)]
    struct Tree(RefCell<BTreeMap<u32, (u32, u64)>>);

    impl Tree {
        fn cut(&self, first: u32, last: u32) {
            let mut map = self.0.borrow_mut();
            let hit: Vec<_> = map
                .range(..=last)
                .filter(|(_, v)| v.0 >= first)
                .map(|(k, v)| (*k, *v))
                .collect();
            for (a, (b, value)) in hit {
                map.remove(&a);
                if a < first {
                    map.insert(a, (first - 1, value));
                }
                if b > last {
                    map.insert(last + 1, (b, value));
                }
            }
        }
    }

    impl RangeStore for Tree {
        type Error = ();

        fn find(&self, at: u32) -> Option<Range> {
            let map = self.0.borrow();
            map.iter()
                .find(|(_, v)| v.0 >= at)
                .map(|(first, (last, value))| Range {
                    first: *first,
                    last: *last,
                    value: RangeValue::from_raw(*value),
                })
        }

        fn store(&self, range: Range) -> Result<(), ()> {
            assert!(range.first <= range.last, "the maple tree refuses that");
            self.cut(range.first, range.last);
            let mut map = self.0.borrow_mut();
            let (mut first, mut last, value) = (range.first, range.last, range.value.raw());
            if let Some((&before, _)) = map
                .range(..first)
                .next_back()
                .filter(|(_, v)| **v == (first.wrapping_sub(1), value))
            {
                first = before;
            }
            if let Some((to, _)) = map
                .get(&last.wrapping_add(1))
                .filter(|v| v.1 == value)
                .copied()
            {
                map.remove(&(last + 1));
                last = to;
            }
            map.insert(first, (last, value));
            Ok(())
        }

        fn erase(&self, first: u32, last: u32) -> Result<(), ()> {
            self.cut(first, last);
            Ok(())
        }

        fn clear(&self) {
            self.0.borrow_mut().clear();
        }
    }

    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Model {
        Unknown,
        Kind(MapKind),
    }

    fn at_disk(block: u32) -> FsBlock {
        FsBlock::new(u64::from(block) + 1000)
    }

    /// Random changes, and everything that is asked, against an array.
    #[test]
    fn model() {
        const BLOCKS: u32 = 96;
        for seed in 1..60u32 {
            let (inline, store) = (InlineMap::new(), Tree::default());
            let cache = ExtentMap::new(&inline, &store);
            let mut model = vec![Model::Unknown; BLOCKS as usize];
            let mut state = seed.wrapping_mul(0x9e37_79b9);
            let mut random = |n: u32| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                state % n
            };
            for _ in 0..300 {
                let first = random(BLOCKS);
                let most = 1 + random(20);
                // Also none at all.
                let len = random((BLOCKS - first).min(most) + 1);
                let (from, to) = (FileBlock::new(first), FileBlock::new(first + len));
                let span = first as usize..(first + len) as usize;
                match random(10) {
                    n @ 0..=4 => {
                        let kind = match n {
                            0 => MapKind::Hole,
                            1 => MapKind::Written(at_disk(first)),
                            2 => MapKind::Unwritten(at_disk(first)),
                            3 => MapKind::Delayed,
                            _ => MapKind::InFlight,
                        };
                        let lblk = from;
                        let m = Mapping { lblk, len, kind };
                        cache.set(&m).unwrap();
                        for block in span {
                            let at = FileBlock::new(block as u32);
                            let part = m.clip(at, at.saturating_add(1)).unwrap();
                            model[block] = Model::Kind(part.kind);
                        }
                    }
                    5 => {
                        cache.remove(from, to).unwrap();
                        model[span].fill(Model::Unknown);
                    }
                    6 | 7 => {
                        cache.remove_delayed(from, to).unwrap();
                        for block in &mut model[span] {
                            if *block == Model::Kind(MapKind::Delayed) {
                                *block = Model::Unknown;
                            }
                        }
                    }
                    _ => {
                        cache.remove_settled(from, to).unwrap();
                        for block in &mut model[span] {
                            if *block != Model::Kind(MapKind::Delayed) {
                                *block = Model::Unknown;
                            }
                        }
                    }
                }
                ask(&cache, &model, random(BLOCKS), random(BLOCKS));
            }
        }
    }

    fn ask(cache: &ExtentMap<'_, Tree>, model: &[Model], a: u32, b: u32) {
        let unsettled = |m: &Model| matches!(m, Model::Kind(MapKind::Delayed | MapKind::InFlight));
        for (block, expected) in model.iter().enumerate() {
            let at = FileBlock::new(block as u32);
            let found = cache
                .lookup(at)
                .map(|m| m.clip(at, at.saturating_add(1)).unwrap().kind);
            let kind = match expected {
                Model::Unknown => None,
                Model::Kind(kind) => Some(*kind),
            };
            assert_eq!(found, kind, "block {block}");
        }
        let (from, to) = (a.min(b), a.max(b));
        let (first, last) = (FileBlock::new(from), FileBlock::new(to));
        let is_delayed = |m: &Model| *m == Model::Kind(MapKind::Delayed);
        for bits in 0..4 {
            let clusters = model.chunks(1 << bits).enumerate().filter(|(n, blocks)| {
                let n = *n as u32;
                let touched = from < to && (from >> bits..=(to - 1) >> bits).contains(&n);
                touched && blocks.iter().any(is_delayed)
            });
            let count = clusters.count() as u32;
            assert_eq!(cache.delayed_clusters(first, last, bits), count);
            let unmapped = |m: &Model| is_delayed(m) || *m == Model::Kind(MapKind::InFlight);
            let stretches = model.chunks(1 << bits).enumerate().filter(|(n, blocks)| {
                let n = *n as u32;
                let touched = from < to && (from >> bits..=(to - 1) >> bits).contains(&n);
                touched && blocks.iter().any(unmapped)
            });
            let count = stretches.count() as u32;
            assert_eq!(cache.unmapped_stretches(first, last, bits), count);
        }
        assert_eq!(cache.is_delayed(first), is_delayed(&model[from as usize]));
        let next = model.iter().skip(from as usize).position(unsettled);
        let next = next.map(|n| FileBlock::new(n as u32 + from));
        assert_eq!(cache.first_unsettled(first), next);
        assert_eq!(cache.settled(), !model.iter().any(unsettled));
        let run = model
            .iter()
            .skip(from as usize)
            .take_while(|m| **m == Model::Kind(MapKind::Delayed));
        assert_eq!(cache.delayed_run(first), run.count() as u32);
        let hole = Mapping::hole(FileBlock::ZERO, FileBlock::new(model.len() as u32));
        let gap = cache.clip_to_unknown(&hole, first);
        if model[from as usize] == Model::Unknown {
            let known = |m: &&Model| **m != Model::Unknown;
            let before = model[..from as usize].iter().rev();
            let before = before.take_while(|m| !known(m)).count() as u32;
            let after = model[from as usize..].iter();
            let after = after.take_while(|m| !known(m)).count() as u32;
            let gap = gap.unwrap();
            assert_eq!((gap.lblk.get(), gap.len), (from - before, before + after));
        } else {
            assert_eq!(gap, None);
        }
    }
}
