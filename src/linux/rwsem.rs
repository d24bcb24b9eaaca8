// SPDX-License-Identifier: GPL-2.0

//! Sleeping read-write locks.

use super::bindings;
use kernel::{
    prelude::*,
    sync::LockClassKey,
    types::{NotThreadSafe, Opaque},
};

/// A `struct rw_semaphore`; so far only writers take it, since reading what it protects needs no lock.
#[pin_data]
pub(crate) struct RwSem {
    #[pin]
    raw: Opaque<bindings::rw_semaphore>,
}

// SAFETY: a lock is there to be used from several threads.
unsafe impl Send for RwSem {}
// SAFETY: as above.
unsafe impl Sync for RwSem {}

impl RwSem {
    /// A free lock of class `key`, which lockdep shows as `name`.
    pub(crate) fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            raw <- Opaque::ffi_init(|place| {
                // SAFETY: the place is valid and pinned; name and key are 'static.
                unsafe { bindings::__init_rwsem(place, name.as_char_ptr(), key.as_ptr()) }
            }),
        })
    }

    /// Locks for writing; may sleep.
    pub(crate) fn write(&self) -> WriteGuard<'_> {
        // SAFETY: initialised in `new`.
        unsafe { bindings::down_write(self.raw.get()) };
        WriteGuard {
            sem: self,
            _not_send: NotThreadSafe,
        }
    }
}

/// The lock is held for writing.
#[must_use]
pub(crate) struct WriteGuard<'a> {
    sem: &'a RwSem,
    _not_send: NotThreadSafe,
}

impl Drop for WriteGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: taken by this thread when the guard was made.
        unsafe { bindings::up_write(self.sem.raw.get()) };
    }
}
