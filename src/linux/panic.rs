// SPDX-License-Identifier: GPL-2.0

//! `errors=panic`: the one panic that a user asks for.

use super::bindings;
use kernel::prelude::*;

/// Stops the machine with `text`.
pub(crate) fn panic(text: &'static CStr) {
    // SAFETY: a format string without conversions.
    unsafe { bindings::panic(text.as_char_ptr()) };
}
