// SPDX-License-Identifier: GPL-2.0

//! Sleeping read-write locks.

use super::bindings;
use core::{
    cell::UnsafeCell,
    mem::offset_of,
    ops::{Deref, DerefMut},
    ptr,
};
use kernel::{
    prelude::*,
    sync::LockClassKey,
    types::{NotThreadSafe, Opaque},
};

/// A `struct rw_semaphore` and what it protects.
#[pin_data]
pub(crate) struct RwSem<T> {
    #[pin]
    raw: Opaque<bindings::rw_semaphore>,
    data: UnsafeCell<T>,
}

// SAFETY: a lock is there to be used from several threads; what it protects moves with it.
unsafe impl<T: Send> Send for RwSem<T> {}
// SAFETY: readers share the data, and writers take it from one another.
unsafe impl<T: Send + Sync> Sync for RwSem<T> {}

impl<T> RwSem<T> {
    /// Where the data is in the structure, in bytes.
    pub(crate) const DATA_OFFSET: usize = offset_of!(Self, data);

    /// A free lock of class `key`, which lockdep shows as `name`, around `data`.
    pub(crate) fn new(
        data: T,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            raw <- Opaque::ffi_init(|place| {
                // SAFETY: the place is valid and pinned; name and key are 'static.
                unsafe { bindings::__init_rwsem(place, name.as_char_ptr(), key.as_ptr()) }
            }),
            data: UnsafeCell::new(data),
        })
    }

    /// Puts a lock that nobody else can reach into another class, for locks that are taken while one
    /// of the former class is held.
    pub(crate) fn set_class(
        self: Pin<&mut Self>,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) {
        // SAFETY: initialised in `new`, free, and reached by us alone; name and key are 'static.
        unsafe { bindings::rwsem_set_class(self.raw.get(), name.as_char_ptr(), key.as_ptr()) };
    }

    /// Locks for reading; may sleep.
    #[inline]
    pub(crate) fn read(&self) -> ReadGuard<'_, T> {
        // SAFETY: initialised in `new`.
        unsafe { bindings::down_read(self.raw.get()) };
        ReadGuard {
            sem: self,
            _not_send: NotThreadSafe,
        }
    }

    /// Locks for writing; may sleep.
    #[inline]
    pub(crate) fn write(&self) -> WriteGuard<'_, T> {
        // SAFETY: initialised in `new`.
        unsafe { bindings::down_write(self.raw.get()) };
        WriteGuard {
            sem: self,
            _not_send: NotThreadSafe,
        }
    }

    /// Locks two of the same class for writing, which are not the same lock; may sleep. Everybody who
    /// needs two takes them by this, and so in the same order.
    pub(crate) fn write_both<'a>(
        &'a self,
        other: &'a Self,
    ) -> (WriteGuard<'a, T>, WriteGuard<'a, T>) {
        if ptr::from_ref(self) < ptr::from_ref(other) {
            let first = self.write();
            (first, other.write_nested())
        } else {
            let first = other.write();
            (self.write_nested(), first)
        }
    }

    /// Locks for writing, with another lock of the class held.
    fn write_nested(&self) -> WriteGuard<'_, T> {
        // SAFETY: initialised in `new`.
        unsafe { bindings::rwsem_write_nested(self.raw.get()) };
        WriteGuard {
            sem: self,
            _not_send: NotThreadSafe,
        }
    }

    /// Locks for writing, if that is possible at once; never sleeps.
    pub(crate) fn try_write(&self) -> Option<WriteGuard<'_, T>> {
        // SAFETY: initialised in `new`.
        let locked = unsafe { bindings::down_write_trylock(self.raw.get()) } != 0;
        // Made only then: a guard that is dropped unlocks.
        locked.then(|| WriteGuard {
            sem: self,
            _not_send: NotThreadSafe,
        })
    }

    /// The data, of a lock that nobody else can reach.
    pub(crate) fn exclusive(self: Pin<&mut Self>) -> &mut T {
        self.project().data.get_mut()
    }
}

/// The lock is held for reading.
#[must_use]
pub(crate) struct ReadGuard<'a, T> {
    sem: &'a RwSem<T>,
    _not_send: NotThreadSafe,
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held for reading, so that nobody has it for writing.
        unsafe { &*self.sem.data.get() }
    }
}

impl<T> Drop for ReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: taken by this thread when the guard was made.
        unsafe { bindings::up_read(self.sem.raw.get()) };
    }
}

/// The lock is held for writing.
#[must_use]
pub(crate) struct WriteGuard<'a, T> {
    sem: &'a RwSem<T>,
    _not_send: NotThreadSafe,
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held for writing, by us.
        unsafe { &*self.sem.data.get() }
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held for writing, by us; `&mut` says that we have no other reference.
        unsafe { &mut *self.sem.data.get() }
    }
}

impl<T> Drop for WriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: taken by this thread when the guard was made.
        unsafe { bindings::up_write(self.sem.raw.get()) };
    }
}
