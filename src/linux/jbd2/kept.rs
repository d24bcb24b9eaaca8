// SPDX-License-Identifier: GPL-2.0

//! The journal of a mounted file system.

use super::journal::{LoadedJournal, OfSuper};
use crate::linux::fs_type::FileSystem;
use core::{
    mem, ptr,
    sync::atomic::{AtomicPtr, Ordering},
};
use kernel::prelude::*;

type Forever<F> = LoadedJournal<'static, OfSuper<F>>;

/// The place in a superblock's private allocation that owns its journal.
///
/// # Invariants
///
/// The pointer is NULL or comes from `KBox::into_raw`.
pub(in crate::linux) struct Kept<F: FileSystem>(AtomicPtr<Forever<F>>);

impl<F: FileSystem> Kept<F> {
    /// An empty place.
    pub(in crate::linux) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// Keeps `journal`.
    ///
    /// Errors: EBUSY when there is one already; ENOMEM. Either way `journal` has been closed.
    ///
    /// # Safety
    ///
    /// [`Kept::close`] must be called before what `journal` borrows (its inode, its devices) and
    /// its superblock become invalid.
    pub(in crate::linux) unsafe fn fill(&self, journal: LoadedJournal<'_, OfSuper<F>>) -> Result {
        // SAFETY: types that differ in a lifetime only; by this function's contract the journal is
        // gone before the true one ends.
        let journal =
            unsafe { mem::transmute::<LoadedJournal<'_, OfSuper<F>>, Forever<F>>(journal) };
        let new = KBox::into_raw(KBox::new(journal, GFP_KERNEL)?);
        let order = (Ordering::Release, Ordering::Relaxed);
        if self
            .0
            .compare_exchange(ptr::null_mut(), new, order.0, order.1)
            .is_err()
        {
            // SAFETY: from above, and nobody has seen it.
            drop(unsafe { KBox::from_raw(new) });
            return Err(EBUSY);
        }
        Ok(())
    }

    /// The journal.
    #[inline]
    pub(in crate::linux) fn get(&self) -> Option<&LoadedJournal<'_, OfSuper<F>>> {
        // SAFETY: by the type invariant. It stays until `close`, whose caller sees to it that
        // nobody uses the place any more.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    /// Closes the journal; `None` if there is none.
    ///
    /// # Safety
    ///
    /// Nothing that [`get`](Self::get) returned may be in use, and nobody may call that meanwhile.
    pub(in crate::linux) unsafe fn close(&self) -> Option<Result> {
        let old = self.0.swap(ptr::null_mut(), Ordering::AcqRel);
        if old.is_null() {
            return None;
        }
        // SAFETY: by the type invariant, and whoever swaps a pointer out owns it. Not in use, by
        // this function's contract.
        Some(KBox::into_inner(unsafe { KBox::from_raw(old) }).close())
    }
}
