// SPDX-License-Identifier: GPL-2.0

//! The feature words of the superblock.
//!
//! Three sets of bits say what a driver must know before it may touch the file system:
//! `compat` (may be ignored), `incompat` (unknown bits forbid mounting) and `ro_compat`
//! (unknown bits forbid writing). [`Features`] holds the three words as they are on disk;
//! [`Features::unsupported_incompat`] and [`Features::unsupported_ro_compat`] hold the policy of
//! what rext4 can read and write today, and name the first feature that stands in the way.
//!
//! Names are those of e2fsprogs (`dumpe2fs`, `mkfs.ext4 -O`), so that a message can be acted on;
//! a bit without a name is called `FEATURE_I13` and so on, as e2fsprogs calls it.
//!
//! Format: `Documentation/filesystems/ext4/super.rst`, "s_feature_compat" and following.

macro_rules! feature_word {
    (
        $(#[$doc:meta])* $word:ident, $field:ident, $letter:literal;
        $( $(#[$bitdoc:meta])* $bit:ident = $value:literal $name:literal, )*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[repr(transparent)]
        pub struct $word(u32);

        impl $word {
            $( $(#[$bitdoc])* pub const $bit: Self = Self($value); )*

            /// Wraps a word as it is on disk, unknown bits included.
            #[inline]
            pub const fn from_bits(bits: u32) -> Self {
                Self(bits)
            }

            /// The word as it is on disk.
            #[inline]
            pub const fn bits(self) -> u32 {
                self.0
            }

            /// Whether all bits of `other` are set.
            #[inline]
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Both sets together.
            #[inline]
            pub const fn union(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// The bits of `self` that `other` does not have.
            #[inline]
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// Whether no bit is set.
            #[inline]
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// The name of the lowest set bit, `None` for an empty set.
            pub const fn first_name(self) -> Option<&'static str> {
                if self.0 == 0 {
                    return None;
                }
                Some(match self.0 & self.0.wrapping_neg() {
                    $( $value => $name, )*
                    other => unnamed!($letter, other),
                })
            }

            /// The names of all set bits, lowest first.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                let mut rest = self;
                core::iter::from_fn(move || {
                    let name = rest.first_name()?;
                    rest.0 &= rest.0.wrapping_sub(1);
                    Some(name)
                })
            }
        }

        impl Feature for $word {
            #[inline]
            fn is_in(self, features: &Features) -> bool {
                features.$field.contains(self)
            }
        }
    };
}

/// Bits that e2fsprogs has no name for.
macro_rules! unnamed {
    ($letter:literal, $bit:expr) => {
        match $bit.trailing_zeros() {
            0 => concat!("FEATURE_", $letter, "0"),
            1 => concat!("FEATURE_", $letter, "1"),
            2 => concat!("FEATURE_", $letter, "2"),
            3 => concat!("FEATURE_", $letter, "3"),
            4 => concat!("FEATURE_", $letter, "4"),
            5 => concat!("FEATURE_", $letter, "5"),
            6 => concat!("FEATURE_", $letter, "6"),
            7 => concat!("FEATURE_", $letter, "7"),
            8 => concat!("FEATURE_", $letter, "8"),
            9 => concat!("FEATURE_", $letter, "9"),
            10 => concat!("FEATURE_", $letter, "10"),
            11 => concat!("FEATURE_", $letter, "11"),
            12 => concat!("FEATURE_", $letter, "12"),
            13 => concat!("FEATURE_", $letter, "13"),
            14 => concat!("FEATURE_", $letter, "14"),
            15 => concat!("FEATURE_", $letter, "15"),
            16 => concat!("FEATURE_", $letter, "16"),
            17 => concat!("FEATURE_", $letter, "17"),
            18 => concat!("FEATURE_", $letter, "18"),
            19 => concat!("FEATURE_", $letter, "19"),
            20 => concat!("FEATURE_", $letter, "20"),
            21 => concat!("FEATURE_", $letter, "21"),
            22 => concat!("FEATURE_", $letter, "22"),
            23 => concat!("FEATURE_", $letter, "23"),
            24 => concat!("FEATURE_", $letter, "24"),
            25 => concat!("FEATURE_", $letter, "25"),
            26 => concat!("FEATURE_", $letter, "26"),
            27 => concat!("FEATURE_", $letter, "27"),
            28 => concat!("FEATURE_", $letter, "28"),
            29 => concat!("FEATURE_", $letter, "29"),
            30 => concat!("FEATURE_", $letter, "30"),
            _ => concat!("FEATURE_", $letter, "31"),
        }
    };
}

/// A bit, or a set of bits, of one of the three words; lets [`Features::has`] take any of them.
pub trait Feature: Copy {
    /// Whether all of these bits are set in `features`.
    fn is_in(self, features: &Features) -> bool;
}

feature_word! {
    /// Features that a driver may ignore (`s_feature_compat`).
    Compat, compat, "C";
    /// Directory preallocation; no effect.
    DIR_PREALLOC = 0x0001 "dir_prealloc",
    /// "AFS inodes"; no effect.
    IMAGIC_INODES = 0x0002 "imagic_inodes",
    /// There is a journal: inode `s_journal_inum`, or a device.
    HAS_JOURNAL = 0x0004 "has_journal",
    /// Extended attributes are in use.
    EXT_ATTR = 0x0008 "ext_attr",
    /// Blocks are reserved behind the group descriptors for growth.
    RESIZE_INODE = 0x0010 "resize_inode",
    /// Directories may have hash trees.
    DIR_INDEX = 0x0020 "dir_index",
    /// Was never in a kernel.
    LAZY_BG = 0x0040 "lazy_bg",
    /// Was never in a mainline kernel.
    EXCLUDE_BITMAP = 0x0100 "exclude_bitmap",
    /// At most two backup superblocks, in the groups of `s_backup_bgs`.
    SPARSE_SUPER2 = 0x0200 "sparse_super2",
    /// The journal may have a fast commit area.
    FAST_COMMIT = 0x0400 "fast_commit",
    /// Inode numbers and the UUID must not change (encryption policies depend on them).
    STABLE_INODES = 0x0800 "stable_inodes",
    /// Orphans are kept in the file `s_orphan_file_inum`.
    ORPHAN_FILE = 0x1000 "orphan_file",
}

feature_word! {
    /// Features without which a driver must not mount (`s_feature_incompat`).
    Incompat, incompat, "I";
    /// Compressed files; was never in a mainline kernel.
    COMPRESSION = 0x0001 "compression",
    /// Directory entries carry a file type.
    FILETYPE = 0x0002 "filetype",
    /// The journal must be replayed.
    RECOVER = 0x0004 "needs_recovery",
    /// This is a journal device, not a file system.
    JOURNAL_DEV = 0x0008 "journal_dev",
    /// Group descriptors are spread over meta groups.
    META_BG = 0x0010 "meta_bg",
    /// Files may use extents.
    EXTENTS = 0x0040 "extent",
    /// Block numbers may need more than 32 bits; descriptors may have 64 bytes.
    BIT64 = 0x0080 "64bit",
    /// Multiple mount protection.
    MMP = 0x0100 "mmp",
    /// A group's bitmaps and inode table may be in another group.
    FLEX_BG = 0x0200 "flex_bg",
    /// Large extended attributes are inodes.
    EA_INODE = 0x0400 "ea_inode",
    /// Data in directory entries (Lustre); not in a mainline kernel.
    DIRDATA = 0x1000 "dirdata",
    /// The checksum seed is stored in the superblock instead of made from the UUID.
    CSUM_SEED = 0x2000 "metadata_csum_seed",
    /// Directories above 2 GiB and hash trees of three levels.
    LARGEDIR = 0x4000 "large_dir",
    /// Small files and directories may live in the inode.
    INLINE_DATA = 0x8000 "inline_data",
    /// Encrypted files.
    ENCRYPT = 0x10000 "encrypt",
    /// Case-insensitive directories.
    CASEFOLD = 0x20000 "casefold",
}

feature_word! {
    /// Features without which a driver may only read (`s_feature_ro_compat`).
    RoCompat, ro_compat, "R";
    /// Backups in groups 0, 1 and powers of 3, 5 and 7 only.
    SPARSE_SUPER = 0x0001 "sparse_super",
    /// A file of 2 GiB or more may exist.
    LARGE_FILE = 0x0002 "large_file",
    /// Was never used.
    BTREE_DIR = 0x0004 "btree_dir",
    /// `i_blocks` has 48 bits and may count file system blocks.
    HUGE_FILE = 0x0008 "huge_file",
    /// Group descriptors have a CRC-16, and groups may be uninitialised.
    GDT_CSUM = 0x0010 "uninit_bg",
    /// Directories may have more than 65000 subdirectories (their link count is then 1).
    DIR_NLINK = 0x0020 "dir_nlink",
    /// Inodes have a minimum of extra fields.
    EXTRA_ISIZE = 0x0040 "extra_isize",
    /// Was never in a mainline kernel.
    HAS_SNAPSHOT = 0x0080 "has_snapshot",
    /// Quota files are hidden inodes, always kept up to date.
    QUOTA = 0x0100 "quota",
    /// The bitmaps count clusters of several blocks.
    BIGALLOC = 0x0200 "bigalloc",
    /// All metadata has CRC-32C checksums.
    METADATA_CSUM = 0x0400 "metadata_csum",
    /// Was never in a mainline kernel.
    REPLICA = 0x0800 "replica",
    /// The file system must not be written.
    READONLY = 0x1000 "read-only",
    /// Project quotas.
    PROJECT = 0x2000 "project",
    /// Blocks may be shared between files (Android's read-only images).
    SHARED_BLOCKS = 0x4000 "shared_blocks",
    /// Files with fs-verity may exist.
    VERITY = 0x8000 "verity",
    /// The orphan file may have entries.
    ORPHAN_PRESENT = 0x10000 "orphan_present",
}

/// What rext4 knows how to read. Absent: encrypt and casefold (not built yet), and what no
/// mainline kernel ever had.
const READABLE_INCOMPAT: Incompat = Incompat::FILETYPE
    .union(Incompat::RECOVER)
    .union(Incompat::META_BG)
    .union(Incompat::EXTENTS)
    .union(Incompat::BIT64)
    .union(Incompat::MMP)
    .union(Incompat::FLEX_BG)
    .union(Incompat::EA_INODE)
    .union(Incompat::CSUM_SEED)
    .union(Incompat::LARGEDIR)
    .union(Incompat::INLINE_DATA);

/// What does not stand in the way of writing; the same set as ext4's.
const WRITABLE_RO_COMPAT: RoCompat = RoCompat::SPARSE_SUPER
    .union(RoCompat::LARGE_FILE)
    .union(RoCompat::BTREE_DIR)
    .union(RoCompat::HUGE_FILE)
    .union(RoCompat::GDT_CSUM)
    .union(RoCompat::DIR_NLINK)
    .union(RoCompat::EXTRA_ISIZE)
    .union(RoCompat::QUOTA)
    .union(RoCompat::BIGALLOC)
    .union(RoCompat::METADATA_CSUM)
    .union(RoCompat::PROJECT)
    .union(RoCompat::VERITY)
    .union(RoCompat::ORPHAN_PRESENT);

/// The three feature words of one file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Features that a driver may ignore.
    pub compat: Compat,
    /// Features without which a driver must not mount.
    pub incompat: Incompat,
    /// Features without which a driver may only read.
    pub ro_compat: RoCompat,
}

impl Features {
    /// Whether the feature (or all features of the set) is on.
    #[inline]
    pub fn has<F: Feature>(&self, feature: F) -> bool {
        feature.is_in(self)
    }

    /// Whether group descriptors have a checksum, of either kind.
    #[inline]
    pub fn has_group_csum(&self) -> bool {
        self.has(RoCompat::METADATA_CSUM) || self.has(RoCompat::GDT_CSUM)
    }

    /// The name of the first feature that forbids mounting, `None` if there is none.
    pub fn unsupported_incompat(&self) -> Option<&'static str> {
        self.incompat.without(READABLE_INCOMPAT).first_name()
    }

    /// The name of the first feature that forbids writing, `None` if there is none. The
    /// `read-only` bit itself is among them: ext4 mounts such an image read-only.
    pub fn unsupported_ro_compat(&self) -> Option<&'static str> {
        self.ro_compat.without(WRITABLE_RO_COMPAT).first_name()
    }

    /// The name of the first feature that ext4 can write and rext4 cannot yet: quotas would have to
    /// be kept up to date, and another machine that has the file system mounted (multiple mount
    /// protection) be noticed.
    pub fn not_written_yet(&self) -> Option<&'static str> {
        let incompat = Incompat::from_bits(self.incompat.bits() & Incompat::MMP.bits());
        let ro_compat = RoCompat::from_bits(self.ro_compat.bits() & RoCompat::QUOTA.bits());
        incompat.first_name().or(ro_compat.first_name())
    }

    /// Whether the driver of ext2 could mount this, read-only or (as far as it is known there)
    /// writable.
    pub fn are_of_ext2(&self, rdonly: bool) -> bool {
        let incompat = Incompat::FILETYPE.union(Incompat::META_BG);
        self.are_among(incompat, rdonly)
    }

    /// The same for ext3, which always has a journal.
    pub fn are_of_ext3(&self, rdonly: bool) -> bool {
        let incompat = Incompat::FILETYPE
            .union(Incompat::META_BG)
            .union(Incompat::RECOVER);
        self.has(Compat::HAS_JOURNAL) && self.are_among(incompat, rdonly)
    }

    fn are_among(&self, incompat: Incompat, rdonly: bool) -> bool {
        let ro_compat = RoCompat::SPARSE_SUPER
            .union(RoCompat::LARGE_FILE)
            .union(RoCompat::BTREE_DIR);
        self.incompat.without(incompat).is_empty()
            && (rdonly || self.ro_compat.without(ro_compat).is_empty())
    }

    /// Whether any bit of any word is set (a revision 0 file system should have none).
    pub fn is_empty(&self) -> bool {
        self.compat.is_empty() && self.incompat.is_empty() && self.ro_compat.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_bits_are_named_by_their_number() {
        assert_eq!(
            Incompat::from_bits(1 << 31).first_name(),
            Some("FEATURE_I31")
        );
        assert_eq!(
            RoCompat::from_bits(1 << 20).first_name(),
            Some("FEATURE_R20")
        );
        assert_eq!(Compat::from_bits(1 << 7).first_name(), Some("FEATURE_C7"));
        assert_eq!(Compat::default().first_name(), None);
    }

    #[test]
    fn policy_names_the_first_obstacle() {
        let mut f = Features::default();
        assert_eq!(f.unsupported_incompat(), None);
        f.incompat = READABLE_INCOMPAT;
        assert_eq!(f.unsupported_incompat(), None);
        for (bit, name) in [
            (Incompat::COMPRESSION, "compression"),
            (Incompat::JOURNAL_DEV, "journal_dev"),
            (Incompat::DIRDATA, "dirdata"),
            (Incompat::ENCRYPT, "encrypt"),
            (Incompat::CASEFOLD, "casefold"),
            (Incompat::from_bits(0x800), "FEATURE_I11"),
        ] {
            f.incompat = READABLE_INCOMPAT.union(bit);
            assert_eq!(f.unsupported_incompat(), Some(name));
        }
        f.incompat = Incompat::ENCRYPT.union(Incompat::CASEFOLD);
        assert_eq!(f.unsupported_incompat(), Some("encrypt"));
        f.ro_compat = WRITABLE_RO_COMPAT.union(RoCompat::READONLY);
        assert_eq!(f.unsupported_ro_compat(), Some("read-only"));
        f.ro_compat = WRITABLE_RO_COMPAT.union(RoCompat::SHARED_BLOCKS);
        assert_eq!(f.unsupported_ro_compat(), Some("shared_blocks"));
    }

    #[test]
    fn what_is_not_written_yet_has_a_name() {
        let mut f = Features {
            compat: Compat::HAS_JOURNAL,
            incompat: READABLE_INCOMPAT.without(Incompat::MMP),
            ro_compat: WRITABLE_RO_COMPAT.without(RoCompat::QUOTA),
        };
        assert_eq!(f.not_written_yet(), None);
        f.ro_compat = WRITABLE_RO_COMPAT;
        assert_eq!(f.not_written_yet(), Some("quota"));
        f.incompat = READABLE_INCOMPAT;
        assert_eq!(f.not_written_yet(), Some("mmp"));
    }

    #[test]
    fn names_come_lowest_bit_first() {
        let set = Incompat::FILETYPE
            .union(Incompat::EXTENTS)
            .union(Incompat::BIT64);
        let names: Vec<_> = set.names().collect();
        assert_eq!(names, ["filetype", "extent", "64bit"]);
    }
}
