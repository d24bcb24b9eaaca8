// SPDX-License-Identifier: GPL-2.0

//! Replaying the journal at mount time.
//!
//! rext4 cannot write files yet, but a file system that was not unmounted is consistent only
//! together with its journal: what was committed and not yet written to its place has to be
//! written now. So a read-only mount of a device that can be written replays the journal, as ext4
//! does; on one that cannot, the mount is refused unless `noload` says to look at what is there.
//!
//! A journal that needs no recovery is left alone. ext4 opens it also for a read-only mount, since
//! the mount may become a writing one; here there is nothing to write into it.
//!
//! # Order
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
//! the first mount that can write.

use super::{inode::iget, map, options::Toggles, Sb, VfsInode};
use crate::{
    engine::{journal_scan::LogScan, mapping::MapKind},
    linux::{
        jbd2::{BlockMap, Journal, LoadedJournal},
        sched,
        super_block::{message, Level},
    },
    ondisk::{
        features::{Compat, Incompat},
        group::GroupDesc,
        inode::Purpose,
        journal::JournalSuper,
        superblock::{self, Superblock},
        FileBlock, Geometry, Group,
    },
};
use kernel::{fmt, prelude::*, sync::aref::ARef};

/// Replays the journal if the file system needs it. `true` if so: then everything that was read
/// before, the superblock included, has to be read again.
///
/// Errors: EROFS on a device that cannot be written; EINVAL for a journal that rext4 cannot use;
/// EUCLEAN and EFSBADCRC for a damaged one; EIO, ENOMEM. All have been reported.
pub(crate) fn prepare(sb: &Sb) -> Result<bool> {
    let info = sb.info();
    if !info.geometry.has(Compat::HAS_JOURNAL) || info.has(Toggles::NOLOAD) {
        return Ok(false);
    }
    let ino = internal_journal(sb)?;
    if !info.geometry.has(Incompat::RECOVER) {
        return Ok(false);
    }
    message(
        Level::Info,
        sb.id(),
        fmt!("INFO: recovery required on readonly filesystem\n"),
    );
    if sb.device().is_rdonly() {
        error(
            sb,
            fmt!("write access unavailable, cannot proceed (try mounting with noload)"),
        );
        return Err(EROFS);
    }
    message(
        Level::Info,
        sb.id(),
        fmt!("write access will be enabled during recovery\n"),
    );
    if !info.has(Toggles::BARRIER) {
        message(Level::Info, sb.id(), fmt!("barriers disabled\n"));
    }

    let inode = open_inode(sb, ino)?;
    let (map, mut scan) = read_head(sb, &inode)?;
    if let Some(scan) = &mut scan {
        check_log(sb, &map, scan)?;
    }
    replay(sb, &inode, map)?;
    drop(inode);

    // Whatever was verified before the replay may have other contents now.
    sb.device().sync()?;
    sb.device().invalidate();
    message(Level::Info, sb.id(), fmt!("recovery complete\n"));
    Ok(true)
}

fn error(sb: &Sb, what: fmt::Arguments<'_>) {
    message(Level::Err, sb.id(), fmt!("{}\n", what));
}

/// The number of the journal's inode, as stored.
///
/// Errors: EINVAL (reported) for an external journal, and for two of them.
fn internal_journal(sb: &Sb) -> Result<u32> {
    let info = sb.info();
    let given = info.options.lock().journal_dev().filter(|dev| *dev != 0);
    let stored = info.raw.journal_dev();
    if let Some(dev) = given {
        if dev != stored {
            message(
                Level::Info,
                sb.id(),
                fmt!("external journal device major/minor numbers have changed\n"),
            );
        }
    }
    let dev = given.unwrap_or(stored);
    let ino = info.raw.journal_inum();
    if ino != 0 && dev != 0 {
        error(
            sb,
            fmt!("filesystem has both journal inode and journal device!"),
        );
        return Err(EINVAL);
    }
    if ino == 0 {
        error(
            sb,
            fmt!("external journals are not supported yet (try mounting with noload)"),
        );
        return Err(EINVAL);
    }
    Ok(ino)
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

/// Reads the journal's superblock and finds out where its blocks are and, unless it is empty,
/// where its log begins.
///
/// Errors (reported): EUCLEAN and EFSBADCRC for a superblock that makes no sense, and for a journal
/// with holes; EINVAL for fast commits; EIO, ENOMEM.
fn read_head(sb: &Sb, inode: &VfsInode) -> Result<(BlockMap, Option<LogScan>)> {
    let geometry = &sb.info().geometry;
    let bits = geometry.block_bits() & 31;
    // jbd2 counts a journal's blocks in an `int`.
    let blocks = u32::try_from(inode.size() >> bits)
        .ok()
        .filter(|n| *n <= i32::MAX as u32)
        .ok_or(EUCLEAN)
        .inspect_err(|_| error(sb, fmt!("invalid journal inode")))?;

    let first = extent_at(sb, inode, 0)?.0;
    let buffer = sb.device().read(first).inspect_err(|_| {
        error(sb, fmt!("cannot read journal superblock"));
    })?;
    let head = JournalSuper::verify(&buffer, geometry.block_size(), blocks).map_err(|e| {
        error(sb, fmt!("{}", e.message()));
        if e.is_checksum() {
            EBADMSG
        } else {
            EUCLEAN
        }
    })?;
    if head.needs_recovery() && head.has_fast_commit() {
        // jbd2 leaves fast commits to the file system, and skips them without a word where that
        // does not take them.
        error(
            sb,
            fmt!(
                "journal needs recovery and uses feature fast_commit, which is not supported yet \
                 (try mounting with noload)"
            ),
        );
        return Err(EINVAL);
    }
    let scan =
        LogScan::new(head, geometry.block_size(), sb.device_bytes() >> bits).map_err(|e| {
            error(sb, fmt!("{}", e.message()));
            EUCLEAN
        })?;

    let len = head.maxlen();
    drop(buffer);
    let mut map = BlockMap::new();
    while map.len() < len {
        let (physical, more) = extent_at(sb, inode, map.len())?;
        let more = more.min(len.saturating_sub(map.len()));
        map.push(physical, more).inspect_err(|e| {
            if *e == EUCLEAN {
                error(sb, fmt!("journal inode maps a block twice"));
            }
        })?;
        sched::relax()?;
    }
    Ok((map, scan))
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

/// Walks the log to its end.
///
/// Errors: EUCLEAN (reported) for a log that must not be replayed; EIO; ERESTARTSYS when the
/// mounting task is to die.
fn check_log(sb: &Sb, map: &BlockMap, scan: &mut LogScan) -> Result {
    loop {
        let at = scan.position();
        let physical = map.physical(at).ok_or(EUCLEAN)?;
        let buffer = sb.device().read(physical).inspect_err(|_| {
            error(sb, fmt!("cannot read journal block {}", at));
        })?;
        let more = scan.step(&buffer, |block| map.contains(block));
        match more {
            Ok(true) => sched::relax()?,
            Ok(false) => return Ok(()),
            Err(e) => {
                error(sb, fmt!("{}", e.message()));
                return Err(EUCLEAN);
            }
        }
    }
}

/// Has jbd2 replay the journal, and brings the superblock up to date.
///
/// Errors: what jbd2 says, EUCLEAN when the journal has left no valid superblock, EIO. All have
/// been reported.
fn replay(sb: &Sb, inode: &VfsInode, map: BlockMap) -> Result {
    let info = sb.info();
    let journal = Journal::open(inode, map, info.has(Toggles::BARRIER)).inspect_err(|_| {
        error(sb, fmt!("Could not load journal inode"));
    })?;
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
    take_over_errno(sb, &mut journal, &mut on_disk)?;
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

/// If the last mount gave up the journal because of an error, makes that one of the file system.
///
/// Errors: EIO (reported).
fn take_over_errno(sb: &Sb, journal: &mut LoadedJournal<'_>, on_disk: &mut OnDisk<'_>) -> Result {
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
    on_disk.change(Superblock::mark_errors)?;
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
        let new = Superblock::verify_mut(&mut *self.copy).map_err(|_| EUCLEAN)?;
        f(new);
        new.update_checksum();
        let mut buffer = sb.device().read(self.block)?;
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
