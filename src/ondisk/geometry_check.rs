// SPDX-License-Identifier: GPL-2.0

//! From a superblock to a [`Geometry`]: every check that stands between the numbers on disk and
//! arithmetic with them.
//!
//! The rules are those by which ext4 accepts a mount, so that the same images mount; the few that
//! are stricter concern images that no tool makes (bigalloc without extents or with a first data
//! block, descriptors beyond the end of the device). The invariants that result are listed at the
//! head of `geometry.rs`.

use core::num::{NonZeroU32, NonZeroU64};

use super::crc::{crc16, crc32c};
use super::features::{Compat, Features, Incompat, RoCompat};
use super::superblock::{RawGeometry, SuperError, Superblock};
use super::Geometry;

/// Inode size and first inode of revision 0, and the least of later ones.
const OLD_INODE_SIZE: u16 = 128;
const OLD_FIRST_INO: u32 = 11;
/// Bytes beyond the first 128 that rext4 has fields for (`i_projid` is the last).
const KNOWN_EXTRA_ISIZE: u16 = 32;
/// Descriptor sizes without and with `64bit`.
const DESC_SIZE: u16 = 32;
const MIN_DESC_SIZE_64: u16 = 64;
const MAX_DESC_SIZE: u16 = 1024;
/// Blocks that an indirect-mapped file addresses from its inode directly.
const NDIR_BLOCKS: u64 = 12;
/// The last directory hash that a superblock may name (unsigned TEA).
const LAST_HASH_VERSION: u8 = 5;
/// `s_flags`: directory hashes were made with signed, or unsigned, characters.
const FLAG_SIGNED_HASH: u32 = 0x0001;
const FLAG_UNSIGNED_HASH: u32 = 0x0002;

/// `value` if it is a power of two in `min..=max`, with its logarithm.
fn power_of_two(value: u16, min: u16, max: u32) -> Option<(u16, u8)> {
    let fits = value.is_power_of_two() && value >= min && u32::from(value) <= max;
    // A u16 has at most 16 trailing zeros.
    fits.then(|| (value, value.trailing_zeros() as u8))
}

/// Sizes of an inode and of the fields that new inodes have beyond the first 128 bytes.
struct InodeShape {
    first_ino: u32,
    size: u16,
    bits: u8,
    want_extra: u16,
    min_extra: u16,
}

impl InodeShape {
    fn new(sb: &Superblock, raw: &RawGeometry) -> Result<Self, SuperError> {
        // Revision 0 has no such fields in its superblock, whatever stands there.
        let old = sb.rev_level() == 0;
        let first_ino = if old { OLD_FIRST_INO } else { raw.first_ino };
        if first_ino < OLD_FIRST_INO {
            return Err(SuperError::BadFirstInode);
        }
        let size = if old { OLD_INODE_SIZE } else { raw.inode_size };
        let block_size = 1u32.wrapping_shl(sb.block_bits());
        let (size, bits) =
            power_of_two(size, OLD_INODE_SIZE, block_size).ok_or(SuperError::BadInodeSize)?;

        let max = size.saturating_sub(OLD_INODE_SIZE);
        let mut want_extra = if max == 0 { 0 } else { KNOWN_EXTRA_ISIZE };
        let mut min_extra = 0;
        if max != 0 && sb.features().has(RoCompat::EXTRA_ISIZE) {
            if raw.want_extra_isize > max {
                return Err(SuperError::BadWantExtraIsize);
            }
            if raw.min_extra_isize > max {
                return Err(SuperError::BadMinExtraIsize);
            }
            want_extra = want_extra
                .max(raw.want_extra_isize)
                .max(raw.min_extra_isize);
            min_extra = raw.min_extra_isize;
        }
        Ok(Self {
            first_ino,
            size,
            bits,
            want_extra,
            min_extra,
        })
    }
}

/// Refuses what later code could not make sense of, whatever the caller's policy is.
fn check_features(sb: &Superblock, features: &Features) -> Result<(), SuperError> {
    if features.unsupported_incompat().is_some() {
        return Err(SuperError::UnsupportedFeature);
    }
    if sb.made_for_hurd() {
        if features.has(Incompat::BIT64) {
            return Err(SuperError::Hurd64bit);
        }
        // Both use the same field of the inode.
        if features.has(Incompat::EA_INODE) {
            return Err(SuperError::HurdEaInode);
        }
    }
    if features.has(RoCompat::BIGALLOC) && !features.has(Incompat::EXTENTS) {
        return Err(SuperError::BigallocWithoutExtents);
    }
    Ok(())
}

/// Blocks and clusters of a group.
struct GroupShape {
    blocks: NonZeroU32,
    clusters: NonZeroU32,
    cluster_bits: u8,
}

impl GroupShape {
    fn new(sb: &Superblock, raw: &RawGeometry, bigalloc: bool) -> Result<Self, SuperError> {
        let blocks = NonZeroU32::new(raw.blocks_per_group).ok_or(SuperError::NoBlocksPerGroup)?;
        let block_bits = sb.block_bits();
        let bits_in_bitmap = 8u32.wrapping_shl(block_bits);
        let cluster_bits = match sb.cluster_size_bits().checked_sub(block_bits) {
            Some(0) => 0,
            Some(bits) if bigalloc => bits,
            None if bigalloc => return Err(SuperError::ClusterBelowBlock),
            _ => return Err(SuperError::ClusterNotBlock),
        };
        if !bigalloc && blocks.get() > bits_in_bitmap {
            return Err(SuperError::BlocksPerGroupTooBig);
        }
        if raw.clusters_per_group > bits_in_bitmap || raw.clusters_per_group & 7 != 0 {
            return Err(SuperError::BadClustersPerGroup);
        }
        // 2^19 clusters of 2^18 blocks at most.
        let expected = u64::from(raw.clusters_per_group).wrapping_shl(cluster_bits);
        if u64::from(blocks.get()) != expected {
            return Err(SuperError::GroupSizesDisagree);
        }
        // Not 0: the product is not.
        let clusters =
            NonZeroU32::new(raw.clusters_per_group).ok_or(SuperError::BadClustersPerGroup)?;
        // At most 18.
        Ok(Self {
            blocks,
            clusters,
            cluster_bits: cluster_bits as u8,
        })
    }
}

impl Geometry {
    /// The geometry that a verified superblock describes.
    ///
    /// `sb_block` is the block that holds the superblock (0, or 1 with 1 KiB blocks, unless a
    /// backup is used): descriptors follow it. `device_bytes` is the size of the device, `None`
    /// if it is not known.
    ///
    /// An incompat feature that cannot be read is refused here as well, but callers should ask
    /// [`Features::unsupported_incompat`] first, for its name.
    ///
    /// Errors: [`SuperError`].
    pub fn new(
        sb: &Superblock,
        sb_block: u64,
        device_bytes: Option<u64>,
    ) -> Result<Self, SuperError> {
        let raw = sb.raw();
        let features = sb.features();
        let block_bits = sb.block_bits();
        let block_size = 1u32.wrapping_shl(block_bits);
        let bits_in_bitmap = 8u32.wrapping_shl(block_bits);

        let inode = InodeShape::new(sb, &raw)?;
        check_features(sb, &features)?;

        let (desc_size, desc_size_bits) = if features.has(Incompat::BIT64) {
            power_of_two(raw.desc_size, MIN_DESC_SIZE_64, MAX_DESC_SIZE.into())
        } else {
            power_of_two(DESC_SIZE, DESC_SIZE, DESC_SIZE.into())
        }
        .ok_or(SuperError::BadDescSize)?;
        let descs_per_block = block_size.wrapping_shr(desc_size_bits.into());

        // A power of two: both sizes are.
        let inodes_per_block = block_size.wrapping_shr(inode.bits.into());
        let inodes_per_group = NonZeroU32::new(raw.inodes_per_group)
            .filter(|n| {
                let n = n.get();
                let whole = n & 7 == 0 && n & inodes_per_block.wrapping_sub(1) == 0;
                whole && n >= inodes_per_block && n <= bits_in_bitmap
            })
            .ok_or(SuperError::BadInodesPerGroup)?;
        let itable_blocks = inodes_per_group
            .get()
            .wrapping_shr(inodes_per_block.trailing_zeros());

        if raw.def_hash_version > LAST_HASH_VERSION {
            return Err(SuperError::BadHashVersion);
        }

        let bigalloc = features.has(RoCompat::BIGALLOC);
        let group = GroupShape::new(sb, &raw, bigalloc)?;

        if u32::from(raw.reserved_gdt_blocks) > block_size / 4 {
            return Err(SuperError::BadReservedGdt);
        }
        let blocks_count = sb.blocks_count();
        // Byte offsets are signed 64-bit numbers in the kernel.
        if blocks_count > (i64::MAX as u64).wrapping_shr(block_bits) {
            return Err(SuperError::TooLarge);
        }
        if device_bytes.is_some_and(|bytes| blocks_count > bytes.wrapping_shr(block_bits)) {
            return Err(SuperError::BeyondDevice);
        }
        let first_data_block = raw.first_data_block;
        let data_blocks = blocks_count
            .checked_sub(first_data_block.into())
            .filter(|n| *n != 0)
            .ok_or(SuperError::BadFirstDataBlock)?;
        if bigalloc && first_data_block != 0 {
            return Err(SuperError::BigallocFirstDataBlock);
        }
        if first_data_block == 0 && block_bits == 10 && group.cluster_bits == 0 {
            return Err(SuperError::NoBootBlock);
        }

        // Rounding up cannot overflow: blocks are counted in 53 bits.
        let per_group = NonZeroU64::from(group.blocks);
        let groups = data_blocks
            .saturating_add(per_group.get())
            .saturating_sub(1)
            / per_group;
        let groups_count = u32::try_from(groups)
            .ok()
            .filter(|n| *n <= u32::MAX.wrapping_sub(descs_per_block).wrapping_add(1))
            .ok_or(SuperError::TooManyGroups)?;
        if groups_count.checked_mul(inodes_per_group.get()) != Some(raw.inodes_count) {
            return Err(SuperError::BadInodesCount);
        }

        // The limit on groups leaves room for rounding up.
        let gdt_blocks = groups_count
            .saturating_add(descs_per_block.wrapping_sub(1))
            .wrapping_shr(descs_per_block.trailing_zeros());
        let first_meta_bg = if features.has(Incompat::META_BG) {
            if raw.first_meta_bg > gdt_blocks {
                return Err(SuperError::BadFirstMetaBg);
            }
            raw.first_meta_bg
        } else {
            gdt_blocks
        };

        // The seed is needed by the hash of EA inodes as well.
        let seed = if features.has(Incompat::CSUM_SEED) {
            raw.checksum_seed
        } else {
            crc32c(!0, sb.uuid())
        };
        let metadata_csum = features.has(RoCompat::METADATA_CSUM);
        let gdt_csum = features.has(RoCompat::GDT_CSUM) && !metadata_csum;

        let huge_file = features.has(RoCompat::HUGE_FILE);
        let dir_index = features.has(Compat::DIR_INDEX);
        let geometry = Self {
            features,
            blocks_count,
            max_extent_bytes: max_extent_bytes(block_bits, huge_file),
            max_indirect_bytes: max_indirect_bytes(block_bits, huge_file),
            sb_block,
            first_data_block,
            blocks_per_group: group.blocks,
            clusters_per_group: group.clusters,
            groups_count,
            inodes_count: raw.inodes_count,
            inodes_per_group,
            itable_blocks,
            gdt_blocks,
            first_meta_bg,
            reserved_gdt_blocks: raw.reserved_gdt_blocks,
            first_ino: inode.first_ino,
            inode_size: inode.size,
            want_extra_isize: inode.want_extra,
            min_extra_isize: inode.min_extra,
            desc_size,
            block_bits: block_bits as u8,
            inode_size_bits: inode.bits,
            desc_size_bits,
            cluster_bits: group.cluster_bits,
            flex_bits: match raw.log_groups_per_flex {
                bits @ 1..=31 if features.has(Incompat::FLEX_BG) => bits,
                _ => 0,
            },
            def_hash_version: raw.def_hash_version,
            hash_unsigned: dir_index
                && (raw.flags & FLAG_UNSIGNED_HASH != 0 || raw.flags & FLAG_SIGNED_HASH == 0),
            inode_csums: metadata_csum && sb.made_for_linux(),
            hurd: sb.made_for_hurd(),
            hash_seed: raw.hash_seed,
            backup_groups: raw.backup_bgs,
            hidden_inos: [
                sb.usr_quota_inum(),
                sb.grp_quota_inum(),
                sb.prj_quota_inum(),
                sb.orphan_file_inum(),
            ],
            csum_seed: metadata_csum.then_some(seed),
            ea_seed: seed,
            group_crc16: gdt_csum.then(|| crc16(!0, sb.uuid())),
            uuid: *sb.uuid(),
        };
        geometry.check_descriptor_blocks()?;
        Ok(geometry)
    }

    /// All descriptor blocks are on the device. Two places need a look: the last of those that
    /// follow the superblock, and the last meta group (a full group is longer than the two blocks
    /// that precede its descriptors).
    fn check_descriptor_blocks(&self) -> Result<(), SuperError> {
        if self.sb_block >= self.blocks_count {
            return Err(SuperError::BadSuperLocation);
        }
        for nr in [
            self.first_meta_bg.checked_sub(1),
            self.gdt_blocks.checked_sub(1),
        ] {
            let outside = nr.is_some_and(|nr| self.gdt_block(nr).is_none());
            if outside {
                return Err(SuperError::GdtBeyondEnd);
            }
        }
        // Meta group 0 starts with the boot block and the superblock.
        if self.first_meta_bg == 0 && self.gdt_block(0).is_none() {
            return Err(SuperError::GdtBeyondEnd);
        }
        Ok(())
    }
}

/// The largest size of an extent-mapped file, in bytes: extents count blocks in 32 bits, and one
/// block is left out so that the length of a file that is all data still fits. Without
/// `huge_file`, the sectors of the data must fit 32 bits as well.
fn max_extent_bytes(block_bits: u32, huge_file: bool) -> u64 {
    let blocks = if huge_file {
        u32::MAX.into()
    } else {
        u64::from(u32::MAX).wrapping_shr(block_bits.wrapping_sub(9))
    };
    // 32 + 16 bits at most.
    blocks.wrapping_shl(block_bits)
}

/// The largest size of an indirect-mapped file, in bytes: what the tree of block pointers can
/// address, unless the count of sectors, pointer blocks included, would not fit `i_blocks`.
fn max_indirect_bytes(block_bits: u32, huge_file: bool) -> u64 {
    // Nothing below exceeds 2^60, so the arithmetic cannot wrap.
    let pointer_bits = block_bits.wrapping_sub(2);
    let per_block = 1u64.wrapping_shl(pointer_bits);
    let square = per_block.wrapping_mul(per_block);
    let cube = square.wrapping_mul(per_block);
    let limit = if huge_file {
        (1u64 << 48) - 1
    } else {
        u64::from(u32::MAX).wrapping_shr(block_bits.wrapping_sub(9))
    };
    let data = NDIR_BLOCKS
        .wrapping_add(per_block)
        .wrapping_add(square)
        .wrapping_add(cube);
    // One indirect block; a double one and what is below it; a triple one and what is below it.
    let pointers = per_block
        .wrapping_mul(2)
        .wrapping_add(square)
        .wrapping_add(3);
    if data.wrapping_add(pointers) <= limit {
        return data.wrapping_shl(block_bits);
    }
    let blocks_for = |n: u64, bits: u32| {
        n.wrapping_add(1u64.wrapping_shl(bits))
            .wrapping_sub(1)
            .wrapping_shr(bits)
    };
    let rest = limit.saturating_sub(NDIR_BLOCKS).saturating_sub(per_block);
    let pointers = match rest.checked_sub(square) {
        None => blocks_for(rest, pointer_bits).wrapping_add(2),
        Some(rest) => per_block
            .wrapping_add(3)
            .wrapping_add(blocks_for(rest, pointer_bits))
            .wrapping_add(blocks_for(rest, pointer_bits.wrapping_mul(2))),
    };
    limit.saturating_sub(pointers).wrapping_shl(block_bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_sizes_are_those_of_the_format() {
        const TIB: u64 = 1 << 40;
        assert_eq!(max_extent_bytes(10, true), 4 * TIB - 1024);
        assert_eq!(max_extent_bytes(12, true), 16 * TIB - 4096);
        assert_eq!(max_extent_bytes(16, true), 256 * TIB - 65536);
        // Without huge_file: 2 TiB, a block less.
        assert_eq!(max_extent_bytes(12, false), 2 * TIB - 4096);
        assert_eq!(max_extent_bytes(10, false), 2 * TIB - 1024);

        assert_eq!(
            max_indirect_bytes(10, false),
            (12 + 256 + 65536 + 16_777_216) * 1024
        );
        assert_eq!(max_indirect_bytes(10, true), max_indirect_bytes(10, false));
        // The tree of 4 KiB blocks reaches beyond 4 TiB, 32 bits of sectors do not.
        assert_eq!(
            max_indirect_bytes(12, true),
            (12 + 1024 + (1 << 20) + (1 << 30)) << 12
        );
        // 2^29 - 1 blocks are left; 1 + 1025 pointer blocks serve the indirect and double ones,
        // the rest take one per 1024 and 1024^2 blocks, and one on top.
        let rest: u64 = (1 << 29) - 1 - 12 - 1024 - (1 << 20);
        let pointers = 1 + 1025 + 1 + rest.div_ceil(1024) + rest.div_ceil(1 << 20);
        assert_eq!(
            max_indirect_bytes(12, false),
            ((1 << 29) - 1 - pointers) << 12
        );
        assert_eq!(
            max_indirect_bytes(16, true),
            (12 + (1 << 14) + (1 << 28) + (1 << 42)) << 16
        );
    }
}
