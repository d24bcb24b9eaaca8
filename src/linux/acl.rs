// SPDX-License-Identifier: GPL-2.0

//! POSIX access control lists.
//!
//! The VFS asks for an inode's list through `get_inode_acl` (see [`super::inode`]), caches the
//! answer in the inode, and turns it into the value of `system.posix_acl_access` or
//! `system.posix_acl_default` for user space. A file system builds a [`PosixAcl`] with an
//! [`AclBuilder`].

use super::{bindings, fs_type::FileSystem, super_block::SuperBlock};
use core::{marker::PhantomData, mem::ManuallyDrop, ptr::NonNull};
use kernel::{
    ffi::{c_int, c_short, c_uint},
    prelude::*,
};

/// The two lists that an inode can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AclKind {
    /// Who may access the inode.
    Access,
    /// What new entries of a directory start with.
    Default,
}

impl AclKind {
    /// From the VFS's `ACL_TYPE_*`.
    pub(super) fn from_raw(kind: c_int) -> Option<Self> {
        match u32::try_from(kind) {
            Ok(bindings::ACL_TYPE_ACCESS) => Some(Self::Access),
            Ok(bindings::ACL_TYPE_DEFAULT) => Some(Self::Default),
            _ => None,
        }
    }
}

/// Whom an entry is about. Ids are those on disk, that is of the superblock's user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AclTag {
    /// The owner.
    UserObj,
    /// This user.
    User(u32),
    /// The owning group.
    GroupObj,
    /// This group.
    Group(u32),
    /// The most that users, groups and the owning group get.
    Mask,
    /// Everyone else.
    Other,
}

/// A complete list, with one reference.
///
/// # Invariants
///
/// We own one reference, and all entries are initialised.
pub(crate) struct PosixAcl(NonNull<bindings::posix_acl>);

impl PosixAcl {
    /// Gives the reference to the VFS.
    pub(super) fn into_raw(self) -> *mut bindings::posix_acl {
        ManuallyDrop::new(self).0.as_ptr()
    }
}

impl Drop for PosixAcl {
    fn drop(&mut self) {
        // SAFETY: by the type invariant we own a reference.
        unsafe { bindings::posix_acl_release(self.0.as_ptr()) };
    }
}

/// A list that is being built.
///
/// # Invariants
///
/// `acl` has room for `count` entries, of which the first `filled`, not more than `count`, are
/// initialised. `ns` is the user namespace of a superblock that lives for `'a`.
pub(crate) struct AclBuilder<'a> {
    // Released when the builder is dropped unfinished; nothing but the reference count of an
    // incomplete list is looked at.
    acl: PosixAcl,
    filled: usize,
    count: usize,
    ns: *mut bindings::user_namespace,
    _sb: PhantomData<&'a ()>,
}

impl<'a> AclBuilder<'a> {
    /// A list of `count` entries for an inode of `sb`.
    ///
    /// Errors: ENOMEM.
    pub(crate) fn new<F: FileSystem>(sb: &'a SuperBlock<F>, count: usize) -> Result<Self> {
        let n = c_uint::try_from(count)?;
        // SAFETY: no preconditions; NOFS since the VFS may ask for a list from anywhere.
        let acl = unsafe { bindings::posix_acl_alloc(n, bindings::GFP_NOFS) };
        Ok(Self {
            acl: PosixAcl(NonNull::new(acl).ok_or(ENOMEM)?),
            filled: 0,
            count,
            // SAFETY: the namespace of a superblock is set when it is made, and stays.
            ns: unsafe { (*sb.as_raw()).s_user_ns },
            _sb: PhantomData,
        })
    }

    /// Appends an entry: whom it is about, and the `rwx` bits.
    ///
    /// Errors: EINVAL if there are `count` entries already.
    pub(crate) fn push(&mut self, tag: AclTag, perm: u16) -> Result {
        if self.filled >= self.count {
            return Err(EINVAL);
        }
        let (e_tag, id) = match tag {
            AclTag::UserObj => (bindings::ACL_USER_OBJ, None),
            AclTag::User(id) => (bindings::ACL_USER, Some(id)),
            AclTag::GroupObj => (bindings::ACL_GROUP_OBJ, None),
            AclTag::Group(id) => (bindings::ACL_GROUP, Some(id)),
            AclTag::Mask => (bindings::ACL_MASK, None),
            AclTag::Other => (bindings::ACL_OTHER, None),
        };
        // SAFETY: by the type invariant and the check there is room for one more entry behind the
        // `filled` ones; nobody else has a pointer to the list. The namespace is alive because the
        // superblock is.
        unsafe {
            let first: *mut bindings::posix_acl_entry =
                (&raw mut (*self.acl.0.as_ptr()).a_entries).cast();
            let entry = first.add(self.filled);
            // Entries without an id still have the bytes of one.
            entry.write_bytes(0, 1);
            // CAST: the tags are 0x01 to 0x20.
            (*entry).e_tag = e_tag as c_short;
            (*entry).e_perm = perm;
            match (tag, id) {
                (AclTag::User(_), Some(id)) => {
                    *(*entry).__bindgen_anon_1.e_uid.as_mut() = bindings::make_kuid(self.ns, id)
                }
                (AclTag::Group(_), Some(id)) => {
                    *(*entry).__bindgen_anon_1.e_gid.as_mut() = bindings::make_kgid(self.ns, id)
                }
                _ => {}
            }
        }
        // INVARIANT: one more entry is initialised.
        self.filled = self.filled.saturating_add(1);
        Ok(())
    }

    /// The list.
    ///
    /// Errors: EINVAL if entries are missing.
    pub(crate) fn finish(self) -> Result<PosixAcl> {
        if self.filled != self.count {
            return Err(EINVAL);
        }
        // INVARIANT: all entries are initialised, by the type invariant.
        Ok(self.acl)
    }
}
