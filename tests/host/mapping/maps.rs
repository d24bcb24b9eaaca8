// SPDX-License-Identifier: GPL-2.0

//! Block maps of ext2 and ext3 that no tool makes, against a list.

use std::collections::BTreeMap;

use proptest::prelude::*;

use rext4::engine::indirect_walk::IndirectMap;
use rext4::engine::mapping::{MapKind, Mapping};
use rext4::ondisk::indirect::{IndirectError, PointerBits};
use rext4::ondisk::{Corrupt, FileBlock};

use crate::disk::{Blocks, Device, Failure};
use crate::trees::{cases, BLOCK};

const DEVICE: Device = Device(1 << 32);

/// Pointers in a block.
const N: u32 = 256;
/// Where the trees of one, two and three levels begin, and where the map ends.
const STARTS: [u32; 4] = [12, 12 + N, 12 + N + N * N, 12 + N + N * N + N * N * N];

fn bits() -> PointerBits {
    PointerBits::from_block_bits(10).expect("1 KiB blocks")
}

fn put(table: &mut [u8], slot: u32, pointer: u32) {
    table[slot as usize * 4..][..4].copy_from_slice(&pointer.to_le_bytes());
}

/// Builds the map of `data`. Indirect blocks are numbered from 1.
fn build(data: &BTreeMap<u32, u32>) -> ([u8; 60], Blocks) {
    let mut root = [0; 60];
    let blocks = Blocks::default();
    let mut all = blocks.blocks.borrow_mut();
    // The indirect block of each subtree: level, and first logical block.
    let mut known: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    for (&at, &pointer) in data {
        let Some(level) = (0..3).rev().find(|l| at >= STARTS[*l]) else {
            put(&mut root, at, pointer);
            continue;
        };
        let (mut above, base, offset) = (None, STARTS[level], at - STARTS[level]);
        for below in (0..=level as u32).rev() {
            let span = N.pow(below) * N;
            let first = base + offset / span * span;
            let next = known.len() as u64 + 1;
            let block = *known.entry((below, first)).or_insert(next);
            all.entry(block).or_insert_with(|| vec![0; BLOCK]);
            match above {
                None => put(&mut root, 12 + level as u32, block as u32),
                Some((table, slot)) => {
                    put(all.get_mut(&table).expect("a block"), slot, block as u32);
                }
            }
            above = Some((block, offset / (span / N) % N));
        }
        let (table, slot) = above.expect("a level");
        put(all.get_mut(&table).expect("a block"), slot, pointer);
    }
    drop(all);
    (root, blocks)
}

/// Data in runs, some of them around the seams between levels.
fn data() -> impl Strategy<Value = BTreeMap<u32, u32>> {
    let place = prop_oneof![
        2 => 0..STARTS[1],
        2 => prop::sample::select(STARTS.to_vec()).prop_flat_map(|s| s.saturating_sub(20)..s),
        2 => STARTS[0]..STARTS[2],
        1 => STARTS[2]..STARTS[3] - 600,
    ];
    let run = (place, 1..600u32, 1000..2_000_000u32, 1..4u32);
    prop::collection::vec(run, 0..8).prop_map(|runs| {
        let mut data = BTreeMap::new();
        for (at, len, start, step) in runs {
            for n in 0..len.min(STARTS[3] - at) {
                // With a step of 2 or 3 no block continues another.
                data.insert(at + n, start + n * step);
            }
        }
        data
    })
}

/// A range says the truth about each block, as far as `data` knows blocks in it.
fn is_true(m: &Mapping, data: &BTreeMap<u32, u32>) -> bool {
    let mut known = data.range(m.lblk.get()..m.end().get());
    match m.kind {
        MapKind::Hole => known.next().is_none(),
        MapKind::Written(start) => {
            let want = |by: u32| (m.lblk.get() + by, start.get() as u32 + by);
            known.map(|(a, b)| (*a, *b)).eq((0..m.len).map(want))
        }
        MapKind::Unwritten(_) | MapKind::Delayed | MapKind::InFlight => false,
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn lookups_agree_with_the_list(data in data(), extra in any::<[u32; 8]>()) {
        let (root, blocks) = build(&data);
        let map = IndirectMap::new(&root, bits(), &DEVICE);
        let mut places: Vec<u32> = extra.iter().flat_map(|at| [*at, at % STARTS[3]]).collect();
        places.extend(STARTS.iter().flat_map(|s| [s - 1, *s, s + 1]));
        places.extend(data.keys().step_by(data.len() / 50 + 1).flat_map(|at| [at.max(&1) - 1, *at, at + 1]));
        for at in places.into_iter().filter(|at| *at < u32::MAX) {
            let place = FileBlock::new(at);
            blocks.reads.set(0);
            let m = map.lookup(&blocks, place).expect("lookup");
            prop_assert!(blocks.reads.get() <= 3);
            prop_assert!(m.contains(place), "{:?}", m);
            prop_assert!(is_true(&m, &data), "{:?}", m);
            // It is as long as the table can tell.
            let end = m.end().get();
            let seam = end == u32::MAX || end == STARTS[3] || (end >= 12 && (end - 12) % N == 0);
            if let (Some(b), false) = (m.physical(), seam) {
                prop_assert_ne!(data.get(&end).copied(), Some(b.get() as u32 + m.len));
            } else if !seam {
                prop_assert!(data.contains_key(&end), "{:?}", m);
            }
            let mut seen: Vec<Mapping> = Vec::new();
            let same = map.lookup_leaf(&blocks, place, |m| seen.push(*m));
            prop_assert_eq!(same, Ok(m));
            prop_assert!(seen.contains(&m));
            prop_assert!(seen.windows(2).all(|w| w[0].end() <= w[1].lblk));
            prop_assert!(seen.iter().all(|m| is_true(m, &data)));
        }
    }

    /// Maps that are nearly right, read with and without verification, as a hostile disk.
    #[test]
    fn damaged_maps_break_no_promise(data in data(), header in any::<[u8; 16]>(),
                                     damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)) {
        let (root, blocks) = build(&data);
        let mut input = header.to_vec();
        // Block maps, 1 KiB blocks.
        input[0] = 1;
        input[1] = 0;
        input[2] &= 0x0f;
        input.extend(root);
        input.extend([0; BLOCK]);
        blocks.blocks.borrow().values().for_each(|block| input.extend(block));
        for (at, value) in damage {
            let at = 16 + at.index(input.len() - 16);
            input[at] = value;
        }
        for at in [0, 11, STARTS[1] - 1, STARTS[2] + 5, u32::MAX - 1] {
            input[4..8].copy_from_slice(&at.to_le_bytes());
            rext4::fuzz::mapping::run(&input);
        }
    }
}

#[test]
fn bad_pointers_at_any_level() {
    let lookup = |root: &[u8; 60], blocks: &[(u64, Vec<u8>)], at: u32| {
        let source = Blocks::default();
        source.blocks.borrow_mut().extend(blocks.iter().cloned());
        let device = Device(1000);
        let map = IndirectMap::new(root, bits(), &device);
        let one = map.lookup(&source, FileBlock::new(at));
        let of_all = map.lookup_leaf(&source, FileBlock::new(at), |_| ());
        assert_eq!(one, of_all);
        one
    };
    let bad = Err(Failure::Corrupt(Corrupt::Indirect(
        IndirectError::BadPointer,
    )));
    for slot in 0..15 {
        let mut root = [0; 60];
        put(&mut root, slot, 1000);
        let at = [slot, STARTS[0], STARTS[1], STARTS[2]][slot.saturating_sub(11) as usize];
        assert_eq!(lookup(&root, &[], at), bad, "slot {slot}");
        put(&mut root, slot, 999);
        match slot {
            0..=11 => assert!(lookup(&root, &[], at).is_ok()),
            _ => assert_eq!(lookup(&root, &[], at), Err(Failure::Missing(999))),
        }
    }
    // One bad pointer spoils its block, also for the blocks beside it.
    let mut root = [0; 60];
    put(&mut root, 12, 5);
    let mut block = vec![0; BLOCK];
    put(&mut block, 200, 1000);
    assert_eq!(lookup(&root, &[(5, block)], 12), bad);
    // A block of the wrong size has no such table.
    let short = lookup(&root, &[(5, vec![0; BLOCK / 2])], 12);
    assert_eq!(short, Err(Failure::Corrupt(IndirectError::BadBlock.into())));
}

#[test]
fn a_map_that_leads_back_into_itself_ends() {
    let mut root = [0; 60];
    (12..15).for_each(|slot| put(&mut root, slot, 5));
    let mut block = vec![0; BLOCK];
    (0..N).for_each(|slot| put(&mut block, slot, 5));
    let source = Blocks::default();
    source.blocks.borrow_mut().insert(5, block);
    let map = IndirectMap::new(&root, bits(), &DEVICE);
    for (level, start) in STARTS[..3].iter().enumerate() {
        source.reads.set(0);
        let m = map.lookup(&source, FileBlock::new(*start)).expect("lookup");
        assert_eq!((m.len, m.physical().map(|b| b.get())), (1, Some(5)));
        assert_eq!(source.reads.get(), level as u32 + 1);
    }
}

/// Triple indirect maps of 64 KiB blocks reach beyond the block space: what lies there is not
/// part of any answer.
#[test]
fn the_block_space_ends_before_the_map() {
    let bits = PointerBits::from_block_bits(16).expect("64 KiB blocks");
    let last = FileBlock::new(u32::MAX - 1);
    let path = bits.path(last).expect("within the map");
    assert_eq!(path.levels(), 3);
    let mut root = [0; 60];
    put(&mut root, 14, 1);
    let source = Blocks::default();
    let table = |slot: usize, pointer: u32| {
        let mut block = vec![0; 65536];
        put(&mut block, slot as u32, pointer);
        block
    };
    // The block that holds the pointer to the last block goes on beyond it.
    let mut data = vec![0; 65536];
    (0..16384).for_each(|slot| put(&mut data, slot, 1000 + slot));
    source.blocks.borrow_mut().extend([
        (1, table(path.slot_in(2), 2)),
        (2, table(path.slot_in(1), 3)),
        (3, data),
    ]);
    let map = IndirectMap::new(&root, bits, &DEVICE);
    let first = u32::MAX - 1 - path.slot_in(0) as u32;
    let m = map.lookup(&source, last).expect("lookup");
    assert_eq!((m.lblk.get(), m.end()), (first, FileBlock::END));
    assert_eq!(m.physical().map(|b| b.get()), Some(1000));
    let mut seen = Vec::new();
    assert_eq!(map.lookup_leaf(&source, last, |m| seen.push(*m)), Ok(m));
    assert_eq!(seen, [m]);
    // What is said of blocks beyond is not offered, be it data or a hole.
    let beyond = path.slot_in(0) as u32 + 1;
    let mut blocks = source.blocks.borrow_mut();
    let data = blocks.get_mut(&3).expect("a block");
    put(data, beyond, 5);
    put(data, beyond + 1, 0);
    drop(blocks);
    let mut seen = Vec::new();
    assert_eq!(map.lookup_leaf(&source, last, |m| seen.push(*m)), Ok(m));
    assert_eq!(seen, [m]);
    assert_eq!(map.lookup(&source, FileBlock::END), Ok(Mapping::at_end()));
}
