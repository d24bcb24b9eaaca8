// SPDX-License-Identifier: GPL-2.0

//! Changing ACLs: what a new inode inherits, and how ACL and mode follow each other.
//!
//! The mode's group bits are the mask of the ACL, if there is one. So chmod changes the ACL
//! ([`chmod`]), setting an ACL changes the mode ([`update_mode`]), and a new inode's mode comes out
//! of its directory's default ACL ([`inherit`]).

use super::{
    acl::{Acl, PosixAcl},
    bindings,
    dentry::Dentry,
    fs_type::FileSystem,
    idmap::Idmap,
    inode::Inode,
};
use core::ptr;
use kernel::{error::to_result, prelude::*};

/// What a new inode gets from its directory.
pub(crate) struct Inherited {
    /// Its mode, without the bits that ACL or umask take away.
    pub(crate) mode: u16,
    /// Its access ACL, if the mode alone does not say it.
    pub(crate) access: Option<PosixAcl>,
    /// A directory's default ACL.
    pub(crate) default: Option<PosixAcl>,
}

/// What an inode of `mode` gets in `dir`. Without ACLs it is the umask that counts, unless the VFS
/// has applied it already; symbolic links get nothing. May sleep, and reads the directory's ACL:
/// to be called before a handle is started.
///
/// Errors: ENOMEM, and those of reading the ACL.
pub(crate) fn inherit<F: FileSystem>(dir: &Inode<F>, mode: u16) -> Result<Inherited> {
    let mut mode = mode;
    let (mut default, mut access) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: a valid inode, and places for the three results.
    to_result(unsafe {
        bindings::posix_acl_create(
            dir.as_raw().cast(),
            &mut mode,
            &raw mut default,
            &raw mut access,
        )
    })?;
    // SAFETY: each is NULL or a complete list with a reference that is ours now.
    let (access, default) = unsafe { (PosixAcl::from_raw(access), PosixAcl::from_raw(default)) };
    Ok(Inherited {
        mode,
        access,
        default,
    })
}

/// Makes the access ACL of an inode follow its new `mode`, by way of `set_acl`. To be called after
/// the mode has been changed, outside any handle but one that `set_acl` may join. May sleep.
///
/// Errors: those of `set_acl` and of reading the ACL.
pub(crate) fn chmod<F: FileSystem>(idmap: Idmap<'_>, name: &Dentry<F>, mode: u16) -> Result {
    // A negative dentry has no ACL; the function would look for one.
    if name.inode().is_none() {
        return Err(ENOENT);
    }
    // SAFETY: both are valid, and the dentry is positive.
    to_result(unsafe {
        bindings::posix_acl_chmod(idmap.as_raw().cast(), name.as_raw().cast(), mode)
    })
}

/// The mode that `inode` has to get with the access ACL `acl`, and whether the ACL says more than
/// that mode, that is whether it has to be stored.
///
/// Errors: EINVAL for a list that makes no sense.
pub(crate) fn update_mode<F: FileSystem>(
    idmap: Idmap<'_>,
    inode: &Inode<F>,
    acl: &Acl,
) -> Result<(u16, bool)> {
    let mut mode = 0;
    let mut list = acl.as_raw();
    // SAFETY: all are valid; the function reads the list and may set our pointer to NULL.
    to_result(unsafe {
        bindings::posix_acl_update_mode(
            idmap.as_raw().cast(),
            inode.as_raw().cast(),
            &mut mode,
            &raw mut list,
        )
    })?;
    Ok((mode, !list.is_null()))
}
