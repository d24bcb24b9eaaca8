// SPDX-License-Identifier: GPL-2.0

//! Handles: an operation's part in the running transaction.
//!
//! jbd2 keeps a task's handle in `current`, hence a [`Handle`] is neither `Send` nor `Sync`, and
//! there is at most one per task. It is to be ended by [`Handle::stop`], which says whether the
//! changes may reach the disk; one that is dropped (an operation that failed on the way) is stopped
//! as well, and the journal's owner told if that shows that the journal has been given up.
//!
//! # A handle within a handle
//!
//! [`Handle::join`] in a task that has a handle of the same journal gives a second [`Handle`] on
//! it: one transaction, which goes on until the outer is stopped. jbd2 counts such handles but takes
//! no notice of the credits that the inner one asks for; here they are added to the outer's. If
//! jbd2 has no room for that (the transaction is about to be committed, and waits for this very
//! handle) the inner one draws on what the outer has left, provided that it is enough: an outer
//! operation that knows of the inner one counts it in, and nothing better can be done, since the
//! outer cannot move to another transaction half-way. For the same reason an inner handle cannot be
//! restarted.
//!
//! A handle of something else in `current` gives EINVAL. It may be anything: several file systems
//! keep structures of their own there, and jbd2 takes each for a handle. So whether it is one of our
//! journal is found out by reading through it in a way that cannot fault.
//!
//! # Without a journal
//!
//! A handle has nothing inside. Starting one only keeps allocations from recursing into file
//! systems, as jbd2 does for its handles; `current` is left alone, since nothing waits for it.

use super::{
    commit::{AtCommit, Commit, CommitCallback},
    journal::{LoadedJournal, Owner},
    outside::NoHandle,
};
use crate::linux::{bindings, insist::insist, nofs::NoFs, super_block::check};
use core::{
    cell::Cell,
    mem::{self, offset_of},
    ptr::{self, NonNull},
};
use kernel::{
    error::from_err_ptr,
    ffi::{c_int, c_void},
    prelude::*,
    types::NotThreadSafe,
};

/// Room in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Credits {
    /// How many blocks may be changed; one that is changed twice counts once.
    pub(crate) blocks: u32,
    /// How many blocks of metadata may be freed ([`Handle::revoke`]). The blocks of the log that
    /// the records take come on top of `blocks` by themselves.
    pub(crate) revokes: u32,
}

/// Whether a handle could be given more credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Room {
    /// Yes.
    Granted,
    /// No: the transaction is full, or about to be committed. The operation has to bring what it
    /// changes into a consistent state and [`restart`](Handle::restart).
    Full,
}

/// The part of a handle that does not depend on whose journal it is.
///
/// # Invariants
///
/// `raw`, if any, is a handle of jbd2's that the current task holds a reference to.
pub(super) struct Core {
    raw: Option<NonNull<bindings::handle_t>>,
    /// Without a journal; until the handle is stopped.
    nofs: Option<NoFs>,
    /// Without a journal: changed blocks are written at once.
    sync: Cell<bool>,
    /// The first error of what cannot report one itself.
    error: Cell<Option<Error>>,
    /// Blocks that were asked for, and that were changed through this very handle. The latter is
    /// counted, and compared, in debug builds.
    asked: Cell<u32>,
    used: Cell<c_int>,
    _not_send: NotThreadSafe,
}

impl Core {
    fn new(raw: Option<NonNull<bindings::handle_t>>) -> Self {
        Self {
            nofs: raw.is_none().then(NoFs::new),
            raw,
            sync: Cell::new(false),
            error: Cell::new(None),
            asked: Cell::new(0),
            used: Cell::new(0),
            _not_send: NotThreadSafe,
        }
    }

    /// jbd2's handle; `None` without a journal.
    #[inline]
    pub(super) fn raw(&self) -> Option<*mut bindings::handle_t> {
        self.raw.map(NonNull::as_ptr)
    }

    /// jbd2's handle, which has a transaction; `None` without a journal.
    ///
    /// Errors: EROFS when the journal has been given up, or a restart has failed.
    #[inline]
    pub(super) fn live(&self) -> Result<Option<*mut bindings::handle_t>> {
        match self.raw {
            // SAFETY: by the type invariant.
            Some(raw) if unsafe { bindings::handle_is_aborted(raw.as_ptr()) } => Err(EROFS),
            raw => Ok(raw.map(NonNull::as_ptr)),
        }
    }

    /// Whether changed blocks are to be written at once, there being no journal.
    #[inline]
    pub(super) fn writes_through(&self) -> bool {
        self.sync.get()
    }

    /// Notes an error for [`Handle::stop`] to return.
    #[cold]
    pub(super) fn fail(&self, error: Error) {
        if self.error.get().is_none() {
            self.error.set(Some(error));
        }
    }

    /// As [`fail`](Self::fail), for a change that is in memory and could not be put into the
    /// transaction: the journal is given up, or the disk would come to hold the other half.
    #[cold]
    pub(super) fn give_up(&self, error: Error) {
        self.fail(error);
        let Ok(Some(raw)) = self.live() else {
            return;
        };
        // SAFETY: by the type invariant; a live handle has a transaction and that a journal. This
        // waits for no handle.
        unsafe {
            let journal = (*(*raw).__bindgen_anon_1.h_transaction).t_journal;
            bindings::jbd2_journal_abort(journal, error.to_errno());
        }
    }

    /// Notes what the handle may use from now on.
    fn grant(&self, blocks: u32) {
        self.asked.set(blocks);
        self.used.set(0);
    }

    /// Calls jbd2 with a live handle, `raw`, and takes down the credits that it has used up or got
    /// back, in debug builds.
    #[inline]
    pub(super) fn counted<R>(&self, raw: *mut bindings::handle_t, f: impl FnOnce() -> R) -> R {
        // SAFETY: by the type invariant; the handle is this task's, and `f` does not end it.
        let left = || unsafe { (*raw).h_total_credits };
        if cfg!(debug_assertions) {
            let before = left();
            let r = f();
            let used = before.wrapping_sub(left());
            self.used.set(self.used.get().saturating_add(used));
            r
        } else {
            f()
        }
    }

    /// In debug builds: warns if more blocks were changed than were asked for. A handle within a
    /// handle may take from its outer one without anybody noticing otherwise.
    fn check_credits(&self) {
        if cfg!(debug_assertions) {
            let over = i64::from(self.used.get()) > i64::from(self.asked.get());
            // SAFETY: prints a warning at most.
            unsafe { bindings::warn_on_once(over) };
        }
    }

    /// Stops the handle, unless that has been done.
    fn finish(&mut self) -> Result {
        let mut result = self.error.take().map_or(Ok(()), Err);
        if let Some(raw) = self.raw.take() {
            self.check_credits();
            // SAFETY: by the type invariant; the reference is given up, and `raw` forgotten.
            let stopped = check(unsafe { bindings::jbd2_journal_stop(raw.as_ptr()) });
            result = result.and(stopped);
        }
        self.nofs = None;
        result
    }
}

/// An operation's part in the running transaction.
#[must_use = "a handle that is dropped at once protects nothing"]
pub(crate) struct Handle<'a, O: Owner> {
    pub(super) core: Core,
    journal: Option<&'a LoadedJournal<'a, O>>,
}

impl<'a, O: Owner> Handle<'a, O> {
    /// Starts a handle with room for `credits`, and that for `reserved` more blocks in a handle of
    /// its own ([`take_reserved`](Self::take_reserved)). `kind` is for statistics.
    ///
    /// May wait for a commit. Errors: EROFS when the journal has been given up; ENOSPC for more
    /// than [`max_credits`](LoadedJournal::max_credits); EINVAL when a handle is open after all,
    /// and is not of this journal; ENOMEM.
    pub(crate) fn start(
        journal: Option<&'a LoadedJournal<'a, O>>,
        _outside: &'a mut NoHandle,
        credits: Credits,
        reserved: u32,
        kind: u8,
    ) -> Result<Self> {
        Self::begin(journal, credits, reserved, kind, false)
    }

    /// As [`start`](Self::start), but waits until there is memory for it.
    ///
    /// Errors: as `start`, but ENOMEM.
    pub(crate) fn insist(
        journal: Option<&'a LoadedJournal<'a, O>>,
        _outside: &'a mut NoHandle,
        credits: Credits,
        kind: u8,
    ) -> Result<Self> {
        Self::begin(journal, credits, 0, kind, true)
    }

    /// As [`start`](Self::start) when the task has no handle open; when it has one of this journal,
    /// takes part in it, and adds to its credits.
    ///
    /// Errors: as `start`; ENOSPC also when there is no room for so many credits, and the outer
    /// handle has not so many left.
    pub(crate) fn join(
        journal: Option<&'a LoadedJournal<'a, O>>,
        credits: Credits,
        kind: u8,
    ) -> Result<Self> {
        Self::begin(journal, credits, 0, kind, false)
    }

    #[inline]
    fn begin(
        journal: Option<&'a LoadedJournal<'a, O>>,
        credits: Credits,
        reserved: u32,
        kind: u8,
        patient: bool,
    ) -> Result<Self> {
        let Some(j) = journal else {
            return Ok(Self {
                core: Core::new(None),
                journal,
            });
        };
        // SAFETY: reads a field of the current task that only the task itself changes.
        let outer = unsafe { bindings::journal_info_here() };
        if !outer.is_null() {
            return Self::within(j, outer.cast(), credits, kind);
        }
        // jbd2 would print a warning.
        fits(j, credits, reserved)?;
        let start = || {
            // SAFETY: the journal is loaded and alive, and `current` has no handle.
            from_err_ptr(unsafe {
                bindings::jbd2__journal_start(
                    j.as_raw(),
                    as_int(credits.blocks),
                    as_int(reserved),
                    as_int(credits.revokes),
                    bindings::GFP_NOFS,
                    kind.into(),
                    0,
                )
            })
        };
        let raw = if patient { insist(start) } else { start() }.inspect_err(|_| j.0.tell())?;
        // INVARIANT: `jbd2__journal_start` returned a handle with a reference that is ours.
        let core = Core::new(NonNull::new(raw));
        core.grant(credits.blocks);
        Ok(Self { core, journal })
    }

    /// Takes part in `outer`, which `current` has.
    #[cold]
    fn within(
        j: &'a LoadedJournal<'a, O>,
        outer: *mut bindings::handle_t,
        credits: Credits,
        kind: u8,
    ) -> Result<Self> {
        if !is_of(outer, j.as_raw()) {
            return Err(EINVAL);
        }
        // SAFETY: as in `begin`; `current` has a handle of this very journal, so this only counts
        // one more user of it.
        let raw = from_err_ptr(unsafe {
            bindings::jbd2__journal_start(j.as_raw(), 0, 0, 0, bindings::GFP_NOFS, kind.into(), 0)
        })?;
        let handle = Self {
            // INVARIANT: as in `begin`.
            core: Core::new(NonNull::new(raw)),
            journal: Some(j),
        };
        let left = handle.remaining();
        if handle.extend(credits)? == Room::Full
            && (left.blocks < credits.blocks || left.revokes < credits.revokes)
        {
            return Err(ENOSPC);
        }
        handle.core.grant(credits.blocks);
        Ok(handle)
    }

    /// Ends the handle. If it was [`sync`](Self::sync), waits for the commit.
    ///
    /// Errors: EIO when the journal has been given up: what the handle has changed will not reach
    /// the disk. Without a journal, the error of a synchronous write.
    pub(crate) fn stop(mut self) -> Result {
        self.close()
    }

    fn close(&mut self) -> Result {
        let result = self.core.finish();
        if result.is_err() {
            if let Some(journal) = self.journal {
                journal.0.tell();
            }
        }
        result
    }

    /// Whether there is a journal.
    #[inline]
    pub(crate) fn is_journalled(&self) -> bool {
        self.core.raw.is_some()
    }

    /// The number of the handle's transaction, which [`LoadedJournal::commit_and_wait`] takes;
    /// `None` without a journal, and when it has been given up.
    pub(crate) fn tid(&self) -> Option<u32> {
        let raw = self.core.live().ok()??;
        // SAFETY: a live handle has a transaction, which stays while it is open.
        Some(unsafe { (*(*raw).__bindgen_anon_1.h_transaction).t_tid })
    }

    /// What has not been used of the credits: none when the journal has been given up, any number
    /// without one.
    pub(crate) fn remaining(&self) -> Credits {
        match self.core.live() {
            // SAFETY: a live handle of this task.
            Ok(Some(raw)) => unsafe {
                Credits {
                    blocks: u32::try_from(bindings::handle_buffer_credits(raw)).unwrap_or(0),
                    revokes: u32::try_from((*raw).h_revoke_credits).unwrap_or(0),
                }
            },
            Ok(None) => Credits {
                blocks: u32::MAX,
                revokes: u32::MAX,
            },
            Err(_) => Credits::default(),
        }
    }

    /// Adds to the credits, if there is room for that. Does not wait.
    ///
    /// Errors: EROFS when the journal has been given up.
    pub(crate) fn extend(&self, more: Credits) -> Result<Room> {
        let Some(raw) = self.core.live()? else {
            return Ok(Room::Granted);
        };
        // SAFETY: a live handle of this task.
        let ret = unsafe {
            bindings::jbd2_journal_extend(raw, as_int(more.blocks), as_int(more.revokes))
        };
        match ret {
            0 => {
                let asked = self.core.asked.get();
                self.core.asked.set(asked.saturating_add(more.blocks));
                Ok(Room::Granted)
            }
            1.. => Ok(Room::Full),
            e => Err(Error::from_errno(e)),
        }
    }

    /// Sees to it that at least `needed` is [`remaining`](Self::remaining), if there is room.
    ///
    /// Errors: as [`extend`](Self::extend).
    pub(crate) fn ensure(&self, needed: Credits) -> Result<Room> {
        let left = self.remaining();
        let missing = Credits {
            blocks: needed.blocks.saturating_sub(left.blocks),
            revokes: needed.revokes.saturating_sub(left.revokes),
        };
        if missing == Credits::default() && self.core.live().is_ok() {
            return Ok(Room::Granted);
        }
        self.extend(missing)
    }

    /// Ends the handle's part in its transaction, asks for that to be committed, and goes on with
    /// room for `credits`: in the next transaction, or in the same if nobody has begun to commit it
    /// yet. What has been changed so far must be consistent by itself, and write access has to be
    /// taken anew: the borrow rules see to that.
    ///
    /// May wait for a commit, so nothing may be held that another handle's owner waits for. Errors:
    /// EBUSY within another handle; ENOSPC for more than the journal's maximum; EROFS when the
    /// journal has been given up. After the latter the handle can only be stopped.
    pub(crate) fn restart(&mut self, credits: Credits) -> Result {
        let (Some(raw), Some(journal)) = (self.core.live()?, self.journal) else {
            return Ok(());
        };
        // SAFETY: a live handle of this task.
        if unsafe { (*raw).h_ref } != 1 {
            return Err(EBUSY);
        }
        fits(journal, credits, 0)?;
        self.core.check_credits();
        // SAFETY: a live handle of this task with no other user; no `Edit` of it is alive, since
        // each borrows it and `self` is exclusive.
        check(unsafe {
            bindings::jbd2__journal_restart(
                raw,
                as_int(credits.blocks),
                as_int(credits.revokes),
                bindings::GFP_NOFS,
            )
        })
        .inspect_err(|_| journal.0.tell())?;
        self.core.grant(credits.blocks);
        Ok(())
    }

    /// Makes [`stop`](Self::stop) wait until the changes are on disk (O_SYNC). Without a journal
    /// blocks are written when they are changed, from now on.
    pub(crate) fn sync(&self) {
        match self.core.raw() {
            // SAFETY: by the type invariant of `Core`; flags of a handle are its task's.
            Some(raw) => unsafe { (*raw).set_h_sync(1) },
            None => self.core.sync.set(true),
        }
    }

    /// The transaction refers to data that has been written and may be in the cache of the data's
    /// device: a commit to a journal on another device flushes that first.
    pub(crate) fn need_data_flush(&self) {
        if let Ok(Some(raw)) = self.core.live() {
            // SAFETY: a live handle has a transaction; a word that handles only ever set to 1, and
            // that is read when no handle is open.
            unsafe {
                let transaction = (*raw).__bindgen_anon_1.h_transaction;
                (&raw mut (*transaction).t_need_data_flush).write_volatile(1);
            }
        }
    }

    /// Has `item` called back when the handle's transaction has been committed. Cannot fail.
    ///
    /// Without a journal there is nothing to wait for, and the item comes back.
    pub(crate) fn on_commit<T: CommitCallback<O>>(&self, item: AtCommit<O, T>) -> Option<T> {
        let Some(journal) = self.journal else {
            return Some(item.into_inner());
        };
        let private = journal.0.private();
        let raw = self.core.raw();
        // SAFETY: by the type invariant of `Core`; either arm of the union is a pointer. A handle
        // whose restart has failed has none.
        let transaction = raw.map_or(ptr::null_mut(), |raw| unsafe {
            (*raw).__bindgen_anon_1.h_transaction
        });
        if transaction.is_null() {
            let result = Err(EROFS);
            item.into_inner()
                .committed(&private.owner, Commit { tid: 0, result });
        } else {
            // SAFETY: the transaction is not committed while the handle is open. One that has been
            // given up gets its callback as well.
            let tid = unsafe { (*transaction).t_tid };
            private.at_commit.push(tid, item);
        }
        None
    }

    /// Takes the handle that was reserved at the start; `None` if none was, or it has been taken.
    /// `journal` is this handle's once more: what was reserved outlives the handle and what that
    /// borrows.
    pub(crate) fn take_reserved<'j>(
        &self,
        journal: &'j LoadedJournal<'j, O>,
    ) -> Option<Reserved<'j, O>> {
        let raw = self.core.raw()?;
        if self.journal?.as_raw() != journal.as_raw() {
            return None;
        }
        // SAFETY: by the type invariant of `Core`; the reserved handle is this handle's until it is
        // taken out, which makes it ours.
        let reserved = unsafe { mem::replace(&mut (*raw).h_rsv_handle, ptr::null_mut()) };
        // INVARIANT: taken out of the handle that owned it.
        Some(Reserved {
            raw: NonNull::new(reserved)?,
            journal,
        })
    }
}

impl<O: Owner> Drop for Handle<'_, O> {
    fn drop(&mut self) {
        // The owner has been told; there is nobody else to tell.
        let _ = self.close();
    }
}

/// Credits that were reserved with a handle, for a handle that can be started, in any task, without
/// waiting for room in the log. Dropping it gives them back.
///
/// # Invariants
///
/// `raw` is a reserved handle of `journal` that has not been started, and is ours.
#[must_use]
pub(crate) struct Reserved<'a, O: Owner> {
    raw: NonNull<bindings::handle_t>,
    journal: &'a LoadedJournal<'a, O>,
}

// SAFETY: a handle that has not been started belongs to no task.
unsafe impl<O: Owner> Send for Reserved<'_, O> {}

impl<'a, O: Owner> Reserved<'a, O> {
    /// Starts the handle. Waits for memory or a frozen journal only. It has no credits for revoke
    /// records.
    ///
    /// Errors: EROFS when the journal has been given up; EINVAL when a handle is open after all.
    pub(crate) fn start<'h>(self, _outside: &'h mut NoHandle, kind: u8) -> Result<Handle<'h, O>>
    where
        'a: 'h,
    {
        // SAFETY: reads a field of the current task that only the task itself changes.
        if !unsafe { bindings::journal_info_here() }.is_null() {
            return Err(EINVAL);
        }
        let (raw, journal) = (self.raw, self.journal);
        mem::forget(self);
        // SAFETY: by the type invariant; it is started, or freed on an error.
        check(unsafe { bindings::jbd2_journal_start_reserved(raw.as_ptr(), kind.into(), 0) })
            .inspect_err(|_| journal.0.tell())?;
        // INVARIANT: started, with one reference, which is ours.
        let core = Core::new(Some(raw));
        // SAFETY: the handle is this task's.
        let blocks = unsafe { (*raw.as_ptr()).h_total_credits };
        core.grant(u32::try_from(blocks).unwrap_or(0));
        Ok(Handle {
            core,
            journal: Some(journal),
        })
    }
}

impl<O: Owner> Drop for Reserved<'_, O> {
    fn drop(&mut self) {
        // SAFETY: by the type invariant; it is not used after.
        unsafe { bindings::jbd2_journal_free_reserved(self.raw.as_ptr()) };
    }
}

/// For jbd2, which counts in `int` and adds: nothing that has room for so many exists.
fn as_int(n: u32) -> c_int {
    n.min(1 << 24) as c_int
}

/// Whether a transaction of `journal` can be so large at all.
///
/// Errors: ENOSPC.
fn fits<O: Owner>(journal: &LoadedJournal<'_, O>, credits: Credits, reserved: u32) -> Result {
    let max = journal.max_credits();
    let total = credits
        .blocks
        .saturating_add(journal.revoke_blocks(credits.revokes))
        .saturating_add(reserved);
    if total > max || reserved > max / 2 {
        return Err(ENOSPC);
    }
    Ok(())
}

/// Whether `handle`, which somebody has put into `current`, is a handle of `journal`.
///
/// It is one if it leads to `journal` as a handle does. Nothing else can: a pointer to a journal at
/// the beginning of something that is pointed to at the beginning of something is in transactions
/// and handles only, and whoever keeps other things in `current` knows nothing of our journals.
fn is_of(handle: *mut bindings::handle_t, journal: *mut bindings::journal_t) -> bool {
    let field = offset_of!(bindings::handle_t, __bindgen_anon_1);
    let transaction: *mut bindings::transaction_t = match read(handle.wrapping_byte_add(field)) {
        Some(p) => p,
        None => return false,
    };
    let field = offset_of!(bindings::transaction_t, t_journal);
    read(transaction.wrapping_byte_add(field)) == Some(journal)
}

/// Reads the pointer at `at`, if there is memory.
fn read<T, P>(at: *mut P) -> Option<*mut T> {
    let mut found = ptr::null_mut::<T>();
    // SAFETY: writes to a variable of ours; that it can be read from `at` is checked while it is
    // done, and every value is a pointer.
    let ret = unsafe {
        bindings::copy_from_kernel_nofault(
            (&raw mut found).cast::<c_void>(),
            at.cast::<c_void>(),
            mem::size_of::<*mut T>(),
        )
    };
    (ret == 0 && !found.is_null()).then_some(found)
}
