// SPDX-License-Identifier: GPL-2.0

//! What is to be done once a transaction has been committed: blocks that it has freed may be used
//! again only then, since a crash before would bring back what they were part of.
//!
//! The memory for it is allocated when the operation is prepared ([`AtCommit::new`]); handing it
//! over ([`Handle::on_commit`](super::Handle::on_commit)) cannot fail.
//!
//! jbd2 has one callback per journal and nothing per transaction, so the queue is the journal's.
//! Two lists suffice, for transactions with even and with odd numbers: numbers are given out one by
//! one, a transaction begins to run when the one before begins to be committed, and that in turn
//! only when the callback of the one before it has returned. So at any time at most two
//! transactions have not been called back, and they are neighbours. While a transaction's handles
//! are open it is not committed: the lists need no lock, only an atomic push among handles.

use super::journal::{Owner, Private};
use crate::linux::bindings;
use core::{
    ops::{Deref, DerefMut},
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};
use kernel::{alloc::Flags, prelude::*};

/// Something to be done after a commit.
pub(crate) trait CommitCallback<O: Owner>: Send + 'static {
    /// Called once, by jbd2's thread, after the transaction has been committed, or given up: see
    /// [`Commit::result`]. In the order in which the callbacks of a transaction were added. May
    /// sleep, but holds up the next commit; must not start a handle or wait for a commit.
    ///
    /// jbd2 counts a transaction as committed just before: somebody who waits for the commit may go
    /// on while this still runs.
    fn committed(self, owner: &O, commit: Commit);
}

/// What has become of a transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Commit {
    /// Its number.
    pub(crate) tid: u32,
    /// EIO when the journal has been given up: then the transaction may be on disk or not.
    pub(crate) result: Result,
}

#[repr(C)]
struct Head<O> {
    next: *mut Head<O>,
    /// Consumes the node that the head is the first member of.
    run: unsafe fn(*mut Head<O>, &O, Commit),
}

#[repr(C)]
struct Node<O, T> {
    head: Head<O>,
    item: T,
}

/// A [`CommitCallback`] with the memory that it takes to wait for its commit. Derefs to what is in
/// it, so that it can be filled in between.
pub(crate) struct AtCommit<O, T>(KBox<Node<O, T>>);

impl<O: Owner, T: CommitCallback<O>> AtCommit<O, T> {
    /// Allocates the memory.
    ///
    /// Errors: ENOMEM.
    pub(crate) fn new(item: T, flags: Flags) -> Result<Self> {
        let head = Head {
            next: ptr::null_mut(),
            run: Self::run,
        };
        Ok(Self(KBox::new(Node { head, item }, flags)?))
    }

    /// What was to be done.
    pub(crate) fn into_inner(self) -> T {
        KBox::into_inner(self.0).item
    }

    /// # Safety
    ///
    /// `head` must be that of a `Node<O, T>` from `KBox::into_raw`, which this consumes.
    unsafe fn run(head: *mut Head<O>, owner: &O, commit: Commit) {
        // SAFETY: by contract; the head is the first member of a `repr(C)` struct.
        let node = unsafe { KBox::from_raw(head.cast::<Node<O, T>>()) };
        Self(node).into_inner().committed(owner, commit);
    }
}

impl<O, T> Deref for AtCommit<O, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.item
    }
}

impl<O, T> DerefMut for AtCommit<O, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0.item
    }
}

/// The callbacks of the transactions that have not been committed.
///
/// # Invariants
///
/// Each list consists of nodes that [`Queue::push`] was given, once each.
pub(super) struct Queue<O: Owner>([AtomicPtr<Head<O>>; 2]);

// SAFETY: the nodes hold items that are `Send` (`push` takes no others), and only one thread ever
// takes them out.
unsafe impl<O: Owner> Send for Queue<O> {}
// SAFETY: as above; the lists are changed atomically.
unsafe impl<O: Owner> Sync for Queue<O> {}

impl<O: Owner> Queue<O> {
    pub(super) const fn new() -> Self {
        Self([const { AtomicPtr::new(ptr::null_mut()) }; 2])
    }

    fn list(&self, tid: u32) -> &AtomicPtr<Head<O>> {
        let [even, odd] = &self.0;
        if tid & 1 == 0 {
            even
        } else {
            odd
        }
    }

    /// Adds a callback to transaction `tid`, in which the caller has an open handle.
    pub(super) fn push<T: CommitCallback<O>>(&self, tid: u32, item: AtCommit<O, T>) {
        let list = self.list(tid);
        let head: *mut Head<O> = KBox::into_raw(item.0).cast();
        let mut first = list.load(Ordering::Relaxed);
        loop {
            // SAFETY: ours until the exchange below succeeds.
            unsafe { (*head).next = first };
            match list.compare_exchange_weak(first, head, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => first = now,
            }
        }
    }

    /// Runs the callbacks of transaction `commit.tid`, in which no handle is open any more.
    pub(super) fn run(&self, owner: &O, commit: Commit) {
        let mut last = self
            .list(commit.tid)
            .swap(ptr::null_mut(), Ordering::Acquire);
        // The newest is first: turn the list round.
        let mut first: *mut Head<O> = ptr::null_mut();
        while !last.is_null() {
            let node = last;
            // SAFETY: a node of the list, by the type invariant; the swap has made it ours.
            unsafe {
                last = (*node).next;
                (*node).next = first;
            }
            first = node;
        }
        while !first.is_null() {
            let node = first;
            // SAFETY: as above; `run` is that of the node's type, and consumes it.
            unsafe {
                first = (*node).next;
                ((*node).run)(node, owner, commit);
            }
        }
    }
}

impl<O: Owner> Drop for Queue<O> {
    fn drop(&mut self) {
        // jbd2 calls back for every transaction before a journal is destroyed.
        let [even, odd] = &mut self.0;
        debug_assert!(even.get_mut().is_null() && odd.get_mut().is_null());
    }
}

/// `j_commit_callback`.
///
/// # Safety
///
/// For the kernel only, with the arguments that this operation is documented to get.
pub(super) unsafe extern "C" fn callback<O: Owner>(
    journal: *mut bindings::journal_t,
    transaction: *mut bindings::transaction_t,
) {
    // SAFETY: jbd2 calls this once for each transaction of a journal that `Journal::adopt` has made,
    // before it is destroyed; numbers do not change.
    unsafe {
        let private = &*(*journal).j_private.cast::<Private<O>>();
        private.committed(journal, (*transaction).t_tid);
    }
}
