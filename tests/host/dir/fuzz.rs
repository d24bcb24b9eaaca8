// SPDX-License-Identifier: GPL-2.0

//! Bytes of any kind as directories: nothing panics, everything ends.

use proptest::prelude::*;
use rext4::engine::dir_cookie::CookieWidth;
use rext4::ondisk::dir::{DirArea, EntryLimits};

use super::build::{format, htree, names, seal_index, seal_leaf, Plan, PLAN};
use super::memory::MemDir;

/// Every operation, and a limit to what a small directory can cost.
fn exercise(mut dir: MemDir) {
    dir.most_reads = 200_000;
    for width in [CookieWidth::Bits64, CookieWidth::Bits32] {
        for (records, per_call) in [(1, 3), (7, 1), (64, 1000)] {
            for position in [0, 12, 1 << 32, width.end() / 3] {
                // A directory this small has few entries, however often it repeats them.
                let seen = match dir.read_from(position, width, records, per_call) {
                    Ok(seen) | Err((seen, _)) => seen,
                };
                assert!(seen.len() < 200_000);
            }
        }
    }
    for name in [&b"."[..], b"..", b"0", b"a name", b"1f\xc3\xa9x"] {
        let _ = dir.lookup(name);
    }
}

fn block() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        1 => Just(None),
        4 => prop::collection::vec(any::<u8>(), 1024).prop_map(Some),
        // Mostly zeros, which are as good as free records, and numbers that make sense.
        8 => prop::collection::vec(
            prop_oneof![6 => Just(0u8), 1 => Just(12), 1 => Just(4), 1 => any::<u8>()],
            1024
        ).prop_map(Some),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..Default::default() })]

    #[test]
    fn arbitrary_blocks(
        blocks in prop::collection::vec(block(), 1..6),
        indexed: bool,
        dir_index: bool,
        large_dir: bool,
    ) {
        let plan = Plan { checksums: false, large_dir, ..PLAN };
        let mut dir = MemDir::new(format(plan), blocks);
        dir.indexed = indexed;
        dir.format.dir_index = dir_index;
        exercise(dir);
    }

    #[test]
    fn arbitrary_inline(
        head in prop::collection::vec(prop_oneof![3 => Just(0u8), 1 => 0u8..64, 1 => any::<u8>()], 60),
        value in prop::collection::vec(prop_oneof![3 => Just(0u8), 1 => 0u8..64, 1 => any::<u8>()], 0..100),
        dir_index: bool,
    ) {
        let mut dir = MemDir::new(format(PLAN), vec![]);
        dir.inline = Some((head.try_into().unwrap(), value));
        dir.format.dir_index = dir_index;
        exercise(dir);
    }

    /// A good directory with some bytes changed, with and without checksums that agree.
    #[test]
    fn damaged_index(
        changes in prop::collection::vec((any::<u16>(), 0usize..1024, any::<u8>()), 1..6),
        heads in prop::collection::vec((any::<u16>(), 0usize..64, any::<u8>()), 0..4),
        checksums: bool,
        large_dir: bool,
        reseal: bool,
    ) {
        let plan = Plan { checksums, large_dir, pairs: 6, entries: 12, ..PLAN };
        let count = if large_dir { 600 } else { 300 };
        let mut dir = htree(plan, &names(count));
        let blocks = dir.blocks.len();
        for (lblk, at, value) in changes.into_iter().chain(heads) {
            let lblk = u32::from(lblk) % blocks as u32;
            dir.change(lblk, |b| {
                b[at] = value;
                match (reseal, lblk) {
                    (false, _) => {}
                    (true, 0) => seal_index(plan, b, 32),
                    _ if b[..8] == [0, 0, 0, 0, 0, 4, 0, 0] => seal_index(plan, b, 8),
                    _ => seal_leaf(plan, b),
                }
            });
        }
        exercise(dir);
    }

    #[test]
    fn arbitrary_area(
        bytes in prop::collection::vec(
            prop_oneof![4 => Just(0u8), 2 => Just(12), 2 => Just(16), 1 => any::<u8>()],
            0..600
        ),
        name in prop::collection::vec(any::<u8>(), 0..300),
        offset in any::<usize>(),
        block_bits in 10u32..17,
    ) {
        let limits = EntryLimits { block_size: 1 << block_bits, inodes_count: 4096 };
        let area = DirArea::new(&bytes, limits);
        let mut last = 0;
        for (nr, entry) in area.entries().enumerate() {
            prop_assert!(nr * 12 <= bytes.len());
            if let Ok(entry) = entry {
                prop_assert!(entry.offset >= last);
                prop_assert!(entry.rec_len >= 8 + entry.name.len());
                last = entry.offset + entry.rec_len;
                prop_assert!(last <= bytes.len());
                prop_assert_eq!(area.boundary(entry.offset), entry.offset);
                // The search finds it, or one of the same name in front of it.
                if entry.ino.is_some() {
                    let found = area.find(entry.name);
                    prop_assert!(matches!(found, Ok(Some(f)) if f.offset <= entry.offset));
                }
            }
        }
        let _ = area.find(&name);
        let _ = area.entry_at(offset);
        prop_assert!(area.boundary(offset) <= bytes.len());
    }
}
