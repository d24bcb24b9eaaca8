// SPDX-License-Identifier: GPL-2.0

//! Changing a part of a block that has several owners: a block of inodes, of group descriptors.
//!
//! Each owner has a [`SlotKey`], which says where its part is, in the lock that protects that part.
//! [`Access`] is write access to the block as far as jbd2 is concerned, which any number of handles
//! may have at a time; it leads to no bytes. [`Access::open`] does, with a key that is held
//! exclusively, and only to the key's range: nowhere here is there a `&mut` to the whole block.
//! Access may sleep, opening does not, so that the lock may be a spinlock.

use super::{
    edit::{put_into, take_access},
    handle::{Core, Handle},
    journal::Owner,
    trigger::Trigger,
};
use crate::linux::buffer::Buffer;
use core::{
    marker::PhantomData,
    ops::{Deref, DerefMut},
    ptr::NonNull,
    slice,
};
use kernel::prelude::*;

/// A range of a block that one owner may change: who holds the key exclusively does.
///
/// There is one key per range: whoever is responsible for the object makes it once, and keeps it in
/// the lock that protects the range. Keys of ranges that overlap are a mistake.
#[derive(Debug)]
pub(crate) struct SlotKey {
    block: u64,
    offset: u32,
    len: u32,
}

impl SlotKey {
    /// The key of the `len` bytes from `offset` on of block `block`.
    pub(crate) const fn new(block: u64, offset: u32, len: u32) -> Self {
        Self { block, offset, len }
    }

    /// The physical block number.
    pub(crate) fn block(&self) -> u64 {
        self.block
    }

    /// The bytes, for reading, in a buffer of the key's block. `None` for any other, or a range
    /// that goes beyond its end.
    pub(crate) fn read<'s>(&'s self, buffer: &'s Buffer<'_>) -> Option<&'s [u8]> {
        let (ptr, len) = self.find(buffer)?;
        // SAFETY: inside the buffer's bytes, which are mapped as long as it is held. As for
        // `Buffer`, whose reader copes with any value.
        Some(unsafe { slice::from_raw_parts(ptr.as_ptr(), len) })
    }

    fn find(&self, buffer: &Buffer<'_>) -> Option<(NonNull<u8>, usize)> {
        if buffer.block() != self.block {
            return None;
        }
        buffer.range(self.offset as usize, self.len as usize)
    }
}

/// Write access to a block, for ranges of it.
#[must_use = "to be finished with `dirty`"]
pub(crate) struct Access<'h> {
    buffer: Buffer<'h>,
    core: &'h Core,
}

impl Access<'_> {
    /// The bytes of the key's range. `None` if that is in another block, or goes beyond its end.
    #[inline]
    pub(crate) fn open<'s>(&'s self, key: &'s mut SlotKey) -> Option<SlotEdit<'s>> {
        let (ptr, len) = key.find(&self.buffer)?;
        // INVARIANT: inside the block, whose buffer `self` holds.
        Some(SlotEdit {
            ptr,
            len,
            _key: PhantomData,
        })
    }

    /// The block, for reading.
    pub(crate) fn buffer(&self) -> &Buffer<'_> {
        &self.buffer
    }

    /// The block has been changed and goes with the transaction. Does not sleep, unless the handle
    /// is synchronous and there is no journal.
    pub(crate) fn dirty(self) {
        put_into(self.core, &self.buffer, None);
    }

    /// As [`dirty`](Self::dirty), of a block with a checksum that one of its owners has left to be
    /// computed when the block is committed, by `trigger`.
    pub(crate) fn dirty_with(self, trigger: Option<Trigger>) {
        put_into(self.core, &self.buffer, trigger);
    }
}

/// The bytes of one slot.
///
/// # Invariants
///
/// `ptr` leads to `len` mapped bytes, inside a block that the handle has write access to, for as
/// long as the access and the slot's key are borrowed.
pub(crate) struct SlotEdit<'s> {
    ptr: NonNull<u8>,
    len: usize,
    _key: PhantomData<&'s mut SlotKey>,
}

impl Deref for SlotEdit<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: by the type invariant.
        unsafe { slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl DerefMut for SlotEdit<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: by the type invariant. The key is borrowed exclusively, so there is no other
        // `SlotEdit` of it, and those of other keys are of other bytes. A commit does not touch the
        // bytes while the handle is open. Readers of the whole block (`Buffer`) are in the position
        // of those whose device is written to.
        unsafe { slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}

impl<O: Owner> Handle<'_, O> {
    /// Takes write access to a block that has several owners. As [`edit`](Self::edit), but any
    /// number of handles may have it at a time; what may be changed is what a [`SlotKey`] opens.
    ///
    /// May sleep. Errors: EROFS, EIO when the journal has been given up.
    pub(crate) fn access<'h>(&'h self, buffer: Buffer<'h>) -> Result<Access<'h>> {
        take_access(&self.core, &buffer)?;
        Ok(Access {
            buffer,
            core: &self.core,
        })
    }
}
