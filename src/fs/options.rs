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

mod params;
mod show;

pub(crate) use params::{Opt, Parsed, PARAMETERS};

use crate::{
    linux::fs_context::{parse_text, FsContext},
    ondisk::{
        features::{Compat, RoCompat},
        geometry::Geometry,
        mount_state::{DefaultOpts, OnError},
        superblock::Superblock,
    },
};
use kernel::{prelude::*, str::CString, sync::Arc};

/// Options that are on or off, as a set.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Toggles(u32);

impl Toggles {
    /// `minixdf`: statfs counts metadata as used space (`bsddf` does not).
    pub(crate) const MINIX_DF: Self = Self(1 << 0);
    /// `grpid`: new files inherit the group of their directory.
    pub(crate) const GRPID: Self = Self(1 << 1);
    /// `block_validity`. rext4 always checks; the option is kept to be shown.
    pub(crate) const BLOCK_VALIDITY: Self = Self(1 << 2);
    /// `dioread_nolock`.
    pub(crate) const DIOREAD_NOLOCK: Self = Self(1 << 3);
    /// `discard`.
    pub(crate) const DISCARD: Self = Self(1 << 4);
    /// `delalloc`.
    pub(crate) const DELALLOC: Self = Self(1 << 5);
    /// `warn_on_error`.
    pub(crate) const WARN_ON_ERROR: Self = Self(1 << 6);
    /// `journal_checksum`.
    pub(crate) const JOURNAL_CHECKSUM: Self = Self(1 << 7);
    /// `journal_async_commit`.
    pub(crate) const ASYNC_COMMIT: Self = Self(1 << 8);
    /// `noload` (`norecovery`): the journal is left alone.
    pub(crate) const NOLOAD: Self = Self(1 << 9);
    /// `barrier`.
    pub(crate) const BARRIER: Self = Self(1 << 10);
    /// `noauto_da_alloc`.
    pub(crate) const NO_AUTO_DA_ALLOC: Self = Self(1 << 11);
    /// `init_itable`.
    pub(crate) const INIT_ITABLE: Self = Self(1 << 12);
    /// `user_xattr`.
    pub(crate) const USER_XATTR: Self = Self(1 << 13);
    /// `acl`.
    pub(crate) const POSIX_ACL: Self = Self(1 << 14);
    /// `nouid32`: owners have 16 bits; the upper halves on disk are not looked at.
    pub(crate) const NO_UID32: Self = Self(1 << 15);
    /// `debug`.
    pub(crate) const DEBUG: Self = Self(1 << 16);
    /// Any kind of quota.
    pub(crate) const QUOTA: Self = Self(1 << 17);
    /// `usrquota`, together with `QUOTA`.
    pub(crate) const USRQUOTA: Self = Self(1 << 18);
    /// `grpquota`, together with `QUOTA`.
    pub(crate) const GRPQUOTA: Self = Self(1 << 19);
    /// `prjquota`, together with `QUOTA`.
    pub(crate) const PRJQUOTA: Self = Self(1 << 20);
    /// `nombcache`.
    pub(crate) const NO_MBCACHE: Self = Self(1 << 21);
    /// `no_prefetch_block_bitmaps`.
    pub(crate) const NO_PREFETCH: Self = Self(1 << 22);
    /// `data_err=abort`.
    pub(crate) const DATA_ERR_ABORT: Self = Self(1 << 23);
    /// `abort`.
    pub(crate) const ABORT: Self = Self(1 << 24);
    /// `journal_checksum` or `journal_async_commit` was asked for, not just implied.
    const EXPLICIT_CHECKSUM: Self = Self(1 << 25);

    /// All that has to do with quotas.
    const ANY_QUOTA: Self = Self::QUOTA
        .with(Self::USRQUOTA)
        .with(Self::GRPQUOTA)
        .with(Self::PRJQUOTA);

    /// The set as a number, for an atomic word.
    #[inline]
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    /// The set that [`bits`](Self::bits) gave.
    #[inline]
    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Both sets together.
    #[inline]
    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What `other` does not have.
    #[inline]
    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` is on.
    #[inline]
    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is on.
    #[inline]
    const fn has_any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// What is on in one of the two only.
    #[inline]
    const fn difference(self, other: Self) -> Self {
        Self(self.0 ^ other.0)
    }

    /// `self`, with `which` on or off.
    const fn turned(self, which: Self, on: bool) -> Self {
        if on {
            self.with(which)
        } else {
            self.without(which)
        }
    }
}

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

/// The name of a quota file, shared between the options before and after a remount.
type QuotaFile = Arc<CString>;

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
        match fc.type_name().to_bytes() {
            b"ext2" => Self::Ext2,
            b"ext3" => Self::Ext3,
            _ => Self::Ext4,
        }
    }
}

/// Seconds between two commits of the journal (`commit=`), unless given.
const COMMIT: u32 = 5;
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
    dax: Dax,
    /// In units of 1 KiB.
    sb_block: u32,
    resuid: u32,
    resgid: u32,
    commit: u32,
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
    /// Errors: EINVAL (reported) for what cannot be changed while mounted; EROFS (reported) for
    /// `rw`.
    pub(crate) fn for_remount(
        &self,
        fc: &FsContext,
        given: &Parsed,
        geometry: &Geometry,
    ) -> Result<Self> {
        let given = self.check(fc, MountedAs::of(fc), given, geometry, true)?;
        let mut new = self.clone();
        new.apply(&given, geometry);
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
        if fc.changes_rdonly() {
            require_rdonly(fc, fc.asks_for_rdonly())?;
        }
        if given.on.has(Toggles::ABORT) {
            // There is nothing to stop: no journal is open and nothing is written.
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
            dax: Dax::Unset,
            sb_block: 1,
            resuid: sb.def_resuid(),
            resgid: sb.def_resgid(),
            commit: COMMIT,
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
            Ok(parsed) => self.apply(&parsed, geometry),
            Err(_) => fc.warn(fmt!(
                "failed to parse options in superblock: {}",
                show::Escaped(text)
            )),
        }
        Ok(())
    }

    /// Remembers the present state as the one that is not worth showing.
    fn note_defaults(&mut self) {
        self.defaults.toggles = self.toggles;
        self.defaults.data = self.data;
    }

    /// Checks `given` against the file system and the options in force. The result is `given`
    /// without what is ignored, which has been reported.
    fn check(
        &self,
        fc: &FsContext,
        kind: MountedAs,
        given: &Parsed,
        geometry: &Geometry,
        remount: bool,
    ) -> Result<Parsed> {
        if given.not_ext2 && kind == MountedAs::Ext2 {
            return Err(fc.invalid(fmt!("Mount option(s) incompatible with ext2")));
        }
        if given.not_ext3 && kind == MountedAs::Ext3 {
            return Err(fc.invalid(fmt!("Mount option(s) incompatible with ext3")));
        }
        let room = u32::from(geometry.inode_size()).saturating_sub(128);
        if let Some(size) = given.want_extra_isize {
            if size > room {
                return Err(fc.invalid(fmt!("Invalid want_extra_isize {}", size)));
            }
        }
        let mut given = given.clone();
        if remount {
            self.check_remount(fc, &mut given)?;
        }
        self.check_quota(fc, &mut given, geometry)?;
        Ok(given)
    }

    /// What a remount may not change.
    fn check_remount(&self, fc: &FsContext, given: &mut Parsed) -> Result {
        if given.data.is_some() && self.data.is_none() {
            fc.warn(fmt!(
                "Remounting file system with no journal so ignoring journalled data option"
            ));
            given.data = None;
        }
        if given.data.is_some() && given.data != self.data {
            return Err(fc.invalid(fmt!("Cannot change data mode on remount")));
        }
        if self.toggles.has(Toggles::DELALLOC) && given.off.has(Toggles::DELALLOC) {
            return Err(fc.invalid(fmt!("can't disable delalloc during remount")));
        }
        if self.data.is_none() && given.on.has(Toggles::DATA_ERR_ABORT) {
            fc.warn(fmt!(
                "Remounting fs w/o journal so ignoring data_err option"
            ));
            given.turn(Toggles::DATA_ERR_ABORT, false);
        }
        match given.dax {
            Some(dax) if dax != self.dax => {
                Err(fc.invalid(fmt!("can't change dax mount option while remounting")))
            }
            _ => Ok(()),
        }
    }

    /// Whether the quota options fit together and the file system.
    fn check_quota(&self, fc: &FsContext, given: &mut Parsed, geometry: &Geometry) -> Result {
        if given.on.has(Toggles::PRJQUOTA) && !geometry.has(RoCompat::PROJECT) {
            return Err(fc.invalid(fmt!(
                "Project quota feature not enabled. Cannot enable project quota enforcement."
            )));
        }
        let has_feature = geometry.has(RoCompat::QUOTA);
        if given.quota_files.iter().any(Option::is_some) {
            for (mine, theirs, name) in self.quota_files_beside(given) {
                if let (Some(mine), Some(theirs)) = (mine, theirs) {
                    if mine.to_bytes() != theirs.to_bytes() {
                        return Err(fc.invalid(fmt!("{} quota file already specified", name)));
                    }
                }
            }
            if has_feature {
                fc.info(fmt!(
                    "Journaled quota options ignored when QUOTA feature is enabled"
                ));
            }
        } else if given.quota_format.is_some() && has_feature {
            fc.info(fmt!(
                "Quota format mount options ignored when QUOTA feature is enabled"
            ));
        }
        if has_feature {
            given.quota_files = [None, None];
            given.quota_format = None;
            return Ok(());
        }

        // The older way (usrquota, with the file's name fixed) and the newer (usrjquota=, jqfmt=)
        // exclude each other, for users and groups together.
        let mut journaled = false;
        let mut plain = false;
        let kinds = [Toggles::USRQUOTA, Toggles::GRPQUOTA];
        for ((mine, theirs, _), toggle) in self.quota_files_beside(&given.clone()).zip(kinds) {
            if mine.is_some() || theirs.is_some() {
                journaled = true;
                given.turn(toggle, false);
            } else if given.on.has(toggle) || self.toggles.has(toggle) {
                plain = true;
            }
        }
        if journaled && plain {
            return Err(fc.invalid(fmt!("old and new quota format mixing")));
        }
        if journaled && given.quota_format.or(self.quota_format).is_none() {
            return Err(fc.invalid(fmt!("journaled quota format not specified")));
        }
        Ok(())
    }

    /// For users and groups: the quota file in force, the one that is given, and what they are
    /// called in messages.
    fn quota_files_beside<'a>(
        &'a self,
        given: &'a Parsed,
    ) -> impl Iterator<Item = (Option<&'a QuotaFile>, Option<&'a QuotaFile>, &'static str)> {
        self.quota_files
            .iter()
            .zip(&given.quota_files)
            .zip(["user", "group"])
            .map(|((mine, theirs), name)| {
                (
                    mine.as_ref(),
                    theirs.as_ref().and_then(Option::as_ref),
                    name,
                )
            })
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
        put(&mut self.min_batch_time, given.min_batch_time);
        put(&mut self.max_batch_time, given.max_batch_time);
        put(&mut self.stripe, given.stripe);
        put(&mut self.inode_readahead, given.inode_readahead);
        put(&mut self.init_itable, given.init_itable);
        put(&mut self.max_dir_size_kb, given.max_dir_size_kb);
        put(&mut self.want_extra_isize, given.want_extra_isize);
        self.data = given.data.or(self.data);
        self.on_error = given.on_error.unwrap_or(self.on_error);
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

/// Refuses a mount that is not read-only. mount(8) tries again with `ro` by itself.
///
/// Errors: EROFS (reported).
pub(crate) fn require_rdonly(fc: &FsContext, rdonly: bool) -> Result {
    if rdonly {
        return Ok(());
    }
    fc.error(fmt!(
        "rext4 cannot write yet: only a read-only mount is possible (mount -o ro)"
    ));
    Err(EROFS)
}
