// SPDX-License-Identifier: GPL-2.0

//! Contents of a file that are in the page cache, changed by who has stored them elsewhere.

use super::{bindings, fs_type::FileSystem, inode::Inode, jbd2::NoHandle};
use core::{marker::PhantomData, ptr::NonNull};
use kernel::{error::from_err_ptr, types::NotThreadSafe};

/// A folio of a file, locked.
///
/// # Invariants
///
/// The folio is locked by this task, and referenced: both are ours to give up.
pub(crate) struct CachedFolio<'a> {
    folio: NonNull<bindings::folio>,
    _inode: PhantomData<&'a ()>,
    /// A lock stays with its task.
    _not_send: NotThreadSafe,
}

impl<'a> CachedFolio<'a> {
    /// The folio with the first byte of the file, if there is one. Lock: i_rwsem or the invalidate lock,
    /// before; a handle comes after. May sleep.
    pub(crate) fn first<F: FileSystem>(inode: &'a Inode<F>, outside: &NoHandle) -> Option<Self> {
        inode.waits_for_folios(outside);
        // SAFETY: a valid inode has a mapping.
        let raw = unsafe { bindings::filemap_lock_folio((*inode.as_raw()).i_mapping, 0) };
        let folio = from_err_ptr(raw);
        // INVARIANT: it comes locked, with a reference.
        Some(Self {
            folio: NonNull::new(folio.ok()?)?,
            _inode: PhantomData,
            _not_send: NotThreadSafe,
        })
    }

    /// Replaces the bytes from byte `pos` of the file on by `bytes`, as far as the folio reaches. It is
    /// not dirty for that. One that has not been read stays so.
    pub(crate) fn write(&self, pos: u64, bytes: &[u8]) {
        let raw = self.folio.as_ptr();
        let offset = usize::try_from(pos).unwrap_or(usize::MAX);
        // SAFETY: by the type invariant; a locked folio keeps its size and its place, which is the start
        // of the file. What is copied is inside of it.
        unsafe {
            let room = bindings::folio_size(raw).saturating_sub(offset);
            let len = bytes.len().min(room);
            if len != 0 && bindings::folio_test_uptodate(raw) {
                bindings::memcpy_to_folio(raw, offset, bytes.as_ptr().cast(), len);
            }
        }
    }
}

impl Drop for CachedFolio<'_> {
    fn drop(&mut self) {
        // SAFETY: by the type invariant, and once.
        unsafe {
            bindings::folio_unlock(self.folio.as_ptr());
            bindings::folio_put(self.folio.as_ptr());
        }
    }
}
