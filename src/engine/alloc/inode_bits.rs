// SPDX-License-Identifier: GPL-2.0

//! Finding a free inode in a group.

use crate::ondisk::bitmap;
use crate::ondisk::group::GroupDesc;
use crate::ondisk::{Geometry, Group};

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
