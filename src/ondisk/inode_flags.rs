// SPDX-License-Identifier: GPL-2.0

//! `i_mode`'s file type and `i_flags`.
//!
//! Format: `Documentation/filesystems/ext4/inodes.rst`, "i_mode" and "i_flags".

/// The type of a file, by the upper four bits of `i_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileType {
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice,
    /// A directory.
    Directory,
    /// A block device.
    BlockDevice,
    /// A regular file.
    Regular,
    /// A symbolic link.
    Symlink,
    /// A socket.
    Socket,
}

impl FileType {
    /// The type that `i_mode` stands for, `None` for a value that is none.
    #[inline]
    pub const fn from_mode(mode: u16) -> Option<Self> {
        Some(match mode >> 12 {
            0x1 => Self::Fifo,
            0x2 => Self::CharDevice,
            0x4 => Self::Directory,
            0x6 => Self::BlockDevice,
            0x8 => Self::Regular,
            0xa => Self::Symlink,
            0xc => Self::Socket,
            _ => return None,
        })
    }

    /// Whether files of this type have a block map (regular files, directories, and symbolic
    /// links that do not fit the inode).
    #[inline]
    pub const fn has_map(self) -> bool {
        matches!(self, Self::Directory | Self::Regular | Self::Symlink)
    }

    /// Whether this is a character or block device.
    #[inline]
    pub const fn is_device(self) -> bool {
        matches!(self, Self::CharDevice | Self::BlockDevice)
    }
}

/// The flags of an inode (`i_flags`); the same bits as those of `FS_IOC_GETFLAGS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct InodeFlags(u32);

macro_rules! flags {
    ($( $(#[$doc:meta])* $name:ident = $value:literal, )*) => {
        impl InodeFlags {
            $( $(#[$doc])* pub const $name: Self = Self($value); )*
        }
    };
}

flags! {
    /// Wanted: secure deletion. Kept, without effect.
    SECRM = 0x0000_0001,
    /// Wanted: undelete. Kept, without effect.
    UNRM = 0x0000_0002,
    /// Wanted: compression. Kept, without effect.
    COMPR = 0x0000_0004,
    /// Writes are synchronous.
    SYNC = 0x0000_0008,
    /// The file may not be changed.
    IMMUTABLE = 0x0000_0010,
    /// The file may only grow.
    APPEND = 0x0000_0020,
    /// dump(8) leaves the file out.
    NODUMP = 0x0000_0040,
    /// The access time is not kept.
    NOATIME = 0x0000_0080,
    /// Compression, not in mainline.
    DIRTY = 0x0000_0100,
    /// Compression, not in mainline.
    COMPRBLK = 0x0000_0200,
    /// Compression, not in mainline.
    NOCOMPR = 0x0000_0400,
    /// The file is encrypted.
    ENCRYPT = 0x0000_0800,
    /// The directory has a hash tree.
    INDEX = 0x0000_1000,
    /// "AFS directory", without effect.
    IMAGIC = 0x0000_2000,
    /// The file's data goes through the journal.
    JOURNAL_DATA = 0x0000_4000,
    /// No tail merging. Kept, without effect.
    NOTAIL = 0x0000_8000,
    /// Changes to the directory are synchronous.
    DIRSYNC = 0x0001_0000,
    /// The top of a directory hierarchy, to be spread over the disk.
    TOPDIR = 0x0002_0000,
    /// `i_blocks` counts file system blocks.
    HUGE_FILE = 0x0004_0000,
    /// The file is mapped by extents.
    EXTENTS = 0x0008_0000,
    /// fs-verity protects the file.
    VERITY = 0x0010_0000,
    /// The inode holds the value of an extended attribute.
    EA_INODE = 0x0020_0000,
    /// Blocks are allocated beyond the size; no longer set.
    EOFBLOCKS = 0x0040_0000,
    /// Direct access to persistent memory is wanted.
    DAX = 0x0200_0000,
    /// The contents are in the inode.
    INLINE_DATA = 0x1000_0000,
    /// New files in the directory inherit its project.
    PROJINHERIT = 0x2000_0000,
    /// Names in the directory are case-insensitive.
    CASEFOLD = 0x4000_0000,
    /// Reserved for e2fsprogs.
    RESERVED = 0x8000_0000,
}

impl InodeFlags {
    /// What FS_IOC_GETFLAGS may show to user space.
    pub const USER_VISIBLE: Self = Self(
        Self::USER_MODIFIABLE.0
            | Self::DIRTY.0
            | Self::COMPRBLK.0
            | Self::NOCOMPR.0
            | Self::ENCRYPT.0
            | Self::INDEX.0
            | Self::VERITY.0
            | Self::INLINE_DATA.0,
    );
    /// What FS_IOC_SETFLAGS accepts (if only to check that it does not change).
    pub const USER_MODIFIABLE: Self = Self(
        Self::SECRM.0
            | Self::UNRM.0
            | Self::COMPR.0
            | Self::SYNC.0
            | Self::IMMUTABLE.0
            | Self::APPEND.0
            | Self::NODUMP.0
            | Self::NOATIME.0
            | Self::JOURNAL_DATA.0
            | Self::NOTAIL.0
            | Self::DIRSYNC.0
            | Self::TOPDIR.0
            | Self::EXTENTS.0
            | Self::EOFBLOCKS.0
            | Self::DAX.0
            | Self::PROJINHERIT.0
            | Self::CASEFOLD.0,
    );

    /// Wraps the field as it is on disk, unknown bits included.
    #[inline]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The field as it is on disk.
    #[inline]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all bits of `other` are set.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any bit of `other` is set.
    #[inline]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets together.
    #[inline]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The bits that both sets have.
    #[inline]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}
