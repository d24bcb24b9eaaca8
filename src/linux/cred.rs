// SPDX-License-Identifier: GPL-2.0

//! Who the calling task is.
//!
//! Ids are those of the initial user namespace: what the superblock's fields and the mount options
//! `resuid` and `resgid` say, before any mapping.

use super::bindings;

/// Whether files are accessed as user `uid`.
pub(crate) fn is_user(uid: u32) -> bool {
    // SAFETY: looks at the credentials of the current task.
    unsafe { bindings::current_fsuid_is(uid) }
}

/// Whether the task is in group `gid`: it is the one that files are accessed as, or one of the
/// supplementary groups.
pub(crate) fn is_in_group(gid: u32) -> bool {
    // SAFETY: as above.
    unsafe { bindings::current_in_group(gid) }
}
