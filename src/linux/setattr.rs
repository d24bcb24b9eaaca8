// SPDX-License-Identifier: GPL-2.0

//! chmod, chown, utimes and truncate: what `setattr` is asked to change.
//!
//! The order of an implementation: [`prepare`](SetAttr::prepare), then whatever has to be done
//! for the size and may fail, then [`apply`](SetAttr::apply), which cannot, then the inode is
//! written, and if the mode has changed the ACL follows ([`super::acl::chmod`]).

#![allow(dead_code, reason = "the write path is being built on top of this")]

use super::{
    bindings, dentry::Dentry, fs_type::FileSystem, idmap::Idmap, inode::Inode, inode_edit::Time,
};
use kernel::{error::to_result, prelude::*};

/// Which attributes are to change (`ATTR_*`).
pub(crate) mod valid {
    use crate::linux::bindings;

    /// The permission bits.
    pub(crate) const MODE: u32 = bindings::ATTR_MODE;
    /// The owner.
    pub(crate) const UID: u32 = bindings::ATTR_UID;
    /// The group.
    pub(crate) const GID: u32 = bindings::ATTR_GID;
    /// The size.
    pub(crate) const SIZE: u32 = bindings::ATTR_SIZE;
    /// The access time, to now unless `ATIME_SET` says otherwise.
    pub(crate) const ATIME: u32 = bindings::ATTR_ATIME;
    /// The modification time, likewise.
    pub(crate) const MTIME: u32 = bindings::ATTR_MTIME;
    /// The change time.
    pub(crate) const CTIME: u32 = bindings::ATTR_CTIME;
    /// The access time, to what the caller says.
    pub(crate) const ATIME_SET: u32 = bindings::ATTR_ATIME_SET;
    /// The modification time, to what the caller says.
    pub(crate) const MTIME_SET: u32 = bindings::ATTR_MTIME_SET;
    /// Times, to what the caller says and not to now: only the owner may.
    pub(crate) const TIMES_SET: u32 = bindings::ATTR_TIMES_SET;
    /// The truncation of open(2) with O_TRUNC.
    pub(crate) const OPEN: u32 = bindings::ATTR_OPEN;
}

/// The changes of one `setattr`, and the inode that they are for.
pub(crate) struct SetAttr<'a, F: FileSystem> {
    raw: &'a mut bindings::iattr,
    idmap: Idmap<'a>,
    dentry: &'a Dentry<F>,
    inode: &'a Inode<F>,
}

impl<'a, F: FileSystem> SetAttr<'a, F> {
    /// # Safety
    ///
    /// The arguments must be those of the operation: valid for `'a`, `raw` the caller's alone,
    /// `dentry` positive, and its inode's i_rwsem held exclusively.
    pub(super) unsafe fn from_raw(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        raw: *mut bindings::iattr,
    ) -> Self {
        // SAFETY: by contract.
        unsafe {
            Self {
                raw: &mut *raw,
                idmap: Idmap::from_raw(idmap),
                dentry: Dentry::from_raw(dentry),
                inode: Inode::from_raw((*dentry).d_inode),
            }
        }
    }

    /// The inode; its i_rwsem is held exclusively.
    pub(crate) fn inode(&self) -> &'a Inode<F> {
        self.inode
    }

    /// The name through which it is changed.
    pub(crate) fn dentry(&self) -> &'a Dentry<F> {
        self.dentry
    }

    /// The mapping of the mount through which it is changed.
    pub(crate) fn idmap(&self) -> Idmap<'a> {
        self.idmap
    }

    /// Whether any of `bits` (of [`valid`]) is to change.
    pub(crate) fn has(&self, bits: u32) -> bool {
        self.raw.ia_valid & bits != 0
    }

    /// Leaves `bits` (of [`valid`]) as they are after all.
    pub(crate) fn leave(&mut self, bits: u32) {
        self.raw.ia_valid &= !bits;
    }

    /// The new mode: file type and permission bits.
    pub(crate) fn mode(&self) -> Option<u16> {
        self.has(valid::MODE).then_some(self.raw.ia_mode)
    }

    /// The new owner as it will be stored; `u32::MAX` for one that the file system's user
    /// namespace does not have, which the VFS refuses before.
    pub(crate) fn uid(&self) -> Option<u32> {
        self.has(valid::UID).then(|| {
            // SAFETY: all three are valid.
            unsafe { bindings::iattr_uid(self.idmap.as_raw(), self.inode.as_raw(), &*self.raw) }
        })
    }

    /// The new group, likewise.
    pub(crate) fn gid(&self) -> Option<u32> {
        self.has(valid::GID).then(|| {
            // SAFETY: all three are valid.
            unsafe { bindings::iattr_gid(self.idmap.as_raw(), self.inode.as_raw(), &*self.raw) }
        })
    }

    /// Whether owner or group become others than they are.
    pub(crate) fn changes_owner(&self) -> bool {
        // SAFETY: all three are valid; looks at what the bits allow.
        unsafe {
            bindings::iattr_changes_owner(self.idmap.as_raw(), self.inode.as_raw(), &*self.raw)
        }
    }

    /// The new size in bytes.
    pub(crate) fn size(&self) -> Option<u64> {
        self.has(valid::SIZE)
            // CAST: the VFS refuses negative sizes.
            .then_some(self.raw.ia_size as u64)
    }

    /// The new access time.
    pub(crate) fn atime(&self) -> Option<Time> {
        let t = &self.raw.ia_atime;
        // CAST: below 10^9.
        self.has(valid::ATIME)
            .then_some((t.tv_sec, t.tv_nsec as u32))
    }

    /// The new modification time.
    pub(crate) fn mtime(&self) -> Option<Time> {
        let t = &self.raw.ia_mtime;
        // CAST: below 10^9.
        self.has(valid::MTIME)
            .then_some((t.tv_sec, t.tv_nsec as u32))
    }

    /// Whether the task may do this, and the size is one that the file can have. Drops the
    /// set-group-ID bit from a new mode that the task may not set. May sleep, and remove security
    /// attributes that do not outlive the change.
    ///
    /// Errors: EPERM, EFBIG, ETXTBSY, EINVAL.
    pub(crate) fn prepare(&mut self) -> Result {
        // SAFETY: the operation's own arguments, by contract of `from_raw`.
        to_result(unsafe {
            bindings::setattr_prepare(self.idmap.as_raw(), self.dentry.as_raw(), self.raw)
        })
    }

    /// Changes owner, mode and times in the inode; not the size.
    pub(crate) fn apply(&self) {
        // SAFETY: as above; i_rwsem is held exclusively, by contract of `from_raw`.
        unsafe { bindings::setattr_copy(self.idmap.as_raw(), self.inode.as_raw(), &*self.raw) };
    }
}
