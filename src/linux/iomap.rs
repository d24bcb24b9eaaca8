// SPDX-License-Identifier: GPL-2.0

//! iomap: where the bytes of a file are.
//!
//! A file system implements [`IomapOps::begin`], once per purpose (reading, reporting, xattrs);
//! this module makes the C table of it. The form is 7.3's `iomap_next`: one callback that ends
//! the mapping before and begins the next, here without an indirect call between the two.

use super::{bindings, fs_type::FileSystem, inode::Inode};
use core::{marker::PhantomData, ptr};
use kernel::{
    ffi::{c_int, c_uint},
    prelude::*,
};

/// Maps ranges of a file.
pub(crate) trait IomapOps: 'static {
    /// The file system.
    type Fs: FileSystem;

    /// Describes the bytes of `inode` from `pos` on, at most `len` of them as far as the caller
    /// is concerned: the mapping must contain `pos` and may be longer or shorter.
    ///
    /// May sleep unless [`Request::nowait`] is set (then EAGAIN). Called with or without i_rwsem,
    /// under a folio lock or not: it must not touch either.
    fn begin(
        inode: &Inode<Self::Fs>,
        pos: u64,
        len: u64,
        request: Request,
        out: &mut Iomap<'_>,
    ) -> Result;
}

/// What a mapping is wanted for (`IOMAP_*`).
#[derive(Clone, Copy)]
pub(crate) struct Request(u32);

impl Request {
    /// The caller cannot sleep.
    #[inline]
    pub(crate) fn nowait(self) -> bool {
        self.0 & bindings::IOMAP_NOWAIT != 0
    }

    /// Anything that would change the file.
    #[inline]
    pub(crate) fn writes(self) -> bool {
        self.0 & (bindings::IOMAP_WRITE | bindings::IOMAP_ZERO) != 0
    }
}

/// A mapping to be filled in. It starts as zeroes: a hole of no length.
pub(crate) struct Iomap<'a> {
    raw: &'a mut bindings::iomap,
}

/// Kinds of a mapping that has an address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placed {
    /// Holds data.
    Mapped,
    /// Allocated and to be read as zeroes.
    Unwritten,
}

impl Iomap<'_> {
    /// A hole: `len` bytes from `offset` on.
    #[inline]
    pub(crate) fn hole(&mut self, offset: u64, len: u64) {
        self.raw.type_ = bindings::IOMAP_HOLE as u16;
        self.raw.addr = u64::MAX; // IOMAP_NULL_ADDR
        self.raw.offset = offset as i64;
        self.raw.length = len;
    }

    /// Allocated space: `len` bytes from `offset` on are at byte `addr` of the device.
    #[inline]
    pub(crate) fn placed(&mut self, kind: Placed, addr: u64, offset: u64, len: u64) {
        self.raw.type_ = match kind {
            Placed::Mapped => bindings::IOMAP_MAPPED,
            Placed::Unwritten => bindings::IOMAP_UNWRITTEN,
        } as u16;
        self.raw.addr = addr;
        self.raw.offset = offset as i64;
        self.raw.length = len;
    }

    /// Data inside the inode: the whole file, `data`, from offset 0 on, which is at byte `addr`
    /// of the device. The memory is freed when iomap is done with the mapping.
    pub(crate) fn inline(&mut self, addr: u64, data: KVec<u8>) {
        self.raw.type_ = bindings::IOMAP_INLINE as u16;
        self.raw.addr = addr;
        self.raw.offset = 0;
        self.raw.length = data.len() as u64;
        let (ptr, _len, _cap) = data.into_raw_parts();
        self.raw.inline_data = ptr.cast();
        self.raw.private = ptr.cast();
    }

    /// Data inside the inode that only a report wants: no contents.
    pub(crate) fn inline_report(&mut self, addr: u64, len: u64) {
        self.raw.type_ = bindings::IOMAP_INLINE as u16;
        self.raw.addr = addr;
        self.raw.offset = 0;
        self.raw.length = len;
    }

    /// Marks the mapping as merged from several extents.
    #[inline]
    pub(crate) fn set_merged(&mut self) {
        self.raw.flags |= bindings::IOMAP_F_MERGED as u16;
    }

    /// Marks the mapping as fs-verity metadata, which is beyond the end of the file.
    #[inline]
    pub(crate) fn set_verity(&mut self) {
        self.raw.flags |= bindings::IOMAP_F_FSVERITY as u16;
    }

    /// The value of the mapping's sequence under which the lookup was made.
    #[inline]
    pub(crate) fn set_cookie(&mut self, cookie: u64) {
        self.raw.validity_cookie = cookie;
    }
}

/// The C table for `T`.
pub(super) struct IomapTable<T: IomapOps>(PhantomData<T>);

impl<T: IomapOps> IomapTable<T> {
    pub(super) const TABLE: bindings::iomap_ops = bindings::iomap_ops {
        iomap_begin: None,
        iomap_end: None,
        iomap_next: Some(next::<T>),
    };
}

/// `iomap_iter_begin_fn` of `T`.
///
/// # Safety
///
/// For iomap only: `inode` held, of `T::Fs`; `iomap` zeroed.
#[inline]
pub(super) unsafe extern "C" fn begin<T: IomapOps>(
    inode: *mut bindings::inode,
    pos: i64,
    len: i64,
    flags: c_uint,
    iomap: *mut bindings::iomap,
    _srcmap: *mut bindings::iomap,
) -> c_int {
    // SAFETY: the caller's contract; the device of a superblock never changes.
    unsafe {
        (*iomap).bdev = (*(*inode).i_sb).s_bdev;
        match T::begin(
            Inode::from_raw(inode),
            pos as u64,
            len as u64,
            Request(flags),
            &mut Iomap { raw: &mut *iomap },
        ) {
            Ok(()) => 0,
            Err(e) => e.to_errno(),
        }
    }
}

/// `iomap_next` of `T`.
///
/// # Safety
///
/// For the kernel only, with the arguments that this operation is documented to get.
unsafe extern "C" fn next<T: IomapOps>(
    iter: *const bindings::iomap_iter,
    iomap: *mut bindings::iomap,
    srcmap: *mut bindings::iomap,
) -> c_int {
    // SAFETY: iomap passes its iterator and the two mappings inside it.
    unsafe {
        if (*iomap).length != 0 {
            if !(*iomap).private.is_null() {
                // The only user of `private` is `Iomap::inline`.
                bindings::kfree((*iomap).private);
                (*iomap).private = ptr::null_mut();
                (*iomap).inline_data = ptr::null_mut();
            }
            let ret = bindings::iomap_iter_continue(iter, iomap, srcmap, 0);
            if ret <= 0 {
                return ret;
            }
        }
        let ret = begin::<T>(
            (*iter).inode,
            (*iter).pos,
            (*iter).len as i64,
            (*iter).flags,
            iomap,
            srcmap,
        );
        if ret < 0 {
            ret
        } else {
            1
        }
    }
}

/// Reports the extents of `inode` in `start..start + len` (bytes) as `T` maps them.
///
/// Errors: those of `T::begin`, EINVAL for flags that are not known, EFAULT.
pub(crate) fn fiemap<T: IomapOps>(
    inode: &Inode<T::Fs>,
    info: &mut super::fiemap::FiemapInfo<'_>,
    start: u64,
    len: u64,
) -> Result {
    // SAFETY: the inode is held; `info` is the VFS's for this call. The lock keeps the extents in
    // place while they are reported.
    let ret = inode.with_shared_lock(|| unsafe {
        bindings::iomap_fiemap(
            inode.as_raw(),
            info.as_raw(),
            start,
            len,
            &IomapTable::<T>::TABLE,
        )
    });
    super::super_block::check(ret)
}
