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
    seconds: u32,
    burst: u32,
}

impl RateLimit {
    /// `burst` events in `seconds` seconds.
    pub(crate) const fn new(seconds: u32, burst: u32) -> Self {
        Self {
            since: AtomicU64::new(0),
            events: AtomicU32::new(0),
            seconds,
            burst,
        }
    }

    /// Counts an event; whether it is within the limit. Two events at the very turn of an
    /// interval may both open it, which lets one more pass.
    pub(crate) fn allows(&self) -> bool {
        // SAFETY: reads a word that only the timer changes.
        let now = unsafe { (&raw const bindings::jiffies_64).read_volatile() };
        let since = self.since.load(Relaxed);
        let interval = u64::from(self.seconds).saturating_mul(u64::from(bindings::HZ));
        if self.events.load(Relaxed) == 0 || now.wrapping_sub(since) > interval {
            self.since.store(now, Relaxed);
            self.events.store(1, Relaxed);
            return true;
        }
        self.events.fetch_add(1, Relaxed) < self.burst
    }
}
