// SPDX-License-Identifier: GPL-2.0

//! Extent trees that no tool makes: every depth, every way to be wrong.

use std::ops::ControlFlow;

use proptest::prelude::*;

use rext4::engine::extent_walk::ExtentTree;
use rext4::engine::mapping::{MapKind, Mapping};
use rext4::ondisk::crc::crc32c;
use rext4::ondisk::extent::{verify_block, verify_root, ExtentError};
use rext4::ondisk::{Corrupt, FileBlock, FsBlock};

use crate::disk::{Blocks, Device, Failure, Run};

pub const BLOCK: usize = 1024;
pub const SEED: u32 = 0x1234_5678;
pub const DEVICE: Device = Device(1 << 40);

/// An entry of a leaf: first block, raw length, physical block.
pub fn extent(block: u32, raw_len: u16, start: u64) -> [u8; 12] {
    let mut e = [0; 12];
    e[..4].copy_from_slice(&block.to_le_bytes());
    e[4..6].copy_from_slice(&raw_len.to_le_bytes());
    e[6..8].copy_from_slice(&((start >> 32) as u16).to_le_bytes());
    e[8..].copy_from_slice(&(start as u32).to_le_bytes());
    e
}

/// An entry of an index node.
pub fn index(block: u32, child: u64) -> [u8; 12] {
    let mut e = [0; 12];
    e[..4].copy_from_slice(&block.to_le_bytes());
    e[4..8].copy_from_slice(&(child as u32).to_le_bytes());
    e[8..10].copy_from_slice(&((child >> 32) as u16).to_le_bytes());
    // What is unused may hold anything.
    e[10..].copy_from_slice(&[0xa5, 0x5a]);
    e
}

/// A node of `len` bytes with header and entries, and a checksum where there is room for one.
pub fn node(len: usize, depth: u16, entries: &[[u8; 12]]) -> Vec<u8> {
    let max = (len - 12) / 12;
    assert!(entries.len() <= max);
    let mut bytes = vec![0; len];
    let header = [0xf30a, entries.len() as u16, max as u16, depth, 0xbeef, 0];
    for (to, from) in bytes.chunks_exact_mut(2).zip(header) {
        to.copy_from_slice(&from.to_le_bytes());
    }
    for (to, from) in bytes[12..].chunks_exact_mut(12).zip(entries) {
        to.copy_from_slice(from);
    }
    seal(&mut bytes);
    bytes
}

/// Puts the checksum where the capacity in the header says.
pub fn seal(node: &mut [u8]) {
    let max = usize::from(u16::from_le_bytes([node[4], node[5]]));
    let tail = 12 + 12 * max;
    if let Some(room) = node.len().checked_sub(tail).filter(|room| *room >= 4) {
        assert!(room < 1024);
        let sum = crc32c(SEED, &node[..tail]);
        node[tail..tail + 4].copy_from_slice(&sum.to_le_bytes());
    }
}

pub fn root(depth: u16, entries: &[[u8; 12]]) -> [u8; 60] {
    node(60, depth, entries).try_into().expect("60 bytes")
}

/// Builds the tree of `runs` with at most `fan` entries in a node below the root. Blocks are
/// numbered from 1.
fn build(runs: &[Run], fan: usize) -> ([u8; 60], Blocks, u16) {
    let blocks = Blocks::default();
    let mut level: Vec<[u8; 12]> = runs
        .iter()
        .map(|&(lblk, len, start, unwritten)| {
            extent(lblk, len as u16 + if unwritten { 32768 } else { 0 }, start)
        })
        .collect();
    let mut depth = 0;
    let mut number = 0;
    while level.len() > 4 {
        let nodes = level.chunks(fan).map(|entries| {
            number += 1;
            blocks
                .blocks
                .borrow_mut()
                .insert(number, node(BLOCK, depth, entries));
            let first = u32::from_le_bytes(entries[0][..4].try_into().expect("4 bytes"));
            index(first, number)
        });
        level = nodes.collect();
        depth += 1;
    }
    (root(depth, &level), blocks, depth)
}

/// Runs in order with and without gaps, some of which continue each other.
fn runs() -> impl Strategy<Value = Vec<Run>> {
    let run = (
        prop_oneof![3 => Just(0u32), 2 => 1..4u32, 1 => 1..1_000_000u32],
        prop_oneof![4 => 1..4u32, 1 => 1..32768u32],
        prop_oneof![2 => Just(0u64), 1 => 1..1000u64],
        any::<bool>(),
    );
    prop::collection::vec(run, 0..400).prop_map(|parts| {
        let (mut lblk, mut start) = (0u32, 1u64 << 33);
        let mut runs = Vec::new();
        for (gap, len, jump, unwritten) in parts {
            lblk += gap;
            start += jump;
            runs.push((lblk, len, start, unwritten));
            lblk += len;
            start += u64::from(len);
        }
        runs
    })
}

fn mapping(&(lblk, len, start, unwritten): &Run) -> Mapping {
    let start = FsBlock::new(start);
    let kind = if unwritten {
        MapKind::Unwritten(start)
    } else {
        MapKind::Written(start)
    };
    Mapping {
        lblk: FileBlock::new(lblk),
        len,
        kind,
    }
}

/// What the tree of `runs` says around `at`, without joining.
fn model(runs: &[Run], at: u32) -> Mapping {
    let next = runs.partition_point(|r| r.0 <= at);
    let before = next.checked_sub(1).map(|n| &runs[n]);
    if let Some(run) = before.filter(|r| at - r.0 < r.1) {
        return mapping(run);
    }
    let from = before.map_or(0, |r| r.0 + r.1);
    let to = runs.get(next).map_or(u32::MAX, |r| r.0);
    Mapping::hole(FileBlock::new(from), FileBlock::new(to))
}

/// Failures are printed in full; nothing is left in the tree.
pub fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn lookups_agree_with_the_list(runs in runs(), fan in 3usize..20, extra in any::<[u32; 8]>()) {
        let (root, blocks, depth) = build(&runs, fan);
        prop_assert_eq!(verify_root(&root, &DEVICE), Ok(()));
        let tree = ExtentTree::new(&root, Some(SEED), &DEVICE);
        let mut places: Vec<u32> = extra.to_vec();
        places.extend(runs.iter().flat_map(|r| [r.0.saturating_sub(1), r.0, r.0 + r.1 - 1, r.0 + r.1]));
        for at in places {
            if at == u32::MAX {
                continue;
            }
            let want = model(&runs, at);
            let place = FileBlock::new(at);
            blocks.reads.set(0);
            prop_assert_eq!(tree.lookup(&blocks, place), Ok(want));
            prop_assert!(blocks.reads.get() == u32::from(depth) || blocks.reads.get() == 0);
            let mut seen: Vec<Mapping> = Vec::new();
            let joined = tree.lookup_leaf(&blocks, place, |m| seen.push(*m)).expect("lookup");
            prop_assert!(joined.contains(place));
            prop_assert_eq!(joined.clip(want.lblk, want.end()), Some(want));
            prop_assert!(seen.contains(&joined));
            // What was seen is one range without gaps, and nothing in it can be joined.
            for pair in seen.windows(2) {
                prop_assert_eq!(pair[0].end(), pair[1].lblk);
                let mut first = pair[0];
                prop_assert!(!first.extend(&pair[1]));
            }
            for m in &seen {
                prop_assert_eq!(m.physical(), model(&runs, m.lblk.get()).physical());
            }
        }
    }

    #[test]
    fn a_walk_sees_everything_once(runs in runs(), fan in 3usize..20, a in any::<u32>(), b in any::<u32>()) {
        let (root, blocks, _) = build(&runs, fan);
        let tree = ExtentTree::new(&root, Some(SEED), &DEVICE);
        let end = runs.last().map_or(10, |r| r.0 + r.1 + 10);
        for (from, to) in [(0, u32::MAX), (a % end, b % end), (a % end, u32::MAX)] {
            let mut seen = Vec::new();
            let walked = tree.walk(&blocks, FileBlock::new(from), FileBlock::new(to), |m| {
                seen.push(*m);
                ControlFlow::Continue(())
            });
            prop_assert_eq!(walked, Ok(()));
            let mut want = Vec::new();
            let mut at = from;
            while at < to {
                let m = model(&runs, at);
                at = m.end().get();
                want.push(m);
            }
            // A hole that crosses a leaf's end comes as one, since the next leaf begins with an
            // extent.
            prop_assert_eq!(seen, want);
        }
        let mut count = 0;
        tree.walk(&blocks, FileBlock::ZERO, FileBlock::END, |_| {
            count += 1;
            if count == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }).expect("walk");
        prop_assert!(count <= 2);
    }

    #[test]
    fn one_changed_byte_is_noticed(runs in runs(), fan in 3usize..20, victim in any::<prop::sample::Index>(),
                                   at in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let (root, blocks, depth) = build(&runs, fan);
        prop_assume!(depth > 0);
        let count = blocks.blocks.borrow().len() as u64;
        let victim = victim.index(count as usize) as u64 + 1;
        // Everything in a 1 KiB node is covered: 12 + 12 * 84 bytes, and the checksum itself.
        blocks.blocks.borrow_mut().get_mut(&victim).expect("a block")[at.index(BLOCK)] ^= flip;
        let tree = ExtentTree::new(&root, Some(SEED), &DEVICE);
        let mut failed = 0;
        for run in &runs {
            match tree.lookup(&blocks, FileBlock::new(run.0)) {
                Ok(m) => prop_assert_eq!(m, mapping(run)),
                Err(Failure::Corrupt(Corrupt::Extent(_))) => failed += 1,
                Err(e) => prop_assert!(false, "{:?}", e),
            }
        }
        prop_assert!(failed > 0);
    }

    /// Trees that are nearly right, read with and without verification, as a hostile disk.
    #[test]
    fn damaged_trees_break_no_promise(runs in runs(), fan in 3usize..20, header in any::<[u8; 16]>(),
                                      damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)) {
        let (root, blocks, _) = build(&runs, fan);
        let mut input = header.to_vec();
        // Extents, 1 KiB blocks, any flags but few bits of device size taken away.
        input[0] = 0;
        input[1] = 0;
        input[2] &= 0x0f;
        input.extend(root);
        input.extend([0; BLOCK]);
        blocks.blocks.borrow().values().for_each(|block| input.extend(block));
        for (at, value) in damage {
            let at = 16 + at.index(input.len() - 16);
            input[at] = value;
        }
        for at in [0, 1, 100, u32::MAX - 1, u32::from_le_bytes(header[4..8].try_into().unwrap())] {
            input[4..8].copy_from_slice(&at.to_le_bytes());
            rext4::fuzz::mapping::run(&input);
        }
    }

    #[test]
    fn arbitrary_bytes_break_no_promise(input in prop::collection::vec(any::<u8>(), 0..5000)) {
        rext4::fuzz::mapping::run(&input);
    }
}

#[test]
fn every_depth_is_reached() {
    for (count, fan, want) in [
        (4, 84, 0),
        (336, 84, 1),
        (1500, 84, 2),
        (1500, 9, 3),
        (1500, 6, 4),
        (1500, 4, 5),
    ] {
        let run = |n: u32| (n * 3, 2, u64::from(n) * 5 + 100, n % 2 == 0);
        let runs: Vec<Run> = (0..count).map(run).collect();
        let (root, blocks, depth) = build(&runs, fan);
        assert_eq!(depth, want);
        let tree = ExtentTree::new(&root, Some(SEED), &DEVICE);
        for at in 0..count * 3 {
            assert_eq!(
                tree.lookup(&blocks, FileBlock::new(at)),
                Ok(model(&runs, at))
            );
        }
    }
}

/// Looks `at` up in a tree of hand-made blocks.
fn lookup(root: &[u8; 60], blocks: &[(u64, Vec<u8>)], at: u32) -> Result<Mapping, Failure> {
    let source = Blocks::default();
    source.blocks.borrow_mut().extend(blocks.iter().cloned());
    let tree = ExtentTree::new(root, Some(SEED), &DEVICE);
    let answer = tree.lookup(&source, FileBlock::new(at));
    assert!(source.reads.get() <= 5);
    let joined = tree.lookup_leaf(&source, FileBlock::new(at), |_| ());
    if let Err(e) = &answer {
        assert_eq!(joined.as_ref(), Err(e));
    }
    answer
}

fn corrupt(e: ExtentError) -> Result<Mapping, Failure> {
    Err(Failure::Corrupt(e.into()))
}

#[test]
fn trees_that_lead_back_into_themselves_end() {
    let top = root(2, &[index(0, 7)]);
    let own = (7, node(BLOCK, 1, &[index(0, 7)]));
    assert_eq!(lookup(&top, &[own], 0), corrupt(ExtentError::BadDepth));
    let a = (7, node(BLOCK, 4, &[index(0, 8)]));
    let b = (8, node(BLOCK, 3, &[index(0, 7)]));
    let top = root(5, &[index(0, 7)]);
    assert_eq!(lookup(&top, &[a, b], 0), corrupt(ExtentError::BadDepth));
}

#[test]
fn a_child_must_fit_its_parent() {
    let leaf = |entries: &[[u8; 12]]| node(BLOCK, 0, entries);
    let top = root(1, &[index(10, 7), index(20, 8)]);
    let second = (8, leaf(&[extent(20, 1, 100)]));
    let sound = (7, leaf(&[extent(10, 10, 100)]));
    let blocks = [sound, second.clone()];
    assert!(matches!(
        lookup(&top, &blocks, 15).unwrap().kind,
        MapKind::Written(_)
    ));
    // Before the first index nothing has to be read.
    let before = lookup(&top, &[], 3).unwrap();
    assert_eq!(
        (before.lblk.get(), before.len, before.kind),
        (0, 10, MapKind::Hole)
    );
    let wrong = [
        ("begins late", leaf(&[extent(11, 1, 100)])),
        ("begins early", leaf(&[extent(9, 2, 100)])),
        ("ends late", leaf(&[extent(10, 11, 100)])),
        ("is the neighbour", leaf(&[extent(20, 1, 100)])),
    ];
    for (what, leaf) in wrong {
        let got = lookup(&top, &[(7, leaf), second.clone()], 12);
        assert_eq!(got, corrupt(ExtentError::OutsideParent), "{what}");
    }
    let late = leaf(&[extent(10, 1, 100), extent(25, 1, 200)]);
    let got = lookup(&top, &[(7, late), second.clone()], 19);
    assert_eq!(got, corrupt(ExtentError::OutsideParent));
    // An index node whose last entry begins where the parent's next does.
    let top = root(2, &[index(10, 7), index(20, 8)]);
    let middle = (7, node(BLOCK, 1, &[index(10, 9), index(20, 10)]));
    assert_eq!(
        lookup(&top, &[middle], 12),
        corrupt(ExtentError::OutsideParent)
    );
}

#[test]
fn two_indexes_cannot_share_a_child() {
    let top = root(1, &[index(0, 7), index(20, 7)]);
    let leaf = (7, node(BLOCK, 0, &[extent(0, 5, 100)]));
    assert!(lookup(&top, std::slice::from_ref(&leaf), 3).is_ok());
    assert_eq!(
        lookup(&top, &[leaf], 23),
        corrupt(ExtentError::OutsideParent)
    );
}

#[test]
fn an_empty_file_is_one_hole_and_the_end_is_a_hole() {
    let whole = Mapping::hole(FileBlock::ZERO, FileBlock::END);
    for at in [0, 1, u32::MAX - 1] {
        assert_eq!(lookup(&root(0, &[]), &[], at), Ok(whole));
    }
    assert_eq!(lookup(&root(0, &[]), &[], u32::MAX), Ok(Mapping::at_end()));
    let full = root(0, &[extent(u32::MAX - 1, 1, 100)]);
    assert_eq!(lookup(&full, &[], u32::MAX - 1).unwrap().len, 1);
    assert_eq!(lookup(&full, &[], u32::MAX), Ok(Mapping::at_end()));
}

#[test]
fn errors_of_the_source_come_through() {
    let top = root(1, &[index(0, 7)]);
    assert_eq!(lookup(&top, &[], 0), Err(Failure::Missing(7)));
    let mut leaf = node(BLOCK, 0, &[extent(0, 5, 100)]);
    leaf[20] ^= 1;
    let sum = corrupt(ExtentError::Checksum);
    assert_eq!(lookup(&top, &[(7, leaf.clone())], 0), sum);
    assert!(verify_block(&leaf, None, &DEVICE).is_ok());
}
