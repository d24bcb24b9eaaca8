// SPDX-License-Identifier: GPL-2.0

//! The classic orphan list: inodes without links, or being truncated, chained through `i_dtime`
//! from `s_last_orphan` on.
//!
//! It takes what the orphan file has no room for, and everything where there is none. An inode is
//! put in front; it may be taken out anywhere, for which the caller knows its predecessor from a
//! list in memory. Each function returns what is to be stored where; the caller has taken write
//! access to those places before, and stores it.
//!
//! Locking: one lock for the list, the one on disk and the one in memory, held from planning to
//! storing; i_rwsem of the inode, so that it is not added and removed at a time.

use crate::ondisk::orphan::OrphanError;
use crate::ondisk::{Geometry, Ino};

/// What to store to put an inode on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Add {
    /// `s_last_orphan`: the inode itself.
    pub head: Ino,
    /// The inode's `i_dtime`: the one that was in front, or 0.
    pub next: u32,
}

/// Whose field leads to an inode on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// The superblock's `s_last_orphan`: the inode is in front.
    Superblock,
    /// This inode's `i_dtime`.
    Inode(Ino),
}

/// What to store to take an inode off the list, in its predecessor's field; its own `i_dtime`
/// becomes 0 (or the time of deletion).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remove {
    /// Where to store.
    pub before: Before,
    /// What to store: the next orphan, or 0.
    pub next: u32,
}

/// Puts `ino` in front of the list that `last_orphan` (`s_last_orphan`) begins.
///
/// Errors: [`OrphanError::BadInode`] if that is no inode that can be an orphan, or is `ino`
/// itself: the list would never end.
pub fn add(geo: &Geometry, ino: Ino, last_orphan: u32) -> Result<Add, OrphanError> {
    check(geo, ino, last_orphan)?;
    Ok(Add {
        head: ino,
        next: last_orphan,
    })
}

/// Takes `ino` off the list. `dtime` is its `i_dtime`; `field` is what the predecessor's field
/// holds.
///
/// Errors: [`OrphanError::BadInode`] if that is not `ino`, as the list on disk is not the one in
/// memory then, or if `dtime` is no inode that can be an orphan.
pub fn remove(
    geo: &Geometry,
    ino: Ino,
    dtime: u32,
    before: Before,
    field: u32,
) -> Result<Remove, OrphanError> {
    if field != ino.get() || before == Before::Inode(ino) {
        return Err(OrphanError::BadInode);
    }
    check(geo, ino, dtime)?;
    Ok(Remove {
        before,
        next: dtime,
    })
}

/// Checks a link of the list that follows `ino`; 0 is its end.
fn check(geo: &Geometry, ino: Ino, link: u32) -> Result<(), OrphanError> {
    if link == 0 {
        return Ok(());
    }
    match geo.check_ino(link) {
        Some(next) if next != ino && !geo.is_special_ino(next) => Ok(()),
        _ => Err(OrphanError::BadInode),
    }
}
