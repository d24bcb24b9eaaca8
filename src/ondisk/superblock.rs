// SPDX-License-Identifier: GPL-2.0

//! The superblock: 1024 bytes that stand 1024 bytes into the device, with copies in some groups.
//!
//! [`Superblock::verify`] turns a byte range into a `&Superblock`: the magic number, the two
//! shifts that everything is scaled by, and the checksum have then been looked at. What the
//! fields say about the shape of the file system is checked by `Geometry::new` (see
//! `geometry_check.rs`); the accessors here give the rest: state, counters, the error record, and
//! where the journal and the hidden files are. None of these is used for arithmetic unchecked:
//! inode and block numbers come out raw and go through `Geometry::check_*`.
//!
//! Format: `Documentation/filesystems/ext4/super.rst`.

mod edit;

use crate::ondisk::raw::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};
use core::mem::{offset_of, size_of};
use zerocopy::little_endian::{U16, U32, U64};

use super::crc::crc32c;
use super::features::{Compat, Features, Incompat, RoCompat};
use super::mount_state::{DefaultOpts, ErrorEntry, OnError, State};

/// `s_magic`.
pub const MAGIC: u16 = 0xef53;
/// Offset of the primary superblock from the start of the device, in bytes.
pub const PRIMARY_OFFSET: u64 = 1024;
/// Size of the structure, in bytes.
pub const SIZE: usize = 1024;
/// `s_log_block_size` of the largest block, 64 KiB.
const MAX_LOG_BLOCK_SIZE: u32 = 6;
/// `s_log_cluster_size` of the largest cluster, 256 MiB.
const MAX_LOG_CLUSTER_SIZE: u32 = 18;
/// `s_checksum_type` of CRC-32C, the only one there is.
const CHECKSUM_CRC32C: u8 = 1;
/// `s_creator_os` values.
const OS_LINUX: u32 = 0;
const OS_HURD: u32 = 1;

crate::corrupt_area! {
    /// Why a superblock, or the geometry that it describes, is refused.
    SuperError {
        Truncated = "superblock is cut short",
        BadMagic = "can't find an ext4 file system (bad magic number)",
        BadBlockSize = "invalid log block size",
        BadClusterSize = "invalid log cluster size",
        UnknownChecksumType = "unknown checksum algorithm",
        BadChecksum = "invalid superblock checksum; run e2fsck?" [checksum],
        BadFirstInode = "invalid first inode number",
        BadInodeSize = "unsupported inode size",
        BadWantExtraIsize = "bad s_want_extra_isize",
        BadMinExtraIsize = "bad s_min_extra_isize",
        Hurd64bit = "the Hurd can't support 64-bit file systems",
        HurdEaInode = "ea_inode feature is not supported for the Hurd",
        UnsupportedFeature = "unsupported incompat feature",
        BadDescSize = "unsupported descriptor size",
        NoBlocksPerGroup = "blocks per group is 0",
        BadInodesPerGroup = "invalid inodes per group",
        BadHashVersion = "invalid default hash set in the superblock",
        ClusterBelowBlock = "cluster size smaller than block size",
        ClusterNotBlock = "fragment/cluster size is not the block size",
        BlocksPerGroupTooBig = "blocks per group too big",
        BadClustersPerGroup = "invalid clusters per group",
        GroupSizesDisagree = "blocks per group and clusters per group inconsistent",
        BigallocWithoutExtents = "bigalloc feature without extents feature",
        BigallocFirstDataBlock = "bad geometry: bigalloc with non-zero first data block",
        BadReservedGdt = "number of reserved GDT blocks insanely large",
        TooLarge = "file system too large to mount safely",
        BeyondDevice = "bad geometry: block count exceeds size of device",
        BadFirstDataBlock = "bad geometry: first data block is beyond end of file system",
        NoBootBlock = "bad geometry: first data block is 0 with a 1k block and cluster size",
        TooManyGroups = "groups count too large",
        BadInodesCount = "inodes count not valid",
        BadFirstMetaBg = "first meta block group too large",
        BadSuperLocation = "superblock is not on the file system",
        GdtBeyondEnd = "group descriptors are beyond end of file system",
    }
}

/// The structure on disk. Every byte pattern is a value of it; see [`Superblock::verify`].
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Superblock {
    inodes_count: U32,
    blocks_count_lo: U32,
    r_blocks_count_lo: U32,
    free_blocks_count_lo: U32,
    free_inodes_count: U32,
    first_data_block: U32,
    log_block_size: U32,
    log_cluster_size: U32,
    blocks_per_group: U32,
    clusters_per_group: U32,
    inodes_per_group: U32,
    mtime: U32,
    wtime: U32,
    mnt_count: U16,
    max_mnt_count: U16,
    magic: U16,
    state: U16,
    errors: U16,
    minor_rev_level: U16,
    lastcheck: U32,
    checkinterval: U32,
    creator_os: U32,
    rev_level: U32,
    def_resuid: U16,
    def_resgid: U16,
    first_ino: U32,
    inode_size: U16,
    block_group_nr: U16,
    feature_compat: U32,
    feature_incompat: U32,
    feature_ro_compat: U32,
    uuid: [u8; 16],
    volume_name: [u8; 16],
    last_mounted: [u8; 64],
    algorithm_usage_bitmap: U32,
    prealloc_blocks: u8,
    prealloc_dir_blocks: u8,
    reserved_gdt_blocks: U16,
    journal_uuid: [u8; 16],
    journal_inum: U32,
    journal_dev: U32,
    last_orphan: U32,
    hash_seed: [U32; 4],
    def_hash_version: u8,
    jnl_backup_type: u8,
    desc_size: U16,
    default_mount_opts: U32,
    first_meta_bg: U32,
    mkfs_time: U32,
    jnl_blocks: [U32; 17],
    blocks_count_hi: U32,
    r_blocks_count_hi: U32,
    free_blocks_count_hi: U32,
    min_extra_isize: U16,
    want_extra_isize: U16,
    flags: U32,
    raid_stride: U16,
    mmp_update_interval: U16,
    mmp_block: U64,
    raid_stripe_width: U32,
    log_groups_per_flex: u8,
    checksum_type: u8,
    encryption_level: u8,
    reserved_pad: u8,
    kbytes_written: U64,
    snapshot_inum: U32,
    snapshot_id: U32,
    snapshot_r_blocks_count: U64,
    snapshot_list: U32,
    error_count: U32,
    first_error_time: U32,
    first_error_ino: U32,
    first_error_block: U64,
    first_error_func: [u8; 32],
    first_error_line: U32,
    last_error_time: U32,
    last_error_ino: U32,
    last_error_line: U32,
    last_error_block: U64,
    last_error_func: [u8; 32],
    mount_opts: [u8; 64],
    usr_quota_inum: U32,
    grp_quota_inum: U32,
    overhead_clusters: U32,
    backup_bgs: [U32; 2],
    encrypt_algos: [u8; 4],
    encrypt_pw_salt: [u8; 16],
    lpf_ino: U32,
    prj_quota_inum: U32,
    checksum_seed: U32,
    wtime_hi: u8,
    mtime_hi: u8,
    mkfs_time_hi: u8,
    lastcheck_hi: u8,
    first_error_time_hi: u8,
    last_error_time_hi: u8,
    first_error_errcode: u8,
    last_error_errcode: u8,
    encoding: U16,
    encoding_flags: U16,
    orphan_file_inum: U32,
    def_resuid_hi: U16,
    def_resgid_hi: U16,
    reserved: [u8; 372],
    checksum: U32,
}

const _: () = assert!(size_of::<Superblock>() == SIZE);
const _: () = assert!(offset_of!(Superblock, magic) == 0x38);
const _: () = assert!(offset_of!(Superblock, journal_uuid) == 0xd0);
const _: () = assert!(offset_of!(Superblock, blocks_count_hi) == 0x150);
const _: () = assert!(offset_of!(Superblock, error_count) == 0x194);
const _: () = assert!(offset_of!(Superblock, mount_opts) == 0x200);
const _: () = assert!(offset_of!(Superblock, orphan_file_inum) == 0x280);
const _: () = assert!(offset_of!(Superblock, checksum) == SIZE - 4);

/// Where the superblock with number `number` (in units of 1 KiB, as `sb=` counts; the primary is
/// 1) is, given the block size: the block, and the offset in it in bytes. `None` on overflow.
pub fn location(number: u64, block_bits: u32) -> Option<(u64, u32)> {
    let byte = number.checked_mul(1024)?;
    let block = byte.checked_shr(block_bits)?;
    let in_block = byte & 1u64.checked_shl(block_bits)?.wrapping_sub(1);
    Some((block, u32::try_from(in_block).ok()?))
}

impl Superblock {
    /// The superblock at the start of `bytes`, if it is one: magic number, block and cluster
    /// shifts, checksum type and checksum.
    ///
    /// Magic number and shifts come first, so that something that is no ext4 file system at all
    /// is not reported as a damaged one.
    ///
    /// Errors: [`SuperError`].
    pub fn verify(bytes: &[u8]) -> Result<&Self, SuperError> {
        let (sb, _) = Self::ref_from_prefix(bytes).map_err(|_| SuperError::Truncated)?;
        if sb.magic.get() != MAGIC {
            return Err(SuperError::BadMagic);
        }
        if sb.log_block_size.get() > MAX_LOG_BLOCK_SIZE {
            return Err(SuperError::BadBlockSize);
        }
        if sb.log_cluster_size.get() > MAX_LOG_CLUSTER_SIZE {
            return Err(SuperError::BadClusterSize);
        }
        if sb.features().has(RoCompat::METADATA_CSUM) {
            if sb.checksum_type != CHECKSUM_CRC32C {
                return Err(SuperError::UnknownChecksumType);
            }
            if sb.checksum.get() != sb.compute_checksum() {
                return Err(SuperError::BadChecksum);
            }
        }
        Ok(sb)
    }

    /// The checksum that belongs to the present contents. It starts from `!0`, not from the seed:
    /// the seed stands inside.
    pub fn compute_checksum(&self) -> u32 {
        let covered = self
            .as_bytes()
            .get(..offset_of!(Self, checksum))
            .unwrap_or(&[]);
        crc32c(!0, covered)
    }

    /// Stores the checksum of the present contents, if the file system has checksums.
    pub fn update_checksum(&mut self) {
        if self.features().has(RoCompat::METADATA_CSUM) {
            self.checksum = self.compute_checksum().into();
        }
    }

    /// log2 of the block size in bytes: 10 to 16 (checked by `verify`).
    #[inline]
    pub fn block_bits(&self) -> u32 {
        self.log_block_size
            .get()
            .min(MAX_LOG_BLOCK_SIZE)
            .saturating_add(10)
    }

    /// log2 of the cluster size in bytes: 10 to 28 (checked by `verify`). The fragment size of
    /// old file systems, then equal to the block size.
    #[inline]
    pub(super) fn cluster_size_bits(&self) -> u32 {
        self.log_cluster_size
            .get()
            .min(MAX_LOG_CLUSTER_SIZE)
            .saturating_add(10)
    }

    /// The feature words.
    #[inline]
    pub fn features(&self) -> Features {
        Features {
            compat: Compat::from_bits(self.feature_compat.get()),
            incompat: Incompat::from_bits(self.feature_incompat.get()),
            ro_compat: RoCompat::from_bits(self.feature_ro_compat.get()),
        }
    }

    /// `hi:lo` where the `64bit` feature gives the high half a meaning.
    #[inline]
    fn wide(&self, lo: U32, hi: U32) -> u64 {
        let hi = if self.features().has(Incompat::BIT64) {
            hi.get()
        } else {
            0
        };
        (u64::from(hi) << 32) | u64::from(lo.get())
    }

    /// Blocks on the file system, as stored.
    #[inline]
    pub fn blocks_count(&self) -> u64 {
        self.wide(self.blocks_count_lo, self.blocks_count_hi)
    }

    /// Blocks reserved for `def_resuid` and `def_resgid`, as stored.
    #[inline]
    pub fn r_blocks_count(&self) -> u64 {
        self.wide(self.r_blocks_count_lo, self.r_blocks_count_hi)
    }

    /// Free blocks when this was written; the group descriptors are what counts.
    #[inline]
    pub fn free_blocks_count(&self) -> u64 {
        self.wide(self.free_blocks_count_lo, self.free_blocks_count_hi)
    }

    /// Free inodes when this was written; the group descriptors are what counts.
    #[inline]
    pub fn free_inodes_count(&self) -> u32 {
        self.free_inodes_count.get()
    }

    /// Clusters taken by metadata as mkfs computed it, 0 if unknown.
    #[inline]
    pub fn overhead_clusters(&self) -> u32 {
        self.overhead_clusters.get()
    }

    /// Revision: 0 (128-byte inodes, no features) or 1.
    #[inline]
    pub fn rev_level(&self) -> u32 {
        self.rev_level.get()
    }

    /// Whether the inodes follow Linux' layout, which is what their checksum is defined for.
    #[inline]
    pub fn made_for_linux(&self) -> bool {
        self.creator_os.get() == OS_LINUX
    }

    /// Whether the inodes follow the Hurd's layout.
    #[inline]
    pub fn made_for_hurd(&self) -> bool {
        self.creator_os.get() == OS_HURD
    }

    /// How the file system was left.
    #[inline]
    pub fn state(&self) -> State {
        State::from_bits(self.state.get())
    }

    /// What to do when corruption is met, unless the mount says otherwise.
    #[inline]
    pub fn on_error(&self) -> OnError {
        OnError::from_raw(self.errors.get())
    }

    /// Options that are on unless the mount says otherwise.
    #[inline]
    pub fn default_opts(&self) -> DefaultOpts {
        DefaultOpts::from_bits(self.default_mount_opts.get())
    }

    /// Mount options as text (`tune2fs -E mount_opts=`), without padding; may be empty.
    #[inline]
    pub fn mount_opts(&self) -> &[u8] {
        until_nul(&self.mount_opts)
    }

    /// Mounts since the last check.
    #[inline]
    pub fn mnt_count(&self) -> u16 {
        self.mnt_count.get()
    }

    /// Mounts after which a check is due; 0 or negative for never.
    #[inline]
    pub fn max_mnt_count(&self) -> i16 {
        self.max_mnt_count.get() as i16
    }

    /// Seconds after which a check is due, 0 for never.
    #[inline]
    pub fn check_interval(&self) -> u32 {
        self.checkinterval.get()
    }

    /// When the file system was last checked, in seconds since 1970.
    #[inline]
    pub fn lastcheck(&self) -> u64 {
        time(self.lastcheck, self.lastcheck_hi)
    }

    /// When the file system was last mounted, in seconds since 1970.
    #[inline]
    pub fn mtime(&self) -> u64 {
        time(self.mtime, self.mtime_hi)
    }

    /// When the superblock was last written, in seconds since 1970.
    #[inline]
    pub fn wtime(&self) -> u64 {
        time(self.wtime, self.wtime_hi)
    }

    /// When the file system was made, in seconds since 1970.
    #[inline]
    pub fn mkfs_time(&self) -> u64 {
        time(self.mkfs_time, self.mkfs_time_hi)
    }

    /// The UUID.
    #[inline]
    pub fn uuid(&self) -> &[u8; 16] {
        &self.uuid
    }

    /// The label, without padding.
    #[inline]
    pub fn volume_name(&self) -> &[u8] {
        until_nul(&self.volume_name)
    }

    /// Where it was last mounted, without padding.
    #[inline]
    pub fn last_mounted(&self) -> &[u8] {
        until_nul(&self.last_mounted)
    }

    /// The user that may use reserved blocks.
    #[inline]
    pub fn def_resuid(&self) -> u32 {
        (u32::from(self.def_resuid_hi.get()) << 16) | u32::from(self.def_resuid.get())
    }

    /// The group that may use reserved blocks.
    #[inline]
    pub fn def_resgid(&self) -> u32 {
        (u32::from(self.def_resgid_hi.get()) << 16) | u32::from(self.def_resgid.get())
    }

    /// The journal's inode, as stored; 0 for none.
    #[inline]
    pub fn journal_inum(&self) -> u32 {
        self.journal_inum.get()
    }

    /// The external journal's device number in `new_encode_dev` form; 0 for none.
    #[inline]
    pub fn journal_dev(&self) -> u32 {
        self.journal_dev.get()
    }

    /// The external journal's UUID.
    #[inline]
    pub fn journal_uuid(&self) -> &[u8; 16] {
        &self.journal_uuid
    }

    /// The first inode of the on-disk orphan list, as stored; 0 for an empty list.
    #[inline]
    pub fn last_orphan(&self) -> u32 {
        self.last_orphan.get()
    }

    /// The orphan file's inode, as stored; 0 for none.
    #[inline]
    pub fn orphan_file_inum(&self) -> u32 {
        self.orphan_file_inum.get()
    }

    /// The user quota file's inode, as stored; 0 for none.
    #[inline]
    pub fn usr_quota_inum(&self) -> u32 {
        self.usr_quota_inum.get()
    }

    /// The group quota file's inode, as stored; 0 for none.
    #[inline]
    pub fn grp_quota_inum(&self) -> u32 {
        self.grp_quota_inum.get()
    }

    /// The project quota file's inode, as stored; 0 for none.
    #[inline]
    pub fn prj_quota_inum(&self) -> u32 {
        self.prj_quota_inum.get()
    }

    /// The inode of lost+found, as stored; 0 for unknown.
    #[inline]
    pub fn lpf_ino(&self) -> u32 {
        self.lpf_ino.get()
    }

    /// The block of multiple mount protection, as stored.
    #[inline]
    pub fn mmp_block(&self) -> u64 {
        self.mmp_block.get()
    }

    /// Seconds between two updates of that block.
    #[inline]
    pub fn mmp_update_interval(&self) -> u16 {
        self.mmp_update_interval.get()
    }

    /// Kibibytes written over the file system's life.
    #[inline]
    pub fn kbytes_written(&self) -> u64 {
        self.kbytes_written.get()
    }

    /// Blocks to read or write on one disk of a RAID before moving to the next; 0 for unknown.
    #[inline]
    pub fn raid_stride(&self) -> u16 {
        self.raid_stride.get()
    }

    /// Blocks of a whole RAID stripe; 0 for unknown.
    #[inline]
    pub fn raid_stripe_width(&self) -> u32 {
        self.raid_stripe_width.get()
    }

    /// The character set of case-insensitive names and its flags.
    #[inline]
    pub fn encoding(&self) -> (u16, u16) {
        (self.encoding.get(), self.encoding_flags.get())
    }

    /// Errors seen since e2fsck last ran.
    #[inline]
    pub fn error_count(&self) -> u32 {
        self.error_count.get()
    }

    /// The first of them.
    pub fn first_error(&self) -> ErrorEntry<'_> {
        ErrorEntry {
            time: time(self.first_error_time, self.first_error_time_hi),
            ino: self.first_error_ino.get(),
            block: self.first_error_block.get(),
            func: until_nul(&self.first_error_func),
            line: self.first_error_line.get(),
            errcode: self.first_error_errcode,
        }
    }

    /// The latest of them.
    pub fn last_error(&self) -> ErrorEntry<'_> {
        ErrorEntry {
            time: time(self.last_error_time, self.last_error_time_hi),
            ino: self.last_error_ino.get(),
            block: self.last_error_block.get(),
            func: until_nul(&self.last_error_func),
            line: self.last_error_line.get(),
            errcode: self.last_error_errcode,
        }
    }
}

/// The raw numbers that `Geometry::new` checks. Kept apart from the public accessors: nobody else
/// has a use for them before they are checked.
impl Superblock {
    pub(super) fn raw(&self) -> RawGeometry {
        RawGeometry {
            inodes_count: self.inodes_count.get(),
            first_data_block: self.first_data_block.get(),
            blocks_per_group: self.blocks_per_group.get(),
            clusters_per_group: self.clusters_per_group.get(),
            inodes_per_group: self.inodes_per_group.get(),
            first_ino: self.first_ino.get(),
            inode_size: self.inode_size.get(),
            desc_size: self.desc_size.get(),
            reserved_gdt_blocks: self.reserved_gdt_blocks.get(),
            first_meta_bg: self.first_meta_bg.get(),
            min_extra_isize: self.min_extra_isize.get(),
            want_extra_isize: self.want_extra_isize.get(),
            log_groups_per_flex: self.log_groups_per_flex,
            def_hash_version: self.def_hash_version,
            flags: self.flags.get(),
            hash_seed: self.hash_seed.map(U32::get),
            backup_bgs: self.backup_bgs.map(U32::get),
            checksum_seed: self.checksum_seed.get(),
        }
    }
}

/// See [`Superblock::raw`].
#[derive(Clone, Debug)]
pub(super) struct RawGeometry {
    pub inodes_count: u32,
    pub first_data_block: u32,
    pub blocks_per_group: u32,
    pub clusters_per_group: u32,
    pub inodes_per_group: u32,
    pub first_ino: u32,
    pub inode_size: u16,
    pub desc_size: u16,
    pub reserved_gdt_blocks: u16,
    pub first_meta_bg: u32,
    pub min_extra_isize: u16,
    pub want_extra_isize: u16,
    pub log_groups_per_flex: u8,
    pub def_hash_version: u8,
    pub flags: u32,
    pub hash_seed: [u32; 4],
    pub backup_bgs: [u32; 2],
    pub checksum_seed: u32,
}

/// Seconds since 1970 from the low 32 bits and the 8 bits above.
#[inline]
fn time(lo: U32, hi: u8) -> u64 {
    (u64::from(hi) << 32) | u64::from(lo.get())
}

/// The part of a fixed field before its first NUL.
#[inline]
fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or(&[])
}
