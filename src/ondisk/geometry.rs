// SPDX-License-Identifier: GPL-2.0

//! The shape of a file system: sizes, counts and where things are.
//!
//! A [`Geometry`] is made once per mount from a superblock that has passed verification
//! (`superblock.rs`, `geometry_check.rs`) and never changes. It is where numbers from disk become
//! [`FsBlock`], [`Ino`] and [`Group`]; nothing else in rext4 does arithmetic on raw block numbers
//! before one of the `check_*` functions has seen them.
//!
//! Invariants (established by `Geometry::new`, relied upon below):
//! - block size 1 KiB..64 KiB, a power of two; inode and descriptor sizes are powers of two that
//!   divide it; cluster size is block size << cluster bits, cluster bits <= 18;
//! - 8 <= inodes per group <= 8 * block size, a multiple of the inodes in a block;
//! - 8 <= clusters per group <= 8 * block size; blocks per group is that << cluster bits, in 32
//!   bits;
//! - first data block < blocks count, and blocks count << block bits is a byte count in 63 bits;
//! - groups count is what follows from the three, in 32 bits; inodes count is groups * inodes per
//!   group, in 32 bits;
//! - all descriptor blocks are on the device.
//!
//! Format: `Documentation/filesystems/ext4/{super,blockgroup,group_descr}.rst`.

use core::num::NonZeroU32;

use super::crc::crc32c;
use super::features::{Compat, Feature, Features, Incompat, RoCompat};
use super::{FsBlock, Group, Ino};

/// The most links a file may have, and a directory unless `dir_nlink` is on.
pub const LINK_MAX: u32 = 65000;

/// Where an inode is: which group, and where in the group's inode table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InodeLocation {
    /// The group whose inode table holds the inode.
    pub group: Group,
    /// The inode's number within the group, from 0 (its bit in the inode bitmap).
    pub index: u32,
    /// The block, counted from the start of the group's inode table.
    pub block: u32,
    /// The offset of the inode in that block, in bytes.
    pub offset: u32,
}

/// Immutable facts of a mounted file system; see the module's head.
#[derive(Clone, Debug)]
pub struct Geometry {
    pub(super) features: Features,
    pub(super) blocks_count: u64,
    pub(super) max_extent_bytes: u64,
    pub(super) max_indirect_bytes: u64,
    /// The block that holds the superblock which was used (for `sb=`, a backup).
    pub(super) sb_block: u64,
    pub(super) first_data_block: u32,
    pub(super) blocks_per_group: NonZeroU32,
    pub(super) clusters_per_group: NonZeroU32,
    pub(super) groups_count: u32,
    pub(super) inodes_count: u32,
    pub(super) inodes_per_group: NonZeroU32,
    pub(super) itable_blocks: u32,
    pub(super) gdt_blocks: u32,
    /// `s_first_meta_bg` clamped to `gdt_blocks`; equal to it without `meta_bg`.
    pub(super) first_meta_bg: u32,
    pub(super) reserved_gdt_blocks: u16,
    pub(super) first_ino: u32,
    pub(super) inode_size: u16,
    pub(super) want_extra_isize: u16,
    pub(super) min_extra_isize: u16,
    pub(super) desc_size: u16,
    pub(super) block_bits: u8,
    pub(super) inode_size_bits: u8,
    pub(super) desc_size_bits: u8,
    pub(super) cluster_bits: u8,
    pub(super) flex_bits: u8,
    pub(super) def_hash_version: u8,
    pub(super) hash_unsigned: bool,
    pub(super) hurd: bool,
    pub(super) inode_csums: bool,
    pub(super) hash_seed: [u32; 4],
    pub(super) backup_groups: [u32; 2],
    /// User, group and project quota and orphan file inodes, 0 for none.
    pub(super) hidden_inos: [u32; 4],
    pub(super) csum_seed: Option<u32>,
    pub(super) ea_seed: u32,
    /// CRC-16 of the UUID, the start of every descriptor checksum under `gdt_csum` alone.
    pub(super) group_crc16: Option<u16>,
    pub(super) uuid: [u8; 16],
}

impl Geometry {
    /// Size of a block, in bytes: 1024 to 65536.
    #[inline]
    pub fn block_size(&self) -> u32 {
        1u32.wrapping_shl(self.block_bits.into())
    }

    /// log2 of the block size: 10 to 16.
    #[inline]
    pub fn block_bits(&self) -> u32 {
        self.block_bits.into()
    }

    /// Blocks on the file system, the blocks before the first data block included.
    #[inline]
    pub fn blocks_count(&self) -> u64 {
        self.blocks_count
    }

    /// The block at which group 0 begins: 1 for 1 KiB blocks without bigalloc, else 0.
    #[inline]
    pub fn first_data_block(&self) -> u32 {
        self.first_data_block
    }

    /// The block that holds the superblock that was used at mount.
    #[inline]
    pub fn sb_block(&self) -> FsBlock {
        FsBlock::new(self.sb_block)
    }

    /// Blocks in every group but the last.
    #[inline]
    pub fn blocks_per_group(&self) -> NonZeroU32 {
        self.blocks_per_group
    }

    /// Clusters in every group but the last: the bits in use of a full block bitmap.
    #[inline]
    pub fn clusters_per_group(&self) -> NonZeroU32 {
        self.clusters_per_group
    }

    /// log2 of the blocks in a cluster, the unit of allocation: 0 without bigalloc.
    #[inline]
    pub fn cluster_bits(&self) -> u32 {
        self.cluster_bits.into()
    }

    /// Blocks in a cluster: 1 without bigalloc.
    #[inline]
    pub fn cluster_ratio(&self) -> u32 {
        1u32.wrapping_shl(self.cluster_bits.into())
    }

    /// Number of groups.
    #[inline]
    pub fn groups_count(&self) -> u32 {
        self.groups_count
    }

    /// Number of inodes, and the highest inode number.
    #[inline]
    pub fn inodes_count(&self) -> u32 {
        self.inodes_count
    }

    /// Inodes in every group.
    #[inline]
    pub fn inodes_per_group(&self) -> NonZeroU32 {
        self.inodes_per_group
    }

    /// log2 of the inodes in a block.
    #[inline]
    pub fn inodes_per_block_bits(&self) -> u32 {
        u32::from(self.block_bits).saturating_sub(self.inode_size_bits.into())
    }

    /// Size of an inode on disk, in bytes: 128 up to the block size, a power of two.
    #[inline]
    pub fn inode_size(&self) -> u16 {
        self.inode_size
    }

    /// Bytes that a new inode reserves for fields beyond the first 128.
    #[inline]
    pub fn want_extra_isize(&self) -> u16 {
        self.want_extra_isize
    }

    /// Bytes for such fields that inodes should have where there is no room for more: at most
    /// [`want_extra_isize`](Self::want_extra_isize), 0 if the superblock does not say.
    #[inline]
    pub fn min_extra_isize(&self) -> u16 {
        self.min_extra_isize
    }

    /// Blocks of a group's inode table.
    #[inline]
    pub fn itable_blocks_per_group(&self) -> u32 {
        self.itable_blocks
    }

    /// Size of a group descriptor, in bytes: 32, or 64 to 1024 with `64bit`.
    #[inline]
    pub fn desc_size(&self) -> u16 {
        self.desc_size
    }

    /// log2 of the descriptors in a block.
    #[inline]
    pub fn descs_per_block_bits(&self) -> u32 {
        u32::from(self.block_bits).saturating_sub(self.desc_size_bits.into())
    }

    /// Group descriptors in a block.
    #[inline]
    pub fn descs_per_block(&self) -> u32 {
        1u32.wrapping_shl(self.descs_per_block_bits())
    }

    /// Blocks that all group descriptors together take (one copy).
    #[inline]
    pub fn gdt_blocks(&self) -> u32 {
        self.gdt_blocks
    }

    /// Blocks reserved behind each copy of the descriptors, for growth.
    #[inline]
    pub fn reserved_gdt_blocks(&self) -> u32 {
        self.reserved_gdt_blocks.into()
    }

    /// log2 of the groups in a flex group: 0 without `flex_bg`.
    #[inline]
    pub fn flex_bits(&self) -> u32 {
        self.flex_bits.into()
    }

    /// The first inode that is not reserved, 11 or more.
    #[inline]
    pub fn first_ino(&self) -> u32 {
        self.first_ino
    }

    /// The groups that `sparse_super2` names for copies of the superblock, 0 for none.
    #[inline]
    pub fn backup_groups(&self) -> [u32; 2] {
        self.backup_groups
    }

    /// The feature words.
    #[inline]
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// Whether a feature is on.
    #[inline]
    pub fn has<F: Feature>(&self, feature: F) -> bool {
        self.features.has(feature)
    }

    /// Whether the file system was made for the Hurd, which uses some inode fields otherwise.
    #[inline]
    pub fn hurd(&self) -> bool {
        self.hurd
    }

    /// The file system's UUID.
    #[inline]
    pub fn uuid(&self) -> &[u8; 16] {
        &self.uuid
    }

    /// The value that all metadata checksums start from; `None` without `metadata_csum`.
    #[inline]
    pub fn csum_seed(&self) -> Option<u32> {
        self.csum_seed
    }

    /// The value that the hash of an EA inode's contents starts from. Needed by `ea_inode` even
    /// where there are no checksums.
    #[inline]
    pub fn ea_hash_seed(&self) -> u32 {
        self.ea_seed
    }

    /// What the checksums of blocks that belong to inode `ino` of this generation start from;
    /// `None` without `metadata_csum`.
    #[inline]
    pub fn inode_seed(&self, ino: Ino, generation: u32) -> Option<u32> {
        let seed = self.csum_seed?;
        let key = (u64::from(generation) << 32) | u64::from(ino.get());
        Some(crc32c(seed, &key.to_le_bytes()))
    }

    /// Whether inodes have checksums: `metadata_csum` on a file system in Linux' inode layout.
    #[inline]
    pub fn has_inode_csums(&self) -> bool {
        self.inode_csums
    }

    /// What the checksum of every group descriptor starts from under `gdt_csum` without
    /// `metadata_csum` (CRC-16), `None` otherwise.
    #[inline]
    pub fn group_crc16_seed(&self) -> Option<u16> {
        self.group_crc16
    }

    /// The secret of the directory hashes.
    #[inline]
    pub fn hash_seed(&self) -> &[u32; 4] {
        &self.hash_seed
    }

    /// The hash for new indexed directories, as stored: 0 legacy, 1 half MD4, 2 TEA, or 3 to 5
    /// for their unsigned forms.
    #[inline]
    pub fn def_hash_version(&self) -> u8 {
        self.def_hash_version
    }

    /// Whether hash versions 0 to 2 mean their unsigned forms here. Without a flag in the
    /// superblock the answer is that of the kernel, which builds with unsigned `char`.
    #[inline]
    pub fn hash_unsigned(&self) -> bool {
        self.hash_unsigned
    }

    /// A block number from disk, if it is on the file system.
    #[inline]
    pub fn check_block(&self, block: u64) -> Option<FsBlock> {
        (block >= self.first_data_block.into() && block < self.blocks_count)
            .then(|| FsBlock::new(block))
    }

    /// The start of a run of `len` blocks from disk, if the run is not empty and all of it is on
    /// the file system.
    #[inline]
    pub fn check_run(&self, start: u64, len: u32) -> Option<FsBlock> {
        let end = start.checked_add(len.into())?;
        (len != 0 && start >= self.first_data_block.into() && end <= self.blocks_count)
            .then(|| FsBlock::new(start))
    }

    /// An inode number from disk, if it is in `1..=inodes_count`.
    #[inline]
    pub fn check_ino(&self, ino: u32) -> Option<Ino> {
        if ino <= self.inodes_count {
            Ino::new(ino)
        } else {
            None
        }
    }

    /// A group number from disk, if there is such a group.
    #[inline]
    pub fn check_group(&self, group: u32) -> Option<Group> {
        (group < self.groups_count).then(|| Group::new(group))
    }

    /// Whether `ino` is one that no path may lead to: the reserved inodes except the root, and
    /// the quota and orphan files. Opening such an inode by handle or by directory entry is
    /// refused.
    #[inline]
    pub fn is_special_ino(&self, ino: Ino) -> bool {
        let n = ino.get();
        (n < self.first_ino && ino != Ino::ROOT) || self.hidden_inos.contains(&n)
    }

    /// Where inode `ino` is. The group exists if `ino` came from [`check_ino`](Self::check_ino).
    #[inline]
    pub fn inode_location(&self, ino: Ino) -> InodeLocation {
        let n = ino.get().wrapping_sub(1);
        let group = n / self.inodes_per_group;
        let index = n % self.inodes_per_group;
        let bits = self.inodes_per_block_bits();
        let in_block = index & 1u32.wrapping_shl(bits).wrapping_sub(1);
        InodeLocation {
            group: Group::new(group),
            index,
            block: index.wrapping_shr(bits),
            offset: in_block.wrapping_shl(self.inode_size_bits.into()),
        }
    }

    /// The inode of a bit of a group's inode bitmap; `None` beyond the last inode.
    #[inline]
    pub fn ino_at(&self, group: Group, index: u32) -> Option<Ino> {
        if index >= self.inodes_per_group.get() {
            return None;
        }
        let base = group.get().checked_mul(self.inodes_per_group.get())?;
        self.check_ino(base.checked_add(index)?.checked_add(1)?)
    }

    /// The block that holds the descriptor of `group`, and the offset in it in bytes. `None` for
    /// a group that does not exist.
    #[inline]
    pub fn desc_location(&self, group: Group) -> Option<(FsBlock, u32)> {
        self.check_group(group.get())?;
        let bits = self.descs_per_block_bits();
        let nr = group.get().wrapping_shr(bits);
        let in_block = group.get() & 1u32.wrapping_shl(bits).wrapping_sub(1);
        let offset = in_block.wrapping_shl(self.desc_size_bits.into());
        Some((self.gdt_block(nr)?, offset))
    }

    /// The `nr`-th block of group descriptors; `None` beyond [`gdt_blocks`](Self::gdt_blocks).
    pub fn gdt_block(&self, nr: u32) -> Option<FsBlock> {
        if nr >= self.gdt_blocks {
            return None;
        }
        let block = if nr < self.first_meta_bg {
            self.sb_block.checked_add(u64::from(nr).checked_add(1)?)?
        } else {
            let group = Group::new(nr.checked_shl(self.descs_per_block_bits())?);
            let mut skip = u64::from(self.group_has_super(group));
            if nr == 0 {
                skip = skip.checked_add(self.boot_block().into())?;
            }
            self.group_first_block(group).get().checked_add(skip)?
        };
        self.check_gdt(block)
    }

    /// Descriptors may stand below the first data block on odd (but mountable) images.
    #[inline]
    fn check_gdt(&self, block: u64) -> Option<FsBlock> {
        (block < self.blocks_count).then(|| FsBlock::new(block))
    }

    /// With 1 KiB blocks and a first data block of 0 (bigalloc), group 0 starts with the boot
    /// block and the superblock comes second: 1 in that case, else 0.
    #[inline]
    fn boot_block(&self) -> u32 {
        u32::from(self.block_bits == 10 && self.first_data_block == 0)
    }

    /// The first block of a group.
    #[inline]
    pub fn group_first_block(&self, group: Group) -> FsBlock {
        // At most (2^32 - 1)^2 + 2^32 - 1, which 64 bits hold.
        let offset = u64::from(group.get()).wrapping_mul(self.blocks_per_group.get().into());
        FsBlock::new(offset.wrapping_add(self.first_data_block.into()))
    }

    /// Blocks in a group, fewer in the last one; 0 for a group that does not exist.
    #[inline]
    pub fn group_blocks(&self, group: Group) -> u32 {
        let rest = self
            .blocks_count
            .saturating_sub(self.group_first_block(group).get());
        let full = self.blocks_per_group.get();
        u32::try_from(rest).map_or(full, |rest| rest.min(full))
    }

    /// Clusters in a group, a last one that is cut short included: the bits in use of its block
    /// bitmap.
    #[inline]
    pub fn group_clusters(&self, group: Group) -> u32 {
        let up = self.cluster_ratio().wrapping_sub(1);
        // Blocks and ratio - 1 together may need 33 bits.
        let blocks = u64::from(self.group_blocks(group)).wrapping_add(up.into());
        blocks.wrapping_shr(self.cluster_bits()) as u32
    }

    /// The group of a block, and the block's number within it.
    #[inline]
    pub fn block_location(&self, block: FsBlock) -> (Group, u32) {
        let n = block.get().saturating_sub(self.first_data_block.into());
        let per_group = core::num::NonZeroU64::from(self.blocks_per_group);
        // Both fit: groups are counted in 32 bits, and so are the blocks of a group.
        (Group::new((n / per_group) as u32), (n % per_group) as u32)
    }

    /// Whether `group` holds a superblock (the primary or a backup) and descriptors.
    pub fn group_has_super(&self, group: Group) -> bool {
        let g = group.get();
        if g == 0 {
            return true;
        }
        if self.has(Compat::SPARSE_SUPER2) {
            return self.backup_groups.contains(&g);
        }
        if g == 1 || !self.has(RoCompat::SPARSE_SUPER) {
            return true;
        }
        g & 1 == 1 && [3, 5, 7].into_iter().any(|base| is_power_of(g, base))
    }

    /// Blocks that a copy of the descriptors takes in `group`: 0 where there is none. With
    /// `meta_bg`, descriptors of a meta group are in its first, second and last group.
    pub fn group_desc_blocks(&self, group: Group) -> u32 {
        let bits = self.descs_per_block_bits();
        if group.get().wrapping_shr(bits) < self.first_meta_bg {
            return if self.group_has_super(group) {
                self.first_meta_bg
            } else {
                0
            };
        }
        let last = self.descs_per_block().wrapping_sub(1);
        let index = group.get() & last;
        u32::from(index == 0 || index == 1 || index == last)
    }

    /// Blocks at the head of a group that hold the superblock, the descriptors and the blocks
    /// reserved for more descriptors. Block bitmaps of uninitialised groups are made from it.
    pub fn base_meta_blocks(&self, group: Group) -> u32 {
        let sb = u32::from(self.group_has_super(group));
        let desc = self.group_desc_blocks(group);
        let in_meta = group.get().wrapping_shr(self.descs_per_block_bits()) >= self.first_meta_bg;
        let reserved = if sb == 1 && !in_meta {
            self.reserved_gdt_blocks.into()
        } else {
            0
        };
        // 1 + 2^28 + 2^14 at most.
        sb.saturating_add(desc).saturating_add(reserved)
    }

    /// The blocks at the head of a group that no file may use, clipped to the device: first block
    /// and length, `None` if there are none. Compared with
    /// [`base_meta_blocks`](Self::base_meta_blocks) this includes a boot block.
    pub fn base_meta_run(&self, group: Group) -> Option<(FsBlock, u32)> {
        self.check_group(group.get())?;
        let mut len = self.base_meta_blocks(group);
        if group.get() == 0 {
            len = len.saturating_add(self.boot_block());
        }
        let start = self.group_first_block(group);
        let room = self.blocks_count.saturating_sub(start.get());
        let len = u32::try_from(room).map_or(len, |room| len.min(room));
        (len != 0).then_some((start, len))
    }

    /// The largest size of an extent-mapped file, in bytes (`s_maxbytes` of the super block).
    #[inline]
    pub fn max_extent_bytes(&self) -> u64 {
        self.max_extent_bytes
    }

    /// The largest size of an indirect-mapped file, in bytes.
    #[inline]
    pub fn max_indirect_bytes(&self) -> u64 {
        self.max_indirect_bytes
    }

    /// Whether block numbers may need more than 32 bits.
    #[inline]
    pub fn is_64bit(&self) -> bool {
        self.has(Incompat::BIT64)
    }
}

/// Whether `n` is a power of `base` (base itself or higher).
fn is_power_of(n: u32, base: u32) -> bool {
    let mut power = base;
    while power < n {
        match power.checked_mul(base) {
            Some(next) => power = next,
            None => return false,
        }
    }
    power == n
}
