// SPDX-License-Identifier: GPL-2.0

//! How much damage was met since mounting, and the first and the latest piece of it.
//!
//! The superblock on disk has a record of the same kind (`s_error_count` and the fields around
//! it), which e2fsck clears. A read-only mount leaves that alone, so what user space is shown is
//! both together. A mount that can write brings it up to date, and does what `errors=` says:
//! - `continue`: the record is written through the journal, by the background work, since whoever
//!   has met the damage may be in the middle of a transaction;
//! - `remount-ro`: nothing is written any more. The journal is given up before anything of the
//!   operation that met the damage is committed, and the record goes to the disk at once;
//! - `panic`: as that, and the machine stops.

use super::{
    background::Due, options::Toggles, super_image, super_info::SuperInfo, super_write, Sb,
};
use crate::{
    linux::{
        panic,
        ratelimit::RateLimit,
        super_block::{message, Level},
        time::real_seconds,
    },
    ondisk::{mount_state::ErrorEntry, Corrupt},
};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use kernel::{new_spinlock, prelude::*, str::BStr, sync::SpinLock, warn_on};

/// `warn_on_error` warns once.
static WARNED: AtomicBool = AtomicBool::new(false);

/// Counts damage, and keeps it from flooding the log.
pub(crate) struct Errors {
    count: AtomicU32,
    warnings: AtomicU32,
    record: Pin<KBox<SpinLock<Record>>>,
    pub(crate) limit: RateLimit,
    /// Seconds between two reminders of what is in the record; 0 for none.
    report_every: AtomicU64,
    report_due: Due,
}

/// The first and the latest piece of damage.
#[derive(Clone, Copy)]
struct Record {
    first: Option<ErrorEntry<'static>>,
    last: Option<ErrorEntry<'static>>,
    /// What is not in the record on disk yet.
    unwritten: Option<Unwritten>,
}

/// Errors that are not in the record on disk yet.
#[derive(Clone, Copy)]
pub(crate) struct Unwritten {
    /// The first of them.
    pub(crate) first: ErrorEntry<'static>,
    /// The latest.
    pub(crate) last: ErrorEntry<'static>,
    /// How many there are.
    pub(crate) count: u32,
}

/// Seconds of a day.
const DAY: u64 = 24 * 60 * 60;
/// The longest time between two reminders, in seconds.
const YEAR: u64 = 365 * DAY;
/// Milliseconds to the first reminder after a mount.
const FIRST_REMINDER: u64 = 5 * 60 * 1000;

/// `EXT4_ERR_EIO`.
const IO_ERROR: u8 = 2;
/// `EXT4_ERR_ESHUTDOWN`.
const SHUT_DOWN: u8 = 16;
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
            unwritten: None,
        };
        Ok(Self {
            count: AtomicU32::new(0),
            warnings: AtomicU32::new(0),
            record: KBox::pin_init(new_spinlock!(record), GFP_KERNEL)?,
            // As ext4: ten messages in five seconds.
            limit: RateLimit::new(5000, 10),
            report_every: AtomicU64::new(DAY),
            report_due: Due::never(),
        })
    }

    /// Notes one more piece of damage, met by `func` in inode `ino` (0 for none), and does what
    /// `warn_on_error` and `errors=` ask for. A read-only mount stops the machine only where the
    /// mount itself asks for it, unlike C ext4: no damage can spread from there, and an image
    /// that somebody hands us must not be able to do it by its superblock.
    /// `what` is `None` for a report that is only a test.
    ///
    /// On a mount that can write this may sleep; a handle may be open, but no lock of an allocation
    /// group may be held.
    #[cold]
    pub(crate) fn note(&self, sb: &Sb, ino: u64, func: &'static str, what: Option<Corrupt>) {
        self.record(
            ino,
            func,
            match what {
                Some(what) if what.is_checksum() => BAD_CHECKSUM,
                _ => CORRUPTED,
            },
        );
        let info = sb.info();
        if info.has(Toggles::WARN_ON_ERROR) && !WARNED.swap(true, Relaxed) {
            warn_on!(true);
        }
        if !sb.is_rdonly() {
            react(sb, !info.continues_on_error());
        }
        if info.panics_on_error(sb.is_rdonly()) && !panic::going_down() {
            panic::panic(c"rext4-fs: panic forced after error\n");
        }
    }

    fn record(&self, ino: u64, func: &'static str, errcode: u8) {
        let entry = ErrorEntry {
            time: real_seconds(),
            ino: u32::try_from(ino).unwrap_or(0),
            block: 0,
            func: func.as_bytes(),
            line: 0,
            errcode,
        };
        {
            let mut record = self.record.lock();
            record.first.get_or_insert(entry);
            record.last = Some(entry);
            let unwritten = record.unwritten.get_or_insert(Unwritten {
                first: entry,
                last: entry,
                count: 0,
            });
            unwritten.last = entry;
            unwritten.count = unwritten.count.saturating_add(1);
        }
        self.count.fetch_add(1, Relaxed);
    }

    /// What is to be added to the record on disk, once.
    pub(crate) fn take_unwritten(&self) -> Option<Unwritten> {
        self.record.lock().unwritten.take()
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

impl Errors {
    /// Seconds between two reminders.
    pub(crate) fn report_every(&self) -> u64 {
        self.report_every.load(Relaxed)
    }

    /// Changes the time between two reminders.
    ///
    /// Errors: EINVAL for more than a year.
    pub(crate) fn set_report_every(&self, sb: &Sb, seconds: u64) -> Result {
        if seconds > YEAR {
            return Err(EINVAL);
        }
        if self.report_every.swap(seconds, Relaxed) != seconds {
            self.report_due.put_off(seconds.saturating_mul(1000));
            sb.start_background(0);
        }
        Ok(())
    }
}

/// Reminds of what is in the record of errors, some minutes after a mount and then once a day, or as
/// sysfs says. A step of the background work: the milliseconds to the next.
pub(crate) fn report_old(sb: &Sb) -> Option<u32> {
    let info = sb.info();
    let errors = &info.errors;
    let every = errors.report_every();
    let count = count(info);
    if every == 0 || count == 0 {
        return None;
    }
    if errors.report_due.is_never() {
        errors.report_due.put_off(FIRST_REMINDER);
    }
    let left = errors.report_due.left();
    if left != 0 {
        return Some(left);
    }
    message(
        Level::Notice,
        sb.id(),
        fmt!("error count since last fsck: {}\n", count),
    );
    remind(sb, "initial", &first(info));
    remind(sb, "last", &last(info));
    errors.report_due.put_off(every.saturating_mul(1000));
    Some(errors.report_due.left())
}

fn remind(sb: &Sb, which: &str, entry: &ErrorEntry<'_>) {
    if entry.time == 0 {
        return;
    }
    message(
        Level::Notice,
        sb.id(),
        fmt!(
            "{} error at time {}: {}:{}{}\n",
            which,
            entry.time,
            BStr::from_bytes(entry.func),
            entry.line,
            Place(entry.ino, entry.block)
        ),
    );
}

/// Where an error was met, as far as that is known.
struct Place(u32, u64);

impl kernel::fmt::Display for Place {
    fn fmt(&self, f: &mut kernel::fmt::Formatter<'_>) -> kernel::fmt::Result {
        if self.0 != 0 {
            write!(f, ": inode {}", self.0)?;
        }
        if self.1 != 0 {
            write!(f, ": block {}", self.1)?;
        }
        Ok(())
    }
}

/// Whether there are errors that are not in the record on disk yet.
pub(crate) fn has_unwritten(info: &SuperInfo) -> bool {
    info.errors.record.lock().unwritten.is_some()
}

/// What an error means to a mount that can write: see the head of the module. With `stop`, no more
/// writing.
fn react(sb: &Sb, stop: bool) {
    if !stop {
        sb.start_background(0);
        return;
    }
    let first = sb.info().emergency.make_readonly();
    if let Some(journal) = sb.journal().filter(|journal| !journal.is_aborted()) {
        journal.abort(EIO);
    }
    // No transaction goes to the disk any more, so the record has to by itself.
    if super_write::is_writing(sb) {
        let _ = super_image::commit(sb, |raw| raw.mark_errors());
    }
    if first {
        message(
            Level::Err,
            sb.id(),
            fmt!("Remounting filesystem read-only\n"),
        );
    }
}

/// jbd2 has given up the journal because of `error`, or has been told to.
#[cold]
pub(crate) fn journal_aborted(sb: &Sb, error: Error) {
    let info = sb.info();
    if info.emergency.is_shut_down() || info.emergency.is_readonly() || sb.is_rdonly() {
        // By whoever has done that, and not news.
        return;
    }
    message(
        Level::Err,
        sb.id(),
        fmt!("Detected aborted journal: error {}\n", error.to_errno()),
    );
    info.errors.record(0, "journal_aborted", IO_ERROR);
    react(sb, true);
}

/// The mount option `abort`: as if an error that stops all writing had been met.
pub(crate) fn abort(sb: &Sb) {
    if !sb.is_rdonly() {
        sb.info().errors.record(0, "abort", SHUT_DOWN);
        react(sb, true);
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
