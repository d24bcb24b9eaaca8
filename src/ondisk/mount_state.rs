// SPDX-License-Identifier: GPL-2.0

//! What the superblock says about past mounts and asks of the next one: state, error policy,
//! default options, and the error record.
//!
//! Format: `Documentation/filesystems/ext4/super.rst`, "s_state", "s_errors",
//! "s_default_mount_opts" and "s_error_count" and following.

/// `s_state`: how the file system was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State(u16);

impl State {
    /// Wraps the field as it is on disk.
    #[inline]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// Unmounted cleanly (without a journal: nothing was being written).
    pub const VALID: u16 = 0x0001;
    /// Errors have been detected.
    pub const ERROR: u16 = 0x0002;
    /// Orphans are being recovered.
    pub const ORPHAN: u16 = 0x0004;

    /// Whether the file system was unmounted cleanly.
    #[inline]
    pub const fn is_valid(self) -> bool {
        self.0 & Self::VALID != 0
    }

    /// Whether errors have been detected and not repaired.
    #[inline]
    pub const fn has_errors(self) -> bool {
        self.0 & Self::ERROR != 0
    }

    /// Whether orphans were being recovered.
    #[inline]
    pub const fn in_orphan_recovery(self) -> bool {
        self.0 & Self::ORPHAN != 0
    }

    /// The field as it is on disk.
    #[inline]
    pub const fn bits(self) -> u16 {
        self.0
    }
}

/// What to do when corruption is met (`s_errors`, the option `errors=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// Carry on.
    Continue,
    /// Allow no more writing. Also what unknown values mean.
    RemountRo,
    /// Panic the machine.
    Panic,
}

impl OnError {
    /// The policy that `s_errors` stands for.
    #[inline]
    pub const fn from_raw(errors: u16) -> Self {
        match errors {
            1 => Self::Continue,
            3 => Self::Panic,
            _ => Self::RemountRo,
        }
    }
}

/// `s_default_mount_opts`: options that are on unless the mount says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultOpts(u32);

impl DefaultOpts {
    /// Wraps the field as it is on disk.
    #[inline]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// `debug`.
    pub const DEBUG: u32 = 0x0001;
    /// `grpid` (`bsdgroups`).
    pub const BSDGROUPS: u32 = 0x0002;
    /// `user_xattr`.
    pub const XATTR_USER: u32 = 0x0004;
    /// `acl`.
    pub const ACL: u32 = 0x0008;
    /// `nouid32`.
    pub const UID16: u32 = 0x0010;
    /// Mask of the `data=` mode: 0 none, then journal, ordered, writeback in steps of 0x20.
    pub const JMODE: u32 = 0x0060;
    /// `data=journal`.
    pub const JMODE_DATA: u32 = 0x0020;
    /// `data=ordered`.
    pub const JMODE_ORDERED: u32 = 0x0040;
    /// `data=writeback`.
    pub const JMODE_WBACK: u32 = 0x0060;
    /// `nobarrier`.
    pub const NOBARRIER: u32 = 0x0100;
    /// `block_validity`.
    pub const BLOCK_VALIDITY: u32 = 0x0200;
    /// `discard`.
    pub const DISCARD: u32 = 0x0400;
    /// `nodelalloc`.
    pub const NODELALLOC: u32 = 0x0800;

    /// Whether all bits of `mask` are set.
    #[inline]
    pub const fn contains(self, mask: u32) -> bool {
        self.0 & mask == mask
    }

    /// The field as it is on disk.
    #[inline]
    pub const fn bits(self) -> u32 {
        self.0
    }
}

/// One entry of the error record: the first, or the latest, error since e2fsck last ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorEntry<'a> {
    /// When, in seconds since 1970; 0 if there was none.
    pub time: u64,
    /// The inode concerned, 0 for none.
    pub ino: u32,
    /// The physical block concerned, 0 for none.
    pub block: u64,
    /// The function that found it, without the padding.
    pub func: &'a [u8],
    /// The source line that found it.
    pub line: u32,
    /// The error in ext4's own numbering (`EXT4_ERR_*`), 0 for unknown.
    pub errcode: u8,
}
