// SPDX-License-Identifier: GPL-2.0

//! The file system's own blocks in a group's block bitmap.
//!
//! They must be set in a bitmap that is read, and they are all that is set in one that is made for
//! a group whose bitmap was never written (`BLOCK_UNINIT`). Both go by the block validity table,
//! so they see what other groups keep in this one, as they do with `flex_bg`; C ext4 looks at the
//! group's own bitmaps and inode table alone, and with `flex_bg` at nothing.

use core::ops::Deref;

use super::Run;
use crate::engine::zones::{Zone, Zones};
use crate::ondisk::group::{verify_padding, GroupDesc, GroupError};
use crate::ondisk::{bitmap, Geometry, Group};

/// The clusters of `group` that hold blocks of the file system itself, sorted. Two runs may share
/// a cluster.
pub fn metadata_runs<'a, S>(
    geo: &'a Geometry,
    group: Group,
    zones: &'a Zones<S>,
) -> impl Iterator<Item = Run> + 'a
where
    S: Deref<Target = [Zone]>,
{
    let first = geo.group_first_block(group).get();
    let end = first.saturating_add(geo.group_blocks(group).into());
    zones.within(first, end).map(move |(start, end)| {
        let bits = geo.cluster_bits();
        // Inside the group, whose blocks are counted in 32 bits; zones are not empty.
        let start = start.saturating_sub(first).wrapping_shr(bits) as u32;
        let last = end.saturating_sub(first).saturating_sub(1);
        let last = last.wrapping_shr(bits) as u32;
        Run::new(start, last.wrapping_sub(start).saturating_add(1))
    })
}

/// Checks a block bitmap that has been read, all of its block: checksum, padding, and that the
/// file system's own blocks are in use. Not for a group that is `BLOCK_UNINIT`.
///
/// Errors: [`GroupError`]: `BadBlockBitmapChecksum`, `BadBlockBitmapPadding`, `MetadataFree`.
pub fn verify_block_bitmap<S>(
    geo: &Geometry,
    group: Group,
    desc: &GroupDesc<'_>,
    zones: &Zones<S>,
    bytes: &[u8],
) -> Result<(), GroupError>
where
    S: Deref<Target = [Zone]>,
{
    desc.verify_block_bitmap(geo, bytes)?;
    verify_padding(geo, group, bytes)?;
    if metadata_runs(geo, group, zones).all(|run| bitmap::is_set(bytes, run.start, run.len)) {
        Ok(())
    } else {
        Err(GroupError::MetadataFree)
    }
}

/// Makes the block bitmap of a group that is `BLOCK_UNINIT`, in all of its block.
pub fn init_block_bitmap<S>(geo: &Geometry, group: Group, zones: &Zones<S>, bytes: &mut [u8])
where
    S: Deref<Target = [Zone]>,
{
    bytes.fill(0);
    for run in metadata_runs(geo, group, zones) {
        bitmap::mark_run(bytes, run.start, run.len);
    }
    pad(bytes, geo.group_clusters(group));
}

/// Makes the inode bitmap of a group that is `INODE_UNINIT`, in all of its block: no inode is in
/// use.
pub fn init_inode_bitmap(geo: &Geometry, bytes: &mut [u8]) {
    bytes.fill(0);
    pad(bytes, geo.inodes_per_group().get());
}

/// Sets what lies behind the first `used` bits.
fn pad(bytes: &mut [u8], used: u32) {
    bitmap::mark_run(bytes, used, u32::MAX.wrapping_sub(used));
}
