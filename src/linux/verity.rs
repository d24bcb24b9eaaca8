// SPDX-License-Identifier: GPL-2.0

//! fs-verity: files whose contents are checked against a Merkle tree when they are read.
//!
//! The kernel's fs/verity does the checking and iomap calls it; the file system says where tree
//! and descriptor are. See `Documentation/filesystems/fsverity.rst`.

use super::{bindings, fs_type::FileSystem, inode::Inode};
use core::{marker::PhantomData, mem::MaybeUninit, ptr, slice};
use kernel::{
    error::from_result,
    ffi::{c_int, c_void},
    page::PAGE_SHIFT,
    prelude::*,
};

/// Where the verity metadata of files is.
pub(crate) trait VerityOps: 'static {
    /// The file system.
    type Fs: FileSystem;

    /// The file offset, in bytes and a multiple of the page size, at which the Merkle tree
    /// begins.
    fn metadata_pos(inode: &Inode<Self::Fs>) -> u64;

    /// The size of the descriptor in bytes; copied to `out` if that is not empty. May sleep.
    ///
    /// Errors: ERANGE if it does not fit `out`; EUCLEAN, EIO, ENOMEM.
    fn descriptor(inode: &Inode<Self::Fs>, out: &mut [u8]) -> Result<usize>;
}

/// The C table for `T`.
pub(crate) struct VerityTable<T: VerityOps>(PhantomData<T>);

impl<T: VerityOps> VerityTable<T> {
    /// For `s_vop`.
    pub(crate) const TABLE: &'static bindings::fsverity_operations =
        &bindings::fsverity_operations {
            get_verity_descriptor: Some(Self::get_verity_descriptor),
            read_merkle_tree_page: Some(Self::read_merkle_tree_page),
            readahead_merkle_tree: Some(Self::readahead_merkle_tree),
            // SAFETY: a table of optional function pointers; all-zero means none. Those for
            // enabling verity are not called on a file system that is read-only.
            ..unsafe { MaybeUninit::zeroed().assume_init() }
        };

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn get_verity_descriptor(
        inode: *mut bindings::inode,
        buf: *mut c_void,
        size: usize,
    ) -> c_int {
        let out: &mut [u8] = if size == 0 {
            &mut []
        } else {
            // SAFETY: fs/verity passes `size` bytes of its own, initialised by its allocator or
            // written here before anybody reads them.
            unsafe {
                ptr::write_bytes(buf.cast::<u8>(), 0, size);
                slice::from_raw_parts_mut(buf.cast(), size)
            }
        };
        from_result(|| {
            // SAFETY: fs/verity holds the inode.
            let len = T::descriptor(unsafe { Inode::from_raw(inode) }, out)?;
            Ok(c_int::try_from(len)?)
        })
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn read_merkle_tree_page(
        inode: *mut bindings::inode,
        index: usize,
    ) -> *mut bindings::page {
        // SAFETY: fs/verity holds the inode.
        unsafe {
            let index = Self::shift(inode, index);
            bindings::generic_read_merkle_tree_page(inode, index)
        }
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn readahead_merkle_tree(
        inode: *mut bindings::inode,
        index: usize,
        pages: usize,
    ) {
        // SAFETY: fs/verity holds the inode and the invalidate lock of its mapping.
        unsafe {
            let index = Self::shift(inode, index);
            bindings::generic_readahead_merkle_tree(inode, index, pages);
        }
    }

    /// From a page of the tree to a page of the file.
    ///
    /// # Safety
    ///
    /// `inode` must be an inode of `T::Fs`, held.
    unsafe fn shift(inode: *mut bindings::inode, index: usize) -> usize {
        // SAFETY: by contract.
        let pos = T::metadata_pos(unsafe { Inode::from_raw(inode) });
        index.wrapping_add((pos >> PAGE_SHIFT) as usize)
    }
}

impl<F: FileSystem> Inode<F> {
    /// Copies bytes of the file's page cache from `pos` on to `out`, also beyond the size of the
    /// file, where verity metadata is. May sleep.
    ///
    /// Errors: EIO and those of the block map.
    pub(crate) fn read_cached(&self, pos: u64, out: &mut [u8]) -> Result {
        self.read_mapping(pos, out, false)
    }

    /// The same of bytes that have been written out, when nobody can change them but who holds a page of
    /// them for writing.
    ///
    /// Errors: EBUSY as well, if a page is dirty, being written, or held like that.
    pub(crate) fn read_settled(&self, pos: u64, out: &mut [u8]) -> Result {
        self.read_mapping(pos, out, true)
    }

    fn read_mapping(&self, pos: u64, out: &mut [u8], settled: bool) -> Result {
        // SAFETY: the inode is held and its mapping can read folios (a regular file's); the
        // helper writes at most `out.len()` bytes.
        super::super_block::check(unsafe {
            bindings::read_mapping_bytes(
                self.as_raw(),
                pos as i64,
                out.as_mut_ptr().cast(),
                out.len(),
                settled,
            )
        })
    }
}
