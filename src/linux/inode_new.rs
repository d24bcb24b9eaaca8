// SPDX-License-Identifier: GPL-2.0

//! Inodes that are being made.
//!
//! An inode for a new file goes through states that are types:
//! - [`FreshInode`]: memory only. It has no number and nobody can find it. Owner and mode are set,
//!   the private data is filled in.
//! - [`NewInode`]: it has a number and is in the VFS's table, locked (`I_NEW`). The private data
//!   is still exclusively ours. (An inode that is read from disk starts here.)
//! - [`ReadyInode`]: as before, but the private data is shared from here on, so that there can be
//!   an `&Inode`, which most of the file system's functions want.
//! - unlocked, with a name ([`ReadyInode::instantiate`], [`Tmpfile`](super::namei_ops::Tmpfile)), or
//!   without ([`NewInode::finish`]).
//!
//! An inode that is dropped before it is unlocked is not needed after all, and what becomes of it
//! depends on whether it is on disk already:
//! - As long as [`set_allocated`](NewInode::set_allocated) has not been called, it becomes a bad
//!   inode, whoever waits for it is told so, and its eviction is
//!   [`Forgotten`](super::inode::Eviction::Forgotten): nothing is freed. This is right for an
//!   inode that could not be read, and for an operation that prepares everything before it
//!   changes the first byte and has failed while preparing.
//! - After that call its links are taken away and its eviction is
//!   [`Deleted`](super::inode::Eviction::Deleted), which frees the number and whatever else the
//!   inode has got by then. That eviction starts a transaction of its own: such an inode must not
//!   be dropped before the handle has been stopped. Nobody waits for it meanwhile: who comes
//!   across an inode that is being made is told at once that there is none.

#![allow(dead_code, reason = "the write path is being built on top of this")]

use super::{
    bindings,
    dentry::{Instantiated, Negative},
    fs_type::FileSystem,
    idmap::Idmap,
    inode::{data_of, Inode, NewInode},
    inode_edit::{InodeEdit as _, RawInode},
    super_block::SuperBlock,
};
use core::{
    marker::PhantomData,
    mem::{self, ManuallyDrop},
    ops::Deref,
    ptr::{self, NonNull},
};
use kernel::{
    ffi::{c_int, c_void},
    prelude::*,
    sync::aref::ARef,
};

/// A locked inode (`I_NEW`).
///
/// # Invariants
///
/// The inode is in state `I_NEW`, set for us, is of a published superblock of `F`, and we own one
/// reference.
pub(super) struct Held<F: FileSystem> {
    raw: NonNull<bindings::inode>,
    /// Whether dropping it deletes it from disk.
    allocated: bool,
    _p: PhantomData<F>,
}

// SAFETY: an inode is a shared object and `I_NEW` belongs to no task in particular; the private
// data is `Send`.
unsafe impl<F: FileSystem> Send for Held<F> {}

impl<F: FileSystem> Held<F> {
    /// # Safety
    ///
    /// The type's invariants must hold for `raw`, whose reference and lock pass to the result.
    pub(super) unsafe fn new(raw: NonNull<bindings::inode>) -> Self {
        // INVARIANT: by contract.
        Self {
            raw,
            allocated: false,
            _p: PhantomData,
        }
    }

    #[inline]
    pub(super) fn as_ptr(&self) -> *mut bindings::inode {
        self.raw.as_ptr()
    }

    /// The inode, with its reference and still locked.
    fn into_raw(self) -> NonNull<bindings::inode> {
        ManuallyDrop::new(self).raw
    }

    /// Opens the inode to everybody.
    #[inline]
    pub(super) fn unlock(self) -> ARef<Inode<F>> {
        let raw = self.into_raw();
        // SAFETY: by the invariant we own the lock and the reference, and give up both: the first
        // here, the second to the result.
        unsafe {
            bindings::unlock_new_inode(raw.as_ptr());
            ARef::from_raw(raw.cast())
        }
    }
}

impl<F: FileSystem> Drop for Held<F> {
    fn drop(&mut self) {
        let raw = self.as_ptr();
        // SAFETY: by the invariant the lock and the reference are ours to give up, which both
        // branches do once. Neither needs more of the inode than that it was initialised.
        unsafe {
            if self.allocated {
                bindings::clear_nlink(raw);
                bindings::discard_new_inode(raw);
            } else {
                bindings::iget_failed(raw);
            }
        }
    }
}

/// An inode in memory that has no number yet. Dropping it frees the memory.
///
/// # Invariants
///
/// The inode was made by `new_inode` for a published superblock of `F`, is in no table, and we own
/// its only reference.
pub(crate) struct FreshInode<F: FileSystem>(NonNull<bindings::inode>, PhantomData<F>);

// SAFETY: the invariant of `FreshInode`: it is valid while we have it.
unsafe impl<F: FileSystem> RawInode for FreshInode<F> {
    fn raw_inode(&self) -> *mut bindings::inode {
        self.0.as_ptr()
    }
}

// SAFETY: the invariant of `Held`.
unsafe impl<F: FileSystem> RawInode for NewInode<F> {
    fn raw_inode(&self) -> *mut bindings::inode {
        self.as_raw()
    }
}

impl<F: FileSystem> SuperBlock<F> {
    /// An inode for a new file: link count 1, private data as [`FileSystem::inode_data`] has it,
    /// nothing else. May sleep.
    ///
    /// Errors: ENOMEM.
    pub(crate) fn new_inode(&self) -> Result<FreshInode<F>> {
        // SAFETY: a live superblock, whose `alloc_inode` is ours.
        let raw = unsafe { bindings::new_inode(self.as_raw()) };
        // INVARIANT: it is on the superblock's list of inodes, whose walkers leave alone what has
        // no pages; no table leads to it.
        Ok(FreshInode(NonNull::new(raw).ok_or(ENOMEM)?, PhantomData))
    }

    /// The inode `ino`, if it is in memory. May sleep, until it has been read or has gone.
    pub(crate) fn cached_inode(&self, ino: u64) -> Option<ARef<Inode<F>>> {
        // SAFETY: a live superblock; the inodes of its table are `F`'s.
        let raw = NonNull::new(unsafe { bindings::ilookup(self.as_raw(), ino) })?;
        // SAFETY: the reference that `ilookup` took; it has waited for `I_NEW` to be cleared.
        Some(unsafe { ARef::from_raw(raw.cast()) })
    }
}

/// What is known in memory of an inode.
pub(crate) enum Peek<F: FileSystem> {
    /// Nothing, or it is being read, made, or forgotten.
    Absent,
    /// It has no links any more and is being evicted.
    Deleted,
    /// Here it is.
    Here(ARef<Inode<F>>),
}

impl<F: FileSystem> SuperBlock<F> {
    /// The inode `ino`, as far as that can be told without waiting for anybody.
    pub(crate) fn peek_inode(&self, ino: u64) -> Peek<F> {
        let mut deleted = false;
        // SAFETY: a live superblock; the inodes of its table are `F`'s. `peek` gets `deleted`, and
        // only during the call.
        let raw = unsafe {
            bindings::find_inode_nowait(
                self.as_raw(),
                ino,
                Some(peek),
                (&raw mut deleted).cast::<c_void>(),
            )
        };
        match NonNull::new(raw) {
            // SAFETY: the reference that `peek` took, of an inode that is not new.
            Some(raw) => Peek::Here(unsafe { ARef::from_raw(raw.cast()) }),
            None if deleted => Peek::Deleted,
            None => Peek::Absent,
        }
    }
}

/// Decides on an inode of the table: 0 for another number; 1 with a reference taken; -1 for one
/// that cannot be had.
///
/// # Safety
///
/// For `find_inode_nowait` only; `deleted` is a `bool` of the caller's.
unsafe extern "C" fn peek(raw: *mut bindings::inode, ino: u64, deleted: *mut c_void) -> c_int {
    // SAFETY: the table's lock is held, so the inode is there; its number is constant while it is
    // in the table, its state and count of links are words. `igrab` takes i_lock, whose place is
    // below the table's, and refuses an inode that goes.
    unsafe {
        if (*raw).i_ino != ino {
            return 0;
        }
        let being_made =
            bindings::inode_state_flags_enum_I_NEW | bindings::inode_state_flags_enum_I_CREATING;
        if bindings::inode_state_read_once(raw) & being_made != 0 {
            return -1;
        }
        if bindings::igrab(raw).is_null() {
            let nlink = ptr::read_volatile(&raw const (*raw).__bindgen_anon_1.i_nlink);
            *deleted.cast::<bool>() = nlink == 0;
            return -1;
        }
    }
    1
}

impl<F: FileSystem> FreshInode<F> {
    /// The private data.
    pub(crate) fn data_mut(&mut self) -> Pin<&mut F::Inode> {
        // SAFETY: by the type invariant nobody else uses the inode.
        unsafe { data_of::<F>(self.0.as_ptr()) }
    }

    /// Sets mode and owner: the task's ids, and in a directory with the set-group-ID bit that
    /// directory's group; a new directory there inherits the bit.
    pub(crate) fn init_owner(&mut self, idmap: Idmap<'_>, dir: &Inode<F>, mode: u16) {
        // SAFETY: both inodes are valid, and this one is ours alone.
        unsafe {
            bindings::inode_init_owner(idmap.as_raw(), self.0.as_ptr(), dir.as_raw(), mode);
        }
    }

    /// The same with the group of the directory in any case, and the mode as it is: the mount
    /// option `grpid`.
    pub(crate) fn init_owner_bsd(&mut self, idmap: Idmap<'_>, dir: &Inode<F>, mode: u16) {
        let raw = self.0.as_ptr();
        // SAFETY: as above. The directory's group is a word.
        unsafe {
            (*raw).i_mode = mode;
            bindings::inode_fsuid_set(raw, idmap.as_raw());
            (*raw).i_gid = core::ptr::read_volatile(&raw const (*dir.as_raw()).i_gid);
        }
    }

    /// File type and permission bits.
    pub(crate) fn mode(&self) -> u16 {
        // SAFETY: ours alone.
        unsafe { (*self.0.as_ptr()).i_mode }
    }

    /// Gives it the number `ino`, which has been found free on disk, and enters it into the table,
    /// locked. May sleep, until an inode that had the number before is out of memory.
    ///
    /// Errors: EIO if an inode with this number is in use: the disk says that it is free, and is
    /// wrong.
    pub(crate) fn insert(self, ino: u64) -> Result<NewInode<F>> {
        let raw = self.0;
        // SAFETY: ours alone; the function only fails when somebody else has the number, and the
        // inode is then in no table, as before.
        let ret = unsafe {
            (*raw.as_ptr()).i_ino = ino;
            bindings::insert_inode_locked(raw.as_ptr())
        };
        if ret != 0 {
            return Err(EIO);
        }
        mem::forget(self);
        // SAFETY: `I_NEW` has just been set, for us; the reference is that of `self`.
        Ok(NewInode(unsafe { Held::new(raw) }))
    }
}

impl<F: FileSystem> Drop for FreshInode<F> {
    fn drop(&mut self) {
        // SAFETY: by the type invariant the inode is ours alone. A bad inode is evicted as one
        // that is not on disk, whatever its link count says.
        unsafe {
            bindings::make_bad_inode(self.0.as_ptr());
            bindings::iput(self.0.as_ptr());
        }
    }
}

impl<F: FileSystem> NewInode<F> {
    /// The inode number.
    pub(crate) fn ino(&self) -> u64 {
        // SAFETY: constant by now.
        unsafe { (*self.as_raw()).i_ino }
    }

    /// File type and permission bits.
    pub(crate) fn mode(&self) -> u16 {
        // SAFETY: by the invariant of `Held` the inode is ours alone.
        unsafe { (*self.as_raw()).i_mode }
    }

    /// Says that the inode is on disk now, so that dropping it deletes it; see the module's
    /// documentation.
    pub(crate) fn set_allocated(&mut self) {
        self.0.allocated = true;
    }

    /// The private data is complete: from here on it can be shared.
    pub(crate) fn seal(self) -> ReadyInode<F> {
        ReadyInode(self.0)
    }
}

/// A locked inode whose private data is complete.
pub(crate) struct ReadyInode<F: FileSystem>(Held<F>);

impl<F: FileSystem> Deref for ReadyInode<F> {
    type Target = Inode<F>;

    fn deref(&self) -> &Inode<F> {
        // SAFETY: the invariant of `Held`. The exclusive access of `NewInode` was given up when it
        // was consumed.
        unsafe { Inode::from_raw(self.0.as_ptr()) }
    }
}

impl<F: FileSystem> ReadyInode<F> {
    /// See [`NewInode::set_allocated`].
    pub(crate) fn set_allocated(&mut self) {
        self.0.allocated = true;
    }

    /// Opens the inode to everybody, without a name in memory.
    pub(crate) fn finish(self) -> ARef<Inode<F>> {
        self.0.unlock()
    }

    /// Opens the inode to everybody, under the name `name`.
    ///
    /// Errors: EXDEV if the name is one of another file system, which no operation's is; the inode
    /// is then dropped.
    pub(crate) fn instantiate<'a>(self, name: Negative<'a, F>) -> Result<Instantiated<'a>> {
        if !name.is_in(&self) {
            return Err(EXDEV);
        }
        let dentry = name.as_raw();
        let raw = self.0.into_raw();
        // SAFETY: the dentry is negative by the invariant of `Negative`, which is consumed. The
        // inode is locked by the invariant of `Held`; its reference passes to the dentry.
        unsafe { bindings::d_instantiate_new(dentry, raw.as_ptr()) };
        Ok(name.done())
    }

    /// As [`instantiate`](Self::instantiate), for the dentry of a file without a name; the link
    /// count becomes 0. For [`Tmpfile`](super::namei_ops::Tmpfile).
    ///
    /// # Safety
    ///
    /// `file` must be a file that is being opened by `tmpfile` on the inode's file system, and
    /// have no inode yet.
    pub(super) unsafe fn instantiate_unnamed(self, file: *mut bindings::file) {
        self.clear_nlink();
        let raw = self.0.into_raw();
        // SAFETY: by contract the file's dentry is negative, unhashed, and has a short name of its
        // own. The reference passes to the dentry, which the file keeps, so the inode is still
        // there to be unlocked.
        unsafe {
            bindings::d_mark_tmpfile(file, raw.as_ptr());
            bindings::d_instantiate((*file).__bindgen_anon_1.f_path.dentry, raw.as_ptr());
            bindings::unlock_new_inode(raw.as_ptr());
        }
    }
}
