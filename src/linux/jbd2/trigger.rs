// SPDX-License-Identifier: GPL-2.0

//! Checksums that are computed once per commit instead of once per change.
//!
//! Whoever changes a block leaves in the checksum's place what the checksum is computed from, and
//! says [`Edit::dirty`](super::Edit::dirty) with a [`Trigger`]; jbd2 calls the trigger when the
//! block's contents have become those of a transaction that is being committed.
//!
//! # Why every block is settled when it matters
//!
//! A buffer has its bytes (`b_data`), and while a transaction that it belongs to is being committed
//! and a later one wants to change it, a copy of them (`b_frozen_data`), which is what is committed
//! then. Its journal head has `b_triggers`, which we set, and `b_frozen_triggers`, which jbd2 copies
//! from it when it makes the copy and uses in an abort only.
//!
//! *When the trigger runs.* Either the commit writes `b_data` itself
//! (`jbd2_journal_write_metadata_buffer`): the trigger runs on `b_data` just before, no handle of
//! the transaction is open any more, and one of the next transaction has to wait until the block is
//! in the log. Or a handle of the next transaction takes write access first
//! (`do_get_write_access`): the trigger runs on `b_data`, then the copy is made, then access is
//! granted; the commit uses the copy as it is. In both cases it runs under `b_state_lock`, once all
//! changes of the transaction have been made and before anybody can make another: what is committed
//! is settled, and so is `b_data` at that time. What the later transaction writes into `b_data`
//! after that is that transaction's, for which the same holds.
//!
//! *Which trigger it is.* `b_triggers` stays from transaction to transaction, for as long as the
//! buffer has a journal head. We set it between taking write access and the end of the handle, that
//! is, when the transaction that is being committed has its copy (or is past needing one) and ours
//! cannot be committed. So a block that has been freed and used again as another kind has the
//! trigger of the kind that it was changed as in that very transaction.
//!
//! *Once.* Settling a settled block would make its checksum wrong, and there is one case in which
//! jbd2 runs the trigger twice for one commit: a block that begins with jbd2's own magic number has
//! to be copied before it is written, for which the commit gives up its lock, and a handle of the
//! next transaction may make the copy instead, running the trigger again. A block of a directory
//! may begin with any number, that of its first entry's inode. So a bit in the buffer says that it
//! is unsettled: set by us, cleared by the trigger, which does nothing without it. The same bit makes
//! a `b_triggers` that is left from an earlier use of the block harmless; blocks without a trigger
//! only clear it.
//!
//! *In its place on the device.* While a buffer belongs to a transaction its dirty bit is off
//! (`jbddirty` stands for it) and nobody writes it back; taking write access to one that is being
//! written back waits for the end of that. The dirty bit returns when no transaction has the buffer
//! any more, after a commit, when `b_data` is what was committed last, settled. A checkpoint that
//! finds the buffer in a newer transaction waits for that to be committed first.
//!
//! *A block that is written to and then freed* in one transaction is neither committed nor written
//! back; its bytes do not matter any more.
//!
//! *An abort.* Buffers of the transaction lose `jbddirty` and are never written; `t_abort` is not
//! needed. (It could not do better: at that time `b_data` may be a later transaction's.)
//!
//! *Readers.* Those of this file system verify a block when it comes into memory, which a block that
//! has been changed does not do again before it has been written and dropped. Somebody who reads
//! the mounted device sees the page cache, so a block that has been changed and not been committed
//! has no valid checksum there, as it is inconsistent with others there in any case; after a
//! commit (sync, freeze) all blocks are settled.

use crate::linux::{bindings, buffer::StateBit};
use core::{marker::PhantomData, ptr, slice};
use kernel::ffi::c_void;

/// A kind of checksum.
pub(crate) trait Settle: 'static {
    /// Replaces what was left in the checksum's place by the checksum. Called under a spinlock, by
    /// jbd2's thread or by a task that is taking write access; `bytes` is the whole block. Nobody
    /// else changes them meanwhile; others may read them.
    fn settle(bytes: &mut [u8]);
}

/// A [`Settle`] as jbd2 wants it.
#[derive(Clone, Copy)]
pub(crate) struct Trigger(&'static bindings::jbd2_buffer_trigger_type);

impl Trigger {
    /// The trigger of kind `T`.
    #[inline]
    pub(crate) const fn of<T: Settle>() -> Self {
        Self(&Table::<T>::TABLE)
    }

    /// For jbd2, which only reads it.
    #[inline]
    pub(super) fn as_raw(self) -> *mut bindings::jbd2_buffer_trigger_type {
        ptr::from_ref(self.0).cast_mut()
    }
}

struct Table<T>(PhantomData<T>);

impl<T: Settle> Table<T> {
    const TABLE: bindings::jbd2_buffer_trigger_type = bindings::jbd2_buffer_trigger_type {
        t_frozen: Some(Self::frozen),
        t_abort: None,
    };

    /// `t_frozen`.
    ///
    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn frozen(
        _: *mut bindings::jbd2_buffer_trigger_type,
        bh: *mut bindings::buffer_head,
        data: *mut c_void,
        size: usize,
    ) {
        // SAFETY: jbd2 holds the buffer.
        if unsafe { StateBit::Unsettled.take(bh) } {
            // SAFETY: the buffer's bytes, mapped for this call. See the head of the module for why
            // nobody changes them meanwhile: no handle that has write access is open. Readers are
            // in the position of those whose device is written to; see `Buffer`.
            T::settle(unsafe { slice::from_raw_parts_mut(data.cast(), size) });
        }
    }
}
