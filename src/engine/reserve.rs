// SPDX-License-Identifier: GPL-2.0

//! Who may take the last clusters.
//!
//! Two parts of the free space are set aside: one for the administrator (the superblock's reserved
//! blocks), one so that data that was promised space can always be mapped (the pool, for the
//! metadata of delayed allocation). What has been promised and not yet taken is no longer free for
//! anyone. The rules, and the sizes, are those of C ext4, since `df` and full file systems behave
//! by them.
//!
//! Counts are in clusters. They come from counters for each CPU; where an approximate sum is close
//! to a limit, the exact one is asked for ([`needs_exact`]).

use crate::ondisk::features::Incompat;
use crate::ondisk::Geometry;

/// Clusters that are promised to data which has no place yet.
///
/// A promise is a number in a counter, so whoever has one of these has to hand it on: to blocks in
/// flight that take its place, to a range of a file that keeps count of its own, or back.
#[must_use = "to be handed on or released"]
#[derive(Debug, PartialEq, Eq)]
pub struct Reservation(u64);

impl Reservation {
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// What has been promised before and is accounted for elsewhere: for whoever keeps count of it,
    /// in clusters.
    #[inline]
    pub const fn of(clusters: u64) -> Self {
        Self(clusters)
    }

    /// How much it is.
    #[inline]
    pub const fn clusters(&self) -> u64 {
        self.0
    }

    /// Hands it on to somebody who keeps count, in clusters.
    #[inline]
    pub const fn into_clusters(self) -> u64 {
        self.0
    }

    /// Both together.
    #[inline]
    pub fn and(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Up to `clusters` of it, and the rest.
    #[inline]
    pub fn split(self, clusters: u64) -> (Self, Self) {
        let part = self.0.min(clusters);
        (Self(part), Self(self.0.saturating_sub(part)))
    }
}

/// What writers are to do when promises come to be much of what is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortage {
    /// To have data written back, which shows how much of what is promised is needed.
    pub write_back: bool,
    /// To find places at once, not to ask for promises.
    pub at_once: bool,
}

/// How short space is, by approximate counts as [`may_take`]'s, each of which may be wrong by up to
/// `error` clusters. C ext4 changes its ways at the same points.
#[inline]
pub fn shortage(free: u64, dirty: u64, error: u64) -> Shortage {
    let most = free.saturating_mul(2);
    Shortage {
        write_back: dirty != 0 && free < dirty.saturating_mul(2),
        at_once: most < dirty.saturating_mul(3)
            || free < dirty.saturating_add(error.saturating_mul(4)),
    }
}

/// The parts of the free space that are set aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// For who is privileged, in clusters.
    pub root: u64,
    /// For metadata that must not fail, in clusters.
    pub pool: u64,
}

impl Limits {
    /// From the superblock's reserved blocks, and the pool's size, which sysfs can change.
    pub fn new(geo: &Geometry, reserved_blocks: u64, pool: u64) -> Self {
        Self {
            root: reserved_blocks.wrapping_shr(geo.cluster_bits()),
            pool,
        }
    }
}

/// Whether `want` clusters may be taken or promised while `free` are free on disk and `dirty` are
/// promised.
///
/// `reserved` is a claim to map data whose space was promised before: it may take the pool as well.
/// `privileged` says whether who asks may take what is reserved for root; it is only called where
/// that matters.
#[inline]
pub fn may_take(
    free: u64,
    dirty: u64,
    limits: Limits,
    want: u64,
    reserved: bool,
    privileged: impl FnOnce() -> bool,
) -> bool {
    let needed = want.saturating_add(dirty);
    let pool = needed.saturating_add(limits.pool);
    // Reserved claims need not be privileged: what is behind root's part is behind theirs.
    free >= pool.saturating_add(limits.root)
        || (reserved && free >= needed)
        || (free >= pool && privileged())
}

/// Whether approximate counts leave [`may_take`] in doubt, each of which may be wrong by up to
/// `error` clusters (batch size times CPUs).
#[inline]
pub fn needs_exact(free: u64, dirty: u64, limits: Limits, want: u64, error: u64) -> bool {
    let all = want
        .saturating_add(dirty)
        .saturating_add(limits.pool)
        .saturating_add(limits.root);
    // Two counts, each wrong by that much, and as much again against changes meanwhile.
    free < all.saturating_add(error.saturating_mul(4))
}

/// The pool's size after mkfs: a fiftieth of the file system, 4096 clusters at most; none without
/// extents, whose trees it is for.
pub fn default_pool(geo: &Geometry) -> u64 {
    if !geo.has(Incompat::EXTENTS) {
        return 0;
    }
    let clusters = geo.blocks_count().wrapping_shr(geo.cluster_bits());
    (clusters / 50).min(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { root: 50, pool: 20 };

    fn least_free(privileged: bool, reserved: bool) -> u64 {
        (0..)
            .find(|free| may_take(*free, 100, LIMITS, 7, reserved, || privileged))
            .unwrap()
    }

    #[test]
    fn each_part_is_for_whom_it_is_for() {
        assert_eq!(least_free(false, false), 177);
        assert_eq!(least_free(true, false), 127);
        assert_eq!(least_free(false, true), 107);
        assert_eq!(least_free(true, true), 107);
    }

    #[test]
    fn privilege_is_asked_for_only_where_it_matters() {
        let never = || -> bool { panic!("asked") };
        assert!(may_take(177, 100, LIMITS, 7, false, never));
        assert!(may_take(107, 100, LIMITS, 7, true, never));
        assert!(!may_take(126, 100, LIMITS, 7, false, never));
    }

    #[test]
    fn short_of_space() {
        let short = |free, dirty| {
            let found = shortage(free, dirty, 8);
            (found.write_back, found.at_once)
        };
        assert_eq!(short(1000, 0), (false, false));
        assert_eq!(short(31, 0), (false, true));
        assert_eq!(short(1000, 500), (false, false));
        assert_eq!(short(999, 500), (true, false));
        assert_eq!(short(1000, 667), (true, true));
        assert_eq!(short(u64::MAX, 5), (false, false));
    }

    #[test]
    fn promises_are_split_and_joined() {
        let (a, b) = Reservation::of(10).split(7);
        assert_eq!((a.clusters(), b.clusters()), (7, 3));
        let (c, none) = b.split(5);
        assert_eq!(none, Reservation::NONE);
        assert_eq!(a.and(c).and(none).into_clusters(), 10);
    }

    #[test]
    fn nothing_wraps() {
        let huge = Limits {
            root: u64::MAX,
            pool: u64::MAX,
        };
        let all = |free, dirty, limits, want| may_take(free, dirty, limits, want, true, || true);
        assert!(!all(u64::MAX - 1, u64::MAX, huge, u64::MAX));
        assert!(needs_exact(5, u64::MAX, huge, u64::MAX, u64::MAX));
        assert!(needs_exact(177 + 39, 100, LIMITS, 7, 10));
        assert!(!needs_exact(177 + 40, 100, LIMITS, 7, 10));
    }
}
