// SPDX-License-Identifier: GPL-2.0

//! Write access to whole blocks, and blocks that are freed.

use super::{
    handle::{Core, Handle},
    journal::Owner,
    trigger::Trigger,
};
use crate::linux::{
    bindings,
    buffer::{Buffer, Device, StateBit, Verified},
    super_block::check,
};
use core::{
    ops::{Deref, DerefMut},
    slice,
};
use kernel::prelude::*;

/// Takes write access to `buffer` for the handle; without a journal there is nothing to do.
///
/// Errors: EROFS when the journal has been given up; EIO when blocks of the device could not be
/// written back, which gives up the journal.
pub(super) fn take_access(core: &Core, buffer: &Buffer<'_>) -> Result {
    if let Some(raw) = core.live()? {
        // SAFETY: a live handle of this task; the buffer is held.
        check(unsafe { bindings::jbd2_journal_get_write_access(raw, buffer.as_raw()) })?;
    }
    Ok(())
}

/// Puts `buffer`, to which the handle has write access and which has been changed, into the
/// transaction; without a journal, marks it as dirty.
///
/// An error of jbd2's gives up the journal: it cannot happen but for credits that were not asked
/// for, and the change is in memory already.
pub(super) fn put_into(core: &Core, buffer: &Buffer<'_>, trigger: Option<Trigger>) {
    let bh = buffer.as_raw();
    // SAFETY: the buffer is held.
    unsafe {
        StateBit::Meta.set(bh);
        StateBit::Prio.set(bh);
    }
    match core.live() {
        Ok(Some(raw)) => {
            match trigger {
                // SAFETY: the handle has write access to the buffer, so it has a journal head, and
                // keeps that until the transaction has been committed. Nobody but those who have
                // write access, by the caller's locks we alone, sets a trigger.
                Some(trigger) => unsafe {
                    let jh: *const bindings::journal_head = (*bh).b_private.cast();
                    if (*jh).b_triggers != trigger.as_raw() {
                        bindings::jbd2_journal_set_triggers(bh, trigger.as_raw());
                    }
                    StateBit::Unsettled.set(bh);
                },
                // SAFETY: the buffer is held.
                None => unsafe { StateBit::Unsettled.clear(bh) },
            }
            if is_dirty_in(raw, bh) {
                return;
            }
            let ret = core.counted(raw, || {
                // SAFETY: a live handle of this task, which has write access to the buffer.
                unsafe { bindings::jbd2_journal_dirty_metadata(raw, bh) }
            });
            if let Err(e) = check(ret) {
                core.give_up(e);
            }
        }
        // What becomes of the block does not matter any more. jbd2 says so at the end.
        Err(_) => (),
        // SAFETY: the buffer is held. A write that failed before leaves it not up to date, though
        // in memory it is: say so, as `mark_buffer_dirty` wants it.
        Ok(None) => unsafe {
            StateBit::Unsettled.clear(bh);
            StateBit::Uptodate.set(bh);
            bindings::mark_buffer_dirty(bh);
            if core.writes_through() {
                if let Err(e) = check(bindings::sync_dirty_buffer(bh)) {
                    core.fail(e);
                }
            }
        },
    }
}

/// Whether the handle's transaction has the buffer already, to which the handle has write access, as
/// one that has been changed: then there is nothing to tell jbd2.
#[inline]
fn is_dirty_in(raw: *mut bindings::handle_t, bh: *mut bindings::buffer_head) -> bool {
    // SAFETY: the buffer has a journal head, which stays as long as the transaction that write access
    // has put it into. Its fields are words; that it is in our transaction is changed by nobody
    // else while the handle is open, and `b_modified` is only set by then.
    unsafe {
        let jh: *mut bindings::journal_head = (*bh).b_private.cast();
        let of = (&raw const (*jh).b_transaction).read_volatile();
        of == (*raw).__bindgen_anon_1.h_transaction
            && (&raw const (*jh).b_modified).read_volatile() == 1
    }
}

/// Write access to a block: derefs to its bytes. To be finished by [`dirty`](Self::dirty); dropped
/// without, the bytes must be as they were.
///
/// # Invariants
///
/// The buffer's bit `Edited` was set by us, and the handle has write access to the buffer.
#[must_use = "to be finished with `dirty`"]
pub(crate) struct Edit<'h> {
    buffer: Buffer<'h>,
    core: &'h Core,
}

impl Edit<'_> {
    /// The physical block number.
    pub(crate) fn block(&self) -> u64 {
        self.buffer.block()
    }

    /// The block has been changed and goes with the transaction. With a `trigger`, which needs a
    /// journal, its checksum is computed when it is committed.
    ///
    /// Cannot fail: that the journal has been given up shows when the handle is stopped.
    pub(crate) fn dirty(self, trigger: Option<Trigger>) {
        put_into(self.core, &self.buffer, trigger);
    }

    /// As [`dirty`](Self::dirty), of a block that counts as verified as `kind` from now on.
    pub(crate) fn dirty_as(self, kind: Verified, trigger: Option<Trigger>) {
        if !self.buffer.is_verified(kind) {
            self.buffer.set_verified(kind);
        }
        self.dirty(trigger);
    }
}

impl Deref for Edit<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.buffer
    }
}

impl DerefMut for Edit<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: by the type invariant of `Buffer` the bytes are mapped as long as it is held. By
        // ours no other `Edit` of the block exists, and a commit does not touch them while the
        // handle, which is borrowed, is open. That nobody looks at them through a `Buffer` or
        // changes them through a `SlotEdit` is what the caller's locks are for (see the head of
        // `jbd2`); one who does sees what a reader of a device sees that somebody writes to.
        unsafe {
            let bh = self.buffer.as_raw();
            slice::from_raw_parts_mut((*bh).b_data.cast(), (*bh).b_size)
        }
    }
}

impl Drop for Edit<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the buffer is held; the bit is ours, by the type invariant.
        unsafe { StateBit::Edited.release(self.buffer.as_raw()) };
    }
}

/// Claims `buffer` for one [`Edit`].
///
/// Errors: EBUSY while there is another one.
fn claim(buffer: &Buffer<'_>) -> Result {
    // SAFETY: the buffer is held.
    if unsafe { StateBit::Edited.claim(buffer.as_raw()) } {
        Ok(())
    } else {
        Err(EBUSY)
    }
}

impl<O: Owner> Handle<'_, O> {
    /// Takes write access to a block that has been read (and verified). Costs a credit when the
    /// block is first [`dirty`](Edit::dirty) in the transaction. The caller holds the lock that
    /// protects what is in the block.
    ///
    /// May sleep: for memory, and for a commit to finish writing the block to the log. Errors: EBUSY
    /// while another [`Edit`] of the block is alive; EROFS, EIO when the journal has been given up.
    pub(crate) fn edit<'h>(&'h self, buffer: Buffer<'h>) -> Result<Edit<'h>> {
        claim(&buffer)?;
        // INVARIANT: claimed. On an error dropping it gives that up.
        let edit = Edit {
            buffer,
            core: &self.core,
        };
        take_access(&self.core, &edit.buffer)?;
        Ok(edit)
    }

    /// Takes write access to block `block` of `device`, which the transaction has allocated for
    /// metadata: nothing is read, all bytes are 0, and it is not verified as anything. Otherwise as
    /// [`edit`](Self::edit).
    ///
    /// Errors: as `edit`; ENOMEM, also for a block beyond the end of the device; EUCLEAN, which
    /// gives up the journal, for a block that an earlier transaction uses for something else.
    pub(crate) fn create<'h>(&'h self, device: Device<'h>, block: u64) -> Result<Edit<'h>> {
        let raw = self.core.live()?;
        let new = device.get(block)?;
        // SAFETY: we hold the reference.
        if !unsafe { StateBit::Edited.claim(new.as_raw()) } {
            return Err(EBUSY);
        }
        let bh = new.as_raw();
        // SAFETY: the buffer is held, and is unlocked on every path. Its bytes are mapped. Whatever
        // they were, nobody uses the block, which was free: it is ours to fill.
        let access = unsafe {
            bindings::lock_buffer(bh);
            let access = match raw {
                Some(raw) => check(bindings::jbd2_journal_get_create_access(raw, bh)),
                None => Ok(()),
            };
            if access.is_ok() {
                (*bh).b_data.cast::<u8>().write_bytes(0, (*bh).b_size);
                StateBit::forget_all(bh);
                StateBit::Uptodate.set(bh);
            }
            bindings::unlock_buffer(bh);
            access
        };
        if let Err(e) = access {
            // SAFETY: as above; claimed here.
            unsafe { StateBit::Edited.release(bh) };
            let alive = raw.is_some() && self.core.live().is_ok();
            return Err(if alive { EUCLEAN } else { e });
        }
        // INVARIANT: claimed above; the handle has access. The buffer is up to date.
        Ok(Edit {
            buffer: new.filled(),
            core: &self.core,
        })
    }

    /// Block `block` of `device`, which was metadata, is being freed: what the log has of it must
    /// not be replayed, and what is in memory must not be written. To be called before the block is
    /// marked as free, and once per block; no buffer of it may be in use. Takes one of the credits
    /// for revoke records.
    ///
    /// May sleep. Errors: ENOSPC without such a credit; EUCLEAN for a block that has been freed in
    /// this transaction already; EROFS when the journal has been given up. Nothing has changed then.
    pub(crate) fn revoke(&self, device: Device<'_>, block: u64) -> Result {
        let raw = self.core.live()?;
        let cached = device.find(block);
        if let Some(raw) = raw {
            let revoked = cached.as_ref().is_some_and(|buffer| {
                // SAFETY: the buffer is held.
                unsafe { StateBit::Revoked.is_set(buffer.as_raw()) }
            });
            if revoked {
                return Err(EUCLEAN);
            }
            if self.remaining().revokes == 0 {
                return Err(ENOSPC);
            }
            // SAFETY: a live handle of this task, which has a credit. The buffer, if there is one,
            // is found by jbd2 as well; we forget it ourselves, below, since jbd2 does not say in
            // every case what has become of a reference that it was given.
            check(unsafe { bindings::jbd2_journal_revoke(raw, block, core::ptr::null_mut()) })?;
        }
        let Some(buffer) = cached else {
            return Ok(());
        };
        let bh = buffer.into_raw();
        // SAFETY: the reference, which was ours, goes to `jbd2_journal_forget` or `__bforget`. The
        // former leaves it alone if, and only if, it returns EROFS.
        unsafe {
            StateBit::forget_all(bh);
            match raw {
                Some(raw) => {
                    let forget = || bindings::jbd2_journal_forget(raw, bh);
                    let ret = self.core.counted(raw, forget);
                    if ret == EROFS.to_errno() {
                        bindings::brelse(bh);
                    }
                    if let Err(e) = check(ret) {
                        self.core.give_up(e);
                    }
                }
                None => {
                    // A write that is under way must not hit the block's next user.
                    StateBit::Dirty.clear(bh);
                    bindings::wait_on_buffer(bh);
                    bindings::__bforget(bh);
                }
            }
        }
        Ok(())
    }
}
