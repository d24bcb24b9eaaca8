// SPDX-License-Identifier: GPL-2.0

//! Writing an inode: the only way to change a slot of an inode table.
//!
//! [`InodeEdit`] borrows one slot of a block that may be changed. Opening it changes nothing;
//! setters store fields, each in the form that this file system has for it (halves, extra words,
//! units); [`InodeEdit::finish`] stores the checksum. What a field cannot hold is an error of its
//! setter, and the field is as before then.
//!
//! Rules that hold whatever the order of the calls:
//! - `i_mode` and `i_flags` decide how the size is stored, so they are set before it;
//! - the flag that gives `i_blocks` its unit belongs to [`InodeEdit::set_blocks`]: the flags that
//!   a caller sets leave it alone;
//! - an extra field is written only if the inode has it in use; an inode with room for all of
//!   them that has none in use takes them into use when it is written, as reading has already
//!   taken them for zeros.
//!
//! Locking: the caller has write access to the block, and nothing else writes to this slot.
//! Neighbours in the block may be written at the same time by others; nothing here touches them.
//!
//! Format: `Documentation/filesystems/ext4/inodes.rst`.

use core::mem::{offset_of, size_of};
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, IntoBytes};

use super::features::{Incompat, RoCompat};
use super::inode::{InodeError, InodeFlags, BASE_SIZE, I_BLOCK_SIZE};
use super::inode_raw::{store_checksum, upto, Base, Extra, EXTRA_SIZE};
use super::time::Timestamp;
use super::xattr_edit;
use super::{FsBlock, Geometry, Ino};

/// The largest file that needs no `large_file` feature, in bytes.
const SMALL_FILE_MAX: u64 = 0x7fff_ffff;
/// `i_blocks` with its upper half.
const BLOCKS_MAX: u64 = (1 << 48) - 1;

/// A value that this inode cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unstorable {
    /// The size is beyond what the map addresses, or needs a field that this type of file does
    /// not have: EFBIG.
    Size,
    /// More space than the count of blocks can say: EFBIG.
    Blocks,
    /// A project where the file system or the inode has no field for one: EOVERFLOW.
    Project,
    /// A device number beyond 12 and 20 bits: EINVAL.
    Device,
}

/// Why the extra fields cannot be extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotExpanded {
    /// Attributes are in the way; `missing` more bytes would have to be free among them.
    NoRoom {
        /// Bytes, at least 1.
        missing: u16,
    },
    /// The attributes are damaged.
    Corrupt(super::xattr::XattrError),
}

/// A slot of an inode table that is being changed; see the module's head.
pub struct InodeEdit<'a> {
    geo: &'a Geometry,
    base: &'a mut Base,
    /// All of the slot behind `base`.
    beyond: &'a mut [u8],
    /// Bytes of the extra fields that are in use when this is done.
    claimed: u16,
    /// Whether the slot says so already.
    stored: bool,
}

impl<'a> InodeEdit<'a> {
    /// Opens the slot of an inode that is in use. `slot` holds at least the inode size of the
    /// geometry.
    ///
    /// Errors: [`InodeError::Truncated`], [`InodeError::BadExtraIsize`].
    #[inline]
    pub fn open(geo: &'a Geometry, slot: &'a mut [u8]) -> Result<Self, InodeError> {
        let slot = slot
            .get_mut(..geo.inode_size().into())
            .ok_or(InodeError::Truncated)?;
        let (base, beyond) = Base::mut_from_prefix(slot).map_err(|_| InodeError::Truncated)?;
        let stored = match Extra::ref_from_prefix(beyond) {
            Ok((extra, _)) => extra.extra_isize.get(),
            Err(_) => 0,
        };
        if stored & 3 != 0 || usize::from(stored) > beyond.len() {
            return Err(InodeError::BadExtraIsize);
        }
        let unused = stored == 0 && beyond.len() >= size_of::<Extra>();
        Ok(Self {
            geo,
            base,
            beyond,
            claimed: if unused { EXTRA_SIZE } else { stored },
            stored: !unused,
        })
    }

    /// Opens the slot of a new inode: everything is 0, whatever was there, and the extra fields
    /// are in use as far as the superblock asks for.
    ///
    /// Errors: [`InodeError::Truncated`].
    pub fn fresh(geo: &'a Geometry, slot: &'a mut [u8]) -> Result<Self, InodeError> {
        let slot = slot
            .get_mut(..geo.inode_size().into())
            .ok_or(InodeError::Truncated)?;
        slot.fill(0);
        let (base, beyond) = Base::mut_from_prefix(slot).map_err(|_| InodeError::Truncated)?;
        Ok(Self {
            claimed: fresh_extra_isize(geo),
            geo,
            base,
            beyond,
            stored: false,
        })
    }

    /// Stores what must fit together: the size of the extra fields, and the checksum, for which
    /// `seed` is the inode's (`Geometry::inode_seed` of its number and generation).
    #[inline]
    pub fn finish(mut self, seed: Option<u32>) {
        self.claim();
        if let Some(seed) = seed.filter(|_| self.geo.has_inode_csums()) {
            store_checksum(seed, self.base, self.beyond);
        }
    }

    /// As [`finish`](Self::finish), for a caller that does not keep the seed of inode `ino`.
    pub fn finish_as(self, ino: Ino) {
        let seed = self.geo.inode_seed(ino, self.base.generation.get());
        self.finish(seed);
    }

    /// Says in the slot how much of the extra fields is in use. What comes to stand behind them
    /// was nobody's, so it must not be read as attributes.
    #[inline]
    fn claim(&mut self) {
        if self.stored {
            return;
        }
        self.stored = true;
        if self.claimed == 0 {
            return;
        }
        if let Ok((extra, _)) = Extra::mut_from_prefix(self.beyond) {
            extra.extra_isize = self.claimed.into();
        }
        let space = self.beyond.get_mut(self.claimed.into()..);
        if let Some(magic) = space.and_then(|s| s.first_chunk_mut::<4>()) {
            *magic = [0; 4];
        }
    }

    /// The extra fields, if the first `upto` bytes of them are in use.
    #[inline]
    fn extra(&mut self, upto: u16) -> Option<&mut Extra> {
        if self.claimed < upto {
            return None;
        }
        Extra::mut_from_prefix(self.beyond).ok().map(|(e, _)| e)
    }

    /// Type and permissions (`i_mode`).
    #[inline]
    pub fn set_mode(&mut self, mode: u16) {
        self.base.mode = mode.into();
    }

    /// Owner and group.
    #[inline]
    pub fn set_owner(&mut self, uid: u32, gid: u32) {
        self.base.uid = (uid as u16).into();
        self.base.uid_high = ((uid >> 16) as u16).into();
        self.base.gid = (gid as u16).into();
        self.base.gid_high = ((gid >> 16) as u16).into();
    }

    /// Owner and group under `nouid32`: 16 bits each. What does not fit becomes `overflow` (the
    /// kernel's `fs_overflowuid` and `fs_overflowgid`), rather than somebody else's number.
    pub fn set_owner16(&mut self, uid: u32, gid: u32, overflow: (u16, u16)) {
        self.base.uid = u16::try_from(uid).unwrap_or(overflow.0).into();
        self.base.gid = u16::try_from(gid).unwrap_or(overflow.1).into();
        self.forget_owner_high();
    }

    /// Clears the upper halves of owner and group, which is done to an inode that is being freed:
    /// a kernel that knows 16 bits only may use it next and would leave them.
    #[inline]
    pub fn forget_owner_high(&mut self) {
        self.base.uid_high = 0.into();
        self.base.gid_high = 0.into();
    }

    /// Number of links; a directory whose links are not counted any more has 1.
    #[inline]
    pub fn set_links(&mut self, links: u16) {
        self.base.links_count = links.into();
    }

    /// Size in bytes. Mode and flags have been set before. Whether the file system must have
    /// `large_file` then is for the caller to ask: [`needs_large_file`].
    ///
    /// Only regular files, and with `large_dir` all files, have the upper half: elsewhere the
    /// field is stored as 0, not as bits that nobody reads.
    ///
    /// Errors: [`Unstorable::Size`].
    #[inline]
    pub fn set_size(&mut self, size: u64) -> Result<(), Unstorable> {
        let extents = self.flags().contains(InodeFlags::EXTENTS);
        let max = match (self.has_size_high(), extents) {
            (false, _) => u32::MAX.into(),
            (true, true) => self.geo.max_extent_bytes(),
            (true, false) => self.geo.max_indirect_bytes(),
        };
        if size > max {
            return Err(Unstorable::Size);
        }
        self.base.size_lo = (size as u32).into();
        self.base.size_high = ((size >> 32) as u32).into();
        Ok(())
    }

    #[inline]
    fn has_size_high(&self) -> bool {
        self.base.mode.get() >> 12 == 8 || self.geo.has(Incompat::LARGEDIR)
    }

    /// The size that is stored.
    #[inline]
    pub fn size(&self) -> u64 {
        let high = if self.has_size_high() {
            self.base.size_high.get()
        } else {
            0
        };
        (u64::from(high) << 32) | u64::from(self.base.size_lo.get())
    }

    /// Space taken, in units of 512 bytes, and the flag for the unit in which it is stored: 32
    /// bits of sectors, with `huge_file` 48 bits of them, and then 48 bits of blocks.
    ///
    /// Errors: [`Unstorable::Blocks`].
    #[inline]
    pub fn set_blocks(&mut self, sectors: u64) -> Result<(), Unstorable> {
        if sectors > u32::MAX.into() {
            return self.set_many_blocks(sectors);
        }
        self.base.blocks_lo = (sectors as u32).into();
        self.base.blocks_high = 0.into();
        self.set_unit(false);
        Ok(())
    }

    fn set_many_blocks(&mut self, sectors: u64) -> Result<(), Unstorable> {
        let in_blocks = sectors > BLOCKS_MAX;
        let count = if in_blocks {
            sectors.wrapping_shr(self.geo.block_bits().saturating_sub(9))
        } else {
            sectors
        };
        if !self.geo.has(RoCompat::HUGE_FILE) || count > BLOCKS_MAX {
            return Err(Unstorable::Blocks);
        }
        self.base.blocks_lo = (count as u32).into();
        self.base.blocks_high = ((count >> 32) as u16).into();
        self.set_unit(in_blocks);
        Ok(())
    }

    fn set_unit(&mut self, blocks: bool) {
        const UNIT: u32 = InodeFlags::HUGE_FILE.bits();
        let bits = self.base.flags.get() & !UNIT;
        self.base.flags = (bits | if blocks { UNIT } else { 0 }).into();
    }

    /// The flags that are stored.
    #[inline]
    pub fn flags(&self) -> InodeFlags {
        InodeFlags::from_bits(self.base.flags.get())
    }

    /// The flags, but for [`InodeFlags::HUGE_FILE`], which stays as it is.
    #[inline]
    pub fn set_flags(&mut self, flags: InodeFlags) {
        const UNIT: u32 = InodeFlags::HUGE_FILE.bits();
        let unit = self.base.flags.get() & UNIT;
        self.base.flags = ((flags.bits() & !UNIT) | unit).into();
    }

    /// The generation. All checksums of the file's metadata depend on it, so it is set once, for
    /// a fresh inode.
    #[inline]
    pub fn set_generation(&mut self, generation: u32) {
        self.base.generation = generation.into();
    }

    /// `i_block`, for whoever knows what it holds: extent tree root, block pointers, fast symlink,
    /// inline data.
    #[inline]
    pub fn i_block(&mut self) -> &mut [u8; I_BLOCK_SIZE] {
        &mut self.base.block
    }

    /// Replaces `i_block`.
    #[inline]
    pub fn set_i_block(&mut self, block: &[u8; I_BLOCK_SIZE]) {
        self.base.block = *block;
    }

    /// The device that a device inode stands for; the rest of `i_block` is 0.
    ///
    /// Numbers of 8 bits each have a form of their own, which old kernels read.
    ///
    /// Errors: [`Unstorable::Device`].
    pub fn set_rdev(&mut self, major: u32, minor: u32) -> Result<(), Unstorable> {
        if major > 0xfff || minor > 0xf_ffff {
            return Err(Unstorable::Device);
        }
        let words = if major < 256 && minor < 256 {
            [(major << 8) | minor, 0]
        } else {
            let low = minor & 0xff;
            [0, low | (major << 8) | ((minor & !0xff) << 12)]
        };
        self.base.block = [0; I_BLOCK_SIZE];
        let words = words.map(U32::new);
        for (to, from) in self.base.block.iter_mut().zip(words.as_bytes()) {
            *to = *from;
        }
        Ok(())
    }

    /// Time of deletion in seconds since 1970; on the orphan list, the number of the next orphan.
    #[inline]
    pub fn set_dtime(&mut self, dtime: u32) {
        self.base.dtime = dtime.into();
    }

    /// What [`set_dtime`](Self::set_dtime) has stored.
    #[inline]
    pub fn dtime(&self) -> u32 {
        self.base.dtime.get()
    }

    /// Last access.
    #[inline]
    pub fn set_atime(&mut self, time: Timestamp) {
        self.base.atime = match self.extra(upto!(atime_extra, U32)) {
            Some(e) => split(time, &mut e.atime_extra),
            None => time.encode_plain().into(),
        };
    }

    /// Last change of the inode.
    #[inline]
    pub fn set_ctime(&mut self, time: Timestamp) {
        self.base.ctime = match self.extra(upto!(ctime_extra, U32)) {
            Some(e) => split(time, &mut e.ctime_extra),
            None => time.encode_plain().into(),
        };
    }

    /// Last change of the contents.
    #[inline]
    pub fn set_mtime(&mut self, time: Timestamp) {
        self.base.mtime = match self.extra(upto!(mtime_extra, U32)) {
            Some(e) => split(time, &mut e.mtime_extra),
            None => time.encode_plain().into(),
        };
    }

    /// Creation; not kept where the inode has no such field.
    #[inline]
    pub fn set_crtime(&mut self, time: Timestamp) {
        if let Some(e) = self.extra(upto!(crtime_extra, U32)) {
            e.crtime = split(time, &mut e.crtime_extra);
        } else if let Some(e) = self.extra(upto!(crtime, U32)) {
            e.crtime = time.encode_plain().into();
        }
    }

    /// The version that changes with the contents; not kept in the Hurd's layout, and in 32 bits
    /// where the inode has no more.
    #[inline]
    pub fn set_version(&mut self, version: u64) {
        if self.geo.hurd() {
            return;
        }
        self.base.version = (version as u32).into();
        if let Some(e) = self.extra(upto!(version_hi, U32)) {
            e.version_hi = ((version >> 32) as u32).into();
        }
    }

    /// The block of extended attributes.
    #[inline]
    pub fn set_xattr_block(&mut self, block: Option<FsBlock>) {
        let block = block.map_or(0, FsBlock::get);
        self.base.file_acl_lo = (block as u32).into();
        // The Hurd has something else there, and 32 bits of block number.
        if !self.geo.hurd() {
            self.base.file_acl_high = ((block >> 32) as u16).into();
        }
    }

    /// The project.
    ///
    /// Errors: [`Unstorable::Project`] unless it is 0, the default, which needs no field.
    #[inline]
    pub fn set_projid(&mut self, project: u32) -> Result<(), Unstorable> {
        let on = self.geo.has(RoCompat::PROJECT);
        match self.extra(upto!(projid, U32)) {
            Some(e) if on || project == 0 => {
                e.projid = project.into();
                Ok(())
            }
            _ if project == 0 => Ok(()),
            _ => Err(Unstorable::Project),
        }
    }

    /// Of an EA inode: how many attributes refer to it. Takes the place of the change time's
    /// seconds and of the version.
    pub fn set_ea_ref_count(&mut self, references: u64) {
        self.base.ctime = ((references >> 32) as u32).into();
        self.base.version = (references as u32).into();
    }

    /// Of an EA inode: the hash of its contents, in place of the access time's seconds.
    pub fn set_ea_hash(&mut self, hash: u32) {
        self.base.atime = hash.into();
    }

    /// Bytes of the extra fields in use.
    #[inline]
    pub fn extra_isize(&self) -> u16 {
        self.claimed
    }

    /// The space behind the extra fields, to the end of the inode, for `xattr_edit`. `None` where
    /// there is no such space.
    #[inline]
    pub fn xattr_space(&mut self) -> Option<&mut [u8]> {
        self.claim();
        if self.claimed == 0 {
            return None;
        }
        let space = self.beyond.get_mut(self.claimed.into()..)?;
        (space.len() >= 4).then_some(space)
    }

    /// Takes `want` bytes of extra fields into use (rounded down to a multiple of 4, and to what
    /// the inode has room for; never less than are in use). The new fields are 0. Attributes are
    /// moved out of the way if there is room among them.
    ///
    /// Errors: [`NotExpanded`]; nothing has changed then.
    pub fn expand(&mut self, want: u16) -> Result<(), NotExpanded> {
        let room = u16::try_from(self.beyond.len()).unwrap_or(u16::MAX);
        let want = want.min(room) & !3;
        if want <= self.claimed {
            return Ok(());
        }
        self.claim();
        let diff = want.wrapping_sub(self.claimed);
        let Some(space) = self.beyond.get_mut(self.claimed.into()..) else {
            return Ok(());
        };
        xattr_edit::shift_body(space, diff)?;
        self.claimed = want;
        if let Ok((extra, _)) = Extra::mut_from_prefix(self.beyond) {
            extra.extra_isize = want.into();
        }
        Ok(())
    }
}

/// Of an EA inode: how many attributes refer to it, as [`InodeEdit::set_ea_ref_count`] has stored it
/// in the slot. `None` for a slot that is cut short.
pub fn ea_ref_count(slot: &[u8]) -> Option<u64> {
    let (base, _) = Base::ref_from_prefix(slot).ok()?;
    Some((u64::from(base.ctime.get()) << 32) | u64::from(base.version.get()))
}

/// Bytes of the extra fields that a new inode has in use.
#[inline]
pub fn fresh_extra_isize(geo: &Geometry) -> u16 {
    let room = usize::from(geo.inode_size()).saturating_sub(BASE_SIZE);
    // C ext4 stores what the superblock says, and then refuses the inode if it is odd.
    let want = geo.want_extra_isize() & !3;
    let fits = usize::from(want) <= room && room >= size_of::<Extra>();
    if fits {
        want
    } else {
        0
    }
}

/// Whether a file of this size, in bytes, needs the feature `large_file`.
#[inline]
pub const fn needs_large_file(size: u64) -> bool {
    size > SMALL_FILE_MAX
}

/// Stores the extra word and returns the 32 bits.
#[inline]
fn split(time: Timestamp, extra: &mut U32) -> U32 {
    let (base, word) = time.encode();
    *extra = word.into();
    base.into()
}
