// SPDX-License-Identifier: GPL-2.0

//! The options in force as text: what differs from the defaults, for /proc/mounts, or all of
//! them, for `/proc/fs/<type>/<device>/options`.
//!
//! Names, order and conditions are ext4's, since tools compare them; mounting with what
//! /proc/mounts shows leads to the same options.

use super::{
    DataMode, Dax, OnError, Options, QuotaFormat, Toggles, COMMIT, INIT_ITABLE, INODE_READAHEAD,
    MAX_BATCH_TIME,
};
use kernel::{fmt, fmt::Write as _, prelude::*, seq_file::SeqFile, seq_print};

/// The options with two states: the name to show when all of `which` is on, or when none of it is.
const TOGGLES: [(&str, Toggles, bool); 35] = [
    ("minixdf", Toggles::MINIX_DF, true),
    ("bsddf", Toggles::MINIX_DF, false),
    ("grpid", Toggles::GRPID, true),
    ("nogrpid", Toggles::GRPID, false),
    ("block_validity", Toggles::BLOCK_VALIDITY, true),
    ("noblock_validity", Toggles::BLOCK_VALIDITY, false),
    ("dioread_nolock", Toggles::DIOREAD_NOLOCK, true),
    ("nodioread_nolock", Toggles::DIOREAD_NOLOCK, false),
    ("discard", Toggles::DISCARD, true),
    ("nodiscard", Toggles::DISCARD, false),
    ("delalloc", Toggles::DELALLOC, true),
    ("nodelalloc", Toggles::DELALLOC, false),
    ("warn_on_error", Toggles::WARN_ON_ERROR, true),
    ("nowarn_on_error", Toggles::WARN_ON_ERROR, false),
    ("nojournal_checksum", Toggles::JOURNAL_CHECKSUM, false),
    ("journal_checksum", Toggles::JOURNAL_CHECKSUM, true),
    (
        "journal_async_commit",
        Toggles::ASYNC_COMMIT.with(Toggles::JOURNAL_CHECKSUM),
        true,
    ),
    ("norecovery", Toggles::NOLOAD, true),
    ("barrier", Toggles::BARRIER, true),
    ("nobarrier", Toggles::BARRIER, false),
    ("noauto_da_alloc", Toggles::NO_AUTO_DA_ALLOC, true),
    ("auto_da_alloc", Toggles::NO_AUTO_DA_ALLOC, false),
    ("noinit_itable", Toggles::INIT_ITABLE, false),
    ("user_xattr", Toggles::USER_XATTR, true),
    ("acl", Toggles::POSIX_ACL, true),
    ("nouid32", Toggles::NO_UID32, true),
    ("debug", Toggles::DEBUG, true),
    ("quota", Toggles::QUOTA.with(Toggles::USRQUOTA), true),
    ("usrquota", Toggles::QUOTA.with(Toggles::USRQUOTA), true),
    ("grpquota", Toggles::QUOTA.with(Toggles::GRPQUOTA), true),
    ("prjquota", Toggles::QUOTA.with(Toggles::PRJQUOTA), true),
    ("noquota", Toggles::ANY_QUOTA, false),
    ("nombcache", Toggles::NO_MBCACHE, true),
    ("no_prefetch_block_bitmaps", Toggles::NO_PREFETCH, true),
    ("abort", Toggles::ABORT, true),
];

/// Prints options, each after a separator.
struct Printer<'a> {
    out: &'a SeqFile,
    /// All options, a line each; or only those that differ from the default, after commas.
    all: bool,
}

impl Printer<'_> {
    fn print(&self, option: fmt::Arguments<'_>) {
        seq_print!(self.out, "{}{}", if self.all { '\n' } else { ',' }, option);
    }

    /// `name=value`, if the value is not the default.
    fn number(&self, name: &str, value: u32, default: u32) {
        if self.all || value != default {
            self.print(fmt!("{name}={value}"));
        }
    }

    /// As [`number`](Self::number), where the file system's own default is worth showing unless
    /// it is root.
    fn owner(&self, name: &str, value: u32, default: u32) {
        if self.all || value != 0 || default != 0 {
            self.print(fmt!("{name}={value}"));
        }
    }
}

impl Options {
    /// Prints what differs from the defaults, each as `,name[=value]`.
    pub(crate) fn show(&self, out: &SeqFile) {
        self.print_to(&Printer { out, all: false });
    }

    /// Prints `ro` or `rw` and then every option, one to a line.
    pub(crate) fn show_all(&self, rdonly: bool, out: &SeqFile) {
        seq_print!(out, "{}", if rdonly { "ro" } else { "rw" });
        self.print_to(&Printer { out, all: true });
        seq_print!(out, "\n");
    }

    fn print_to(&self, p: &Printer<'_>) {
        if self.sb_block != 1 {
            p.print(fmt!("sb={}", self.sb_block));
        }
        self.print_toggles(p);
        let default = &self.defaults;
        p.owner("resuid", self.resuid, default.resuid);
        p.owner("resgid", self.resgid, default.resgid);
        if p.all || self.on_error != default.on_error {
            p.print(fmt!("errors={}", on_error_name(self.on_error)));
        }
        p.number("commit", self.commit, COMMIT);
        p.number("min_batch_time", self.min_batch_time, 0);
        p.number("max_batch_time", self.max_batch_time, MAX_BATCH_TIME);
        if p.all {
            p.print(fmt!("i_version"));
        }
        p.number("stripe", self.stripe, 0);
        if let Some(data) = self.data {
            if p.all || self.data != default.data {
                p.print(fmt!("data={}", data_name(data)));
            }
        }
        p.number(
            "inode_readahead_blks",
            self.inode_readahead,
            INODE_READAHEAD,
        );
        if self.has(Toggles::INIT_ITABLE) {
            p.number("init_itable", self.init_itable, INIT_ITABLE);
        }
        p.number("max_dir_size_kb", self.max_dir_size_kb, 0);
        if self.has(Toggles::DATA_ERR_ABORT) {
            p.print(fmt!("data_err=abort"));
        }
        if self.has(Toggles::INLINE_CRYPT) {
            p.print(fmt!("inlinecrypt"));
        }
        match self.dax {
            Dax::Unset => {}
            Dax::Never => p.print(fmt!("dax=never")),
            Dax::Inode => p.print(fmt!("dax=inode")),
        }
        if self.optimize_scan != default.optimize_scan {
            let on = u8::from(self.optimize_scan);
            p.print(fmt!("mb_optimize_scan={on}"));
        }
        if p.all && !self.has(Toggles::NO_PREFETCH) {
            p.print(fmt!("prefetch_block_bitmaps"));
        }
        self.print_quota(p);
    }

    fn print_toggles(&self, p: &Printer<'_>) {
        let changed = self.toggles.difference(self.defaults.toggles);
        for (name, which, when_on) in TOGGLES {
            if !p.all && !changed.has_any(which) {
                continue;
            }
            let shown = if when_on {
                self.toggles.has(which)
            } else {
                !self.toggles.has_any(which)
            };
            if shown {
                p.print(fmt!("{name}"));
            }
        }
    }

    fn print_quota(&self, p: &Printer<'_>) {
        if let Some(format) = self.quota_format {
            let name = match format {
                QuotaFormat::VfsOld => "vfsold",
                QuotaFormat::VfsV0 => "vfsv0",
                QuotaFormat::VfsV1 => "vfsv1",
            };
            p.print(fmt!("jqfmt={name}"));
        }
        for (file, name) in self.quota_files.iter().zip(["usrjquota", "grpjquota"]) {
            if let Some(file) = file {
                p.print(fmt!("{name}={}", Escaped(file.as_bytes())));
            }
        }
    }
}

fn on_error_name(policy: OnError) -> &'static str {
    match policy {
        OnError::Continue => "continue",
        OnError::Panic => "panic",
        OnError::RemountRo => "remount-ro",
    }
}

fn data_name(mode: DataMode) -> &'static str {
    match mode {
        DataMode::Ordered => "ordered",
        DataMode::Writeback => "writeback",
    }
}

/// Text of a user's as /proc/mounts has it: what could be taken for the end of an option or a
/// field, and what may not be printable, as octal numbers, which mount(8) turns back.
pub(super) struct Escaped<'a>(pub(super) &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(f, self.0, |b| matches!(b, b',' | b'#' | b' '))
    }
}

/// Text for a message: only what may not be printable is escaped.
pub(super) struct Printable<'a>(pub(super) &'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(f, self.0, |_| false)
    }
}

fn write_escaped(
    f: &mut fmt::Formatter<'_>,
    text: &[u8],
    escape: impl Fn(u8) -> bool,
) -> fmt::Result {
    for &b in text {
        if escape(b) || matches!(b, b'\\' | 0..=0x1f | 0x7f..) {
            write!(f, "\\{b:03o}")?;
        } else {
            f.write_char(char::from(b))?;
        }
    }
    Ok(())
}
