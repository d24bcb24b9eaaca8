// SPDX-License-Identifier: GPL-2.0

//! Work that a mounted file system does by itself, in steps, some time from now: what is left to
//! initialise, what is to be written now and then.
//!
//! There is one such item per superblock, a `delayed_work` beside the private data. It runs
//! [`SuperOps::background`](super::super_ops::SuperOps::background) on an unbound workqueue of the
//! kernel's, never twice at a time, and again as long as that says when. It is stopped for good
//! at the last unmount, before anything else is taken apart, which waits for a step that runs:
//! a step must not take `s_umount`, and should be short, or ask
//! [`is_stopping`](SuperBlock::is_stopping).
//!
//! (The kernel crate's `DelayedWork` owns what it runs on and cannot be cancelled: with it, work
//! could still be due when the file system, or the module, is gone.)

use super::{
    bindings, fs_type::FileSystem, inode_ops::when, super_block::SuperBlock, super_ops::SuperOps,
};
use core::{
    marker::PhantomData,
    sync::atomic::{AtomicBool, Ordering},
};
use kernel::{
    container_of, ffi::c_int, prelude::*, static_lock_class, time::msecs_to_jiffies, types::Opaque,
};

/// The work item of a superblock.
///
/// # Invariants
///
/// `work` is initialised, with a function that runs on the superblock `sb`, which is published and
/// outlives `self`. Once [`stop`](Self::stop) has returned, it is not queued and never will be.
#[pin_data]
pub(super) struct Background<F: FileSystem> {
    #[pin]
    work: Opaque<bindings::delayed_work>,
    sb: *mut bindings::super_block,
    /// Whether a step that runs should come to an end.
    stopping: AtomicBool,
    /// Whether the file system has anything to do here.
    present: bool,
    _p: PhantomData<F>,
}

impl<F: FileSystem> Background<F> {
    /// The item of `sb`, not queued.
    ///
    /// # Safety
    ///
    /// `sb` must be published by the time that anything can be started, and until `stop` has been
    /// called, which it has to be before the result is dropped.
    pub(super) unsafe fn new<T: SuperOps<Fs = F>>(
        sb: *mut bindings::super_block,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            work <- Opaque::ffi_init(|place: *mut bindings::delayed_work| {
                // SAFETY: the place is pinned and valid for writes. The timer function is the one
                // for timers inside a `delayed_work`, which this is.
                unsafe {
                    bindings::init_work_with_key(
                        &raw mut (*place).work,
                        Step::<T>::RUN,
                        false,
                        c"rext4 background".as_char_ptr(),
                        static_lock_class!().as_ptr(),
                    );
                    bindings::timer_init_key(
                        &raw mut (*place).timer,
                        Some(bindings::delayed_work_timer_fn),
                        bindings::TIMER_IRQSAFE,
                        c"rext4 background timer".as_char_ptr(),
                        static_lock_class!().as_ptr(),
                    );
                }
            }),
            sb,
            stopping: AtomicBool::new(false),
            present: T::HAS_BACKGROUND,
            _p: PhantomData,
        })
    }

    /// Queues the item, to run in `ms` milliseconds or somewhat later; sooner or later than that if
    /// it was queued already, which then changes.
    fn queue(&self, ms: u32) {
        if !self.present {
            return;
        }
        // SAFETY: by the type invariant. The queue is the kernel's own and always there. The
        // item has a function, since there is something to do. Once
        // `stop` has been called the item is disabled and the call does nothing.
        unsafe {
            bindings::mod_delayed_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                bindings::system_dfl_wq,
                self.work.get(),
                msecs_to_jiffies(ms),
            );
        }
    }

    /// Ends the work until it is started again; waits for a step that runs.
    fn pause(&self) {
        if !self.present {
            return;
        }
        self.stopping.store(true, Ordering::Relaxed);
        // SAFETY: by the type invariant; may sleep.
        unsafe { bindings::cancel_delayed_work_sync(self.work.get()) };
    }

    /// Ends the work for good; waits for a step that runs. May be called again.
    pub(super) fn stop(&self) {
        if !self.present {
            // Never queued; and the kernel has an opinion on items without a function.
            return;
        }
        self.stopping.store(true, Ordering::Relaxed);
        // SAFETY: by the type invariant; may sleep. What is disabled is not queued again.
        unsafe { bindings::disable_delayed_work_sync(self.work.get()) };
    }
}

impl<F: FileSystem> SuperBlock<F> {
    /// Starts the background work: a first step in `ms` milliseconds.
    pub(crate) fn start_background(&self, ms: u32) {
        let item = self.background();
        item.stopping.store(false, Ordering::Relaxed);
        item.queue(ms);
    }

    /// Stops the background work until it is started again, for a remount to read-only for example;
    /// waits for a step that runs. Not to be called from such a step.
    pub(crate) fn pause_background(&self) {
        self.background().pause();
    }

    /// Whether the background work is being stopped.
    pub(crate) fn is_stopping(&self) -> bool {
        self.background().stopping.load(Ordering::Relaxed)
    }
}

struct Step<T: SuperOps>(PhantomData<T>);

impl<T: SuperOps> Step<T> {
    /// The function of the item; one that is never queued has none.
    const RUN: bindings::work_func_t = when!(T::HAS_BACKGROUND, run::<T>);
}

/// A step.
///
/// # Safety
///
/// For the workqueue only, with the `work` of a [`Background`] whose file system is `T`'s.
unsafe extern "C" fn run<T: SuperOps>(work: *mut bindings::work_struct) {
    // SAFETY: by contract; the item exists until `stop` has returned, which waits for us.
    let item = unsafe {
        let delayed = container_of!(work, bindings::delayed_work, work);
        let place = Opaque::cast_from(delayed.cast_const());
        &*container_of!(place, Background<T::Fs>, work)
    };
    if item.stopping.load(Ordering::Relaxed) {
        return;
    }
    // SAFETY: by the type invariant the superblock is published, and it outlives the item.
    let sb = unsafe { SuperBlock::<T::Fs>::from_raw(item.sb) };
    if let Some(ms) = T::background(sb) {
        if !item.stopping.load(Ordering::Relaxed) {
            item.queue(ms);
        }
    }
}
