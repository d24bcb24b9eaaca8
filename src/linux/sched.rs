// SPDX-License-Identifier: GPL-2.0

//! Being a good citizen in long loops.

use super::bindings;
use kernel::prelude::*;

/// Lets others run, and ends the loop when the task is to die.
///
/// Errors: ERESTARTSYS after a fatal signal.
pub(crate) fn relax() -> Result {
    // SAFETY: both are about the current task, which may sleep here.
    unsafe {
        bindings::cond_resched_here();
        if bindings::fatal_signal_pending_here() {
            return Err(ERESTARTSYS);
        }
    }
    Ok(())
}

/// Whether the calling task is to die, or to be frozen with the machine: what takes long should come
/// to an end.
pub(crate) fn is_interrupted() -> bool {
    // SAFETY: both look at the current task.
    unsafe { bindings::fatal_signal_pending_here() || bindings::freezing_here() }
}
