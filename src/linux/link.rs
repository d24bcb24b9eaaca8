// SPDX-License-Identifier: GPL-2.0

//! The text of a symbolic link, handed to the VFS.

use super::bindings;
use core::ffi::c_void;
use kernel::prelude::*;

/// A symbolic link's text in memory of its own, freed by the VFS when path walking is done.
///
/// # Invariants
///
/// The last byte is NUL.
pub(crate) struct DelayedLink(KVec<u8>);

impl DelayedLink {
    /// Copies `text`, up to its first NUL byte if it holds any.
    ///
    /// Errors: ENOMEM.
    pub(crate) fn new(text: &[u8]) -> Result<Self> {
        let mut copy = KVec::with_capacity(text.len().saturating_add(1), GFP_KERNEL)?;
        for byte in text.iter().take_while(|b| **b != 0) {
            copy.push_within_capacity(*byte).map_err(|_| ENOMEM)?;
        }
        copy.push_within_capacity(0).map_err(|_| ENOMEM)?;
        // INVARIANT: the last byte pushed was the NUL.
        Ok(Self(copy))
    }

    /// Sets `done` to free the text, and returns the text.
    ///
    /// # Safety
    ///
    /// `done` must be the `delayed_call` of a running `get_link`.
    pub(super) unsafe fn hand_over(
        self,
        done: *mut bindings::delayed_call,
    ) -> *const kernel::ffi::c_char {
        let (ptr, _len, _cap) = self.0.into_raw_parts();
        // SAFETY: by contract `done` is writable; the memory is from kmalloc, as `kfree_link`
        // expects, and belongs to the VFS from here on.
        unsafe {
            (*done).fn_ = Some(bindings::kfree_link);
            (*done).arg = ptr.cast::<c_void>();
        }
        ptr.cast()
    }
}
