// SPDX-License-Identifier: GPL-2.0

//! The page cache of a regular file: address space operations, iomap's but for [`readahead`].

use super::{
    bindings,
    fs_type::FileSystem,
    inode::Inode,
    iomap::{IomapOps, IomapTable},
    readahead,
    writeback::{self, WritebackOps},
};
use core::{marker::PhantomData, mem::MaybeUninit};
use kernel::{ffi::c_int, prelude::*};

/// How the page cache of a file is filled.
pub(crate) trait MappingOps: 'static {
    /// The file system.
    type Fs: FileSystem;
    /// Where the blocks to read are.
    type Read: IomapOps<Fs = Self::Fs>;
    /// The same for reports (FIBMAP).
    type Report: IomapOps<Fs = Self::Fs>;
    /// Where dirty data is written.
    type Writeback: WritebackOps<Fs = Self::Fs>;

    /// The byte address on the device of `pos..pos + len` of `inode`, a multiple of its block
    /// size, if all of that is file data in one run that can be read as it is; `None` leaves it
    /// to iomap. May sleep. Called with the folios of the range locked.
    ///
    /// Errors: those of looking up the mapping, after which nothing is read ahead.
    fn run(inode: &Inode<Self::Fs>, pos: u64, len: u64) -> Result<Option<u64>>;
}

pub(super) struct MappingVtable<T: MappingOps>(PhantomData<T>);

impl<T: MappingOps> MappingVtable<T> {
    pub(super) const TABLE: bindings::address_space_operations =
        bindings::address_space_operations {
            read_folio: Some(Self::read_folio),
            readahead: Some(Self::readahead),
            writepages: Some(writeback::writepages::<T::Writeback>),
            bmap: Some(Self::bmap),
            dirty_folio: Some(bindings::iomap_dirty_folio),
            invalidate_folio: Some(bindings::iomap_invalidate_folio),
            release_folio: Some(bindings::iomap_release_folio),
            migrate_folio: Some(bindings::filemap_migrate_folio),
            is_partially_uptodate: Some(bindings::iomap_is_partially_uptodate),
            error_remove_folio: Some(bindings::generic_error_remove_folio),
            swap_activate: Some(Self::swap_activate),
            // SAFETY: a table of optional function pointers; all-zero means none.
            ..unsafe { MaybeUninit::zeroed().assume_init() }
        };

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn read_folio(
        _file: *mut bindings::file,
        folio: *mut bindings::folio,
    ) -> c_int {
        // SAFETY: the page cache passes a locked folio of a file of ours; iomap unlocks it.
        unsafe { bindings::iomap_bio_read_folio(folio, &IomapTable::<T::Read>::TABLE) };
        0
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn readahead(rac: *mut kernel::bindings::readahead_control) {
        let rac: *mut bindings::readahead_control = rac.cast();
        // SAFETY: the page cache passes a readahead request for a file of ours, whose inode it
        // holds. What is left in the request is given up by the caller.
        unsafe {
            let inode = (*(*rac).mapping).host;
            let (pos, len) = (
                bindings::readahead_pos(rac) as u64,
                bindings::readahead_length(rac),
            );
            match T::run(Inode::from_raw(inode), pos, len as u64) {
                Ok(Some(addr)) => readahead::read_run(rac, (*(*inode).i_sb).s_bdev, addr),
                Ok(None) => bindings::iomap_bio_readahead(rac, &IomapTable::<T::Read>::TABLE),
                Err(_) => (),
            }
        }
    }

    /// Swapping goes past the file system from then on: it is told where the blocks are, and they stay
    /// there, since nobody may change the map of a swap file. iomap has it on disk before, and wants no holes.
    ///
    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn swap_activate(
        info: *mut kernel::bindings::swap_info_struct,
        file: *mut bindings::file,
        span: *mut bindings::sector_t,
    ) -> c_int {
        // SAFETY: swapon(2) passes an open file of ours, whose i_rwsem it holds.
        unsafe {
            bindings::swapfile_activate(info.cast(), file, span, &IomapTable::<T::Report>::TABLE)
        }
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn bmap(
        mapping: *mut bindings::address_space,
        block: bindings::sector_t,
    ) -> bindings::sector_t {
        // SAFETY: the caller holds the inode of the mapping. What is written finds its place first; if
        // it cannot, it has none to tell of.
        unsafe {
            let _ = bindings::filemap_write_and_wait_range(mapping, 0, i64::MAX);
            bindings::iomap_bmap(mapping, block, &IomapTable::<T::Report>::TABLE)
        }
    }
}
