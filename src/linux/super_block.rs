// SPDX-License-Identifier: GPL-2.0

//! Superblocks.
//!
//! Mounting is a typestate: [`NewSuper`] has a device and no private data yet; giving it the
//! private data turns it into a `&SuperBlock<F>`, and only that can produce inodes. So an inode
//! always finds the private data of its file system.
//!
//! The private data lives from [`NewSuper::publish`] to the end of `kill_sb`, that is longer than
//! any inode, dentry or file of the superblock.

use super::{
    background::Background,
    bdev::{ClaimedDevice, Keeper},
    bindings,
    fs_context::FsContext,
    fs_type::{FileSystem, Registration},
    inode::{self, Inode},
    ioend::Queue,
    jbd2,
    shrinker::Caches,
    super_ops::{SuperOps, SuperVtable},
    surfaces::{Slot, SuperSurfaces},
};
use core::{fmt::Write as _, marker::PhantomData};
use kernel::{error::to_result, prelude::*, sync::aref::ARef, types::Opaque};

/// A mounted file system of type `F`.
///
/// # Invariants
///
/// `s_fs_info` points to a valid `Private<F>`.
#[repr(transparent)]
pub(crate) struct SuperBlock<F: FileSystem>(Opaque<bindings::super_block>, PhantomData<F>);

// SAFETY: a superblock is shared by design; every method here is callable from any thread.
unsafe impl<F: FileSystem> Sync for SuperBlock<F> {}

impl<F: FileSystem> SuperBlock<F> {
    /// # Safety
    ///
    /// `ptr` must be a superblock of `F` with its private data set, valid for `'a`.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::super_block) -> &'a Self {
        // SAFETY: by this function's contract; the layout is transparent.
        unsafe { &*ptr.cast() }
    }

    pub(super) fn as_raw(&self) -> *mut bindings::super_block {
        self.0.get()
    }

    /// The file system's private data.
    #[inline]
    pub(crate) fn info(&self) -> &F::Super {
        // SAFETY: by the type invariant the pointer is valid; it lives as long as the superblock.
        unsafe { &(*(*self.as_raw()).s_fs_info.cast::<Private<F>>()).info }
    }

    /// Shows `T` in sysfs and procfs, under the device's name in the directories of the type if
    /// that has any, until the last unmount. Called once, at the end of `fill`.
    ///
    /// Errors: ENOMEM, or what sysfs says.
    pub(crate) fn show<T: SuperSurfaces<Fs = F>>(&self) -> Result {
        // SAFETY: by the type invariant; `s_type` never changes, and a superblock of `F` has a
        // type that was registered through `Registration`.
        let dirs = unsafe { Registration::dirs((*self.as_raw()).s_type) };
        let Some(dirs) = dirs else {
            return Ok(());
        };
        // SAFETY: by the type invariant the private data is valid; `kill_sb` clears the slot before
        // anything else is gone. `s_id` is NUL-terminated and does not change.
        unsafe {
            let private = &*(*self.as_raw()).s_fs_info.cast::<Private<F>>();
            let id = super::cstr::from_ptr((&raw const (*self.as_raw()).s_id).cast());
            private.surfaces.fill::<T>(self, id, dirs.clone())
        }
    }

    /// The item that does background work.
    pub(super) fn background(&self) -> &Background<F> {
        // SAFETY: by the type invariant the pointer is valid; it lives as long as the superblock.
        unsafe { &(*(*self.as_raw()).s_fs_info.cast::<Private<F>>()).background }
    }

    /// The inodes whose extent status caches can be given up.
    pub(super) fn caches(&self) -> &Caches<F> {
        // SAFETY: as above.
        unsafe { &(*(*self.as_raw()).s_fs_info.cast::<Private<F>>()).caches }
    }

    /// The workqueue for what is to be done when writes have ended.
    pub(super) fn completions(&self) -> &Queue {
        // SAFETY: as above.
        unsafe { &(*(*self.as_raw()).s_fs_info.cast::<Private<F>>()).completions }
    }

    /// The place of the journal.
    pub(super) fn kept_journal(&self) -> &jbd2::Kept<F> {
        // SAFETY: as above.
        unsafe { &(*(*self.as_raw()).s_fs_info.cast::<Private<F>>()).journal }
    }

    /// The journal that [`Published::keep_journal`] was given, until the last unmount.
    #[inline]
    pub(crate) fn journal(&self) -> Option<&jbd2::LoadedJournal<'_, jbd2::OfSuper<F>>> {
        self.kept_journal().get()
    }

    /// The device that [`Published::keep_journal_device`] was given.
    pub(crate) fn journal_device(&self) -> Option<&ClaimedDevice<'_>> {
        // SAFETY: as above.
        unsafe {
            (*(*self.as_raw()).s_fs_info.cast::<Private<F>>())
                .journal_device
                .get()
        }
    }

    /// As [`Published::keep_journal`], in a remount.
    ///
    /// Errors: EINVAL when `remount` is not one of this superblock; as there.
    pub(crate) fn keep_journal_at(
        &self,
        remount: &FsContext,
        journal: jbd2::LoadedJournal<'_, jbd2::OfSuper<F>>,
    ) -> Result {
        if !remount.is_remount_of(self.as_raw()) {
            return Err(EINVAL);
        }
        // SAFETY: the context of a remount holds the mounted superblock, so `put_super` is yet to
        // come, which closes the journal.
        unsafe { self.kept_journal().fill(journal) }
    }

    /// The short name of the device, for messages.
    pub(crate) fn id(&self) -> &[u8] {
        // SAFETY: `s_id` is set before the superblock is filled and does not change after.
        unsafe { id_bytes(self.as_raw()) }
    }

    /// Whether the file system is mounted read-only right now.
    #[inline]
    pub(crate) fn is_rdonly(&self) -> bool {
        // SAFETY: a plain word that is read racily by design (`sb_rdonly`).
        unsafe { (*self.as_raw()).s_flags & bindings::SB_RDONLY != 0 }
    }

    /// The device, for the buffer cache.
    #[inline]
    pub(crate) fn device(&self) -> super::buffer::Device<'_> {
        // SAFETY: the device of a published superblock is open and its block size set.
        unsafe { super::buffer::Device::of_super(self.as_raw()) }
    }

    /// Size of the device in bytes.
    pub(crate) fn device_bytes(&self) -> u64 {
        // SAFETY: the device stays open as long as the superblock lives.
        unsafe { bindings::bdev_nr_bytes((*self.as_raw()).s_bdev) as u64 }
    }

    /// The block size in bytes.
    #[inline]
    pub(crate) fn block_size(&self) -> usize {
        // SAFETY: constant once the superblock has been filled.
        unsafe { (*self.as_raw()).s_blocksize }
    }

    /// How much its device writes whole or not at all, in bytes: at least, and at most. `None` if it does not
    /// say.
    pub(crate) fn untorn_units(&self) -> Option<(u32, u32)> {
        // SAFETY: a mounted superblock has its device open.
        unsafe {
            let bdev = (*self.as_raw()).s_bdev;
            bindings::bdev_can_atomic_write(bdev).then(|| {
                (
                    bindings::bdev_atomic_write_unit_min_bytes(bdev),
                    bindings::bdev_atomic_write_unit_max_bytes(bdev),
                )
            })
        }
    }

    /// The smallest alignment of direct I/O on the device, in bytes: of memory and of offsets.
    pub(crate) fn dio_alignment(&self) -> (u32, u32) {
        // SAFETY: the device stays open as long as the superblock lives.
        unsafe {
            let bdev = (*self.as_raw()).s_bdev;
            (
                bindings::bdev_dma_alignment(bdev).saturating_add(1) as u32,
                bindings::bdev_logical_block_size(bdev) as u32,
            )
        }
    }

    /// The inode `ino`, from the cache or new and locked for filling. May sleep.
    ///
    /// Errors: ENOMEM.
    #[inline]
    pub(crate) fn iget(&self, ino: u64) -> Result<inode::Got<F>> {
        // SAFETY: the superblock is alive; see `inode::Got` for what becomes of the reference.
        let raw = unsafe { bindings::iget_locked(self.as_raw(), ino) };
        if raw.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: `iget_locked` returned a referenced inode of this superblock.
        Ok(unsafe { inode::Got::from_raw(raw) })
    }

    /// Makes `root` the root directory. Called once, from `fill`.
    ///
    /// Errors: ENOMEM.
    pub(crate) fn set_root(&self, root: ARef<Inode<F>>) -> Result {
        // SAFETY: `d_make_root` takes over the reference, also when it fails; nobody else reads
        // `s_root` before the mount is complete.
        unsafe {
            let dentry = bindings::d_make_root(ARef::into_raw(root).as_ptr().cast());
            if dentry.is_null() {
                return Err(ENOMEM);
            }
            (*self.as_raw()).s_root = dentry;
        }
        Ok(())
    }
}

/// What `s_fs_info` points to: the file system's part and ours.
#[pin_data]
struct Private<F: FileSystem> {
    info: F::Super,
    surfaces: Slot<F>,
    journal_device: Keeper,
    #[pin]
    background: Background<F>,
    #[pin]
    caches: Caches<F>,
    completions: Queue,
    journal: jbd2::Kept<F>,
}

/// # Safety
///
/// `sb` must be valid for `'a`, and its `s_id` must not change meanwhile.
unsafe fn id_bytes<'a>(sb: *mut bindings::super_block) -> &'a [u8] {
    // SAFETY: by contract; `s_id` is an array inside the superblock, NUL-terminated by the VFS.
    unsafe {
        let id = &raw const (*sb).s_id;
        super::cstr::bytes_of(id.cast())
    }
}

/// Makes a device's name, which may have a slash (`etherd/e0.0`), that of a file in sysfs and proc.
pub(crate) fn as_file_name(name: &mut [u8]) {
    for byte in name {
        if *byte == b'/' {
            *byte = b'!';
        }
    }
}

/// A superblock that is being filled: it has its device, and no private data yet.
pub(crate) struct NewSuper<'a, F: FileSystem> {
    raw: *mut bindings::super_block,
    _p: PhantomData<&'a mut F>,
}

/// Facts that a file system states about itself when it fills a superblock.
pub(crate) struct SuperFacts {
    /// `s_magic`.
    pub(crate) magic: usize,
    /// Largest file size in bytes.
    pub(crate) max_bytes: i64,
    /// Smallest and largest time stamp in seconds, granularity in nanoseconds.
    pub(crate) time_min: i64,
    /// See `time_min`.
    pub(crate) time_max: i64,
    /// See `time_min`.
    pub(crate) time_gran: u32,
    /// File system UUID.
    pub(crate) uuid: [u8; 16],
    /// Whether POSIX ACLs are honoured.
    pub(crate) posix_acl: bool,
}

impl SuperFacts {
    /// Sets them.
    ///
    /// # Safety
    ///
    /// `raw` must be a superblock that is being mounted by the caller, and known to nobody else.
    unsafe fn set(&self, raw: *mut bindings::super_block) {
        // SAFETY: by contract.
        unsafe {
            let sb = &mut *raw;
            sb.s_magic = self.magic;
            sb.s_maxbytes = self.max_bytes;
            sb.s_time_min = self.time_min;
            sb.s_time_max = self.time_max;
            sb.s_time_gran = self.time_gran;
            bindings::super_set_uuid(raw, self.uuid.as_ptr(), 16);
            if self.posix_acl {
                sb.s_flags |= bindings::SB_POSIXACL;
            } else {
                sb.s_flags &= !bindings::SB_POSIXACL;
            }
        }
    }
}

impl<'a, F: FileSystem> NewSuper<'a, F> {
    /// # Safety
    ///
    /// `raw` must be the superblock that `get_tree_bdev` passes to its callback, exclusively the
    /// caller's for `'a`.
    pub(super) unsafe fn new(raw: *mut bindings::super_block) -> Self {
        // SAFETY: by contract nobody else uses the superblock.
        as_file_name(unsafe { &mut (*raw).s_id });
        Self {
            raw,
            _p: PhantomData,
        }
    }

    /// The short name of the device, for messages.
    pub(crate) fn id(&self) -> &[u8] {
        // SAFETY: set by `setup_bdev_super` before; we are its only user.
        unsafe { id_bytes(self.raw) }
    }

    /// Whether the mount is read-only.
    pub(crate) fn is_rdonly(&self) -> bool {
        // SAFETY: exclusively ours.
        unsafe { (*self.raw).s_flags & bindings::SB_RDONLY != 0 }
    }

    /// Whether the mount is to be quiet about a missing file system (`MS_SILENT`).
    pub(crate) fn is_silent(&self) -> bool {
        // SAFETY: exclusively ours.
        unsafe { (*self.raw).s_flags & bindings::SB_SILENT != 0 }
    }

    /// Makes the mount read-only.
    pub(crate) fn force_rdonly(&mut self) {
        // SAFETY: exclusively ours.
        unsafe { (*self.raw).s_flags |= bindings::SB_RDONLY };
    }

    /// Whether the device itself cannot be written.
    pub(crate) fn device_is_rdonly(&self) -> bool {
        // SAFETY: the device was opened by `setup_bdev_super`.
        unsafe { bindings::bdev_read_only((*self.raw).s_bdev) }
    }

    /// Size of the device in bytes.
    pub(crate) fn device_bytes(&self) -> u64 {
        // SAFETY: as above.
        unsafe { bindings::bdev_nr_bytes((*self.raw).s_bdev) as u64 }
    }

    /// The device, for the buffer cache.
    pub(crate) fn device(&self) -> super::buffer::Device<'_> {
        // SAFETY: the superblock's device stays open as long as the superblock lives, and the
        // block size was set by `set_block_size`.
        unsafe { super::buffer::Device::of_super(self.raw) }
    }

    /// Sets the block size, in bytes, at `wanted` or the device's sector size if that is larger;
    /// returns what it is. Buffers of another size are dropped.
    ///
    /// Errors: EINVAL when the device cannot be used with this size.
    pub(crate) fn set_min_block_size(&mut self, wanted: u32) -> Result<u32> {
        // SAFETY: exclusively ours, no buffers are held.
        let size = unsafe { bindings::sb_min_blocksize(self.raw, i32::try_from(wanted)?) };
        if size <= 0 {
            return Err(EINVAL);
        }
        Ok(size as u32)
    }

    /// Sets the block size to exactly `size` bytes.
    ///
    /// Errors: EINVAL when the device or the kernel cannot use this size.
    pub(crate) fn set_block_size(&mut self, size: u32) -> Result {
        // SAFETY: exclusively ours, no buffers are held.
        let got = unsafe { bindings::sb_set_blocksize(self.raw, i32::try_from(size)?) };
        if got == 0 {
            return Err(EINVAL);
        }
        Ok(())
    }

    /// Attaches the private data and the operations; from here on inodes can be had.
    ///
    /// Errors: ENOMEM.
    pub(crate) fn publish<T: SuperOps<Fs = F>>(
        self,
        info: F::Super,
        facts: &SuperFacts,
    ) -> Result<Published<'a, F>> {
        let raw = self.raw;
        let info = KBox::pin_init(
            try_pin_init!(Private::<F> {
                info,
                surfaces: Slot::new(),
                // SAFETY: `kill_sb` drops this, the VFS frees the superblock after that.
                journal_device: unsafe { Keeper::new() },
                // SAFETY: nobody can start anything before this function returns; `kill_sb` stops
                // it before it drops this.
                background <- unsafe { Background::new::<T>(raw) },
                caches <- Caches::new(raw),
                completions: Queue::new(raw)?,
                journal: jbd2::Kept::new(),
            }? Error),
            GFP_KERNEL,
        )?;
        // SAFETY: nothing moves the value: it is only ever reached through `s_fs_info` by shared
        // reference, and freed by `kill_sb`.
        let info = KBox::into_raw(unsafe { Pin::into_inner_unchecked(info) });
        // SAFETY: exclusively ours until we return the shared reference.
        unsafe {
            let sb = &mut *self.raw;
            sb.s_fs_info = info.cast();
            Caches::register(&raw const (*info).caches);
            sb.s_op = &SuperVtable::<T>::TABLE;
            sb.s_xattr = T::XATTR.as_ptr().cast();
            sb.s_export_op = T::EXPORT.cast();
            bindings::set_verity_operations(self.raw, T::VERITY);
            // Nothing stands against pre-content events: all reads go through the page cache's.
            sb.s_iflags |= bindings::SB_I_ALLOW_HSM as usize;
            facts.set(self.raw);
            bindings::super_set_sysfs_name_bdev(self.raw);
            // INVARIANT: nobody else has seen the superblock yet.
            Ok(Published(SuperBlock::from_raw(self.raw)))
        }
    }
}

/// A superblock that has private data, while only its mount knows it.
///
/// # Invariants
///
/// The mount is not complete: no dentry and no file of the superblock exists, and inodes only as
/// long as the mount itself holds them.
pub(crate) struct Published<'a, F: FileSystem>(&'a SuperBlock<F>);

impl<F: FileSystem> core::ops::Deref for Published<'_, F> {
    type Target = SuperBlock<F>;

    fn deref(&self) -> &SuperBlock<F> {
        self.0
    }
}

impl<F: FileSystem> Published<'_, F> {
    /// Keeps the journal for as long as the file system is mounted: it is closed after
    /// [`SuperOps::put_super`], or when the mount fails.
    ///
    /// Errors: EBUSY when there is one already; ENOMEM. Either way `journal` has been closed.
    pub(crate) fn keep_journal(
        &self,
        journal: jbd2::LoadedJournal<'_, jbd2::OfSuper<F>>,
    ) -> Result {
        // SAFETY: the private data of a published superblock is valid. `put_super` or `kill_sb`
        // closes the journal, before the superblock's devices are released; the journal's inode is
        // its own reference.
        unsafe {
            (*(*self.as_raw()).s_fs_info.cast::<Private<F>>())
                .journal
                .fill(journal)
        }
    }
}

impl<F: FileSystem> Published<'_, F>
where
    F::Super: Unpin,
{
    /// Keeps the device of an external journal, which was claimed for this superblock, until the
    /// last unmount.
    ///
    /// Errors: EBUSY if it has one already.
    pub(crate) fn keep_journal_device(&self, device: ClaimedDevice<'_>) -> Result {
        if !device.is_of(self.0.as_raw()) {
            return Err(EINVAL);
        }
        // SAFETY: `s_fs_info` by the type invariant of `SuperBlock`; the device is this
        // superblock's.
        unsafe {
            let private = (*self.0.as_raw()).s_fs_info.cast::<Private<F>>();
            (*private).journal_device.keep(device)
        }
    }

    /// Makes the superblock writable, or not, while the mount is not complete: orphans are cleaned
    /// up on a read-only mount as well. Afterwards only a remount changes this.
    pub(crate) fn set_rdonly(&mut self, rdonly: bool) {
        // SAFETY: by the type invariant the mount is not complete, and the VFS changes the flags
        // of such a superblock only at the hands of the mount. Racy readers see one or the other.
        unsafe {
            let flags = &raw mut (*self.0.as_raw()).s_flags;
            let others = flags.read_volatile() & !bindings::SB_RDONLY;
            flags.write_volatile(if rdonly {
                others | bindings::SB_RDONLY
            } else {
                others
            });
        }
    }

    /// Exchanges the private data for `info`, and the facts for `facts`.
    ///
    /// Errors: EBUSY while an inode is in memory.
    pub(crate) fn replace(self, info: F::Super, facts: &SuperFacts) -> Result<Self> {
        let sb = self.0.as_raw();
        // SAFETY: `sb` is valid. The mount is the only one who could add to the list, and it is
        // here.
        if unsafe { bindings::list_is_empty(&raw const (*sb).s_inodes) } {
            // SAFETY: by the type invariant and the check above nobody but `self` can reach the
            // private data, and references made from `self` are gone, since it is consumed here.
            // The old value is dropped in place; it may be moved since it is `Unpin`.
            unsafe {
                (*(*sb).s_fs_info.cast::<Private<F>>()).info = info;
                facts.set(sb);
            }
            return Ok(self);
        }
        Err(EBUSY)
    }
}

/// Forgets what is in the buffer cache of the device, and above all that it was verified: the
/// cache stays for as long as anybody has the device open, and others may write to it.
pub(super) fn forget_buffers(device: super::buffer::Device<'_>) {
    // A failed write has been reported to whoever asked for it.
    let _ = device.sync();
    device.invalidate();
}

/// `kill_sb`: shuts the superblock down, releases its device, then frees the private data.
///
/// # Safety
///
/// For the VFS only, as the `kill_sb` of a type whose superblocks are all `F`'s.
pub(super) unsafe extern "C" fn kill_sb<F: FileSystem>(sb: *mut bindings::super_block) {
    // SAFETY: the VFS hands us the last reference, with s_umount held.
    let info = unsafe { (*sb).s_fs_info };
    if !info.is_null() {
        // SAFETY: `publish` put it there. First of all, nobody may look any more, and nothing goes
        // on by itself.
        unsafe {
            (*info.cast::<Private<F>>()).surfaces.clear();
            (*info.cast::<Private<F>>()).background.stop();
        }
        // SAFETY: the VFS calls `put_super` for a superblock that has a root. One without has not
        // been mounted: nobody but its mount has used the journal, and that has failed.
        if unsafe { (*sb).s_root.is_null() } {
            // SAFETY: as above.
            let _ = unsafe { (*info.cast::<Private<F>>()).journal.close() };
        }
    }
    // SAFETY: as above; this leaves the structure itself alone.
    unsafe { bindings::kill_block_super(sb) };
    if !info.is_null() {
        // SAFETY: `info` came from `KBox::into_raw` in `publish` and no inode, dentry or file of
        // this superblock is left to read it.
        drop(unsafe { KBox::from_raw(info.cast::<Private<F>>()) });
        // SAFETY: as above.
        unsafe { (*sb).s_fs_info = core::ptr::null_mut() };
    }
}

/// Prints `args` with the name of the module and of the device, as ext4's messages look.
pub(crate) fn message(level: Level, id: &[u8], args: kernel::fmt::Arguments<'_>) {
    let mut prefix = [0u8; 48];
    let mut w = Prefix {
        buf: &mut prefix,
        len: 0,
    };
    let _ = w.write_str("rext4-fs (");
    for &b in id.iter().take(30) {
        let _ = w.write_char(char::from(b));
    }
    let _ = w.write_str(")");
    let format = match level {
        Level::Err => &kernel::print::format_strings::ERR,
        Level::Warning => &kernel::print::format_strings::WARNING,
        Level::Notice => &kernel::print::format_strings::NOTICE,
        Level::Info => &kernel::print::format_strings::INFO,
    };
    // SAFETY: a format string of the kernel's, whose two arguments are a NUL-terminated prefix
    // (the array is longer than what was written) and format arguments.
    unsafe { kernel::print::call_printk(format, &prefix, args) };
}

/// Severity of a message.
#[derive(Clone, Copy)]
pub(crate) enum Level {
    /// The operation fails.
    Err,
    /// Something is wrong and work goes on.
    Warning,
    /// Somebody should know.
    Notice,
    /// Normal operation.
    Info,
}

/// A formatter into a fixed buffer that always leaves a NUL at its end.
struct Prefix<'a> {
    buf: &'a mut [u8],
    len: usize,
}

impl core::fmt::Write for Prefix<'_> {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        for b in s.bytes() {
            match self.buf.get_mut(self.len) {
                Some(slot) if self.len < 47 => *slot = b,
                _ => return Err(core::fmt::Error),
            }
            self.len = self.len.wrapping_add(1);
        }
        Ok(())
    }
}

/// Turns a C return value into a result; a convenience for this room.
pub(super) fn check(ret: kernel::ffi::c_int) -> Result {
    to_result(ret)
}
