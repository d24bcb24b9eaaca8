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
