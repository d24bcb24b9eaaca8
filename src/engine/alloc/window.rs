// SPDX-License-Identifier: GPL-2.0

//! Clusters that are kept for a file behind those that it gets.
//!
//! Files that grow at the same time would get blocks by turns, and be in as many pieces as they
//! were written in. So what is taken for a file is more than it needs right now: the rest is its
//! [`Window`], in memory only, from which the next blocks of the file come. A window maps clusters of the
//! file to clusters of a group, all at one distance; what is skipped in between is free at once.
//!
//! How large: what is dirty, at least; for a file that is open for writing as much again as it
//! has, since it may go on growing, within limits. C ext4 stops at 8 MiB; a window costs nothing
//! here, and a file of any size should have few pieces, so it is [`MOST_BYTES`], but never more
//! than a group or a fair part of what is free.

use super::Run;
use crate::ondisk::{Geometry, Group};

/// The largest window, in bytes.
pub const MOST_BYTES: u32 = 32 << 20;
/// The smallest one of a file that may grow, in bytes.
pub const LEAST_BYTES: u32 = 64 << 10;
/// A window has no more than this part of what is free (a shift).
const FAIR_SHIFT: u32 = 6;

/// Clusters of a file that need a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// The first one, in the file.
    pub first: u32,
    /// How many are needed now, 1 or more.
    pub now: u32,
    /// How many from the first on will be needed soon, at least as many.
    pub soon: u32,
    /// How many from the first on have no place.
    pub hole: u32,
    /// Whether nothing of the file is near: blocks may come to be before these.
    pub alone: bool,
    /// The file's size, in clusters.
    pub size: u64,
    /// Whether it may grow: somebody has it open for writing.
    pub grows: bool,
}

/// What is to be taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Clusters before the first one that are to be free, for what comes there.
    pub before: u32,
    /// How many, from the first one on.
    pub len: u32,
}

/// What is to be taken for `need`, while so many clusters are free.
pub fn plan(geo: &Geometry, need: &Need, free: u64) -> Plan {
    let least = need.now.max(1);
    let all = geo.clusters_per_group().get();
    let soon = need.soon.max(least);
    let bits = geo
        .block_bits()
        .saturating_add(geo.cluster_bits())
        .min(u32::BITS.wrapping_sub(1));
    if !need.grows {
        let len = soon.min(all).min(need.hole).max(least);
        return Plan { before: 0, len };
    }
    let most = (MOST_BYTES >> bits).clamp(1, all);
    let fair = u32::try_from(free >> FAIR_SHIFT).unwrap_or(u32::MAX);
    let most = most.min(fair).max(1);
    // A power of two below the limit, so that windows of one file are side by side.
    let end = u64::from(need.first).saturating_add(soon.into());
    let size = u32::try_from(need.size.max(end)).unwrap_or(u32::MAX);
    let size = size.checked_next_power_of_two().unwrap_or(u32::MAX);
    let size = size.clamp((LEAST_BYTES >> bits).max(1).min(most), most);
    let len = size.max(soon.min(all)).min(need.hole).max(least);
    let mask = size
        .checked_next_power_of_two()
        .unwrap_or(1)
        .wrapping_sub(1);
    let before = if need.alone { need.first & mask } else { 0 };
    // Both have to be in one group.
    let before = before.min(all.saturating_sub(len));
    Plan { before, len }
}

/// Clusters of a group that are kept for clusters of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The file's inode number.
    pub ino: u32,
    /// The first cluster, in the file.
    pub first: u32,
    /// The group.
    pub group: Group,
    /// The clusters: not empty.
    pub run: Run,
}

/// What comes out of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carved {
    /// What lies before: it is free again. May be empty.
    pub skipped: Run,
    /// What was asked for, or the first part of it.
    pub taken: Run,
    /// What is left behind it.
    pub rest: Option<Window>,
}

impl Window {
    /// Whether a cluster of a file is in it.
    #[inline]
    pub fn has(&self, ino: u32, cluster: u32) -> bool {
        self.ino == ino
            && cluster
                .checked_sub(self.first)
                .is_some_and(|at| at < self.run.len)
    }

    /// Takes up to `len` (1 or more) clusters, from `cluster` of the file on, which is in it.
    #[inline]
    pub fn carve(&self, cluster: u32, len: u32) -> Carved {
        let skip = cluster.saturating_sub(self.first);
        let skipped = self.run.first(skip);
        let behind = Run::new(skipped.end(), self.run.len.saturating_sub(skipped.len));
        let taken = behind.first(len);
        let rest = Run::new(taken.end(), behind.len.saturating_sub(taken.len));
        Carved {
            skipped,
            taken,
            rest: (rest.len != 0).then(|| Self {
                first: cluster.saturating_add(taken.len),
                run: rest,
                ..*self
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carving() {
        let window = Window {
            ino: 12,
            first: 100,
            group: Group::new(3),
            run: Run::new(1000, 50),
        };
        assert!(window.has(12, 100) && window.has(12, 149));
        assert!(!window.has(12, 150) && !window.has(12, 99) && !window.has(13, 100));
        let carved = window.carve(100, 8);
        assert_eq!((carved.skipped.len, carved.taken), (0, Run::new(1000, 8)));
        let rest = carved.rest.unwrap();
        assert_eq!((rest.first, rest.run), (108, Run::new(1008, 42)));
        // What is skipped comes back.
        let carved = rest.carve(110, 100);
        assert_eq!(carved.skipped, Run::new(1008, 2));
        assert_eq!((carved.taken, carved.rest), (Run::new(1010, 40), None));
    }
}
