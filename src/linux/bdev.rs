// SPDX-License-Identifier: GPL-2.0

//! Block devices that a superblock uses besides its own.
//!
//! The superblock's own device is claimed and released by the VFS. Every other one is held as a
//! [`ClaimedDevice`], and in no other way: making one opens the device exclusively and enters it in
//! the VFS's table of which superblock uses which device, so that removal, freezing and syncing
//! reach the superblock; dropping it undoes both, once, on whichever path it is dropped.

use super::{bindings, buffer::Device, fs_type::FileSystem, super_block::SuperBlock};
use core::{marker::PhantomData, ptr::NonNull};
use kernel::{error::from_err_ptr, fmt, prelude::*};

/// A device's number, as the kernel counts them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceNumber(u32);

impl DeviceNumber {
    /// From the form that file systems store, which puts 12 bits of major number between two
    /// parts of the minor one (`new_encode_dev`). `None` for 0, which is no device.
    pub(crate) const fn decode(stored: u32) -> Option<Self> {
        if stored == 0 {
            return None;
        }
        let major = (stored & 0x000f_ff00) >> 8;
        let minor = (stored & 0xff) | ((stored >> 12) & 0x000f_ff00);
        Some(Self((major << 20) | minor))
    }

    /// The reverse.
    pub(crate) const fn encode(self) -> u32 {
        let (major, minor) = self.parts();
        (minor & 0xff) | (major << 8) | ((minor & 0xf_ff00) << 12)
    }

    /// Major and minor number.
    pub(crate) const fn parts(self) -> (u32, u32) {
        (self.0 >> 20, self.0 & 0xf_ffff)
    }
}

impl<F: FileSystem> SuperBlock<F> {
    /// The number of its device.
    pub(crate) fn number(&self) -> DeviceNumber {
        // SAFETY: set before the superblock was published, and constant.
        DeviceNumber(unsafe { (*self.as_raw()).s_dev })
    }
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.parts();
        write!(f, "unknown-block({major},{minor})")
    }
}

/// A block device that belongs to a superblock: nobody else can claim it, or open it for writing.
///
/// # Invariants
///
/// `file` came from `fs_bdev_file_open_by_dev` for the superblock `sb` and has not been released;
/// `sb` is alive as long as the value (for `'a`, or until [`Keeper`] drops it).
pub(crate) struct ClaimedDevice<'a> {
    file: NonNull<bindings::file>,
    sb: NonNull<bindings::super_block>,
    _sb: PhantomData<&'a ()>,
}

// SAFETY: an open file and a superblock can be used, and let go, from any thread.
unsafe impl Send for ClaimedDevice<'_> {}
// SAFETY: as above; what is offered by shared reference reads what does not change.
unsafe impl Sync for ClaimedDevice<'_> {}

impl<'a> ClaimedDevice<'a> {
    /// Claims the device `number` for `sb`, for reading and, with `write`, for writing. May sleep.
    ///
    /// Errors: EBUSY when somebody else has claimed it or has it open for writing, when it is the
    /// superblock's own device, and while it is frozen; ENXIO and ENODEV when there is no such
    /// device, EACCES and EROFS when it cannot be written; ENOMEM.
    pub(crate) fn new<F: FileSystem>(
        sb: &'a SuperBlock<F>,
        number: DeviceNumber,
        write: bool,
    ) -> Result<Self> {
        let mut mode = bindings::BLK_OPEN_READ | bindings::BLK_OPEN_RESTRICT_WRITES;
        if write {
            mode |= bindings::BLK_OPEN_WRITE;
        }
        let raw = sb.as_raw();
        // The block layer would give the same holder its device a second time.
        // SAFETY: set before the superblock was published, and constant.
        if unsafe { (*raw).s_dev } == number.0 {
            return Err(EBUSY);
        }
        // SAFETY: the superblock is alive, and holds its device in the VFS's table already. As the
        // token of exclusiveness it stands for nobody but itself.
        let file = from_err_ptr(unsafe {
            bindings::fs_bdev_file_open_by_dev(number.0, mode, raw.cast(), raw)
        })?;
        // INVARIANT: opened just now; `'a` is a borrow of the superblock.
        // SAFETY: one pointer is a reference's, the other what an open returned that did not fail.
        Ok(unsafe {
            Self {
                file: NonNull::new_unchecked(file),
                sb: NonNull::new_unchecked(raw),
                _sb: PhantomData,
            }
        })
    }

    /// Whether it was claimed for the superblock `sb`.
    pub(super) fn is_of(&self, sb: *const bindings::super_block) -> bool {
        core::ptr::eq(self.sb.as_ptr(), sb)
    }

    /// Its number.
    pub(crate) fn number(&self) -> DeviceNumber {
        // SAFETY: the device is open; the number is constant.
        DeviceNumber(unsafe { (*self.bdev().as_ptr()).bd_dev })
    }

    /// Whether the device itself cannot be written.
    pub(crate) fn is_rdonly(&self) -> bool {
        // SAFETY: the device is open.
        unsafe { bindings::bdev_read_only(self.bdev().as_ptr()) }
    }

    /// Size in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        // SAFETY: as above.
        unsafe { bindings::bdev_nr_bytes(self.bdev().as_ptr()) as u64 }
    }

    fn bdev(&self) -> NonNull<bindings::block_device> {
        // SAFETY: by the type invariant the file is an open block device's, and has one.
        unsafe { NonNull::new_unchecked(bindings::file_bdev(self.file.as_ptr())) }
    }

    /// Sets the size of the blocks that the device is read and written in, in bytes.
    ///
    /// Errors: EINVAL for a size that the device or the kernel does not support.
    pub(crate) fn set_block_size(&mut self, size: u32) -> Result {
        let size = i32::try_from(size)?;
        // SAFETY: by the type invariant; `&mut` says that no buffer of ours is held.
        super::super_block::check(unsafe { bindings::set_blocksize(self.file.as_ptr(), size) })
    }

    /// The device's smallest unit, in bytes.
    pub(crate) fn sector_size(&self) -> u32 {
        // SAFETY: the device is open.
        unsafe { bindings::bdev_logical_block_size(self.bdev().as_ptr()) }
    }

    /// Its blocks of `size` bytes, which is what [`set_block_size`](Self::set_block_size) set.
    pub(crate) fn blocks(&self, size: u32) -> Device<'_> {
        // SAFETY: the device stays open as long as the value that the result borrows.
        unsafe { Device::from_raw(self.bdev(), size) }
    }
}

impl Drop for ClaimedDevice<'_> {
    fn drop(&mut self) {
        // Whoever has the device next reads it anew.
        // SAFETY: by the type invariant; the device's block size is that of its cache.
        unsafe { super::super_block::forget_buffers(Device::from_raw(self.bdev(), 0)) };
        // SAFETY: by the type invariant, and once.
        unsafe { bindings::fs_bdev_file_release(self.file.as_ptr(), self.sb.as_ptr()) };
    }
}

/// Where a superblock keeps a device that it needs for as long as it is mounted.
///
/// # Invariants
///
/// It is part of the superblock's private data, which is dropped before the superblock is freed.
pub(super) struct Keeper(kernel::sync::SetOnce<ClaimedDevice<'static>>);

impl Keeper {
    /// An empty place.
    ///
    /// # Safety
    ///
    /// To be put into a superblock's private data, and dropped with it before the superblock is
    /// freed.
    pub(super) const unsafe fn new() -> Self {
        // INVARIANT: by contract.
        Self(kernel::sync::SetOnce::new())
    }

    /// The device.
    pub(super) fn get(&self) -> Option<&ClaimedDevice<'_>> {
        self.0.as_ref()
    }

    /// Keeps `device`, which is the superblock's own, until the last unmount.
    ///
    /// Errors: EBUSY if there is one already.
    ///
    /// # Safety
    ///
    /// `device` must have been claimed for the superblock that this is part of.
    pub(super) unsafe fn keep(&self, device: ClaimedDevice<'_>) -> Result {
        // SAFETY: only the lifetime changes. The value is dropped with `self` at the latest, when
        // by the type invariant and the contract its superblock is still alive.
        let device =
            unsafe { core::mem::transmute::<ClaimedDevice<'_>, ClaimedDevice<'static>>(device) };
        if self.0.populate(device) {
            Ok(())
        } else {
            Err(EBUSY)
        }
    }
}
