// SPDX-License-Identifier: GPL-2.0

//! Scopes in which memory allocation does not recurse into file systems.

use super::bindings;
use kernel::types::NotThreadSafe;

/// While this lives, allocations of the current task are GFP_NOFS.
#[must_use]
pub(crate) struct NoFs {
    saved: u32,
    _not_send: NotThreadSafe,
}

impl NoFs {
    /// Opens a scope; scopes nest.
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            // SAFETY: changes a flag of the current task, restored in `drop`.
            saved: unsafe { bindings::nofs_save() },
            _not_send: NotThreadSafe,
        }
    }
}

impl Drop for NoFs {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the value that `new` got, in the same task: the type is not `Send`.
        unsafe { bindings::nofs_restore(self.saved) };
    }
}
