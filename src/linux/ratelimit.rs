// SPDX-License-Identifier: GPL-2.0

//! Keeping messages from flooding the log.

use super::bindings;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// At most so many events per interval.
pub(crate) struct RateLimit {
    /// When the present interval began, in jiffies.
    since: AtomicU64,
    /// Events in it.
    events: AtomicU32,
    /// The interval in milliseconds; 0 for no limit.
    pub(crate) interval: AtomicU32,
    /// How many events it may have.
    pub(crate) burst: AtomicU32,
}

impl RateLimit {
    /// `burst` events in `ms` milliseconds.
    pub(crate) const fn new(ms: u32, burst: u32) -> Self {
        Self {
            since: AtomicU64::new(0),
            events: AtomicU32::new(0),
            interval: AtomicU32::new(ms),
            burst: AtomicU32::new(burst),
        }
    }

    /// Counts an event; whether it is within the limit. Two events at the very turn of an
    /// interval may both open it, which lets one more pass.
    pub(crate) fn allows(&self) -> bool {
        let interval = self.interval.load(Relaxed);
        if interval == 0 {
            return true;
        }
        // SAFETY: reads a word that only the timer changes.
        let now = unsafe { (&raw const bindings::jiffies_64).read_volatile() };
        let since = self.since.load(Relaxed);
        let jiffies = u64::from(interval).saturating_mul(u64::from(bindings::HZ)) / 1000;
        if self.events.load(Relaxed) == 0 || now.wrapping_sub(since) > jiffies {
            self.since.store(now, Relaxed);
            self.events.store(1, Relaxed);
            return self.burst.load(Relaxed) != 0;
        }
        self.events.fetch_add(1, Relaxed) < self.burst.load(Relaxed)
    }
}
