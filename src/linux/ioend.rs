// SPDX-License-Identifier: GPL-2.0

//! Completions of writes that the file system has something to do for.
//!
//! The last step of such a write (a transaction, which sleeps) is done by whoever waits for it
//! ([`submit_and_complete`], direct writes), or else by a work item of the inode's, on a workqueue of the
//! superblock's that makes progress when memory is short: folios stay under writeback until then, and reclaim
//! waits for them.
//!
//! What has ended is on a list of the inode's, which is a stack of ioends. Whoever puts the first
//! one on it queues the work item; the work takes all there are at once. So the item is queued just
//! as long as the list is not empty, and while there is an ioend there is a folio under writeback, or a
//! direct write, which keep the inode: the work must not touch the inode any more once it has finished
//! the last ioend of those that it has taken.
//!
//! No lock: the list's head is an atomic pointer.

use super::{bindings, inode::Inode, nofs::NoFs, writeback::WritebackOps};
use core::{
    marker::PhantomData,
    ptr::{self, NonNull},
    sync::atomic::{AtomicPtr, Ordering},
};
use kernel::{
    ffi::{c_int, c_void},
    prelude::*,
    static_lock_class,
    types::Opaque,
};

/// Writes of an inode that have ended; part of the inode's slab object.
///
/// # Invariants
///
/// The list is one of ioends that belong to us, each linked through `io_list.next`. `work` is
/// initialised if the inode is a regular file.
pub(super) struct Completions {
    first: AtomicPtr<bindings::iomap_ioend>,
    work: Opaque<bindings::work_struct>,
}

impl Completions {
    /// No completions, of an inode that is no regular file (yet).
    pub(super) const fn new() -> Self {
        Self {
            first: AtomicPtr::new(ptr::null_mut()),
            work: Opaque::uninit(),
        }
    }

    /// Prepares the work item, for completions of `W`.
    ///
    /// # Safety
    ///
    /// `this` is where it stays, nothing has been queued, and it is found by
    /// [`inode::completions`](super::inode::completions) of an inode of `W::Fs`.
    pub(super) unsafe fn prepare<W: WritebackOps>(this: *const Self) {
        // SAFETY: by contract the place is pinned and not in use.
        unsafe {
            bindings::init_work_with_key(
                Opaque::cast_into(&raw const (*this).work),
                Some(run::<W>),
                false,
                c"rext4 completion".as_char_ptr(),
                static_lock_class!().as_ptr(),
            );
        }
    }

    /// Adds an ioend. Whether it is the first one.
    ///
    /// # Safety
    ///
    /// It is the caller's to give away.
    unsafe fn push(&self, ioend: *mut bindings::iomap_ioend) -> bool {
        let mut first = self.first.load(Ordering::Relaxed);
        loop {
            // SAFETY: it is ours until the exchange has worked.
            unsafe { (*ioend).io_list.next = first.cast() };
            match self.first.compare_exchange_weak(
                first,
                ioend,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return first.is_null(),
                Err(now) => first = now,
            }
        }
    }
}

/// Has `ioend` completed by `W` when its I/O has ended.
///
/// # Safety
///
/// It has not been submitted; its inode is a regular file of `W::Fs` that was given `W`.
pub(super) unsafe fn complete_by<W: WritebackOps>(ioend: *mut bindings::iomap_ioend) {
    // SAFETY: by contract.
    unsafe { (*ioend).io_bio.bi_end_io = Some(ended::<W>) };
}

/// `bi_end_io`: any context.
///
/// # Safety
///
/// For the block layer only, with the bio of an ioend of a regular file that was given `W`.
unsafe extern "C" fn ended<W: WritebackOps>(bio: *mut bindings::bio) {
    // SAFETY: by contract. The ioend, with its folios under writeback, keeps the inode until the
    // work has run, which it cannot before it is queued, or whoever was first has queued it.
    unsafe {
        let ioend = kernel::container_of!(bio, bindings::iomap_ioend, io_bio);
        (*ioend).io_error = bindings::blk_status_to_errno((*bio).bi_status);
        let inode = (*ioend).io_inode;
        let completions = super::inode::completions::<W::Fs>(inode);
        let queue = Inode::<W::Fs>::from_raw(inode).super_block().completions();
        if (*completions).push(ioend) {
            bindings::queue_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                queue.as_ptr(),
                Opaque::cast_into(&raw const (*completions).work),
            );
        }
    }
}

/// The work.
///
/// # Safety
///
/// For the workqueue only, with the `work` of an inode of `W::Fs`.
unsafe extern "C" fn run<W: WritebackOps>(work: *mut bindings::work_struct) {
    // SAFETY: by contract; see the module's head for who keeps the inode.
    unsafe {
        let place = Opaque::cast_from(work.cast_const());
        let completions = kernel::container_of!(place, Completions, work);
        let inode = super::inode::of_completions::<W::Fs>(completions);
        let mut first = (*completions)
            .first
            .swap(ptr::null_mut(), Ordering::Acquire);
        let mut list = bindings::list_head::default();
        list.next = &raw mut list;
        list.prev = &raw mut list;
        while let Some(ioend) = NonNull::new(first) {
            let ioend = ioend.as_ptr();
            first = (*ioend).io_list.next.cast();
            bindings::list_add_head(&raw mut (*ioend).io_list, &raw mut list);
        }
        bindings::iomap_sort_ioends(&raw mut list);
        finish::<W>(inode, &raw mut list);
    }
}

/// Completes the ioends of `list`, at least one.
///
/// # Safety
///
/// They are of `inode`, which is one of `W::Fs` that they keep, and ours; they have ended.
unsafe fn finish<W: WritebackOps>(inode: *mut bindings::inode, list: *mut bindings::list_head) {
    // SAFETY: by contract.
    unsafe {
        {
            // The folios wait for us, so memory must not wait for them.
            let _nofs = NoFs::new();
            let batch = Batch {
                list,
                _p: PhantomData,
            };
            W::complete(Inode::from_raw(inode), &batch);
        }
        // From the second one on the inode may be gone.
        loop {
            let next = (*list).next;
            if next == list {
                break;
            }
            let ioend = kernel::container_of!(next, bindings::iomap_ioend, io_list);
            bindings::list_unlink(&raw mut (*ioend).io_list);
            bindings::iomap_finish_ioends(ioend, (*ioend).io_error);
        }
    }
}

/// Submits a direct write, waits for it, and completes it by `W`, in the calling task: what the work would
/// do is done without going to it and back. May sleep; not inside a handle.
///
/// # Safety
///
/// As [`complete_by`]; the caller keeps the inode.
pub(super) unsafe fn submit_and_complete<W: WritebackOps>(ioend: *mut bindings::iomap_ioend) {
    let mut done = bindings::completion::default();
    // SAFETY: by contract; the completion stays here until it has been waited for, and the ioend is ours
    // again then.
    unsafe {
        bindings::begin_completion(&mut done);
        // There is room for that as long as it is on no list.
        (*ioend).io_list.next = (&raw mut done).cast();
        (*ioend).io_bio.bi_end_io = Some(ended_here);
        bindings::submit_bio(&raw mut (*ioend).io_bio);
        // To the device by this task, and not by a work that is queued when it goes to sleep.
        bindings::finish_plug_here();
        bindings::wait_for_completion_io(&mut done);
        let mut list = bindings::list_head::default();
        list.next = &raw mut list;
        list.prev = &raw mut list;
        bindings::list_add_head(&raw mut (*ioend).io_list, &raw mut list);
        finish::<W>((*ioend).io_inode, &raw mut list);
    }
}

/// `bi_end_io` of [`submit_and_complete`].
///
/// # Safety
///
/// For the block layer only.
unsafe extern "C" fn ended_here(bio: *mut bindings::bio) {
    // SAFETY: by contract a bio of an ioend, which has the completion that is waited for.
    unsafe {
        let ioend = kernel::container_of!(bio, bindings::iomap_ioend, io_bio);
        (*ioend).io_error = bindings::blk_status_to_errno((*bio).bi_status);
        bindings::complete((*ioend).io_list.next.cast());
    }
}

/// Writes of one inode that have ended, in the order of their places in the file.
///
/// # Invariants
///
/// `list` is a list of ioends, all ours.
pub(crate) struct Batch<'a> {
    list: *mut bindings::list_head,
    _p: PhantomData<&'a ()>,
}

impl Batch<'_> {
    /// The writes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Ended<'_>> {
        // SAFETY: by the type invariant, the first one or the list itself.
        let mut next = unsafe { (*self.list).next };
        core::iter::from_fn(move || {
            if next == self.list {
                return None;
            }
            // SAFETY: by the type invariant.
            unsafe {
                let ioend = kernel::container_of!(next, bindings::iomap_ioend, io_list);
                next = (*next).next;
                Some(Ended {
                    ioend,
                    _p: PhantomData,
                })
            }
        })
    }
}

/// A write that has ended: one range of the file, and of the device.
///
/// # Invariants
///
/// `ioend` is valid for `'a`, and ours.
pub(crate) struct Ended<'a> {
    ioend: *mut bindings::iomap_ioend,
    _p: PhantomData<&'a ()>,
}

impl Ended<'_> {
    /// Where it begins in the file, in bytes: the start of a block.
    pub(crate) fn start(&self) -> u64 {
        // SAFETY: by the type invariant.
        unsafe { (*self.ioend).io_offset as u64 }
    }

    /// Where it ends in the file, in bytes; no more than the size of the file at the time.
    pub(crate) fn end(&self) -> u64 {
        // SAFETY: as above.
        let size = unsafe { (*self.ioend).io_size } as u64;
        self.start().saturating_add(size)
    }

    /// How much was written, in bytes: whole blocks.
    pub(crate) fn len(&self) -> u64 {
        // SAFETY: as above.
        unsafe { (*self.ioend).io_private.addr() as u64 }
    }

    /// Where it was written to on the device, in bytes.
    pub(crate) fn address(&self) -> u64 {
        // SAFETY: as above.
        unsafe { (*self.ioend).io_sector << 9 }
    }

    /// Whether it was written to blocks that [`Iomap::set_filling`](super::iomap::Iomap) was said of.
    pub(crate) fn fills(&self) -> bool {
        // SAFETY: as above.
        unsafe { u32::from((*self.ioend).io_flags) & bindings::IOMAP_IOEND_SHARED != 0 }
    }

    /// Whether it was a direct write.
    pub(crate) fn is_direct(&self) -> bool {
        // SAFETY: as above.
        unsafe { u32::from((*self.ioend).io_flags) & bindings::IOMAP_IOEND_DIRECT != 0 }
    }

    /// Whether it was written to unwritten blocks.
    pub(crate) fn is_unwritten(&self) -> bool {
        // SAFETY: as above.
        unsafe { u32::from((*self.ioend).io_flags) & bindings::IOMAP_IOEND_UNWRITTEN != 0 }
    }

    /// Whether the I/O has worked.
    pub(crate) fn result(&self) -> Result {
        // SAFETY: as above.
        kernel::error::to_result(unsafe { (*self.ioend).io_error })
    }

    /// The write has failed after all.
    pub(crate) fn fail(&self, error: Error) {
        // SAFETY: as above.
        unsafe { (*self.ioend).io_error = error.to_errno() };
    }
}

/// Remembers how much is written, for [`Ended::len`]: the bio forgets it.
///
/// # Safety
///
/// The ioend has not been submitted.
pub(super) unsafe fn note_len(ioend: *mut bindings::iomap_ioend) {
    // SAFETY: by contract.
    unsafe {
        let len = (*ioend).io_bio.bi_iter.bi_size as usize;
        (*ioend).io_private = ptr::without_provenance_mut::<c_void>(len);
    }
}

/// The workqueue of a superblock's completions.
///
/// # Invariants
///
/// The pointer is a workqueue, and ours.
pub(super) struct Queue(NonNull<bindings::workqueue_struct>);

// SAFETY: a workqueue may be used and destroyed by any task.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Queue {
    /// A workqueue, named after the device.
    ///
    /// Errors: ENOMEM.
    pub(super) fn new(sb: *mut bindings::super_block) -> Result<Self> {
        // SAFETY: `s_id` is a NUL-terminated string.
        let queue = unsafe { bindings::alloc_completion_queue((&raw const (*sb).s_id).cast()) };
        NonNull::new(queue).map(Self).ok_or(ENOMEM)
    }

    /// The workqueue.
    pub(super) fn as_ptr(&self) -> *mut bindings::workqueue_struct {
        self.0.as_ptr()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: by the type invariant; waits for work that is queued.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}
