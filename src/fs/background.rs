// SPDX-License-Identifier: GPL-2.0

//! What a mounted file system does by itself (see `linux::background`), step by step: several things
//! that have nothing to do with one another, each of which says when it wants to go on.
//!
//! It is woken up when there is something to do, and to see for itself after a mount or a remount.

use super::{alloc, errors, lazy_init, super_write, Sb};
use crate::linux::time::monotonic_ms;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A step: the milliseconds to the next one, `None` when there is nothing left to do.
pub(crate) fn step(sb: &Sb) -> Option<u32> {
    let next = [
        super_write::record_errors(sb),
        alloc::discard_step(sb),
        lazy_init::step(sb),
        super_write::refresh_old(sb),
        errors::report_old(sb),
    ];
    next.into_iter().flatten().min()
}

/// When something is to be done.
pub(crate) struct Due(AtomicU64);

impl Due {
    /// Never.
    pub(crate) const fn never() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }

    /// In `ms` milliseconds.
    pub(crate) fn put_off(&self, ms: u64) {
        self.0
            .store(monotonic_ms().saturating_add(ms).min(LAST), Relaxed);
    }

    /// Whether it is never.
    pub(crate) fn is_never(&self) -> bool {
        self.0.load(Relaxed) == u64::MAX
    }

    /// How many milliseconds are left, 0 if it is time.
    pub(crate) fn left(&self) -> u32 {
        let left = self.0.load(Relaxed).saturating_sub(monotonic_ms());
        u32::try_from(left).unwrap_or(u32::MAX)
    }
}

/// The last moment that is not never.
const LAST: u64 = u64::MAX - 1;
