// SPDX-License-Identifier: GPL-2.0

//! How much damage was met since mounting, and the first and the latest piece of it.
//!
//! The superblock on disk has a record of the same kind (`s_error_count` and the fields around
//! it), which e2fsck clears. A read-only mount leaves that alone, so what user space is shown is
//! both together.

use super::{options::Toggles, super_info::SuperInfo, Sb};
use crate::{
    linux::{panic, ratelimit::RateLimit, time::real_seconds},
    ondisk::{mount_state::ErrorEntry, Corrupt},
};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use kernel::{new_spinlock, prelude::*, sync::SpinLock, warn_on};

/// `warn_on_error` warns once.
static WARNED: AtomicBool = AtomicBool::new(false);

/// Counts damage, and keeps it from flooding the log.
pub(crate) struct Errors {
    count: AtomicU32,
    warnings: AtomicU32,
    record: Pin<KBox<SpinLock<Record>>>,
    limit: RateLimit,
}

/// The first and the latest piece of damage.
#[derive(Clone, Copy)]
struct Record {
    first: Option<ErrorEntry<'static>>,
    last: Option<ErrorEntry<'static>>,
}

/// `EXT4_ERR_EFSBADCRC`.
const BAD_CHECKSUM: u8 = 4;
/// `EXT4_ERR_EFSCORRUPTED`.
const CORRUPTED: u8 = 5;

impl Errors {
    /// A record without entries.
    ///
    /// Errors: ENOMEM.
    pub(crate) fn new() -> Result<Self> {
        let record = Record {
            first: None,
            last: None,
        };
        Ok(Self {
            count: AtomicU32::new(0),
            warnings: AtomicU32::new(0),
            record: KBox::pin_init(new_spinlock!(record), GFP_KERNEL)?,
            // As ext4: ten messages in five seconds.
            limit: RateLimit::new(5, 10),
        })
    }

    /// Notes one more piece of damage, met by `func` in inode `ino` (0 for none), and does what
    /// `warn_on_error` and `errors=` ask for. A read-only mount stops the machine only where the
    /// mount itself asks for it, unlike C ext4: no damage can spread from there, and an image
    /// that somebody hands us must not be able to do it by its superblock.
    /// `what` is `None` for a report that is only a test.
    #[cold]
    pub(crate) fn note(&self, sb: &Sb, ino: u64, func: &'static str, what: Option<Corrupt>) {
        let entry = ErrorEntry {
            time: real_seconds(),
            ino: u32::try_from(ino).unwrap_or(0),
            block: 0,
            func: func.as_bytes(),
            line: 0,
            errcode: match what {
                Some(what) if what.is_checksum() => BAD_CHECKSUM,
                _ => CORRUPTED,
            },
        };
        {
            let mut record = self.record.lock();
            record.first.get_or_insert(entry);
            record.last = Some(entry);
        }
        self.count.fetch_add(1, Relaxed);
        let info = sb.info();
        if info.has(Toggles::WARN_ON_ERROR) && !WARNED.swap(true, Relaxed) {
            warn_on!(true);
        }
        if info.panics_on_error(sb.is_rdonly()) && !panic::going_down() {
            panic::panic(c"rext4-fs: panic forced after error\n");
        }
    }

    /// Notes one more warning.
    pub(crate) fn count_warning(&self) {
        self.warnings.fetch_add(1, Relaxed);
    }

    /// Whether a message may be printed now.
    pub(crate) fn may_print(&self) -> bool {
        self.limit.allows()
    }

    /// Warnings since mounting.
    pub(crate) fn warnings(&self) -> u32 {
        self.warnings.load(Relaxed)
    }
}

/// Errors since e2fsck last ran: those on disk and those since mounting.
pub(crate) fn count(info: &SuperInfo) -> u32 {
    info.raw
        .error_count()
        .saturating_add(info.errors.count.load(Relaxed))
}

/// The first of them; zeroes if there is none.
pub(crate) fn first(info: &SuperInfo) -> ErrorEntry<'_> {
    let on_disk = info.raw.first_error();
    if on_disk.time != 0 {
        return on_disk;
    }
    info.errors.record.lock().first.unwrap_or(on_disk)
}

/// The latest of them; zeroes if there is none.
pub(crate) fn last(info: &SuperInfo) -> ErrorEntry<'_> {
    let since = info.errors.record.lock().last;
    since.unwrap_or_else(|| info.raw.last_error())
}
