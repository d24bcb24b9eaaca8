// SPDX-License-Identifier: GPL-2.0

//! The kernel's checksums, in the form that `ondisk` asks its crate root for.

use super::bindings;

/// See [`crate::ondisk::crc::crc32c`].
#[inline]
pub(crate) fn crc32c(seed: u32, data: &[u8]) -> u32 {
    // SAFETY: reads `data.len()` bytes of a slice.
    unsafe { bindings::crc32c(seed, data.as_ptr().cast(), data.len()) }
}

/// See [`crate::ondisk::crc::crc16`].
#[inline]
pub(crate) fn crc16(seed: u16, data: &[u8]) -> u16 {
    // SAFETY: reads `data.len()` bytes of a slice.
    unsafe { bindings::crc16(seed, data.as_ptr(), data.len()) }
}
