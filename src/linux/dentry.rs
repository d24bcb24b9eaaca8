// SPDX-License-Identifier: GPL-2.0

//! Directory entries of the VFS.

use super::{bindings, fs_type::FileSystem, inode::Inode, super_block::SuperBlock};
use core::marker::PhantomData;
use kernel::{prelude::*, sync::aref::ARef, types::Opaque};

/// A dentry of a file system of type `F`.
///
/// # Invariants
///
/// The dentry belongs to a published superblock of `F`.
#[repr(transparent)]
pub(crate) struct Dentry<F: FileSystem>(Opaque<bindings::dentry>, PhantomData<F>);

impl<F: FileSystem> Dentry<F> {
    /// # Safety
    ///
    /// `ptr` must be a dentry of a published superblock of `F`, held for `'a`.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::dentry) -> &'a Self {
        // SAFETY: by contract; the layout is transparent.
        unsafe { &*ptr.cast() }
    }

    pub(super) fn as_raw(&self) -> *mut bindings::dentry {
        self.0.get()
    }

    /// The superblock.
    #[inline]
    pub(crate) fn super_block(&self) -> &SuperBlock<F> {
        // SAFETY: by the type invariant; `d_sb` never changes.
        unsafe { SuperBlock::from_raw((*self.as_raw()).d_sb) }
    }

    /// The inode, `None` for a negative dentry.
    pub(crate) fn inode(&self) -> Option<&Inode<F>> {
        // SAFETY: the caller of the VFS operation keeps the dentry and, by holding it, its inode.
        unsafe {
            let inode = (*self.as_raw()).d_inode;
            if inode.is_null() {
                None
            } else {
                Some(Inode::from_raw(inode))
            }
        }
    }

    /// The name as the VFS looks it up: 1 to 255 bytes or more, no `/`, no NUL.
    ///
    /// Only during an operation in which the VFS keeps the name stable (`lookup` and friends,
    /// which run with the parent's i_rwsem held).
    #[inline]
    pub(crate) fn name(&self) -> &[u8] {
        // SAFETY: by the precondition the name does not change; it is `len` bytes long.
        unsafe {
            let q = &(*self.as_raw()).__bindgen_anon_1.d_name;
            core::slice::from_raw_parts(q.name, q.__bindgen_anon_1.__bindgen_anon_1.len as usize)
        }
    }
}

/// What `lookup` found, as `d_splice_alias` takes it.
pub(super) fn splice<F: FileSystem>(
    found: Result<Option<ARef<Inode<F>>>>,
    dentry: *mut bindings::dentry,
) -> *mut bindings::dentry {
    let inode = match found {
        Ok(Some(inode)) => ARef::into_raw(inode).as_ptr().cast(),
        Ok(None) => core::ptr::null_mut(),
        Err(e) => return e.to_ptr(),
    };
    // SAFETY: `dentry` is the unhashed dentry of a running lookup; the reference on `inode` goes
    // to the function.
    unsafe { bindings::d_splice_alias(inode, dentry) }
}
