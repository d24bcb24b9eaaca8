// SPDX-License-Identifier: GPL-2.0

//! Counters that are cheap to change: every CPU counts for itself and tells the others now and then.
//!
//! A CPU keeps up to `batch` to itself, so reading is either fast and off by up to
//! `batch * CPUs` ([`read`](PercpuCounter::read)) or exact for an instant and slow
//! ([`sum`](PercpuCounter::sum)). [`exceeds`](PercpuCounter::exceeds) takes the slow way only where
//! the fast one cannot tell. What is counted is never negative; a sum may be for a moment, while
//! one CPU has taken what another has not told of yet, and reads as 0 then.

use super::bindings;
use core::ptr::NonNull;
use kernel::{error::to_result, prelude::*, types::Opaque};

/// A `struct percpu_counter` with its batch.
///
/// # Invariants
///
/// `raw` is initialised, from the end of [`new`](Self::new) to `Drop`.
#[pin_data(PinnedDrop)]
pub(crate) struct PercpuCounter {
    #[pin]
    raw: Opaque<bindings::percpu_counter>,
    batch: i32,
}

// SAFETY: a counter belongs to no thread.
unsafe impl Send for PercpuCounter {}
// SAFETY: all functions on it are made for callers on several CPUs.
unsafe impl Sync for PercpuCounter {}

impl PercpuCounter {
    /// A counter of `amount`, of which a CPU keeps up to `batch` (1 or more) to itself. May sleep.
    /// It has to stay where it is: in a pinned structure or a `Pin<KBox>`.
    ///
    /// Errors: ENOMEM.
    pub(crate) fn new(amount: i64, batch: i32) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            raw <- Opaque::try_ffi_init(move |place| {
                // SAFETY: the place is valid for writes and pinned. On failure nothing refers to it.
                to_result(unsafe {
                    bindings::percpu_counter_init(place, amount, bindings::GFP_KERNEL)
                })
            }),
            // The functions take the distance from 0 without a look at the sign.
            batch: batch.max(1),
        })
    }

    /// Adds `amount`, which may be negative. From any context.
    #[inline]
    pub(crate) fn add(&self, amount: i64) {
        // SAFETY: by the type invariant.
        unsafe { bindings::percpu_counter_add_by(self.raw.get(), amount, self.batch) };
    }

    /// Takes `amount` away. From any context.
    #[inline]
    pub(crate) fn sub(&self, amount: i64) {
        self.add(amount.wrapping_neg());
    }

    /// About how much it is; 0 if that is negative. Fast.
    #[inline]
    pub(crate) fn read(&self) -> u64 {
        // SAFETY: by the type invariant. CAST: not negative.
        unsafe { bindings::percpu_counter_read_positive(self.raw.get()) as u64 }
    }

    /// By how much [`read`](Self::read) may be wrong: what all CPUs keep.
    #[inline]
    pub(crate) fn error(&self) -> u64 {
        // SAFETY: a word that is set at boot. CAST: positive, by the constructor.
        u64::from(unsafe { bindings::nr_cpu_ids }).saturating_mul(self.batch as u64)
    }

    /// How much it is, as of some moment during the call; 0 if that is negative. Slow.
    pub(crate) fn sum(&self) -> u64 {
        // SAFETY: as above. CAST: not negative.
        unsafe { bindings::percpu_counter_sum_positive(self.raw.get()) as u64 }
    }

    /// Whether it is more than `amount`: fast if the answer is clear.
    pub(crate) fn exceeds(&self, amount: i64) -> bool {
        // SAFETY: by the type invariant.
        unsafe { bindings::percpu_counter_compare_by(self.raw.get(), amount, self.batch) > 0 }
    }

    /// Makes it `amount`. Nobody may change it meanwhile, or that change may be lost.
    pub(crate) fn reset(&self, amount: i64) {
        // SAFETY: by the type invariant.
        unsafe { bindings::percpu_counter_set(self.raw.get(), amount) };
    }
}

#[pinned_drop]
impl PinnedDrop for PercpuCounter {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: by the type invariant, and this is the last use.
        unsafe { bindings::percpu_counter_destroy(self.raw.get()) };
    }
}

/// A count of events that only grows: counting costs an instruction.
///
/// # Invariants
///
/// The pointer comes from `alloc_percpu` and is ours to free.
pub(crate) struct Tally(NonNull<u64>);

// SAFETY: a count belongs to no thread.
unsafe impl Send for Tally {}
// SAFETY: each CPU changes its own part, in one instruction or with interrupts off.
unsafe impl Sync for Tally {}

impl Tally {
    /// A count of 0.
    ///
    /// Errors: ENOMEM.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: may sleep.
        let place = unsafe { bindings::alloc_tally() };
        // INVARIANT: as the type says.
        NonNull::new(place).map(Self).ok_or(ENOMEM)
    }

    /// One more.
    #[inline]
    pub(crate) fn inc(&self) {
        // SAFETY: by the type invariant.
        unsafe { bindings::tally_inc(self.0.as_ptr()) };
    }

    /// How many there were, but for some that are being counted.
    pub(crate) fn sum(&self) -> u64 {
        // SAFETY: by the type invariant.
        unsafe { bindings::tally_sum(self.0.as_ptr()) }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        // SAFETY: by the type invariant, and this is the last use.
        unsafe { bindings::free_tally(self.0.as_ptr()) };
    }
}

#[kunit_tests(rext4_percpu)]
mod tests {
    use super::*;

    /// Sums are exact, and what is read is off by less than what the CPUs keep.
    #[test]
    fn counting() -> Result {
        let counter = KBox::pin_init(PercpuCounter::new(1000, 4), GFP_KERNEL)?;
        assert_eq!(counter.sum(), 1000);
        assert_eq!(counter.read(), 1000);
        for _ in 0..25 {
            counter.add(3);
            counter.sub(1);
        }
        assert_eq!(counter.sum(), 1050);
        assert!(counter.read().abs_diff(1050) <= counter.error());
        assert!(counter.exceeds(1049));
        assert!(!counter.exceeds(1050));
        assert!(!counter.exceeds(1_000_000));
        counter.reset(7);
        assert_eq!(counter.sum(), 7);
        Ok(())
    }

    /// Less than nothing reads as nothing.
    #[test]
    fn below_zero() -> Result {
        let counter = KBox::pin_init(PercpuCounter::new(1, 0), GFP_KERNEL)?;
        counter.sub(5);
        assert_eq!(counter.sum(), 0);
        assert_eq!(counter.read(), 0);
        assert!(!counter.exceeds(-4));
        assert!(counter.exceeds(-5));
        counter.add(6);
        assert_eq!(counter.sum(), 2);
        Ok(())
    }
}
