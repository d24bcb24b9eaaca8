// SPDX-License-Identifier: GPL-2.0

//! Clusters that a transaction has freed, and what becomes of them when it has been committed.
//!
//! They can be had again then. With `discard` the device is told first that nobody needs what is
//! in them: not by the thread that commits, which must not wait for that, but by background work,
//! for which they wait in a list ([`Discards`]). A transaction that was given up may not be on disk,
//! nor the next before it, so nothing of it is discarded. Who needs space, or comes to an end,
//! [takes](release_all) them from the list as they are.
//!
//! What is freed one after another in a transaction often lies side by side: the blocks of files
//! that were made together, say. Such clusters wait as one run ([`Last`]).

use super::groups;
use crate::{
    engine::alloc::{first_block_of, Run},
    fs::{
        fault::Fault, groups::Locked, options::Toggles, trace::BlocksEvent, tx::Handle, Rext4Fs, Sb,
    },
    linux::{
        insist::insist,
        jbd2::{AtCommit, Commit, CommitCallback, OfSuper},
    },
    ondisk::{Corrupt, Group},
};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use kernel::{
    new_spinlock,
    prelude::*,
    sync::{Arc, SpinLock},
};

/// Milliseconds to the next look at a file system that is frozen.
const RETRY: u32 = 1000;

/// A run that may grow as long as its transaction is running: under the group's lock.
pub(super) struct Growing(AtomicU64);

impl Growing {
    fn pack(run: Run) -> u64 {
        (u64::from(run.start) << 32) | u64::from(run.len)
    }

    fn get(&self) -> Run {
        let packed = self.0.load(Relaxed);
        Run::new((packed >> 32) as u32, packed as u32)
    }
}

/// What has been freed last in a group.
pub(crate) struct Last {
    tid: u32,
    run: Arc<Growing>,
}

impl Last {
    /// The run and `more` together, if `more` is freed in transaction `tid` and beside it.
    fn joined(&self, tid: u32, more: Run) -> Option<Run> {
        let run = self.run.get();
        let start = if run.start.checked_add(run.len) == Some(more.start) {
            run.start
        } else if more.start.checked_add(more.len) == Some(run.start) {
            more.start
        } else {
            return None;
        };
        let len = run.len.checked_add(more.len)?;
        (self.tid == tid).then_some(Run::new(start, len))
    }
}

/// Clusters that a transaction has freed.
pub(super) struct Freed {
    group: Group,
    run: Arc<Growing>,
    /// Their place in the list, if they are to be discarded.
    node: Option<KBox<Node>>,
}

/// The same with what it takes to wait for the commit.
type Waiting = AtCommit<OfSuper<Rext4Fs>, Freed>;

impl CommitCallback<OfSuper<Rext4Fs>> for Freed {
    fn committed(mut self, owner: &OfSuper<Rext4Fs>, commit: Commit) {
        // Nobody adds to it any more.
        let run = self.run.get();
        match (self.node.take(), commit.result) {
            (Some(mut node), Ok(())) => {
                node.freed = Some((self.group, run));
                push(owner, node);
            }
            // Also of a transaction that was given up: nothing is written any more.
            _ => release(owner, self.group, run),
        }
    }
}

/// Memory for clusters that are going to be freed, so that nothing can fail afterwards.
pub(super) enum Ready {
    /// They wait with those that were freed last.
    Joins,
    /// They wait by themselves.
    Waits(Waiting, Arc<Growing>),
}

impl Ready {
    /// For `run` of the locked group, which is going to be freed in `handle`. Who frees it cannot do
    /// without, so there will be memory.
    pub(super) fn new(sb: &Sb, handle: &Handle<'_>, locked: &Locked<'_>, run: Run) -> Result<Self> {
        let last = locked.state.last_freed.as_ref().zip(handle.tid());
        if last.is_some_and(|(last, tid)| last.joined(tid, run).is_some()) {
            return Ok(Self::Joins);
        }
        insist(|| {
            let node = if sb.info().has(Toggles::DISCARD) {
                Some(KBox::new(Node::default(), GFP_KERNEL)?)
            } else {
                None
            };
            let growing = Arc::new(Growing(AtomicU64::new(Growing::pack(run))), GFP_KERNEL)?;
            let freed = Freed {
                group: locked.number,
                run: growing.clone(),
                node,
            };
            Ok(Self::Waits(AtCommit::new(freed, GFP_KERNEL)?, growing))
        })
    }

    /// `run` has been freed in `handle`: it can be had again when that has been committed, without a
    /// journal at once.
    pub(super) fn freed(self, sb: &Sb, handle: &Handle<'_>, mut locked: Locked<'_>, run: Run) {
        if let Ok(groups) = groups(sb) {
            groups.count_pending(run.len, false);
        }
        match self {
            Self::Joins => {
                let last = locked.state.last_freed.as_ref().zip(handle.tid());
                let joined = last.and_then(|(last, tid)| Some((last, last.joined(tid, run)?)));
                if let Some((last, joined)) = joined {
                    last.run.0.store(Growing::pack(joined), Relaxed);
                }
            }
            Self::Waits(waiting, run) => {
                locked.state.last_freed = handle.tid().map(|tid| Last { tid, run });
                drop(locked);
                if let Some(at_once) = handle.on_commit(waiting) {
                    let run = at_once.run.get();
                    if at_once.node.is_some() {
                        discard(sb, at_once.group, run);
                    }
                    release(sb, at_once.group, run);
                }
            }
        }
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
    BlocksEvent::Discard.of(sb, start.get(), blocks);
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
