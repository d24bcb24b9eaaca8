// SPDX-License-Identifier: GPL-2.0

//! Telling fanotify of damaged metadata (`FAN_FS_ERROR`).

use super::{bindings, fs_type::FileSystem, inode::Inode, super_block::SuperBlock};
use core::ptr;
use kernel::prelude::*;

/// Metadata of `inode`, or of the file system as a whole, turned out to be damaged; readers get
/// `error`. In any context: the event is sent by a work item.
pub(crate) fn metadata<F: FileSystem>(sb: &SuperBlock<F>, inode: Option<&Inode<F>>, error: Error) {
    let inode = inode.map_or(ptr::null_mut(), Inode::as_raw);
    // SAFETY: the superblock is alive and the inode held; the callee takes references of its own.
    unsafe {
        bindings::fserror_report(
            sb.as_raw(),
            inode,
            bindings::fserror_type_FSERR_METADATA,
            0,
            0,
            error.to_errno(),
            bindings::GFP_ATOMIC,
        )
    };
}
