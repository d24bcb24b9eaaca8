// SPDX-License-Identifier: GPL-2.0

//! The names of the options, and what was given of them.
//!
//! Everything that can be said about one option by itself is decided here: its name, its range,
//! and whether it is supported, ignored or refused. What takes the file system or other options
//! to decide is left to [`Options`](super::Options).

use super::{DataMode, Dax, FileName, QuotaFile, QuotaFormat, Toggles};
use crate::{
    linux::fs_context::{Choices, FsContext, Given, Param, ParamTable, Specs, Value, HZ},
    ondisk::mount_state::OnError,
};
use kernel::{prelude::*, sync::Arc};

/// The tag of an option: what it does, and which of the older types refuse it.
#[derive(Clone, Copy)]
pub(crate) struct Opt {
    what: What,
    not_ext2: bool,
    not_ext3: bool,
}

#[derive(Clone, Copy)]
enum What {
    /// Turns something on; with the value 0, off.
    On(Toggles),
    /// Turns something off; with the value 0, on.
    Off(Toggles),
    OnError,
    Data,
    DataErr,
    Dax,
    DaxAlways,
    SbBlock,
    ResUid,
    ResGid,
    Commit,
    MinBatchTime,
    MaxBatchTime,
    Stripe,
    InodeReadahead,
    InitItable,
    MaxDirSize,
    WantExtraIsize,
    OptimizeScan,
    JournalDev,
    JournalPath,
    JournalIoprio,
    /// The quota file of users (0) or groups (1).
    QuotaFile(usize),
    QuotaFormat,
    InlineCrypt,
    DummyEncryption,
    /// Once had a meaning.
    Removed,
}

/// An option that every type takes.
const fn opt(what: What) -> Opt {
    Opt {
        what,
        not_ext2: false,
        not_ext3: false,
    }
}

/// An option that ext2 refuses: it is about the journal.
const fn not_ext2(what: What) -> Opt {
    Opt {
        what,
        not_ext2: true,
        not_ext3: false,
    }
}

/// An option of ext4 alone.
const fn ext4_only(what: What) -> Opt {
    Opt {
        what,
        not_ext2: true,
        not_ext3: true,
    }
}

const fn on(toggles: Toggles) -> Opt {
    opt(What::On(toggles))
}

const fn off(toggles: Toggles) -> Opt {
    opt(What::Off(toggles))
}

const CONTINUE: u32 = 0;
const PANIC: u32 = 1;
const REMOUNT_RO: u32 = 2;
static ERRORS: Choices<4> = Choices::new([
    (c"continue", CONTINUE),
    (c"panic", PANIC),
    (c"remount-ro", REMOUNT_RO),
]);

const JOURNAL: u32 = 0;
const ORDERED: u32 = 1;
const WRITEBACK: u32 = 2;
static DATA: Choices<4> = Choices::new([
    (c"journal", JOURNAL),
    (c"ordered", ORDERED),
    (c"writeback", WRITEBACK),
]);

const IGNORE: u32 = 0;
const ABORT: u32 = 1;
static DATA_ERR: Choices<3> = Choices::new([(c"abort", ABORT), (c"ignore", IGNORE)]);

const VFSOLD: u32 = 0;
const VFSV0: u32 = 1;
const VFSV1: u32 = 2;
static QUOTA_FORMATS: Choices<4> =
    Choices::new([(c"vfsold", VFSOLD), (c"vfsv0", VFSV0), (c"vfsv1", VFSV1)]);

const ALWAYS: u32 = 0;
const INODE: u32 = 1;
const NEVER: u32 = 2;
static DAX: Choices<4> = Choices::new([(c"always", ALWAYS), (c"inode", INODE), (c"never", NEVER)]);

const CHECKSUM: Toggles = Toggles::JOURNAL_CHECKSUM.with(Toggles::EXPLICIT_CHECKSUM);

const ROWS: usize = 82;
static PARAMS: [Param<Opt>; ROWS] = [
    Param::flag(c"bsddf", off(Toggles::MINIX_DF)),
    Param::flag(c"minixdf", on(Toggles::MINIX_DF)),
    Param::flag(c"grpid", on(Toggles::GRPID)),
    Param::flag(c"bsdgroups", on(Toggles::GRPID)),
    Param::flag(c"nogrpid", off(Toggles::GRPID)),
    Param::flag(c"sysvgroups", off(Toggles::GRPID)),
    Param::gid(c"resgid", opt(What::ResGid)),
    Param::uid(c"resuid", opt(What::ResUid)),
    Param::u32(c"sb", opt(What::SbBlock)),
    Param::choice(c"errors", &ERRORS, opt(What::OnError)),
    Param::flag(c"nouid32", on(Toggles::NO_UID32)),
    Param::flag(c"debug", on(Toggles::DEBUG)),
    Param::flag(c"oldalloc", opt(What::Removed)),
    Param::flag(c"orlov", opt(What::Removed)),
    Param::flag(c"user_xattr", on(Toggles::USER_XATTR)),
    Param::flag(c"acl", on(Toggles::POSIX_ACL)),
    Param::flag(c"norecovery", not_ext2(What::On(Toggles::NOLOAD))),
    Param::flag(c"noload", not_ext2(What::On(Toggles::NOLOAD))),
    Param::flag(c"bh", opt(What::Removed)),
    Param::flag(c"nobh", opt(What::Removed)),
    Param::u32(c"commit", not_ext2(What::Commit)),
    Param::u32(c"min_batch_time", opt(What::MinBatchTime)),
    Param::u32(c"max_batch_time", opt(What::MaxBatchTime)),
    Param::u32(c"journal_dev", not_ext2(What::JournalDev)),
    Param::device(c"journal_path", not_ext2(What::JournalPath)),
    Param::flag(c"journal_checksum", ext4_only(What::On(CHECKSUM))),
    Param::flag(
        c"nojournal_checksum",
        ext4_only(What::Off(Toggles::JOURNAL_CHECKSUM)),
    ),
    Param::flag(
        c"journal_async_commit",
        ext4_only(What::On(CHECKSUM.with(Toggles::ASYNC_COMMIT))),
    ),
    Param::flag(c"abort", on(Toggles::ABORT)),
    Param::choice(c"data", &DATA, not_ext2(What::Data)),
    Param::choice(c"data_err", &DATA_ERR, not_ext2(What::DataErr)),
    Param::text_or_nothing(c"usrjquota", opt(What::QuotaFile(0))),
    Param::text_or_nothing(c"grpjquota", opt(What::QuotaFile(1))),
    Param::choice(c"jqfmt", &QUOTA_FORMATS, opt(What::QuotaFormat)),
    Param::flag(c"grpquota", on(Toggles::QUOTA.with(Toggles::GRPQUOTA))),
    Param::flag(c"quota", on(Toggles::QUOTA.with(Toggles::USRQUOTA))),
    Param::flag(c"noquota", off(Toggles::ANY_QUOTA)),
    Param::flag(c"usrquota", on(Toggles::QUOTA.with(Toggles::USRQUOTA))),
    Param::flag(c"prjquota", on(Toggles::QUOTA.with(Toggles::PRJQUOTA))),
    Param::flag(c"barrier", on(Toggles::BARRIER)),
    Param::u32(c"barrier", on(Toggles::BARRIER)),
    Param::flag(c"nobarrier", off(Toggles::BARRIER)),
    Param::flag(c"i_version", opt(What::Removed)),
    Param::flag(c"dax", opt(What::DaxAlways)),
    Param::choice(c"dax", &DAX, ext4_only(What::Dax)),
    Param::u32(c"stripe", opt(What::Stripe)),
    Param::flag(c"delalloc", ext4_only(What::On(Toggles::DELALLOC))),
    Param::flag(c"nodelalloc", ext4_only(What::Off(Toggles::DELALLOC))),
    Param::flag(c"warn_on_error", on(Toggles::WARN_ON_ERROR)),
    Param::flag(c"nowarn_on_error", off(Toggles::WARN_ON_ERROR)),
    Param::u32(c"debug_want_extra_isize", opt(What::WantExtraIsize)),
    Param::flag(c"mblk_io_submit", opt(What::Removed)),
    Param::flag(c"nomblk_io_submit", opt(What::Removed)),
    Param::flag(c"block_validity", on(Toggles::BLOCK_VALIDITY)),
    Param::flag(c"noblock_validity", off(Toggles::BLOCK_VALIDITY)),
    Param::u32(c"inode_readahead_blks", opt(What::InodeReadahead)),
    Param::u32(c"journal_ioprio", not_ext2(What::JournalIoprio)),
    Param::u32(c"auto_da_alloc", off(Toggles::NO_AUTO_DA_ALLOC)),
    Param::flag(c"auto_da_alloc", off(Toggles::NO_AUTO_DA_ALLOC)),
    Param::flag(c"noauto_da_alloc", on(Toggles::NO_AUTO_DA_ALLOC)),
    Param::flag(
        c"dioread_nolock",
        ext4_only(What::On(Toggles::DIOREAD_NOLOCK)),
    ),
    Param::flag(
        c"nodioread_nolock",
        ext4_only(What::Off(Toggles::DIOREAD_NOLOCK)),
    ),
    Param::flag(
        c"dioread_lock",
        ext4_only(What::Off(Toggles::DIOREAD_NOLOCK)),
    ),
    Param::flag(c"discard", on(Toggles::DISCARD)),
    Param::flag(c"nodiscard", off(Toggles::DISCARD)),
    Param::u32(c"init_itable", opt(What::InitItable)),
    Param::flag(c"init_itable", opt(What::InitItable)),
    Param::flag(c"noinit_itable", off(Toggles::INIT_ITABLE)),
    Param::u32(c"max_dir_size_kb", opt(What::MaxDirSize)),
    Param::flag(c"test_dummy_encryption", opt(What::DummyEncryption)),
    Param::text(c"test_dummy_encryption", opt(What::DummyEncryption)),
    Param::flag(c"inlinecrypt", opt(What::InlineCrypt)),
    Param::flag(c"nombcache", on(Toggles::NO_MBCACHE)),
    Param::flag(c"no_mbcache", on(Toggles::NO_MBCACHE)),
    Param::flag(c"prefetch_block_bitmaps", opt(What::Removed)),
    Param::flag(c"no_prefetch_block_bitmaps", on(Toggles::NO_PREFETCH)),
    Param::s32(c"mb_optimize_scan", opt(What::OptimizeScan)),
    // Options of ext2 and ext3.
    Param::text(c"check", opt(What::Removed)),
    Param::flag(c"nocheck", opt(What::Removed)),
    Param::flag(c"reservation", opt(What::Removed)),
    Param::flag(c"noreservation", opt(What::Removed)),
    Param::u32(c"journal", opt(What::Removed)),
];
static SPECS: Specs<{ ROWS + 1 }> = Specs::new(&PARAMS);

/// All options that a mount may be given.
pub(crate) const PARAMETERS: ParamTable<Opt> = ParamTable::new(&PARAMS, &SPECS);

/// The options that a mount or remount was given; of those that exclude each other, the last.
#[derive(Clone, Default)]
pub(crate) struct Parsed {
    pub(super) on: Toggles,
    pub(super) off: Toggles,
    pub(super) not_ext2: bool,
    pub(super) not_ext3: bool,
    pub(super) data: Option<DataMode>,
    pub(super) on_error: Option<OnError>,
    pub(super) dax: Option<Dax>,
    sb_block: Option<u32>,
    pub(super) resuid: Option<u32>,
    pub(super) resgid: Option<u32>,
    pub(super) commit: Option<u32>,
    pub(super) journal_ioprio: Option<u32>,
    pub(super) min_batch_time: Option<u32>,
    pub(super) max_batch_time: Option<u32>,
    pub(super) stripe: Option<u32>,
    pub(super) inode_readahead: Option<u32>,
    pub(super) init_itable: Option<u32>,
    pub(super) max_dir_size_kb: Option<u32>,
    pub(super) want_extra_isize: Option<u32>,
    pub(super) optimize_scan: Option<bool>,
    pub(super) journal_dev: Option<u32>,
    pub(super) quota_format: Option<QuotaFormat>,
    /// For users and groups: nothing was said; no file; this file.
    pub(super) quota_files: [Option<Option<QuotaFile>>; 2],
}

impl Parsed {
    /// Where the superblock is, in units of 1 KiB (`sb=`); 1 unless given.
    pub(crate) fn sb_block(&self) -> u32 {
        self.sb_block.unwrap_or(1)
    }

    /// Takes one more option.
    ///
    /// Errors: EINVAL (reported) for a value out of range and for what is not supported; ENOMEM.
    pub(crate) fn take(&mut self, fc: &FsContext, given: Given<'_, Opt>) -> Result {
        let name = given.name;
        self.not_ext2 |= given.opt.not_ext2;
        self.not_ext3 |= given.opt.not_ext3;
        match (given.opt.what, given.value) {
            (What::On(which), value) => self.turn_given(fc, name, which, is_true(&value)),
            (What::Off(which), value) => self.turn_given(fc, name, which, !is_true(&value)),
            (What::OnError, Value::Choice(n)) => {
                self.on_error = Some(match n {
                    CONTINUE => OnError::Continue,
                    PANIC => OnError::Panic,
                    _ => OnError::RemountRo,
                });
            }
            (What::Data, Value::Choice(n)) => {
                self.data = Some(match n {
                    ORDERED => DataMode::Ordered,
                    WRITEBACK => DataMode::Writeback,
                    _ => {
                        return Err(fc.invalid(fmt!(
                            "data=journal is not supported: rext4 does not journal file data \
                             (use data=ordered)"
                        )))
                    }
                });
            }
            (What::DataErr, Value::Choice(n)) => self.turn(Toggles::DATA_ERR_ABORT, n == ABORT),
            (What::Dax, Value::Choice(INODE)) => self.dax = Some(Dax::Inode),
            (What::Dax, Value::Choice(NEVER)) => self.dax = Some(Dax::Never),
            (What::Dax | What::DaxAlways, _) => {
                return Err(fc.invalid(fmt!("dax option not supported")));
            }
            (What::SbBlock, Value::U32(n)) => {
                if fc.is_reconfigure() {
                    fc.warn(fmt!("Ignoring {} option on remount", name));
                } else {
                    self.sb_block = Some(n);
                }
            }
            (What::ResUid, Value::Id(id)) => self.resuid = Some(id),
            (What::ResGid, Value::Id(id)) => self.resgid = Some(id),
            (What::Commit, Value::U32(n)) => self.commit = Some(commit(fc, n)?),
            (What::MinBatchTime, Value::U32(n)) => self.min_batch_time = Some(n),
            (What::MaxBatchTime, Value::U32(n)) => self.max_batch_time = Some(n),
            (What::Stripe, Value::U32(n)) => self.stripe = Some(n),
            (What::InodeReadahead, Value::U32(n)) => {
                if n != 0 && (n > 1 << 30 || !n.is_power_of_two()) {
                    return Err(fc.invalid(fmt!(
                        "inode_readahead_blks must be 0 or a power of 2 smaller than 2^31"
                    )));
                }
                self.inode_readahead = Some(n);
            }
            (What::InitItable, value) => {
                self.turn(Toggles::INIT_ITABLE, true);
                self.init_itable = Some(match value {
                    Value::U32(n) => n,
                    _ => super::INIT_ITABLE,
                });
            }
            (What::MaxDirSize, Value::U32(n)) => self.max_dir_size_kb = Some(n),
            (What::WantExtraIsize, Value::U32(n)) => {
                if n & 1 != 0 || n < 4 {
                    return Err(fc.invalid(fmt!("Invalid want_extra_isize {}", n)));
                }
                self.want_extra_isize = Some(n);
            }
            (What::OptimizeScan, Value::S32(n)) => {
                self.optimize_scan = Some(match n {
                    0 => false,
                    1 => true,
                    _ => {
                        fc.warn(fmt!("mb_optimize_scan should be set to 0 or 1."));
                        return Err(EINVAL);
                    }
                });
            }
            (What::JournalDev, Value::U32(n)) => {
                refuse_on_remount(fc)?;
                self.journal_dev = Some(n);
            }
            (What::JournalPath, Value::Device(path)) => {
                refuse_on_remount(fc)?;
                let dev = path
                    .lookup()
                    .map_err(|_| fc.invalid(fmt!("error: could not find journal device path")))?;
                self.journal_dev = Some(dev);
            }
            (What::JournalIoprio, Value::U32(n)) => {
                if n > 7 {
                    return Err(fc.invalid(fmt!("Invalid journal IO priority (must be 0-7)")));
                }
                self.journal_ioprio = Some(n);
            }
            (What::QuotaFile(kind), Value::Text(text)) => self.quota_file(fc, name, kind, text)?,
            (What::QuotaFormat, Value::Choice(n)) => {
                if quota_is_supported(fc, name) {
                    self.quota_format = Some(match n {
                        VFSOLD => QuotaFormat::VfsOld,
                        VFSV0 => QuotaFormat::VfsV0,
                        _ => QuotaFormat::VfsV1,
                    });
                }
            }
            (What::InlineCrypt, _) => {
                if cfg!(CONFIG_FS_ENCRYPTION_INLINE_CRYPT) {
                    self.turn(Toggles::INLINE_CRYPT, true);
                } else {
                    fc.error(fmt!("inline encryption not supported"));
                }
            }
            (What::DummyEncryption, _) => {
                fc.warn(fmt!("test_dummy_encryption option not supported"));
                return Err(EINVAL);
            }
            (What::Removed, _) => fc.warn(fmt!("Ignoring removed {} option", name)),
            // A row whose kind of value is not the one that its tag takes: see `PARAMS`.
            _ => return Err(EINVAL),
        }
        Ok(())
    }

    /// Turns `which` on or off, last word first.
    pub(super) fn turn(&mut self, which: Toggles, on: bool) {
        self.on = self.on.turned(which, on);
        self.off = self.off.turned(which, !on);
    }

    /// As [`turn`](Self::turn), unless the kernel was built without it.
    fn turn_given(&mut self, fc: &FsContext, name: &str, which: Toggles, on: bool) {
        if which.has_any(Toggles::ANY_QUOTA) && !quota_is_supported(fc, name) {
            return;
        }
        if which == Toggles::POSIX_ACL && !cfg!(CONFIG_FS_POSIX_ACL) {
            return unsupported(fc, name);
        }
        self.turn(which, on);
    }

    /// `usrjquota=` and `grpjquota=`: the name of a file in the root directory, or nothing.
    fn quota_file(&mut self, fc: &FsContext, name: &str, kind: usize, text: &[u8]) -> Result {
        if !quota_is_supported(fc, name) {
            return Ok(());
        }
        let Some(slot) = self.quota_files.get_mut(kind) else {
            return Err(EINVAL);
        };
        if text.is_empty() {
            *slot = Some(None);
            return Ok(());
        }
        let Some(file) = FileName::new(text) else {
            return Err(fc.invalid(fmt!("quotafile must be on filesystem root")));
        };
        match slot {
            Some(Some(given)) if given.as_bytes() == text => (),
            Some(Some(_)) => {
                let who = if kind == 0 { "user" } else { "group" };
                return Err(fc.invalid(fmt!("{} quota file already specified", who)));
            }
            _ => *slot = Some(Some(Arc::new(file, GFP_KERNEL)?)),
        }
        Ok(())
    }
}

/// What the value of an option with two states means: a name alone says yes.
fn is_true(value: &Value<'_>) -> bool {
    !matches!(value, Value::U32(0))
}

fn unsupported(fc: &FsContext, name: &str) {
    fc.error(fmt!("{} option not supported", name));
}

/// Whether the kernel has quotas at all; if not, says so: the option is then ignored.
fn quota_is_supported(fc: &FsContext, name: &str) -> bool {
    if !cfg!(CONFIG_QUOTA) {
        unsupported(fc, name);
    }
    cfg!(CONFIG_QUOTA)
}

fn refuse_on_remount(fc: &FsContext) -> Result {
    if fc.is_reconfigure() {
        return Err(fc.invalid(fmt!("Cannot specify journal on remount")));
    }
    Ok(())
}

/// A commit interval in seconds: 0 means the default, and the kernel must be able to count it in
/// its own ticks.
fn commit(fc: &FsContext, seconds: u32) -> Result<u32> {
    const LONGEST: u32 = i32::MAX as u32 / HZ;
    if seconds > LONGEST {
        return Err(fc.invalid(fmt!(
            "Invalid commit interval {}, must be smaller than {}",
            seconds,
            LONGEST
        )));
    }
    Ok(if seconds == 0 { super::COMMIT } else { seconds })
}
