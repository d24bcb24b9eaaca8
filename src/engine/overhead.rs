// SPDX-License-Identifier: GPL-2.0

//! How many clusters metadata takes: what statfs leaves out of the total (unless `minixdf`).
//!
//! Computed from the geometry, except with bigalloc, where several structures may share a
//! cluster: there mkfs has stored the figure, and old file systems without it get an estimate
//! from the block validity table. The journal comes on top; its size is known when it is open.

use core::ops::Deref;

use super::zones::{Zone, Zones};
use crate::ondisk::features::RoCompat;
use crate::ondisk::{Geometry, Group};

/// Clusters that metadata takes, the journal left out unless the figure is `stored` (the
/// superblock's `s_overhead_clusters`), which includes it. The flag says whether it does.
pub fn overhead_clusters<S>(geo: &Geometry, stored: u32, zones: &Zones<S>) -> (u64, bool)
where
    S: Deref<Target = [Zone]>,
{
    if !geo.has(RoCompat::BIGALLOC) {
        return (from_geometry(geo), false);
    }
    // A stored figure that cannot be is worth nothing.
    if stored != 0 && u64::from(stored) <= geo.blocks_count() {
        return (stored.into(), true);
    }
    (from_zones(geo, zones), false)
}

/// Superblocks, descriptors and their reserve, two bitmaps and the inode table of each group, and
/// what precedes group 0.
fn from_geometry(geo: &Geometry) -> u64 {
    let fixed = u64::from(geo.itable_blocks_per_group()).saturating_add(2);
    let mut blocks = u64::from(geo.groups_count()).saturating_mul(fixed);
    blocks = blocks.saturating_add(geo.first_data_block().into());
    for number in 0..geo.groups_count() {
        let group = Group::new(number);
        let mut head = geo.group_desc_blocks(group);
        if geo.group_has_super(group) {
            head = head
                .saturating_add(geo.reserved_gdt_blocks())
                .saturating_add(1);
        }
        blocks = blocks.saturating_add(head.into());
    }
    blocks
}

/// Clusters that hold a block of a zone without owner, each counted once.
fn from_zones<S: Deref<Target = [Zone]>>(geo: &Geometry, zones: &Zones<S>) -> u64 {
    let bits = geo.cluster_bits();
    let mut clusters = 0u64;
    // The first cluster that has not been counted.
    let mut next = 0u64;
    for zone in zones.zones().iter().filter(|zone| zone.owner().is_none()) {
        let first = zone.start().get().wrapping_shr(bits).max(next);
        let last = zone
            .start()
            .get()
            .saturating_add(zone.len().into())
            .saturating_sub(1);
        let end = last.wrapping_shr(bits).saturating_add(1);
        clusters = clusters.saturating_add(end.saturating_sub(first));
        next = next.max(end);
    }
    clusters
}
