// SPDX-License-Identifier: GPL-2.0

//! Folios of the page cache.

use super::bindings;
use core::{mem::ManuallyDrop, ptr::NonNull};

/// A folio of a file whose contents are still to be read. It is locked, and the lock keeps it in
/// the page cache; whoever has this owns the lock. Dropping it says that reading has failed.
///
/// # Invariants
///
/// The folio is locked, not up to date, and the lock is ours to give up.
pub(super) struct UnreadFolio(NonNull<bindings::folio>);

impl UnreadFolio {
    /// The next folio of a readahead request, `None` at its end.
    ///
    /// # Safety
    ///
    /// `rac` must be the argument of a running `readahead`.
    #[inline]
    pub(super) unsafe fn next(rac: *mut bindings::readahead_control) -> Option<Self> {
        // SAFETY: by contract. INVARIANT: these folios come locked and not up to date, and
        // belong to who takes them.
        NonNull::new(unsafe { bindings::readahead_folio(rac) }).map(Self)
    }

    /// The folio that [`into_raw`](Self::into_raw) gave.
    ///
    /// # Safety
    ///
    /// `raw` must come from `into_raw`, once.
    #[inline]
    pub(super) unsafe fn from_raw(raw: NonNull<bindings::folio>) -> Self {
        // INVARIANT: by contract it still is what it was.
        Self(raw)
    }

    /// Leaves the lock to somebody who will come back with [`from_raw`](Self::from_raw).
    #[inline]
    pub(super) fn into_raw(self) -> NonNull<bindings::folio> {
        ManuallyDrop::new(self).0
    }

    /// The folio, still ours.
    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::folio {
        self.0.as_ptr()
    }

    /// Size in bytes.
    #[inline]
    pub(super) fn size(&self) -> usize {
        // SAFETY: a locked folio keeps its size.
        unsafe { bindings::folio_size(self.as_raw()) }
    }

    /// Unlocks it: with its contents in place, or with none.
    #[inline]
    pub(super) fn end(self, success: bool) {
        // SAFETY: by the type invariant; the lock goes with `self`.
        unsafe { bindings::folio_end_read(self.into_raw().as_ptr(), success) };
    }
}

impl Drop for UnreadFolio {
    fn drop(&mut self) {
        // SAFETY: by the type invariant, and nobody has `self` any more.
        unsafe { bindings::folio_end_read(self.as_raw(), false) };
    }
}
