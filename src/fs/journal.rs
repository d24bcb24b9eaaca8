// SPDX-License-Identifier: GPL-2.0

//! Replaying the journal at mount time, and opening it for writing.
//!
//! A file system that was not unmounted is consistent only together with its journal: what was
//! committed and not yet written to its place has to be written now. So a read-only mount of a
//! device that can be written replays the journal, as ext4 does; on one that cannot, the mount is
//! refused unless `noload` says to look at what is there.
//!
//! For a read-only mount, a journal that needs no recovery is left alone. ext4 opens it there as
//! well, since the mount may become a writing one; here it is opened when it does. An external one
//! is identified and claimed, as there.
//!
//! A mount for writing opens the journal ([`open`]) after it has been replayed, closed, and
//! everything has been read again: the journal's own inode and its block map are metadata like any
//! other, and what the replay has made of them is what counts.
//!
//! # Order of a replay
//!
//! 1. The journal's superblock and its log are checked: whatever can be refused is refused before
//!    a single block has changed (see `engine::journal_scan` for what jbd2 is to be spared).
//! 2. jbd2 writes the blocks to their places. From here on, nothing that was read from the device
//!    before counts.
//! 3. Errors that are known only outside of the journal's transactions are put back into the
//!    superblock, and on disk; then the journal forgets its own.
//! 4. The journal is marked as empty, on disk.
//! 5. The superblock loses its `needs_recovery`, on disk, and gets the free counts that go with the
//!    group descriptors.
//!
//! A crash at any point leaves a file system that the next mount can recover: the flag goes last.
//! Orphans are left alone: `s_last_orphan` and the orphan file stay as the replay made them, for
//! what the mount does next.

mod log;

use self::log::{External, Log, Place};
use super::{inode::iget, map, options::Toggles, super_image, tx, Rext4Fs, Sb, VfsInode};
use crate::{
    engine::mapping::MapKind,
    linux::{
        jbd2::{Checksums, JournalFeatures},
        super_block::{message, Level, Published},
    },
    ondisk::{
        features::{Compat, Incompat, RoCompat},
        group::GroupDesc,
        inode::Purpose,
        superblock::{self, Superblock},
        FileBlock, Geometry, Group,
    },
};
use kernel::{fmt, prelude::*, sync::aref::ARef};

/// Replays the journal if the file system needs it. `true` if so: then everything that was read
/// before, the superblock included, has to be read again.
///
/// An external journal is claimed in any case, and for as long as the file system is mounted, so
/// that no other one takes it meanwhile.
///
/// Errors: EROFS on a device that cannot be written; EINVAL for a journal that rext4 cannot use;
/// EUCLEAN and EFSBADCRC for a damaged one; EBUSY for an external one in use; EIO, ENOMEM. All have
/// been reported.
pub(crate) fn prepare(sb: &Published<'_, Rext4Fs>) -> Result<bool> {
    let info = sb.info();
    if !info.geometry.has(Compat::HAS_JOURNAL) || info.has(Toggles::NOLOAD) {
        return Ok(false);
    }
    let recover = info.geometry.has(Incompat::RECOVER);
    let mut log = match Place::of(sb)? {
        Place::Device(number) => Log::Device(External::claim(sb, number, recover)?),
        Place::Inode(_) if !recover => return Ok(false),
        Place::Inode(ino) => Log::in_inode(sb, ino)?,
    };
    if recover {
        recover_from(sb, &mut log)?;
    }
    if let Log::Device(external) = log {
        if let Some(device) = external.into_device() {
            sb.keep_journal_device(device)?;
        }
    }
    Ok(recover)
}

/// Opens the journal for writing, with the features that ext4 would choose, and gives it to `keep`.
/// Nothing happens without a journal, and if it is open already. The file system must not need
/// recovery; what the journal holds nevertheless (a mount with `noload` has left it there) is
/// forgotten.
///
/// Errors (reported): as [`prepare`], without EBUSY; those of `keep`.
pub(crate) fn open(sb: &Sb, keep: impl FnOnce(tx::Log<'_>) -> Result) -> Result {
    let info = sb.info();
    if !info.geometry.has(Compat::HAS_JOURNAL)
        || info.has(Toggles::NOLOAD)
        || sb.journal().is_some()
    {
        return Ok(());
    }
    let mut log = match sb.journal_device() {
        Some(device) => Log::Device(External::kept(sb, device)?),
        None => match Place::of(sb)? {
            Place::Inode(ino) => Log::in_inode(sb, ino)?,
            // Claimed by `prepare`, or there is none.
            Place::Device(_) => return Err(EINVAL),
        },
    };
    if matches!(&log, Log::Device(external) if external.is_rdonly()) {
        error(sb, fmt!("write access unavailable, cannot proceed"));
        return Err(EROFS);
    }
    if let Some(scan) = &mut log.read_head(sb)? {
        // jbd2 walks the log to find its end.
        log.check(sb, scan)?;
    }
    let loading = |_: &Error| error(sb, fmt!("error loading journal"));
    let mut journal = log
        .open(sb, info.has(Toggles::BARRIER))
        .inspect_err(loading)?;
    journal.wipe().inspect_err(loading)?;
    let mut journal = journal.load().inspect_err(loading)?;
    take_over_errno(sb, &mut journal, || {
        super_image::commit(sb, Superblock::mark_errors)
    })?;
    let (v3, asked) = (
        info.geometry.has(RoCompat::METADATA_CSUM),
        info.has(Toggles::JOURNAL_CHECKSUM) || info.has(Toggles::ASYNC_COMMIT),
    );
    let features = JournalFeatures {
        checksums: match (v3, asked) {
            (_, false) => Checksums::None,
            (true, true) => Checksums::V3,
            (false, true) => Checksums::Compat,
        },
        wide: info.geometry.has(Incompat::BIT64),
        async_commit: info.has(Toggles::ASYNC_COMMIT),
    };
    if v3 && features.async_commit {
        // jbd2's replay gives up at a block that is not the one the transaction was committed with.
        message(
            Level::Warning,
            sb.id(),
            fmt!("journal_async_commit with metadata_csum: a power cut may leave a journal that is refused\n"),
        );
    }
    journal.set_features(features).inspect_err(|_| {
        error(sb, fmt!("Failed to set journal checksum feature set"));
    })?;
    keep(journal)
}

/// Replays `log`.
///
/// Errors: as [`prepare`].
fn recover_from(sb: &Sb, log: &mut Log<'_>) -> Result {
    if sb.is_rdonly() {
        info(sb, fmt!("INFO: recovery required on readonly filesystem"));
    }
    let journal_is_rdonly = matches!(log, Log::Device(external) if external.is_rdonly());
    if sb.device().is_rdonly() || journal_is_rdonly {
        error(
            sb,
            fmt!("write access unavailable, cannot proceed (try mounting with noload)"),
        );
        return Err(EROFS);
    }
    if sb.is_rdonly() {
        info(sb, fmt!("write access will be enabled during recovery"));
    }
    if !sb.info().has(Toggles::BARRIER) {
        info(sb, fmt!("barriers disabled"));
    }
    if let Some(scan) = &mut log.read_head(sb)? {
        log.check(sb, scan)?;
    }
    replay(sb, log)?;

    // Whatever was verified before the replay may have other contents now.
    (sb.device().sync()).inspect_err(|_| error(sb, fmt!("I/O error during recovery")))?;
    sb.device().invalidate();
    info(sb, fmt!("recovery complete"));
    Ok(())
}

fn error(sb: &Sb, what: fmt::Arguments<'_>) {
    message(Level::Err, sb.id(), fmt!("{}\n", what));
}

fn info(sb: &Sb, what: fmt::Arguments<'_>) {
    message(Level::Info, sb.id(), fmt!("{}\n", what));
}

/// Opens the journal's inode.
///
/// Errors: EUCLEAN (reported) when it cannot hold a journal; EIO, ENOMEM.
fn open_inode(sb: &Sb, ino: u32) -> Result<ARef<VfsInode>> {
    let inode = sb
        .info()
        .geometry
        .check_ino(ino)
        .ok_or(EUCLEAN)
        .and_then(|ino| iget(sb, ino, Purpose::Special))
        .inspect_err(|_| error(sb, fmt!("no journal found")))?;
    if inode.nlink() == 0 {
        error(sb, fmt!("journal inode is deleted"));
        return Err(EUCLEAN);
    }
    if !inode.is_regular() {
        error(sb, fmt!("invalid journal inode"));
        return Err(EUCLEAN);
    }
    Ok(inode)
}

/// Where block `at` of the journal is, and how many blocks from there on are consecutive.
///
/// Errors: EUCLEAN (reported) for a block that is not there.
fn extent_at(sb: &Sb, inode: &VfsInode, at: u32) -> Result<(u64, u32)> {
    let at = FileBlock::new(at);
    let (found, _) = map::lookup(inode, at, false)?;
    let skip = found.lblk.distance_to(at);
    match found.kind {
        MapKind::Written(start) if skip < found.len => {
            let physical = start.get().checked_add(skip.into()).ok_or(EUCLEAN)?;
            Ok((physical, found.len.saturating_sub(skip)))
        }
        _ => {
            error(sb, fmt!("journal block {} is not allocated", at.get()));
            Err(EUCLEAN)
        }
    }
}

/// Has jbd2 replay the journal, and brings the superblock up to date.
///
/// Errors: what jbd2 says, EUCLEAN when the journal has left no valid superblock, EIO. All have
/// been reported.
fn replay(sb: &Sb, log: &mut Log<'_>) -> Result {
    let info = sb.info();
    let failed = match log {
        Log::Inode { .. } => "Could not load journal inode",
        Log::Device(_) => "failed to create device journal",
    };
    let journal = log
        .open(sb, info.has(Toggles::BARRIER))
        .inspect_err(|_| error(sb, fmt!("{}", failed)))?;
    let loaded = journal.load();
    let mut on_disk = OnDisk::read(sb);
    // Also after a replay that failed half-way: what it has written, it has written.
    if let Ok(on_disk) = &mut on_disk {
        let put_back = on_disk.change(|new| new.restore_errors(&info.raw));
        if loaded.is_ok() {
            put_back?;
        }
    }
    let mut journal = loaded.inspect_err(|_| error(sb, fmt!("error loading journal")))?;
    let mut on_disk = on_disk?;
    take_over_errno(sb, &mut journal, || on_disk.change(Superblock::mark_errors))?;
    journal
        .close()
        .inspect_err(|_| error(sb, fmt!("error loading journal")))?;
    let free = on_disk.count_free();
    on_disk.change(|new| {
        if let Some((blocks, inodes)) = free {
            new.set_free_counts(blocks, inodes);
        }
        new.clear_needs_recovery();
    })
}

/// If the last mount gave up the journal because of an error, makes that one of the file system,
/// by means of `mark`.
///
/// Errors: EIO (reported).
fn take_over_errno(sb: &Sb, journal: &mut tx::Log<'_>, mark: impl FnOnce() -> Result) -> Result {
    let errno = journal.errno();
    if errno == 0 {
        return Ok(());
    }
    message(
        Level::Warning,
        sb.id(),
        fmt!(
            "Filesystem error recorded from previous mount: error {}\n",
            errno
        ),
    );
    mark()?;
    message(
        Level::Warning,
        sb.id(),
        fmt!("Marked fs in need of filesystem check.\n"),
    );
    journal.clear_errno();
    Ok(())
}

/// The superblock that is mounted, as it is on disk.
struct OnDisk<'a> {
    sb: &'a Sb,
    block: u64,
    offset: usize,
    copy: KBox<[u8; superblock::SIZE]>,
}

impl<'a> OnDisk<'a> {
    /// Reads it.
    ///
    /// Errors: EUCLEAN when there is none any more; EIO, ENOMEM. All have been reported.
    fn read(sb: &'a Sb) -> Result<Self> {
        let info = sb.info();
        let number = info.options.lock().sb_block();
        let (block, offset) =
            superblock::location(number.into(), info.geometry.block_bits()).ok_or(EINVAL)?;
        let offset = usize::try_from(offset)?;
        let buffer = sb.device().read(block).inspect_err(|_| {
            error(sb, fmt!("unable to read superblock"));
        })?;
        let bytes = buffer
            .get(offset..)
            .and_then(|b| b.first_chunk::<{ superblock::SIZE }>())
            .ok_or(EUCLEAN)?;
        Superblock::verify(bytes).map_err(|e| {
            error(sb, fmt!("after journal replay: {}", e.message()));
            EUCLEAN
        })?;
        let copy = KBox::new(*bytes, GFP_KERNEL)?;
        Ok(Self {
            sb,
            block,
            offset,
            copy,
        })
    }

    /// The free blocks and inodes that the group descriptors count; `None` if one of them makes no
    /// sense, which the mount will see for itself.
    fn count_free(&mut self) -> Option<(u64, u32)> {
        let sb = self.sb;
        let raw = Superblock::verify(self.copy.as_slice()).ok()?;
        let geometry = Geometry::new(raw, self.block, Some(sb.device_bytes())).ok()?;
        let (mut clusters, mut inodes) = (0u64, 0u32);
        for number in 0..geometry.groups_count() {
            let group = Group::new(number);
            let (block, offset) = geometry.desc_location(group)?;
            let buffer = sb.device().read(block.get()).ok()?;
            let bytes = buffer.get(usize::try_from(offset).ok()?..)?;
            let desc = GroupDesc::verify(&geometry, group, bytes).ok()?;
            clusters = clusters.checked_add(desc.free_clusters().into())?;
            inodes = inodes.checked_add(desc.free_inodes())?;
        }
        Some((clusters.checked_shl(geometry.cluster_bits())?, inodes))
    }

    /// Applies `f`, and writes the superblock if that has changed it; returns when it is safe on
    /// disk.
    ///
    /// Errors: EIO (reported).
    fn change(&mut self, f: impl FnOnce(&mut Superblock)) -> Result {
        let sb = self.sb;
        // What has been verified before does not fail now.
        let new = Superblock::verify_mut(&mut *self.copy).map_err(|_| EUCLEAN)?;
        f(new);
        new.update_checksum();
        let mut buffer = sb.device().read(self.block).inspect_err(|_| {
            error(sb, fmt!("unable to read superblock"));
        })?;
        let end = self.offset.saturating_add(self.copy.len());
        if buffer.get(self.offset..end) == Some(self.copy.as_slice()) {
            return Ok(());
        }
        buffer
            .write_through(self.offset, self.copy.as_slice())
            .and_then(|()| {
                if sb.info().has(Toggles::BARRIER) {
                    sb.device().flush()
                } else {
                    Ok(())
                }
            })
            .inspect_err(|_| error(sb, fmt!("I/O error while writing superblock")))
    }
}
