// SPDX-License-Identifier: GPL-2.0

//! One group's clusters in memory.
//!
//! See the [module](super) for the states of a cluster, and [`RunTree`] for the searches.
//!
//! Invariant: free + in flight + pending clusters are those that the bitmap on disk has clear, as
//! the descriptor counts them.
//!
//! Locking: the group's lock.

use core::ops::{Deref, DerefMut};

use super::metadata::metadata_runs;
use super::{Run, RunTree};
use crate::engine::zones::{Zone, Zones};
use crate::ondisk::group::{GroupDesc, GroupError};
use crate::ondisk::{Geometry, Group};

/// How much of a group a search may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// The cluster to begin at, or to search from.
    pub goal: u32,
    /// How many clusters are useful, 1 or more.
    pub len: u32,
    /// How few will do, 1 to `len`.
    pub min: u32,
    /// Whether only a run that begins at `goal` will do.
    pub exact: bool,
}

/// See the module's head. `S` is storage of at least [`storage_len`](super::runs::storage_len)
/// words for the clusters of a full group.
#[derive(Debug)]
pub struct GroupMap<S> {
    tree: RunTree<S>,
    in_flight: u32,
    pending: u32,
}

impl<S: DerefMut<Target = [u64]>> GroupMap<S> {
    /// Builds the map of `group` from its bitmap on disk, which has been verified
    /// ([`verify_block_bitmap`](super::metadata::verify_block_bitmap)), or from the block validity
    /// table if the descriptor says that the bitmap was never written; `bitmap` is not looked at
    /// then. Nothing is held yet.
    ///
    /// Errors: [`GroupError::FreeClusters`] if there are not as many clusters free as the
    /// descriptor says; [`GroupError::UninitFirstGroup`]; [`GroupError::NoSuchGroup`], also for
    /// storage that is too small. The group must not be allocated from then.
    pub fn build<Z>(
        storage: S,
        geo: &Geometry,
        group: Group,
        desc: &GroupDesc<'_>,
        bitmap: &[u8],
        zones: &Zones<Z>,
    ) -> Result<Self, GroupError>
    where
        Z: Deref<Target = [Zone]>,
    {
        let clusters = geo.group_clusters(group);
        let mut tree = RunTree::new(storage, clusters).ok_or(GroupError::NoSuchGroup)?;
        if desc.block_uninit() {
            if group.get() == 0 {
                return Err(GroupError::UninitFirstGroup);
            }
            tree.clear();
            for run in metadata_runs(geo, group, zones) {
                tree.mark(run);
            }
        } else {
            tree.load(bitmap);
        }
        if tree.free() != desc.free_clusters() {
            return Err(GroupError::FreeClusters);
        }
        Ok(Self {
            tree,
            in_flight: 0,
            pending: 0,
        })
    }

    /// Takes free clusters for a write: they are in flight.
    ///
    /// Errors: [`GroupError::BitsSet`], [`GroupError::BitsOutside`]; nothing has changed then.
    pub fn take(&mut self, run: Run) -> Result<(), GroupError> {
        self.tree.take(run)?;
        self.in_flight = self.in_flight.saturating_add(run.len);
        Ok(())
    }

    /// Free clusters on disk turn out to be pending: for a group that is built again.
    ///
    /// Errors: as [`take`](Self::take).
    pub fn take_pending(&mut self, run: Run) -> Result<(), GroupError> {
        self.tree.take(run)?;
        self.pending = self.pending.saturating_add(run.len);
        Ok(())
    }

    /// Clusters in flight have been set in the bitmap on disk.
    ///
    /// Errors: [`GroupError::BitsClear`] if one of them is not in use here or fewer are in flight,
    /// [`GroupError::BitsOutside`]; nothing has changed then.
    pub fn settle(&mut self, run: Run) -> Result<(), GroupError> {
        self.check_used(run)?;
        self.in_flight = sub(self.in_flight, run.len)?;
        Ok(())
    }

    /// Clusters that were settled have been cleared in the bitmap on disk, in the transaction that
    /// had set them: they are in flight as before.
    ///
    /// Errors: as [`free`](Self::free).
    pub fn unsettle(&mut self, run: Run) -> Result<(), GroupError> {
        self.check_used(run)?;
        self.in_flight = self.in_flight.saturating_add(run.len);
        Ok(())
    }

    /// Clusters in flight are free again: the write failed, or did not need them.
    ///
    /// Errors: as [`settle`](Self::settle).
    pub fn give_back(&mut self, run: Run) -> Result<(), GroupError> {
        let left = sub(self.in_flight, run.len)?;
        self.tree.release(run)?;
        self.in_flight = left;
        Ok(())
    }

    /// Clusters have been cleared in the bitmap on disk, in a transaction that is still to be
    /// committed: nobody may have them before.
    ///
    /// Errors: [`GroupError::BitsClear`] if one of them is not in use here,
    /// [`GroupError::BitsOutside`]; nothing has changed then.
    pub fn free(&mut self, run: Run) -> Result<(), GroupError> {
        self.check_used(run)?;
        self.pending = self.pending.saturating_add(run.len);
        Ok(())
    }

    /// The transaction that freed these clusters has been committed: they can be had again.
    ///
    /// Errors: [`GroupError::BitsClear`] if one of them is not in use here or fewer are pending,
    /// [`GroupError::BitsOutside`]; nothing has changed then.
    pub fn committed(&mut self, run: Run) -> Result<(), GroupError> {
        let left = sub(self.pending, run.len)?;
        self.tree.release(run)?;
        self.pending = left;
        Ok(())
    }

    fn check_used(&self, run: Run) -> Result<(), GroupError> {
        if run.end() > self.tree.bits() {
            Err(GroupError::BitsOutside)
        } else if self.tree.is_used(run) {
            Ok(())
        } else {
            Err(GroupError::BitsClear)
        }
    }
}

/// A count without those that are released.
#[inline]
fn sub(count: u32, n: u32) -> Result<u32, GroupError> {
    count.checked_sub(n).ok_or(GroupError::BitsClear)
}

impl<S: Deref<Target = [u64]>> GroupMap<S> {
    /// The bitmap and its free runs.
    #[inline]
    pub fn tree(&self) -> &RunTree<S> {
        &self.tree
    }

    /// Clusters that can be had.
    #[inline]
    pub fn free_clusters(&self) -> u32 {
        self.tree.free()
    }

    /// Clusters that are free on disk: what the descriptor's count must be.
    #[inline]
    pub fn free_on_disk(&self) -> u32 {
        let held = self.in_flight.saturating_add(self.pending);
        self.tree.free().saturating_add(held)
    }

    /// The longest free run: what the [index](super::GroupIndex) holds.
    #[inline]
    pub fn longest(&self) -> u32 {
        self.tree.longest()
    }

    /// Clusters in flight.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Clusters freed in transactions that have not been committed.
    #[inline]
    pub fn pending(&self) -> u32 {
        self.pending
    }

    /// Whether memory and disk say the same, so that the map can be dropped.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.pending == 0
    }

    /// The run to take for `want`, `None` if there is none of `min` (at the goal, if that is asked
    /// for):
    ///
    /// 1. the one at the goal, if `exact` or if it is as long as wanted;
    /// 2. else the first of full length at or after the goal, so that a file goes on forward;
    /// 3. else the first of full length in the group;
    /// 4. else the first of the longest ones: what is left makes the fewest extents.
    ///
    /// All in O(log n). The run is never longer than wanted. There is no search for the tightest
    /// fit: what is taken from the front of a long run leaves a long run.
    pub fn choose(&self, want: Want) -> Option<Run> {
        let len = want.len.max(1);
        let min = want.min.clamp(1, len);
        if want.exact {
            let found = self.tree.run_at(want.goal, len);
            return (found >= min).then(|| Run::new(want.goal, found));
        }
        let longest = self.tree.longest();
        if longest < min {
            return None;
        }
        let len = len.min(longest);
        // A run at the goal is the first one that `find` looks at.
        let forward = self.tree.find(want.goal, len);
        forward.or_else(|| self.tree.find(0, len))
    }
}
