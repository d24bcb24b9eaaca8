// SPDX-License-Identifier: GPL-2.0

//! Which group a new inode goes to.
//!
//! Directories that hold unrelated things (those in the root directory, and in directories with
//! the T attribute) are spread over the file system, each to a flex group with few directories and
//! at least the average of free inodes and clusters; other directories stay near their parent as
//! long as there is room (the Orlov allocator). Files go to the group of their directory: to the
//! first of its flex group that has a free inode, or without flex groups, when it is full, to one
//! that is found by a hash of the directory, so that a directory's files stay together. The numbers
//! are C ext4's, so that a file system in use keeps its layout.
//!
//! All of it reads counts that change meanwhile; the caller looks for an inode under the group's
//! lock, and goes on with [`next_group`] if there is none.

use super::goal::flex_groups;
use crate::ondisk::{Geometry, Group, Ino};

/// Counts of a flex group (of a group without `flex_bg`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlexStats {
    /// Free inodes.
    pub free_inodes: u64,
    /// Free clusters.
    pub free_clusters: u64,
    /// Inodes that are directories.
    pub used_dirs: u64,
}

/// What is known of the groups. Approximate values will do.
pub trait GroupStats {
    /// Free inodes of a group; 0 for one that must not be used.
    fn free_inodes(&self, group: Group) -> u32;
    /// Free clusters of a group.
    fn free_clusters(&self, group: Group) -> u32;
    /// Directories in a group.
    fn used_dirs(&self, group: Group) -> u32;

    /// Counts of the flex group that `group` is in. To be replaced where sums are kept.
    fn flex(&self, geo: &Geometry, group: Group) -> FlexStats {
        let mut sum = FlexStats::default();
        for number in flex_groups(geo, group) {
            let group = Group::new(number);
            let add = |to: &mut u64, n: u32| *to = to.saturating_add(n.into());
            add(&mut sum.free_inodes, self.free_inodes(group));
            add(&mut sum.free_clusters, self.free_clusters(group));
            add(&mut sum.used_dirs, self.used_dirs(group));
        }
        sum
    }
}

/// Counts of the whole file system. Approximate values will do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Free inodes.
    pub free_inodes: u64,
    /// Free clusters.
    pub free_clusters: u64,
    /// Directories.
    pub used_dirs: u64,
}

/// The directory that gets a new entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its inode.
    pub ino: Ino,
    /// The group of its inode.
    pub group: Group,
    /// The group that the last inode made in it went to.
    pub last: Option<Group>,
    /// Whether its directories are to be spread: it is the root, or has the T attribute.
    pub spreads: bool,
}

/// The shape that the choice is made in: flex groups, or groups where they are the same.
struct Shape {
    count: u32,
    bits: u32,
    inodes: u64,
    clusters: u64,
}

impl Shape {
    fn new(geo: &Geometry) -> Self {
        let bits = geo.flex_bits();
        let up = 1u64.wrapping_shl(bits).wrapping_sub(1);
        let count = u64::from(geo.groups_count())
            .saturating_add(up)
            .wrapping_shr(bits);
        let all = |each: u32| u64::from(each).wrapping_shl(bits);
        Self {
            // No more than there are groups, and there is one.
            count: (count as u32).max(1),
            bits,
            inodes: all(geo.inodes_per_group().get()),
            clusters: all(geo.clusters_per_group().get()),
        }
    }

    fn average(&self, total: u64) -> u64 {
        total.checked_div(self.count.into()).unwrap_or(0)
    }

    /// The flex groups from `start` on, each once, by their first group.
    fn from(&self, start: u32) -> impl Iterator<Item = Group> {
        let (bits, count) = (self.bits, self.count);
        ring(start, count).map(move |flex| Group::new(flex.wrapping_shl(bits)))
    }
}

/// `start..count` and then what comes before, from the beginning.
fn ring(start: u32, count: u32) -> impl Iterator<Item = u32> {
    let start = if start < count { start } else { 0 };
    (start..count).chain(0..start)
}

/// The group for a new directory; `None` if no group has a free inode. `hash` decides where the
/// search for a directory that is to be spread begins: a hash of its name (C ext4's is half MD4),
/// so that the same tree comes to lie in the same way.
pub fn place_directory(
    geo: &Geometry,
    stats: &impl GroupStats,
    totals: &Totals,
    parent: &Parent,
    hash: u32,
) -> Option<Group> {
    let found = if parent.spreads {
        spread(geo, stats, totals, hash)
    } else {
        near(geo, stats, totals, parent)
    };
    found.or_else(|| anywhere(geo, stats, totals, parent.group))
}

/// The group for a new inode that is not a directory; `None` if no group has a free inode.
pub fn place_file(
    geo: &Geometry,
    stats: &impl GroupStats,
    totals: &Totals,
    parent: &Parent,
) -> Option<Group> {
    if geo.flex_bits() == 0 {
        return place_file_by_hash(geo, stats, parent);
    }
    first_in_flex(geo, stats, parent.group)
        .or_else(|| first_in_flex(geo, stats, parent.last?))
        .or_else(|| near(geo, stats, totals, parent))
        .or_else(|| anywhere(geo, stats, totals, parent.group))
}

/// Without flex groups: the directory's group; groups at distances of 1, 3, 7 ... from a place that
/// depends on the directory; any.
fn place_file_by_hash(geo: &Geometry, stats: &impl GroupStats, parent: &Parent) -> Option<Group> {
    let fits = |group: &Group| stats.free_inodes(*group) != 0 && stats.free_clusters(*group) != 0;
    if fits(&parent.group) {
        return Some(parent.group);
    }
    let count = geo.groups_count();
    let start = u64::from(parent.group.get()).saturating_add(parent.ino.get().into());
    let mut at = start.checked_rem(count.into())?;
    let mut step = 1u64;
    while step < count.into() {
        // Both are below `count`.
        at = at.saturating_add(step);
        at = at.checked_sub(count.into()).unwrap_or(at);
        let group = Group::new(at as u32);
        if fits(&group) {
            return Some(group);
        }
        step = step.saturating_mul(2);
    }
    next_group(geo, stats, parent.group)
}

/// The first group behind `group`, going round, that has a free inode, `group` itself last.
pub fn next_group(geo: &Geometry, stats: &impl GroupStats, group: Group) -> Option<Group> {
    let mut groups = ring(group.get().saturating_add(1), geo.groups_count()).map(Group::new);
    groups.find(|group| stats.free_inodes(*group) != 0)
}

/// The flex group with the fewest directories among those with at least the average of free
/// inodes and clusters.
fn spread(geo: &Geometry, stats: &impl GroupStats, totals: &Totals, hash: u32) -> Option<Group> {
    let shape = Shape::new(geo);
    let inodes = shape.average(totals.free_inodes);
    let clusters = shape.average(totals.free_clusters);
    let mut fewest = u64::from(geo.inodes_per_group().get());
    let mut best = None;
    for group in shape.from(hash.checked_rem(shape.count)?) {
        let flex = stats.flex(geo, group);
        if flex.free_inodes != 0
            && flex.used_dirs < fewest
            && flex.free_inodes >= inodes
            && flex.free_clusters >= clusters
        {
            fewest = flex.used_dirs;
            best = Some(group);
        }
    }
    first_in_flex(geo, stats, best?)
}

/// The first flex group from the parent's on that is not too full of directories, nor too short of
/// inodes and clusters.
fn near(
    geo: &Geometry,
    stats: &impl GroupStats,
    totals: &Totals,
    parent: &Parent,
) -> Option<Group> {
    let shape = Shape::new(geo);
    let most_dirs = shape
        .average(totals.used_dirs)
        .saturating_add(shape.inodes / 16);
    let inodes = shape.average(totals.free_inodes);
    let inodes = inodes.saturating_sub(shape.inodes / 4).max(1);
    let clusters = shape.average(totals.free_clusters);
    let clusters = clusters.saturating_sub(shape.clusters / 4);
    let start = parent.last.unwrap_or(parent.group);
    let mut groups = shape.from(start.get().wrapping_shr(shape.bits));
    let fits = groups.find(|group| {
        let flex = stats.flex(geo, *group);
        flex.used_dirs < most_dirs && flex.free_inodes >= inodes && flex.free_clusters >= clusters
    });
    first_in_flex(geo, stats, fits?)
}

/// The first group from `start` on with the average of free inodes, or if there is none, with any.
fn anywhere(
    geo: &Geometry,
    stats: &impl GroupStats,
    totals: &Totals,
    start: Group,
) -> Option<Group> {
    let count = geo.groups_count();
    let average = totals.free_inodes.checked_div(count.into()).unwrap_or(0);
    let with = |least: u64| {
        let mut groups = ring(start.get(), count).map(Group::new);
        groups.find(|group| u64::from(stats.free_inodes(*group)) >= least)
    };
    with(average.max(1)).or_else(|| with(1))
}

/// The first group of a flex group that has a free inode: inodes are packed at its front.
fn first_in_flex(geo: &Geometry, stats: &impl GroupStats, group: Group) -> Option<Group> {
    let mut groups = flex_groups(geo, group).map(Group::new);
    groups.find(|group| stats.free_inodes(*group) != 0)
}
