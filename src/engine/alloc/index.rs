// SPDX-License-Identifier: GPL-2.0

//! The index of groups by a number of each: the longest free run, or the free inodes.
//!
//! A tree with sixteen children to a node, one cache line, whose nodes hold the largest number
//! below them. [`find`](GroupIndex::find) goes to the next group with at least so much in
//! O(log n) steps, where C ext4 keeps lists or trees of groups under a lock.
//!
//! Reading and changing take no lock. A change stores the group's number and then brings each node
//! on the way to the root up to date from its children. Two changes below one node may meet, so a
//! node carries a tag besides its number, which every update increments, and an update replaces
//! exactly the word it saw: if that fails, somebody else has updated the node since. After two
//! failures that update began after our change, and has seen it (this is the argument of Jayanti's
//! f-arrays); it depends on all of these accesses having one order, hence `SeqCst`. The tag has 12
//! bits: an update that sleeps while exactly 4096 others pass by may leave a node wrong until the
//! next. What the index says is a hint anyway; who is about to report that there is no space looks
//! at the leaves with [`scan`](GroupIndex::scan).
//!
//! For a group that has not been loaded the caller puts an upper bound, the descriptor's free
//! count, and for one that must not be used 0.

use core::ops::Deref;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed, Ordering::SeqCst};

use crate::ondisk::Group;

/// log2 of a node's children.
const FAN_SHIFT: u32 = 4;
/// Children of a node.
const FAN: usize = 1 << FAN_SHIFT;
/// Levels that any number of groups needs.
const MAX_LEVELS: usize = 8;

/// Bits of a number; the rest of the word is the tag.
const VALUE_BITS: u32 = 20;
const VALUE_MASK: u32 = (1 << VALUE_BITS) - 1;
/// What the tag counts in.
const TAG: u32 = 1 << VALUE_BITS;

/// The largest number an entry can hold: more than any group's clusters or inodes.
pub const MAX_VALUE: u32 = VALUE_MASK;

/// Words of a level that has `entries` of them: whole nodes' worth.
const fn level_len(entries: usize) -> usize {
    entries.div_ceil(FAN).saturating_mul(FAN)
}

/// How many words of storage an index of `groups` groups needs.
pub const fn storage_len(groups: u32) -> usize {
    let mut entries = groups as usize;
    let mut len = level_len(entries);
    while entries > FAN {
        entries = entries.div_ceil(FAN);
        len = len.saturating_add(level_len(entries));
    }
    len
}

/// The second half of an update. False if there was another one since the first half.
#[inline]
fn replace(node: &AtomicU32, old: u32, new: u32) -> bool {
    node.compare_exchange(old, new, SeqCst, SeqCst).is_ok()
}

/// See the module's head. `S` is storage of at least [`storage_len`] words, best aligned to 64
/// bytes.
#[derive(Debug)]
pub struct GroupIndex<S> {
    words: S,
    groups: u32,
    /// Where each level begins, the groups' own first; the last has up to sixteen entries.
    starts: [usize; MAX_LEVELS],
    levels: usize,
}

impl<S: Deref<Target = [AtomicU32]>> GroupIndex<S> {
    /// An index of `groups` groups, all with 0. `None` if there are none, or the storage is too
    /// small.
    pub fn new(words: S, groups: u32) -> Option<Self> {
        if groups == 0 {
            return None;
        }
        for word in words.get(..storage_len(groups))? {
            word.store(0, Relaxed);
        }
        let mut starts = [0; MAX_LEVELS];
        let (mut entries, mut start, mut levels) = (groups as usize, 0usize, 0usize);
        for slot in &mut starts {
            *slot = start;
            levels = levels.saturating_add(1);
            if entries <= FAN {
                break;
            }
            start = start.saturating_add(level_len(entries));
            entries = entries.div_ceil(FAN);
        }
        Some(Self {
            words,
            groups,
            starts,
            levels,
        })
    }

    /// How many groups there are.
    #[inline]
    pub fn groups(&self) -> u32 {
        self.groups
    }

    /// A group's number, 0 for a group that does not exist.
    #[inline]
    pub fn get(&self, group: Group) -> u32 {
        if group.get() < self.groups {
            self.value(0, group.get())
        } else {
            0
        }
    }

    /// The largest number of all.
    pub fn max(&self) -> u32 {
        self.children(self.levels.saturating_sub(1), 0, Relaxed)
    }

    /// Gives a group its number, cut to [`MAX_VALUE`]. Calls for one group must not overlap (its
    /// lock); those for different groups may.
    pub fn set(&self, group: Group, value: u32) {
        if group.get() >= self.groups {
            return;
        }
        let value = value.min(MAX_VALUE);
        let Some(leaf) = self.entry(0, group.get()) else {
            return;
        };
        if leaf.load(Relaxed) == value {
            return;
        }
        leaf.store(value, SeqCst);
        let mut index = group.get();
        for level in 1..self.levels {
            index >>= FAN_SHIFT;
            if !self.update(level, index) {
                return;
            }
        }
    }

    /// Brings a node up to date. Whether those above it may have to be.
    fn update(&self, level: usize, index: u32) -> bool {
        let Some(node) = self.entry(level, index) else {
            return false;
        };
        for _ in 0..2 {
            let (old, new) = self.look(node, level, index);
            if replace(node, old, new) {
                return (old ^ new) & VALUE_MASK != 0;
            }
        }
        // Someone else has stored our change, and goes on upwards if it mattered.
        false
    }

    /// The first half of an update: the node as it is, and as it should be. The tag counts every
    /// update, also one that changes nothing: another that is under way may have missed what this
    /// one has seen.
    #[inline]
    fn look(&self, node: &AtomicU32, level: usize, index: u32) -> (u32, u32) {
        let old = node.load(SeqCst);
        let value = self.children(level.saturating_sub(1), index << FAN_SHIFT, SeqCst);
        (old, (old & !VALUE_MASK).wrapping_add(TAG) | value)
    }

    /// The largest of the entries of the node's worth that begins at `first`.
    #[inline]
    fn children(&self, level: usize, first: u32, order: core::sync::atomic::Ordering) -> u32 {
        let start = self.starts.get(level).copied().unwrap_or(usize::MAX);
        let at = start.saturating_add(first as usize);
        let words = self.words.get(at..).unwrap_or(&[]);
        let mut max = 0;
        for word in words.first_chunk::<FAN>().into_iter().flatten() {
            max = max.max(word.load(order) & VALUE_MASK);
        }
        max
    }

    /// The first group at or after `from`, going on at group 0 behind the last, whose number is
    /// at least `least`; each group is looked at once. `least` is taken as 1 or more.
    pub fn find(&self, from: Group, least: u32) -> Option<Group> {
        let from = if from.get() < self.groups {
            from.get()
        } else {
            0
        };
        let found = self.find_in(from, self.groups, least);
        found.or_else(|| self.find_in(0, from, least))
    }

    /// The first group in `from..end` whose number is at least `least` (1 or more).
    pub fn find_in(&self, from: u32, end: u32, least: u32) -> Option<Group> {
        let least = least.max(1);
        let end = end.min(self.groups);
        // `level`, `index`: the next entry to look at. Those to the left of it have been.
        let (mut level, mut index) = (0usize, from);
        loop {
            // The rest of the entry's node.
            let siblings = (FAN as u32).wrapping_sub(index & (FAN as u32 - 1));
            let first = self.starts.get(level)?.saturating_add(index as usize);
            let last = first.saturating_add(siblings as usize);
            let fits = |word: &AtomicU32| word.load(Relaxed) & VALUE_MASK >= least;
            let found = self.words.get(first..last)?.iter().position(fits);
            index = index.saturating_add(found.map_or(siblings, |n| n as u32));
            if self.first_group(level, index) >= end.into() {
                return None;
            }
            if found.is_some() {
                if level == 0 {
                    return Some(Group::new(index));
                }
                // What a node says may be out of date; the walk then goes on behind its children.
                level = level.saturating_sub(1);
                index <<= FAN_SHIFT;
                continue;
            }
            // Behind the last child: go on behind the parent.
            while index & (FAN as u32 - 1) == 0 {
                level = level.saturating_add(1);
                if level >= self.levels {
                    return None;
                }
                index >>= FAN_SHIFT;
            }
        }
    }

    /// As [`find`](Self::find), from the groups' own numbers alone: O(n), and right whatever the
    /// nodes say.
    pub fn scan(&self, from: Group, least: u32) -> Option<Group> {
        let least = least.max(1);
        let mut group = from.get();
        for _ in 0..self.groups {
            if group >= self.groups {
                group = 0;
            }
            if self.value(0, group) >= least {
                return Some(Group::new(group));
            }
            group = group.saturating_add(1);
        }
        None
    }

    /// The first group below an entry, in 64 bits since an entry may lie behind the last group.
    #[inline]
    fn first_group(&self, level: usize, index: u32) -> u64 {
        u64::from(index).wrapping_shl((level as u32).wrapping_mul(FAN_SHIFT))
    }

    #[inline]
    fn value(&self, level: usize, index: u32) -> u32 {
        self.entry(level, index)
            .map_or(0, |word| word.load(Relaxed) & VALUE_MASK)
    }

    #[inline]
    fn entry(&self, level: usize, index: u32) -> Option<&AtomicU32> {
        let start = *self.starts.get(level)?;
        self.words.get(start.saturating_add(index as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> GroupIndex<Vec<AtomicU32>> {
        let words = (0..storage_len(17)).map(|_| AtomicU32::new(0)).collect();
        GroupIndex::new(words, 17).unwrap()
    }

    /// An update of the node of groups 0 to 15 that sleeps between its halves, while `meanwhile`
    /// happens, does not undo it.
    fn sleeper(meanwhile: impl FnOnce(&GroupIndex<Vec<AtomicU32>>), largest: u32) {
        let index = index();
        index.set(Group::new(0), 10);
        index.set(Group::new(1), 3);
        let node = index.entry(1, 0).unwrap();
        // Group 0 goes down to 5, and its update sees 5 and 3.
        index.entry(0, 0).unwrap().store(5, SeqCst);
        let (old, new) = index.look(node, 1, 0);
        assert_eq!(new & VALUE_MASK, 5);
        meanwhile(&index);
        assert!(!replace(node, old, new));
        // Its second try, if it makes one, sees everything.
        let (old, new) = index.look(node, 1, 0);
        assert!(replace(node, old, new));
        assert_eq!(index.max(), largest);
    }

    #[test]
    fn updates_that_meet() {
        // Another group goes up.
        sleeper(|index| index.set(Group::new(1), 8), 8);
        // It goes up without changing what the node says: 10 as before.
        sleeper(|index| index.set(Group::new(1), 10), 10);
        // The node changes and changes back, and then a group changes that does not matter to it.
        sleeper(
            |index| {
                index.set(Group::new(2), 12);
                index.set(Group::new(2), 10);
            },
            10,
        );
    }

    #[test]
    fn an_update_that_lost_twice_is_in_the_node() {
        let index = index();
        index.entry(0, 4).unwrap().store(7, SeqCst);
        // Whoever updates the node sees it.
        index.set(Group::new(5), 2);
        assert_eq!(
            (index.max(), index.find(Group::new(0), 3)),
            (7, Some(Group::new(4)))
        );
    }
}
