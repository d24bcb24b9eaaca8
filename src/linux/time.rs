// SPDX-License-Identifier: GPL-2.0

//! What time it is.

use super::bindings;

/// Seconds since 1970.
pub(crate) fn real_seconds() -> u64 {
    // SAFETY: reads the clock, from any context.
    unsafe { bindings::ktime_get_real_seconds() as u64 }
}

/// Nanoseconds since the machine started.
pub(crate) fn monotonic_ns() -> u64 {
    // SAFETY: reads the clock, from any context. CAST: not negative.
    unsafe { bindings::ktime_get() as u64 }
}

/// Milliseconds since the machine started.
pub(crate) fn monotonic_ms() -> u64 {
    monotonic_ns() / 1_000_000
}
