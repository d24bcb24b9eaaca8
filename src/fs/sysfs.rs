// SPDX-License-Identifier: GPL-2.0

//! What rext4 shows in /sys/fs/<type>/: per file system the error record and tunables, under the
//! names and in the form that monitoring tools know from ext4; in `features/` what the driver can
//! do that not every ext4 driver could.
//!
//! The error record is what the superblock on disk says, plus how much damage was met since
//! mounting: a read-only mount does not write it back.

use super::{
    errors::{self, first, last},
    groups::Groups,
    proc,
    statfs::free_counts,
    tunables::Number,
    Rext4Fs, Sb,
};
use crate::linux::{
    capability, fserror,
    super_block::{message, Level},
    surfaces::{feature, Driver, SuperSurfaces},
    sysfs::{Attribute, Page, Text},
};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use kernel::{prelude::*, str::BStr};

/// The files in `features/`. What ext4 lists beside these are ways of writing, and features whose
/// file systems are refused so far.
pub(crate) const FEATURES: &[Attribute<Driver>] = &[
    feature(c"lazy_itable_init"),
    feature(c"batched_discard"),
    #[cfg(CONFIG_FS_VERITY)]
    feature(c"verity"),
    feature(c"metadata_csum_seed"),
    // Blocks larger than a page need folios larger than a page.
    #[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
    feature(c"blocksize_gt_pagesize"),
];

/// A number of [`Tunables`](super::tunables::Tunables).
macro_rules! tunable {
    ($name:literal, $number:ident) => {
        Attribute::rw(
            $name,
            |sb, page| number(page, sb.info().tunables.get(Number::$number).into()),
            |sb, text| {
                let info = sb.info();
                let value = small(text)?;
                info.tunables.set(&info.geometry, Number::$number, value)
            },
        )
    };
}

/// The largest window of inode table readahead, in blocks.
const MAX_INODE_READAHEAD: u64 = 1 << 30;

/// What a mounted rext4 shows.
pub(crate) struct Surfaces;

impl SuperSurfaces for Surfaces {
    type Fs = Rext4Fs;

    const ATTRIBUTES: &'static [Attribute<Sb>] = &[
        Attribute::ro(c"delayed_allocation_blocks", |sb, page| {
            let bits = sb.info().geometry.cluster_bits() & 31;
            number(page, free_counts(sb.info()).promised << bits)
        }),
        Attribute::ro(c"session_write_kbytes", |sb, page| {
            number(page, session_kbytes(sb))
        }),
        Attribute::ro(c"lifetime_write_kbytes", |sb, page| {
            let before = sb.info().raw.kbytes_written();
            number(page, before.wrapping_add(session_kbytes(sb)))
        }),
        Attribute::rw(
            c"inode_readahead_blks",
            |sb, page| number(page, sb.info().inode_readahead_blks.load(Relaxed).into()),
            set_inode_readahead,
        ),
        Attribute::rw(
            c"reserved_clusters",
            |sb, page| number(page, sb.info().reserved.pool()),
            set_reserved_clusters,
        ),
        Attribute::ro(c"sra_exceeded_retry_limit", |sb, page| {
            let groups = sb.info().groups.as_ref();
            number(page, groups.map_or(0, |g| g.retries_exceeded.load(Relaxed)))
        }),
        tunable!(c"inode_goal", InodeGoal),
        tunable!(c"mb_stats", MbStats),
        tunable!(c"mb_max_to_scan", MbMaxToScan),
        tunable!(c"mb_min_to_scan", MbMinToScan),
        tunable!(c"mb_order2_req", MbOrder2Req),
        tunable!(c"mb_max_linear_groups", MbMaxLinearGroups),
        tunable!(c"mb_best_avail_max_trim_order", MbBestAvailMaxTrimOrder),
        tunable!(c"mb_prefetch", MbPrefetch),
        tunable!(c"mb_prefetch_limit", MbPrefetchLimit),
        Attribute::rw(
            c"last_trim_minblks",
            |sb, page| {
                let groups = sb.info().groups.as_ref();
                number(page, groups.map_or(0, |g| g.last_trim.load(Relaxed)))
            },
            |sb, text| {
                let value = text.number()?;
                Groups::known(sb)?.last_trim.store(value, Relaxed);
                Ok(())
            },
        ),
        tunable!(c"sb_update_sec", SbUpdateSec),
        tunable!(c"sb_update_kb", SbUpdateKb),
        Attribute::rw(
            c"err_report_sec",
            |sb, page| number(page, sb.info().errors.report_every()),
            |sb, text| sb.info().errors.set_report_every(sb, text.number()?),
        ),
        Attribute::rw(
            c"err_ratelimit_interval_ms",
            |sb, page| number(page, sb.info().errors.limit.interval.load(Relaxed).into()),
            |sb, text| positive(text, &sb.info().errors.limit.interval),
        ),
        Attribute::rw(
            c"err_ratelimit_burst",
            |sb, page| number(page, sb.info().errors.limit.burst.load(Relaxed).into()),
            |sb, text| positive(text, &sb.info().errors.limit.burst),
        ),
        Attribute::ro(c"journal_task", |sb, page| match sb.journal() {
            Some(journal) => page.print(fmt!("{}\n", journal.task())),
            None => page.push(b"<none>\n"),
        }),
        Attribute::wo(c"trigger_fs_error", trigger_error),
        Attribute::ro(c"errors_count", |sb, page| {
            number(page, errors::count(sb.info()).into())
        }),
        Attribute::ro(c"warning_count", |sb, page| {
            number(page, sb.info().errors.warnings().into())
        }),
        Attribute::ro(c"first_error_time", |sb, page| {
            number(page, first(sb.info()).time)
        }),
        Attribute::ro(c"first_error_ino", |sb, page| {
            number(page, first(sb.info()).ino.into())
        }),
        Attribute::ro(c"first_error_block", |sb, page| {
            number(page, first(sb.info()).block)
        }),
        Attribute::ro(c"first_error_func", |sb, page| {
            text(page, first(sb.info()).func)
        }),
        Attribute::ro(c"first_error_line", |sb, page| {
            number(page, first(sb.info()).line.into())
        }),
        Attribute::ro(c"first_error_errcode", |sb, page| {
            number(page, first(sb.info()).errcode.into())
        }),
        Attribute::ro(c"last_error_time", |sb, page| {
            number(page, last(sb.info()).time)
        }),
        Attribute::ro(c"last_error_ino", |sb, page| {
            number(page, last(sb.info()).ino.into())
        }),
        Attribute::ro(c"last_error_block", |sb, page| {
            number(page, last(sb.info()).block)
        }),
        Attribute::ro(c"last_error_func", |sb, page| {
            text(page, last(sb.info()).func)
        }),
        Attribute::ro(c"last_error_line", |sb, page| {
            number(page, last(sb.info()).line.into())
        }),
        Attribute::ro(c"last_error_errcode", |sb, page| {
            number(page, last(sb.info()).errcode.into())
        }),
    ];

    const PROC_FILES: &'static [crate::linux::proc::ProcFile<Rext4Fs>] = proc::FILES;
}

/// KiB written to the device since mounting. What others write to the device of a file system that
/// is mounted read-only is none of it.
fn session_kbytes(sb: &Sb) -> u64 {
    if sb.is_rdonly() {
        return 0;
    }
    sb.info().image.session_kbytes(sb.device())
}

fn number(page: &mut Page<'_>, value: u64) -> Result {
    page.print(fmt!("{}\n", value))
}

fn text(page: &mut Page<'_>, value: &[u8]) -> Result {
    page.push(value)?;
    page.push(b"\n")
}

/// A number of 32 bits.
fn small(text: Text<'_>) -> Result<u32> {
    u32::try_from(text.number()?).map_err(|_| ERANGE)
}

/// Takes a number of 31 bits, for one that is an `int` in ext4.
fn positive(text: Text<'_>, to: &AtomicU32) -> Result {
    let value = small(text)?;
    if i32::try_from(value).is_err() {
        return Err(EINVAL);
    }
    to.store(value, Relaxed);
    Ok(())
}

/// Takes 0 or a power of two. The option of this name changes as well, as shown and for the next
/// remount.
fn set_inode_readahead(sb: &Sb, text: Text<'_>) -> Result {
    let blocks = text.number()?;
    if blocks != 0 && (!blocks.is_power_of_two() || blocks > MAX_INODE_READAHEAD) {
        return Err(EINVAL);
    }
    let blocks = u32::try_from(blocks)?;
    let info = sb.info();
    let mut options = info.options.lock();
    options.set_inode_readahead(blocks);
    info.inode_readahead_blks.store(blocks, Relaxed);
    Ok(())
}

/// Takes any number of clusters below that of all.
fn set_reserved_clusters(sb: &Sb, text: Text<'_>) -> Result {
    let clusters = text.number().map_err(|_| EINVAL)?;
    let info = sb.info();
    info.reserved.set_pool(&info.geometry, clusters)
}

/// Reports the text as damage: lets an administrator see what `errors=` and the monitoring do.
fn trigger_error(sb: &Sb, text: Text<'_>) -> Result {
    if !capability::sys_admin() {
        return Err(EPERM);
    }
    let text = text.bytes();
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    if !text.is_empty() {
        message(
            Level::Err,
            sb.id(),
            fmt!("error: {}\n", BStr::from_bytes(text)),
        );
        fserror::metadata(sb, None, EUCLEAN);
        sb.info().errors.note(sb, 0, "trigger_fs_error", None);
    }
    Ok(())
}
