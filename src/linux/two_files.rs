// SPDX-License-Identifier: GPL-2.0

//! Two files of one file system that are changed together: their locks, in the order that the VFS has for
//! them, and what it takes to copy from one to the other's place on the device.

use super::{
    bindings, buffer::Device, fs_type::FileSystem, inode::Inode, jbd2::NoHandle,
    open_file::OpenFile, super_block::check,
};
use core::{marker::PhantomData, ops::Deref, ptr};
use kernel::{
    alloc::flags::__GFP_NOWARN, fs::file::LocalFile, page::PAGE_SIZE, prelude::*, sync::aref::ARef,
    types::NotThreadSafe,
};

/// An open file that the calling task has named by its descriptor.
///
/// # Invariants
///
/// The file's inode is of a published superblock of `F`.
pub(crate) struct Named<F: FileSystem>(ARef<LocalFile>, PhantomData<F>);

impl<F: FileSystem> Deref for Named<F> {
    type Target = OpenFile<F>;

    fn deref(&self) -> &OpenFile<F> {
        // SAFETY: by the type invariant; the reference holds the file.
        unsafe { OpenFile::from_raw(self.0.as_ptr()) }
    }
}

impl<F: FileSystem> OpenFile<F> {
    /// The file that the calling task has open as `fd`, for writing, of the same file system as this one.
    ///
    /// Errors: EBADF if there is none, or it cannot be written to; EXDEV if it is of another one.
    pub(crate) fn other(&self, fd: u32) -> Result<Named<F>> {
        let file = LocalFile::fget(fd)?;
        // SAFETY: the file is held, and with it its inode. The mode's bit does not change after open, nor
        // does an inode's superblock.
        unsafe {
            let raw = file.as_ptr();
            if (*raw).f_mode & bindings::FMODE_WRITE == 0 {
                return Err(EBADF);
            }
            let sb = (*(*raw).f_inode).i_sb;
            if !ptr::eq(sb, (*self.inode().as_raw()).i_sb) {
                return Err(EXDEV);
            }
        }
        // INVARIANT: the superblock is that of an inode of `F`.
        Ok(Named(file, PhantomData))
    }
}

impl<F: FileSystem> Inode<F> {
    /// Runs `f` with i_rwsem of this file and of `other`, which is not the same and like this one no
    /// directory, held for writing. Not inside a handle.
    pub(crate) fn with_both_locked<R>(&self, other: &Self, f: impl FnOnce() -> R) -> R {
        // SAFETY: both inodes are held; the locks are released below on every path.
        unsafe { bindings::lock_two_nondirectories(self.as_raw(), other.as_raw()) };
        let r = f();
        // SAFETY: taken above by this thread.
        unsafe { bindings::unlock_two_nondirectories(self.as_raw(), other.as_raw()) };
        r
    }

    /// Locks the page caches of both against being filled. Lock: i_rwsem of both, before; folio locks and
    /// handles come after.
    pub(crate) fn lock_both_invalidate<'a>(&'a self, other: &'a Self) -> BothInvalidate<'a> {
        // SAFETY: valid inodes have mappings, whose locks are released by the guard, which borrows both.
        unsafe {
            let (one, two) = ((*self.as_raw()).i_mapping, (*other.as_raw()).i_mapping);
            bindings::filemap_invalidate_lock_two(one, two);
            BothInvalidate {
                one,
                two,
                _inodes: PhantomData,
                _not_send: NotThreadSafe,
            }
        }
    }

    /// Drops whole folios of the page cache that have any of the bytes `from..to` (not empty), which are
    /// on disk. Locks: i_rwsem and the invalidate lock, both exclusive. Waits for folios: not inside a handle.
    ///
    /// Errors: EBUSY if one has been dirtied all the same.
    pub(crate) fn drop_clean_folios(&self, outside: &NoHandle, from: u64, to: u64) -> Result {
        self.waits_for_folios(outside);
        let page = |byte: u64| usize::try_from(byte / PAGE_SIZE as u64).unwrap_or(usize::MAX);
        // SAFETY: a valid inode has a mapping.
        check(unsafe {
            bindings::invalidate_inode_pages2_range(
                (*self.as_raw()).i_mapping,
                page(from),
                page(to.saturating_sub(1)),
            )
        })
    }
}

/// The page caches of two inodes are not filled while this lives.
#[must_use]
pub(crate) struct BothInvalidate<'a> {
    one: *mut bindings::address_space,
    two: *mut bindings::address_space,
    _inodes: PhantomData<&'a ()>,
    /// A lock stays with its task.
    _not_send: NotThreadSafe,
}

impl Drop for BothInvalidate<'_> {
    fn drop(&mut self) {
        // SAFETY: taken when the guard was made, which stays with its task and borrows both inodes.
        unsafe { bindings::filemap_invalidate_unlock_two(self.one, self.two) };
    }
}

/// Memory that goes to the device as it is.
///
/// It is the kernel's linear map's: what [`KVec`] allocates.
pub(crate) struct Bounce(KVec<u8>);

impl Bounce {
    /// `most` bytes, or where there is not as much in one piece half of it and so on, but no less than
    /// `least`.
    ///
    /// Errors: ENOMEM.
    pub(crate) fn new(most: usize, least: usize) -> Result<Self> {
        let mut len = most;
        while len > least {
            if let Ok(bytes) = KVec::from_elem(0u8, len, GFP_KERNEL | __GFP_NOWARN) {
                return Ok(Self(bytes));
            }
            len = (len / 2).max(least);
        }
        Ok(Self(KVec::from_elem(0u8, least, GFP_KERNEL)?))
    }

    /// The bytes.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// Writes the first `len` bytes, whole blocks, to `device` from `block` on, past all caches, and waits.
    ///
    /// Errors: EINVAL for more than there is, or parts of blocks; EIO.
    pub(crate) fn write(&mut self, device: Device<'_>, block: u64, len: usize) -> Result {
        let size = device.block_size();
        let whole = len.trailing_zeros() >= size.trailing_zeros();
        if len == 0 || len > self.0.len() || !whole {
            return Err(EINVAL);
        }
        let sector = block.wrapping_shl(size.trailing_zeros().saturating_sub(9));
        // SAFETY: the device is open. The bytes are allocated by kmalloc, `len` of them at least, and are
        // only read, before the function returns.
        check(unsafe {
            bindings::bdev_rw_virt(
                device.as_raw(),
                sector,
                self.0.as_mut_ptr().cast(),
                len,
                bindings::req_op_REQ_OP_WRITE,
            )
        })
    }
}
