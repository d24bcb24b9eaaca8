// SPDX-License-Identifier: GPL-2.0

//! Mount options.
//!
//! All of ext4's names are known here ([`params`]), with ext4's ranges, conflicts, messages and
//! errors, also where an option changes nothing yet: fstab entries and scripts that are right for
//! ext4 must work, and those that are wrong must be refused in the same way.
//!
//! Options come from three places, each overriding the one before: the defaults that the
//! superblock selects (`s_default_mount_opts`, `s_errors`, ...), the text that it holds
//! (`s_mount_opts`), and what the mount was given. The state after the first two is remembered,
//! since what /proc/mounts shows is the difference to it ([`show`]).
//!
//! [`Parsed`] is what was given; [`Options`] is what is in force. A remount makes new `Options`
//! from those in force and what it was given, or fails and leaves everything alone.
//!
//! Reference: `Documentation/admin-guide/ext4.rst`.

mod check;
mod params;
mod show;
mod toggles;

pub(crate) use params::{Opt, Parsed, PARAMETERS};
pub(crate) use toggles::Toggles;

use crate::{
    linux::fs_context::{parse_text, FsContext},
    ondisk::{
        features::{Compat, RoCompat},
        geometry::Geometry,
        mount_state::{DefaultOpts, OnError},
        superblock::Superblock,
    },
};
use kernel::{prelude::*, sync::Arc};

/// How file data relates to the journal (`data=`). `journal` is not here: rext4 refuses it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataMode {
    /// Data reaches the disk before the metadata that refers to it.
    Ordered,
    /// In any order.
    Writeback,
}

/// The DAX mode (`dax=`). rext4 has no DAX, so none of these turns it on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dax {
    /// Nothing was said.
    Unset,
    /// As the inode says.
    Inode,
    /// Never.
    Never,
}

/// Formats of quota files (`jqfmt=`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum QuotaFormat {
    VfsOld,
    VfsV0,
    VfsV1,
}

/// The name of a quota file: not empty, without a `/`.
struct FileName {
    len: u8,
    bytes: [u8; 255],
}

impl FileName {
    /// `None` for a name that no file can have.
    fn new(name: &[u8]) -> Option<Self> {
        let mut bytes = [0; 255];
        bytes.get_mut(..name.len())?.copy_from_slice(name);
        let len = u8::try_from(name.len()).ok()?;
        (len != 0 && !name.contains(&b'/')).then_some(Self { len, bytes })
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len.into()).unwrap_or(&[])
    }
}

/// The name of a quota file, shared between the options before and after a remount.
type QuotaFile = Arc<FileName>;

/// The name under which the file system is mounted: the older ones refuse what is newer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum MountedAs {
    /// `ext2`.
    Ext2,
    /// `ext3`.
    Ext3,
    /// `ext4` or `rext4`.
    Ext4,
}

impl MountedAs {
    /// What the mount's type is called.
    pub(crate) fn of(fc: &FsContext) -> Self {
        match fc.type_name() {
            b"ext2" => Self::Ext2,
            b"ext3" => Self::Ext3,
            _ => Self::Ext4,
        }
    }
}

/// Seconds between two commits of the journal (`commit=`), unless given.
const COMMIT: u32 = 5;
/// Priority of the journal's I/O (`journal_ioprio=`), unless given: somewhat above the usual one.
const JOURNAL_IOPRIO: u32 = 3;
/// Microseconds (`max_batch_time=`), unless given.
const MAX_BATCH_TIME: u32 = 15000;
/// Blocks of the inode table that are read at a time (`inode_readahead_blks=`), unless given.
const INODE_READAHEAD: u32 = 32;
/// `init_itable=`, unless given.
const INIT_ITABLE: u32 = 10;
/// With fewer groups than this the allocator simply tries them in order.
const OPTIMIZE_SCAN_GROUPS: u32 = 16;

/// The options in force.
#[derive(Clone)]
pub(crate) struct Options {
    toggles: Toggles,
    /// `None`: without a journal.
    data: Option<DataMode>,
    on_error: OnError,
    /// Whether the mount itself has said so, not the superblock.
    on_error_given: bool,
    dax: Dax,
    /// In units of 1 KiB.
    sb_block: u32,
    resuid: u32,
    resgid: u32,
    commit: u32,
    /// Priority of the journal's I/O, 0 (highest) to 7.
    journal_ioprio: u32,
    min_batch_time: u32,
    max_batch_time: u32,
    stripe: u32,
    inode_readahead: u32,
    init_itable: u32,
    max_dir_size_kb: u32,
    want_extra_isize: u32,
    optimize_scan: bool,
    /// An external journal's device as the mount names it, in the encoding of `s_journal_dev`.
    journal_dev: Option<u32>,
    quota_format: Option<QuotaFormat>,
    /// Files for user and group quotas.
    quota_files: [Option<QuotaFile>; 2],
    defaults: Defaults,
}

/// What a mount without options would have.
#[derive(Clone, Copy)]
struct Defaults {
    toggles: Toggles,
    data: Option<DataMode>,
    on_error: OnError,
    resuid: u32,
    resgid: u32,
    optimize_scan: bool,
}

impl Options {
    /// The options of a new mount: the superblock's, then `given`.
    ///
    /// Errors: EINVAL (reported) for options that contradict each other or the file system; E2BIG
    /// for a text in the superblock that does not end.
    pub(crate) fn for_mount(
        fc: &FsContext,
        given: &Parsed,
        sb: &Superblock,
        geometry: &Geometry,
    ) -> Result<Self> {
        let kind = MountedAs::of(fc);
        let mut options = Self::defaults(fc, kind, sb, geometry);
        options.apply_text(fc, kind, sb.mount_opts(), geometry)?;
        options.sb_block = given.sb_block();
        options.note_defaults();
        let given = options.check(fc, kind, given, geometry, false)?;
        options.apply(&given, geometry);
        options.settle_journal(fc, geometry)?;
        options.settle_stripe(fc, sb, geometry);
        Ok(options)
    }

    /// The options after a remount with `given`; `self` stays as it is.
    ///
    /// Errors: EINVAL (reported) for what cannot be changed while mounted.
    pub(crate) fn for_remount(
        &self,
        fc: &FsContext,
        given: &Parsed,
        geometry: &Geometry,
    ) -> Result<Self> {
        let given = self.check(fc, MountedAs::of(fc), given, geometry, true)?;
        let mut new = self.clone();
        new.apply(&given, geometry);
        if new.on_error == self.on_error {
            // mount(8) repeats what is shown, and that may be the superblock's wish.
            new.on_error_given = self.on_error_given;
        }
        if new
            .toggles
            .difference(self.toggles)
            .has(Toggles::JOURNAL_CHECKSUM)
        {
            fc.error(fmt!(
                "changing journal_checksum during remount not supported; ignoring"
            ));
            new.toggles = new.toggles.turned(
                Toggles::JOURNAL_CHECKSUM,
                self.toggles.has(Toggles::JOURNAL_CHECKSUM),
            );
        }
        new.check_async_commit(fc)?;
        if new
            .toggles
            .difference(self.toggles)
            .has(Toggles::NO_MBCACHE)
        {
            return Err(fc.invalid(fmt!("can't enable nombcache during remount")));
        }
        if given.stripe.is_some() {
            new.check_stripe(fc, geometry);
        }
        if given.on.has(Toggles::ABORT) {
            // A read-only mount has nothing to stop; for the others the caller does it.
            fc.error(fmt!("Abort forced by user"));
        }
        Ok(new)
    }

    /// What the superblock's flags and fields select.
    fn defaults(fc: &FsContext, kind: MountedAs, sb: &Superblock, geometry: &Geometry) -> Self {
        let flags = sb.default_opts();
        let toggles = Toggles::INIT_ITABLE
            .with(Toggles::USER_XATTR)
            .with(Toggles::BLOCK_VALIDITY)
            .with(Toggles::DIOREAD_NOLOCK)
            .turned(Toggles::POSIX_ACL, cfg!(CONFIG_FS_POSIX_ACL))
            .turned(Toggles::DEBUG, flags.contains(DefaultOpts::DEBUG))
            .turned(Toggles::GRPID, flags.contains(DefaultOpts::BSDGROUPS))
            .turned(Toggles::NO_UID32, flags.contains(DefaultOpts::UID16))
            .turned(Toggles::DISCARD, flags.contains(DefaultOpts::DISCARD))
            .turned(Toggles::BARRIER, !flags.contains(DefaultOpts::NOBARRIER))
            .turned(
                Toggles::DELALLOC,
                kind == MountedAs::Ext4 && !flags.contains(DefaultOpts::NODELALLOC),
            )
            .turned(
                Toggles::JOURNAL_CHECKSUM,
                geometry.has(RoCompat::METADATA_CSUM),
            );
        let data = match flags.bits() & DefaultOpts::JMODE {
            DefaultOpts::JMODE_ORDERED => Some(DataMode::Ordered),
            DefaultOpts::JMODE_WBACK => Some(DataMode::Writeback),
            DefaultOpts::JMODE_DATA => {
                // Nobody asked for it in this mount, and for reading it makes no difference.
                fc.warn(fmt!(
                    "the file system's default of data=journal is not supported; \
                     using data=ordered"
                ));
                Some(DataMode::Ordered)
            }
            _ => None,
        };
        let optimize_scan = geometry.groups_count() >= OPTIMIZE_SCAN_GROUPS;
        Self {
            toggles,
            data,
            on_error: sb.on_error(),
            on_error_given: false,
            dax: Dax::Unset,
            sb_block: 1,
            resuid: sb.def_resuid(),
            resgid: sb.def_resgid(),
            commit: COMMIT,
            journal_ioprio: JOURNAL_IOPRIO,
            min_batch_time: 0,
            max_batch_time: MAX_BATCH_TIME,
            stripe: 0,
            inode_readahead: INODE_READAHEAD,
            init_itable: INIT_ITABLE,
            max_dir_size_kb: 0,
            want_extra_isize: geometry.want_extra_isize().into(),
            optimize_scan,
            journal_dev: None,
            quota_format: None,
            quota_files: [None, None],
            defaults: Defaults {
                toggles,
                data,
                on_error: sb.on_error(),
                resuid: sb.def_resuid(),
                resgid: sb.def_resgid(),
                optimize_scan,
            },
        }
    }

    /// Applies the text in the superblock. If anything in it is wrong, none of it applies: an
    /// administrator can only repair it with the file system mounted.
    ///
    /// Errors: E2BIG for a text without an end; ENOMEM.
    fn apply_text(
        &mut self,
        fc: &FsContext,
        kind: MountedAs,
        text: &[u8],
        geometry: &Geometry,
    ) -> Result {
        if text.is_empty() {
            return Ok(());
        }
        let mut parsed = Parsed::default();
        let result = parse_text(&PARAMETERS, fc.id(), text, |fc, given| {
            parsed.take(fc, given)
        });
        let result = match result {
            Ok(()) => self.check(fc, kind, &parsed, geometry, false),
            Err(e) if e == E2BIG || e == ENOMEM => {
                fc.error(fmt!("can't take options from the superblock"));
                return Err(e);
            }
            Err(e) => Err(e),
        };
        match result {
            Ok(parsed) => {
                self.apply(&parsed, geometry);
                // An image that somebody hands us must not make the kernel complain of itself,
                // which stops machines with panic_on_warn.
                self.toggles = self.toggles.without(Toggles::WARN_ON_ERROR);
            }
            Err(_) => fc.warn(fmt!(
                "failed to parse options in superblock: {}",
                show::Printable(text)
            )),
        }
        Ok(())
    }

    /// Remembers the present state as the one that is not worth showing.
    fn note_defaults(&mut self) {
        self.defaults.toggles = self.toggles;
        self.defaults.data = self.data;
        self.on_error_given = false;
    }

    /// Puts `given`, which has been checked, in force.
    fn apply(&mut self, given: &Parsed, geometry: &Geometry) {
        self.toggles = self.toggles.without(given.off).with(given.on);
        let put = |slot: &mut u32, value: Option<u32>| {
            if let Some(value) = value {
                *slot = value;
            }
        };
        put(&mut self.resuid, given.resuid);
        put(&mut self.resgid, given.resgid);
        put(&mut self.commit, given.commit);
        put(&mut self.journal_ioprio, given.journal_ioprio);
        put(&mut self.min_batch_time, given.min_batch_time);
        put(&mut self.max_batch_time, given.max_batch_time);
        put(&mut self.stripe, given.stripe);
        put(&mut self.inode_readahead, given.inode_readahead);
        put(&mut self.init_itable, given.init_itable);
        put(&mut self.max_dir_size_kb, given.max_dir_size_kb);
        put(&mut self.want_extra_isize, given.want_extra_isize);
        self.data = given.data.or(self.data);
        self.on_error = given.on_error.unwrap_or(self.on_error);
        self.on_error_given |= given.on_error.is_some();
        self.dax = given.dax.unwrap_or(self.dax);
        self.optimize_scan = given.optimize_scan.unwrap_or(self.optimize_scan);
        self.journal_dev = given.journal_dev.or(self.journal_dev);
        if !geometry.has(RoCompat::QUOTA) {
            self.quota_format = given.quota_format.or(self.quota_format);
            for (mine, theirs) in self.quota_files.iter_mut().zip(&given.quota_files) {
                if let Some(file) = theirs {
                    mine.clone_from(file);
                    if file.is_some() {
                        self.toggles = self.toggles.with(Toggles::QUOTA);
                    }
                }
            }
        }
    }

    /// Options that make sense with a journal only, and those that depend on its mode.
    fn settle_journal(&mut self, fc: &FsContext, geometry: &Geometry) -> Result {
        if geometry.has(Compat::HAS_JOURNAL) && !self.has(Toggles::NOLOAD) {
            if self.data.is_none() {
                self.data = Some(DataMode::Ordered);
                self.defaults.data = self.data;
            }
            return self.check_async_commit(fc);
        }
        if let Some(name) = self.journal_option() {
            return Err(fc.invalid(fmt!("can't mount with {}, fs mounted w/o journal", name)));
        }
        self.data = None;
        self.toggles = self.toggles.without(Toggles::JOURNAL_CHECKSUM);
        self.defaults.toggles = self.defaults.toggles.without(Toggles::JOURNAL_CHECKSUM);
        Ok(())
    }

    fn check_async_commit(&self, fc: &FsContext) -> Result {
        if self.data == Some(DataMode::Ordered) && self.has(Toggles::ASYNC_COMMIT) {
            return Err(fc.invalid(fmt!(
                "can't mount with journal_async_commit in data=ordered mode"
            )));
        }
        Ok(())
    }

    /// The first option given that needs a journal.
    fn journal_option(&self) -> Option<&'static str> {
        if self.has(Toggles::ASYNC_COMMIT) {
            Some("journal_async_commit")
        } else if self.has(Toggles::EXPLICIT_CHECKSUM) {
            Some("journal_checksum")
        } else if self.commit != COMMIT {
            Some("commit=")
        } else if self.data != self.defaults.data {
            Some("data=")
        } else if self.has(Toggles::DATA_ERR_ABORT) {
            Some("data_err=abort")
        } else {
            None
        }
    }

    /// The allocation stripe, unless given: that of the RAID, if a group holds one.
    fn settle_stripe(&mut self, fc: &FsContext, sb: &Superblock, geometry: &Geometry) {
        let per_group = geometry.blocks_per_group().get();
        self.stripe = [self.stripe, sb.raid_stripe_width(), sb.raid_stride().into()]
            .into_iter()
            .find(|n| (1..=per_group).contains(n))
            .filter(|n| *n > 1)
            .unwrap_or(0);
        self.check_stripe(fc, geometry);
    }

    /// A stripe that does not consist of whole clusters cannot be allocated.
    fn check_stripe(&mut self, fc: &FsContext, geometry: &Geometry) {
        let ratio = geometry.cluster_ratio();
        if self.stripe & ratio.wrapping_sub(1) != 0 {
            fc.warn(fmt!(
                "stripe ({}) is not aligned with cluster size ({}), stripe is disabled",
                self.stripe,
                ratio
            ));
            self.stripe = 0;
        }
    }

    /// Whether all of `what` is on.
    #[inline]
    pub(crate) fn has(&self, what: Toggles) -> bool {
        self.toggles.has(what)
    }

    /// What is on.
    #[inline]
    pub(crate) fn toggles(&self) -> Toggles {
        self.toggles
    }

    /// What to do when corruption is met.
    #[inline]
    pub(crate) fn on_error(&self) -> OnError {
        self.on_error
    }

    /// Who may use reserved blocks: a user and a group.
    pub(crate) fn reserved_for(&self) -> (u32, u32) {
        (self.resuid, self.resgid)
    }

    /// Whether it was the mount that asked for `errors=panic`, not the superblock by itself.
    #[inline]
    pub(crate) fn asks_to_panic(&self) -> bool {
        self.on_error == OnError::Panic && self.on_error_given
    }

    /// The most that a directory may take, in KiB; 0 for no limit.
    pub(crate) fn max_dir_size_kb(&self) -> u32 {
        self.max_dir_size_kb
    }

    /// `mb_optimize_scan`.
    pub(crate) fn optimize_scan(&self) -> bool {
        self.optimize_scan
    }

    /// The same, but for `discard`.
    pub(crate) fn without_discard(mut self) -> Self {
        self.toggles = self.toggles.without(Toggles::DISCARD);
        self
    }

    /// How many times as long as zeroing an inode table takes to wait before the next.
    pub(crate) fn init_itable(&self) -> u32 {
        self.init_itable
    }

    /// How old a transaction may get, in seconds.
    #[inline]
    pub(crate) fn commit(&self) -> u32 {
        self.commit
    }

    /// Priority of the journal's I/O, 0 (highest) to 7.
    #[inline]
    pub(crate) fn journal_ioprio(&self) -> u32 {
        self.journal_ioprio
    }

    /// How long a synchronous operation waits for others, in microseconds: at least and at most.
    #[inline]
    pub(crate) fn batch_times(&self) -> (u32, u32) {
        (self.min_batch_time, self.max_batch_time)
    }

    /// Blocks of the inode table to read at a time, 0 or a power of 2.
    #[inline]
    pub(crate) fn inode_readahead(&self) -> u32 {
        self.inode_readahead
    }

    /// Sets the blocks of the inode table to read at a time, 0 or a power of 2: changed in sysfs.
    pub(crate) fn set_inode_readahead(&mut self, blocks: u32) {
        self.inode_readahead = blocks;
    }

    /// Where the superblock is that was mounted, in units of 1 KiB.
    #[inline]
    pub(crate) fn sb_block(&self) -> u32 {
        self.sb_block
    }

    /// The external journal that the mount names (`journal_dev=`, `journal_path=`), in the
    /// encoding of `s_journal_dev`.
    #[inline]
    pub(crate) fn journal_dev(&self) -> Option<u32> {
        self.journal_dev
    }

    /// How the message about a mount describes the journal, to go after "with".
    pub(crate) fn journal_description(&self) -> &'static str {
        match self.data {
            Some(DataMode::Ordered) => " ordered data mode",
            Some(DataMode::Writeback) => " writeback data mode",
            None => "out journal",
        }
    }
}
