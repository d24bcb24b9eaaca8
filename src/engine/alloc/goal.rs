// SPDX-License-Identifier: GPL-2.0

//! Where a file's blocks should go.
//!
//! A file's next blocks belong behind its last ones; a file's first blocks into the group of its
//! inode. In a flex group, whose metadata is together at its front, the first group is left to
//! directories and the like, so that walks of the tree read one place; contents begin in the
//! second. These are C ext4's places, which e2fsprogs' tools and file systems in use expect.

use core::ops::RangeInclusive;

use crate::ondisk::{FileBlock, FsBlock, Geometry, Group};

/// Groups in a flex group from which on the first one is for directories.
const DIR_GROUP_FLEX_BITS: u32 = 2;

/// The size in blocks up to which a file shares a pool with others, unless sysfs says otherwise.
pub const POOL_BLOCKS: u32 = 16;

/// A place to look for free clusters at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Blocks here go on from a file's extent: any number of them is welcome.
    Extend(FsBlock),
    /// Somewhere from here on.
    Near(FsBlock),
}

impl Goal {
    /// The block.
    #[inline]
    pub const fn block(self) -> FsBlock {
        match self {
            Self::Extend(block) | Self::Near(block) => block,
        }
    }
}

/// Blocks of the file that are mapped to blocks in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The first one, in the file.
    pub lblk: FileBlock,
    /// How many.
    pub len: u32,
    /// The block that the first one is mapped to.
    pub start: FsBlock,
}

/// The goal for blocks of a file from `lblk` on, next to blocks of it before or behind: as far
/// from them on the device as in the file, so that what comes between has its place. `None` if
/// that is not on the file system.
pub fn beside(geo: &Geometry, lblk: FileBlock, neighbour: Neighbour) -> Option<Goal> {
    let start = neighbour.start.get();
    if lblk < neighbour.lblk {
        let gap = lblk.distance_to(neighbour.lblk);
        let block = geo.check_block(start.checked_sub(gap.into())?)?;
        return Some(Goal::Near(block));
    }
    let distance = neighbour.lblk.distance_to(lblk);
    let block = geo.check_block(start.checked_add(distance.into())?)?;
    // Inside the neighbour would be where it is itself: the caller has a hole to fill.
    Some(if distance == neighbour.len {
        Goal::Extend(block)
    } else {
        Goal::Near(block)
    })
}

/// The goal for the first blocks of an inode in `group`. `contents` is whether it is a regular
/// file. Sixteen colours spread what begins at the same time over the group; writes that are
/// allocated in one piece after the fact need none (0).
pub fn home(geo: &Geometry, group: Group, contents: bool, colour: u32) -> FsBlock {
    let mut group = group.get();
    if geo.flex_bits() >= DIR_GROUP_FLEX_BITS {
        group &= u32::MAX.wrapping_shl(geo.flex_bits());
        if contents && group.saturating_add(1) < geo.groups_count() {
            group = group.saturating_add(1);
        }
    }
    let group = Group::new(group);
    let sixteenth = geo.group_blocks(group) >> 4;
    let offset = sixteenth.wrapping_mul(colour & 15);
    let first = geo.group_first_block(group);
    first.checked_add(offset.into()).unwrap_or(first)
}

/// Whether blocks of a file should come from a pool that small files share, so that they lie side
/// by side: if neither the file of `size` blocks nor what is written, which ends at block `end`,
/// is longer than `threshold` ([`POOL_BLOCKS`]), and nobody will go on writing (a file that is
/// open for writing may grow: then its own goal is right).
#[inline]
pub fn is_small(size: u64, end: u64, threshold: u32, closed: bool) -> bool {
    closed && size.max(end) <= threshold.into()
}

/// How many groups there are whose blocks indirect blocks can name, which have 32 bits for that.
#[inline]
pub fn indirect_groups(geo: &Geometry) -> u32 {
    let end = u64::from(u32::MAX).saturating_sub(geo.first_data_block().into());
    let groups = end.checked_div(geo.blocks_per_group().get().into());
    let groups = groups.and_then(|groups| u32::try_from(groups).ok());
    geo.groups_count().min(groups.unwrap_or(0).max(1))
}

/// The groups of the flex group that `group` is in: the group alone without `flex_bg`.
#[inline]
pub fn flex_groups(geo: &Geometry, group: Group) -> RangeInclusive<u32> {
    let first = group.get() & u32::MAX.wrapping_shl(geo.flex_bits());
    let size = 1u32.wrapping_shl(geo.flex_bits());
    let last = first.saturating_add(size.wrapping_sub(1));
    first..=last.min(geo.groups_count().saturating_sub(1))
}
