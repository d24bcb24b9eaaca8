// SPDX-License-Identifier: GPL-2.0

//! Open files, as the operations on them see them.

use super::{bindings, fs_type::FileSystem, idmap::Idmap, inode::Inode};
use core::marker::PhantomData;
use kernel::{
    error::{from_err_ptr, to_result},
    ffi::{c_char, c_int},
    prelude::*,
    types::{NotThreadSafe, Opaque},
};

/// An open file, or directory, of a file system of type `F`, or one that is being opened.
///
/// # Invariants
///
/// The file has its inode and path, which are of a published superblock of `F`.
#[repr(transparent)]
pub(crate) struct OpenFile<F: FileSystem>(Opaque<bindings::file>, PhantomData<F>);

impl<F: FileSystem> OpenFile<F> {
    /// # Safety
    ///
    /// `raw` must be a file of a published superblock of `F`, held for `'a`.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(raw: *mut bindings::file) -> &'a Self {
        // SAFETY: by contract; the layout is transparent.
        // INVARIANT: the VFS sets inode and path before it calls an operation.
        unsafe { &*raw.cast() }
    }

    fn as_raw(&self) -> *mut bindings::file {
        self.0.get()
    }

    /// The inode.
    #[inline]
    pub(crate) fn inode(&self) -> &Inode<F> {
        // SAFETY: by the type invariant; an open file holds its inode, which does not change.
        unsafe { Inode::from_raw((*self.as_raw()).f_inode) }
    }

    /// The id mapping of the mount through which it was opened.
    pub(crate) fn idmap(&self) -> Idmap<'_> {
        // SAFETY: an open file holds its mount, whose mapping stays once it is visible.
        unsafe { Idmap::from_raw(bindings::file_mnt_idmap(self.as_raw())) }
    }

    /// Whether it was opened for reading.
    pub(crate) fn is_readable(&self) -> bool {
        // SAFETY: a word, of which only bits for directories and leases change after open.
        unsafe { (*self.as_raw()).f_mode & bindings::FMODE_READ != 0 }
    }

    /// Whether it was opened for writing.
    pub(crate) fn is_writable(&self) -> bool {
        // SAFETY: a word, of which only bits for directories and leases change after open.
        unsafe { (*self.as_raw()).f_mode & bindings::FMODE_WRITE != 0 }
    }

    /// Write access to the file's mount, for ioctls that change something: files opened for
    /// reading have none. Waits for a freeze to end. Not in `open`: an open that makes a file has
    /// such access already, and would wait for itself; see
    /// [`SuperBlock::try_start_intwrite`](super::super_write).
    ///
    /// Errors: EROFS for a read-only mount.
    pub(crate) fn want_write(&self) -> Result<WriteAccess<'_, F>> {
        // SAFETY: a valid file; released in `drop`.
        to_result(unsafe { bindings::mnt_want_write_file(self.as_raw()) })?;
        Ok(WriteAccess {
            file: self,
            _not_send: NotThreadSafe,
        })
    }

    /// Writes the page cache of `start..=end` (bytes) and waits; reports the errors since the last
    /// call for this open file. Never inside a handle.
    ///
    /// Errors: EIO, ENOSPC.
    pub(crate) fn write_and_wait(&self, start: i64, end: i64) -> Result {
        // SAFETY: a valid file.
        to_result(unsafe { bindings::file_write_and_wait_range(self.as_raw(), start, end) })
    }

    /// The contents are about to be changed: takes away what a change of contents takes away (setuid
    /// bits, capabilities), and sets times and version. Lock: i_rwsem, exclusive; not inside a handle.
    ///
    /// Errors: those of setting attributes.
    pub(crate) fn modified(&self) -> Result {
        // SAFETY: a valid file.
        to_result(unsafe { bindings::file_modified(self.as_raw()) })
    }

    /// Whether what is written through it is to be on disk when the call returns (O_SYNC, O_DSYNC).
    pub(crate) fn is_sync(&self) -> bool {
        // SAFETY: a word, of which fcntl(2) changes other bits.
        unsafe { (*self.as_raw()).f_flags & bindings::O_DSYNC != 0 }
    }

    /// The path of the root of the file's mount, as the task sees it: what the superblock keeps as
    /// the place of the last mount.
    ///
    /// Errors: ENAMETOOLONG if it is not shorter than `out`.
    pub(crate) fn mount_path<'a>(&self, out: &'a mut [u8]) -> Result<&'a [u8]> {
        let len = c_int::try_from(out.len())?;
        let start = out.as_mut_ptr();
        // SAFETY: an open file holds its mount, and that its root; both are in the path only while
        // the function runs. It writes to the buffer, which is `len` bytes long.
        let text = unsafe {
            let mnt = (*self.as_raw()).__bindgen_anon_1.f_path.mnt;
            let root = bindings::path {
                mnt,
                dentry: (*mnt.cast::<bindings::vfsmount>()).mnt_root,
            };
            from_err_ptr(bindings::d_path(&root, start.cast::<c_char>(), len))?
        };
        // SAFETY: the function returns a NUL-terminated string, which is in the buffer but for
        // constants like "(unreachable)".
        Ok(unsafe { super::cstr::bytes_of(text) })
    }
}

/// Write access to a mount, for as long as this lives.
#[must_use]
pub(crate) struct WriteAccess<'a, F: FileSystem> {
    file: &'a OpenFile<F>,
    _not_send: NotThreadSafe,
}

impl<F: FileSystem> Drop for WriteAccess<'_, F> {
    fn drop(&mut self) {
        // SAFETY: taken by this task when the guard was made.
        unsafe { bindings::mnt_drop_write_file(self.file.as_raw()) };
    }
}
