// SPDX-License-Identifier: GPL-2.0

//! From an inode number to a VFS inode.
//!
//! The slot in the inode table is verified (`ondisk::inode`), the root of its block map is, and
//! what later operations need is copied into [`InodeInfo`]; the rest of the slot (extended
//! attributes, inline data beyond `i_block`) is read again when it is asked for.
//!
//! What of [`InodeInfo`] is neither atomic nor behind a lock is written before the inode is visible
//! to anybody else and does not change; the cache is described in [`super::map`].
//!
//! Lock order: i_rwsem, xattr_sem, data_sem.

use super::{
    dir::{Dir, DirInode},
    fault::Fault,
    file::{File, FileInode, SpecialInode},
    io::{self, Read, Report},
    map,
    meta::FileBounds,
    options::Toggles,
    super_info::SuperInfo,
    symlink::Symlink,
    xattr, Rext4Fs, Sb, VfsInode,
};
use crate::{
    engine::extent_map::InlineMap,
    linux::{
        buffer::Buffer,
        inode::{Attributes, Got, NewInode},
        maple::RangeTree,
        mapping::MappingOps,
        rwsem::RwSem,
        seqcount::SeqCount,
    },
    ondisk::{
        inode::{
            check_number, FileType, Inode, InodeError, InodeFlags, Purpose, Refused, I_BLOCK_SIZE,
        },
        time::Timestamp,
        Corrupt, FsBlock, Ino,
    },
};
use core::{
    mem::offset_of,
    ops::Range,
    sync::atomic::{AtomicU32, AtomicU8, Ordering::Relaxed},
};
use kernel::{prelude::*, static_lock_class, sync::aref::ARef};

/// How the blocks of a file are mapped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum MapKind {
    /// Not at all: data in the inode, devices, and so on.
    None,
    /// By an extent tree.
    Extents,
    /// By direct and indirect blocks.
    Indirect,
}

impl MapKind {
    fn from_raw(raw: u8) -> Self {
        match raw {
            1 => Self::Extents,
            2 => Self::Indirect,
            _ => Self::None,
        }
    }

    fn to_raw(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Extents => 1,
            Self::Indirect => 2,
        }
    }
}

/// `i_block` in memory.
#[repr(C)]
pub(crate) struct Root {
    /// Root of the block map, or the target of a fast symlink. (Of inline data what counts is in
    /// the inode table.)
    pub(crate) block: [u8; I_BLOCK_SIZE],
    /// A NUL behind it, so that a fast symlink's target is terminated.
    nul: u8,
}

/// Where the extended attributes of an inode are.
#[derive(Clone, Copy, Default)]
pub(crate) struct XattrPlaces {
    /// The block with attributes.
    pub(crate) block: Option<FsBlock>,
    /// Whether there are any in the inode, behind its fields.
    pub(crate) in_body: bool,
    /// Size of the fields beyond the first 128 bytes.
    pub(crate) extra_isize: u16,
}

/// rext4's part of an inode.
#[pin_data]
pub(crate) struct InodeInfo {
    /// What the root is the root of: a [`MapKind`].
    map_kind: AtomicU8,
    /// Flags, as on disk; changed with i_rwsem held for writing.
    flags: AtomicU32,
    /// What checksums of this inode's blocks start from; `None` without metadata checksums.
    pub(crate) csum_seed: Option<u32>,
    /// Known ranges of the file: the first two.
    pub(crate) map: InlineMap,
    /// Counts changes of what is known; see [`super::map`].
    pub(crate) seq: SeqCount,
    /// Known ranges of the file when they are more than two.
    #[pin]
    pub(crate) store: RangeTree,
    /// How many ranges were put into `store`, at most; under `data_sem`.
    pub(crate) stored: AtomicU32,
    /// Serialises changes of the block map and of what is known about it.
    #[pin]
    pub(crate) data_sem: RwSem<Root>,
    /// Serialises changes of extended attributes, and of inline data.
    #[pin]
    pub(crate) xattr_sem: RwSem<XattrPlaces>,
    /// Birth time; `None` where the inode is too small.
    pub(crate) crtime: Option<Timestamp>,
    /// Project id; changed with i_rwsem held for writing.
    projid: AtomicU32,
}

impl InodeInfo {
    /// What readlink copies from.
    pub(crate) const LINK_BYTES: (usize, usize) = (
        offset_of!(Self, data_sem) + RwSem::<Root>::DATA_OFFSET + offset_of!(Root, block),
        I_BLOCK_SIZE,
    );

    /// Private data of an inode that has not been read.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            map_kind: AtomicU8::new(0),
            flags: AtomicU32::new(0),
            csum_seed: None,
            map: InlineMap::new(),
            seq: SeqCount::new(),
            store <- RangeTree::new(),
            stored: AtomicU32::new(0),
            data_sem <- RwSem::new(
                Root { block: [0; I_BLOCK_SIZE], nul: 0 },
                c"rext4 data_sem",
                static_lock_class!(),
            ),
            xattr_sem <- RwSem::new(
                XattrPlaces::default(),
                c"rext4 xattr_sem",
                static_lock_class!(),
            ),
            crtime: None,
            projid: AtomicU32::new(0),
        })
    }

    /// What the root is the root of.
    #[inline]
    pub(crate) fn map_kind(&self) -> MapKind {
        MapKind::from_raw(self.map_kind.load(Relaxed))
    }

    /// Flags, as on disk.
    #[inline]
    pub(crate) fn flags(&self) -> InodeFlags {
        InodeFlags::from_bits(self.flags.load(Relaxed))
    }

    /// Project id.
    #[inline]
    pub(crate) fn projid(&self) -> u32 {
        self.projid.load(Relaxed)
    }

    /// The target of a fast symlink, for an inode that nobody else knows yet.
    pub(crate) fn fast_link(self: Pin<&mut Self>) -> Option<&CStr> {
        CStr::from_bytes_until_nul(&self.project().data_sem.exclusive().block).ok()
    }
}

/// The page cache of regular files.
pub(crate) struct Pages;

impl MappingOps for Pages {
    type Fs = Rext4Fs;
    type Read = Read;
    type Report = Report;

    #[inline]
    fn run(inode: &VfsInode, pos: u64, len: u64) -> Result<Option<u64>> {
        io::run(inode, pos, len)
    }
}

/// A held slot of the inode table: derefs to the inode's bytes.
pub(crate) struct Slot<'a> {
    buffer: Buffer<'a>,
    range: Range<usize>,
}

impl core::ops::Deref for Slot<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buffer.get(self.range.clone()).unwrap_or(&[])
    }
}

impl Slot<'_> {
    /// Where the slot starts on the device, in bytes.
    pub(crate) fn address(&self) -> u64 {
        (self.buffer.block())
            .wrapping_mul(self.buffer.len() as u64)
            .wrapping_add(self.range.start as u64)
    }
}

/// Reads the slot of `ino`, unverified. May sleep.
///
/// Errors: EIO; EUCLEAN for a number that the inode tables do not have.
pub(crate) fn read_slot<'a>(sb: &'a Sb, ino: Ino) -> Result<Slot<'a>, Fault> {
    let info = sb.info();
    let loc = info.geometry.inode_location(ino);
    let table = info
        .inode_tables
        .get(loc.group.get() as usize)
        .ok_or(Corrupt::from(InodeError::IllegalNumber))?;
    let block = table.wrapping_add(loc.block.into());
    let buffer = match sb.device().cached(block) {
        Some(buffer) => buffer,
        None => {
            info.inode_readahead(sb, *table, loc.block);
            sb.device().read(block)?
        }
    };
    let start = loc.offset as usize;
    let end = start.saturating_add(info.geometry.inode_size().into());
    Ok(Slot {
        buffer,
        range: start..end,
    })
}

/// Runs `f` over `i_block` and the value of the `system.data` attribute of an inline inode.
///
/// Errors: those of reading and verifying the inode, of the attribute, and of `f`.
pub(crate) fn with_inline<R>(
    inode: &VfsInode,
    f: impl FnOnce(&[u8; I_BLOCK_SIZE], Option<&[u8]>) -> Result<R, Fault>,
) -> Result<R, Fault> {
    let sb = inode.super_block();
    let ino = number(inode)?;
    let _lock = inode.data().xattr_sem.read();
    let slot = read_slot(sb, ino)?;
    let raw = verify(sb.info(), ino, &slot, Purpose::Orphan)?;
    let value = xattr::inline_value(sb.info(), raw.xattr_space())?;
    f(raw.i_block(), value)
}

/// Where `i_block` of `inode` is on the device, in bytes; 0 if it cannot be told.
pub(crate) fn block_address(inode: &VfsInode) -> u64 {
    let sb = inode.super_block();
    let geo = &sb.info().geometry;
    let Ok(ino) = number(inode) else {
        return 0;
    };
    let loc = geo.inode_location(ino);
    let Some(table) = sb.info().inode_tables.get(loc.group.get() as usize) else {
        return 0;
    };
    (table.wrapping_add(loc.block.into()) << (geo.block_bits() & 31))
        .wrapping_add(loc.offset.into())
        .wrapping_add(40)
}

/// The inode's number as the engine wants it.
#[inline]
pub(crate) fn number(inode: &VfsInode) -> Result<Ino, Fault> {
    Ok(u32::try_from(inode.ino())
        .ok()
        .and_then(Ino::new)
        .ok_or(Corrupt::from(InodeError::IllegalNumber))?)
}

/// Verifies a slot; a stale inode is ESTALE.
fn verify<'a>(
    info: &SuperInfo,
    ino: Ino,
    slot: &'a [u8],
    purpose: Purpose,
) -> Result<Inode<'a>, Fault> {
    Inode::verify(&info.geometry, ino, slot, purpose).map_err(|e| match e {
        Refused::Stale => Fault::Errno(ESTALE),
        Refused::Corrupt(e) => Fault::Corrupt(e.into()),
    })
}

/// The inode `ino`, for `purpose`. May sleep.
///
/// Errors: ESTALE when it is not in use; EUCLEAN (reported), EIO, ENOMEM.
pub(crate) fn iget(sb: &Sb, ino: Ino, purpose: Purpose) -> Result<ARef<VfsInode>> {
    try_iget(sb, ino, purpose).map_err(|e| e.report(sb, ino.get().into(), "iget"))
}

fn try_iget(sb: &Sb, ino: Ino, purpose: Purpose) -> Result<ARef<VfsInode>, Fault> {
    // Before the cache is asked: a number that this purpose may not reach must not be found
    // there either.
    check_number(&sb.info().geometry, ino, purpose).map_err(|e| match e {
        Refused::Stale => Fault::Errno(ESTALE),
        Refused::Corrupt(e) => Fault::Corrupt(e.into()),
    })?;
    match sb.iget(ino.get().into())? {
        Got::Cached(inode) => {
            let is_ea = inode.data().flags().contains(InodeFlags::EA_INODE);
            match (purpose == Purpose::EaInode, is_ea) {
                (true, false) => Err(Corrupt::from(InodeError::MissingEaFlag).into()),
                (false, true) => Err(Corrupt::from(InodeError::UnexpectedEaFlag).into()),
                _ => Ok(inode),
            }
        }
        Got::New(new) => fill(sb, new, ino, purpose),
    }
}

/// Reads a new inode from disk. On an error `new` is dropped, which tells those who wait for it.
fn fill(
    sb: &Sb,
    mut new: NewInode<Rext4Fs>,
    ino: Ino,
    purpose: Purpose,
) -> Result<ARef<VfsInode>, Fault> {
    let sbi = sb.info();
    let slot = read_slot(sb, ino)?;
    let raw = verify(sbi, ino, &slot, purpose)?;
    let flags = raw.flags();
    let file_type = raw.file_type();
    let inline = flags.contains(InodeFlags::INLINE_DATA);
    let fast_link = file_type == FileType::Symlink && raw.is_fast_symlink(&sbi.geometry);
    let map_kind = if inline || fast_link || !file_type.has_map() {
        MapKind::None
    } else if flags.contains(InodeFlags::EXTENTS) {
        MapKind::Extents
    } else {
        MapKind::Indirect
    };
    map::verify_root(
        &FileBounds::new(sbi, ino.get().into()),
        map_kind,
        raw.i_block(),
    )?;
    if let Some(block) = raw.xattr_block() {
        if !sbi.allows(ino.get().into(), block, 1) {
            return Err(Corrupt::from(InodeError::BadXattrBlock).into());
        }
    }

    let time = |t: Timestamp| (t.secs, t.nanos);
    new.set_attributes(&Attributes {
        mode: raw.mode(),
        uid: if sbi.has(Toggles::NO_UID32) {
            raw.uid16().into()
        } else {
            raw.uid()
        },
        gid: if sbi.has(Toggles::NO_UID32) {
            raw.gid16().into()
        } else {
            raw.gid()
        },
        nlink: raw.links_count().into(),
        size: raw.size(),
        sectors: raw.sectors(),
        generation: raw.generation(),
        atime: time(raw.atime()),
        mtime: time(raw.mtime()),
        ctime: time(raw.ctime()),
        flags: vfs_flags(flags),
        version: raw.version(&sbi.geometry),
    });

    let xattrs = xattr::Summary::of(sbi, &raw);
    let info = new.data_mut().project();
    info.data_sem.exclusive().block = *raw.i_block();
    *info.map_kind.get_mut() = map_kind.to_raw();
    *info.flags.get_mut() = flags.bits();
    *info.csum_seed = raw.csum_seed();
    *info.xattr_sem.exclusive() = XattrPlaces {
        block: raw.xattr_block(),
        in_body: xattrs.in_body,
        extra_isize: raw.extra_isize(),
    };
    *info.crtime = raw.has_crtime().then(|| raw.crtime());
    *info.projid.get_mut() = raw.projid(&sbi.geometry);

    if !xattrs.may_have_acl {
        new.has_no_acl();
    }
    match file_type {
        FileType::Regular => new.set_regular::<FileInode, File, Pages>(sbi.min_folio_order),
        FileType::Directory => new.set_directory::<DirInode, Dir>(),
        FileType::Symlink => new.set_symlink::<Symlink>(fast_link.then_some(InodeInfo::fast_link)),
        _ => new.set_special::<SpecialInode>(raw.mode(), raw.rdev()),
    }
    Ok(new.finish())
}

/// The VFS's flags for those on disk.
fn vfs_flags(flags: InodeFlags) -> u32 {
    use crate::linux::inode::vfs_flags::*;
    [
        (InodeFlags::SYNC, S_SYNC),
        (InodeFlags::APPEND, S_APPEND),
        (InodeFlags::IMMUTABLE, S_IMMUTABLE),
        (InodeFlags::NOATIME, S_NOATIME),
        (InodeFlags::DIRSYNC, S_DIRSYNC),
        (InodeFlags::VERITY, S_VERITY),
    ]
    .into_iter()
    .fold(
        0,
        |acc, (disk, vfs)| {
            if flags.contains(disk) {
                acc | vfs
            } else {
                acc
            }
        },
    )
}
