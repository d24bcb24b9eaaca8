// SPDX-License-Identifier: GPL-2.0

//! Writing to regular files: write(2) and its like, and stores to shared mappings.
//!
//! Data goes to the page cache, for which the file system reserves space ([`BufferedWrite`]);
//! [`super::writeback`] takes it to disk. What a direct write ([`super::direct`]) leaves over is written
//! there and then flushed.

use super::{
    bindings,
    file::FileOps,
    inode::Inode,
    iomap::{IomapTable, WriteTable},
};
use core::{marker::PhantomData, mem::MaybeUninit, ptr};
use kernel::{error::to_result, prelude::*};

pub(super) struct Writing<T: FileOps>(PhantomData<T>);

impl<T: FileOps> Writing<T> {
    const VM_OPS: bindings::vm_operations_struct = bindings::vm_operations_struct {
        fault: Some(bindings::filemap_fault),
        map_pages: Some(bindings::filemap_map_pages),
        page_mkwrite: Some(Self::page_mkwrite),
        // SAFETY: a table of optional function pointers; all-zero means none.
        ..unsafe { MaybeUninit::zeroed().assume_init() }
    };

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    pub(super) unsafe extern "C" fn write_iter(
        iocb: *mut bindings::kiocb,
        from: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: the VFS passes a valid request, which holds its file with its inode.
        unsafe {
            let raw = (*(*iocb).ki_filp).f_inode;
            let inode = Inode::<T::Fs>::from_raw(raw);
            if let Err(e) = T::may_write(inode) {
                return e.to_errno() as isize;
            }
            let untorn = (*iocb).ki_flags & bindings::IOCB_ATOMIC != 0;
            if untorn {
                if let Err(e) = Self::check_untorn(iocb, from, inode) {
                    return e.to_errno() as isize;
                }
            }
            let mut direct = 0;
            if (*iocb).ki_flags & bindings::IOCB_DIRECT != 0 && T::direct(inode) {
                direct = super::direct::write::<T>(iocb, from, inode);
                // What is left goes through the page cache, and to disk from there.
                let left = direct >= 0 && bindings::iov_iter_count(from) != 0;
                if !left {
                    return direct;
                }
            }
            if untorn {
                // It would be torn there. What is in the way may go.
                return EAGAIN.to_errno() as isize;
            }
            if (*iocb).ki_flags & bindings::IOCB_NOWAIT != 0 {
                // Writeback is waited for.
                let waits = (*iocb).ki_flags & bindings::IOCB_DIRECT != 0;
                if waits || bindings::inode_trylock(raw) == 0 {
                    return if direct > 0 {
                        direct
                    } else {
                        EAGAIN.to_errno() as isize
                    };
                }
            } else {
                bindings::inode_lock(raw);
            }
            if (*iocb).ki_flags & bindings::IOCB_DIRECT != 0 {
                // Parts of blocks are read, changed and written.
                bindings::inode_dio_wait(raw);
            }
            let mut written = Self::write_locked(iocb, from, inode);
            bindings::inode_unlock(raw);
            if (*iocb).ki_flags & bindings::IOCB_DIRECT != 0 {
                written = bindings::direct_write_fallback(iocb, from, direct, written);
            }
            if written <= 0 {
                return written;
            }
            bindings::generic_write_sync(iocb, written)
        }
    }

    /// Whether a write can be one that is not torn.
    ///
    /// Errors: EINVAL for one of another size or alignment; EOPNOTSUPP for one that is not direct.
    ///
    /// # Safety
    ///
    /// As `write_iter`.
    #[cold]
    unsafe fn check_untorn(
        iocb: *mut bindings::kiocb,
        from: *mut bindings::iov_iter,
        inode: &Inode<T::Fs>,
    ) -> Result {
        // SAFETY: by contract.
        unsafe {
            let size = T::untorn_size(inode).ok_or(EOPNOTSUPP)?;
            if bindings::iov_iter_count(from) as u64 != u64::from(size) {
                return Err(EINVAL);
            }
            to_result(bindings::generic_atomic_write_valid(iocb, from))
        }
    }

    /// # Safety
    ///
    /// As `write_iter`, with i_rwsem of `inode`, the file's, held for writing.
    unsafe fn write_locked(
        iocb: *mut bindings::kiocb,
        from: *mut bindings::iov_iter,
        inode: &Inode<T::Fs>,
    ) -> isize {
        // SAFETY: by contract.
        unsafe {
            let checked = bindings::generic_write_checks(iocb, from);
            if checked <= 0 {
                return checked;
            }
            let (pos, max) = ((*iocb).ki_pos, T::max_bytes(inode));
            let Some(room) = max.checked_sub(pos).filter(|room| *room > 0) else {
                return EFBIG.to_errno() as isize;
            };
            bindings::iov_iter_truncate(from, room as u64);
            let err = bindings::kiocb_modified(iocb);
            if err != 0 {
                return err as isize;
            }
            let rewritten = super::rewrite::rewrite(iocb, from, inode);
            if rewritten != 0 {
                // CAST: less than a block.
                return rewritten as isize;
            }
            let room = T::inline_room(inode);
            if room != 0 {
                match Self::write_inline(iocb, from, inode, room) {
                    Ok(None) => {}
                    // CAST: at most what a folio holds.
                    Ok(Some(written)) => return written as isize,
                    Err(e) => return e.to_errno() as isize,
                }
            }
            if pos as u64 > inode.size() {
                if (*iocb).ki_flags & bindings::IOCB_NOWAIT != 0 {
                    return EAGAIN.to_errno() as isize;
                }
                if let Err(e) = T::skip_to(inode, pos as u64) {
                    return e.to_errno() as isize;
                }
            }
            let mut tries = 0;
            loop {
                let written = bindings::iomap_file_buffered_write(
                    iocb,
                    from,
                    &IomapTable::<T::Write>::TABLE,
                    &WriteTable::<T::Write>::TABLE,
                    ptr::null_mut(),
                );
                let full = written == ENOSPC.to_errno() as isize
                    && (*iocb).ki_flags & bindings::IOCB_NOWAIT == 0;
                if !full || !T::may_retry(inode, &mut tries) {
                    return written;
                }
            }
        }
    }

    /// The write to a file that has its contents in the inode, or may come to: how much was written; `None`
    /// if it goes to blocks, and nothing has been written.
    ///
    /// # Safety
    ///
    /// As `write_locked`.
    #[cold]
    unsafe fn write_inline(
        iocb: *mut bindings::kiocb,
        from: *mut bindings::iov_iter,
        inode: &Inode<T::Fs>,
        room: usize,
    ) -> Result<Option<usize>> {
        // SAFETY: by contract. The buffer is as long as what is copied to it at most.
        unsafe {
            if (*iocb).ki_flags & bindings::IOCB_NOWAIT != 0 {
                return Err(EAGAIN);
            }
            let (pos, len) = ((*iocb).ki_pos, bindings::iov_iter_count(from));
            if (pos as u64).saturating_add(len as u64) <= room as u64 {
                let mut bytes = KVec::from_elem(0u8, len, GFP_KERNEL)?;
                // Before the lock: the source may be this very file, mapped.
                let copied = bindings::copy_from_iter(bytes.as_mut_ptr().cast(), len, from);
                let bytes = bytes.get(..copied).filter(|_| copied != 0).ok_or(EFAULT)?;
                let lock = inode.lock_invalidate();
                let written = T::write_inline(inode, pos as u64, bytes);
                drop(lock);
                if matches!(written, Ok(true)) {
                    (*iocb).ki_pos = pos.saturating_add(copied as i64);
                    return Ok(Some(copied));
                }
                bindings::iov_iter_revert(from, copied);
                written?;
            }
            let _lock = inode.lock_invalidate();
            T::leave_inode(inode)?;
            Ok(None)
        }
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    pub(super) unsafe extern "C" fn mmap_prepare(desc: *mut bindings::vm_area_desc) -> i32 {
        // SAFETY: the caller passes a description of its own, of a mapping of a file that it holds.
        unsafe {
            let inode = Inode::<T::Fs>::from_raw((*(*desc).file).f_inode);
            if let Err(e) = T::may_write(inode) {
                // A file that could be written to some other day.
                if bindings::forbid_shared_writes(desc) {
                    return e.to_errno();
                }
            }
            let err = bindings::generic_file_mmap_prepare(desc);
            if err == 0 {
                (*desc).vm_ops = &Self::VM_OPS;
            }
            err
        }
    }

    /// A page that is mapped and clean is going to be written to.
    ///
    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn page_mkwrite(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: the fault is one of a mapping of a file of ours, which the mapping holds.
        unsafe {
            let file = bindings::vmf_file(vmf);
            let raw = (*file).f_inode;
            let inode = Inode::<T::Fs>::from_raw(raw);
            if let Err(e) = T::may_write(inode) {
                return bindings::vmf_error(e.to_errno());
            }
            bindings::sb_start_pagefault((*raw).i_sb);
            let err = bindings::file_update_time(file);
            let ret = if err != 0 {
                bindings::vmf_error(err)
            } else {
                let lock = &raw mut (*(*raw).i_mapping).invalidate_lock;
                if T::inline_room(inode) == 0 {
                    bindings::down_read(lock);
                } else {
                    bindings::down_write(lock);
                    if let Err(e) = T::leave_inode(inode) {
                        bindings::up_write(lock);
                        bindings::sb_end_pagefault((*raw).i_sb);
                        return bindings::vmf_error(e.to_errno());
                    }
                    bindings::downgrade_write(lock);
                }
                let ret = bindings::iomap_page_mkwrite(
                    vmf,
                    &IomapTable::<T::Write>::TABLE,
                    ptr::null_mut(),
                );
                bindings::up_read(lock);
                ret
            };
            bindings::sb_end_pagefault((*raw).i_sb);
            ret
        }
    }
}
