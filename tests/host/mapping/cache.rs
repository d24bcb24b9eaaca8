// SPDX-License-Identifier: GPL-2.0

//! The extent status cache against an array.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use proptest::prelude::*;

use rext4::engine::extent_map::{ExtentMap, InlineMap, Range, RangeStore, RangeValue};
use rext4::engine::mapping::{MapKind, Mapping};
use rext4::ondisk::{FileBlock, FsBlock};

use crate::trees::cases;

/// An ordered map from ranges to values that, as the kernel's maple tree, does not merge, and
/// that can be made to run out of memory.
#[derive(Default)]
struct Store {
    /// First block to last block and value.
    ranges: RefCell<BTreeMap<u32, (u32, RangeValue)>>,
    /// How many more changes succeed.
    memory: Cell<Option<u32>>,
}

impl Store {
    fn spend(&self) -> Result<(), ()> {
        match self.memory.get() {
            Some(0) => Err(()),
            left => {
                self.memory.set(left.map(|n| n - 1));
                Ok(())
            }
        }
    }

    fn cut(&self, first: u32, last: u32) {
        let mut ranges = self.ranges.borrow_mut();
        let hit: Vec<_> = ranges
            .iter()
            .filter(|(f, (l, _))| **f <= last && *l >= first)
            .map(|(f, (l, v))| (*f, *l, *v))
            .collect();
        for (f, l, v) in hit {
            ranges.remove(&f);
            if f < first {
                ranges.insert(f, (first - 1, v));
            }
            if l > last {
                ranges.insert(last + 1, (l, v));
            }
        }
    }
}

impl RangeStore for Store {
    type Error = ();

    fn find(&self, at: u32) -> Option<Range> {
        let ranges = self.ranges.borrow();
        let range = |(f, (l, v)): (&u32, &(u32, RangeValue))| Range {
            first: *f,
            last: *l,
            value: RangeValue::from_raw(v.raw()),
        };
        let before = ranges
            .range(..=at)
            .next_back()
            .map(range)
            .filter(|r| r.last >= at);
        before.or_else(|| ranges.range(at..).next().map(range))
    }

    fn store(&self, range: Range) -> Result<(), ()> {
        self.spend()?;
        assert!(range.first <= range.last && range.value.raw() < 1 << 51);
        assert_ne!(range.value.raw(), 0);
        self.cut(range.first, range.last);
        let mut ranges = self.ranges.borrow_mut();
        let (mut first, mut last) = (range.first, range.last);
        let before = ranges.range(..first).next_back();
        if let Some((f, (l, v))) = before.map(|(f, r)| (*f, *r)) {
            if l.checked_add(1) == Some(first) && v == range.value {
                first = f;
            }
        }
        let behind = last.checked_add(1).and_then(|next| ranges.get(&next));
        if let Some((l, v)) = behind.copied() {
            if v == range.value {
                ranges.remove(&(last + 1));
                last = l;
            }
        }
        ranges.insert(first, (last, range.value));
        Ok(())
    }

    fn erase(&self, first: u32, last: u32) -> Result<(), ()> {
        self.spend()?;
        self.cut(first, last);
        Ok(())
    }

    fn clear(&self) {
        self.ranges.borrow_mut().clear();
    }
}

/// How many blocks the model has.
const BLOCKS: u32 = 48;

/// What a block is: nothing known, or a kind with its physical block.
type Model = [Option<MapKind>; BLOCKS as usize];

/// The kind of the block `by` after the first of a range.
fn at_offset(kind: MapKind, by: u32) -> MapKind {
    let moved = |b: FsBlock| FsBlock::new(b.get() + u64::from(by));
    match kind {
        MapKind::Hole | MapKind::Delayed | MapKind::InFlight => kind,
        MapKind::Written(b) => MapKind::Written(moved(b)),
        MapKind::Unwritten(b) => MapKind::Unwritten(moved(b)),
    }
}

#[derive(Clone, Debug)]
enum Op {
    Fill(Mapping),
    Set(Mapping),
    Remove(u32, u32),
    Clear,
}

fn range() -> impl Strategy<Value = (u32, u32)> {
    (0..BLOCKS, 1..=BLOCKS).prop_map(|(first, len)| (first, len.min(BLOCKS - first)))
}

fn mapping() -> impl Strategy<Value = Mapping> {
    // Few physical places, at both ends of the number space, so that neighbours often continue
    // each other.
    let base = prop_oneof![Just(0u64), Just(100), Just((1 << 48) - u64::from(BLOCKS))];
    (range(), base, 0..5u32).prop_map(|((first, len), base, kind)| {
        let start = FsBlock::new(base + u64::from(first));
        let kind = match kind {
            0 => MapKind::Hole,
            1 | 2 => MapKind::Unwritten(start),
            _ => MapKind::Written(start),
        };
        Mapping {
            lblk: FileBlock::new(first),
            len,
            kind,
        }
    })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => mapping().prop_map(Op::Fill),
        4 => mapping().prop_map(Op::Set),
        3 => range().prop_map(|(first, len)| Op::Remove(first, first + len)),
        1 => Just(Op::Clear),
    ]
}

/// What `op` makes of the model.
fn apply(model: &Model, op: &Op) -> Model {
    let mut model = *model;
    let (Op::Fill(m) | Op::Set(m)) = op else {
        match op {
            Op::Remove(from, to) => model[*from as usize..*to as usize].fill(None),
            _ => model = [None; BLOCKS as usize],
        }
        return model;
    };
    for by in 0..m.len {
        let block = &mut model[(m.lblk.get() + by) as usize];
        if block.is_none() || matches!(op, Op::Set(_)) {
            *block = Some(at_offset(m.kind, by));
        }
    }
    model
}

/// The longest range of the model around `at`: the cache stores unions.
fn around(model: &Model, at: u32) -> Option<Mapping> {
    let kind = model[at as usize]?;
    let fits = |n: u32| match (model[n as usize], n >= at) {
        (Some(k), true) => k == at_offset(kind, n - at),
        (Some(k), false) => kind == at_offset(k, at - n),
        (None, _) => false,
    };
    let first = (0..at).rev().take_while(|n| fits(*n)).last().unwrap_or(at);
    let last = (at..BLOCKS).take_while(|n| fits(*n)).last().unwrap_or(at);
    let kind = model[first as usize]?;
    Some(Mapping {
        lblk: FileBlock::new(first),
        len: last - first + 1,
        kind,
    })
}

fn matches(map: &ExtentMap<'_, Store>, model: &Model) -> bool {
    (0..BLOCKS).all(|at| map.lookup(FileBlock::new(at)) == around(model, at))
}

/// Number of ranges in the model.
fn ranges(model: &Model) -> usize {
    let starts = (0..BLOCKS).filter(|at| around(model, *at).is_some_and(|m| m.lblk.get() == *at));
    starts.count()
}

fn run(map: &ExtentMap<'_, Store>, op: &Op) -> Result<(), ()> {
    match op {
        Op::Fill(m) => map.fill(m),
        Op::Set(m) => map.set(m),
        Op::Remove(from, to) => map.remove(FileBlock::new(*from), FileBlock::new(*to)),
        Op::Clear => {
            map.clear();
            Ok(())
        }
    }
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn the_cache_agrees_with_an_array(ops in prop::collection::vec(op(), 1..60)) {
        let (inline, store) = (InlineMap::new(), Store::default());
        let map = ExtentMap::new(&inline, &store);
        let mut model: Model = [None; BLOCKS as usize];
        let mut spilled = false;
        for op in &ops {
            let after = apply(&model, op);
            prop_assert_eq!(run(&map, op), Ok(()));
            // A hole alone does not make the map spill; then it is not kept at all.
            let skipped = matches!(op, Op::Fill(m) if m.kind == MapKind::Hole)
                && !spilled
                && ranges(&after) > 2;
            model = if skipped { model } else { after };
            prop_assert!(matches(&map, &model), "after {:?}", op);
            spilled = !matches!(op, Op::Clear) && (spilled || ranges(&model) > 2);
            prop_assert_eq!(inline.is_spilled(), spilled);
            if spilled {
                prop_assert_eq!(store.ranges.borrow().len(), ranges(&model));
            } else {
                prop_assert!(store.ranges.borrow().is_empty());
            }
            if let (Op::Fill(m) | Op::Set(m), false) = (op, skipped) {
                prop_assert!(map.knows(m));
            }
            if let Op::Fill(m) = op {
                let known = (m.lblk.get()..m.end().get()).all(|at| model[at as usize].is_some());
                prop_assert_eq!(map.knows(m), known);
                // What is known changes nothing.
                prop_assert_eq!(map.fill(m), Ok(()));
                prop_assert!(matches(&map, &model));
            }
        }
    }

    #[test]
    fn without_memory_nothing_false_is_known(ops in prop::collection::vec((op(), 0..6u32), 1..60)) {
        let (inline, store) = (InlineMap::new(), Store::default());
        let map = ExtentMap::new(&inline, &store);
        // What each block would be if every change had succeeded is not known any more after a
        // failure; what it may be is: as before, or as after the change.
        let mut model: Model = [None; BLOCKS as usize];
        for (op, memory) in &ops {
            let after = apply(&model, op);
            store.memory.set(Some(*memory));
            let done = run(&map, op);
            store.memory.set(None);
            for at in 0..BLOCKS {
                let known = map.lookup(FileBlock::new(at)).map(|m| {
                    at_offset(m.kind, at - m.lblk.get())
                });
                let i = at as usize;
                match (done, op) {
                    (Ok(()), Op::Fill(m)) if m.kind == MapKind::Hole => {
                        prop_assert!(known == after[i] || known == model[i]);
                    }
                    (Ok(()), _) => prop_assert_eq!(known, after[i]),
                    (Err(()), Op::Fill(_)) => {
                        prop_assert!(known == after[i] || known == model[i]);
                    }
                    (Err(()), _) => prop_assert_eq!(known, model[i]),
                }
                model[i] = known;
            }
        }
    }

    #[test]
    fn values_come_back(lblk in any::<u32>(), start in 0u64..1 << 48, len in 1..1000u32, kind in 0..3) {
        let start = FsBlock::new(start);
        let kind = [MapKind::Hole, MapKind::Written(start), MapKind::Unwritten(start)][kind as usize];
        let m = Mapping { lblk: FileBlock::new(lblk), len, kind };
        let value = RangeValue::of(&m).expect("48 bits");
        prop_assert!(value.raw() > 0 && value.raw() < 1 << 51);
        prop_assert_eq!(RangeValue::from_raw(value.raw()).mapping(m.lblk, len), Some(m));
    }

    #[test]
    fn any_word_is_a_mapping_or_nothing(raw in any::<u64>(), lblk in any::<u32>()) {
        let m = RangeValue::from_raw(raw).mapping(FileBlock::new(lblk), 1);
        prop_assert_eq!(m.is_some(), (1..=5).contains(&(raw & 7)));
        let wide = m.and_then(|m| m.physical()).is_some_and(|b| b.get() >> 48 != 0);
        prop_assert!(!wide);
    }
}

#[test]
fn the_ends_of_the_block_space() {
    let (inline, store) = (InlineMap::new(), Store::default());
    let map = ExtentMap::new(&inline, &store);
    let last = FileBlock::new(u32::MAX - 1);
    let whole = Mapping::hole(FileBlock::ZERO, FileBlock::END);
    map.fill(&whole).unwrap();
    assert_eq!(map.lookup(FileBlock::ZERO), Some(whole));
    assert_eq!(map.lookup(last), Some(whole));
    assert_eq!(map.lookup(FileBlock::END), None);
    map.fill(&Mapping::at_end()).unwrap();
    assert_eq!(map.lookup(FileBlock::END), None);
    let end = Mapping {
        lblk: last,
        len: 1,
        kind: MapKind::Written(FsBlock::new(5)),
    };
    map.set(&end).unwrap();
    assert_eq!(map.lookup(last), Some(end));
    let start = Mapping {
        lblk: FileBlock::ZERO,
        ..end
    };
    map.set(&start).unwrap();
    assert!(inline.is_spilled());
    assert_eq!(map.lookup(last), Some(end));
    assert_eq!(map.lookup(FileBlock::ZERO), Some(start));
    map.fill(&whole).unwrap();
    assert!(map.knows(&whole));
    assert_eq!(map.lookup(FileBlock::END), None);
    map.remove(FileBlock::ZERO, FileBlock::END).unwrap();
    assert_eq!(map.lookup(last), None);
    assert!(!map.knows(&end));
    map.clear();
    assert!(!inline.is_spilled());
}

#[test]
fn a_block_number_of_more_than_48_bits_is_not_kept() {
    let (inline, store) = (InlineMap::new(), Store::default());
    let map = ExtentMap::new(&inline, &store);
    let far = Mapping {
        lblk: FileBlock::ZERO,
        len: 1,
        kind: MapKind::Written(FsBlock::new(1 << 48)),
    };
    map.fill(&far).unwrap();
    assert_eq!(map.lookup(FileBlock::ZERO), None);
}

#[test]
fn the_inline_part_stays_small() {
    assert_eq!(std::mem::size_of::<InlineMap>(), 32);
}
