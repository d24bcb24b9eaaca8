// SPDX-License-Identifier: GPL-2.0

//! The extent status cache, on the kernel's maple tree, against an array.

use kernel::prelude::*;

#[kunit_tests(rext4_extent_cache)]
mod tests {
    use crate::{
        engine::{
            extent_map::{ExtentMap, InlineMap},
            mapping::{MapKind, Mapping},
        },
        linux::maple::RangeTree,
        ondisk::{FileBlock, FsBlock},
    };
    use kernel::prelude::*;

    const BLOCKS: u32 = 512;
    const ROUNDS: u32 = 4000;

    /// xorshift32: a fixed seed, so that a failure repeats.
    struct Random(u32);

    impl Random {
        fn below(&mut self, n: u32) -> u32 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 17;
            self.0 ^= self.0 << 5;
            self.0.checked_rem(n).unwrap_or(0)
        }
    }

    fn mapping(first: u32, len: u32, kind: u32) -> Mapping {
        // The address follows from the block, so that neighbours of a kind continue each other.
        let start = FsBlock::new(u64::from(first).saturating_add(1000));
        Mapping {
            lblk: FileBlock::new(first),
            len,
            kind: match kind {
                0 => MapKind::Hole,
                1 => MapKind::Written(start),
                _ => MapKind::Unwritten(start),
            },
        }
    }

    /// What the model says of a block: 0 nothing, else 1 + kind.
    fn same(found: Option<Mapping>, block: u32, model: u8) -> bool {
        let Some(found) = found else {
            return model == 0;
        };
        let at = FileBlock::new(block);
        let expected = match model {
            0 => return false,
            n => mapping(block, 1, u32::from(n.saturating_sub(1))).kind,
        };
        found.contains(at)
            && found
                .clip(at, at.saturating_add(1))
                .is_some_and(|m| m.kind == expected)
    }

    /// Random changes leave the cache knowing just what an array knows.
    #[test]
    fn random_changes_match_a_model() -> Result {
        let inline = InlineMap::new();
        let store = KBox::pin_init(RangeTree::new(), GFP_KERNEL)?;
        let cache = ExtentMap::new(&inline, &*store);
        let mut model = KVec::from_elem(0u8, BLOCKS as usize, GFP_KERNEL)?;
        let mut random = Random(0x2545_f491);
        let mut spilled = false;
        for round in 0..ROUNDS {
            let first = random.below(BLOCKS);
            let len = random.below((BLOCKS - first).min(24)).saturating_add(1);
            let kind = random.below(3);
            let span = model.iter_mut().skip(first as usize).take(len as usize);
            match random.below(16) {
                0..=9 => {
                    cache.set(&mapping(first, len, kind))?;
                    span.for_each(|b| *b = (kind as u8).saturating_add(1));
                }
                10..=14 => {
                    cache.remove(
                        FileBlock::new(first),
                        FileBlock::new(first.saturating_add(len)),
                    )?;
                    span.for_each(|b| *b = 0);
                }
                _ if random.below(8) == 0 => {
                    cache.clear();
                    model.iter_mut().for_each(|b| *b = 0);
                }
                _ => (),
            }
            spilled |= inline.is_spilled();
            // All of it now and then, and the neighbourhood of the change always.
            let (from, to) = if round & 63 == 0 {
                (0, BLOCKS)
            } else {
                (
                    first.saturating_sub(2),
                    first.saturating_add(len).saturating_add(2).min(BLOCKS),
                )
            };
            for block in from..to {
                let expected = model.get(block as usize).copied().unwrap_or(0);
                assert!(same(cache.lookup(FileBlock::new(block)), block, expected));
            }
        }
        assert!(spilled);
        cache.clear();
        assert!(!inline.is_spilled());
        Ok(())
    }

    /// What the disk says does not replace what is known.
    #[test]
    fn filling_keeps_what_is_known() -> Result {
        let inline = InlineMap::new();
        let store = KBox::pin_init(RangeTree::new(), GFP_KERNEL)?;
        let cache = ExtentMap::new(&inline, &*store);
        for first in [10, 30, 50, 70] {
            cache.set(&mapping(first, 5, 2))?;
        }
        assert!(inline.is_spilled());
        let all = mapping(0, 100, 1);
        assert!(!cache.knows(&all));
        cache.fill(&all)?;
        assert!(cache.knows(&all));
        for block in 0..100 {
            let known = matches!(block, 10..=14 | 30..=34 | 50..=54 | 70..=74);
            let expected = if known { 3 } else { 2 };
            assert!(same(cache.lookup(FileBlock::new(block)), block, expected));
        }
        cache.clear();
        Ok(())
    }
}
