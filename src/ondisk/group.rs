// SPDX-License-Identifier: GPL-2.0

//! Group descriptors: where a group's bitmaps and inode table are, and how much of them is free.
//!
//! A descriptor has 32 bytes, or 64 and more with the `64bit` feature, whose second half holds
//! the upper halves of the fields of the first. [`GroupDesc::verify`] checks one completely, once
//! when it is read; [`GroupDesc::parse`] gives the same view of a descriptor that has been
//! verified in this buffer before: the positions are still checked against the geometry (a few
//! comparisons), so that the view's promise does not rest on what happened to the buffer since.
//!
//! A `GroupDesc` promises: both bitmaps and every block of the inode table are on the device, and
//! in the group itself unless `flex_bg` lets them be elsewhere.
//!
//! The checksums of the two bitmaps stand in the descriptor as well; they are computed and
//! compared here.
//!
//! Format: `Documentation/filesystems/ext4/group_descr.rst` and `bitmaps.rst`.

use crate::ondisk::raw::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};
use core::mem::{offset_of, size_of};
use zerocopy::little_endian::{U16, U32};

use super::crc::{crc16, crc32c};
use super::features::Incompat;
use super::{FsBlock, Geometry, Group};

pub mod edit;

crate::corrupt_area! {
    /// Why a group descriptor, or a bitmap, cannot be used.
    GroupError {
        Truncated = "group descriptor is cut short",
        NoSuchGroup = "no such group",
        BlockBitmapPlace = "block bitmap not in group",
        InodeBitmapPlace = "inode bitmap not in group",
        InodeTablePlace = "inode table not in group",
        BlockBitmapOverlap = "block bitmap overlaps superblock or group descriptors",
        InodeBitmapOverlap = "inode bitmap overlaps superblock or group descriptors",
        InodeTableOverlap = "inode table overlaps superblock or group descriptors",
        BadChecksum = "group descriptor checksum failed" [checksum],
        BadBlockBitmapChecksum = "bad block bitmap checksum" [checksum],
        BadInodeBitmapChecksum = "bad inode bitmap checksum" [checksum],
        MetadataOverlap = "metadata blocks overlap",
        MetadataOutside = "metadata blocks are not on the file system",
        BadBlockBitmapPadding = "padding at end of block bitmap is not set",
        MetadataFree = "block bitmap has metadata free",
        UninitFirstGroup = "block bitmap of group 0 marked uninitialized",
        FreeClusters = "block bitmap and group descriptor disagree on free clusters",
        FreeInodes = "inode bitmap and group descriptor disagree on free inodes",
        UsedDirs = "group descriptor has more or fewer directories than it can",
        ReservedInode = "reserved inode to be allocated or freed",
        BitsSet = "bits to be set in bitmap are set already",
        BitsClear = "bits to be cleared in bitmap are clear already",
        BitsOutside = "bits are beyond the end of the bitmap",
    }
}

impl GroupError {
    /// Whether a file system with such a descriptor may still be read: everything is in range,
    /// but writing would make matters worse. ext4 mounts it read-only as well.
    pub const fn allows_reading(self) -> bool {
        matches!(
            self,
            Self::BadChecksum
                | Self::BlockBitmapOverlap
                | Self::InodeBitmapOverlap
                | Self::InodeTableOverlap
        )
    }
}

/// The 32 bytes that every descriptor has.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Low {
    block_bitmap: U32,
    inode_bitmap: U32,
    inode_table: U32,
    free_blocks: U16,
    free_inodes: U16,
    used_dirs: U16,
    flags: U16,
    exclude_bitmap: U32,
    block_bitmap_csum: U16,
    inode_bitmap_csum: U16,
    itable_unused: U16,
    checksum: U16,
}

/// The 32 bytes that follow with `64bit`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct High {
    block_bitmap: U32,
    inode_bitmap: U32,
    inode_table: U32,
    free_blocks: U16,
    free_inodes: U16,
    used_dirs: U16,
    itable_unused: U16,
    exclude_bitmap: U32,
    block_bitmap_csum: U16,
    inode_bitmap_csum: U16,
    reserved: U32,
}

const _: () = assert!(size_of::<Low>() == 32 && size_of::<High>() == 32);
const _: () = assert!(offset_of!(Low, checksum) == 0x1e);
const _: () = assert!(offset_of!(High, inode_bitmap_csum) == 0x3a - 0x20);

/// `bg_flags`.
const INODE_UNINIT: u16 = 0x0001;
const BLOCK_UNINIT: u16 = 0x0002;
const INODE_ZEROED: u16 = 0x0004;

/// Where a group's own metadata is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// The block of the block (cluster) bitmap.
    pub block_bitmap: FsBlock,
    /// The block of the inode bitmap.
    pub inode_bitmap: FsBlock,
    /// The first block of the inode table.
    pub inode_table: FsBlock,
}

/// A group descriptor whose positions have been checked; borrows the descriptor block.
#[derive(Clone, Copy)]
pub struct GroupDesc<'a> {
    low: &'a Low,
    high: Option<&'a High>,
    /// Whether the flags mean anything: only where descriptors have checksums.
    flags_valid: bool,
    /// Whether bitmaps have checksums.
    bitmap_csums: bool,
}

/// `hi:lo` of two 16-bit fields.
#[inline]
fn wide16(lo: U16, hi: Option<U16>) -> u32 {
    (hi.map_or(0, |hi| u32::from(hi.get())) << 16) | u32::from(lo.get())
}

/// `hi:lo` of two 32-bit fields.
#[inline]
fn wide32(lo: U32, hi: Option<U32>) -> u64 {
    (hi.map_or(0, |hi| u64::from(hi.get())) << 32) | u64::from(lo.get())
}

impl<'a> GroupDesc<'a> {
    /// The descriptor of `group` at the start of `bytes`, with its positions checked but not its
    /// checksum: for a descriptor that was verified when its block was read.
    ///
    /// Errors: [`GroupError`], the `...Place` ones.
    #[inline]
    pub fn parse(geo: &Geometry, group: Group, bytes: &'a [u8]) -> Result<Self, GroupError> {
        let (low, rest) = Low::ref_from_prefix(bytes).map_err(|_| GroupError::Truncated)?;
        let high = if geo.is_64bit() {
            let (high, _) = High::ref_from_prefix(rest).map_err(|_| GroupError::Truncated)?;
            Some(high)
        } else {
            None
        };
        let desc = Self {
            low,
            high,
            flags_valid: geo.features().has_group_csum(),
            bitmap_csums: geo.csum_seed().is_some(),
        };

        // First and last block that the group's metadata may be in.
        let end = geo.blocks_count();
        let (first, end) = if geo.has(Incompat::FLEX_BG) {
            (geo.first_data_block().into(), end)
        } else {
            let first = geo.group_first_block(group).get();
            let len = u64::from(geo.group_blocks(group));
            // The group is inside the file system, or `len` is 0.
            (first, first.saturating_add(len))
        };
        if !(first..end).contains(&desc.block_bitmap().get()) {
            return Err(GroupError::BlockBitmapPlace);
        }
        if !(first..end).contains(&desc.inode_bitmap().get()) {
            return Err(GroupError::InodeBitmapPlace);
        }
        let table = desc.inode_table().get();
        let table_end = table.checked_add(geo.itable_blocks_per_group().into());
        if table < first || table_end.unwrap_or(u64::MAX) > end {
            return Err(GroupError::InodeTablePlace);
        }
        Ok(desc)
    }

    /// The descriptor of `group` at the start of `bytes`, checked completely: positions, overlap
    /// with the superblock and the descriptors themselves, checksum (of either kind).
    ///
    /// Errors: [`GroupError`]; those that [`allow reading`](GroupError::allows_reading) are found
    /// last, so that `parse` is then known to succeed.
    pub fn verify(geo: &Geometry, group: Group, bytes: &'a [u8]) -> Result<Self, GroupError> {
        geo.check_group(group.get())
            .ok_or(GroupError::NoSuchGroup)?;
        let desc = Self::parse(geo, group, bytes)?;
        let sb = geo.sb_block().get();
        let gdt = u64::from(geo.group_desc_blocks(Group::new(0)));
        let head_end = sb.saturating_add(gdt).saturating_add(1);
        let overlaps = |start: FsBlock, len: u32| {
            start.get() < head_end && start.get().saturating_add(len.into()) > sb
        };
        if overlaps(desc.block_bitmap(), 1) {
            return Err(GroupError::BlockBitmapOverlap);
        }
        if overlaps(desc.inode_bitmap(), 1) {
            return Err(GroupError::InodeBitmapOverlap);
        }
        if overlaps(desc.inode_table(), geo.itable_blocks_per_group()) {
            return Err(GroupError::InodeTableOverlap);
        }
        match checksum(geo, group, bytes) {
            Some(computed) if computed != desc.low.checksum.get() => Err(GroupError::BadChecksum),
            _ => Ok(desc),
        }
    }

    /// The block of the block (cluster) bitmap.
    #[inline]
    pub fn block_bitmap(&self) -> FsBlock {
        FsBlock::new(wide32(
            self.low.block_bitmap,
            self.high.map(|h| h.block_bitmap),
        ))
    }

    /// The block of the inode bitmap.
    #[inline]
    pub fn inode_bitmap(&self) -> FsBlock {
        FsBlock::new(wide32(
            self.low.inode_bitmap,
            self.high.map(|h| h.inode_bitmap),
        ))
    }

    /// The first block of the inode table.
    #[inline]
    pub fn inode_table(&self) -> FsBlock {
        FsBlock::new(wide32(
            self.low.inode_table,
            self.high.map(|h| h.inode_table),
        ))
    }

    /// The three of them.
    #[inline]
    pub fn places(&self) -> Places {
        Places {
            block_bitmap: self.block_bitmap(),
            inode_bitmap: self.inode_bitmap(),
            inode_table: self.inode_table(),
        }
    }

    /// The `n`-th block of the inode table, as counted by
    /// [`InodeLocation::block`](super::geometry::InodeLocation::block); `None` beyond its end.
    #[inline]
    pub fn inode_table_block(&self, geo: &Geometry, n: u32) -> Option<FsBlock> {
        if n >= geo.itable_blocks_per_group() {
            return None;
        }
        self.inode_table().checked_add(n.into())
    }

    /// Free clusters, as stored.
    #[inline]
    pub fn free_clusters(&self) -> u32 {
        wide16(self.low.free_blocks, self.high.map(|h| h.free_blocks))
    }

    /// Free inodes, as stored.
    #[inline]
    pub fn free_inodes(&self) -> u32 {
        wide16(self.low.free_inodes, self.high.map(|h| h.free_inodes))
    }

    /// Inodes that are directories, as stored.
    #[inline]
    pub fn used_dirs(&self) -> u32 {
        wide16(self.low.used_dirs, self.high.map(|h| h.used_dirs))
    }

    /// Inodes at the end of the table that were never used, as stored; meaningful where
    /// descriptors have checksums.
    #[inline]
    pub fn itable_unused(&self) -> u32 {
        wide16(self.low.itable_unused, self.high.map(|h| h.itable_unused))
    }

    /// Whether no inode of the group is in use and the inode bitmap is not initialised.
    #[inline]
    pub fn inode_uninit(&self) -> bool {
        self.flag(INODE_UNINIT)
    }

    /// Whether no block but metadata is in use and the block bitmap is not initialised.
    #[inline]
    pub fn block_uninit(&self) -> bool {
        self.flag(BLOCK_UNINIT)
    }

    /// Whether the inode table has been zeroed on disk.
    #[inline]
    pub fn inode_zeroed(&self) -> bool {
        self.flag(INODE_ZEROED)
    }

    #[inline]
    fn flag(&self, flag: u16) -> bool {
        self.flags_valid && self.low.flags.get() & flag != 0
    }

    /// Compares the checksum of the group's block bitmap; `bitmap` is its whole block.
    ///
    /// Errors: [`GroupError::BadBlockBitmapChecksum`].
    pub fn verify_block_bitmap(&self, geo: &Geometry, bitmap: &[u8]) -> Result<(), GroupError> {
        let hi = self.high.map(|h| h.block_bitmap_csum);
        if self.csum_matches(
            block_bitmap_checksum(geo, bitmap),
            self.low.block_bitmap_csum,
            hi,
        ) {
            Ok(())
        } else {
            Err(GroupError::BadBlockBitmapChecksum)
        }
    }

    /// Compares the checksum of the group's inode bitmap; `bitmap` is its whole block.
    ///
    /// Errors: [`GroupError::BadInodeBitmapChecksum`].
    pub fn verify_inode_bitmap(&self, geo: &Geometry, bitmap: &[u8]) -> Result<(), GroupError> {
        let hi = self.high.map(|h| h.inode_bitmap_csum);
        if self.csum_matches(
            inode_bitmap_checksum(geo, bitmap),
            self.low.inode_bitmap_csum,
            hi,
        ) {
            Ok(())
        } else {
            Err(GroupError::BadInodeBitmapChecksum)
        }
    }

    /// Small descriptors hold the lower half only.
    #[inline]
    fn csum_matches(&self, computed: Option<u32>, lo: U16, hi: Option<U16>) -> bool {
        match computed {
            // A block that is too short has no checksum either.
            None => !self.bitmap_csums,
            Some(computed) if hi.is_some() => computed == wide16(lo, hi),
            Some(computed) => computed & 0xffff == u32::from(lo.get()),
        }
    }
}

/// The checksum of a descriptor's present contents, its own field left out; `None` where
/// descriptors have none.
fn checksum(geo: &Geometry, group: Group, bytes: &[u8]) -> Option<u16> {
    let bytes = bytes.get(..geo.desc_size().into())?;
    let head = bytes.get(..offset_of!(Low, checksum))?;
    let tail = bytes.get(size_of::<Low>()..)?;
    let number = group.get().to_le_bytes();
    if let Some(seed) = geo.csum_seed() {
        // This kind covers the field, as zero.
        let csum = crc32c(crc32c(seed, &number), head);
        return Some(crc32c(crc32c(csum, &[0, 0]), tail) as u16);
    }
    let csum = crc16(crc16(geo.group_crc16_seed()?, &number), head);
    Some(crc16(csum, tail))
}

/// Stores the checksum of the present contents of `group`'s descriptor, if descriptors have one.
/// `bytes` holds at least one descriptor; nothing happens otherwise.
pub fn update_checksum(geo: &Geometry, group: Group, bytes: &mut [u8]) {
    let computed = match (geo.csum_seed(), bytes.get_mut(..geo.desc_size().into())) {
        (Some(seed), Some(bytes)) => {
            // This kind covers the field, as zero.
            if let Ok((low, _)) = Low::mut_from_prefix(bytes) {
                low.checksum = 0.into();
            }
            Some(crc32c(crc32c(seed, &group.get().to_le_bytes()), bytes) as u16)
        }
        _ => checksum(geo, group, bytes),
    };
    if let Some(computed) = computed {
        if let Ok((low, _)) = Low::mut_from_prefix(bytes) {
            low.checksum = computed.into();
        }
    }
}

/// The checksum of a block bitmap, over the bits of a full group; `None` where bitmaps have none
/// or the block is too short.
pub fn block_bitmap_checksum(geo: &Geometry, bitmap: &[u8]) -> Option<u32> {
    // A multiple of 8, and at most the bits of a block.
    bitmap_checksum(geo, bitmap, geo.clusters_per_group().get())
}

/// The checksum of an inode bitmap, over the inodes of a group; `None` where bitmaps have none or
/// the block is too short.
pub fn inode_bitmap_checksum(geo: &Geometry, bitmap: &[u8]) -> Option<u32> {
    bitmap_checksum(geo, bitmap, geo.inodes_per_group().get())
}

#[inline]
fn bitmap_checksum(geo: &Geometry, bitmap: &[u8], bits: u32) -> Option<u32> {
    let seed = geo.csum_seed()?;
    Some(crc32c(seed, bitmap.get(..(bits / 8) as usize)?))
}

/// Stores a block bitmap's checksum in the group's descriptor; the descriptor's own checksum must
/// then be updated.
pub fn set_block_bitmap_checksum(geo: &Geometry, bytes: &mut [u8], csum: u32) {
    set_halves(
        geo,
        bytes,
        csum,
        |l| &mut l.block_bitmap_csum,
        |h| &mut h.block_bitmap_csum,
    );
}

/// Stores an inode bitmap's checksum in the group's descriptor; the descriptor's own checksum
/// must then be updated.
pub fn set_inode_bitmap_checksum(geo: &Geometry, bytes: &mut [u8], csum: u32) {
    set_halves(
        geo,
        bytes,
        csum,
        |l| &mut l.inode_bitmap_csum,
        |h| &mut h.inode_bitmap_csum,
    );
}

fn set_halves(
    geo: &Geometry,
    bytes: &mut [u8],
    value: u32,
    low_field: impl FnOnce(&mut Low) -> &mut U16,
    high_field: impl FnOnce(&mut High) -> &mut U16,
) {
    let Ok((low, rest)) = Low::mut_from_prefix(bytes) else {
        return;
    };
    *low_field(low) = (value as u16).into();
    if geo.is_64bit() {
        if let Ok((high, _)) = High::mut_from_prefix(rest) {
            *high_field(high) = ((value >> 16) as u16).into();
        }
    }
}

/// Whether the bits of a block bitmap beyond the group's clusters are all set, as they must be.
/// `bitmap` is its whole block.
///
/// Errors: [`GroupError::BadBlockBitmapPadding`].
pub fn verify_padding(geo: &Geometry, group: Group, bitmap: &[u8]) -> Result<(), GroupError> {
    let used = geo.group_clusters(group);
    let (bytes, bits) = ((used / 8) as usize, used % 8);
    // The bits of the first byte that are padding.
    let mut mask = 0xffu8.wrapping_shl(bits);
    for byte in bitmap.get(bytes..).unwrap_or(&[]) {
        if byte & mask != mask {
            return Err(GroupError::BadBlockBitmapPadding);
        }
        mask = 0xff;
    }
    Ok(())
}
