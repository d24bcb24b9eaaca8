// SPDX-License-Identifier: GPL-2.0

//! Finding a free inode in a group.

use crate::ondisk::bitmap;
use crate::ondisk::group::GroupDesc;
use crate::ondisk::{Geometry, Group};

/// Numbers of a group's inodes that were freed and are to rest before they are used again.
///
/// What is kept is where they are, from the lowest to the highest: what else is free in between
/// rests too. The rest of all ends when the last of them has rested for long enough.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resting {
    range: Option<(u32, u32)>,
    until: u64,
}

impl Resting {
    /// How long, in milliseconds: longer than writeback leaves a block of metadata unwritten.
    pub const TIME: u64 = 300_000;

    /// A number has been freed, at time `now` in milliseconds.
    pub fn add(&mut self, index: u32, now: u64) {
        let (low, high) = self.range.unwrap_or((index, index));
        self.range = Some((low.min(index), high.max(index)));
        self.until = now.saturating_add(Self::TIME);
    }

    /// If the rest has ended: the lowest number that can be had again.
    #[inline]
    pub fn end(&mut self, now: u64) -> Option<u32> {
        self.range.filter(|_| now >= self.until)?;
        self.range.take().map(|(low, _)| low)
    }

    /// The first free number from `start` on that does not rest; if there is none, one that does.
    /// `find` is the first free number from one on.
    #[inline]
    pub fn choose(&self, start: u32, find: impl Fn(u32) -> Option<u32>) -> Option<u32> {
        let Some((low, high)) = self.range else {
            return find(start);
        };
        match find(start) {
            Some(found) if found >= low && found <= high => {
                find(high.saturating_add(1)).or(Some(found))
            }
            Some(found) => Some(found),
            None => find(low),
        }
    }
}

/// The first free inode of `group` at or after inode `goal` of it, as its number within the group;
/// `None` if there is none from there to the group's end. Reserved inodes are passed over. `bitmap`
/// is the whole block of the inode bitmap, not looked at where it was never written.
///
/// Searching goes forward only, as everyone expects who relies on inode numbers of files made one
/// after the other; with a goal of 0 the lowest is found, which keeps the part of the table that
/// was never used large.
pub fn find_free_inode(
    geo: &Geometry,
    group: Group,
    desc: &GroupDesc<'_>,
    bitmap: &[u8],
    goal: u32,
) -> Option<u32> {
    let per_group = geo.inodes_per_group().get();
    // What is reserved may be more than the first group has.
    let before = group.get().checked_mul(per_group)?;
    let reserved = geo.first_ino().saturating_sub(1).saturating_sub(before);
    let from = goal.max(reserved);
    if desc.inode_uninit() {
        return (from < per_group).then_some(from);
    }
    bitmap::next_clear(bitmap, from, per_group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rest() {
        // 10 and 11 are free, and so is all from 30 on, up to 40.
        let all = |at: u32| (at..40).find(|n| [10, 11, 20].contains(n) || *n >= 30);
        let mut resting = Resting::default();
        assert_eq!(resting.choose(0, all), Some(10));
        assert_eq!(resting.end(u64::MAX), None);
        resting.add(11, 1000);
        assert_eq!(resting.choose(0, all), Some(10));
        assert_eq!(resting.choose(11, all), Some(20));
        resting.add(20, 2000);
        // What lies between rests as well.
        assert_eq!(resting.choose(11, all), Some(30));
        // There is nothing else.
        assert_eq!(resting.choose(40, all), Some(11));
        let few = |at: u32| (at..40).find(|n| [11, 20].contains(n));
        assert_eq!(resting.choose(0, few), Some(11));
        assert_eq!(resting.end(2000 + Resting::TIME - 1), None);
        assert_eq!(resting.end(2000 + Resting::TIME), Some(11));
        assert_eq!(resting.choose(11, all), Some(11));
    }
}
