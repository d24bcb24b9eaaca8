// SPDX-License-Identifier: GPL-2.0

//! Clusters that a transaction has freed, and what becomes of them when it has been committed.
//!
//! They can be had again then. With `discard` the device is told first that nobody needs what is
//! in them: not by the thread that commits, which must not wait for that, but by background work,
//! for which they wait in a list ([`Discards`]). A transaction that was given up may not be on disk,
//! nor the next before it, so nothing of it is discarded. Who needs space, or comes to an end,
//! [takes](release_all) them from the list as they are.

use super::groups;
use crate::{
    engine::alloc::{first_block_of, Run},
    fs::{fault::Fault, options::Toggles, tx::Handle, Rext4Fs, Sb},
    linux::jbd2::{AtCommit, Commit, CommitCallback, OfSuper},
    ondisk::{Corrupt, Group},
};
use kernel::{new_spinlock, prelude::*, sync::SpinLock};

/// Milliseconds to the next look at a file system that is frozen.
const RETRY: u32 = 1000;

/// Clusters that a transaction has freed.
pub(super) struct Freed {
    group: Group,
    run: Run,
    /// Their place in the list, if they are to be discarded.
    node: Option<KBox<Node>>,
}

/// The same with what it takes to wait for the commit.
type Waiting = AtCommit<OfSuper<Rext4Fs>, Freed>;

impl CommitCallback<OfSuper<Rext4Fs>> for Freed {
    fn committed(mut self, owner: &OfSuper<Rext4Fs>, commit: Commit) {
        match (self.node.take(), commit.result) {
            (Some(mut node), Ok(())) => {
                node.freed = Some((self.group, self.run));
                push(owner, node);
            }
            // Also of a transaction that was given up: nothing is written any more.
            _ => release(owner, self.group, self.run),
        }
    }
}

impl Freed {
    /// Clusters that are going to be freed.
    ///
    /// Errors: ENOMEM.
    pub(super) fn new(sb: &Sb, group: Group, run: Run) -> Result<Waiting> {
        let node = if sb.info().has(Toggles::DISCARD) {
            Some(KBox::new(Node::default(), GFP_KERNEL)?)
        } else {
            None
        };
        AtCommit::new(Self { group, run, node }, GFP_KERNEL)
    }
}

/// The clusters have been freed in `handle`: they can be had again when that has been committed,
/// without a journal at once.
pub(super) fn later(sb: &Sb, handle: &Handle<'_>, freed: Waiting) {
    if let Ok(groups) = groups(sb) {
        groups.count_pending(freed.run.len, false);
    }
    if let Some(at_once) = handle.on_commit(freed) {
        if at_once.node.is_some() {
            discard(sb, at_once.group, at_once.run);
        }
        release(sb, at_once.group, at_once.run);
    }
}

/// The clusters can be had again.
fn release(sb: &Sb, group: Group, run: Run) {
    let Ok(groups) = groups(sb) else {
        return;
    };
    groups.count_pending(run.len, true);
    let Some(mut locked) = groups.lock(group) else {
        return;
    };
    let wrong = match locked.committed(run) {
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

/// Tells the device that nobody needs the clusters. Whether it listens does not matter.
fn discard(sb: &Sb, group: Group, run: Run) {
    let geo = &sb.info().geometry;
    let start = first_block_of(geo, group, run.start);
    let blocks = u64::from(run.len) << (geo.cluster_bits() & 31);
    let _ = sb.discard(start.get(), blocks);
}

/// An entry of the list.
#[derive(Default)]
struct Node {
    freed: Option<(Group, Run)>,
    next: Option<KBox<Node>>,
}

/// The list of clusters that are to be discarded before they can be had again.
pub(crate) struct Discards(Pin<KBox<SpinLock<Option<KBox<Node>>>>>);

impl Discards {
    /// An empty list.
    ///
    /// Errors: ENOMEM.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(KBox::pin_init(new_spinlock!(None), GFP_KERNEL)?))
    }

    fn pop(&self) -> Option<(Group, Run)> {
        let node = {
            let mut first = self.0.lock();
            let mut node = first.take()?;
            *first = node.next.take();
            node
        };
        node.freed
    }
}

impl Drop for Discards {
    fn drop(&mut self) {
        // One by one: each owns the next.
        while self.pop().is_some() {}
    }
}

fn push(sb: &Sb, mut node: KBox<Node>) {
    let Ok(groups) = groups(sb) else {
        return;
    };
    {
        let mut first = groups.discards.0.lock();
        node.next = first.take();
        *first = Some(node);
    }
    // Whoever is stopping takes them from the list.
    if !sb.is_stopping() {
        sb.start_background(0);
    }
}

/// A step of the background work: discards what is in the list. The milliseconds to the next step.
pub(crate) fn discard_step(sb: &Sb) -> Option<u32> {
    let groups = sb.info().groups.as_ref()?;
    loop {
        if sb.is_stopping() || groups.discards.0.lock().is_none() {
            return None;
        }
        let Some(_write) = sb.try_start_write() else {
            return Some(RETRY);
        };
        let (group, run) = groups.discards.pop()?;
        if sb.info().has(Toggles::DISCARD) {
            discard(sb, group, run);
        }
        release(sb, group, run);
    }
}

/// Releases what is in the list, without telling the device, and what is kept for files.
pub(crate) fn release_all(sb: &Sb) {
    super::give_up_all(sb);
    let Some(groups) = sb.info().groups.as_ref() else {
        return;
    };
    while let Some((group, run)) = groups.discards.pop() {
        release(sb, group, run);
    }
}
