// SPDX-License-Identifier: GPL-2.0

//! Id mappings of mounts: whose ids the caller's are on disk.
//!
//! An operation that depends on who calls gets the mapping of the mount through which it was
//! called, and passes it on to the checks of the VFS that ask for it. It is valid for the
//! duration of the operation.

#![allow(dead_code, reason = "the write path is being built on top of this")]

use super::{bindings, fs_type::FileSystem, inode::Inode};
use core::{marker::PhantomData, ptr::NonNull};

/// The id mapping of a mount.
///
/// # Invariants
///
/// The mapping stays for `'a`.
#[derive(Clone, Copy)]
pub(crate) struct Idmap<'a>(NonNull<bindings::mnt_idmap>, PhantomData<&'a ()>);

impl Idmap<'_> {
    /// # Safety
    ///
    /// `raw` must be a mapping, not NULL, that its mount keeps for the life of the result.
    pub(super) unsafe fn from_raw(raw: *mut bindings::mnt_idmap) -> Self {
        // SAFETY: not NULL by contract.
        // INVARIANT: by contract.
        Self(unsafe { NonNull::new_unchecked(raw) }, PhantomData)
    }

    pub(super) fn as_raw(self) -> *mut bindings::mnt_idmap {
        self.0.as_ptr()
    }

    /// Whether the task owns `inode` or has CAP_FOWNER over it.
    pub(crate) fn owner_or_capable<F: FileSystem>(self, inode: &Inode<F>) -> bool {
        // SAFETY: both are valid while borrowed; looks at the current task's credentials.
        unsafe { bindings::inode_owner_or_capable(self.as_raw(), inode.as_raw()) }
    }
}

impl Idmap<'static> {
    /// The mapping that changes nothing, for what the file system does on its own behalf.
    pub(crate) fn none() -> Self {
        // SAFETY: an object of the kernel's that always exists; its address is taken only.
        // INVARIANT: as above.
        unsafe { Self::from_raw(&raw mut bindings::nop_mnt_idmap) }
    }
}
