// SPDX-License-Identifier: GPL-2.0

//! chmod, chown, utimes: attributes that the VFS changes for us, and we write.
//!
//! Everything is in one transaction but for the ACL that follows a new mode: as in C ext4 that has
//! one of its own, since it may take an attribute block.
//!
//! The size is another matter: see [`super::set_size`].

use super::{handle, inode_write, options::Toggles, set_size::set_size, Rext4Fs, VfsInode};
use crate::{
    engine::credits::Op,
    linux::{
        acl::AclKind,
        acl_change,
        inode_edit::InodeEdit as _,
        inode_ops::InodeOps,
        jbd2::NoHandle,
        setattr::{valid, SetAttr},
    },
};
use kernel::prelude::*;

/// What an append-only file keeps.
const KEPT_WHEN_APPEND_ONLY: u32 = valid::MODE | valid::UID | valid::GID | valid::TIMES_SET;

/// Changes the attributes of an inode whose operations are `T`. i_rwsem is held for writing. May
/// sleep.
///
/// Errors: EPERM; EOPNOTSUPP for the mode of a file with an ACL if ACLs cannot be set; EIO, EROFS,
/// ENOMEM; those of `set_size`.
pub(crate) fn setattr<T: InodeOps<Fs = Rext4Fs>>(attr: &mut SetAttr<'_, Rext4Fs>) -> Result {
    let inode = attr.inode();
    let sb = inode.super_block();
    handle::may_write(sb)?;
    if inode.is_immutable() || (inode.is_append_only() && attr.has(KEPT_WHEN_APPEND_ONLY)) {
        return Err(EPERM);
    }
    let mut outside = NoHandle::here()?;
    // May remove attributes, in a transaction of its own.
    attr.prepare()?;
    let chmod = attr.has(valid::MODE) && sb.info().has(Toggles::POSIX_ACL);
    if chmod && !T::HAS_SET_ACL && has_acl(inode)? {
        return Err(EOPNOTSUPP);
    }

    if let Some(size) = attr.size() {
        set_size(attr, size, &mut outside)?;
    } else {
        let handle = handle::begin(sb, &mut outside, Op::SetAttr)?;
        let slot = inode_write::prepare(&handle, inode)?;
        inode.inc_version();
        attr.apply();
        slot.store()?;
        handle.stop()?;
    }

    if chmod && T::HAS_SET_ACL {
        acl_change::chmod(attr.idmap(), attr.dentry(), inode.mode())?;
    }
    Ok(())
}

/// Whether there is an ACL that the mode is a part of.
fn has_acl(inode: &VfsInode) -> Result<bool> {
    Ok(super::acl::get(inode, AclKind::Access)?.is_some())
}
