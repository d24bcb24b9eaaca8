// SPDX-License-Identifier: GPL-2.0

//! Places at which a task can be made to wait, so that a test has another one come between.
//!
//! Each has a file in `/sys/kernel/debug/rext4/delay`, with the milliseconds that whoever passes waits:
//! normally 0. In kernels with fault injection (CONFIG_FAULT_INJECTION) only; in others nothing is left
//! of it.

use super::bindings;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use kernel::{
    prelude::*,
    time::{delay::fsleep, Delta},
};

/// Where to wait. May sleep, all of them.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    /// A write to the page cache knows where it goes, and has no folio yet.
    Mapped,
    /// Blocks have been found for dirty data, and are not in flight yet; its folio is locked.
    Placed,
    /// A write has ended, and nothing of it is in the map.
    Ended,
    /// A file's contents have been copied to blocks that are another one's still (EXT4_IOC_MOVE_EXT).
    Copied,
}

static MAPPED: AtomicU32 = AtomicU32::new(0);
static PLACED: AtomicU32 = AtomicU32::new(0);
static ENDED: AtomicU32 = AtomicU32::new(0);
static COPIED: AtomicU32 = AtomicU32::new(0);

impl Place {
    const ALL: [(Self, &'static CStr); 4] = [
        (Self::Mapped, c"mapped"),
        (Self::Placed, c"placed"),
        (Self::Ended, c"ended"),
        (Self::Copied, c"copied"),
    ];

    #[inline(always)]
    fn milliseconds(self) -> &'static AtomicU32 {
        match self {
            Self::Mapped => &MAPPED,
            Self::Placed => &PLACED,
            Self::Ended => &ENDED,
            Self::Copied => &COPIED,
        }
    }

    /// Waits, if a test wants that.
    #[inline(always)]
    pub(crate) fn pass(self) {
        if cfg!(CONFIG_FAULT_INJECTION) {
            let ms = self.milliseconds().load(Relaxed);
            if ms != 0 {
                wait(ms);
            }
        }
    }
}

#[cold]
#[inline(never)]
fn wait(ms: u32) {
    fsleep(Delta::from_millis(ms.min(60_000).into()));
}

/// The files, as long as it is there.
pub(crate) struct Delays(*mut bindings::dentry);

// SAFETY: debugfs does its own locking.
unsafe impl Send for Delays {}
// SAFETY: nothing is done through `&self`.
unsafe impl Sync for Delays {}

impl Delays {
    /// Makes the files. Without them, debugfs says why in the log, nobody waits.
    pub(crate) fn new() -> Self {
        // SAFETY: names are NUL-terminated, and the numbers are there as long as the module is. An error
        // in place of the directory is taken, and does nothing.
        unsafe {
            let mut top = core::ptr::null_mut();
            if cfg!(CONFIG_FAULT_INJECTION) {
                top = bindings::debug_dir(c"rext4".as_char_ptr(), top);
                let dir = bindings::debug_dir(c"delay".as_char_ptr(), top);
                for (place, name) in Place::ALL {
                    bindings::debug_number(name.as_char_ptr(), dir, place.milliseconds().as_ptr());
                }
            }
            Self(top)
        }
    }
}

impl Drop for Delays {
    fn drop(&mut self) {
        // SAFETY: made by `new`; who has a file open is waited for.
        unsafe { bindings::debug_remove(self.0) };
    }
}
