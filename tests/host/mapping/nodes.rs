// SPDX-License-Identifier: GPL-2.0

//! Verification of single nodes: each way to be wrong has its error.

use rext4::ondisk::extent::{verify_block, verify_root, ExtentError, Node};
use rext4::ondisk::indirect::{self, IndirectError, PointerBits};
use rext4::ondisk::{Corrupt, FileBlock};

use crate::disk::Device;
use crate::trees::{extent, index, node, root, seal, BLOCK, DEVICE, SEED};

/// Verifies the same entries in a root and in a block.
fn both(depth: u16, entries: &[[u8; 12]]) -> Result<(), ExtentError> {
    let in_root = verify_root(&root(depth, entries), &DEVICE);
    let in_block = verify_block(&node(BLOCK, depth, entries), Some(SEED), &DEVICE);
    assert_eq!(in_block, in_root.map_err(Corrupt::from));
    in_root
}

#[test]
fn entries() {
    type Case<'a> = (&'a str, u16, &'a [[u8; 12]], Result<(), ExtentError>);
    let cases: &[Case<'_>] = &[
        ("one", 0, &[extent(0, 1, 100)], Ok(())),
        ("touching", 0, &[extent(0, 5, 100), extent(5, 1, 1)], Ok(())),
        (
            "overlap",
            0,
            &[extent(0, 5, 100), extent(4, 1, 1)],
            Err(ExtentError::Unsorted),
        ),
        (
            "same",
            0,
            &[extent(3, 1, 100), extent(3, 1, 200)],
            Err(ExtentError::Unsorted),
        ),
        (
            "descending",
            0,
            &[extent(9, 1, 100), extent(3, 1, 200)],
            Err(ExtentError::Unsorted),
        ),
        (
            "length 0",
            0,
            &[extent(0, 0, 100)],
            Err(ExtentError::ZeroLength),
        ),
        ("longest written", 0, &[extent(0, 32768, 100)], Ok(())),
        (
            "overlap by 1",
            0,
            &[extent(0, 32768, 1), extent(32767, 1, 1)],
            Err(ExtentError::Unsorted),
        ),
        (
            "shortest unwritten",
            0,
            &[extent(0, 32769, 100), extent(1, 1, 1)],
            Ok(()),
        ),
        (
            "longest unwritten",
            0,
            &[extent(0, 65535, 100), extent(32767, 1, 1)],
            Ok(()),
        ),
        ("last block", 0, &[extent(u32::MAX - 1, 1, 100)], Ok(())),
        (
            "past the last",
            0,
            &[extent(u32::MAX, 1, 100)],
            Err(ExtentError::PastEnd),
        ),
        (
            "past the last, longer",
            0,
            &[extent(u32::MAX - 1, 2, 100)],
            Err(ExtentError::PastEnd),
        ),
        (
            "last of the device",
            0,
            &[extent(0, 5, DEVICE.0 - 5)],
            Ok(()),
        ),
        (
            "past the device",
            0,
            &[extent(0, 5, DEVICE.0 - 4)],
            Err(ExtentError::BadRun),
        ),
        (
            "all bits",
            0,
            &[extent(0, 5, (1 << 48) - 1)],
            Err(ExtentError::BadRun),
        ),
        ("block 0", 0, &[extent(0, 1, 0)], Err(ExtentError::BadRun)),
        ("indexes", 1, &[index(0, 5), index(1, 6)], Ok(())),
        (
            "same index",
            1,
            &[index(1, 5), index(1, 6)],
            Err(ExtentError::Unsorted),
        ),
        (
            "index order",
            1,
            &[index(2, 5), index(1, 6)],
            Err(ExtentError::Unsorted),
        ),
        (
            "index of block 0",
            1,
            &[index(2, 0)],
            Err(ExtentError::BadTarget),
        ),
        (
            "index too far",
            1,
            &[index(2, DEVICE.0)],
            Err(ExtentError::BadTarget),
        ),
        (
            "index of nothing",
            1,
            &[index(u32::MAX, 5)],
            Err(ExtentError::PastEnd),
        ),
        ("no index", 1, &[], Err(ExtentError::EmptyNode)),
    ];
    for (what, depth, entries, want) in cases {
        assert_eq!(both(*depth, entries), *want, "{what}");
    }
    assert_eq!(verify_root(&root(0, &[]), &DEVICE), Ok(()));
    let empty = verify_block(&node(BLOCK, 0, &[]), Some(SEED), &DEVICE);
    assert_eq!(empty, Err(ExtentError::EmptyNode.into()));
}

#[test]
fn checked_entries_carry_their_values() {
    let one = |raw: [u8; 12]| match Node::root(&root(0, &[raw])).unwrap().0 {
        Node::Leaf(entries) => entries.get(0).unwrap().check(&Device(1 << 48)).unwrap(),
        Node::Index(_) => unreachable!(),
    };
    let e = one(extent(7, 32768, 0x1234_5678_9abc));
    assert_eq!(
        (e.first.get(), e.len, e.start.get(), e.unwritten),
        (7, 32768, 0x1234_5678_9abc, false)
    );
    assert_eq!(e.end(), FileBlock::new(32775));
    let e = one(extent(7, 32769, 1));
    assert_eq!((e.len, e.unwritten), (1, true));
    let top = root(1, &[index(9, 0xabcd_0000_0001)]);
    let Node::Index(entries) = Node::root(&top).unwrap().0 else {
        unreachable!()
    };
    let i = entries.get(0).unwrap().check(&Device(1 << 48)).unwrap();
    assert_eq!((i.first.get(), i.child.get()), (9, 0xabcd_0000_0001));
}

/// A sound block of depth 0 with one 16-bit header field replaced, its checksum renewed.
fn with_header(field: usize, value: u16) -> Result<(), Corrupt> {
    let mut bytes = node(BLOCK, 0, &[extent(0, 1, 100), extent(1, 1, 100)]);
    bytes[field * 2..field * 2 + 2].copy_from_slice(&value.to_le_bytes());
    seal(&mut bytes);
    verify_block(&bytes, Some(SEED), &DEVICE)
}

#[test]
fn headers() {
    assert_eq!(with_header(0, 0xf30a), Ok(()));
    assert_eq!(with_header(0, 0xf30b), Err(ExtentError::BadMagic.into()));
    assert_eq!(with_header(1, 85), Err(ExtentError::TooManyEntries.into()));
    assert_eq!(
        with_header(1, 0xffff),
        Err(ExtentError::TooManyEntries.into())
    );
    // The checksum follows the capacity, which may be smaller than the block.
    assert_eq!(with_header(2, 2), Ok(()));
    assert_eq!(with_header(2, 1), Err(ExtentError::TooManyEntries.into()));
    assert_eq!(with_header(2, 0), Err(ExtentError::BadMax.into()));
    assert_eq!(with_header(2, 85), Err(ExtentError::BadMax.into()));
    assert_eq!(with_header(2, 0xffff), Err(ExtentError::BadMax.into()));
    assert_eq!(with_header(3, 5), Err(ExtentError::BadDepth.into()));
    assert_eq!(with_header(3, 4), Ok(()));

    let mut deep = root(5, &[index(0, 5)]);
    assert_eq!(verify_root(&deep, &DEVICE), Ok(()));
    deep[6] = 6;
    assert_eq!(verify_root(&deep, &DEVICE), Err(ExtentError::TooDeep));
    let mut large = root(0, &[]);
    large[4] = 5;
    assert_eq!(verify_root(&large, &DEVICE), Err(ExtentError::BadMax));
    for len in 0..16 {
        let short = verify_block(&node(60, 0, &[extent(0, 1, 1)])[..len], None, &DEVICE);
        assert!(short.is_err(), "{len}");
    }
}

#[test]
fn checksums_cover_header_and_capacity() {
    let sound = node(BLOCK, 0, &[extent(0, 1, 100)]);
    assert_eq!(verify_block(&sound, Some(SEED), &DEVICE), Ok(()));
    let other = verify_block(&sound, Some(SEED ^ 1), &DEVICE);
    assert_eq!(other, Err(ExtentError::Checksum.into()));
    assert!(other.unwrap_err().is_checksum());
    for at in [8, 12, 24, 500, 1019, 1020, 1023] {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x40;
        let got = verify_block(&bytes, Some(SEED), &DEVICE);
        assert_eq!(got, Err(ExtentError::Checksum.into()), "byte {at}");
    }
    // A block of 64 KiB holds 5460 entries.
    let entries: Vec<_> = (0..5460)
        .map(|n| extent(n * 2, 1, 100 + u64::from(n)))
        .collect();
    assert_eq!(
        verify_block(&node(65536, 0, &entries), Some(SEED), &DEVICE),
        Ok(())
    );
}

#[test]
fn block_maps() {
    let device = Device(1000);
    let mut i_block = [0; 60];
    assert_eq!(indirect::verify_root(&i_block, &device), Ok(()));
    i_block[56..].copy_from_slice(&999u32.to_le_bytes());
    assert_eq!(indirect::verify_root(&i_block, &device), Ok(()));
    i_block[56..].copy_from_slice(&1000u32.to_le_bytes());
    let bad = IndirectError::BadPointer;
    assert_eq!(indirect::verify_root(&i_block, &device), Err(bad));
    let mut block = vec![0; BLOCK];
    assert_eq!(indirect::verify_block(&block, &device), Ok(()));
    block[1020..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(indirect::verify_block(&block, &device), Err(bad.into()));
    assert_eq!(
        indirect::verify_block(&block[..1022], &device),
        Err(IndirectError::BadBlock.into())
    );
}

#[test]
fn paths_through_a_block_map() {
    assert!(PointerBits::from_block_bits(9).is_none());
    assert!(PointerBits::from_block_bits(17).is_none());
    for block_bits in 10..=16 {
        let bits = PointerBits::from_block_bits(block_bits).unwrap();
        let n = 1u64 << (block_bits - 2);
        let end = 12 + n + n * n + n * n * n;
        assert_eq!(u64::from(bits.end().get()), end.min(u64::from(u32::MAX)));
        let places = [
            0,
            11,
            12,
            12 + n - 1,
            12 + n,
            12 + n + 3 * n + 5,
            12 + n + n * n - 1,
            12 + n + n * n,
            12 + n + n * n + 7 * n * n + 3 * n + 2,
            end - 1,
            end,
            u64::from(u32::MAX),
        ];
        for at in places {
            let Ok(lblk) = u32::try_from(at) else {
                continue;
            };
            let path = bits.path(FileBlock::new(lblk));
            if at >= end {
                assert!(path.is_none());
                continue;
            }
            let path = path.unwrap();
            // Back from the slots to the block.
            let mut offset = 0;
            for below in (0..path.levels()).rev() {
                offset = offset * n + path.slot_in(below) as u64;
            }
            let base = [0, 12, 12 + n, 12 + n + n * n][path.levels() as usize];
            let slot = path.root_slot() as u64;
            assert_eq!(
                slot,
                if path.levels() == 0 {
                    at
                } else {
                    11 + u64::from(path.levels())
                }
            );
            if path.levels() > 0 {
                assert_eq!(base + offset, at, "{block_bits} {at}");
            }
        }
    }
}
