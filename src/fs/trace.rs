// SPDX-License-Identifier: GPL-2.0

//! What of a file's blocks goes to the trace events.

use super::VfsInode;
use crate::{
    engine::mapping::{MapKind, Mapping},
    ondisk::FileBlock,
};

pub(crate) use crate::linux::trace::{BlocksEvent, PromiseEvent, RangeEvent};

/// Tells of a mapping of `inode`.
#[inline(always)]
pub(super) fn mapping(event: RangeEvent, inode: &VfsInode, m: &Mapping) {
    if event.is_on() {
        tell(event, inode, m);
    }
}

/// Tells of blocks `from..to` of `inode`, of which nothing is known.
#[inline(always)]
pub(super) fn unknown(event: RangeEvent, inode: &VfsInode, from: FileBlock, to: FileBlock) {
    if event.is_on() {
        event.tell(inode, from.get(), from.distance_to(to), 0, 0);
    }
}

#[cold]
#[inline(never)]
fn tell(event: RangeEvent, inode: &VfsInode, m: &Mapping) {
    // The numbers that the header has names for.
    let (kind, at) = match m.kind {
        MapKind::Hole => (1, 0),
        MapKind::Written(block) => (2, block.get()),
        MapKind::Unwritten(block) => (3, block.get()),
        MapKind::Delayed => (4, 0),
        MapKind::InFlight => (5, 0),
    };
    event.tell(inode, m.lblk.get(), m.len, kind, at);
}
