// SPDX-License-Identifier: GPL-2.0

//! Orphans: inodes that a crash must not leave as they are, because they have lost their last link
//! while somebody uses them, or because they are being truncated in more than one transaction.
//!
//! [`add`] puts an inode where the next mount finds it, [`del`] takes it away when it has been
//! dealt with, each in the transaction that makes it true. Where that is:
//! - in a slot of the orphan file ([`file`]), if the file system has one and it is not full;
//! - else on the classic list ([`list`]), from the superblock through the inodes themselves.
//!
//! Without a journal there are no transactions that a crash could separate, and no orphans: as in
//! C ext4, the file system needs e2fsck after a crash. What an unclean mount with a journal has
//! left behind is dealt with all the same.
//!
//! Locking: the caller holds i_rwsem of the inode for writing, or nobody else has the inode (it is
//! being made, or evicted). Everything is called inside a handle. Order: i_rwsem, handle, the
//! list's mutex, the superblock's image, the slot of an inode; a block's spinlock.

mod file;
mod list;
mod recovery;

pub(crate) use self::{
    list::{left_behind, SlotRight},
    recovery::{any, recover},
};

use self::{file::File, list::List};
use super::{fault::Fault, inode::number, tx::Handle, Sb, VfsInode};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use kernel::prelude::*;

/// Where a file system keeps its orphans.
pub(crate) struct Orphans {
    /// The orphan file; without blocks where there is none.
    file: File,
    list: List,
}

/// Where an inode is noted as an orphan.
pub(crate) struct Place(AtomicU32);

impl Place {
    const NONE: u32 = 0;
    const LISTED: u32 = u32::MAX;

    /// It is no orphan.
    pub(crate) const fn none() -> Self {
        Self(AtomicU32::new(Self::NONE))
    }

    /// It is on the list.
    pub(crate) const fn listed() -> Self {
        Self(AtomicU32::new(Self::LISTED))
    }

    /// Whether it is an orphan.
    #[inline]
    pub(crate) fn is_some(&self) -> bool {
        self.0.load(Relaxed) != Self::NONE
    }

    fn get(&self) -> Option<Found> {
        match self.0.load(Relaxed) {
            Self::NONE => None,
            Self::LISTED => Some(Found::Listed),
            // CAST: two values are taken, and the file has at most 2^23 slots.
            n => Some(Found::Slot(n.wrapping_sub(1))),
        }
    }

    fn set(&self, found: Option<Found>) {
        let n = match found {
            None => Self::NONE,
            Some(Found::Listed) => Self::LISTED,
            Some(Found::Slot(slot)) => slot.wrapping_add(1),
        };
        self.0.store(n, Relaxed);
    }
}

/// Where an orphan is noted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    /// In this slot of the orphan file, counted over all its blocks.
    Slot(u32),
    /// On the list.
    Listed,
}

/// The orphans of a file system that can be written.
///
/// Errors: EROFS on one that cannot.
fn orphans(sb: &Sb) -> Result<&Orphans> {
    sb.info().orphans.as_ref().ok_or(EROFS)
}

/// Makes the file system ready to have orphans: a mount or a remount for writing. What is there
/// already is counted, and left alone.
///
/// Errors (reported): EUCLEAN for an orphan file that makes no sense; EIO, ENOMEM.
pub(crate) fn prepare(sb: &Sb) -> Result {
    let info = sb.info();
    if let Some(orphans) = info.orphans.as_ref() {
        // While the file system was read-only, e2fsck may have dealt with some.
        return orphans.file.count(sb);
    }
    let orphans = Orphans {
        file: File::load(sb)?,
        list: List::new()?,
    };
    info.orphans.populate(orphans);
    Ok(())
}

/// Makes `inode` an orphan; nothing if it is one already. Costs `OrphanAdd`'s credits.
///
/// May sleep. Errors: EUCLEAN (reported), EIO, ENOMEM; EROFS when the journal has been given up.
/// Nothing has changed then.
#[inline]
pub(crate) fn add(handle: &Handle<'_>, inode: &VfsInode) -> Result {
    if !handle.is_journalled() || inode.data().orphan.is_some() {
        return Ok(());
    }
    let result = try_add(handle, inode);
    result.map_err(|e| e.report_inode(inode, "orphan"))
}

fn try_add(handle: &Handle<'_>, inode: &VfsInode) -> Result<(), Fault> {
    let orphans = orphans(inode.super_block())?;
    let place = match orphans.file.add(handle, inode, number(inode)?)? {
        Some(slot) => Found::Slot(slot),
        None => {
            orphans.list.add(handle, inode)?;
            Found::Listed
        }
    };
    inode.data().orphan.set(Some(place));
    Ok(())
}

/// `inode` is no orphan any more; nothing if it is none. Costs `OrphanDel`'s credits.
///
/// May sleep. Errors: as [`add`]; EUCLEAN also when it is not where it was put. It is an orphan
/// still then.
#[inline]
pub(crate) fn del(handle: &Handle<'_>, inode: &VfsInode) -> Result {
    let Some(found) = inode.data().orphan.get() else {
        return Ok(());
    };
    let result = try_del(handle, inode, found);
    result.map_err(|e| e.report_inode(inode, "orphan"))
}

fn try_del(handle: &Handle<'_>, inode: &VfsInode, found: Found) -> Result<(), Fault> {
    let orphans = orphans(inode.super_block())?;
    match found {
        Found::Slot(slot) => orphans.file.del(handle, inode, number(inode)?, slot)?,
        Found::Listed => orphans.list.del(handle, inode)?,
    }
    inode.data().orphan.set(None);
    Ok(())
}

/// `inode` leaves memory. If it is on the list, since what it has on disk could not be freed, its
/// entry stays there without it.
#[inline]
pub(crate) fn leave(inode: &VfsInode) {
    if inode.data().orphan.get() == Some(Found::Listed) {
        if let Ok(orphans) = orphans(inode.super_block()) {
            orphans.list.leave();
        }
    }
}
