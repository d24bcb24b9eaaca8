// SPDX-License-Identifier: GPL-2.0

//! Changing what the VFS knows of an inode.
//!
//! [`InodeEdit`] works on an inode in every state: on one that others see ([`Inode`]) and on one
//! that is still being made ([`FreshInode`], [`NewInode`]). Each field is a number of its own and
//! is read without a lock by stat and by path lookup, so that no call here can make an inode
//! invalid; what the locks are for is that two changes do not lose one of them. So each method
//! names the lock under which it is to be called; while an inode is new, or is being evicted,
//! nobody else changes it and none is needed.
//!
//! Nothing here writes to disk. What has been changed is either put into the running transaction
//! at once by the file system itself, or reported with [`Inode::mark_dirty`], which comes back as
//! `dirty_inode`.
//!
//! [`FreshInode`]: super::inode_new::FreshInode
//! [`NewInode`]: super::inode::NewInode

#![allow(dead_code, reason = "the write path is being built on top of this")]

use super::{
    acl::{Acl, AclKind},
    bindings,
    fs_type::FileSystem,
    inode::Inode,
    jbd2::NoHandle,
};
use core::{
    marker::PhantomData,
    ptr::{self, NonNull},
};
use kernel::{ffi::c_int, prelude::*, sync::aref::ARef};

/// A time stamp: seconds since 1970, and nanoseconds.
pub(crate) type Time = (i64, u32);

/// What leads to an inode of the kernel's.
///
/// # Safety
///
/// The inode that [`raw_inode`](Self::raw_inode) returns must be valid for as long as `self` is
/// borrowed, and of a published superblock.
pub(crate) unsafe trait RawInode {
    /// The inode.
    fn raw_inode(&self) -> *mut bindings::inode;
}

// SAFETY: the invariant of `Inode`; a reference to one keeps it allocated.
unsafe impl<F: FileSystem> RawInode for Inode<F> {
    #[inline]
    fn raw_inode(&self) -> *mut bindings::inode {
        self.as_raw()
    }
}

fn time((sec, nsec): Time) -> (i64, isize) {
    // CAST: below 10^9.
    (sec, nsec as isize)
}

/// The kernel's form of a size or position, which is checked against `s_maxbytes` elsewhere.
fn offset(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn from_timespec(t: bindings::timespec64) -> Time {
    // CAST: the kernel keeps this part below 10^9.
    (t.tv_sec, t.tv_nsec as u32)
}

/// Reads and changes the fields of an inode; see the module's documentation for the locks.
pub(crate) trait InodeEdit: RawInode {
    /// Sets the size in bytes. Lock: i_rwsem, exclusive (a writer that extends a file under the
    /// shared lock has to serialise with others itself).
    fn set_size(&self, bytes: u64) {
        // SAFETY: a valid inode; on the 64-bit machines that the module is for, the size is one
        // word, which is stored at once.
        unsafe { bindings::i_size_write(self.raw_inode(), offset(bytes)) };
    }

    /// Sets the link count. Lock: i_rwsem, exclusive.
    fn set_nlink(&self, nlink: u32) {
        // SAFETY: a valid inode.
        unsafe { bindings::set_nlink(self.raw_inode(), nlink) };
    }

    /// Adds a link. Lock: i_rwsem, exclusive.
    fn inc_nlink(&self) {
        // SAFETY: a valid inode.
        unsafe { bindings::inc_nlink(self.raw_inode()) };
    }

    /// Takes a link away; of a damaged inode that has none, none. Lock: i_rwsem, exclusive.
    ///
    /// When the count reaches 0, the last reference deletes the inode.
    fn drop_nlink(&self) {
        let raw = self.raw_inode();
        // SAFETY: a valid inode.
        unsafe {
            if ptr::read_volatile(&raw const (*raw).__bindgen_anon_1.i_nlink) != 0 {
                bindings::drop_nlink(raw);
            }
        }
    }

    /// Takes all links away. Lock: i_rwsem, exclusive.
    fn clear_nlink(&self) {
        // SAFETY: a valid inode.
        unsafe { bindings::clear_nlink(self.raw_inode()) };
    }

    /// Sets file type and permission bits; the type of an inode that others see stays as it is.
    /// Lock: i_rwsem, exclusive.
    fn set_mode(&self, mode: u16) {
        // SAFETY: a word of a valid inode, stored at once: others may read it meanwhile.
        unsafe { ptr::write_volatile(&raw mut (*self.raw_inode()).i_mode, mode) };
    }

    /// The owner as it is stored on disk.
    fn raw_uid(&self) -> u32 {
        // SAFETY: a valid inode; its superblock keeps the user namespace.
        unsafe { bindings::i_uid_read(self.raw_inode()) }
    }

    /// The group as it is stored on disk.
    fn raw_gid(&self) -> u32 {
        // SAFETY: as above.
        unsafe { bindings::i_gid_read(self.raw_inode()) }
    }

    /// Sets the owner, as it is stored on disk. Lock: i_rwsem, exclusive.
    fn set_raw_uid(&self, uid: u32) {
        // SAFETY: as above; a word, stored at once.
        unsafe { bindings::i_uid_write(self.raw_inode(), uid) };
    }

    /// Sets the group, as it is stored on disk. Lock: i_rwsem, exclusive.
    fn set_raw_gid(&self, gid: u32) {
        // SAFETY: as above.
        unsafe { bindings::i_gid_write(self.raw_inode(), gid) };
    }

    /// When it was last read.
    fn atime(&self) -> Time {
        // SAFETY: a valid inode; both parts are words.
        from_timespec(unsafe { bindings::inode_get_atime(self.raw_inode()) })
    }

    /// When its contents last changed.
    fn mtime(&self) -> Time {
        // SAFETY: as above.
        from_timespec(unsafe { bindings::inode_get_mtime(self.raw_inode()) })
    }

    /// When it last changed.
    fn ctime(&self) -> Time {
        // SAFETY: as above.
        from_timespec(unsafe { bindings::inode_get_ctime(self.raw_inode()) })
    }

    /// Sets when it was last read. No lock: the VFS does so under none either.
    fn set_atime(&self, to: Time) {
        let (sec, nsec) = time(to);
        // SAFETY: a valid inode; both parts are words that are stored at once.
        unsafe { bindings::inode_set_atime(self.raw_inode(), sec, nsec) };
    }

    /// Sets when its contents last changed. Lock: i_rwsem, exclusive.
    fn set_mtime(&self, to: Time) {
        let (sec, nsec) = time(to);
        // SAFETY: as above.
        unsafe { bindings::inode_set_mtime(self.raw_inode(), sec, nsec) };
    }

    /// Sets when it last changed, to a time that is known. Lock: i_rwsem, exclusive.
    fn set_ctime(&self, to: Time) {
        let (sec, nsec) = time(to);
        // SAFETY: as above.
        unsafe { bindings::inode_set_ctime(self.raw_inode(), sec, nsec) };
    }

    /// Now, as fine as the file system can store it, and finer than the clock's tick only if
    /// somebody has looked at the last time stamp.
    fn now(&self) -> Time {
        // SAFETY: a valid inode.
        from_timespec(unsafe { bindings::current_time(self.raw_inode()) })
    }

    /// It changes now: sets and returns the change time. Lock: i_rwsem, exclusive.
    fn touch_ctime(&self) -> Time {
        // SAFETY: a valid inode; the nanoseconds are exchanged atomically.
        from_timespec(unsafe { bindings::inode_set_ctime_current(self.raw_inode()) })
    }

    /// Its contents change now: sets and returns both times. Lock: i_rwsem, exclusive.
    fn touch(&self) -> Time {
        let now = self.touch_ctime();
        self.set_mtime(now);
        now
    }

    /// Changes the space used, in 512-byte sectors. Takes i_lock; `f` must not sleep or panic.
    fn update_sectors(&self, f: impl FnOnce(u64) -> u64)
    where
        Self: Sized,
    {
        let raw = self.raw_inode();
        // SAFETY: a valid inode; i_lock protects the field against other changes, and is released
        // below. Readers take no lock, so it is stored at once.
        unsafe {
            bindings::inode_spin_lock(raw);
            let sectors = f((*raw).i_blocks);
            ptr::write_volatile(&raw mut (*raw).i_blocks, sectors);
            bindings::inode_spin_unlock(raw);
        }
    }

    /// Adds to the space used. Takes i_lock.
    fn add_sectors(&self, sectors: u64)
    where
        Self: Sized,
    {
        self.update_sectors(|old| old.saturating_add(sectors));
    }

    /// Takes from the space used; what a damaged inode says ends at 0. Takes i_lock.
    fn sub_sectors(&self, sectors: u64)
    where
        Self: Sized,
    {
        self.update_sectors(|old| old.saturating_sub(sectors));
    }

    /// Sets the space used. Takes i_lock.
    fn set_sectors(&self, sectors: u64)
    where
        Self: Sized,
    {
        self.update_sectors(|_| sectors);
    }

    /// The `S_*` flags (see [`vfs_flags`](super::inode::vfs_flags)).
    #[inline]
    fn vfs_flags(&self) -> u32 {
        // SAFETY: a word of a valid inode.
        unsafe { ptr::read_volatile(&raw const (*self.raw_inode()).i_flags) }
    }

    /// Makes those of the `S_*` flags that are in `mask` what they are in `flags`. Atomic.
    fn set_vfs_flags(&self, flags: u32, mask: u32) {
        // SAFETY: a valid inode; a compare-and-exchange loop.
        unsafe { bindings::inode_set_flags(self.raw_inode(), flags & mask, mask) };
    }

    /// Whether changes have to be on disk when the operation returns: `sync` mounts, `chattr +S`.
    fn is_sync(&self) -> bool {
        // SAFETY: flag words of a valid inode and its superblock.
        unsafe { bindings::is_sync(self.raw_inode()) }
    }

    /// The same for the entries of a directory: also `dirsync` mounts and `chattr +D`.
    fn is_dirsync(&self) -> bool {
        // SAFETY: as above.
        unsafe { bindings::is_dirsync(self.raw_inode()) }
    }

    /// Whether nothing may change it.
    fn is_immutable(&self) -> bool {
        self.vfs_flags() & bindings::S_IMMUTABLE != 0
    }

    /// Whether it may only grow.
    fn is_append_only(&self) -> bool {
        self.vfs_flags() & bindings::S_APPEND != 0
    }

    /// Whether it is in use for swap: nobody may change its map. Lock: i_rwsem.
    fn is_swap_file(&self) -> bool {
        self.vfs_flags() & bindings::S_SWAPFILE != 0
    }

    /// Sets the generation. Lock: i_rwsem, exclusive.
    fn set_generation(&self, generation: u32) {
        // SAFETY: a word of a valid inode, stored at once.
        unsafe { ptr::write_volatile(&raw mut (*self.raw_inode()).i_generation, generation) };
    }

    /// Counts a change (`i_version`), whether anybody has asked since the last one or not. Atomic.
    fn inc_version(&self) {
        // SAFETY: a valid inode.
        unsafe { bindings::inode_maybe_inc_iversion(self.raw_inode(), true) };
    }

    /// Counts a change if somebody has asked for the count since the last one; says whether it did.
    fn maybe_inc_version(&self) -> bool {
        // SAFETY: a valid inode.
        unsafe { bindings::inode_maybe_inc_iversion(self.raw_inode(), false) }
    }

    /// The change counter of an inode whose counter the file system uses as it likes: what
    /// [`set_raw_version`](Self::set_raw_version) has set.
    fn raw_version(&self) -> u64 {
        // SAFETY: an atomic read.
        unsafe { bindings::inode_peek_iversion_raw(self.raw_inode()) }
    }

    /// Sets the change counter with its flag bit as it is; for inodes that no user sees.
    fn set_raw_version(&self, version: u64) {
        // SAFETY: an atomic store.
        unsafe { bindings::inode_set_iversion_raw(self.raw_inode(), version) };
    }

    /// Remembers that the ACL of this kind is `acl`, or that there is none. Called by `set_acl`
    /// (i_rwsem held) and for new inodes.
    fn set_cached_acl(&self, kind: AclKind, acl: Option<&Acl>) {
        let acl = acl.map_or(ptr::null_mut(), Acl::as_raw);
        // SAFETY: a valid inode; the function takes a reference of its own.
        unsafe { bindings::set_cached_acl(self.raw_inode().cast(), kind.as_raw(), acl) };
    }

    /// Forgets the ACL of this kind, so that it is read again.
    fn forget_cached_acl(&self, kind: AclKind) {
        // SAFETY: a valid inode.
        unsafe { bindings::forget_cached_acl(self.raw_inode().cast(), kind.as_raw()) };
    }
}

impl<T: RawInode + ?Sized> InodeEdit for T {}

/// What of an inode is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dirty {
    /// Everything: fields and, with `chattr +S` and the like, data.
    All,
    /// Fields that fdatasync may leave out (times).
    Sync,
    /// Fields that fdatasync needs (the size).
    DataSync,
    /// Data in the page cache only.
    Pages,
}

/// What `dirty_inode` is told: flags of the inode's state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DirtyFlags(pub(super) u32);

impl DirtyFlags {
    /// Whether the inode itself is to be written, as opposed to its time stamps being due.
    pub(crate) fn has_fields(self) -> bool {
        self.0
            & (bindings::inode_state_flags_enum_I_DIRTY_SYNC
                | bindings::inode_state_flags_enum_I_DIRTY_DATASYNC)
            != 0
    }

    /// Whether fdatasync needs the change.
    pub(crate) fn for_datasync(self) -> bool {
        self.0 & bindings::inode_state_flags_enum_I_DIRTY_DATASYNC != 0
    }

    /// Whether time stamps are to be written that had only been changed in memory (`lazytime`).
    pub(crate) fn has_times(self) -> bool {
        self.0 & bindings::inode_state_flags_enum_I_DIRTY_TIME != 0
    }
}

impl<F: FileSystem> Inode<F> {
    /// Says that the inode is to be written. Calls `dirty_inode`, but for [`Dirty::Pages`], which
    /// may sleep and start a handle or join the task's.
    pub(crate) fn mark_dirty(&self, what: Dirty) {
        let flags = match what {
            Dirty::All => {
                bindings::inode_state_flags_enum_I_DIRTY_SYNC
                    | bindings::inode_state_flags_enum_I_DIRTY_DATASYNC
                    | bindings::inode_state_flags_enum_I_DIRTY_PAGES
            }
            Dirty::Sync => bindings::inode_state_flags_enum_I_DIRTY_SYNC,
            Dirty::DataSync => bindings::inode_state_flags_enum_I_DIRTY_DATASYNC,
            Dirty::Pages => bindings::inode_state_flags_enum_I_DIRTY_PAGES,
        };
        // SAFETY: a valid inode. CAST: a few bits.
        unsafe { bindings::__mark_inode_dirty(self.as_raw(), flags as c_int) };
    }

    /// Without a journal: the buffer with the inode's fields is dirty, and fsync has to write it
    /// (`sync_inode_metadata` of [`SuperOps`](super::super_ops::SuperOps)). Takes i_lock.
    pub(crate) fn set_metadata_writeback(&self) {
        // SAFETY: a valid inode.
        unsafe { bindings::set_inode_metadata_writeback(self.as_raw()) };
    }

    /// Whether it is still being made or read (`I_NEW`).
    pub(crate) fn is_new(&self) -> bool {
        // SAFETY: a word, read racily by design.
        let state = unsafe { bindings::inode_state_read_once(self.as_raw()) };
        state & bindings::inode_state_flags_enum_I_NEW != 0
    }

    /// Whether the inode could not be read or made, and stands for nothing on disk.
    pub(crate) fn is_bad(&self) -> bool {
        // SAFETY: a valid inode.
        unsafe { bindings::is_bad_inode(self.as_raw()) }
    }

    /// Another reference, unless the inode is being evicted. For where a pointer was kept without
    /// one; who has an `ARef` clones it.
    pub(crate) fn grab(&self) -> Option<ARef<Self>> {
        // SAFETY: a valid inode; NULL if it goes.
        let raw = NonNull::new(unsafe { bindings::igrab(self.as_raw()) })?;
        // SAFETY: the reference that `igrab` took.
        Some(unsafe { ARef::from_raw(raw.cast()) })
    }

    /// Whether a file may become `size` bytes long: limits of the task (sends SIGXFSZ) and of the
    /// file system, and swap files. Lock: i_rwsem, exclusive.
    ///
    /// Errors: EFBIG, EINVAL, ETXTBSY.
    pub(crate) fn check_new_size(&self, size: u64) -> Result {
        let size = i64::try_from(size).map_err(|_| EFBIG)?;
        // SAFETY: a valid inode.
        kernel::error::to_result(unsafe { bindings::inode_newsize_ok(self.as_raw(), size) })
    }

    /// Locks the page cache against being filled. Lock: i_rwsem, before; folio locks and handles
    /// come after.
    pub(crate) fn lock_invalidate(&self) -> InvalidateLock<'_> {
        // SAFETY: a valid inode has a mapping, whose lock has been initialised; it is released by
        // the guard, which borrows the inode.
        unsafe {
            let lock = &raw mut (*(*self.as_raw()).i_mapping).invalidate_lock;
            bindings::down_write(lock);
            InvalidateLock {
                lock,
                _inode: PhantomData,
            }
        }
    }

    /// Waits until no direct I/O on the file is under way. Lock: i_rwsem, exclusive, so that none
    /// begins.
    pub(crate) fn wait_for_direct_io(&self, _outside: &NoHandle) {
        // SAFETY: a valid inode.
        unsafe { bindings::inode_dio_wait(self.as_raw()) };
    }

    /// The file has become longer, from `from` bytes: the folio with its old end is to be asked
    /// for again before it is written to. Lock: i_rwsem, exclusive.
    pub(crate) fn page_cache_extended(&self, outside: &NoHandle, from: u64) {
        self.waits_for_folios(outside);
        // SAFETY: a valid inode, and sizes that are not negative.
        unsafe {
            let to = bindings::i_size_read(self.as_raw());
            bindings::pagecache_isize_extended(self.as_raw(), offset(from), to);
        }
    }

    /// Drops the page cache from `from` (bytes) on, clearing the rest of a folio that stays.
    /// Locks: i_rwsem and the invalidate lock, both exclusive.
    ///
    /// Waits for folio locks and for writeback: never inside a handle, since completion of the
    /// writeback needs one.
    pub(crate) fn truncate_page_cache(&self, outside: &NoHandle, from: u64) {
        self.waits_for_folios(outside);
        // SAFETY: a valid inode, and a size that is not negative.
        unsafe { bindings::truncate_pagecache(self.as_raw(), offset(from)) };
    }

    /// Drops the page cache of the bytes `from..to`, clearing the rest of folios that stay. Locks and
    /// waiting: as for [`truncate_page_cache`](Self::truncate_page_cache).
    pub(crate) fn drop_page_cache(&self, outside: &NoHandle, from: u64, to: u64) {
        self.waits_for_folios(outside);
        let last = offset(to.saturating_sub(1));
        // SAFETY: a valid inode, and offsets that are not negative.
        unsafe { bindings::truncate_pagecache_range(self.as_raw(), offset(from), last) };
    }

    /// Writes the dirty bytes from `from` to `to` (exclusive) to disk and waits; not inside a handle.
    ///
    /// Errors: of this and of earlier writes, EIO and ENOSPC; fsync says them again.
    pub(crate) fn write_and_wait(&self, outside: &NoHandle, from: u64, to: u64) -> Result {
        self.waits_for_folios(outside);
        // SAFETY: a valid inode has a mapping.
        super::super_block::check(unsafe {
            bindings::filemap_write_and_wait_range(
                (*self.as_raw()).i_mapping,
                offset(from),
                offset(to.saturating_sub(1)),
            )
        })
    }

    /// Starts writing what is dirty, and does not wait for it.
    pub(crate) fn start_writeback(&self) {
        // SAFETY: a valid inode has a mapping. An error is fsync's to tell.
        let _ = unsafe { bindings::filemap_flush((*self.as_raw()).i_mapping) };
    }

    /// Whether at most one open file can write to this one.
    pub(crate) fn has_one_writer(&self) -> bool {
        // SAFETY: a word that is read racily.
        unsafe { ptr::read_volatile(&raw const (*self.as_raw()).i_writecount.counter) <= 1 }
    }

    /// Tells lockdep, which does not see folio locks, what waiting for one may wait for.
    pub(super) fn waits_for_folios(&self, _outside: &NoHandle) {
        if let Some(journal) = self.super_block().journal() {
            journal.might_wait_for_commit();
        }
    }
}

/// The page cache of an inode is not filled while this lives.
#[must_use]
pub(crate) struct InvalidateLock<'a> {
    lock: *mut bindings::rw_semaphore,
    _inode: PhantomData<&'a ()>,
}

impl Drop for InvalidateLock<'_> {
    fn drop(&mut self) {
        // SAFETY: taken when the guard was made, which stays with its task (a raw pointer is not
        // `Send`) and borrows the inode.
        unsafe { bindings::up_write(self.lock) };
    }
}
