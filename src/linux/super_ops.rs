// SPDX-License-Identifier: GPL-2.0

//! Operations on superblocks: the trait that a file system implements, and the C table made of it.

use super::{
    bindings,
    dentry::Dentry,
    fs_type::FileSystem,
    inode::{self, Inode},
    inode_edit::DirtyFlags,
    inode_ops::when,
    stat::StatFs,
    super_block::{forget_buffers, SuperBlock},
};
use core::{marker::PhantomData, mem::MaybeUninit};
use kernel::{
    error::{from_result, VTABLE_DEFAULT_ERROR},
    ffi::c_int,
    prelude::*,
    seq_file::SeqFile,
};

/// Operations on a superblock. Absent ones stay NULL, which the VFS gives a meaning of its own.
#[vtable]
pub(crate) trait SuperOps: 'static {
    /// The file system.
    type Fs: FileSystem;
    /// Handlers for extended attributes.
    const XATTR: super::xattr::HandlerTable;
    /// Operations for files with fs-verity.
    const VERITY: *const bindings::fsverity_operations;
    /// Operations for file handles.
    const EXPORT: *const bindings::export_operations;

    /// Fills in `statfs`. May sleep.
    fn statfs(sb: &SuperBlock<Self::Fs>, out: &mut StatFs) -> Result;
    /// Prints the mount options after the generic ones, each as `,name[=value]`.
    fn show_options(sb: &SuperBlock<Self::Fs>, out: &SeqFile) -> Result;
    /// Called at the last unmount, after the inodes are gone and before the device is released.
    /// Whatever else uses the journal must have ended when it returns.
    fn put_super(sb: &SuperBlock<Self::Fs>);
    /// Called after that if there was a journal, with what closing it has come to: everything is
    /// in its place on the device, or (EIO) the journal had to be given up.
    fn journal_closed(_sb: &SuperBlock<Self::Fs>, _result: Result) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The inode has become dirty as `flags` say (see
    /// [`Inode::mark_dirty`](super::inode_edit), and the VFS's own time stamps): its fields are to
    /// be written, or put into a transaction. May sleep; a handle of the task's may be running, or
    /// not. With this, times cannot be changed without waiting: such calls get EAGAIN.
    fn dirty_inode(_inode: &Inode<Self::Fs>, _flags: DirtyFlags) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writeback has come to the inode; what `dirty_inode` has put into a transaction is to be on
    /// disk afterwards if `how` says so. May sleep.
    fn write_inode(_inode: &Inode<Self::Fs>, _how: WriteInode) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Without a journal: writes the buffers with the inode's fields and waits. Called for an inode
    /// that [`Inode::set_metadata_writeback`](super::inode_edit) was called for.
    fn sync_inode_metadata(_inode: &Inode<Self::Fs>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// sync(2) and its like, after the inodes and before the device: starts to write what the file
    /// system keeps, and with `wait` ends when that is on disk. `s_umount` is held, at least for
    /// reading.
    fn sync_fs(_sb: &SuperBlock<Self::Fs>, _wait: bool) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The file system is being frozen: nobody writes any more and everything has been synced.
    /// Afterwards the device has to be consistent without a recovery. `s_umount` is held for
    /// writing. An error ends the freeze.
    fn freeze_fs(_sb: &SuperBlock<Self::Fs>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The freeze ends; as [`freeze_fs`](Self::freeze_fs).
    fn unfreeze_fs(_sb: &SuperBlock<Self::Fs>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A device is gone: nothing can be written any more, and whoever waits is to be told.
    fn shutdown(_sb: &SuperBlock<Self::Fs>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A step of the work that was started with
    /// [`SuperBlock::start_background`](super::background): the milliseconds to the next one, or
    /// `None` when there is nothing left to do. May sleep; must not take `s_umount`.
    fn background(_sb: &SuperBlock<Self::Fs>) -> Option<u32> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// How thorough `write_inode` has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteInode {
    /// Writing has to start (background writeback).
    Start,
    /// Writing has to start, and `sync_fs` will wait for all of it (sync(2)).
    BeforeSync,
    /// It has to be on disk (fsync, the end of an inode).
    Wait,
}

impl WriteInode {
    /// # Safety
    ///
    /// `wbc` must be valid.
    unsafe fn of(wbc: *const bindings::writeback_control) -> Self {
        // SAFETY: by contract; the request is its maker's, who is our caller.
        let wbc = unsafe { &*wbc };
        if wbc.sync_mode != bindings::writeback_sync_modes_WB_SYNC_ALL {
            Self::Start
        } else if wbc.for_sync() != 0 {
            Self::BeforeSync
        } else {
            Self::Wait
        }
    }
}

pub(super) struct SuperVtable<T: SuperOps>(PhantomData<T>);

impl<T: SuperOps> SuperVtable<T> {
    pub(super) const TABLE: bindings::super_operations = bindings::super_operations {
        alloc_inode: Some(inode::alloc::<T::Fs>),
        free_inode: Some(inode::free::<T::Fs>),
        evict_inode: Some(inode::evict::<T::Fs>),
        put_super: Some(Self::put_super),
        statfs: Some(Self::statfs),
        show_options: Some(Self::show_options),
        dirty_inode: when!(T::HAS_DIRTY_INODE, Self::dirty_inode),
        write_inode: when!(T::HAS_WRITE_INODE, Self::write_inode),
        sync_inode_metadata: when!(T::HAS_SYNC_INODE_METADATA, Self::sync_inode_metadata),
        sync_fs: when!(T::HAS_SYNC_FS, Self::sync_fs),
        freeze_fs: when!(T::HAS_FREEZE_FS, Self::freeze_fs),
        unfreeze_fs: when!(T::HAS_UNFREEZE_FS, Self::unfreeze_fs),
        shutdown: when!(T::HAS_SHUTDOWN, Self::shutdown),
        // `drop_inode` stays absent: an inode without links leaves memory with its last user, any
        // other when memory is short, which is what the VFS does by itself.
        // SAFETY: a table of optional function pointers; all-zero means none.
        ..unsafe { MaybeUninit::zeroed().assume_init() }
    };

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn put_super(sb: *mut bindings::super_block) {
        // SAFETY: the VFS calls this with a superblock that had a root, so it was published.
        let sb = unsafe { SuperBlock::<T::Fs>::from_raw(sb) };
        T::put_super(sb);
        // SAFETY: the private data is valid. No inode, dentry or file is left, and `T::put_super`
        // has ended whatever else there was.
        if let Some(result) = unsafe { sb.kept_journal().close() } {
            if T::HAS_JOURNAL_CLOSED {
                T::journal_closed(sb, result);
            }
        }
        forget_buffers(sb.device());
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn statfs(
        dentry: *mut bindings::dentry,
        buf: *mut kernel::bindings::kstatfs,
    ) -> c_int {
        // SAFETY: the dentry is held by the caller and belongs to a mounted superblock of ours.
        let sb = unsafe { Dentry::<T::Fs>::from_raw(dentry) }.super_block();
        from_result(|| {
            // SAFETY: the caller's buffer, zeroed by it.
            T::statfs(sb, unsafe { StatFs::from_raw(buf.cast()) })?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn show_options(
        seq: *mut kernel::bindings::seq_file,
        root: *mut bindings::dentry,
    ) -> c_int {
        // SAFETY: as above.
        let sb = unsafe { Dentry::<T::Fs>::from_raw(root) }.super_block();
        from_result(|| {
            // SAFETY: the seq_file is the caller's alone during this call.
            T::show_options(sb, unsafe { SeqFile::from_raw(seq) })?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn dirty_inode(inode: *mut bindings::inode, flags: c_int) {
        // SAFETY: the caller has the inode, of a superblock of ours. CAST: a few bits.
        T::dirty_inode(unsafe { Inode::from_raw(inode) }, DirtyFlags(flags as u32));
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn write_inode(
        inode: *mut bindings::inode,
        wbc: *mut bindings::writeback_control,
    ) -> c_int {
        from_result(|| {
            // SAFETY: writeback keeps the inode in memory (`I_SYNC`); the request is the caller's.
            unsafe { T::write_inode(Inode::from_raw(inode), WriteInode::of(wbc))? };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn sync_inode_metadata(
        inode: *mut bindings::inode,
        _wbc: *mut bindings::writeback_control,
    ) -> c_int {
        // SAFETY: as above.
        from_result(|| T::sync_inode_metadata(unsafe { Inode::from_raw(inode) }).map(|()| 0))
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn sync_fs(sb: *mut bindings::super_block, wait: c_int) -> c_int {
        // SAFETY: the VFS calls this with `s_umount` held and a superblock that has a root, so it
        // was published.
        from_result(|| T::sync_fs(unsafe { SuperBlock::from_raw(sb) }, wait != 0).map(|()| 0))
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn freeze_fs(sb: *mut bindings::super_block) -> c_int {
        // SAFETY: as above.
        from_result(|| T::freeze_fs(unsafe { SuperBlock::from_raw(sb) }).map(|()| 0))
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn unfreeze_fs(sb: *mut bindings::super_block) -> c_int {
        // SAFETY: as above.
        from_result(|| T::unfreeze_fs(unsafe { SuperBlock::from_raw(sb) }).map(|()| 0))
    }

    /// # Safety
    ///
    /// For the kernel only, with the arguments that this operation is documented to get.
    unsafe extern "C" fn shutdown(sb: *mut bindings::super_block) {
        // SAFETY: as above.
        T::shutdown(unsafe { SuperBlock::from_raw(sb) });
    }
}
