// SPDX-License-Identifier: GPL-2.0

//! Strings of the kernel's.

use super::bindings;
use core::slice;
use kernel::{ffi::c_char, prelude::*};

/// The string at `ptr`. As `CStr::from_ptr`, whose search for the end would be compiled into the
/// module with checks that can panic.
///
/// # Safety
///
/// `ptr` must point to a NUL-terminated string that is valid and does not change for `'a`.
pub(super) unsafe fn from_ptr<'a>(ptr: *const c_char) -> &'a CStr {
    // SAFETY: by contract there is a NUL, so that the length is found and what is returned ends
    // with it.
    unsafe {
        let len = bindings::strlen(ptr);
        CStr::from_bytes_with_nul_unchecked(slice::from_raw_parts(ptr.cast(), len.wrapping_add(1)))
    }
}
