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

    /// Whether [`end`](Self::end) does anything.
    const ENDS: bool = false;

    /// The mapping `done`, of which `len` bytes from `pos` on were asked for, has served for the
    /// first `written` of them. Called with the locks that `begin` was, and no folio locked.
    fn end(
        _inode: &Inode<Self::Fs>,
        _pos: u64,
        _len: u64,
        _written: u64,
        _request: Request,
        _done: &mut Iomap<'_>,
    ) -> Result {
        Ok(())
    }
}

/// Mappings for writing to the page cache.
pub(crate) trait BufferedWrite: IomapOps {
    /// Whether the inode's mappings are as they were when one was made with this cookie. The folio
    /// that is written to is locked.
    fn is_valid(inode: &Inode<Self::Fs>, cookie: u64) -> bool;

    /// Nobody will write to the bytes `from..to`, whole blocks: what has been reserved for them, and
    /// not used, is given back. A folio may be locked.
    fn punch(inode: &Inode<Self::Fs>, from: u64, to: u64);
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

    /// Bytes are to be cleared: where there are none, nothing is to be done.
    #[inline]
    pub(crate) fn clears(self) -> bool {
        self.0 & bindings::IOMAP_ZERO != 0
    }

    /// Only what is written already is wanted.
    #[inline]
    pub(crate) fn overwrites(self) -> bool {
        self.0 & bindings::IOMAP_OVERWRITE_ONLY != 0
    }

    /// A write that is not to be torn.
    #[inline]
    pub(crate) fn is_untorn(self) -> bool {
        self.0 & bindings::IOMAP_ATOMIC != 0
    }

    /// A page fault; the folio is locked.
    #[inline]
    pub(crate) fn is_fault(self) -> bool {
        self.0 & bindings::IOMAP_FAULT != 0
    }

    /// Anything that would change the file.
    #[inline]
    pub(crate) fn writes(self) -> bool {
        self.0 & (bindings::IOMAP_WRITE | bindings::IOMAP_ZERO) != 0
    }
}

/// A mapping to be filled in. It starts as zeroes: a hole of no length.
///
/// # Invariants
///
/// `iter` is null, or the iterator that the mapping is for.
pub(crate) struct Iomap<'a> {
    raw: &'a mut bindings::iomap,
    iter: *mut bindings::iomap_iter,
}

/// Kinds of a mapping that has an address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placed {
    /// Holds data.
    Mapped,
    /// Allocated and to be read as zeroes.
    Unwritten,
}

impl<'a> Iomap<'a> {
    /// A mapping of zeroes.
    #[inline]
    pub(super) fn new(raw: &'a mut bindings::iomap) -> Self {
        // INVARIANT: there is none that we know of.
        Self {
            raw,
            iter: ptr::null_mut(),
        }
    }

    /// For clearing, of a mapping of which nothing is on disk: has iomap go through those folios of the
    /// bytes `from..to` only that are dirty or being written. Where the mapping has to end: at `to`, or
    /// before, when there are many. Does not sleep. Whoever could make the mapping another one by writing is
    /// kept out.
    pub(crate) fn clear_dirty_folios(&mut self, from: u64, to: u64) -> u64 {
        if self.iter.is_null() {
            return to;
        }
        let (mut upto, mut flags) = (from as i64, 0);
        // SAFETY: by the type invariant; the batch of the iterator, if it has one, is empty as long as
        // there is no mapping.
        unsafe {
            bindings::iomap_fill_dirty_folios(self.iter, &mut upto, to as i64, &mut flags);
        }
        self.raw.flags |= flags as u16;
        to.min(upto as u64)
    }

    /// Reserved space: `len` bytes from `offset` on. With `new` it has just been reserved for this
    /// mapping.
    #[inline]
    pub(crate) fn delayed(&mut self, offset: u64, len: u64, new: bool) {
        self.raw.type_ = bindings::IOMAP_DELALLOC as u16;
        self.raw.addr = u64::MAX; // IOMAP_NULL_ADDR
        self.raw.offset = offset as i64;
        self.raw.length = len;
        if new {
            self.raw.flags |= bindings::IOMAP_F_NEW as u16;
        }
    }

    /// Says of a mapping with an address that its blocks are not the file's yet: the write has to be
    /// completed, see [`Ended::fills`](super::ioend::Ended).
    ///
    /// iomap's word is "shared": blocks that become the file's when the write has completed, which is
    /// what copy-on-write file systems mean by it.
    #[inline]
    pub(crate) fn set_filling(&mut self) {
        self.raw.flags |= bindings::IOMAP_F_SHARED as u16;
    }

    /// Says that more than data has to get to disk before a write to this mapping has lasted.
    #[inline]
    pub(crate) fn set_dirty(&mut self) {
        self.raw.flags |= bindings::IOMAP_F_DIRTY as u16;
    }

    /// Says that the device is to write what is written to this mapping whole or not at all.
    #[inline]
    pub(crate) fn set_untorn(&mut self) {
        self.raw.flags |= bindings::IOMAP_F_ATOMIC_BIO as u16;
    }

    /// Whether space has just been reserved for it.
    #[inline]
    pub(crate) fn is_new(&self) -> bool {
        u32::from(self.raw.flags) & bindings::IOMAP_F_NEW != 0
    }

    /// What has been said of a mapping by [`set_filling`](Self::set_filling): where it begins in the file, its
    /// length, and where it is on the device, all in bytes. `None` for others.
    pub(crate) fn filling(&self) -> Option<(u64, u64, u64)> {
        let shared = u32::from(self.raw.flags) & bindings::IOMAP_F_SHARED != 0;
        shared.then_some((self.raw.offset as u64, self.raw.length, self.raw.addr))
    }

    /// Says that an I/O to this mapping must not be one with that to the mapping before.
    #[inline]
    pub(crate) fn set_alone(&mut self) {
        self.raw.flags |= bindings::IOMAP_F_BOUNDARY as u16;
    }

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
    // SAFETY: by contract.
    unsafe { begin_for::<T>(inode, pos, len, flags, iomap, ptr::null_mut()) }
}

/// [`begin`], of a mapping for `iter`.
///
/// # Safety
///
/// As there; `iter` is null or the iterator that `iomap` is of.
#[inline]
unsafe fn begin_for<T: IomapOps>(
    inode: *mut bindings::inode,
    pos: i64,
    len: i64,
    flags: c_uint,
    iomap: *mut bindings::iomap,
    iter: *mut bindings::iomap_iter,
) -> c_int {
    // SAFETY: the caller's contract; the device of a superblock never changes. INVARIANT: as well.
    unsafe {
        (*iomap).bdev = (*(*inode).i_sb).s_bdev;
        match T::begin(
            Inode::from_raw(inode),
            pos as u64,
            len as u64,
            Request(flags),
            &mut Iomap {
                raw: &mut *iomap,
                iter,
            },
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
            let mut ended = 0;
            if T::ENDS {
                let start = (*iter).iter_start_pos;
                let advanced = (*iter).pos.wrapping_sub(start) as u64;
                let len = (*iter).len.saturating_add(advanced);
                let end = ((*iomap).offset as u64).saturating_add((*iomap).length);
                let result = T::end(
                    Inode::from_raw((*iter).inode),
                    start as u64,
                    len.min(end.saturating_sub(start as u64)),
                    advanced,
                    Request((*iter).flags),
                    &mut Iomap::new(&mut *iomap),
                );
                ended = result.err().map_or(0, |e| e.to_errno());
            }
            let ret = bindings::iomap_iter_continue(iter, iomap, srcmap, ended);
            if ret <= 0 {
                return ret;
            }
        }
        let ret = begin_for::<T>(
            (*iter).inode,
            (*iter).pos,
            (*iter).len as i64,
            (*iter).flags,
            iomap,
            // The mapping is part of it, which may be changed, therefore, as iomap's own function does.
            kernel::container_of!(iomap, bindings::iomap_iter, iomap),
        );
        if ret < 0 {
            ret
        } else {
            1
        }
    }
}

/// `iomap_write_ops` of `W`.
pub(super) struct WriteTable<W: BufferedWrite>(PhantomData<W>);

impl<W: BufferedWrite> WriteTable<W> {
    pub(super) const TABLE: bindings::iomap_write_ops = bindings::iomap_write_ops {
        get_folio: None,
        put_folio: None,
        iomap_valid: Some(is_valid::<W>),
        read_folio_range: None,
    };
}

/// # Safety
///
/// For iomap only.
unsafe extern "C" fn is_valid<W: BufferedWrite>(
    inode: *mut bindings::inode,
    iomap: *const bindings::iomap,
) -> bool {
    // SAFETY: iomap passes the inode that it writes to, which its caller holds, and its mapping.
    unsafe { W::is_valid(Inode::from_raw(inode), (*iomap).validity_cookie) }
}

/// # Safety
///
/// For iomap only.
unsafe extern "C" fn punch<W: BufferedWrite>(
    inode: *mut bindings::inode,
    offset: i64,
    len: i64,
    _iomap: *mut bindings::iomap,
) {
    let from = offset as u64;
    // SAFETY: as above.
    unsafe {
        W::punch(
            Inode::from_raw(inode),
            from,
            from.saturating_add(len as u64),
        )
    };
}

/// Gives back what was reserved for a write of `len` bytes at `pos` and has not been used, since only
/// the first `written` bytes were: for [`IomapOps::end`].
pub(crate) fn release_unused<W: BufferedWrite>(
    inode: &Inode<W::Fs>,
    pos: u64,
    len: u64,
    written: u64,
    request: Request,
    done: &mut Iomap<'_>,
) {
    let raw = &mut *done.raw;
    let reserved = u32::from(raw.type_) == bindings::IOMAP_DELALLOC
        && u32::from(raw.flags) & bindings::IOMAP_F_NEW != 0;
    if !reserved || written >= len {
        return;
    }
    let mask = (inode.super_block().block_size() as u64).saturating_sub(1);
    let up = |bytes: u64| bytes.saturating_add(mask) & !mask;
    let from = if written == 0 {
        pos & !mask
    } else {
        up(pos.saturating_add(written))
    };
    let to = up(pos.saturating_add(len));
    if from >= to || request.is_fault() {
        return;
    }
    // Who clears bytes holds the lock.
    let _lock = (!request.clears()).then(|| inode.lock_invalidate());
    // SAFETY: the inode is held, and the lock as well.
    unsafe {
        bindings::iomap_write_delalloc_release(
            inode.as_raw(),
            from as i64,
            to as i64,
            request.0,
            raw,
            Some(punch::<W>),
        );
    }
}

/// Clears the bytes `pos..pos + len` of a file in the page cache, where there is anything: they are
/// dirty then. i_rwsem and the invalidate lock are held for writing; not inside a handle.
///
/// Errors: those of `W`, EIO from reading.
pub(crate) fn clear_range<W: BufferedWrite>(
    inode: &Inode<W::Fs>,
    _outside: &super::jbd2::NoHandle,
    pos: u64,
    len: u64,
) -> Result<bool> {
    let mut cleared = false;
    // SAFETY: the inode is held; offsets below the largest file size.
    super::super_block::check(unsafe {
        bindings::iomap_zero_range(
            inode.as_raw(),
            pos as i64,
            len as i64,
            &mut cleared,
            &IomapTable::<W>::TABLE,
            &WriteTable::<W>::TABLE,
            ptr::null_mut(),
        )
    })?;
    Ok(cleared)
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
