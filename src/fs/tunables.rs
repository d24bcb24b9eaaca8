// SPDX-License-Identifier: GPL-2.0

//! Numbers in sysfs that an administrator can change, under ext4's names.
//!
//! Most steer the allocator. Some of ext4's steer how it scans its buddy bitmaps, and there is no
//! such scan here: these are kept as they are set, so that scripts which set them work, and mean
//! nothing.

use crate::{
    engine::alloc::goal::POOL_BLOCKS,
    ondisk::{features::Incompat, Geometry},
};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use kernel::prelude::*;

/// Which number.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Number {
    /// The inode to begin searching for a free one at, if it is not 0.
    InodeGoal,
    /// Whether statistics of the allocator are taken.
    MbStats,
    /// How many block bitmaps are read at once, where they lie side by side.
    MbPrefetch,
    /// How many may be on the way.
    MbPrefetchLimit,
    /// Files of up to so many blocks share pools.
    MbStreamReq,
    /// Clusters of a pool.
    MbGroupPrealloc,
    /// The superblock on disk may be that many seconds old, ...
    SbUpdateSec,
    /// ... and that many KiB behind.
    SbUpdateKb,
    /// Kept, see the head of the module.
    MbMaxToScan,
    /// Likewise.
    MbMinToScan,
    /// Likewise.
    MbOrder2Req,
    /// Likewise.
    MbMaxLinearGroups,
    /// Likewise.
    MbBestAvailMaxTrimOrder,
}

/// How many there are.
const COUNT: usize = Number::MbBestAvailMaxTrimOrder as usize + 1;

/// The numbers of a mounted file system.
pub(crate) struct Tunables([AtomicU32; COUNT]);

/// Bytes that one request of a prefetch may have.
const PREFETCH_BYTES: u32 = 65536;

impl Tunables {
    /// As ext4 has them after a mount, of a device that is rotational or not.
    pub(crate) fn new(geo: &Geometry, rotational: bool) -> Self {
        let groups = geo.groups_count();
        let prefetch = if geo.has(Incompat::FLEX_BG) {
            let side_by_side = 1u32.wrapping_shl(geo.flex_bits());
            let in_request = PREFETCH_BYTES.wrapping_shr(geo.block_bits().saturating_sub(9));
            side_by_side.min(in_request).saturating_mul(8)
        } else {
            32
        };
        let prefetch = prefetch.min(groups);
        let pool = 512u32.wrapping_shr(geo.cluster_bits()).max(32);
        let of = |number: Number| match number {
            Number::MbPrefetch => prefetch,
            Number::MbPrefetchLimit => prefetch.saturating_mul(4).min(groups),
            Number::MbStreamReq => POOL_BLOCKS,
            Number::MbGroupPrealloc => pool,
            Number::SbUpdateSec => 3600,
            Number::SbUpdateKb => 16384,
            Number::MbMaxToScan => 200,
            Number::MbMinToScan => 10,
            Number::MbOrder2Req => 2,
            Number::MbMaxLinearGroups if rotational => 4,
            Number::MbMaxLinearGroups => 0,
            Number::MbBestAvailMaxTrimOrder => 3,
            Number::InodeGoal | Number::MbStats => 0,
        };
        use Number::*;
        let all = [
            InodeGoal,
            MbStats,
            MbPrefetch,
            MbPrefetchLimit,
            MbStreamReq,
            MbGroupPrealloc,
            SbUpdateSec,
            SbUpdateKb,
            MbMaxToScan,
            MbMinToScan,
            MbOrder2Req,
            MbMaxLinearGroups,
            MbBestAvailMaxTrimOrder,
        ];
        Self(all.map(|number| AtomicU32::new(of(number))))
    }

    /// A number.
    #[inline]
    pub(crate) fn get(&self, number: Number) -> u32 {
        self.0
            .get(number as usize)
            .map_or(0, |value| value.load(Relaxed))
    }

    /// Changes a number.
    ///
    /// Errors: EINVAL for one that is too large.
    pub(crate) fn set(&self, geo: &Geometry, number: Number, value: u32) -> Result {
        let most = match number {
            Number::MbGroupPrealloc => geo.clusters_per_group().get(),
            Number::MbBestAvailMaxTrimOrder => 64,
            _ => u32::MAX,
        };
        if value > most {
            return Err(EINVAL);
        }
        if let Some(place) = self.0.get(number as usize) {
            place.store(value, Relaxed);
        }
        Ok(())
    }
}
