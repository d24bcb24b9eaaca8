// SPDX-License-Identifier: GPL-2.0

//! Metadata blocks in the buffer cache.
//!
//! A [`Buffer`] is one block of the device, read and pinned. Its bytes belong to the page cache
//! of the block device: somebody who writes to the raw device changes them under our eyes. So a
//! buffer's bytes are untrusted at every look, also after they were verified; verification says
//! that the file system is sound, not that it is safe to be careless.

use super::bindings;
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    ptr::{self, NonNull},
    slice,
};
use kernel::prelude::*;

/// The device of a superblock, through the buffer cache, in blocks of the superblock's size.
#[derive(Clone, Copy)]
pub(crate) struct Device<'a> {
    bdev: NonNull<bindings::block_device>,
    size: u32,
    _sb: PhantomData<&'a ()>,
}

/// What a block has been verified as. Each kind has a bit in the buffer of its own, so that a
/// block that was verified as one thing is verified again before it is used as another.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Verified {
    /// A node of an extent tree.
    Extent = 0,
    /// A block of a directory.
    Dir = 1,
    /// A block of the orphan file.
    Orphan = 2,
    /// A block of extended attributes.
    Xattr = 3,
    /// A block of indirect pointers.
    Indirect = 4,
    /// A bitmap of inodes.
    InodeBitmap = 7,
}

impl Verified {
    /// The bit number in `b_state`, above those of the buffer cache and of jbd2.
    #[inline]
    fn bit(self) -> u32 {
        bindings::jbd_state_bits_BH_JBDPrivateStart + self as u32
    }
}

/// Bits of `b_state`, the buffer cache's and jbd2's as well as ours.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(super) enum StateBit {
    /// In memory is what belongs there.
    Uptodate = bindings::bh_state_bits_BH_Uptodate,
    /// Writing it has failed.
    WriteError = bindings::bh_state_bits_BH_Write_EIO,
    /// To be written to its place.
    Dirty = bindings::bh_state_bits_BH_Dirty,
    /// To be written as metadata.
    Meta = bindings::bh_state_bits_BH_Meta,
    /// To be written before others.
    Prio = bindings::bh_state_bits_BH_Prio,
    /// The running transaction has a revoke record of the block.
    Revoked = bindings::jbd_state_bits_BH_Revoked,
    /// Ours: somebody has an [`Edit`](super::jbd2::Edit) of the block.
    Edited = bindings::jbd_state_bits_BH_JBDPrivateStart + 5,
    /// Ours: the checksum is still to be computed, see [`Trigger`](super::jbd2::Trigger).
    Unsettled = bindings::jbd_state_bits_BH_JBDPrivateStart + 6,
}

impl StateBit {
    /// Whether the bit is set.
    ///
    /// # Safety
    ///
    /// As of all functions here: `bh` must be a buffer that is held.
    #[inline]
    pub(super) unsafe fn is_set(self, bh: *mut bindings::buffer_head) -> bool {
        // SAFETY: by contract; a word that is changed by atomic bit operations only.
        let state = unsafe { (&raw const (*bh).b_state).read_volatile() };
        state & (1usize << self as u32) != 0
    }

    /// Sets the bit, without a locked instruction if it is set already.
    ///
    /// # Safety
    ///
    /// See [`is_set`](Self::is_set).
    #[inline]
    pub(super) unsafe fn set(self, bh: *mut bindings::buffer_head) {
        // SAFETY: by contract; an atomic operation.
        unsafe {
            if !self.is_set(bh) {
                bindings::set_buffer_bit(self as usize, &raw mut (*bh).b_state);
            }
        }
    }

    /// Clears the bit, without a locked instruction if it is clear already.
    ///
    /// # Safety
    ///
    /// See [`is_set`](Self::is_set).
    #[inline]
    pub(super) unsafe fn clear(self, bh: *mut bindings::buffer_head) {
        // SAFETY: by contract; an atomic operation.
        unsafe {
            if self.is_set(bh) {
                bindings::clear_buffer_bit(self as usize, &raw mut (*bh).b_state);
            }
        }
    }

    /// Clears the bit and says whether it was set.
    ///
    /// # Safety
    ///
    /// See [`is_set`](Self::is_set).
    #[inline]
    pub(super) unsafe fn take(self, bh: *mut bindings::buffer_head) -> bool {
        // SAFETY: by contract; an atomic operation.
        unsafe { bindings::test_and_clear_buffer_bit(self as usize, &raw mut (*bh).b_state) }
    }

    /// Sets the bit and says whether it was clear: as a lock that is only tried.
    ///
    /// # Safety
    ///
    /// See [`is_set`](Self::is_set).
    #[inline]
    pub(super) unsafe fn claim(self, bh: *mut bindings::buffer_head) -> bool {
        // SAFETY: by contract; an atomic operation.
        unsafe { !bindings::test_and_set_buffer_bit(self as usize, &raw mut (*bh).b_state) }
    }

    /// Clears the bit after [`claim`](Self::claim), as a lock is released.
    ///
    /// # Safety
    ///
    /// See [`is_set`](Self::is_set).
    #[inline]
    pub(super) unsafe fn release(self, bh: *mut bindings::buffer_head) {
        // SAFETY: by contract; an atomic operation.
        unsafe { bindings::clear_buffer_bit_unlock(self as usize, &raw mut (*bh).b_state) };
    }

    /// Forgets what the block was used for: that it was verified, and its checksum's state.
    ///
    /// # Safety
    ///
    /// See [`is_set`](Self::is_set).
    pub(super) unsafe fn forget_all(bh: *mut bindings::buffer_head) {
        let kinds = [
            Verified::Extent,
            Verified::Dir,
            Verified::Orphan,
            Verified::Xattr,
            Verified::Indirect,
            Verified::InodeBitmap,
        ];
        let bits = kinds
            .iter()
            .fold(0, |bits, kind| bits | 1usize << kind.bit());
        // SAFETY: by contract; atomic operations, rarely needed.
        unsafe {
            if (&raw const (*bh).b_state).read_volatile() & bits != 0 {
                for kind in kinds {
                    bindings::clear_buffer_bit(kind.bit() as usize, &raw mut (*bh).b_state);
                }
            }
            Self::Unsettled.clear(bh);
        }
    }
}

impl<'a> Device<'a> {
    /// # Safety
    ///
    /// `bdev` must be open for `'a`, and its block size `size`.
    pub(super) unsafe fn from_raw(bdev: NonNull<bindings::block_device>, size: u32) -> Self {
        Self {
            bdev,
            size,
            _sb: PhantomData,
        }
    }

    /// # Safety
    ///
    /// `sb` must be a superblock whose device is open and whose block size is set, for `'a`.
    #[inline]
    pub(super) unsafe fn of_super(sb: *mut bindings::super_block) -> Self {
        // SAFETY: by contract `s_bdev` is set.
        unsafe {
            Self {
                bdev: NonNull::new_unchecked((*sb).s_bdev),
                size: (*sb).s_blocksize as u32,
                _sb: PhantomData,
            }
        }
    }

    #[inline]
    pub(super) fn as_raw(self) -> *mut bindings::block_device {
        self.bdev.as_ptr()
    }

    /// The size of a block in bytes.
    #[inline]
    pub(crate) fn block_size(self) -> u32 {
        self.size
    }

    /// The buffer of block `block`, whatever is in it. May sleep, for as long as it takes to get memory:
    /// who asks has allocated the block.
    ///
    /// Errors: ENOMEM for a block beyond the end of the device.
    pub(super) fn get(self, block: u64) -> Result<Held<'a>> {
        // SAFETY: as in `read`.
        let bh = unsafe {
            bindings::bdev_getblk(
                self.bdev.as_ptr(),
                block,
                self.size,
                bindings::GFP_NOFS | bindings::__GFP_MOVABLE | bindings::__GFP_NOFAIL,
            )
        };
        // INVARIANT: `bdev_getblk` returns a referenced buffer.
        Ok(Held(NonNull::new(bh).ok_or(ENOMEM)?, PhantomData))
    }

    /// The same if it is in memory. May sleep.
    pub(super) fn find(self, block: u64) -> Option<Held<'a>> {
        // SAFETY: as in `read`.
        let bh =
            unsafe { bindings::__find_get_block_nonatomic(self.bdev.as_ptr(), block, self.size) };
        // INVARIANT: as in `get`.
        Some(Held(NonNull::new(bh)?, PhantomData))
    }

    /// Reads block `block`. May sleep.
    ///
    /// Errors: EIO, which covers a block beyond the end of the device.
    #[inline]
    pub(crate) fn read(self, block: u64) -> Result<Buffer<'a>> {
        match self.cached(block) {
            Some(buffer) => Ok(buffer),
            None => self.read_uncached(block),
        }
    }

    /// Whether what is in memory of a block is what belongs there. That is so too when writing it has
    /// failed, which takes the buffer's mark that it is up to date away: what is on the device is
    /// older then, and whoever read it would lose what was changed, or half of it.
    ///
    /// # Safety
    ///
    /// `bh` is a buffer that is held.
    #[inline]
    unsafe fn is_current(bh: *mut bindings::buffer_head) -> bool {
        // SAFETY: by contract. The bit is set after the contents, by whoever read them.
        unsafe { bindings::buffer_is_uptodate(bh) || Self::could_not_be_written(bh) }
    }

    /// # Safety
    ///
    /// As for [`is_current`](Self::is_current).
    #[cold]
    unsafe fn could_not_be_written(bh: *mut bindings::buffer_head) -> bool {
        // SAFETY: by contract.
        unsafe {
            let failed = StateBit::WriteError.is_set(bh);
            if failed {
                StateBit::Uptodate.set(bh);
            }
            failed
        }
    }

    #[cold]
    fn read_uncached(self, block: u64) -> Result<Buffer<'a>> {
        // SAFETY: the device is open; the size is the one that the device is set to.
        let bh = unsafe {
            bindings::__bread_gfp(
                self.bdev.as_ptr(),
                block,
                self.size,
                bindings::__GFP_MOVABLE,
            )
        };
        match NonNull::new(bh) {
            // INVARIANT: `__bread_gfp` returns a referenced buffer that is up to date.
            Some(bh) => Ok(Buffer {
                bh,
                _dev: PhantomData,
            }),
            None => Err(EIO),
        }
    }

    /// Writes block `block`, which is no metadata, and waits. What is in the buffer cache of it,
    /// which may be older than what is on the device, is not looked at.
    ///
    /// Errors: EINVAL for anything but a whole block; EIO, ENOMEM.
    pub(crate) fn overwrite(self, block: u64, bytes: &[u8]) -> Result {
        if bytes.len() != self.size as usize {
            return Err(EINVAL);
        }
        let held = self.get(block)?;
        // INVARIANT: whatever is in the block now is replaced as a whole below, before anybody
        // reads it through this.
        let mut buffer = held.filled();
        buffer.write_through(0, bytes)
    }

    /// Starts reading `len` blocks from `block` on, without waiting.
    pub(crate) fn read_ahead(self, block: u64, len: u32) {
        for n in 0..len {
            // SAFETY: as in `read`.
            unsafe {
                bindings::__breadahead(self.bdev.as_ptr(), block.wrapping_add(n.into()), self.size)
            };
        }
    }

    /// Block `block` if it is in memory and up to date.
    #[inline]
    pub(crate) fn cached(self, block: u64) -> Option<Buffer<'a>> {
        // SAFETY: as in `read`.
        let bh = unsafe { bindings::__find_get_block(self.bdev.as_ptr(), block, self.size) };
        let buffer = Buffer {
            bh: NonNull::new(bh)?,
            _dev: PhantomData,
        };
        // SAFETY: we hold a reference.
        // INVARIANT: a buffer that is not up to date is given back and goes no further.
        unsafe { Self::is_current(bh) }.then_some(buffer)
    }

    /// Makes block `block` zeroes in memory, unless it is there already: what is on the device is of
    /// no use to anybody, and need not be read. It is not written for this. May sleep.
    ///
    /// Errors: ENOMEM.
    pub(crate) fn fill_unread(self, block: u64) -> Result {
        let buffer = self.get(block)?;
        // SAFETY: the buffer is held, its bytes are mapped, and it is unlocked again.
        unsafe { Self::zero_under_lock(buffer.as_raw(), false) };
        Ok(())
    }

    /// If block `block` is in memory, makes it zeroes there: it has been zeroed on the device past
    /// the buffer cache, and nobody uses it. May sleep.
    pub(crate) fn zero_cached(self, block: u64) {
        if let Some(buffer) = self.find(block) {
            // SAFETY: as above.
            unsafe { Self::zero_under_lock(buffer.as_raw(), true) };
        }
    }

    /// Fills a buffer that is not up to date, or with `even_then` any, with zeroes.
    ///
    /// # Safety
    ///
    /// The buffer must be held. Nobody may use what is in it if it is up to date and `even_then`.
    unsafe fn zero_under_lock(bh: *mut bindings::buffer_head, even_then: bool) {
        // SAFETY: by contract. The lock waits for whoever reads or writes the block.
        unsafe {
            if !even_then && StateBit::Uptodate.is_set(bh) {
                return;
            }
            bindings::lock_buffer(bh);
            if even_then || !StateBit::Uptodate.is_set(bh) {
                (*bh).b_data.cast::<u8>().write_bytes(0, (*bh).b_size);
                StateBit::Uptodate.set(bh);
            }
            bindings::unlock_buffer(bh);
        }
    }

    /// Whether the device has to move for every access.
    pub(crate) fn is_rotational(self) -> bool {
        // SAFETY: the device is open.
        unsafe { bindings::bdev_is_rotational(self.bdev.as_ptr()) }
    }

    /// Whether the device does anything with discards.
    pub(crate) fn can_discard(self) -> bool {
        // SAFETY: the device is open.
        unsafe { bindings::bdev_max_discard_sectors(self.bdev.as_ptr()) != 0 }
    }

    /// The least that it discards, in bytes.
    pub(crate) fn discard_granularity(self) -> u32 {
        // SAFETY: the device is open.
        unsafe { bindings::bdev_discard_granularity(self.bdev.as_ptr()) }
    }

    /// Whether the device itself cannot be written.
    pub(crate) fn is_rdonly(self) -> bool {
        // SAFETY: the device is open.
        unsafe { bindings::bdev_read_only(self.bdev.as_ptr()) }
    }

    /// Makes the device put on its medium what it has been sent.
    ///
    /// Errors: EIO.
    pub(crate) fn flush(self) -> Result {
        // SAFETY: the device is open.
        super::super_block::check(unsafe { bindings::blkdev_issue_flush(self.bdev.as_ptr()) })
    }

    /// Sectors of 512 bytes that have been written to the device since the machine started.
    pub(crate) fn sectors_written(self) -> u64 {
        // SAFETY: the device is open.
        unsafe { bindings::bdev_sectors_written(self.bdev.as_ptr()) as u64 }
    }

    /// Forgets all buffers that are clean and not held, and with them that they were verified.
    pub(crate) fn invalidate(self) {
        // SAFETY: the device is open.
        unsafe { bindings::invalidate_bdev(self.bdev.as_ptr()) };
    }

    /// Writes back every dirty buffer of the device and waits.
    ///
    /// Errors: EIO.
    pub(crate) fn sync(self) -> Result {
        // SAFETY: the device is open.
        super::super_block::check(unsafe { bindings::sync_blockdev(self.bdev.as_ptr()) })
    }
}

/// A block in the buffer cache.
///
/// # Invariants
///
/// `bh` is referenced by us and was up to date when it was made; `b_data` points to `b_size`
/// mapped bytes as long as the reference is held.
pub(crate) struct Buffer<'a> {
    bh: NonNull<bindings::buffer_head>,
    _dev: PhantomData<&'a ()>,
}

/// A buffer that may not be up to date.
///
/// # Invariants
///
/// The buffer is referenced by us.
pub(super) struct Held<'a>(NonNull<bindings::buffer_head>, PhantomData<&'a ()>);

impl<'a> Held<'a> {
    pub(super) fn as_raw(&self) -> *mut bindings::buffer_head {
        self.0.as_ptr()
    }

    /// Gives up the reference to the caller.
    pub(super) fn into_raw(self) -> *mut bindings::buffer_head {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// The block, whose bytes the caller has filled in.
    pub(super) fn filled(self) -> Buffer<'a> {
        let bh = ManuallyDrop::new(self).0;
        // INVARIANT: referenced by us, and up to date.
        Buffer {
            bh,
            _dev: PhantomData,
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // SAFETY: by the type invariant we own one reference.
        unsafe { bindings::brelse(self.0.as_ptr()) };
    }
}

/// A block that stays in memory, and is had without a search: the device's cache cannot let go of it.
///
/// # Invariants
///
/// The buffer is referenced by us, and was up to date when this was made.
pub(crate) struct Pinned(NonNull<bindings::buffer_head>);

// SAFETY: a reference to a buffer belongs to no task.
unsafe impl Send for Pinned {}
// SAFETY: all that can be done with a shared one is to take another reference, which is atomic.
unsafe impl Sync for Pinned {}

impl Pinned {
    /// Keeps the block of `buffer`.
    pub(crate) fn new(buffer: &Buffer<'_>) -> Self {
        // SAFETY: the buffer is held.
        unsafe { bindings::get_bh(buffer.as_raw()) };
        // INVARIANT: the reference just taken; up to date by the invariant of `Buffer`.
        Self(buffer.bh)
    }

    /// The block, if it is of `device`.
    #[inline]
    pub(crate) fn get<'a>(&self, device: Device<'a>) -> Option<Buffer<'a>> {
        // SAFETY: the buffer is held; its device does not change then.
        unsafe {
            if (*self.0.as_ptr()).b_bdev != device.as_raw() {
                return None;
            }
            bindings::get_bh(self.0.as_ptr());
        }
        // INVARIANT: the reference just taken; up to date by ours.
        Some(Buffer {
            bh: self.0,
            _dev: PhantomData,
        })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: by the type invariant we own one reference.
        unsafe { bindings::brelse(self.0.as_ptr()) };
    }
}

impl Buffer<'_> {
    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::buffer_head {
        self.bh.as_ptr()
    }

    /// Where the `len` bytes from `offset` on are, without a reference to any other; `None` for
    /// bytes that are not in the block.
    #[inline]
    pub(super) fn range(&self, offset: usize, len: usize) -> Option<(NonNull<u8>, usize)> {
        // SAFETY: by the type invariant; these are constant while the buffer is referenced.
        let (data, size) = unsafe {
            (
                (*self.as_raw()).b_data.cast::<u8>(),
                (*self.as_raw()).b_size,
            )
        };
        if offset.checked_add(len)? > size {
            return None;
        }
        // SAFETY: inside the bytes, by the check above.
        Some((NonNull::new(unsafe { data.add(offset) })?, len))
    }

    /// Whether the block has been verified as `kind` since it came into memory.
    #[inline]
    pub(crate) fn is_verified(&self, kind: Verified) -> bool {
        // SAFETY: by the type invariant; a word that is changed by atomic bit operations only.
        let state = unsafe { (&raw const (*self.bh.as_ptr()).b_state).read_volatile() };
        state & (1usize << kind.bit()) != 0
    }

    /// Notes that the block is sound as `kind`.
    pub(crate) fn set_verified(&self, kind: Verified) {
        // SAFETY: by the type invariant; an atomic operation on a bit that is ours.
        unsafe {
            bindings::set_buffer_bit(kind.bit() as usize, &raw mut (*self.bh.as_ptr()).b_state)
        };
    }

    /// Replaces the bytes from `offset` on by `bytes`, and waits until the block is written. What
    /// else is in the block stays.
    ///
    /// Errors: EINVAL for bytes that do not fit the block; EIO.
    pub(crate) fn write_through(&mut self, offset: usize, bytes: &[u8]) -> Result {
        self.write_with(offset, bytes, false)
    }

    /// As [`write_through`](Self::write_through), until the block is safe on the medium, whatever
    /// caches the device has.
    ///
    /// Errors: as there.
    pub(crate) fn write_durably(&mut self, offset: usize, bytes: &[u8]) -> Result {
        self.write_with(offset, bytes, true)
    }

    fn write_with(&mut self, offset: usize, bytes: &[u8], durably: bool) -> Result {
        let bh = self.bh.as_ptr();
        let end = offset.checked_add(bytes.len()).ok_or(EINVAL)?;
        if end > self.len() {
            return Err(EINVAL);
        }
        // SAFETY: by the type invariant the block is mapped, and the range is inside it. The lock
        // keeps the block from being written half-changed; `&mut` says that no slice of ours leads
        // into it. A write that failed before leaves the buffer not up to date, though in memory
        // it is: say so, as `mark_buffer_dirty` wants it.
        unsafe {
            bindings::lock_buffer(bh);
            ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                (*bh).b_data.cast::<u8>().add(offset),
                bytes.len(),
            );
            bindings::set_buffer_bit(
                bindings::bh_state_bits_BH_Uptodate as usize,
                &raw mut (*bh).b_state,
            );
            bindings::unlock_buffer(bh);
            bindings::mark_buffer_dirty(bh);
            super::super_block::check(if durably {
                bindings::sync_dirty_buffer_fua(bh)
            } else {
                bindings::sync_dirty_buffer(bh)
            })
        }
    }

    /// Waits until the block is on the device as it is in memory, if it is dirty. Without a journal
    /// only: with one, jbd2 says when a block is written.
    ///
    /// Errors: EIO.
    pub(crate) fn sync(&self) -> Result {
        // SAFETY: by the type invariant; locks the buffer itself.
        super::super_block::check(unsafe { bindings::sync_dirty_buffer(self.bh.as_ptr()) })
    }

    /// The physical block number.
    pub(crate) fn block(&self) -> u64 {
        // SAFETY: by the type invariant; constant while the buffer is referenced.
        unsafe { (*self.bh.as_ptr()).b_blocknr }
    }
}

impl Deref for Buffer<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: by the type invariant the bytes are mapped. A writer to the raw device may
        // change them meanwhile, as it may for every file system; all code that reads them copes
        // with any value, and reads a value once before it relies on it.
        unsafe {
            let bh = self.bh.as_ptr();
            slice::from_raw_parts((*bh).b_data.cast::<u8>(), (*bh).b_size)
        }
    }
}

impl Drop for Buffer<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: by the type invariant we own one reference.
        unsafe { bindings::brelse(self.bh.as_ptr()) };
    }
}
