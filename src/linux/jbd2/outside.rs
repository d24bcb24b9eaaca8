// SPDX-License-Identifier: GPL-2.0

//! Being outside of every handle.

use crate::linux::bindings;
use kernel::{prelude::*, types::NotThreadSafe};

/// Shows that the current task has no handle open.
///
/// A commit waits for every open handle. So what waits for a commit, or for something that needs a
/// handle to make progress (a data folio's lock or writeback, say), takes a `&NoHandle`; and
/// [`Handle::start`](super::Handle::start) borrows the token mutably for as long as the handle
/// lives, so that the two exclude each other where the types reach.
///
/// It is got by a run-time check, at each entry from the VFS.
pub(crate) struct NoHandle(NotThreadSafe);

impl NoHandle {
    /// Checks that no handle is open.
    ///
    /// Errors: EDEADLK when there is one, of this file system or of any other.
    #[inline]
    pub(crate) fn here() -> Result<Self> {
        // SAFETY: reads a field of the current task that only the task itself changes.
        if unsafe { bindings::journal_info_here() }.is_null() {
            Ok(Self(NotThreadSafe))
        } else {
            Err(EDEADLK)
        }
    }
}
