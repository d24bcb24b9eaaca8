// SPDX-License-Identifier: GPL-2.0

//! A sequence counter: readers without a lock, who find out whether they raced.
//!
//! The count is odd while a writer is at work and grows by two per change, so an even value also
//! names a state of what it protects: iomap carries it as a mapping's validity cookie. It has
//! 64 bits, lest an old cookie fit again.
//!
//! Writers exclude each other by a lock of their own and may be preempted; so a reader that meets
//! an odd value does not spin but takes that lock.

use super::bindings;
use core::sync::atomic::{AtomicU64, Ordering};

/// See the module.
pub(crate) struct SeqCount(AtomicU64);

impl SeqCount {
    /// A counter that has seen no change.
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Starts a read: the value to check against afterwards, `None` while a writer is at work.
    #[inline]
    pub(crate) fn begin(&self) -> Option<u64> {
        let seq = self.0.load(Ordering::Relaxed);
        // What is read from here on is not older than `seq`; pairs with the barrier in `write`
        // after the change.
        smp_rmb();
        if seq & 1 == 0 {
            Some(seq)
        } else {
            None
        }
    }

    /// Whether nothing has changed since `begin` returned `seq`.
    #[inline]
    pub(crate) fn still(&self, seq: u64) -> bool {
        // What was read before is not newer than the value read here; pairs with the barrier in
        // `write` before the change.
        smp_rmb();
        self.0.load(Ordering::Relaxed) == seq
    }

    /// The value, for a caller who holds the writers' lock.
    #[inline]
    pub(crate) fn current(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Makes a change; the caller holds the writers' lock.
    #[inline]
    pub(crate) fn write<R>(&self, change: impl FnOnce() -> R) -> R {
        let seq = self.0.load(Ordering::Relaxed);
        self.0.store(seq.wrapping_add(1), Ordering::Relaxed);
        smp_wmb();
        let r = change();
        smp_wmb();
        self.0.store(seq.wrapping_add(2), Ordering::Relaxed);
        r
    }
}

/// Orders earlier reads before later ones.
#[inline]
fn smp_rmb() {
    // SAFETY: a barrier has no preconditions.
    unsafe { bindings::read_barrier() }
}

/// Orders earlier writes before later ones.
#[inline]
fn smp_wmb() {
    // SAFETY: as above.
    unsafe { bindings::write_barrier() }
}
