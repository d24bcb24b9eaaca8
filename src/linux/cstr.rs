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

/// The string at `ptr` without its NUL. `CStr::to_bytes` subtracts with a check that can panic.
///
/// # Safety
///
/// As for [`from_ptr`].
#[inline]
pub(super) unsafe fn bytes_of<'a>(ptr: *const c_char) -> &'a [u8] {
    // SAFETY: by contract there is a NUL, and as many bytes in front of it.
    unsafe { slice::from_raw_parts(ptr.cast(), bindings::strlen(ptr)) }
}

/// The bytes of `text` without its NUL, likewise.
#[inline]
pub(crate) fn bytes(text: &CStr) -> &[u8] {
    text.to_bytes_with_nul()
        .split_last()
        .map_or(&[], |(_nul, bytes)| bytes)
}
