// SPDX-License-Identifier: GPL-2.0

//! Clusters that a transaction has freed, and what becomes of them when it has been committed.

use super::groups;
use crate::{
    engine::alloc::Run,
    fs::{fault::Fault, tx::Handle, Rext4Fs, Sb},
    linux::jbd2::{AtCommit, Commit, CommitCallback, OfSuper},
    ondisk::{Corrupt, Group},
};
use kernel::prelude::*;

/// Clusters that a transaction has freed.
pub(super) struct Freed {
    group: Group,
    run: Run,
}

/// The same with what it takes to wait for the commit.
type Waiting = AtCommit<OfSuper<Rext4Fs>, Freed>;

impl CommitCallback<OfSuper<Rext4Fs>> for Freed {
    fn committed(self, owner: &OfSuper<Rext4Fs>, _commit: Commit) {
        // Also of a transaction that was given up: nothing is written any more.
        self.release(owner);
    }
}

impl Freed {
    /// Clusters that are going to be freed.
    ///
    /// Errors: ENOMEM.
    pub(super) fn new(group: Group, run: Run) -> Result<Waiting> {
        AtCommit::new(Self { group, run }, GFP_KERNEL)
    }

    /// The clusters can be had again.
    fn release(&self, sb: &Sb) {
        let Ok(groups) = groups(sb) else {
            return;
        };
        groups.count_pending(self.run.len, true);
        let Some(mut locked) = groups.lock(self.group) else {
            return;
        };
        let wrong = match locked.committed(self.run) {
            Ok(()) => None,
            // The map is not what it should be.
            Err(e) => Some(locked.distrust_clusters(Fault::from(Corrupt::from(e)))),
        };
        locked.publish_longest();
        drop(locked);
        if let Some(e) = wrong {
            let _ = e.report(sb, 0, "block bitmap");
        }
    }
}

/// The clusters have been freed in `handle`: they can be had again when that has been committed,
/// without a journal at once.
pub(super) fn later(sb: &Sb, handle: &Handle<'_>, freed: Waiting) {
    if let Ok(groups) = groups(sb) {
        groups.count_pending(freed.run.len, false);
    }
    if let Some(at_once) = handle.on_commit(freed) {
        at_once.release(sb);
    }
}
