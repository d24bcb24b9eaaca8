// SPDX-License-Identifier: GPL-2.0

//! Random numbers.

use super::bindings;

/// A random number, good enough for anything (inode generations, places to start a search).
pub(crate) fn random_u32() -> u32 {
    // SAFETY: callable from any context.
    unsafe { bindings::get_random_u32() }
}
