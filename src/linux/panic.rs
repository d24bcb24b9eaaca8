// SPDX-License-Identifier: GPL-2.0

//! `errors=panic`: the one panic that a user asks for.

use super::bindings;
use kernel::prelude::*;

/// Whether the machine is on its way down: devices fail then, and it must not stop half-way.
pub(crate) fn going_down() -> bool {
    // SAFETY: a word that the kernel reads just so, without a lock.
    let state = unsafe { (&raw const bindings::system_state).read_volatile() };
    (bindings::system_states_SYSTEM_HALT..=bindings::system_states_SYSTEM_RESTART).contains(&state)
}

/// Stops the machine with `text`.
pub(crate) fn panic(text: &'static CStr) {
    // SAFETY: a format string without conversions.
    unsafe { bindings::panic(text.as_char_ptr()) };
}
