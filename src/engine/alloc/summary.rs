// SPDX-License-Identifier: GPL-2.0

//! What is free in a group, in the terms of C ext4's buddy bitmaps: tools know these numbers
//! (`/proc/fs/<type>/<device>/mb_groups`).
//!
//! A buddy of order `n` is 2^n free clusters whose number is a multiple of 2^n, and not part of a
//! larger one. Every free run falls into buddies in one way only.

use core::ops::Deref;

use super::{Run, RunTree};

/// Orders that are counted: C ext4 has two more than a block has bits.
pub const ORDERS: usize = 18;

/// See the module's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Free clusters.
    pub free: u32,
    /// Free runs.
    pub fragments: u32,
    /// The first free cluster; `None` if there is none.
    pub first_free: Option<u32>,
    /// Buddies of each order.
    pub buddies: [u32; ORDERS],
}

impl Summary {
    /// Goes through all free runs of a group, on a file system with blocks of `1 << block_bits`
    /// bytes, which limits the order.
    pub fn of<S: Deref<Target = [u64]>>(tree: &RunTree<S>, block_bits: u32) -> Self {
        let mut summary = Self {
            free: tree.free(),
            fragments: 0,
            first_free: None,
            buddies: [0; ORDERS],
        };
        for run in tree.runs() {
            summary.fragments = summary.fragments.saturating_add(1);
            summary.first_free.get_or_insert(run.start);
            summary.add(run, block_bits.saturating_add(1));
        }
        summary
    }

    fn add(&mut self, run: Run, max_order: u32) {
        let (mut start, end) = (run.start, run.end());
        // Each turn takes at least one.
        while start < end {
            let fits = (u32::BITS - 1).saturating_sub(end.saturating_sub(start).leading_zeros());
            let order = start.trailing_zeros().min(fits).min(max_order);
            if let Some(count) = self.buddies.get_mut(order as usize) {
                *count = count.saturating_add(1);
            }
            start = start.saturating_add(1u32.wrapping_shl(order));
        }
    }

    /// The order of the largest buddy; `None` if nothing is free.
    pub fn largest(&self) -> Option<u32> {
        let at = self.buddies.iter().rposition(|count| *count != 0)?;
        u32::try_from(at).ok()
    }

    /// The order by which C ext4 lists groups with runs of this length on average: half of it, so
    /// that all but the shortest are at least twice the list's. `None` if nothing is free.
    pub fn average(&self, block_bits: u32) -> Option<u32> {
        let length = self.free.checked_div(self.fragments)?;
        let bits = u32::BITS.saturating_sub(length.leading_zeros());
        // The last of the orders there are.
        let last = block_bits.saturating_add(1);
        Some(bits.saturating_sub(2).min(last))
    }
}
