// SPDX-License-Identifier: GPL-2.0

//! What can be done to a whole journal: commits, freezing, giving it up, parameters.

use super::{
    journal::{LoadedJournal, Owner},
    outside::NoHandle,
};
use crate::linux::{bindings, super_block::check};
use kernel::{ffi::c_int, prelude::*, types::NotThreadSafe};

/// Which checksums a journal has in its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checksums {
    /// None.
    None,
    /// One per transaction, of old.
    Compat,
    /// One per block (version 3): what a file system with `metadata_csum` uses.
    V3,
}

/// Features of a journal that a file system chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JournalFeatures {
    /// See [`Checksums`].
    pub(crate) checksums: Checksums,
    /// Block numbers of 64 bits.
    pub(crate) wide: bool,
    /// The commit record is written without waiting for the blocks before it.
    pub(crate) async_commit: bool,
}

/// What becomes of a journal's blocks when it is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Emptied {
    /// They stay as they are, and are no longer read.
    Left,
    /// They are discarded.
    Discarded,
    /// They are filled with zeros.
    Zeroed,
}

impl<O: Owner> LoadedJournal<'_, O> {
    pub(super) fn as_raw(&self) -> *mut bindings::journal_t {
        self.0.raw.as_ptr()
    }

    /// Whether the journal has been given up: nothing more reaches the disk.
    #[inline]
    pub(crate) fn is_aborted(&self) -> bool {
        self.0.is_aborted()
    }

    /// Gives up the journal because of `error`, which is recorded in its superblock on disk. What
    /// has not been committed is lost. May sleep.
    pub(crate) fn abort(&self, error: Error) {
        // SAFETY: by the type invariant of `Raw`.
        unsafe { bindings::jbd2_journal_abort(self.as_raw(), error.to_errno()) };
        self.0.tell();
    }

    /// The most blocks that a handle may have credits for, those reserved with it and those for
    /// its revoke records included.
    pub(crate) fn max_credits(&self) -> u32 {
        // SAFETY: by the type invariant of `Raw`; these change only with the features.
        let blocks = unsafe {
            let raw = self.as_raw();
            (*raw)
                .j_max_transaction_buffers
                .saturating_sub((*raw).j_transaction_overhead_buffers)
        };
        u32::try_from(blocks).unwrap_or(0)
    }

    /// The blocks that `revokes` revoke records take.
    pub(super) fn revoke_blocks(&self, revokes: u32) -> u32 {
        // SAFETY: as above.
        let per_block = unsafe { (*self.as_raw()).j_revoke_records_per_block };
        let per_block = u32::try_from(per_block).unwrap_or(1);
        // `div_ceil` has a check that can panic.
        let up = revokes.saturating_add(per_block.saturating_sub(1));
        up.checked_div(per_block).unwrap_or(revokes)
    }

    /// Where it is on its device: the first block, and how many there are.
    pub(crate) fn place(&self) -> (u64, u64) {
        let raw = self.as_raw();
        // SAFETY: by the type invariant of `Raw`; set when the journal is opened.
        unsafe { ((*raw).j_blk_offset, (*raw).j_total_len.into()) }
    }

    /// The number of the thread that commits, as the calling task knows it.
    pub(crate) fn task(&self) -> i32 {
        // SAFETY: by the type invariant of `Raw`; a loaded journal has its thread.
        unsafe { bindings::journal_task_pid(self.as_raw()) }
    }

    /// Commits everything that has been done so far, and waits for it.
    ///
    /// Errors: EIO when the journal has been given up.
    pub(crate) fn force_commit(&self, _: &NoHandle) -> Result {
        // SAFETY: by the type invariant of `Raw`; no handle is open.
        check(unsafe { bindings::jbd2_journal_force_commit(self.as_raw()) })
            // When the thread that commits is done with what was given up, jbd2 finds nothing to
            // wait for, and no fault.
            .and_then(|()| if self.is_aborted() { Err(EIO) } else { Ok(()) })
            .inspect_err(|_| self.0.tell())
    }

    /// Starts to commit the running transaction and returns its number, or that of the one that is
    /// being committed already; `None` if there is neither. Does not wait.
    pub(crate) fn start_commit(&self) -> Option<u32> {
        let mut tid = 0;
        // SAFETY: by the type invariant of `Raw`, with a variable of ours.
        let found = unsafe { bindings::jbd2_journal_start_commit(self.as_raw(), &mut tid) };
        (found != 0).then_some(tid)
    }

    /// Waits until transaction `tid` has been committed, and starts that if nobody has.
    ///
    /// Errors: EIO when the journal has been given up.
    pub(crate) fn commit_and_wait(&self, _: &NoHandle, tid: u32) -> Result {
        // SAFETY: by the type invariant of `Raw`; no handle is open.
        check(unsafe { bindings::jbd2_complete_transaction(self.as_raw(), tid) })
            .inspect_err(|_| self.0.tell())
    }

    /// The number of the transaction that was begun last: whatever has been changed so far is in
    /// it or in one before.
    ///
    /// Numbers are given out one by one, so it is that before the next one's: a word, where C ext4
    /// takes a lock to look for the running, the committing and the last committed transaction.
    #[inline]
    pub(crate) fn latest(&self) -> u32 {
        // SAFETY: by the type invariant of `Raw`; a word, stored at once under a lock of jbd2's.
        let next = unsafe { (&raw const (*self.as_raw()).j_transaction_sequence).read_volatile() };
        next.wrapping_sub(1)
    }

    /// Whether transaction `tid` has been committed.
    pub(crate) fn is_committed(&self, tid: u32) -> bool {
        // SAFETY: by the type invariant of `Raw`.
        unsafe { bindings::jbd2_transaction_committed(self.as_raw(), tid) != 0 }
    }

    /// Whether a commit of transaction `tid` is going to flush the cache of the data's device, so
    /// that an fsync that waits for it need not.
    pub(crate) fn will_flush(&self, tid: u32) -> bool {
        // SAFETY: by the type invariant of `Raw`.
        unsafe { bindings::jbd2_trans_will_send_data_barrier(self.as_raw(), tid) != 0 }
    }

    /// Commits everything and writes all blocks to their places, so that the journal is empty.
    ///
    /// Errors: EIO when the journal has been given up, or a block could not be written.
    pub(crate) fn flush(&self, outside: &NoHandle) -> Result {
        self.flush_and(outside, Emptied::Left)
    }

    /// As [`flush`](Self::flush), and does what `blocks` says to the journal's blocks.
    ///
    /// Errors: also EOPNOTSUPP, where they cannot be discarded.
    pub(crate) fn flush_and(&self, _: &NoHandle, blocks: Emptied) -> Result {
        let flags = match blocks {
            Emptied::Left => 0,
            Emptied::Discarded => bindings::JBD2_JOURNAL_FLUSH_DISCARD,
            Emptied::Zeroed => bindings::JBD2_JOURNAL_FLUSH_ZEROOUT,
        };
        // SAFETY: by the type invariant of `Raw`; no handle is open.
        check(unsafe { bindings::jbd2_journal_flush(self.as_raw(), flags) })
            .inspect_err(|_| self.0.tell())
    }

    /// Whether the device that the journal is on can discard blocks.
    pub(crate) fn can_discard(&self) -> bool {
        // SAFETY: by the type invariant of `Raw`; the device is open as long as the journal.
        unsafe { bindings::bdev_max_discard_sectors((*self.as_raw()).j_dev) != 0 }
    }

    /// Waits for all handles to be stopped, reserved ones to be used up, and lets nobody start a
    /// new one meanwhile.
    pub(crate) fn lock_updates<'t>(&'t self, outside: &'t mut NoHandle) -> UpdatesLocked<'t, O> {
        // SAFETY: by the type invariant of `Raw`; no handle is open here, or this would wait for
        // itself.
        unsafe { bindings::jbd2_journal_lock_updates(self.as_raw()) };
        UpdatesLocked {
            journal: self,
            outside,
            _not_send: NotThreadSafe,
        }
    }

    /// Tells lockdep that the caller may be about to wait for a commit. For those who wait for
    /// what a commit may wait for and lockdep does not see: the lock or the writeback of a folio.
    #[inline]
    pub(crate) fn might_wait_for_commit(&self) {
        // SAFETY: by the type invariant of `Raw`.
        unsafe { bindings::might_wait_for_commit(self.as_raw()) };
    }

    /// How old a transaction may get before it is committed, in seconds.
    pub(crate) fn set_commit_interval(&self, seconds: u32) {
        let jiffies = (seconds as usize).saturating_mul(bindings::HZ as usize);
        // SAFETY: by the type invariant of `Raw`; a word, which jbd2 reads for the next transaction.
        unsafe { (&raw mut (*self.as_raw()).j_commit_interval).write_volatile(jiffies) };
    }

    /// How long a synchronous handle waits for others to join its transaction, in microseconds.
    pub(crate) fn set_batch_times(&self, min: u32, max: u32) {
        // SAFETY: by the type invariant of `Raw`; words that jbd2 reads one by one.
        unsafe {
            (&raw mut (*self.as_raw()).j_min_batch_time).write_volatile(min);
            (&raw mut (*self.as_raw()).j_max_batch_time).write_volatile(max);
        }
    }

    /// The priority of the journal's own I/O: `level`, of 0 (highest) to 7, of the best-effort class.
    pub(crate) fn set_io_priority(&self, level: u32) {
        // SAFETY: by the type invariant of `Raw`; a journal that has been loaded has a thread, which
        // ends with it. Without memory for an I/O context nothing changes, which nobody minds.
        // CAST: three bits.
        unsafe { bindings::set_journal_ioprio(self.as_raw(), (level & 7) as c_int) };
    }

    /// Whether writes that must be on disk before others are flushed.
    pub(crate) fn set_barrier(&self, on: bool) {
        let flag = bindings::JBD2_BARRIER as usize;
        // SAFETY: by the type invariant of `Raw`; the lock is the flags', and is not kept.
        unsafe {
            let raw = self.as_raw();
            bindings::journal_state_lock(raw);
            if on {
                (*raw).j_flags |= flag;
            } else {
                (*raw).j_flags &= !flag;
            }
            bindings::journal_state_unlock(raw);
        }
    }

    /// Sets the features that the file system has chosen, and clears those that it has not. With
    /// that blocks can be revoked. To be called before the first handle is started; the first
    /// commit writes them to the disk.
    ///
    /// Errors: EINVAL for a journal of an old format, which cannot have them.
    pub(crate) fn set_features(&mut self, features: JournalFeatures) -> Result {
        let (compat, mut incompat) = match features.checksums {
            Checksums::None => (0, 0),
            Checksums::Compat => (bindings::JBD2_FEATURE_COMPAT_CHECKSUM, 0),
            Checksums::V3 => (0, bindings::JBD2_FEATURE_INCOMPAT_CSUM_V3),
        };
        incompat |= bindings::JBD2_FEATURE_INCOMPAT_REVOKE;
        if features.wide {
            incompat |= bindings::JBD2_FEATURE_INCOMPAT_64BIT;
        }
        if features.async_commit {
            incompat |= bindings::JBD2_FEATURE_INCOMPAT_ASYNC_COMMIT;
        }
        let (all_compat, all_incompat) = (
            bindings::JBD2_FEATURE_COMPAT_CHECKSUM,
            bindings::JBD2_FEATURE_INCOMPAT_CSUM_V3
                | bindings::JBD2_FEATURE_INCOMPAT_CSUM_V2
                | bindings::JBD2_FEATURE_INCOMPAT_ASYNC_COMMIT,
        );
        // SAFETY: by the type invariant of `Raw`; nobody else uses the journal.
        unsafe {
            let raw = self.as_raw();
            let (gone, gone_in) = (all_compat & !compat, all_incompat & !incompat);
            bindings::jbd2_journal_clear_features(raw, gone as usize, 0, gone_in as usize);
            let set =
                bindings::jbd2_journal_set_features(raw, compat as usize, 0, incompat as usize);
            if set == 0 {
                return Err(EINVAL);
            }
        }
        Ok(())
    }
}

/// While this lives, no handle is open and none can be started. The barrier is also a mutex, which
/// its task has to release.
#[must_use]
pub(crate) struct UpdatesLocked<'t, O: Owner> {
    journal: &'t LoadedJournal<'t, O>,
    outside: &'t NoHandle,
    _not_send: NotThreadSafe,
}

impl<O: Owner> UpdatesLocked<'_, O> {
    /// The token that was given: what waits for commits may be called.
    pub(crate) fn outside(&self) -> &NoHandle {
        self.outside
    }
}

impl<O: Owner> Drop for UpdatesLocked<'_, O> {
    fn drop(&mut self) {
        // SAFETY: locked by `lock_updates`, in this task: the type is not `Send`.
        unsafe { bindings::jbd2_journal_unlock_updates(self.journal.as_raw()) };
    }
}
