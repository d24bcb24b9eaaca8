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

/// Who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// The reserved user or group, or `CAP_SYS_RESOURCE`: may take what is reserved for root.
    pub privileged: bool,
    /// Maps data whose space was promised before: may take the pool as well.
    pub reserved: bool,
}

/// Whether `want` clusters may be taken or promised while `free` are free on disk and `dirty` are
/// promised.
#[inline]
pub fn may_take(free: u64, dirty: u64, limits: Limits, claim: Claim, want: u64) -> bool {
    let needed = want.saturating_add(dirty);
    let pool = needed.saturating_add(limits.pool);
    // Reserved claims need not be privileged: what is behind root's part is behind theirs.
    free >= pool.saturating_add(limits.root)
        || (claim.privileged && free >= pool)
        || (claim.reserved && free >= needed)
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

    fn least_free(claim: Claim) -> u64 {
        (0..)
            .find(|free| may_take(*free, 100, LIMITS, claim, 7))
            .unwrap()
    }

    #[test]
    fn each_part_is_for_whom_it_is_for() {
        let claim = |privileged, reserved| Claim {
            privileged,
            reserved,
        };
        assert_eq!(least_free(claim(false, false)), 177);
        assert_eq!(least_free(claim(true, false)), 127);
        assert_eq!(least_free(claim(false, true)), 107);
        assert_eq!(least_free(claim(true, true)), 107);
    }

    #[test]
    fn nothing_wraps() {
        let claim = Claim {
            privileged: true,
            reserved: true,
        };
        let huge = Limits {
            root: u64::MAX,
            pool: u64::MAX,
        };
        assert!(!may_take(u64::MAX - 1, u64::MAX, huge, claim, u64::MAX));
        assert!(needs_exact(5, u64::MAX, huge, u64::MAX, u64::MAX));
        assert!(needs_exact(177 + 39, 100, LIMITS, 7, 10));
        assert!(!needs_exact(177 + 40, 100, LIMITS, 7, 10));
    }
}
