// SPDX-License-Identifier: GPL-2.0

//! Inodes: allocation, filling, and the operations on them.
//!
//! An inode and its private data are one slab object ([`Slot`]). The object is built when the VFS
//! allocates an inode, so a pointer to an inode always leads to initialised private data.
//!
//! A [`NewInode`] is an inode with `I_NEW` set: everyone else who looks it up sleeps until it is
//! unlocked. That makes its private data exclusively ours, which is why filling it needs no locks
//! and why plain fields can be read without any afterwards.

use super::{
    bindings,
    fs_type::FileSystem,
    inode_new::Held,
    inode_ops::{InodeOps, InodeVtable},
    ioend::Completions,
    mapping::{self, MappingOps},
    super_block::SuperBlock,
};
use core::{
    marker::PhantomData,
    mem,
    ptr::{self, NonNull},
    sync::atomic::{AtomicPtr, Ordering},
};
use kernel::{
    ffi::{c_int, c_uint, c_void},
    prelude::*,
    sync::aref::{ARef, AlwaysRefCounted},
    types::Opaque,
};

/// The slab object: the VFS inode, then the file system's part.
#[repr(C)]
struct Slot<F: FileSystem> {
    vfs: Opaque<bindings::inode>,
    data: F::Inode,
    completions: Completions,
}

/// The completions of an inode.
///
/// # Safety
///
/// `raw` is an inode of a superblock of `F`.
pub(super) unsafe fn completions<F: FileSystem>(raw: *mut bindings::inode) -> *const Completions {
    // SAFETY: inodes of `F` are the first member of a `Slot<F>`.
    unsafe { &raw const (*raw.cast::<Slot<F>>()).completions }
}

/// The inode of completions.
///
/// # Safety
///
/// `completions` are those of an inode of a superblock of `F`.
pub(super) unsafe fn of_completions<F: FileSystem>(
    completions: *const Completions,
) -> *mut bindings::inode {
    // SAFETY: by contract they are in a `Slot<F>`.
    let slot = unsafe { kernel::container_of!(completions, Slot<F>, completions) };
    slot.cast_mut().cast()
}

/// An inode of a file system of type `F`.
///
/// # Invariants
///
/// The inode is the first member of an initialised [`Slot<F>`], on a published superblock of `F`.
#[repr(transparent)]
pub(crate) struct Inode<F: FileSystem>(Opaque<bindings::inode>, PhantomData<F>);

// SAFETY: inodes are shared objects; the methods here are callable from any thread, and the
// private data is `Send` and `Sync` itself.
unsafe impl<F: FileSystem> Send for Inode<F> {}
// SAFETY: as above.
unsafe impl<F: FileSystem> Sync for Inode<F> {}

// SAFETY: `ihold` and `iput` are the reference count of an inode, and an inode with a reference
// stays allocated.
unsafe impl<F: FileSystem> AlwaysRefCounted for Inode<F> {
    fn inc_ref(&self) {
        // SAFETY: a reference exists, as `self` shows.
        unsafe { bindings::ihold(self.as_raw()) };
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: the caller gives up a reference that it owns.
        unsafe { bindings::iput(obj.as_ptr().cast()) };
    }
}

impl<F: FileSystem> Inode<F> {
    /// # Safety
    ///
    /// `ptr` must be an inode of a published superblock of `F`, held for `'a`.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::inode) -> &'a Self {
        // SAFETY: by contract; the layout is transparent.
        unsafe { &*ptr.cast() }
    }

    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::inode {
        self.0.get()
    }

    /// The private data.
    #[inline]
    pub(crate) fn data(&self) -> &F::Inode {
        // SAFETY: by the type invariant the inode is the first member of a `Slot<F>`. The data is
        // written through `NewInode` only, before anyone can hold an `&Inode`.
        unsafe { &(*self.as_raw().cast::<Slot<F>>()).data }
    }

    /// The superblock.
    #[inline]
    pub(crate) fn super_block(&self) -> &SuperBlock<F> {
        // SAFETY: by the type invariant; `i_sb` never changes.
        unsafe { SuperBlock::from_raw((*self.as_raw()).i_sb) }
    }

    /// The inode number.
    #[inline]
    pub(crate) fn ino(&self) -> u64 {
        // SAFETY: constant.
        unsafe { (*self.as_raw()).i_ino }
    }

    /// File type and permission bits.
    #[inline]
    pub(crate) fn mode(&self) -> u16 {
        // SAFETY: a word that may change under i_rwsem; a racy read gives the old or the new one.
        unsafe { ptr::read_volatile(&raw const (*self.as_raw()).i_mode) }
    }

    /// Whether this is a regular file.
    #[inline]
    pub(crate) fn is_regular(&self) -> bool {
        u32::from(self.mode()) & bindings::S_IFMT == bindings::S_IFREG
    }

    /// Whether this is a directory.
    #[inline]
    pub(crate) fn is_dir(&self) -> bool {
        u32::from(self.mode()) & bindings::S_IFMT == bindings::S_IFDIR
    }

    /// The size in bytes.
    #[inline]
    pub(crate) fn size(&self) -> u64 {
        // SAFETY: any reference suffices for `i_size_read`.
        unsafe { bindings::i_size_read(self.as_raw()) as u64 }
    }

    /// Whether somebody has it open for writing.
    pub(crate) fn is_open_for_write(&self) -> bool {
        // SAFETY: a word that is read racily, as C file systems do.
        unsafe { ptr::read_volatile(&raw const (*self.as_raw()).i_writecount.counter) > 0 }
    }

    /// `i_blocks`, in 512-byte sectors.
    pub(crate) fn sectors(&self) -> u64 {
        // SAFETY: a word that is read racily, as stat does.
        unsafe { ptr::read_volatile(&raw const (*self.as_raw()).i_blocks) }
    }

    /// The generation, which makes a file handle's inode number unambiguous.
    pub(crate) fn generation(&self) -> u32 {
        // SAFETY: changes by ioctl only; a word.
        unsafe { ptr::read_volatile(&raw const (*self.as_raw()).i_generation) }
    }

    /// The change counter (`i_version`).
    pub(crate) fn version(&self) -> u64 {
        // SAFETY: an atomic read.
        unsafe { bindings::inode_peek_iversion(self.as_raw()) }
    }

    /// The link count.
    pub(crate) fn nlink(&self) -> u32 {
        // SAFETY: a word that is read racily, as stat does.
        unsafe { ptr::read_volatile(&raw const (*self.as_raw()).__bindgen_anon_1.i_nlink) }
    }

    /// Runs `f` with `i_rwsem` held for reading.
    pub(crate) fn with_shared_lock<R>(&self, f: impl FnOnce() -> R) -> R {
        // SAFETY: the inode is held; the lock is released below on every path.
        unsafe { bindings::inode_lock_shared(self.as_raw()) };
        let r = f();
        // SAFETY: taken above by this thread.
        unsafe { bindings::inode_unlock_shared(self.as_raw()) };
        r
    }

    /// Runs `f` with `i_rwsem` held for writing. Not inside a handle.
    pub(crate) fn with_lock<R>(&self, f: impl FnOnce() -> R) -> R {
        // SAFETY: the inode is held; the lock is released below on every path.
        unsafe { bindings::inode_lock(self.as_raw()) };
        let r = f();
        // SAFETY: taken above by this thread.
        unsafe { bindings::inode_unlock(self.as_raw()) };
        r
    }
}

/// The private data of an inode, exclusively.
///
/// # Safety
///
/// `raw` must be an inode of a superblock of `F`, and nobody else may have a reference to its
/// private data, or make one, for `'a`.
#[inline]
pub(super) unsafe fn data_of<'a, F: FileSystem>(
    raw: *mut bindings::inode,
) -> Pin<&'a mut F::Inode> {
    // SAFETY: inodes of `F` are the first member of a `Slot<F>`, which `alloc` initialised and
    // which does not move until it is freed; exclusive by contract.
    unsafe { Pin::new_unchecked(&mut (*raw.cast::<Slot<F>>()).data) }
}

/// The private data of an inode.
///
/// # Safety
///
/// `raw` must be an inode of a superblock of `F`, and stay allocated for `'a`.
pub(super) unsafe fn data_ref<'a, F: FileSystem>(raw: *mut bindings::inode) -> &'a F::Inode {
    // SAFETY: inodes of `F` are the first member of a `Slot<F>`.
    unsafe { &(*raw.cast::<Slot<F>>()).data }
}

/// What `iget` found.
pub(crate) enum Got<F: FileSystem> {
    /// An inode that was in the cache.
    Cached(ARef<Inode<F>>),
    /// A new one, to be filled.
    New(NewInode<F>),
}

impl<F: FileSystem> Got<F> {
    /// # Safety
    ///
    /// `raw` must come from `iget_locked` on a published superblock of `F`; its reference passes
    /// to the result.
    #[inline]
    pub(super) unsafe fn from_raw(raw: *mut bindings::inode) -> Self {
        // SAFETY: `iget_locked` never returns NULL here (the caller checked), and the slot was
        // built by `alloc`.
        unsafe {
            if bindings::inode_state_read_once(raw) & bindings::inode_state_flags_enum_I_NEW != 0 {
                // INVARIANT: the flag is set for us alone, and the reference is ours.
                Self::New(NewInode(Held::new(NonNull::new_unchecked(raw))))
            } else {
                Self::Cached(ARef::from_raw(NonNull::new_unchecked(raw.cast())))
            }
        }
    }
}

/// An inode that is being read from disk, or made: see [`super::inode_new`]. What becomes of one
/// that is dropped unfinished is described there.
pub(crate) struct NewInode<F: FileSystem>(pub(super) Held<F>);

/// Finds the text of a symbolic link in an inode's private data.
pub(crate) type LinkText<T> = for<'a> fn(Pin<&'a mut T>) -> Option<&'a CStr>;

/// The attributes of an inode as they are on disk.
pub(crate) struct Attributes {
    /// File type and permission bits.
    pub(crate) mode: u16,
    /// Owner, as stored.
    pub(crate) uid: u32,
    /// Group, as stored.
    pub(crate) gid: u32,
    /// Link count.
    pub(crate) nlink: u32,
    /// Size in bytes.
    pub(crate) size: u64,
    /// Space used, in 512-byte sectors.
    pub(crate) sectors: u64,
    /// Generation.
    pub(crate) generation: u32,
    /// Access, modification and change time: seconds since 1970, nanoseconds.
    pub(crate) atime: (i64, u32),
    /// See `atime`.
    pub(crate) mtime: (i64, u32),
    /// See `atime`.
    pub(crate) ctime: (i64, u32),
    /// `S_*` flags of the VFS.
    pub(crate) flags: u32,
    /// Change counter.
    pub(crate) version: u64,
}

impl<F: FileSystem> NewInode<F> {
    pub(super) fn as_raw(&self) -> *mut bindings::inode {
        self.0.as_ptr()
    }

    /// The private data, exclusively ours until the inode is finished.
    #[inline]
    pub(crate) fn data_mut(&mut self) -> Pin<&mut F::Inode> {
        // SAFETY: by the invariant of `Held` nobody else uses the inode yet, and no `&Inode` leads
        // to it before `seal` or `finish` has consumed `self`.
        unsafe { data_of::<F>(self.as_raw()) }
    }

    /// Sets the attributes.
    #[inline]
    pub(crate) fn set_attributes(&mut self, a: &Attributes) {
        let raw = self.as_raw();
        // SAFETY: by the type invariant the inode is ours alone.
        unsafe {
            (*raw).i_mode = a.mode;
            bindings::i_uid_write(raw, a.uid);
            bindings::i_gid_write(raw, a.gid);
            bindings::set_nlink(raw, a.nlink);
            bindings::i_size_write(raw, a.size as i64);
            (*raw).i_blocks = a.sectors;
            (*raw).i_generation = a.generation;
            bindings::inode_set_atime(raw, a.atime.0, a.atime.1 as isize);
            bindings::inode_set_mtime(raw, a.mtime.0, a.mtime.1 as isize);
            bindings::inode_set_ctime(raw, a.ctime.0, a.ctime.1 as isize);
            (*raw).i_flags |= a.flags;
            bindings::inode_set_iversion_queried(raw, a.version);
        }
    }

    /// Makes this a regular file with operations `I`, `O` and page cache operations `M`.
    pub(crate) fn set_regular<I, O, M>(&mut self, min_order: Option<u32>)
    where
        I: InodeOps<Fs = F>,
        O: super::file::FileOps<Fs = F>,
        M: MappingOps<Fs = F>,
    {
        let raw = self.as_raw();
        // SAFETY: by the type invariant the inode is ours alone; the tables are constants.
        unsafe {
            (*raw).i_op = &InodeVtable::<I>::TABLE;
            (*raw).__bindgen_anon_3.i_fop = &super::file::FileVtable::<O>::TABLE;
            (*raw).i_data.a_ops = &mapping::MappingVtable::<M>::TABLE;
            Completions::prepare::<M::Writeback>(completions::<F>(raw));
            match min_order {
                // Block sizes above the page size: a folio must hold at least one block.
                Some(order) => bindings::mapping_set_folio_min_order(&raw mut (*raw).i_data, order),
                None => bindings::mapping_set_large_folios(&raw mut (*raw).i_data),
            }
        }
    }

    /// Makes this a directory.
    pub(crate) fn set_directory<I, D>(&mut self)
    where
        I: InodeOps<Fs = F>,
        D: super::dir::DirOps<Fs = F>,
    {
        let raw = self.as_raw();
        // SAFETY: as in `set_regular`.
        unsafe {
            (*raw).i_op = &InodeVtable::<I>::TABLE;
            (*raw).__bindgen_anon_3.i_fop = &super::dir::DirVtable::<D>::TABLE;
        }
    }

    /// Makes this a symbolic link. With `target` the link's text is in the private data: a
    /// NUL-terminated string there, which lives as long as the inode; the VFS then never calls
    /// `get_link`.
    pub(crate) fn set_symlink<I: InodeOps<Fs = F>>(&mut self, target: Option<LinkText<F::Inode>>) {
        let raw = self.as_raw();
        // SAFETY: as in `set_regular`. The string is inside the slot, by the signature of
        // `target`: it borrows from the private data (or is 'static), which does not move. That a
        // symlink's text does not change once it has been handed out is the file system's part;
        // if it did, who follows the link would see another text.
        unsafe {
            (*raw).i_op = &InodeVtable::<I>::TABLE;
            if let Some(text) = target.and_then(|t| t(self.data_mut())) {
                bindings::inode_set_cached_link(
                    raw,
                    text.as_char_ptr().cast_mut(),
                    super::cstr::bytes(text).len() as c_int,
                );
            }
        }
    }

    /// Makes this a device node, FIFO or socket; `rdev` is in the kernel's encoding.
    pub(crate) fn set_special<I: InodeOps<Fs = F>>(&mut self, mode: u16, rdev: (u32, u32)) {
        let raw = self.as_raw();
        // SAFETY: as in `set_regular`.
        unsafe {
            (*raw).i_op = &InodeVtable::<I>::TABLE;
            bindings::init_special_inode(raw, mode, bindings::mkdev(rdev.0, rdev.1));
        }
    }

    /// Says that the inode has no ACL on disk, so that permission checks need not ask.
    pub(crate) fn has_no_acl(&mut self) {
        // SAFETY: as in `set_regular`.
        unsafe { bindings::cache_no_acl(self.as_raw()) };
    }

    /// Opens the inode to everybody.
    #[inline]
    pub(crate) fn finish(self) -> ARef<Inode<F>> {
        self.0.unlock()
    }
}

/// The slab cache of a file system's inodes. One static per file system.
///
/// # Invariants
///
/// The pointer is NULL or a cache of objects of the size of `Slot<F>`.
pub(crate) struct InodeCache<F: FileSystem>(AtomicPtr<bindings::kmem_cache>, PhantomData<F>);

/// Keeps an [`InodeCache`] in existence; drop it after the file system type is unregistered.
pub(crate) struct InodeCacheGuard<F: FileSystem>(&'static InodeCache<F>);

impl<F: FileSystem> InodeCache<F> {
    /// A cache that does not exist yet.
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()), PhantomData)
    }

    /// Creates the slab cache `name`.
    ///
    /// Errors: ENOMEM; EBUSY when it exists.
    pub(crate) fn create(&'static self, name: &'static CStr) -> Result<InodeCacheGuard<F>> {
        let mut args = bindings::kmem_cache_args {
            align: mem::align_of::<Slot<F>>() as c_uint,
            useroffset: (mem::offset_of!(Slot<F>, data) + F::LINK_BYTES.0) as c_uint,
            usersize: F::LINK_BYTES.1 as c_uint,
            ctor: Some(Self::construct),
            ..Default::default()
        };
        // SAFETY: `name` is 'static and the constructor touches the VFS part of an object only.
        let cache = unsafe {
            bindings::__kmem_cache_create_args(
                name.as_char_ptr(),
                mem::size_of::<Slot<F>>() as c_uint,
                &mut args,
                bindings::SLAB_RECLAIM_ACCOUNT | bindings::SLAB_ACCOUNT,
            )
        };
        if cache.is_null() {
            return Err(ENOMEM);
        }
        let old =
            self.0
                .compare_exchange(ptr::null_mut(), cache, Ordering::Release, Ordering::Relaxed);
        if old.is_err() {
            // SAFETY: just created, no objects.
            unsafe { bindings::kmem_cache_destroy(cache) };
            return Err(EBUSY);
        }
        Ok(InodeCacheGuard(self))
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn construct(object: *mut c_void) {
        // SAFETY: slab calls this with an object of the cache: a `Slot<F>` whose first member is
        // the VFS inode.
        unsafe { bindings::inode_init_once(object.cast()) };
    }
}

impl<F: FileSystem> Drop for InodeCacheGuard<F> {
    fn drop(&mut self) {
        // SAFETY: this may sleep. The inodes of the last superblock are freed by RCU callbacks,
        // which take the cache from its place: only after the last of them may that be empty.
        unsafe { bindings::rcu_barrier() };
        let cache = self.0 .0.swap(ptr::null_mut(), Ordering::Acquire);
        // SAFETY: no superblock of the type is left, and all its inodes have been freed.
        unsafe { bindings::kmem_cache_destroy(cache) };
    }
}

/// `alloc_inode`.
///
/// # Safety
///
/// For the kernel only, with the arguments that this operation is documented to get.
pub(super) unsafe extern "C" fn alloc<F: FileSystem>(
    sb: *mut bindings::super_block,
) -> *mut bindings::inode {
    let cache = F::inode_cache().0.load(Ordering::Relaxed);
    // SAFETY: the cache exists while a superblock does (its guard outlives the registration).
    let slot = unsafe { bindings::alloc_inode_sb(sb, cache, bindings::GFP_KERNEL) };
    let slot: *mut Slot<F> = slot.cast();
    if slot.is_null() {
        return ptr::null_mut();
    }
    let init = F::inode_data();
    // SAFETY: the place is a fresh object of our cache, valid for writes, which stays where it is
    // until `free`.
    unsafe {
        pin_init::raw_init(&raw mut (*slot).data, init);
        (&raw mut (*slot).completions).write(Completions::new());
        // Inodes are allocated for published superblocks only, and are gone before those.
        let shelf = SuperBlock::<F>::from_raw(sb).caches().shelf();
        F::ranges(&(*slot).data).join(shelf, slot.cast());
    }
    slot.cast()
}

/// `free_inode`, called after a grace period: RCU walkers may have read the inode until then.
///
/// # Safety
///
/// For the kernel only, with the arguments that this operation is documented to get.
pub(super) unsafe extern "C" fn free<F: FileSystem>(inode: *mut bindings::inode) {
    let slot: *mut Slot<F> = inode.cast();
    // SAFETY: the last user is gone; the data was initialised in `alloc` and is dropped once.
    unsafe {
        ptr::drop_in_place(&raw mut (*slot).data);
        bindings::kmem_cache_free(F::inode_cache().0.load(Ordering::Relaxed), slot.cast());
    }
}

/// `evict_inode`.
///
/// # Safety
///
/// For the kernel only, with the arguments that this operation is documented to get.
pub(super) unsafe extern "C" fn evict<F: FileSystem>(inode: *mut bindings::inode) {
    // SAFETY: the VFS evicts an inode that nobody references; these two are what it would do
    // itself if there were no such operation.
    unsafe {
        bindings::truncate_inode_pages_final(&raw mut (*inode).i_data);
        let deleted = (*inode).__bindgen_anon_1.i_nlink == 0 && !bindings::is_bad_inode(inode);
        let why = if deleted {
            Eviction::Deleted
        } else {
            Eviction::Forgotten
        };
        F::evict(Inode::from_raw(inode), why);
        bindings::clear_inode(inode);
    }
}

/// Why an inode is evicted from memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Eviction {
    /// Nobody needs it in memory: it is on disk as it was last written, or it is not there at all
    /// (it could not be read or made).
    Forgotten,
    /// Its last name and its last user are gone: what it has on disk is to be freed.
    Deleted,
}

/// Inode flags of the VFS (`i_flags`).
pub(crate) mod vfs_flags {
    use crate::linux::bindings;

    pub(crate) const S_SYNC: u32 = bindings::S_SYNC;
    pub(crate) const S_APPEND: u32 = bindings::S_APPEND;
    pub(crate) const S_IMMUTABLE: u32 = bindings::S_IMMUTABLE;
    pub(crate) const S_NOATIME: u32 = bindings::S_NOATIME;
    pub(crate) const S_DIRSYNC: u32 = bindings::S_DIRSYNC;
    pub(crate) const S_VERITY: u32 = bindings::S_VERITY;
    /// A directory that is no more.
    #[allow(dead_code, reason = "the write path is being built on top of this")]
    pub(crate) const S_DEAD: u32 = bindings::S_DEAD;
}
