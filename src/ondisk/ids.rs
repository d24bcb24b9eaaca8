// SPDX-License-Identifier: GPL-2.0

//! Block, inode and group numbers as distinct types.
//!
//! A number that stands in one of these types has a meaning; whether it is in range is the
//! business of `Geometry`, whose `check_*` functions are where numbers from disk become
//! [`FsBlock`], [`Ino`] or [`Group`].

use core::num::NonZeroU32;

/// A physical block of the file system, in file system blocks from the start of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FsBlock(u64);

impl FsBlock {
    /// Wraps a block number that the caller has checked against the geometry.
    #[inline]
    pub const fn new(block: u64) -> Self {
        Self(block)
    }

    /// The number, in blocks.
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The block `n` blocks further on, or `None` on overflow.
    #[inline]
    pub const fn checked_add(self, n: u64) -> Option<Self> {
        match self.0.checked_add(n) {
            Some(b) => Some(Self(b)),
            None => None,
        }
    }
}

/// A logical block of a file, in file system blocks from the start of the file.
///
/// ext4 files have at most 2^32 - 1 blocks; `u32::MAX` itself is never mapped
/// (`EXT_MAX_BLOCKS`) and serves as the end of the last range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileBlock(u32);

impl FileBlock {
    /// The first block of a file.
    pub const ZERO: Self = Self(0);
    /// The end of the block space: one past the last block that can be mapped.
    pub const END: Self = Self(u32::MAX);

    /// Wraps a logical block number.
    #[inline]
    pub const fn new(block: u32) -> Self {
        Self(block)
    }

    /// The number, in blocks.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The block `n` blocks further on, clamped to [`FileBlock::END`].
    #[inline]
    pub const fn saturating_add(self, n: u32) -> Self {
        Self(self.0.saturating_add(n))
    }

    /// Blocks from `self` up to `end`, 0 when `end` is not above `self`.
    #[inline]
    pub const fn distance_to(self, end: Self) -> u32 {
        end.0.saturating_sub(self.0)
    }
}

/// An inode number; 0 means "no inode" on disk and cannot be held here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(NonZeroU32);

impl Ino {
    /// The root directory, always inode 2.
    pub const ROOT: Self = Self(NonZeroU32::MIN.saturating_add(1));

    /// Wraps a number, `None` for 0.
    #[inline]
    pub const fn new(ino: u32) -> Option<Self> {
        match NonZeroU32::new(ino) {
            Some(n) => Some(Self(n)),
            None => None,
        }
    }

    /// The number.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

/// A block group's number, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(u32);

impl Group {
    /// Wraps a group number that the caller has checked against the geometry.
    #[inline]
    pub const fn new(group: u32) -> Self {
        Self(group)
    }

    /// The number.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }
}
