// SPDX-License-Identifier: GPL-2.0

//! Who may take the last clusters: what `engine::reserve` decides, on this file system's counts.
//!
//! All that decides is read without a lock, since everybody who allocates asks: words that a
//! remount or sysfs changes one by one. Who is privileged is only asked where it matters.

use super::{groups::Groups, options::Options};
use crate::{
    engine::reserve::{self, Limits},
    linux::{capability, cred},
    ondisk::{superblock::Superblock, Geometry},
};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use kernel::prelude::*;

/// What is kept back, and for whom.
pub(crate) struct Reserved {
    uid: AtomicU32,
    gid: AtomicU32,
    /// The superblock's reserved blocks.
    blocks: AtomicU64,
    /// Clusters for conversions that cannot fail.
    pool: AtomicU64,
}

impl Reserved {
    /// As the superblock and the options say, with a pool of the default size.
    pub(crate) fn new(geo: &Geometry, raw: &Superblock, options: &Options) -> Self {
        let (uid, gid) = options.reserved_for();
        Self {
            uid: AtomicU32::new(uid),
            gid: AtomicU32::new(gid),
            blocks: AtomicU64::new(raw.r_blocks_count()),
            pool: AtomicU64::new(reserve::default_pool(geo)),
        }
    }

    /// For whom the reserved blocks are: a remount.
    pub(crate) fn set_owner(&self, options: &Options) {
        let (uid, gid) = options.reserved_for();
        self.uid.store(uid, Relaxed);
        self.gid.store(gid, Relaxed);
    }

    /// Blocks that are kept back for the reserved user and group.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks.load(Relaxed)
    }

    /// Clusters that are kept back for conversions.
    pub(crate) fn pool(&self) -> u64 {
        self.pool.load(Relaxed)
    }

    /// Changes the size of the pool, in clusters.
    ///
    /// Errors: EINVAL for as much as there is or more.
    pub(crate) fn set_pool(&self, geo: &Geometry, clusters: u64) -> Result {
        if clusters >= geo.blocks_count() >> (geo.cluster_bits() & 31) {
            return Err(EINVAL);
        }
        self.pool.store(clusters, Relaxed);
        Ok(())
    }

    /// The reserved user or somebody of the reserved group, unless that is root's, or an
    /// administrator.
    #[cold]
    fn is_privileged(&self) -> bool {
        let gid = self.gid.load(Relaxed);
        cred::is_user(self.uid.load(Relaxed))
            || gid != 0 && cred::is_in_group(gid)
            || capability::sys_resource()
    }

    /// Whether the calling task may take `want` clusters more, `mapping` for the map of data that was
    /// promised space.
    ///
    /// Errors: ENOSPC.
    #[inline]
    pub(crate) fn check(
        &self,
        geo: &Geometry,
        groups: &Groups,
        want: u64,
        mapping: bool,
    ) -> Result {
        let limits = Limits::new(geo, self.blocks(), self.pool());
        let (free, promised) = (&groups.free_clusters, &groups.promised);
        let (mut now, mut dirty) = (free.read(), promised.read());
        if reserve::needs_exact(now, dirty, limits, want, free.error()) {
            (now, dirty) = (free.sum(), promised.sum());
        }
        if reserve::may_take(now, dirty, limits, want, mapping, || self.is_privileged()) {
            Ok(())
        } else {
            Err(ENOSPC)
        }
    }
}
