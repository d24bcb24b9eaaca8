// SPDX-License-Identifier: GPL-2.0

//! How the search for free clusters goes: the numbers of `mb_stats`, which are only taken when
//! sysfs' attribute of that name says so.
//!
//! They have C ext4's names, and mean the same as far as this allocator does the same. Its criteria
//! are rounds of `engine::alloc::search`; there is none that looks for powers of two.

use crate::engine::alloc::search::Round;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use kernel::{seq_file::SeqFile, seq_print};

/// Names of the rounds, as criteria: the first is nobody's.
const CRITERIA: [&str; 5] = [
    "cr_p2_aligned_stats",
    "cr_goal_fast_stats",
    "cr_best_avail_stats",
    "cr_goal_slow_stats",
    "cr_any_free_stats",
];

/// The counts of one round.
#[derive(Default)]
struct OfRound {
    hits: AtomicU64,
    groups: AtomicU64,
    failed: AtomicU64,
}

/// All counts.
#[derive(Default)]
pub(crate) struct Stats {
    requests: AtomicU64,
    whole: AtomicU64,
    at_goal: AtomicU64,
    rounds: [OfRound; 5],
    /// Maps that were built, and how long that took in nanoseconds.
    maps: AtomicU64,
    nanoseconds: AtomicU64,
}

/// Where a round's counts are.
fn place(round: Round) -> usize {
    match round {
        Round::Goal | Round::Whole => 1,
        Round::Part => 2,
        Round::Least => 3,
        Round::All => 4,
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl Stats {
    /// A group has been looked into.
    pub(super) fn tried(&self, round: Round, found: bool) {
        if let Some(counts) = self.rounds.get(place(round)) {
            count(&counts.groups);
            count(if found { &counts.hits } else { &counts.failed });
        }
    }

    /// A search has ended; with the `whole` length or not, `at_goal` or not.
    pub(super) fn ended(&self, whole: bool, at_goal: bool) {
        count(&self.requests);
        if whole {
            count(&self.whole);
        }
        if at_goal {
            count(&self.at_goal);
        }
    }

    /// A map has been built.
    pub(in crate::fs) fn built(&self, nanoseconds: u64) {
        count(&self.maps);
        self.nanoseconds.fetch_add(nanoseconds, Relaxed);
    }

    /// Prints what has been counted, on a file system of so many groups.
    pub(crate) fn show(&self, groups: u32, out: &SeqFile) {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        let scanned = self
            .rounds
            .iter()
            .fold(0u64, |sum, round| sum.saturating_add(read(&round.groups)));
        seq_print!(out, "\treqs: {}\n", read(&self.requests));
        seq_print!(out, "\tsuccess: {}\n", read(&self.whole));
        seq_print!(out, "\tgroups_scanned: {}\n", scanned);
        for (name, round) in CRITERIA.iter().zip(&self.rounds) {
            seq_print!(out, "\t{}:\n", name);
            seq_print!(out, "\t\thits: {}\n", read(&round.hits));
            seq_print!(out, "\t\tgroups_considered: {}\n", read(&round.groups));
            // One look at a tree each.
            seq_print!(out, "\t\textents_scanned: {}\n", read(&round.groups));
            seq_print!(out, "\t\tuseless_loops: {}\n", read(&round.failed));
        }
        seq_print!(out, "\textents_scanned: {}\n", scanned);
        seq_print!(out, "\t\tgoal_hits: {}\n", read(&self.at_goal));
        seq_print!(out, "\t\tstream_goal_hits: 0\n");
        seq_print!(out, "\t\tlen_goal_hits: {}\n", read(&self.whole));
        seq_print!(out, "\t\t2^n_hits: 0\n");
        seq_print!(out, "\t\tbreaks: 0\n");
        seq_print!(out, "\t\tlost: 0\n");
        let built = read(&self.maps);
        seq_print!(out, "\tbuddies_generated: {}/{}\n", built, groups);
        seq_print!(out, "\tbuddies_time_used: {}\n", read(&self.nanoseconds));
    }
}
