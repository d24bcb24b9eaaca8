// SPDX-License-Identifier: GPL-2.0

//! The attributes that a new inode starts with.

use super::{fault::Fault, tx::Handle, Rext4Fs, VfsInode};
use crate::{
    engine::credits,
    linux::{acl_change::Inherited, dentry::Dentry, inode_new::FreshInode, security},
};
use kernel::prelude::*;

/// The attributes that a new inode starts with.
pub(crate) struct Initial(());

impl Initial {
    /// Collects them, for `inode` in `dir`, which is going to have `name`. Not in a handle.
    ///
    /// Errors: EOPNOTSUPP if there are any: they cannot be stored so far.
    pub(crate) fn gather(
        dir: &VfsInode,
        inode: &FreshInode<Rext4Fs>,
        name: Option<&Dentry<Rext4Fs>>,
        inherited: Inherited,
    ) -> Result<Self> {
        if inherited.access.is_some() || inherited.default.is_some() {
            return Err(EOPNOTSUPP);
        }
        security::label_new(inode, dir, name, |_, _| Err(EOPNOTSUPP)).or_else(|e| {
            if e == EOPNOTSUPP {
                Ok(())
            } else {
                Err(e)
            }
        })?;
        Ok(Self(()))
    }

    /// What the credits of making the inode depend on.
    pub(crate) fn credits(&self) -> credits::Initial {
        credits::Initial::InBody
    }

    /// Whether there is no ACL among them.
    pub(crate) fn has_no_acl(&self) -> bool {
        true
    }

    /// Stores them.
    ///
    /// Errors: none so far.
    pub(crate) fn store(&self, _: &Handle<'_>, _: &VfsInode) -> Result<(), Fault> {
        Ok(())
    }
}
