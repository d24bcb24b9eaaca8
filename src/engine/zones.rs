// SPDX-License-Identifier: GPL-2.0

//! The block validity table: which blocks belong to the file system itself.
//!
//! Superblock copies, group descriptors and the blocks reserved for them, bitmaps, inode tables,
//! and the journal are no place for a file's data or its map. A block pointer that leads there is
//! corruption, and following it for writing would spread it; so every pointer is looked up here
//! before it is used.
//!
//! Building it takes two steps, because memory is the caller's: [`collect`] walks the groups once
//! and hands out [`Zone`]s (already joined where a flex group keeps its bitmaps side by side, so
//! that there are few), which the caller pushes to a vector of its own, together with the
//! journal's extents; [`Zones::build`] then sorts, joins and checks them. Zones that overlap mean
//! that two pieces of metadata claim the same block: the file system is not usable.
//!
//! A lookup is a binary search over a sorted slice, without a lock: the table does not change
//! while it is in use.

use super::sort::sort_by_key;
use crate::ondisk::search::partition_point;
use core::ops::{Deref, DerefMut};

use crate::ondisk::group::{GroupError, Places};
use crate::ondisk::{FsBlock, Geometry, Group, Ino};

/// A run of physical blocks that belong to the file system itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    start: u64,
    len: u32,
    owner: u32,
}

impl Zone {
    /// `len` blocks from `start` that no file may map.
    #[inline]
    pub const fn new(start: FsBlock, len: u32) -> Self {
        Self {
            start: start.get(),
            len,
            owner: 0,
        }
    }

    /// `len` blocks from `start` that only `owner` (the journal) may map.
    #[inline]
    pub const fn owned(start: FsBlock, len: u32, owner: Ino) -> Self {
        Self {
            start: start.get(),
            len,
            owner: owner.get(),
        }
    }

    /// The first block.
    #[inline]
    pub const fn start(&self) -> FsBlock {
        FsBlock::new(self.start)
    }

    /// The inode that may map the blocks, `None` for none.
    #[inline]
    pub const fn owner(&self) -> Option<Ino> {
        Ino::new(self.owner)
    }

    /// The number of blocks.
    #[inline]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether the zone has no block.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The block after the last.
    #[inline]
    const fn end(&self) -> u64 {
        self.start.saturating_add(self.len as u64)
    }

    /// `self` followed by `next`, if there is nothing between and they have the same owner.
    #[inline]
    fn join(&self, next: &Self) -> Option<Self> {
        if self.end() != next.start || self.owner != next.owner {
            return None;
        }
        Some(Self {
            len: self.len.checked_add(next.len)?,
            ..*self
        })
    }
}

/// Walks all groups and passes their metadata to `push`, not sorted: heads of groups, bitmaps and
/// inode tables. `places` reads a group's descriptor.
///
/// Errors: what `places` and `push` return.
pub fn collect<E>(
    geo: &Geometry,
    mut places: impl FnMut(Group) -> Result<Places, E>,
    mut push: impl FnMut(Zone) -> Result<(), E>,
) -> Result<(), E> {
    // One open run per kind: the same kind of neighbouring groups is often side by side.
    let mut open = [Zone::default(); 4];
    for number in 0..geo.groups_count() {
        let group = Group::new(number);
        let places = places(group)?;
        let head = geo
            .base_meta_run(group)
            .map_or(Zone::default(), |(b, n)| Zone::new(b, n));
        let next = [
            head,
            Zone::new(places.block_bitmap, 1),
            Zone::new(places.inode_bitmap, 1),
            Zone::new(places.inode_table, geo.itable_blocks_per_group()),
        ];
        for (open, next) in open.iter_mut().zip(next) {
            if next.is_empty() {
                continue;
            }
            if let Some(joined) = open.join(&next) {
                *open = joined;
                continue;
            }
            if !open.is_empty() {
                push(*open)?;
            }
            *open = next;
        }
    }
    for zone in open {
        if !zone.is_empty() {
            push(zone)?;
        }
    }
    Ok(())
}

/// The table, in storage `S` (a slice or a vector of zones).
///
/// Invariant: the first `len` zones of the storage are not empty, sorted, and do not overlap.
#[derive(Debug)]
pub struct Zones<S> {
    zones: S,
    len: usize,
}

impl<S: DerefMut<Target = [Zone]>> Zones<S> {
    /// Makes the table from zones in any order. The storage beyond [`zones`](Self::zones) is of
    /// no further use.
    ///
    /// Errors: [`GroupError::MetadataOverlap`] if any two zones share a block;
    /// [`GroupError::MetadataOutside`] if a zone is not on the file system.
    pub fn build(geo: &Geometry, mut storage: S) -> Result<Self, GroupError> {
        let zones: &mut [Zone] = &mut storage;
        sort_by_key(zones, |zone| zone.start);
        // Joins in place: `last` is the open zone, kept at `len`.
        let mut len = 0usize;
        let mut last = Zone::default();
        for i in 0..zones.len() {
            let zone = match zones.get(i) {
                Some(zone) if !zone.is_empty() => *zone,
                _ => continue,
            };
            if zone.end() > geo.blocks_count() {
                return Err(GroupError::MetadataOutside);
            }
            if zone.start < last.end() {
                return Err(GroupError::MetadataOverlap);
            }
            if let Some(joined) = last.join(&zone).filter(|_| !last.is_empty()) {
                last = joined;
                continue;
            }
            if !last.is_empty() {
                store(zones, len, last);
                len = len.saturating_add(1);
            }
            last = zone;
        }
        if !last.is_empty() {
            store(zones, len, last);
            len = len.saturating_add(1);
        }
        Ok(Self {
            zones: storage,
            len,
        })
    }
}

impl<S: Deref<Target = [Zone]>> Zones<S> {
    /// The zones, sorted.
    #[inline]
    pub fn zones(&self) -> &[Zone] {
        self.zones.get(..self.len).unwrap_or(&[])
    }

    /// The zones that may share a block with `start..end`: those that end above `start`, first
    /// one first.
    #[inline]
    fn above(&self, start: u64) -> &[Zone] {
        let zones = self.zones();
        let first = partition_point(zones, |zone| zone.end() <= start);
        zones.get(first..).unwrap_or(&[])
    }

    /// The parts of zones that lie in `start..end`, sorted: first block and one past the last.
    #[inline]
    pub fn within(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let zones = self.above(start).iter();
        zones
            .take_while(move |zone| zone.start < end)
            .map(move |zone| (zone.start.max(start), zone.end().min(end)))
    }

    /// Whether any of `len` blocks from `start` belongs to the file system itself.
    #[inline]
    pub fn overlaps(&self, start: FsBlock, len: u32) -> bool {
        let start = start.get();
        let end = start.saturating_add(len.into());
        self.above(start)
            .first()
            .is_some_and(|zone| zone.start < end)
    }

    /// Whether inode `ino` may map `len` blocks from `start`: none of them belongs to the file
    /// system itself, except by way of that inode.
    #[inline]
    pub fn allows(&self, start: FsBlock, len: u32, ino: Ino) -> bool {
        let start = start.get();
        let end = start.saturating_add(len.into());
        self.above(start)
            .iter()
            .take_while(|zone| zone.start < end)
            .all(|zone| zone.owner == ino.get())
    }
}

fn store(zones: &mut [Zone], at: usize, zone: Zone) {
    if let Some(slot) = zones.get_mut(at) {
        *slot = zone;
    }
}
