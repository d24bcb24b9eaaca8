// SPDX-License-Identifier: GPL-2.0

//! Inodes: 128 bytes that every revision has, fields beyond where there is room, and behind them
//! the extended attributes that fit.
//!
//! [`Inode::verify`] takes the bytes of one slot of an inode table and yields a view that borrows
//! them. It has checked, in ext4's order: the number against the purpose, the size of the extra
//! fields, the checksum (seeded with number and generation, so that a slot written to the wrong
//! place does not pass), whether the inode is in use at all, flags that exclude each other, and
//! the size against what the kind of block map can address. The map itself (`i_block`), inline
//! data and attributes are the business of their own modules.
//!
//! Format: `Documentation/filesystems/ext4/inodes.rst`.

use core::mem::{offset_of, size_of};
use zerocopy::little_endian::U32;
use zerocopy::FromBytes;

use super::ea_inode::EaInode;
use super::features::{Compat, Incompat, RoCompat};
pub use super::inode_flags::{FileType, InodeFlags};
pub use super::inode_raw::update_checksum;
use super::inode_raw::{upto, verify_checksum, Base, Extra, EXTRA_SIZE};
use super::time::Timestamp;
use super::{FsBlock, Geometry, Ino};

/// Size of the part that every inode has, in bytes; the extra fields follow.
pub const BASE_SIZE: usize = 128;
/// Size of `i_block`, in bytes.
pub const I_BLOCK_SIZE: usize = 60;
/// The inode of the boot loader: normally without links, and no corruption for that.
pub const BOOT_LOADER_INO: u32 = 5;
/// `h_magic` of the extended attributes in an inode.
const XATTR_MAGIC: u32 = 0xea02_0000;

crate::corrupt_area! {
    /// Why an inode cannot be used.
    InodeError {
        IllegalNumber = "illegal inode number",
        Truncated = "inode is cut short",
        BadExtraIsize = "bad extra_isize",
        BadChecksum = "inode checksum invalid" [checksum],
        SpecialUnallocated = "special inode unallocated",
        DeletedReferenced = "deleted inode referenced",
        InlineAndExtents = "inode has both inline data and extents flags",
        InlineWithoutFeature = "inline data flag without inline_data feature",
        BadSize = "bad i_size value",
        IndexWithoutFeature = "directory with htree data on file system without dir_index feature",
        BadXattrBlock = "bad extended attribute block",
        SymlinkFlags = "immutable or append flags not allowed on symlinks",
        BadFastSymlink = "invalid fast symlink length",
        BadMode = "bogus i_mode",
        CasefoldWithoutFeature = "casefold flag without casefold feature",
        EncryptWithoutFeature = "encrypt flag without encrypt feature",
        MissingEaFlag = "missing EA_INODE flag",
        UnexpectedEaFlag = "unexpected EA_INODE flag",
        EaInodeWithXattrs = "ea_inode with extended attributes",
        BadVerityDescriptor = "verity file corrupted; cannot find descriptor",
        DoublyAllocated = "failed to insert inode: doubly allocated?",
        NamedWithoutLinks = "target of rename is already freed",
    }
}

/// Why [`Inode::verify`] yields no inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no such file (any more): ESTALE. Not corruption by itself; a directory entry that
    /// leads here is ([`InodeError::DeletedReferenced`]).
    Stale,
    /// The inode is damaged.
    Corrupt(InodeError),
}

impl From<InodeError> for Refused {
    #[inline]
    fn from(e: InodeError) -> Self {
        Self::Corrupt(e)
    }
}

/// What an inode is read for; decides what is acceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A directory entry (or the root): a file that users see.
    Path,
    /// A file handle, which may be old: what is not a file that users see is stale.
    Handle,
    /// The file system's own: journal, quota and orphan files, the resize inode.
    Special,
    /// Orphan processing: without links, but not yet freed.
    Orphan,
    /// The value of an extended attribute.
    EaInode,
}

/// A verified inode; borrows the slot of the inode table.
#[derive(Clone, Copy)]
pub struct Inode<'a> {
    base: &'a Base,
    extra: Option<&'a Extra>,
    /// Bytes of the extra fields that the inode says are in use.
    claimed: u16,
    /// Bytes of them that are read: an inode that claims none has room for all, and zeros there.
    readable: u16,
    file_type: FileType,
    xattrs: Option<&'a [u8]>,
    xattr_block: Option<FsBlock>,
    csum_seed: Option<u32>,
    size: u64,
    sectors: u64,
}

impl<'a> Inode<'a> {
    /// Verifies the slot of inode `ino`; `slot` holds at least the inode size of the geometry.
    ///
    /// Errors: [`Refused::Stale`] for an inode that is not in use, or not of the kind that
    /// `purpose` allows while nothing is damaged; [`Refused::Corrupt`] for damage.
    #[inline]
    pub fn verify(
        geo: &Geometry,
        ino: Ino,
        slot: &'a [u8],
        purpose: Purpose,
    ) -> Result<Self, Refused> {
        Self::parse(geo, ino, slot, purpose, true)
    }

    /// As [`verify`](Self::verify), but for the checksum: for a slot that others may be writing to
    /// at the same time, and that has been verified when it was read.
    pub fn verify_shape(
        geo: &Geometry,
        ino: Ino,
        slot: &'a [u8],
        purpose: Purpose,
    ) -> Result<Self, Refused> {
        Self::parse(geo, ino, slot, purpose, false)
    }

    fn parse(
        geo: &Geometry,
        ino: Ino,
        slot: &'a [u8],
        purpose: Purpose,
        checksum: bool,
    ) -> Result<Self, Refused> {
        check_number(geo, ino, purpose)?;
        let slot = slot
            .get(..geo.inode_size().into())
            .ok_or(InodeError::Truncated)?;
        let (base, beyond) = Base::ref_from_prefix(slot).map_err(|_| InodeError::Truncated)?;
        let mode = base.mode.get();
        let unlinked = base.links_count.get() == 0;
        if purpose == Purpose::Handle && unlinked && mode == 0 {
            return Err(Refused::Stale);
        }

        let extra = Extra::ref_from_prefix(beyond).ok().map(|(extra, _)| extra);
        let claimed = extra.map_or(0, |e| e.extra_isize.get());
        let after = beyond.get(claimed.into()..).filter(|_| claimed & 3 == 0);
        let after = after.ok_or(InodeError::BadExtraIsize)?;

        let csum_seed = geo.inode_seed(ino, base.generation.get());
        if let Some(seed) = csum_seed.filter(|_| checksum && geo.has_inode_csums()) {
            verify_checksum(seed, base, beyond)?;
        }

        if unlinked && ino.get() != BOOT_LOADER_INO && (mode == 0 || purpose != Purpose::Orphan) {
            return Err(match purpose {
                Purpose::Special => InodeError::SpecialUnallocated.into(),
                _ => Refused::Stale,
            });
        }

        let flags = InodeFlags::from_bits(base.flags.get());
        check_flags(geo, flags)?;
        let regular = mode >> 12 == 8;
        let size = if regular || geo.has(Incompat::LARGEDIR) {
            (u64::from(base.size_high.get()) << 32) | u64::from(base.size_lo.get())
        } else {
            base.size_lo.get().into()
        };
        let max = if flags.contains(InodeFlags::EXTENTS) {
            geo.max_extent_bytes()
        } else {
            geo.max_indirect_bytes()
        };
        if size > max {
            return Err(InodeError::BadSize.into());
        }

        let mut inode = Self {
            base,
            extra,
            readable: match claimed {
                0 if extra.is_some() => EXTRA_SIZE,
                n => n,
            },
            claimed,
            file_type: FileType::from_mode(mode).ok_or(InodeError::BadMode)?,
            // Without extra fields in use there is no saying where attributes would start.
            xattrs: (claimed != 0 && after.len() >= 4).then_some(after),
            xattr_block: None,
            csum_seed,
            size,
            sectors: sectors(geo, base, flags),
        };
        let acl = inode.raw_file_acl(geo);
        if acl != 0 {
            inode.xattr_block = Some(geo.check_block(acl).ok_or(InodeError::BadXattrBlock)?);
        }
        if inode.file_type == FileType::Symlink {
            inode.check_symlink(geo, purpose)?;
        }
        inode.check_ea(purpose)?;
        Ok(inode)
    }

    /// VFS: immutable and append-only symlinks cannot be made; and the target of a fast one must
    /// be as long as the size says.
    fn check_symlink(&self, geo: &Geometry, purpose: Purpose) -> Result<(), InodeError> {
        if self
            .flags()
            .intersects(InodeFlags::IMMUTABLE.union(InodeFlags::APPEND))
        {
            return Err(InodeError::SymlinkFlags);
        }
        // An orphan may have been cleared half-way.
        if purpose == Purpose::Orphan || !self.is_fast_symlink(geo) {
            return Ok(());
        }
        let len = self
            .base
            .block
            .iter()
            .position(|b| *b == 0)
            .unwrap_or(I_BLOCK_SIZE);
        if self.size == 0 || self.size != len as u64 || len == I_BLOCK_SIZE {
            return Err(InodeError::BadFastSymlink);
        }
        Ok(())
    }

    /// An EA inode is reached from attributes only, and has none itself.
    fn check_ea(&self, purpose: Purpose) -> Result<(), Refused> {
        let is_ea = self.flags().contains(InodeFlags::EA_INODE);
        if purpose != Purpose::EaInode {
            return match (is_ea, purpose) {
                // One without references left, for orphan processing.
                (false, _) | (true, Purpose::Orphan) => Ok(()),
                // The number may have been reused since the handle was made.
                (true, Purpose::Handle) => Err(Refused::Stale),
                (true, _) => Err(InodeError::UnexpectedEaFlag.into()),
            };
        }
        if !is_ea {
            return Err(InodeError::MissingEaFlag.into());
        }
        let magic = self
            .xattrs
            .and_then(|x| x.first_chunk())
            .map(|m| u32::from_le_bytes(*m));
        if self.xattr_block.is_some() || magic == Some(XATTR_MAGIC) {
            return Err(InodeError::EaInodeWithXattrs.into());
        }
        Ok(())
    }

    /// `i_mode`: type and permissions.
    #[inline]
    pub fn mode(&self) -> u16 {
        self.base.mode.get()
    }

    /// The type of the file.
    #[inline]
    pub fn file_type(&self) -> FileType {
        self.file_type
    }

    /// The owner.
    #[inline]
    pub fn uid(&self) -> u32 {
        (u32::from(self.base.uid_high.get()) << 16) | u32::from(self.base.uid.get())
    }

    /// The owner's group.
    #[inline]
    pub fn gid(&self) -> u32 {
        (u32::from(self.base.gid_high.get()) << 16) | u32::from(self.base.gid.get())
    }

    /// The low 16 bits of the owner, which is all there is under `nouid32`.
    #[inline]
    pub fn uid16(&self) -> u16 {
        self.base.uid.get()
    }

    /// The low 16 bits of the owner's group.
    #[inline]
    pub fn gid16(&self) -> u16 {
        self.base.gid.get()
    }

    /// The project, 0 (the default) where the inode has no such field or the file system no
    /// `project` feature.
    #[inline]
    pub fn projid(&self, geo: &Geometry) -> u32 {
        match self.extra {
            // The field must be claimed: bytes that merely are there do not count.
            Some(e) if self.claimed >= upto!(projid, U32) && geo.has(RoCompat::PROJECT) => {
                e.projid.get()
            }
            _ => 0,
        }
    }

    /// Number of links. 1 for a directory with `dir_nlink` may mean "not counted".
    #[inline]
    pub fn links_count(&self) -> u16 {
        self.base.links_count.get()
    }

    /// Size in bytes: at most what the kind of map addresses, and below 2^63.
    #[inline]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Space taken, in units of 512 bytes, map and attribute blocks included.
    #[inline]
    pub fn sectors(&self) -> u64 {
        self.sectors
    }

    /// The flags.
    #[inline]
    pub fn flags(&self) -> InodeFlags {
        InodeFlags::from_bits(self.base.flags.get())
    }

    /// `i_block`: extent tree root, block pointers, fast symlink, inline data or device number.
    #[inline]
    pub fn i_block(&self) -> &'a [u8; I_BLOCK_SIZE] {
        &self.base.block
    }

    /// Time of deletion in seconds since 1970; on the orphan list, the number of the next orphan.
    #[inline]
    pub fn dtime(&self) -> u32 {
        self.base.dtime.get()
    }

    /// The generation, which tells the successive uses of an inode number apart.
    #[inline]
    pub fn generation(&self) -> u32 {
        self.base.generation.get()
    }

    /// What the checksums of the file's own metadata blocks start from, `None` without
    /// `metadata_csum`.
    #[inline]
    pub fn csum_seed(&self) -> Option<u32> {
        self.csum_seed
    }

    /// The version that changes with the contents (`i_version`), 0 in the Hurd's layout.
    #[inline]
    pub fn version(&self, geo: &Geometry) -> u64 {
        if geo.hurd() {
            return 0;
        }
        let hi = match self.extra {
            Some(e) if self.readable >= upto!(version_hi, U32) => e.version_hi.get(),
            _ => 0,
        };
        (u64::from(hi) << 32) | u64::from(self.base.version.get())
    }

    /// A timestamp with its extra word, if that is in use.
    #[inline]
    fn time(&self, base: U32, upto: u16, extra: impl FnOnce(&Extra) -> U32) -> Timestamp {
        match self.extra {
            Some(e) if self.readable >= upto => Timestamp::decode(base.get(), extra(e).get()),
            _ => Timestamp::decode_plain(base.get()),
        }
    }

    /// Last access.
    #[inline]
    pub fn atime(&self) -> Timestamp {
        self.time(self.base.atime, upto!(atime_extra, U32), |e| e.atime_extra)
    }

    /// Last change of the inode.
    #[inline]
    pub fn ctime(&self) -> Timestamp {
        self.time(self.base.ctime, upto!(ctime_extra, U32), |e| e.ctime_extra)
    }

    /// Last change of the contents.
    #[inline]
    pub fn mtime(&self) -> Timestamp {
        self.time(self.base.mtime, upto!(mtime_extra, U32), |e| e.mtime_extra)
    }

    /// Creation; 0 where the inode has no such field.
    #[inline]
    pub fn crtime(&self) -> Timestamp {
        match self.extra {
            Some(e) if self.readable >= upto!(crtime, U32) => {
                self.time(e.crtime, upto!(crtime_extra, U32), |e| e.crtime_extra)
            }
            _ => Timestamp::default(),
        }
    }

    /// Whether there is a field for the creation time.
    #[inline]
    pub fn has_crtime(&self) -> bool {
        self.extra.is_some() && self.readable >= upto!(crtime, U32)
    }

    /// Bytes of the extra fields that will be in use once the inode has been written: those that
    /// are, and where none is, all that are read as zeros.
    #[inline]
    pub fn written_extra_isize(&self) -> u16 {
        self.readable
    }

    /// Bytes of the extra fields in use, as stored.
    #[inline]
    pub fn extra_isize(&self) -> u16 {
        self.claimed
    }

    /// The space behind the extra fields, to the end of the inode: extended attributes if it
    /// begins with their magic number. `None` where there is no such space.
    #[inline]
    pub fn xattr_space(&self) -> Option<&'a [u8]> {
        self.xattrs
    }

    /// The block of extended attributes; it is on the device.
    #[inline]
    pub fn xattr_block(&self) -> Option<FsBlock> {
        self.xattr_block
    }

    /// Device number of a device inode as (major, minor).
    pub fn rdev(&self) -> (u32, u32) {
        let word = |n: usize| {
            let bytes = self.base.block.get(n..).and_then(|b| b.first_chunk());
            bytes.map_or(0, |b| u32::from_le_bytes(*b))
        };
        // The first word holds numbers that fit 8 bits each; the second one the others.
        match word(0) {
            0 => {
                let dev = word(4);
                ((dev & 0xfff00) >> 8, (dev & 0xff) | ((dev >> 12) & 0xfff00))
            }
            dev => ((dev >> 8) & 0xff, dev & 0xff),
        }
    }

    /// Whether this is a symbolic link whose target is in `i_block`. Without `ea_inode` that is
    /// told by the space taken: none, or just the attribute block.
    pub fn is_fast_symlink(&self, geo: &Geometry) -> bool {
        if self.file_type != FileType::Symlink || self.flags().contains(InodeFlags::INLINE_DATA) {
            return false;
        }
        if geo.has(Incompat::EA_INODE) {
            // Attributes may take any space then, so it is told by the size.
            return self.size != 0 && self.size < I_BLOCK_SIZE as u64;
        }
        let cluster_bits = geo
            .block_bits()
            .saturating_add(geo.cluster_bits())
            .saturating_sub(9);
        let acl = self
            .xattr_block
            .map_or(0, |_| 1u64.wrapping_shl(cluster_bits));
        self.sectors == acl
    }

    /// The target of a fast symbolic link, without its NUL; `None` for anything else.
    pub fn fast_symlink(&self, geo: &Geometry) -> Option<&'a [u8]> {
        if !self.is_fast_symlink(geo) {
            return None;
        }
        self.base.block.get(..usize::try_from(self.size).ok()?)
    }

    /// Of an EA inode: how many attributes refer to it.
    #[inline]
    pub fn ea_ref_count(&self) -> u64 {
        (u64::from(self.base.ctime.get()) << 32) | u64::from(self.base.version.get())
    }

    /// Of an EA inode: the hash of its contents.
    #[inline]
    pub fn ea_hash(&self) -> u32 {
        self.base.atime.get()
    }

    /// Of an EA inode that an old Lustre made: the inode that owns it (in place of the mtime).
    #[inline]
    pub fn ea_parent(&self) -> u32 {
        self.base.mtime.get()
    }

    /// What makes an EA inode one.
    pub fn ea_facts(&self) -> EaInode {
        EaInode {
            links: self.links_count().into(),
            size: self.size,
            hash: self.ea_hash(),
            references: self.ea_ref_count(),
            parent: self.ea_parent(),
            generation: self.generation(),
        }
    }

    /// `i_file_acl` with its high half where that has a meaning.
    #[inline]
    fn raw_file_acl(&self, geo: &Geometry) -> u64 {
        let lo = u64::from(self.base.file_acl_lo.get());
        if geo.is_64bit() {
            (u64::from(self.base.file_acl_high.get()) << 32) | lo
        } else {
            lo
        }
    }
}

/// Whether `purpose` may reach inode `ino` at all, whatever its slot says: not for numbers that no
/// path or handle may lead to, nor for numbers that do not exist.
///
/// Errors: [`Refused::Stale`] for a handle, else [`InodeError::IllegalNumber`].
#[inline]
pub fn check_number(geo: &Geometry, ino: Ino, purpose: Purpose) -> Result<(), Refused> {
    let hidden = match purpose {
        Purpose::Special => false,
        _ => geo.is_special_ino(ino),
    };
    if hidden || ino < Ino::ROOT || ino.get() > geo.inodes_count() {
        return Err(match purpose {
            Purpose::Handle => Refused::Stale,
            _ => InodeError::IllegalNumber.into(),
        });
    }
    Ok(())
}

/// Flags that exclude each other, or that need a feature which is off.
#[inline]
fn check_flags(geo: &Geometry, flags: InodeFlags) -> Result<(), InodeError> {
    const RARE: InodeFlags = InodeFlags::INLINE_DATA
        .union(InodeFlags::INDEX)
        .union(InodeFlags::CASEFOLD)
        .union(InodeFlags::ENCRYPT);
    if !flags.intersects(RARE) {
        return Ok(());
    }
    if flags.contains(InodeFlags::INLINE_DATA) {
        if flags.contains(InodeFlags::EXTENTS) {
            return Err(InodeError::InlineAndExtents);
        }
        if !geo.has(Incompat::INLINE_DATA) {
            return Err(InodeError::InlineWithoutFeature);
        }
    }
    // Without the feature the tree's blocks would be read as if they were linear, and written so:
    // their checksums stand elsewhere.
    let index = flags.contains(InodeFlags::INDEX) && !geo.has(Compat::DIR_INDEX);
    if index && geo.csum_seed().is_some() {
        return Err(InodeError::IndexWithoutFeature);
    }
    if flags.contains(InodeFlags::CASEFOLD) && !geo.has(Incompat::CASEFOLD) {
        return Err(InodeError::CasefoldWithoutFeature);
    }
    if flags.contains(InodeFlags::ENCRYPT) && !geo.has(Incompat::ENCRYPT) {
        return Err(InodeError::EncryptWithoutFeature);
    }
    Ok(())
}

/// `i_blocks` in 512-byte units. With `huge_file` it has 48 bits and may count blocks.
#[inline]
fn sectors(geo: &Geometry, base: &Base, flags: InodeFlags) -> u64 {
    let lo = u64::from(base.blocks_lo.get());
    if !geo.has(RoCompat::HUGE_FILE) {
        return lo;
    }
    let count = (u64::from(base.blocks_high.get()) << 32) | lo;
    if flags.contains(InodeFlags::HUGE_FILE) {
        // 48 bits and at most 7 more.
        count.wrapping_shl(geo.block_bits().saturating_sub(9))
    } else {
        count
    }
}

/// `i_dtime` of a slot: the time of deletion, or on the orphan list the number of the next orphan.
/// `None` for a slot that is cut short.
#[inline]
pub fn dtime(slot: &[u8]) -> Option<u32> {
    let (base, _) = Base::ref_from_prefix(slot).ok()?;
    Some(base.dtime.get())
}
