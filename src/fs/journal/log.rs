// SPDX-License-Identifier: GPL-2.0

//! Where a journal is: in an inode of the file system, or on a device of its own.
//!
//! A journal device begins like a file system, with a superblock at 1 KiB that has the feature
//! `journal_dev` and the UUID that file systems know it by; the journal's own superblock is in the
//! next block. Block numbers of such a journal are the device's.

use super::{error, extent_at, open_inode};
use crate::{
    engine::journal_scan::LogScan,
    fs::{Rext4Fs, Sb, VfsInode},
    linux::{
        bdev::{ClaimedDevice, DeviceNumber},
        buffer::Buffer,
        jbd2::{BlockMap, Journal, OfSuper},
        sched,
    },
    ondisk::{
        features::Incompat,
        journal::JournalSuper,
        superblock::{self, Superblock},
    },
};
use core::{mem, ops::Deref};
use kernel::{prelude::*, sync::aref::ARef};

/// What the superblock and the mount options say of the journal.
pub(super) enum Place {
    /// In the inode with this number, as stored.
    Inode(u32),
    /// On another device.
    Device(DeviceNumber),
}

impl Place {
    /// Finds out.
    ///
    /// Errors: EINVAL (reported) for two journals.
    pub(super) fn of(sb: &Sb) -> Result<Self> {
        let info = sb.info();
        let given = info.options.lock().journal_dev().filter(|dev| *dev != 0);
        let stored = info.raw.journal_dev();
        if given.is_some_and(|dev| dev != stored) {
            super::info(
                sb,
                fmt!("external journal device major/minor numbers have changed"),
            );
        }
        let device = DeviceNumber::decode(given.unwrap_or(stored));
        match (info.raw.journal_inum(), device) {
            (0, Some(device)) => Ok(Self::Device(device)),
            // Number 0 is no inode's, and is refused as such.
            (ino, None) => Ok(Self::Inode(ino)),
            (_, Some(_)) => {
                error(
                    sb,
                    fmt!("filesystem has both journal inode and journal device!"),
                );
                Err(EINVAL)
            }
        }
    }
}

/// A journal that has been found.
pub(super) enum Log<'a> {
    /// In an inode. The map is complete once the journal's superblock has been read.
    Inode {
        /// The inode.
        inode: ARef<VfsInode>,
        /// Where its blocks are.
        map: BlockMap,
    },
    /// On a device.
    Device(External<'a>),
}

/// A journal that has a device of its own.
pub(super) struct External<'a> {
    device: Held<'a>,
    /// The block of the journal's superblock.
    start: u32,
    /// Blocks of the device that belong to the journal, those before `start` included.
    len: u32,
}

/// The device, on its way to the superblock or there already.
enum Held<'a> {
    New(ClaimedDevice<'a>),
    Kept(&'a ClaimedDevice<'a>),
}

impl<'a> Deref for Held<'a> {
    type Target = ClaimedDevice<'a>;

    fn deref(&self) -> &ClaimedDevice<'a> {
        match self {
            Self::New(device) => device,
            Self::Kept(device) => device,
        }
    }
}

impl<'a> External<'a> {
    /// Claims the device `number`, to be written with `write`, and checks that it holds the
    /// journal of this very file system.
    ///
    /// Errors (reported): EBUSY for a device that is in use or frozen, and what else opening it
    /// gives; EINVAL for one that cannot have blocks of this size, cannot be read, or has several
    /// users; EUCLEAN for one that is no journal, or another file system's.
    pub(super) fn claim(sb: &'a Sb, number: DeviceNumber, write: bool) -> Result<Self> {
        // Without `write`, it may be written later, and need not.
        let claimed = match ClaimedDevice::new(sb, number, true) {
            Err(e) if !write && (e == EACCES || e == EROFS) => {
                ClaimedDevice::new(sb, number, false)
            }
            claimed => claimed,
        };
        let mut device = claimed.inspect_err(|e| {
            error(
                sb,
                fmt!("failed to open journal device {} {}", number, e.to_errno()),
            );
        })?;
        let size = sb.info().geometry.block_size();
        if size < device.sector_size() || device.set_block_size(size).is_err() {
            error(sb, fmt!("blocksize too small for journal device"));
            return Err(EINVAL);
        }
        Self::found(sb, Held::New(device))
    }

    /// The same for the device that the superblock keeps already.
    ///
    /// Errors: as [`claim`](Self::claim), without EBUSY.
    pub(super) fn kept(sb: &'a Sb, device: &'a ClaimedDevice<'a>) -> Result<Self> {
        Self::found(sb, Held::Kept(device))
    }

    fn found(sb: &Sb, device: Held<'a>) -> Result<Self> {
        let size = sb.info().geometry.block_size();
        let (before, len) = identify(sb, &device, size)?;
        let external = Self {
            device,
            start: before.saturating_add(1),
            len,
        };
        external.check_users(sb, size)?;
        Ok(external)
    }

    /// jbd2 keeps the transactions of one file system in a journal, not of several.
    fn check_users(&self, sb: &Sb, size: u32) -> Result {
        let buffer = self.read_super(sb)?;
        let head = head(sb, &buffer, size, self.len)?;
        if head.nr_users() != 1 {
            error(
                sb,
                fmt!(
                    "External journal has more than one user (unsupported) - {}",
                    head.nr_users()
                ),
            );
            return Err(EINVAL);
        }
        if head.first() <= self.start {
            error(sb, fmt!("invalid start block of journal"));
            return Err(EUCLEAN);
        }
        Ok(())
    }

    fn read(&self, sb: &Sb, block: u32) -> Result<Buffer<'_>> {
        let size = sb.info().geometry.block_size();
        self.device.blocks(size).read(block.into())
    }

    /// As [`read`](Self::read), of the journal's superblock.
    ///
    /// Errors: EIO (reported).
    fn read_super(&self, sb: &Sb) -> Result<Buffer<'_>> {
        self.read(sb, self.start).inspect_err(|_| {
            error(sb, fmt!("cannot read journal superblock"));
        })
    }

    /// Whether the device itself cannot be written.
    pub(super) fn is_rdonly(&self) -> bool {
        self.device.is_rdonly()
    }

    /// The device, unless the superblock keeps it already.
    pub(super) fn into_device(self) -> Option<ClaimedDevice<'a>> {
        match self.device {
            Held::New(device) => Some(device),
            Held::Kept(_) => None,
        }
    }
}

/// Reads the superblock of a journal device, which has blocks of `size` bytes: the block that it is
/// in, and the journal's size in blocks.
///
/// Errors: as [`External::claim`].
fn identify(sb: &Sb, device: &ClaimedDevice<'_>, size: u32) -> Result<(u32, u32)> {
    let (block, offset) = superblock::location(1, size.trailing_zeros()).ok_or(EINVAL)?;
    let buffer = device.blocks(size).read(block).map_err(|_| {
        error(sb, fmt!("couldn't read superblock of external journal"));
        EINVAL
    })?;
    let bytes = buffer.get(usize::try_from(offset)?..).ok_or(EINVAL)?;
    let bad = |what| {
        error(sb, what);
        EUCLEAN
    };
    let raw = Superblock::verify(bytes).map_err(|e| {
        bad(if e.is_checksum() {
            fmt!("external journal has corrupt superblock")
        } else {
            fmt!("external journal has bad superblock")
        })
    })?;
    let len = u32::try_from(raw.blocks_count()).ok();
    // jbd2 counts a journal's blocks in an `int`.
    let len = len.filter(|len| {
        *len <= i32::MAX as u32 && u64::from(*len) <= device.bytes() / u64::from(size.max(1))
    });
    let (Some(len), true) = (len, raw.features().has(Incompat::JOURNAL_DEV)) else {
        return Err(bad(fmt!("external journal has bad superblock")));
    };
    if raw.uuid() != sb.info().raw.journal_uuid() {
        return Err(bad(fmt!("journal UUID does not match")));
    }
    Ok((u32::try_from(block)?, len))
}

/// The journal's superblock in `buffer`.
///
/// Errors (reported): EUCLEAN and EFSBADCRC.
fn head<'b>(sb: &Sb, buffer: &'b Buffer<'_>, size: u32, blocks: u32) -> Result<&'b JournalSuper> {
    JournalSuper::verify(buffer, size, blocks).map_err(|e| {
        error(sb, fmt!("{}", e.message()));
        if e.is_checksum() {
            EBADMSG
        } else {
            EUCLEAN
        }
    })
}

impl<'a> Log<'a> {
    /// The journal in inode `ino`.
    ///
    /// Errors: EUCLEAN (reported) when it cannot hold a journal; EIO, ENOMEM.
    pub(super) fn in_inode(sb: &Sb, ino: u32) -> Result<Self> {
        Ok(Self::Inode {
            inode: open_inode(sb, ino)?,
            map: BlockMap::new(),
        })
    }

    /// Reads the journal's superblock and finds out where its blocks are and, unless it is empty,
    /// where its log begins.
    ///
    /// Errors (reported): EUCLEAN and EFSBADCRC for a superblock that makes no sense, and for a
    /// journal with holes; EINVAL for fast commits; EIO, ENOMEM.
    pub(super) fn read_head(&mut self, sb: &Sb) -> Result<Option<LogScan>> {
        match self {
            Self::Device(external) => {
                let buffer = external.read_super(sb)?;
                let size = sb.info().geometry.block_size();
                scan_of(sb, head(sb, &buffer, size, external.len)?)
            }
            Self::Inode { inode, map } => {
                let (scan, len) = read_inode_head(sb, inode)?;
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
                Ok(scan)
            }
        }
    }

    /// Walks the log to its end.
    ///
    /// Errors: EUCLEAN (reported) for a log that must not be replayed; EIO; ERESTARTSYS when the
    /// mounting task is to die.
    pub(super) fn check(&self, sb: &Sb, scan: &mut LogScan) -> Result {
        loop {
            let at = scan.position();
            let buffer = match self {
                Self::Device(external) => external.read(sb, at),
                Self::Inode { map, .. } => sb.device().read(map.physical(at).ok_or(EUCLEAN)?),
            };
            let buffer = buffer.inspect_err(|_| {
                error(sb, fmt!("cannot read journal block {}", at));
            })?;
            let more = scan.step(&buffer, |block| match self {
                // No block of the file system's device is in the journal.
                Self::Device(_) => false,
                Self::Inode { map, .. } => map.contains(block),
            });
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

    /// Opens the journal with jbd2, which takes over the map. To be called once.
    ///
    /// Errors: as [`Journal::open`].
    pub(super) fn open<'s>(
        &'s mut self,
        sb: &'s Sb,
        barrier: bool,
    ) -> Result<Journal<'s, OfSuper<Rext4Fs>>> {
        match self {
            Self::Inode { inode, map } => {
                Journal::open(inode, mem::replace(map, BlockMap::new()), barrier)
            }
            Self::Device(e) => Journal::open_device(sb, &e.device, e.start.into(), e.len, barrier),
        }
    }
}

/// As [`Log::read_head`] for a journal in an inode; also the number of its blocks.
fn read_inode_head(sb: &Sb, inode: &VfsInode) -> Result<(Option<LogScan>, u32)> {
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
    let head = head(sb, &buffer, geometry.block_size(), blocks)?;
    Ok((scan_of(sb, head)?, head.maxlen()))
}

/// Where the log begins that `head` describes; `None` for an empty one.
///
/// Errors (reported): EINVAL for fast commits, EUCLEAN for a log that makes no sense.
fn scan_of(sb: &Sb, head: &JournalSuper) -> Result<Option<LogScan>> {
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
    let geometry = &sb.info().geometry;
    let bits = geometry.block_bits() & 31;
    LogScan::new(head, geometry.block_size(), sb.device_bytes() >> bits).map_err(|e| {
        error(sb, fmt!("{}", e.message()));
        EUCLEAN
    })
}
