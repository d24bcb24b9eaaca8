// SPDX-License-Identifier: GPL-2.0

//! The end of a file system before its unmount: FS_IOC_SHUTDOWN, and a device that is gone.
//!
//! From then on nothing is written any more, and whoever tries gets EIO. Whether what has been done
//! until then is on disk depends on how it was shut down: the next mount recovers what is there.

use super::Sb;
use crate::linux::{
    fserror,
    jbd2::NoHandle,
    super_block::{message, Level},
};
use kernel::prelude::*;

/// How to shut down (`EXT4_GOING_FLAGS_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// Everything is written first.
    Frozen,
    /// The journal is committed first.
    Committed,
    /// At once.
    AtOnce,
}

/// Shuts the file system down as `how` says: 0 after writing everything, 1 after a commit, 2 at
/// once. Nothing happens if it is down already.
///
/// Errors: EINVAL for another number; what a freeze says.
pub(crate) fn shut_down(sb: &Sb, how: u32) -> Result {
    let what = match how {
        0 => How::Frozen,
        1 => How::Committed,
        2 => How::AtOnce,
        _ => return Err(EINVAL),
    };
    if sb.info().emergency.is_shut_down() {
        return Ok(());
    }
    message(Level::Err, sb.id(), fmt!("shut down requested ({})\n", how));
    match what {
        How::Frozen => sb.while_frozen(|| {
            sb.info().emergency.shut_down();
        })?,
        How::Committed => {
            if let Some(journal) = sb.journal() {
                // Whether that works or not, this is the end.
                let _ = journal.force_commit(&NoHandle::here()?);
            }
            stop(sb);
        }
        How::AtOnce => stop(sb),
    }
    fserror::metadata(sb, None, ESHUTDOWN);
    Ok(())
}

/// A device of the file system is gone. For a read-only mount that changes nothing: what is in
/// memory can be read on, and who wants more gets EIO from the device.
pub(crate) fn device_gone(sb: &Sb) {
    if !sb.is_rdonly() && !sb.info().emergency.is_shut_down() {
        message(Level::Err, sb.id(), fmt!("device is gone, shutting down\n"));
        stop(sb);
    }
}

/// Nothing is written from here on.
fn stop(sb: &Sb) {
    sb.info().emergency.shut_down();
    if let Some(journal) = sb.journal().filter(|journal| !journal.is_aborted()) {
        // Not an error: jbd2 records this one nowhere.
        journal.abort(ESHUTDOWN);
    }
}
