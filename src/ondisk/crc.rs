// SPDX-License-Identifier: GPL-2.0

//! The two checksums of the format, as functions of a running value.
//!
//! The arithmetic comes from `crate::platform`, which each crate root provides: the kernel's
//! accelerated routines in the module, a library in the host build. That keeps this room free
//! of both, at no cost: the call is direct and may be inlined.

/// CRC-32C (Castagnoli, reflected) of `data`, continuing from `seed`, without a final inversion:
/// what the kernel's `crc32c()` computes. ext4 starts from `!0` and stores the value as it is.
#[inline]
pub fn crc32c(seed: u32, data: &[u8]) -> u32 {
    crate::platform::crc32c(seed, data)
}

/// CRC-16 (polynomial 0x8005, reflected) of `data`, continuing from `seed`: the kernel's
/// `crc16()`. Used by group descriptors under `gdt_csum` (uninit_bg) only, starting from `!0`.
#[inline]
pub fn crc16(seed: u16, data: &[u8]) -> u16 {
    crate::platform::crc16(seed, data)
}
