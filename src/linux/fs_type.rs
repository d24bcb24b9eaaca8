// SPDX-License-Identifier: GPL-2.0

//! A file system type and its registration.
//!
//! [`FileSystem`] is the hub: it names the types that the other traits of this room share (the
//! superblock's private data, an inode's private data, the mount context) and where their caches
//! live. The file system implements it once; nothing in this room knows more about rext4.

use super::{
    bindings,
    fs_context::{self, ContextOps},
    inode::{Eviction, Inode, InodeCache},
    maple::RangeTree,
    super_block::{self, SuperBlock},
    surfaces::TypeDirs,
};
use core::{marker::PhantomPinned, pin::Pin};
use kernel::{
    container_of,
    error::to_result,
    ffi::c_int,
    prelude::*,
    sync::{Arc, SetOnce},
    types::Opaque,
    ThisModule, //
};

/// The types that make up a file system.
pub(crate) trait FileSystem: Sized + Send + Sync + 'static {
    /// What a mounted superblock points to (`s_fs_info`); shared by all CPUs.
    type Super: Send + Sync;
    /// Private data of an inode, in the same slab object as the VFS inode.
    type Inode: Send + Sync;
    /// What an inode holds before it is filled; it must be cheap: it runs for every allocation.
    fn inode_data() -> impl PinInit<Self::Inode>;
    /// What is known of an inode's block map, when it is much.
    fn ranges(inode: &Self::Inode) -> &RangeTree;
    /// Memory is short: empties [`ranges`](Self::ranges), if that can be done at once and nothing is lost by it.
    /// Whether it has. Must not sleep; the inode may be about to be evicted.
    fn shrink(inode: &Self::Inode) -> bool;
    /// Whether [`shrink`](Self::shrink) would, as far as can be seen at a glance.
    fn is_shrinkable(inode: &Self::Inode) -> bool;
    /// The cache of this type's inodes.
    fn inode_cache() -> &'static InodeCache<Self>;
    /// The part of [`Self::Inode`] that `readlink` may copy to user space: offset and length in
    /// bytes. Hardened usercopy refuses any other.
    const LINK_BYTES: (usize, usize);
    /// The inode leaves memory: called once, when its page cache is empty and it has no users.
    ///
    /// Releases what [`Self::Inode`] holds and an RCU callback may not release, and, if the inode
    /// is [deleted](Eviction::Deleted), what it has on disk. Until this returns nobody can have
    /// the inode's number: who asks for it waits. Nothing holds off a freeze of the file system
    /// here: a deletion takes [`SuperBlock::start_intwrite`], unless the task has a handle.
    /// May sleep.
    ///
    /// [`SuperBlock::start_intwrite`]: super::super_block::SuperBlock::start_intwrite
    fn evict(inode: &Inode<Self>, why: Eviction);
    /// As [`Owner::aborted`](super::jbd2::Owner::aborted), of a journal in one of its inodes.
    fn journal_aborted(sb: &SuperBlock<Self>, error: Error);
}

/// A registered file system type. Dropping it unregisters the type.
///
/// # Invariants
///
/// `inner` is registered from the completion of [`Registration::new`] until `Drop`.
#[pin_data(PinnedDrop)]
pub(crate) struct Registration {
    #[pin]
    inner: Opaque<bindings::file_system_type>,
    dirs: SetOnce<Arc<TypeDirs>>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: registering and unregistering take the kernel's own lock, from any thread.
unsafe impl Send for Registration {}
// SAFETY: `inner` is not used through `&self`, and `dirs` is `Sync`.
unsafe impl Sync for Registration {}

impl Registration {
    /// Registers `name` as a type whose mounts are made by `C`.
    ///
    /// Errors: EBUSY when the name is taken.
    pub(crate) fn new<C: ContextOps>(
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // Fields are initialised in this order, and once the type is registered somebody may
            // mount it.
            dirs: SetOnce::new(),
            inner <- Opaque::try_ffi_init(move |place: *mut bindings::file_system_type| {
                // SAFETY: `place` is valid for writes of this type, and zero is a valid value for
                // it: pointers, lists that registration initialises, and lock keys.
                unsafe { place.write_bytes(0, 1) };
                // SAFETY: as above; the strings and tables are 'static.
                unsafe {
                    (*place).name = name.as_char_ptr();
                    (*place).owner = module.as_ptr();
                    (*place).fs_flags = (bindings::FS_REQUIRES_DEV
                        | bindings::FS_ALLOW_IDMAP
                        | bindings::FS_MGTIME
                        | bindings::FS_LBS) as c_int;
                    (*place).init_fs_context = Some(init::<C>);
                    (*place).parameters = C::PARAMETERS.as_ptr().cast();
                    (*place).kill_sb = Some(super_block::kill_sb::<C::Fs>);
                }
                // SAFETY: `place` is filled in, pinned, and stays until `drop`.
                unsafe {
                    lock_keys(place, bindings::lockdep_register_key);
                    to_result(bindings::register_filesystem(place))
                        .inspect_err(|_| lock_keys(place, bindings::lockdep_unregister_key))
                }
            }),
            _pin: PhantomPinned,
        })
    }

    /// Lets the superblocks of this type show themselves in `dirs`; before that, and so if one is
    /// mounted while the module is still being initialised, they show nothing. Called once.
    pub(crate) fn set_dirs(&self, dirs: Arc<TypeDirs>) {
        self.dirs.populate(dirs);
    }

    /// The directories of a type.
    ///
    /// # Safety
    ///
    /// `raw` must be the type of a live superblock, and registered by [`Registration::new`].
    pub(super) unsafe fn dirs<'a>(
        raw: *mut bindings::file_system_type,
    ) -> Option<&'a Arc<TypeDirs>> {
        // SAFETY: by contract the type is `inner` of a `Registration`, which does not move, and
        // which stays as long as the superblock does.
        unsafe {
            let this: *const Self = container_of!(Opaque::cast_from(raw), Self, inner);
            (*this).dirs.as_ref()
        }
    }
}

/// Calls `f` for each of the lock classes that a type has for its superblocks and inodes. lockdep
/// takes them to be static, as types are in C; one in other memory has to be registered.
///
/// # Safety
///
/// `place` must be valid and no superblock of the type alive; `f` must be allowed for its keys.
unsafe fn lock_keys(
    place: *mut bindings::file_system_type,
    f: unsafe extern "C" fn(*mut bindings::lock_class_key),
) {
    // SAFETY: by contract.
    unsafe {
        for key in [
            &raw mut (*place).s_lock_key,
            &raw mut (*place).s_umount_key,
            &raw mut (*place).s_vfs_rename_key,
            &raw mut (*place).i_lock_key,
            &raw mut (*place).i_mutex_key,
            &raw mut (*place).invalidate_lock_key,
            &raw mut (*place).i_mutex_dir_key,
        ] {
            f(key);
        }
        for key in &mut (*place).s_writers_key {
            f(key);
        }
    }
}

/// `init_fs_context`; the kernel crate knows the type of its argument by name only.
///
/// # Safety
///
/// For the kernel only, with the arguments that this operation is documented to get.
unsafe extern "C" fn init<C: ContextOps>(fc: *mut kernel::bindings::fs_context) -> c_int {
    // SAFETY: the VFS passes a new context of a type that mounts through `C`.
    unsafe { fs_context::init::<C>(fc.cast()) }
}

#[pinned_drop]
impl PinnedDrop for Registration {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: registered, by the type invariant. No superblock of this type is left: each
        // holds a reference on the module, and this runs when the module goes or never came up.
        unsafe {
            bindings::unregister_filesystem(self.inner.get());
            lock_keys(self.inner.get(), bindings::lockdep_unregister_key);
        }
    }
}
