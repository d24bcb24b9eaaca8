// SPDX-License-Identifier: GPL-2.0

//! Whether an operation is alone with the inode that it takes the last name from.
//!
//! What leads to an inode: its dentry, by way of which it is opened (an open file holds the
//! dentry), and its number, by which file handles find it. An operation that has been called with
//! the directory's i_rwsem held exclusively, and the inode's, can have both lead nowhere, and can
//! then tell by the counts of references whether somebody has come that way before.
//!
//! How many references the VFS itself has is known of its own system calls ([`Users`]). Others who
//! call an operation (nfsd, overlayfs) have as many or other ones. With more, the operation is not
//! alone; with one less (nobody has less than the dentry's to the inode) a reference to the inode
//! that somebody has just got by its number could be taken for the caller's. It leads to no dentry
//! yet, since there is only one. So what is done to an inode that nobody uses must do no harm to
//! one who comes by its number in that very moment.

use super::{bindings, dentry::Dentry, fs_type::FileSystem, inode::Inode};
use kernel::sync::barrier::{smp_mb, Full};

/// The references that the VFS itself has to a dentry and to its inode while it calls an operation.
#[derive(Clone, Copy)]
pub(crate) struct Users {
    dentry: u32,
    inode: i32,
}

impl Users {
    /// In `unlink`: the caller's to the dentry; the dentry's to the inode, and the caller's, which
    /// has the inode's end come after the directory is unlocked.
    pub(crate) const UNLINK: Self = Self {
        dentry: 1,
        inode: 2,
    };
    /// In `rmdir`: two of the caller's to the dentry; the dentry's to the inode.
    pub(crate) const RMDIR: Self = Self {
        dentry: 2,
        inode: 1,
    };
}

impl<F: FileSystem> Dentry<F> {
    /// Takes the dentry out of the VFS's table, unless somebody besides `users` holds it or its
    /// inode, or the inode has another dentry (that of a file that was opened by its handle, say);
    /// whether it has done so. No lookup finds the dentry after that: one that has found it without
    /// a reference notices, and looks again, for which it needs the directory's i_rwsem.
    ///
    /// It is for the operation that takes the dentry's name away. If that fails after all, the next
    /// lookup makes another dentry.
    pub(crate) fn hide_from_others(&self, users: Users) -> bool {
        // SAFETY: the dentry is held, and positive: it is the name that the operation removes. The
        // function takes the locks under which the dentry's count does not rise, and the inode gets
        // no other dentry.
        unsafe { bindings::d_drop_sole(self.as_raw(), users.dentry, users.inode) }
    }
}

impl<F: FileSystem> Inode<F> {
    /// Whether nobody besides `users` has a reference, as far as can be told without waiting.
    #[inline]
    pub(crate) fn is_alone(&self, users: Users) -> bool {
        // SAFETY: a valid inode; an atomic read.
        unsafe { bindings::icount_read_once(self.as_raw()) == users.inode }
    }

    /// As [`is_alone`](Self::is_alone), after everything that the caller has written is visible: who
    /// takes a reference later sees that, and who has taken one before has been counted. (Taking
    /// one from the table, or by `igrab`, is an atomic operation that is a full barrier.)
    pub(crate) fn is_alone_for_sure(&self, users: Users) -> bool {
        smp_mb(Full);
        self.is_alone(users)
    }

    /// Whether nothing of the inode is in the page cache.
    #[inline]
    pub(crate) fn has_no_pages(&self) -> bool {
        // SAFETY: a valid inode's mapping is. A word that others change.
        unsafe { (&raw const (*(*self.as_raw()).i_mapping).nrpages).read_volatile() == 0 }
    }

    /// Has the inode's number lead nowhere: it can be given to another inode.
    pub(crate) fn forget_number(&self) {
        // SAFETY: a valid inode.
        unsafe { bindings::remove_inode_hash(self.as_raw()) };
    }

    /// Takes [`forget_number`](Self::forget_number) back, if the number is still the inode's.
    pub(crate) fn recall_number(&self) {
        // SAFETY: a valid inode, which is in no table.
        unsafe {
            bindings::insert_inode_hash(self.as_raw());
        }
    }
}
