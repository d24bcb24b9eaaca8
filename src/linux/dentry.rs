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

/// A dentry that has no inode and is about to get one: the new name in `create` and its like.
///
/// # Invariants
///
/// The dentry is negative, is held for `'a`, and the directory's i_rwsem, which the caller of the
/// operation holds, keeps everybody else from giving it an inode. There is only one `Negative` of
/// it.
pub(crate) struct Negative<'a, F: FileSystem> {
    dentry: &'a Dentry<F>,
    _once: Brand<'a>,
}

/// Says that the new name of the operation at hand has got its inode. Nothing else makes one, so
/// that an operation cannot succeed without: the VFS would run into the missing inode.
#[must_use]
pub(crate) struct Instantiated<'a>(Brand<'a>);

impl<'a> Instantiated<'a> {
    /// The proof for a file without a name, whose only argument `_once` was.
    pub(super) fn of_tmpfile(_once: Brand<'a>) -> Self {
        Self(PhantomData)
    }
}

/// Ties the result of an operation to its argument: neither a longer nor a shorter life will do.
pub(super) type Brand<'a> = PhantomData<fn(&'a ()) -> &'a ()>;

impl<'a, F: FileSystem> Negative<'a, F> {
    /// # Safety
    ///
    /// The type's invariants must hold for `ptr`, a dentry of a published superblock of `F`.
    pub(super) unsafe fn from_raw(ptr: *mut bindings::dentry) -> Self {
        // INVARIANT: by contract.
        Self {
            // SAFETY: by contract.
            dentry: unsafe { Dentry::from_raw(ptr) },
            _once: PhantomData,
        }
    }

    /// Whether name and inode are of the same file system.
    pub(super) fn is_in(&self, inode: &Inode<F>) -> bool {
        // SAFETY: both are held, and their superblocks never change.
        unsafe { (*self.as_raw()).d_sb == (*inode.as_raw()).i_sb }
    }

    /// The proof that the dentry has got an inode; only for who has just given it one.
    pub(super) fn done(self) -> Instantiated<'a> {
        Instantiated(PhantomData)
    }

    /// Gives the name to an inode that has others, or had: a hard link. The reference passes to
    /// the dentry. Not for directories, which have one name.
    ///
    /// Errors: EXDEV for an inode of another file system, EPERM for a directory: the VFS lets
    /// neither get here.
    pub(crate) fn instantiate(self, inode: ARef<Inode<F>>) -> Result<Instantiated<'a>> {
        if !self.is_in(&inode) {
            return Err(EXDEV);
        }
        if inode.is_dir() {
            return Err(EPERM);
        }
        // SAFETY: the dentry is negative by the type invariant, and `self` is consumed; the
        // reference goes to it.
        unsafe { bindings::d_instantiate(self.as_raw(), ARef::into_raw(inode).as_ptr().cast()) };
        Ok(self.done())
    }
}

impl<F: FileSystem> core::ops::Deref for Negative<'_, F> {
    type Target = Dentry<F>;

    fn deref(&self) -> &Dentry<F> {
        self.dentry
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
