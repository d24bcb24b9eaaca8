// SPDX-License-Identifier: GPL-2.0

//! Where the copies of the superblock are.
//!
//! Group 0 has the primary. By default every group has a copy; with `sparse_super` groups 1 and
//! the powers of 3, 5 and 7; with `sparse_super2` at most two groups that the superblock names.
//! [`backups`] walks them without looking at every group, which is what makes a change of all
//! copies (label, UUID, features) cheap on large file systems.
//!
//! [`guesses`] is for the case that the primary cannot be read: it names the places where mkfs
//! puts the first copy for each block size.

use crate::ondisk::features::{Compat, RoCompat};
use crate::ondisk::{FsBlock, Geometry, Group};

/// A copy of the superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The group that holds it.
    pub group: Group,
    /// Its block; the copy starts at the block's first byte.
    pub block: FsBlock,
    /// How many blocks of group descriptors follow.
    pub desc_blocks: u32,
}

/// The groups that hold a copy, in ascending order, group 0 left out.
struct BackupGroups<'a> {
    geo: &'a Geometry,
    /// The next candidates, each ascending: groups of the dense or `sparse_super2` layout in the
    /// first place, powers of 3, 5 and 7 in the others. `None` when used up.
    next: [Option<u32>; 4],
    layout: Layout,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Dense,
    Sparse,
    Named,
}

const BASES: [u32; 4] = [1, 3, 5, 7];

impl<'a> BackupGroups<'a> {
    fn new(geo: &'a Geometry) -> Self {
        if geo.has(Compat::SPARSE_SUPER2) {
            // The superblock's two, in any order, possibly the same; 0 for none.
            let [a, b] = geo.backup_groups();
            let (low, high) = (a.min(b), a.max(b));
            let named = |g: u32| (g != 0).then_some(g);
            let second = named(high).filter(|_| high != low);
            return Self {
                geo,
                next: [named(low), second, None, None],
                layout: Layout::Named,
            };
        }
        let (next, layout) = if geo.has(RoCompat::SPARSE_SUPER) {
            (BASES.map(Some), Layout::Sparse)
        } else {
            ([Some(1), None, None, None], Layout::Dense)
        };
        Self { geo, next, layout }
    }
}

impl Iterator for BackupGroups<'_> {
    type Item = Group;

    fn next(&mut self) -> Option<Group> {
        let group = self.next.iter().flatten().copied().min()?;
        for (slot, base) in self.next.iter_mut().zip(BASES) {
            if *slot == Some(group) {
                *slot = match self.layout {
                    Layout::Dense => group.checked_add(1),
                    // 1 is only itself.
                    Layout::Sparse if base != 1 => group.checked_mul(base),
                    _ => None,
                };
            }
        }
        // Ascending: the first one that does not exist is the end.
        self.geo.check_group(group)
    }
}

/// All copies of the superblock except the primary, in ascending order.
pub fn backups(geo: &Geometry) -> impl Iterator<Item = Backup> + '_ {
    BackupGroups::new(geo).map(|group| Backup {
        group,
        block: geo.group_first_block(group),
        desc_blocks: geo.group_desc_blocks(group),
    })
}

/// Places where a copy is likely when the primary is gone, as numbers that `sb=` takes (units of
/// 1 KiB): group 1 of a file system with full-sized groups of 1, 2, 4, 8, ... 64 KiB blocks.
pub fn guesses() -> impl Iterator<Item = u64> {
    (10u32..=16).map(|bits| {
        // A bitmap block has 8 << bits bits; 1 KiB blocks count from 1.
        let blocks = 8u64.wrapping_shl(bits);
        let first = u64::from(bits == 10);
        blocks
            .wrapping_add(first)
            .wrapping_shl(bits.wrapping_sub(10))
    })
}

#[cfg(test)]
mod tests {
    use super::guesses;

    #[test]
    fn guesses_are_the_numbers_that_mkfs_prints() {
        // 8193 for 1 KiB blocks, 16384 for 2 KiB, 32768 for 4 KiB, each in blocks.
        let numbers: Vec<u64> = guesses().collect();
        assert_eq!(numbers[..3], [8193, 16384 * 2, 32768 * 4]);
        assert_eq!(numbers[6], (1u64 << 19) * 64);
    }
}
