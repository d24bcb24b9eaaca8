// SPDX-License-Identifier: GPL-2.0

//! Inodes that go together with their last name.
//!
//! As a rule an inode that has lost its last name becomes an orphan, and when nobody uses it any
//! more its eviction frees it, in a transaction of its own ([`super::evict`]). But most files that
//! are removed are used by nobody, and of those that have nothing on disk but their slot (or a
//! directory's one block), there is little to free. They go in the transaction that takes the name:
//! half as many handles, no orphan, and the slot is written once.
//!
//! # That nobody uses it
//!
//! The operation holds i_rwsem of the directory and of the inode exclusively. Two ways lead to the
//! inode: its name, and its number.
//! - The dentry is taken out of the VFS's table, provided that only the operation holds it and the
//!   inode has no other. So no file is open, and none can be opened by the name.
//! - Whoever finds the inode by its number ([`iget`]) takes a reference and then looks whether the
//!   inode is claimed; we claim it and then look at its references. One of the two sees the other:
//!   either we leave the inode alone, or the other takes it for gone (ESTALE), which it is but for
//!   the time in which the operation may still fail.
//!
//! References that others have still, or take in passing (they walk over all inodes for their
//! pages, or watch the inode), are of no concern: nothing of the inode is on disk any more, its
//! eviction does nothing, and its right to write the slot is gone. The latter is what counts in the
//! end: whatever somebody does to an inode that is gone fails when it asks for write access
//! (`inode_write::prepare`), with ESTALE.
//!
//! # The number
//!
//! It is free for a new inode in the same transaction, while this one is still in memory. So before
//! that it leads nowhere in the VFS's table; and before that the slot says that it is not in use,
//! so that whoever finds no inode in the table and reads the slot makes none from it.
//!
//! [`iget`]: super::inode::iget

use super::{
    alloc,
    inode::number,
    inode_write::{self, Prepared},
    orphan,
    orphan::SlotRight,
    truncate,
    tx::Handle,
    xattr_release, Rext4Fs, VfsInode,
};
use crate::{
    linux::{dentry::Dentry, jbd2::SlotKey, sole::Users, time::real_seconds},
    ondisk::time::Timestamp,
};
use core::{
    mem,
    sync::atomic::{
        AtomicU8,
        Ordering::{Acquire, Relaxed, Release},
    },
};
use kernel::prelude::*;

/// Whether an inode is being deleted with its last name.
pub(crate) struct State(AtomicU8);

impl State {
    const NONE: u8 = 0;
    const CLAIMED: u8 = 1;
    const GONE: u8 = 2;

    /// No.
    pub(crate) const fn none() -> Self {
        Self(AtomicU8::new(Self::NONE))
    }

    /// It has been: nothing of it is on disk, and its number may be another's.
    #[inline]
    pub(crate) fn is_gone(&self) -> bool {
        self.0.load(Acquire) == Self::GONE
    }

    /// It has been, or it is about to be. To be asked with a reference to it that comes from the
    /// VFS's table.
    #[inline]
    pub(crate) fn is_claimed(&self) -> bool {
        self.0.load(Relaxed) != Self::NONE
    }
}

/// An inode that nobody but the operation can come to, and that has hardly anything on disk.
pub(super) struct Claim<'a>(&'a VfsInode);

impl<'a> Claim<'a> {
    /// Claims `inode`, whose last name `name` is going to be removed, if that can be.
    fn of(
        handle: &Handle<'_>,
        name: &Dentry<Rext4Fs>,
        inode: &'a VfsInode,
        users: Users,
    ) -> Option<Self> {
        let info = inode.data();
        if !inode.is_alone(users)
            || !handle.is_journalled()
            || info.orphan.is_some()
            || !has_little(inode)
            || !matches!(*info.slot_key.lock(), SlotRight::Own(_))
            || !name.hide_from_others(users)
        {
            return None;
        }
        info.deletion.0.store(State::CLAIMED, Relaxed);
        if !inode.is_alone_for_sure(users) {
            info.deletion.0.store(State::NONE, Relaxed);
            return None;
        }
        Some(Self(inode))
    }

    /// The inode is not deleted after all.
    #[cold]
    fn give_up(self) {
        self.0.data().deletion.0.store(State::NONE, Release);
    }

    /// Deletes the inode, whose name is gone and whose link count is 0 in memory, in `handle`; `slot`
    /// is its.
    ///
    /// May sleep. Errors: damage (reported), EIO; those of a journal that has been given up. It is an
    /// orphan then.
    fn delete(self, handle: &Handle<'_>, slot: Prepared<'_, '_>) -> Result {
        let inode = self.0;
        let result = self.try_delete(handle, slot);
        result.map_err(|(claim, e)| {
            claim.give_up();
            let _ = orphan::add(handle, inode);
            let _ = inode_write::store(handle, inode);
            e
        })
    }

    fn try_delete(self, handle: &Handle<'_>, slot: Prepared<'_, '_>) -> Result<(), (Self, Error)> {
        let inode = self.0;
        let (sb, info) = (inode.super_block(), inode.data());
        let ino = match number(inode) {
            Ok(ino) => ino,
            Err(e) => return Err((self, e.report_inode(inode, "delete"))),
        };
        let root = if inode.sectors() != 0 {
            match truncate::free_only_block(handle, inode) {
                Ok(root) => Some(root),
                Err(e) => return Err((self, e.report_inode(inode, "block map"))),
            }
        } else {
            None
        };
        let now = real_seconds();
        let edited = slot.edit(|slot| {
            if let Some(root) = &root {
                slot.set_i_block(root);
            }
            slot.set_links(0);
            slot.set_ctime(Timestamp {
                secs: i64::try_from(now).unwrap_or(0),
                nanos: 0,
            });
            // CAST: the field has 32 bits; what matters is that it is not 0.
            slot.set_dtime(now as u32);
            // Sizes that any inode can have.
            let _ = slot.set_size(0);
            let _ = slot.set_blocks(0);
            slot.forget_owner_high();
        });
        if let Err(e) = edited {
            return Err((self, e));
        }
        // The slot may be another inode's as soon as the number is free.
        let none = SlotRight::Own(SlotKey::new(0, 0, 0));
        let right = mem::replace(&mut *info.slot_key.lock(), none);
        inode.forget_number();
        if let Err(e) = alloc::free_inode(sb, handle, ino, inode.is_dir()) {
            inode.recall_number();
            *info.slot_key.lock() = right;
            return Err((self, e));
        }
        info.deletion.0.store(State::GONE, Release);
        Ok(())
    }
}

/// What becomes of an inode that loses a name.
pub(super) enum Fate<'a> {
    /// It has others.
    Stays,
    /// Its eviction deletes it; until then it is an orphan.
    Orphan(&'a VfsInode),
    /// It goes with the name.
    Deleted(Claim<'a>),
}

impl<'a> Fate<'a> {
    /// The fate of `inode`, whose last name `name` is going to be removed in `handle`. Nothing else
    /// must be able to fail but by damage or I/O errors.
    ///
    /// May sleep. Errors: those of making it an orphan.
    pub(super) fn of_last_name(
        handle: &Handle<'_>,
        name: &Dentry<Rext4Fs>,
        inode: &'a VfsInode,
        users: Users,
    ) -> Result<Self> {
        if let Some(claim) = Claim::of(handle, name, inode, users) {
            return Ok(Self::Deleted(claim));
        }
        orphan::add(handle, inode)?;
        Ok(Self::Orphan(inode))
    }

    /// The name stays.
    #[cold]
    pub(super) fn averted(self, handle: &Handle<'_>) {
        match self {
            Self::Stays => {}
            Self::Orphan(inode) => {
                let _ = orphan::del(handle, inode);
            }
            Self::Deleted(claim) => claim.give_up(),
        }
    }

    /// The name is gone, and the link counted down in memory: stores the inode, which has changed
    /// now and whose slot is `slot`, or deletes it.
    ///
    /// Errors: damage (reported), EIO; those of a journal that has been given up.
    pub(super) fn settle(self, handle: &Handle<'_>, slot: Prepared<'_, '_>) -> Result {
        match self {
            Self::Stays | Self::Orphan(_) => slot.store_changed(),
            Self::Deleted(claim) => claim.delete(handle, slot),
        }
    }
}

/// Whether `inode` has nothing on disk but its slot, and a directory its only block. Takes data_sem
/// and xattr_sem.
fn has_little(inode: &VfsInode) -> bool {
    let blocks = if inode.sectors() == 0 {
        truncate::is_empty(inode)
    } else {
        inode.is_dir() && truncate::has_only_block(inode)
    };
    blocks
        && inode.has_no_pages()
        && inode.data().xattr_sem.read().block.is_none()
        && matches!(xattr_release::ea_inodes(inode), Ok(0))
}
