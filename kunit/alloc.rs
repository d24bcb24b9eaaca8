// SPDX-License-Identifier: GPL-2.0

//! The allocator's free runs and index of groups, against an array each.

use kernel::prelude::*;

#[kunit_tests(rext4_alloc)]
mod tests {
    use super::super::memory::{span, span_mut, Random};
    use crate::{
        engine::alloc::{
            index,
            runs::{self, RunTree},
            Run,
        },
        fs::vec::{filled, push},
        ondisk::Group,
    };
    use core::sync::atomic::AtomicU32;
    use kernel::prelude::*;

    /// Not a whole number of chunks, nor of words.
    const BITS: u32 = 4003;
    const GROUPS: u32 = 600;

    /// The free run in `used` at `at`, at most `max` long.
    fn run_at(used: &[bool], at: u32, max: u32) -> u32 {
        let mut len = 0u32;
        for used in span(used, at, max) {
            if *used {
                break;
            }
            len = len.wrapping_add(1);
        }
        len
    }

    /// The first `len` free clusters in a row at or after `from`, and how many are free in all,
    /// and the longest run.
    fn survey(used: &[bool], from: u32, len: u32) -> (Option<Run>, u32, u32) {
        let (mut found, mut free, mut longest) = (None, 0u32, 0u32);
        let (mut open, mut open_from, mut at) = (0u32, 0u32, 0u32);
        for used in used {
            let next = |open: u32| if *used { 0 } else { open.wrapping_add(1) };
            open = next(open);
            open_from = if at < from { 0 } else { next(open_from) };
            at = at.wrapping_add(1);
            free = free.wrapping_add(u32::from(!*used));
            longest = longest.max(open);
            if found.is_none() && open_from == len {
                found = Some(Run::new(at.wrapping_sub(len), len));
            }
        }
        (found, free, longest)
    }

    #[test]
    fn runs_match_a_model() -> Result {
        let storage = filled(0u64, runs::storage_len(BITS))?;
        let mut tree = RunTree::new(storage, BITS).ok_or(EINVAL)?;
        tree.clear();
        let mut model = filled(false, BITS as usize)?;
        let mut random = Random(0x1357_9bdf);
        for round in 0..1500u32 {
            let len = match round & 7 {
                0 => random.below(900),
                1 | 2 => random.below(70),
                _ => random.below(6),
            };
            let len = len.wrapping_add(1);
            let at = random.below(BITS);
            let run = Run::new(at, len);
            let bits = || span(&model, at, len).iter();
            let inside = run.end() <= BITS;
            let all_free = inside && bits().all(|used| !*used);
            let all_used = inside && bits().all(|used| *used);
            assert!(tree.is_free(run) == all_free && tree.is_used(run) == all_used);
            let take = random.below(5) < 3;
            let (changes, result) = if take {
                (all_free, tree.take(run))
            } else {
                (all_used, tree.release(run))
            };
            assert!(result.is_ok() == changes);
            if changes {
                span_mut(&mut model, at, len).fill(take);
            }
            let from = random.below(BITS);
            let (found, free, longest) = survey(&model, from, len);
            assert!(tree.find(from, len) == found);
            assert!(tree.free() == free && tree.longest() == longest);
            assert!(tree.run_at(from, len) == run_at(&model, from, len));
            // What has been found is taken, as an allocation would.
            if let Some(run) = found.filter(|_| take && free > BITS / 3) {
                assert!(tree.take(run).is_ok());
                span_mut(&mut model, run.start, run.len).fill(true);
            }
        }
        Ok(())
    }

    #[test]
    fn groups_match_a_model() -> Result {
        let len = index::storage_len(GROUPS);
        let mut storage = KVec::with_capacity(len, GFP_KERNEL)?;
        for _ in 0..len {
            push(&mut storage, AtomicU32::new(7))?;
        }
        let index = index::GroupIndex::new(storage, GROUPS).ok_or(EINVAL)?;
        let mut model = filled(0u32, GROUPS as usize)?;
        let mut random = Random(0x2468_ace1);
        for _ in 0..3000 {
            let group = random.below(GROUPS);
            // Most are small, so that searches for much go far.
            let most = 1u32 << random.below(16);
            let value = random.below(most);
            index.set(Group::new(group), value);
            if let Some(slot) = model.get_mut(group as usize) {
                *slot = value;
            }
            let (from, least) = (random.below(GROUPS), random.below(most).wrapping_add(1));
            let (mut before, mut behind, mut max, mut at) = (None, None, 0, 0u32);
            for value in model.iter().copied() {
                if value >= least {
                    let first = if at < from { &mut before } else { &mut behind };
                    *first = first.or(Some(at));
                }
                max = value.max(max);
                at = at.wrapping_add(1);
            }
            let expected = behind.or(before).map(Group::new);
            assert!(index.find(Group::new(from), least) == expected);
            assert!(index.scan(Group::new(from), least) == expected);
            assert!(index.get(Group::new(group)) == value && index.max() == max);
        }
        Ok(())
    }
}
