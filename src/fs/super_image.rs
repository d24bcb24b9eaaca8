// SPDX-License-Identifier: GPL-2.0

//! The superblock in memory, and the two ways in which it reaches the disk.
//!
//! A mounted file system has one image of its superblock, here. What is in the buffer cache is a
//! copy that is replaced as a whole, under the lock of the image; nobody reads it there again.
//! ext4 changes the buffer itself, a field at a time, and has to know which fields may be
//! half-changed while somebody else writes them out.
//!
//! - [`edit`] changes it in a transaction: what has to come and go with other metadata (features
//!   that come into use, the head of the orphan list), and everything that an administrator sets.
//! - [`commit`] writes it at once, past the journal. That is only right while no transaction may
//!   hold the block, since a commit that is writing the block to its log would find it changed,
//!   and its checksum in the log wrong: at mount and unmount, under the journal's lock (freeze,
//!   remount), without a journal, and when the journal has been given up.
//!
//! Lock order: a handle, then the lock of the image; under it there is I/O and nothing else.

use super::{errors, statfs::free_counts, tx::Handle, Sb};
use crate::{
    linux::{
        buffer::Device,
        jbd2::SlotKey,
        super_block::{message, Level},
        time::real_seconds,
    },
    ondisk::{
        features::{Features, Incompat, RoCompat},
        superblock::{self, Superblock},
    },
};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use kernel::{new_mutex, prelude::*, sync::Mutex};

/// The image, in a file system's private data.
pub(crate) struct Image {
    block: u64,
    offset: u32,
    /// Sectors that had been written to the device when this was made.
    written_before: u64,
    state: Pin<KBox<Mutex<State>>>,
    /// The path of a mount has been stored, or tried to be, since mounting.
    path_taken: AtomicBool,
    /// Held by who changes the superblock's copies as well.
    pub(super) copies: Pin<KBox<Mutex<()>>>,
}

struct State {
    raw: KBox<Superblock>,
    /// The right to change the superblock's bytes in its block.
    key: SlotKey,
}

impl Image {
    /// The image of `raw`, which was found at `number` (in units of 1 KiB) of `device`.
    ///
    /// Errors: EINVAL for a place that there is not; ENOMEM.
    pub(crate) fn new(device: Device<'_>, raw: &Superblock, number: u32) -> Result<Self> {
        let bits = device.block_size().trailing_zeros();
        let (block, offset) = superblock::location(number.into(), bits).ok_or(EINVAL)?;
        let state = State {
            raw: KBox::new(raw.clone(), GFP_KERNEL)?,
            key: SlotKey::new(block, offset, superblock::SIZE as u32),
        };
        Ok(Self {
            block,
            offset,
            written_before: device.sectors_written(),
            state: KBox::pin_init(new_mutex!(state), GFP_KERNEL)?,
            path_taken: AtomicBool::new(false),
            copies: KBox::pin_init(new_mutex!(()), GFP_KERNEL)?,
        })
    }

    /// Calls `f` with the superblock as it is now. `f` must not sleep for long.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&Superblock) -> R) -> R {
        f(&self.state.lock().raw)
    }

    /// The block that the superblock is in, and its offset there.
    pub(super) fn place(&self) -> (u64, usize) {
        (self.block, self.offset as usize)
    }

    /// KiB written to the device since mounting.
    pub(crate) fn session_kbytes(&self, device: Device<'_>) -> u64 {
        device.sectors_written().wrapping_sub(self.written_before) >> 1
    }
}

/// Reads the superblock anew: while the file system is read-only, e2fsck may have repaired it.
///
/// Errors (reported): EUCLEAN for one that makes no sense any more; EIO.
pub(crate) fn reload(sb: &Sb) -> Result {
    let image = &sb.info().image;
    let buffer = sb.device().read(image.block)?;
    let bytes = buffer.get(image.offset as usize..).unwrap_or(&[]);
    let raw = Superblock::verify(bytes).map_err(|e| {
        message(Level::Err, sb.id(), fmt!("{}\n", e.message()));
        EUCLEAN
    })?;
    let mut state = image.state.lock();
    let old = &state.raw;
    // All that the mount has derived from the old one has to be true of the new one.
    let shape = |raw: &Superblock| {
        let features = raw.features();
        Features {
            compat: features.compat,
            incompat: features.incompat.without(Incompat::RECOVER),
            ro_compat: features.ro_compat.without(RoCompat::ORPHAN_PRESENT),
        }
    };
    if raw.blocks_count() != old.blocks_count()
        || shape(raw) != shape(old)
        || raw.uuid() != old.uuid()
    {
        message(
            Level::Err,
            sb.id(),
            fmt!("superblock was changed while mounted, please umount\n"),
        );
        return Err(EUCLEAN);
    }
    state.raw.clone_from(raw);
    Ok(())
}

/// Applies `f` to the superblock, and writes it; returns when it is safe on disk (if barriers are
/// on). Only where no transaction may hold the block, see the head of the module.
///
/// May sleep. Errors: EIO (reported); the change stays in memory.
pub(crate) fn commit(sb: &Sb, f: impl FnOnce(&mut Superblock)) -> Result {
    let image = &sb.info().image;
    let mut state = image.state.lock();
    f(&mut state.raw);
    state.refresh(sb);
    let mut buffer = sb.device().read(image.block).inspect_err(|_| {
        message(Level::Err, sb.id(), fmt!("unable to read superblock\n"));
    })?;
    let (at, bytes) = (image.offset as usize, state.raw.bytes());
    let written = if sb.info().has(super::options::Toggles::BARRIER) {
        buffer.write_durably(at, bytes)
    } else {
        buffer.write_through(at, bytes)
    };
    written.inspect_err(|_| {
        message(
            Level::Err,
            sb.id(),
            fmt!("I/O error while writing superblock\n"),
        );
    })
}

/// Applies `f` to the superblock, as a part of what `handle` changes; it takes one credit. `f` says
/// whether it has changed anything.
///
/// May sleep. Errors: EROFS, EIO when the journal has been given up; nothing has changed then.
pub(crate) fn edit(
    sb: &Sb,
    handle: &Handle<'_>,
    f: impl FnOnce(&mut Superblock) -> bool,
) -> Result {
    let image = &sb.info().image;
    let access = handle.access(sb.device().read(image.block)?)?;
    {
        let mut state = image.state.lock();
        let State { raw, key } = &mut *state;
        let mut slot = access.open(key).ok_or(EUCLEAN)?;
        if !f(raw) {
            return Ok(());
        }
        raw.update_checksum();
        for (to, from) in slot.iter_mut().zip(raw.bytes()) {
            *to = *from;
        }
    }
    access.dirty();
    Ok(())
}

/// As [`edit`], and puts what else has changed (times, counts, errors) into the superblock.
///
/// Errors: as there.
pub(crate) fn refresh(sb: &Sb, handle: &Handle<'_>) -> Result {
    edit(sb, handle, |raw| {
        fill_in(sb, raw);
        true
    })
}

impl State {
    fn refresh(&mut self, sb: &Sb) {
        fill_in(sb, &mut self.raw);
        self.raw.update_checksum();
    }
}

/// Puts what is kept elsewhere into the superblock: the time, counts, and errors that are not in
/// its record yet.
fn fill_in(sb: &Sb, raw: &mut Superblock) {
    let info = sb.info();
    // As ext4: not when a read-only mount only records a recovery, since the clock may be wrong
    // that early.
    if !sb.is_rdonly() {
        raw.set_wtime(real_seconds());
    }
    let session = info.image.session_kbytes(sb.device());
    raw.set_kbytes_written(info.raw.kbytes_written().wrapping_add(session));
    let free = free_counts(info);
    let blocks = free.clusters << (info.geometry.cluster_bits() & 31);
    raw.set_free_counts(blocks, u32::try_from(free.inodes).unwrap_or(u32::MAX));
    if let Some(pending) = info.errors.take_unwritten() {
        raw.record_errors(&pending.first, &pending.last, pending.count);
    }
}

/// Whether the path of the mount has been stored, or tried to be, since mounting.
#[inline]
pub(crate) fn path_is_taken(sb: &Sb) -> bool {
    sb.info().image.path_taken.load(Relaxed)
}

/// Says that the path of the mount is going to be stored; whether it was not, before.
pub(crate) fn take_path(sb: &Sb) -> bool {
    !sb.info().image.path_taken.swap(true, Relaxed)
}

/// Whether there are errors that are not in the record on disk yet.
pub(crate) fn has_unwritten_errors(sb: &Sb) -> bool {
    errors::has_unwritten(sb.info())
}
