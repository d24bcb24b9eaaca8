// SPDX-License-Identifier: GPL-2.0

//! Direct writes: from the caller's memory to the device, past the page cache.
//!
//! Writes of whole blocks take i_rwsem shared, unless they make the file longer: blocks that they fill
//! come into the file's map when they have been written, each bio by itself, in the same way and by
//! the same work as those of writeback ([`super::ioend`]). Others go to blocks that are written already
//! and inside of the file, or not at all: what is left over is the page cache's.
//!
//! Locking: i_rwsem is taken here. It is not held when an asynchronous write ends; who needs the file
//! as it is waits for direct I/O (`inode_dio_wait`).

use super::{
    bindings,
    file::FileOps,
    inode::Inode,
    ioend,
    iomap::{IomapOps, IomapTable},
    writeback::WritebackOps,
};
use core::{
    marker::PhantomData,
    mem::{offset_of, MaybeUninit},
    ptr,
    sync::atomic::{AtomicBool, Ordering},
};
use kernel::{error::to_result, ffi::c_int, ffi::c_uint, prelude::*, types::Opaque};

/// Mappings for direct writes.
pub(crate) trait DirectWrite: IomapOps {
    /// Who completes writes.
    type Writeback: WritebackOps<Fs = Self::Fs>;

    /// The write that began at byte `pos` of the device goes on in another I/O from byte `address` on: of
    /// one run that [`Iomap::set_filling`](super::iomap::Iomap::set_filling) was said of.
    fn split(inode: &Inode<Self::Fs>, address: u64);

    /// A write is about to make the file longer, from byte `pos` on. i_rwsem is held for writing.
    ///
    /// Errors: those of the write.
    fn before_growing(inode: &Inode<Self::Fs>, pos: u64) -> Result;

    /// All up to byte `end`, behind the end of the file, has been written: it is longer. i_rwsem is held
    /// for writing.
    fn grown(inode: &Inode<Self::Fs>, end: u64);

    /// A write that was to make the file longer has not got as far as it should: nothing is to be left
    /// behind its end. i_rwsem is held for writing.
    fn after_failing(inode: &Inode<Self::Fs>);
}

/// How many bios there are when there is no memory, as in iomap's own set.
const RESERVE: c_uint = 32;

/// Where bios of direct writes come from. They are ioends, since they may need completion. iomap has a
/// set for those, but one that always asks the slab; here each processor keeps some.
#[repr(transparent)]
struct Bios(Opaque<bindings::bio_set>);

// SAFETY: a set is made to be used by all processors.
unsafe impl Sync for Bios {}

static BIOS: Bios = {
    // SAFETY: zero is a valid value, of a set that has not been initialised.
    Bios(Opaque::new(unsafe { MaybeUninit::zeroed().assume_init() }))
};

/// Whether there is a [`BiosGuard`].
static IN_USE: AtomicBool = AtomicBool::new(false);

/// As long as there is this one, files can be written to directly.
pub(crate) struct BiosGuard(());

impl BiosGuard {
    /// Gets the memory. Once at a time.
    ///
    /// Errors: ENOMEM; EBUSY if there is one.
    pub(crate) fn new() -> Result<Self> {
        if IN_USE.swap(true, Ordering::Relaxed) {
            return Err(EBUSY);
        }
        let front = offset_of!(bindings::iomap_ioend, io_bio) as c_uint;
        let flags = bindings::BIOSET_NEED_BVECS | bindings::BIOSET_PERCPU_CACHE;
        // SAFETY: the set is zeroed or has been given up, and nobody else has it.
        let made = unsafe { bindings::bioset_init(BIOS.0.get(), RESERVE, front, flags as c_int) };
        to_result(made).inspect_err(|_| IN_USE.store(false, Ordering::Relaxed))?;
        Ok(Self(()))
    }
}

impl Drop for BiosGuard {
    fn drop(&mut self) {
        // SAFETY: initialised. iomap has put each bio before its write ends, and a write keeps its file,
        // whose superblock keeps the module.
        unsafe { bindings::bioset_exit(BIOS.0.get()) };
        IN_USE.store(false, Ordering::Relaxed);
    }
}

/// A write that its caller waits for.
struct Waited {
    /// The byte at which it ends.
    end: u64,
}

struct DirectTable<D: DirectWrite>(PhantomData<D>);

impl<D: DirectWrite> DirectTable<D> {
    const TABLE: bindings::iomap_dio_ops = bindings::iomap_dio_ops {
        end_io: Some(ended::<D>),
        submit_io: Some(submit::<D>),
        bio_set: (&raw const BIOS).cast_mut().cast(),
    };
}

/// `submit_io`.
///
/// # Safety
///
/// For iomap only, with a bio of our `bio_set` that has not been submitted, and a private pointer that is
/// null or a [`Waited`].
unsafe extern "C" fn submit<D: DirectWrite>(
    iter: *const bindings::iomap_iter,
    bio: *mut bindings::bio,
    pos: i64,
) {
    // SAFETY: by contract; iomap's iterator holds the inode.
    unsafe {
        let iomap = &(*iter).iomap;
        let raw = (*iter).inode;
        let inode = Inode::from_raw(raw);
        let len = u64::from((*bio).bi_iter.bi_size);
        let (start, end) = (pos as u64, (pos as u64).saturating_add(len));
        let fills = u32::from(iomap.flags) & bindings::IOMAP_F_SHARED != 0;
        let unwritten = u32::from(iomap.type_) == bindings::IOMAP_UNWRITTEN;
        if fills || unwritten || D::Writeback::wants_completion(inode, start, end) {
            let mut flags = bindings::IOMAP_IOEND_DIRECT;
            if fills {
                flags |= bindings::IOMAP_IOEND_SHARED;
                let into = end.saturating_sub(iomap.offset as u64);
                if into < iomap.length {
                    D::split(inode, iomap.addr.saturating_add(into));
                }
            }
            if unwritten {
                flags |= bindings::IOMAP_IOEND_UNWRITTEN;
            }
            let ioend = bindings::iomap_init_ioend(raw, bio, pos, flags as u16);
            ioend::note_len(ioend);
            let waited: *const Waited = (*iter).private.cast();
            if !waited.is_null() && (*waited).end == end {
                // The last one: who waits for it may as well complete it.
                ioend::submit_and_complete::<D::Writeback>(ioend);
                return;
            }
            ioend::complete_by::<D::Writeback>(ioend);
        }
        bindings::submit_bio(bio);
    }
}

/// `end_io`: all of the write has ended.
///
/// # Safety
///
/// For iomap only.
unsafe extern "C" fn ended<D: DirectWrite>(
    iocb: *mut bindings::kiocb,
    size: isize,
    error: c_int,
    _flags: c_uint,
) -> c_int {
    // SAFETY: iomap passes the request, which holds its file.
    unsafe {
        let inode = Inode::<D::Fs>::from_raw((*(*iocb).ki_filp).f_inode);
        let end = ((*iocb).ki_pos as u64).saturating_add(size as u64);
        // A write that makes the file longer is waited for by who holds the lock.
        if error == 0 && size > 0 && end > inode.size() {
            D::grown(inode, end);
        }
    }
    error
}

/// Takes i_rwsem.
///
/// # Safety
///
/// `inode` is held.
unsafe fn lock(inode: *mut bindings::inode, exclusive: bool, nowait: bool) -> Result {
    // SAFETY: by contract.
    unsafe {
        match (exclusive, nowait) {
            (true, false) => bindings::inode_lock(inode),
            (false, false) => bindings::inode_lock_shared(inode),
            (true, true) if bindings::inode_trylock(inode) == 0 => return Err(EAGAIN),
            (false, true) if bindings::inode_trylock_shared(inode) == 0 => return Err(EAGAIN),
            _ => {}
        }
    }
    Ok(())
}

/// # Safety
///
/// Taken by [`lock`].
unsafe fn unlock(inode: *mut bindings::inode, exclusive: bool) {
    // SAFETY: by contract.
    unsafe {
        if exclusive {
            bindings::inode_unlock(inode);
        } else {
            bindings::inode_unlock_shared(inode);
        }
    }
}

/// Writes as much of `from` as can be written directly: how much, or an error.
///
/// # Safety
///
/// `iocb` is a valid direct write, of a file with `inode`; no lock is held.
pub(super) unsafe fn write<T: FileOps>(
    iocb: *mut bindings::kiocb,
    from: *mut bindings::iov_iter,
    inode: &Inode<T::Fs>,
) -> isize {
    let raw = inode.as_raw();
    // SAFETY: by contract.
    unsafe {
        let nowait = (*iocb).ki_flags & bindings::IOCB_NOWAIT != 0;
        let append = (*iocb).ki_flags & bindings::IOCB_APPEND != 0;
        let grows = || {
            let end = ((*iocb).ki_pos as u64).saturating_add(bindings::iov_iter_count(from) as u64);
            append || end > inode.size() || !bindings::is_nosec(raw)
        };
        let mut exclusive = grows();
        loop {
            if let Err(e) = lock(raw, exclusive, nowait) {
                return e.to_errno() as isize;
            }
            if exclusive || !grows() {
                break;
            }
            unlock(raw, exclusive);
            exclusive = true;
        }
        let written = write_locked::<T>(iocb, from, inode, exclusive);
        unlock(raw, exclusive);
        written
    }
}

/// [`write`] with i_rwsem held.
///
/// # Safety
///
/// As there.
unsafe fn write_locked<T: FileOps>(
    iocb: *mut bindings::kiocb,
    from: *mut bindings::iov_iter,
    inode: &Inode<T::Fs>,
    exclusive: bool,
) -> isize {
    // SAFETY: by contract.
    unsafe {
        if !T::direct(inode) {
            // Not any more.
            return 0;
        }
        let checked = bindings::generic_write_checks(iocb, from);
        if checked <= 0 {
            return checked;
        }
        let pos = (*iocb).ki_pos;
        let room = T::max_bytes(inode)
            .checked_sub(pos)
            .filter(|room| *room > 0);
        let Some(room) = room else {
            return EFBIG.to_errno() as isize;
        };
        bindings::iov_iter_truncate(from, room as u64);
        let count = bindings::iov_iter_count(from);
        let (pos, end) = (pos as u64, (pos as u64).saturating_add(count as u64));
        let mask = (inode.super_block().block_size() as u64).saturating_sub(1);
        let whole = (pos | count as u64) & mask == 0;
        let grows = end > inode.size();
        if !whole && (*iocb).ki_flags & bindings::IOCB_ATOMIC != 0 {
            // By O_APPEND, or a limit, it has become another one than was checked.
            return EINVAL.to_errno() as isize;
        }
        if !whole && grows {
            // A part of a block that is not there yet is for the page cache to put together.
            return 0;
        }
        let err = bindings::kiocb_modified(iocb);
        if err != 0 {
            return err as isize;
        }
        let mut flags = if whole {
            bindings::IOMAP_DIO_FSBLOCK_ALIGNED
        } else {
            bindings::IOMAP_DIO_OVERWRITE_ONLY
        };
        if grows {
            if (*iocb).ki_flags & bindings::IOCB_NOWAIT != 0 {
                return EAGAIN.to_errno() as isize;
            }
            if let Err(e) = T::DirectWrite::before_growing(inode, pos) {
                return e.to_errno() as isize;
            }
            flags |= bindings::IOMAP_DIO_FORCE_WAIT;
        }
        let nowait = (*iocb).ki_flags & bindings::IOCB_NOWAIT != 0;
        if (*iocb).ki_flags & bindings::IOCB_DSYNC != 0 {
            // What follows when it has ended waits for completions, so it is not for who completes.
            flags |= bindings::IOMAP_DIO_FORCE_WAIT;
        }
        let forced = flags & bindings::IOMAP_DIO_FORCE_WAIT != 0;
        if forced {
            // Who waits does not poll.
            (*iocb).ki_flags &= !bindings::IOCB_HIPRI;
        }
        let sync = (*iocb).ki_complete.is_none() || forced;
        let mut waited = Waited { end };
        let private = if sync && !nowait {
            (&raw mut waited).cast()
        } else {
            ptr::null_mut()
        };
        let written = bindings::iomap_dio_rw(
            iocb,
            from,
            &IomapTable::<T::DirectWrite>::TABLE,
            &DirectTable::<T::DirectWrite>::TABLE,
            flags,
            private,
            0,
        );
        // The request may be gone if it goes on by itself.
        let not_here = written == -(bindings::ENOTBLK as isize);
        if grows && exclusive && written != count as isize && !not_here {
            T::DirectWrite::after_failing(inode);
        }
        let refused = not_here || (!whole && !nowait && written == EAGAIN.to_errno() as isize);
        if refused {
            // What has been written is written again.
            let used = count.saturating_sub(bindings::iov_iter_count(from));
            bindings::iov_iter_revert(from, used);
            return 0;
        }
        written
    }
}
