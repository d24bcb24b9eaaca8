// SPDX-License-Identifier: GPL-2.0

//! From an inode number to a VFS inode.
//!
//! The slot in the inode table is verified (`ondisk::inode`), the root of its block map is, and
//! what later operations need is copied into [`InodeInfo`]; the rest of the slot (extended
//! attributes, inline data beyond `i_block`) is read again when it is asked for.
//!
//! What of [`InodeInfo`] is neither atomic nor behind a lock is written before the inode is visible
//! to anybody else and does not change; the cache is described in [`super::map`], and how an inode
//! is written back in [`super::inode_write`].
//!
//! The checksum of a slot is verified when the inode is read, before anybody can write to it.
//! Whoever looks at the slot later, of an inode that is in memory, holds the lock of what it is
//! after (xattr_sem for attributes and inline data) and not that of the slot, since it may sleep;
//! the other fields, and with them the checksum, may change under its eyes. It checks the
//! structure of what it reads, and no checksum.
//!
//! Lock order: i_rwsem, handle, xattr_sem, data_sem, the slot.

use super::{
    delete,
    dir::{Dir, DirInode},
    fault::Fault,
    file::{File, FileInode, SpecialInode},
    io::{self, Read, Report},
    map,
    meta::FileBounds,
    options::Toggles,
    orphan::{self, SlotRight},
    super_info::SuperInfo,
    symlink::Symlink,
    writeback::Writeback,
    xattr, Rext4Fs, Sb, VfsInode,
};
use crate::{
    engine::extent_map::InlineMap,
    linux::{
        buffer::Buffer,
        inode::{Attributes, Got, NewInode},
        jbd2::SlotKey,
        maple::RangeTree,
        mapping::MappingOps,
        rwsem::RwSem,
        seqcount::SeqCount,
    },
    ondisk::{
        inode::{
            check_number, FileType, Inode, InodeError, InodeFlags, Purpose, Refused, BASE_SIZE,
            I_BLOCK_SIZE,
        },
        inode_edit::fresh_extra_isize,
        time::Timestamp,
        Corrupt, FsBlock, Group, Ino,
    },
};
use core::{
    mem::offset_of,
    ops::Range,
    sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicU8, Ordering::Relaxed},
};
use kernel::{
    new_spinlock,
    prelude::*,
    static_lock_class,
    sync::{aref::ARef, SpinLock},
};

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
    /// What checksums of this inode's blocks start from, or [`NO_SEED`]; changed with `data_sem` held for
    /// writing, by who writes all of them.
    csum_seed: AtomicU64,
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
    /// The size up to which a regular file is on disk, in bytes; changed under `data_sem`.
    disksize: AtomicU64,
    /// Clusters that are promised to data without a place; changed under `data_sem`.
    pub(super) delayed: AtomicI64,
    /// Up to where data is in the file's map, in bytes, as far as the size on disk is to follow; changed
    /// under `data_sem`.
    pub(super) reached: AtomicU64,
    /// Whether all contents were cut off by somebody who has the file open still.
    pub(super) was_replaced: AtomicBool,
    /// Whether the contents of a regular file, which has none yet, may come to be in the inode; see
    /// [`super::file_inline`].
    pub(super) may_inline: AtomicBool,
    /// The block of the inode table that the slot is in: the key's.
    pub(super) slot_block: u64,
    /// The right to write the slot. Innermost of an inode's locks.
    #[pin]
    pub(super) slot_key: SpinLock<SlotRight>,
    /// Where the inode is noted as an orphan.
    pub(super) orphan: orphan::Place,
    /// Whether it is being deleted with its last name.
    pub(super) deletion: delete::State,
    /// Whether the extra fields are to be extended when the inode is written next.
    pub(super) may_expand: AtomicBool,
    /// Whether a change that the VFS has reported could not be stored.
    pub(super) unstored: AtomicBool,
    /// Of a directory: the group that the last inode made in it went to, plus 1; 0 for none.
    last_group: AtomicU32,
    /// Of a directory: counts changes of its entries; changed with i_rwsem held for writing.
    pub(super) changes: AtomicU64,
    /// The last transaction with a change of the inode, or a later one that had begun when it was
    /// read. Meaningless without a journal.
    pub(super) sync_tid: AtomicU32,
    /// The same for changes that fdatasync waits for.
    pub(super) datasync_tid: AtomicU32,
}

/// What a new inode is like.
pub(crate) struct NewFacts {
    /// How its blocks are mapped.
    pub(crate) map_kind: MapKind,
    /// Its flags.
    pub(crate) flags: InodeFlags,
    /// Its generation.
    pub(crate) generation: u32,
    /// When it is made.
    pub(crate) crtime: Timestamp,
    /// Its project.
    pub(crate) projid: u32,
    /// `i_block`.
    pub(crate) root: [u8; I_BLOCK_SIZE],
    /// Whether its contents may come to be in the inode.
    pub(crate) may_inline: bool,
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
            csum_seed: AtomicU64::new(NO_SEED),
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
            disksize: AtomicU64::new(0),
            delayed: AtomicI64::new(0),
            reached: AtomicU64::new(0),
            was_replaced: AtomicBool::new(false),
            may_inline: AtomicBool::new(false),
            slot_block: 0,
            slot_key <- new_spinlock!(
                SlotRight::Own(SlotKey::new(0, 0, 0)),
                "rext4 inode slot"
            ),
            orphan: orphan::Place::none(),
            deletion: delete::State::none(),
            may_expand: AtomicBool::new(false),
            unstored: AtomicBool::new(false),
            last_group: AtomicU32::new(0),
            changes: AtomicU64::new(1),
            sync_tid: AtomicU32::new(0),
            datasync_tid: AtomicU32::new(0),
        })
    }

    /// Private data of inode `ino`, which is being made and has nothing on disk yet.
    ///
    /// Errors: EUCLEAN for a number that the inode tables do not have.
    pub(crate) fn set_up(
        self: Pin<&mut Self>,
        sb: &Sb,
        ino: Ino,
        new: &NewFacts,
    ) -> Result<(), Fault> {
        let sbi = sb.info();
        let key = slot_key(sbi, ino)?;
        let extra_isize = fresh_extra_isize(&sbi.geometry);
        let mut info = self.project();
        if new.flags.contains(InodeFlags::EA_INODE) {
            set_ea_classes(info.xattr_sem.as_mut(), info.data_sem.as_mut());
        }
        info.data_sem.exclusive().block = new.root;
        *info.map_kind.get_mut() = new.map_kind.to_raw();
        *info.flags.get_mut() = new.flags.bits();
        *info.csum_seed.get_mut() = raw_seed(sbi.geometry.inode_seed(ino, new.generation));
        info.xattr_sem.exclusive().extra_isize = extra_isize;
        *info.crtime = (extra_isize >= CRTIME_END).then_some(new.crtime);
        *info.projid.get_mut() = new.projid;
        *info.may_inline.get_mut() = new.may_inline;
        *info.slot_block = key.block();
        *info.slot_key.lock() = SlotRight::Own(key);
        Ok(())
    }

    /// What the root is the root of.
    #[inline]
    pub(crate) fn map_kind(&self) -> MapKind {
        MapKind::from_raw(self.map_kind.load(Relaxed))
    }

    /// Says what the root is the root of. xattr_sem and data_sem are held for writing, and i_rwsem, or of
    /// a regular file the invalidate lock.
    pub(crate) fn set_map_kind(&self, kind: MapKind) {
        self.map_kind.store(kind.to_raw(), Relaxed);
    }

    /// What checksums of this inode's blocks start from; `None` without metadata checksums.
    #[inline]
    pub(crate) fn csum_seed(&self) -> Option<u32> {
        u32::try_from(self.csum_seed.load(Relaxed)).ok()
    }

    /// Sets what [`csum_seed`](Self::csum_seed) says. `data_sem` is held for writing; the caller sees to all
    /// blocks with a checksum, and stores the inode after that.
    pub(super) fn set_csum_seed(&self, seed: Option<u32>) {
        self.csum_seed.store(raw_seed(seed), Relaxed);
    }

    /// Flags, as on disk.
    #[inline]
    pub(crate) fn flags(&self) -> InodeFlags {
        InodeFlags::from_bits(self.flags.load(Relaxed))
    }

    /// Sets the flags of an inode that is no regular file. i_rwsem is held for writing.
    pub(crate) fn set_flags(&self, flags: InodeFlags) {
        self.flags.store(flags.bits(), Relaxed);
    }

    /// Makes those flags that are in `mask` what they are in `flags`. i_rwsem is held for writing, but
    /// for the flags that say where the contents of a regular file are: for these xattr_sem and
    /// data_sem are, and the invalidate lock.
    pub(crate) fn change_flags(&self, mask: InodeFlags, flags: InodeFlags) {
        let (mask, flags) = (mask.bits(), flags.bits());
        let change = |old: u32| Some((old & !mask) | (flags & mask));
        // It always has a new value.
        let _ = self.flags.fetch_update(Relaxed, Relaxed, change);
    }

    /// Project id.
    #[inline]
    pub(crate) fn projid(&self) -> u32 {
        self.projid.load(Relaxed)
    }

    /// Sets the project id. i_rwsem is held for writing.
    pub(crate) fn set_projid(&self, projid: u32) {
        self.projid.store(projid, Relaxed);
    }

    /// The size up to which a regular file is on disk, in bytes.
    #[inline]
    pub(crate) fn disksize(&self) -> u64 {
        self.disksize.load(Relaxed)
    }

    /// Sets the size up to which a regular file is on disk. `data_sem` is held for writing.
    pub(crate) fn set_disksize(&self, bytes: u64) {
        self.disksize.store(bytes, Relaxed);
    }

    /// The group that the last inode made in this directory went to.
    pub(crate) fn last_group(&self) -> Option<Group> {
        self.last_group.load(Relaxed).checked_sub(1).map(Group::new)
    }

    /// Remembers the group that an inode made in this directory went to.
    pub(crate) fn set_last_group(&self, group: Group) {
        let group = group.get().saturating_add(1);
        if self.last_group.load(Relaxed) != group {
            self.last_group.store(group, Relaxed);
        }
    }

    /// The target of a fast symlink, for an inode that nobody else knows yet.
    pub(crate) fn fast_link(self: Pin<&mut Self>) -> Option<&CStr> {
        CStr::from_bytes_until_nul(&self.project().data_sem.exclusive().block).ok()
    }
}

/// There are no metadata checksums.
const NO_SEED: u64 = u64::MAX;

fn raw_seed(seed: Option<u32>) -> u64 {
    seed.map_or(NO_SEED, u64::from)
}

/// The locks of an EA inode, which nobody else can reach yet, get classes of their own: they are taken
/// under those of the inodes that it belongs to. It has no attributes itself.
fn set_ea_classes(xattr_sem: Pin<&mut RwSem<XattrPlaces>>, data_sem: Pin<&mut RwSem<Root>>) {
    xattr_sem.set_class(c"rext4 xattr_sem, EA inode", static_lock_class!());
    data_sem.set_class(c"rext4 data_sem, EA inode", static_lock_class!());
}

/// Where the field for the creation time ends in the extra fields.
const CRTIME_END: u16 = 20;

/// The page cache of regular files.
pub(crate) struct Pages;

impl MappingOps for Pages {
    type Fs = Rext4Fs;
    type Read = Read;
    type Report = Report;
    type Writeback = Writeback;

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

    /// The right to write it, of which there is one per inode in memory.
    fn key(&self) -> SlotKey {
        // CAST: both are below the size of a block.
        let (start, len) = (self.range.start as u32, self.range.len() as u32);
        SlotKey::new(self.buffer.block(), start, len)
    }
}

/// The right to write the slot of `ino`.
///
/// Errors: EUCLEAN for a number that the inode tables do not have.
fn slot_key(info: &SuperInfo, ino: Ino) -> Result<SlotKey, Fault> {
    let loc = info.geometry.inode_location(ino);
    let table = info
        .inode_tables
        .get(loc.group.get() as usize)
        .ok_or(Corrupt::from(InodeError::IllegalNumber))?;
    let len = info.geometry.inode_size().into();
    Ok(SlotKey::new(
        table.wrapping_add(loc.block.into()),
        loc.offset,
        len,
    ))
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

/// Where `i_block` is in a slot, in bytes.
const I_BLOCK_OFFSET: usize = 40;

/// Runs `f` over `i_block` and the value of the `system.data` attribute of an inline inode.
///
/// Both are protected by xattr_sem, which is held meanwhile; see the module's head for why the
/// slot's checksum is not looked at again.
///
/// Errors: those of reading the slot, of the attribute, and of `f`.
pub(crate) fn with_inline<R>(
    inode: &VfsInode,
    f: impl FnOnce(&[u8; I_BLOCK_SIZE], Option<&[u8]>) -> Result<R, Fault>,
) -> Result<R, Fault> {
    let sb = inode.super_block();
    let places = inode.data().xattr_sem.read();
    let slot = read_slot(sb, number(inode)?)?;
    let i_block = slot
        .get(I_BLOCK_OFFSET..)
        .and_then(|bytes| bytes.first_chunk())
        .ok_or(Corrupt::from(InodeError::Truncated))?;
    let start = BASE_SIZE.saturating_add(places.extra_isize.into());
    let space = slot.get(start..).filter(|_| places.in_body);
    let value = xattr::inline_value(sb.info(), space)?;
    f(i_block, value)
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
        .wrapping_add(I_BLOCK_OFFSET as u64)
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
            if inode.data().deletion.is_claimed() {
                return Err(ESTALE.into());
            }
            let is_ea = inode.data().flags().contains(InodeFlags::EA_INODE);
            match (
                purpose == Purpose::EaInode,
                is_ea && purpose != Purpose::Orphan,
            ) {
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
    let mut info = new.data_mut().project();
    if flags.contains(InodeFlags::EA_INODE) {
        set_ea_classes(info.xattr_sem.as_mut(), info.data_sem.as_mut());
    }
    info.data_sem.exclusive().block = *raw.i_block();
    *info.map_kind.get_mut() = map_kind.to_raw();
    *info.flags.get_mut() = flags.bits();
    *info.csum_seed.get_mut() = raw_seed(raw.csum_seed());
    *info.xattr_sem.exclusive() = XattrPlaces {
        block: raw.xattr_block(),
        in_body: xattrs.in_body,
        extra_isize: raw.written_extra_isize(),
    };
    *info.crtime = raw.has_crtime().then(|| raw.crtime());
    *info.projid.get_mut() = raw.projid(&sbi.geometry);
    *info.disksize.get_mut() = raw.size();
    *info.slot_block = slot.buffer.block();
    *info.slot_key.lock() = match orphan::left_behind(sb, ino) {
        Some(listed) => {
            *info.orphan = orphan::Place::listed();
            SlotRight::Listed(listed)
        }
        None => SlotRight::Own(slot.key()),
    };
    *info.may_expand.get_mut() = raw.written_extra_isize() < fresh_extra_isize(&sbi.geometry);
    if let Some(journal) = sb.journal() {
        // It may have been changed, and evicted, in a transaction that has not been committed yet.
        let tid = journal.latest();
        *info.sync_tid.get_mut() = tid;
        *info.datasync_tid.get_mut() = tid;
    }

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
pub(super) fn vfs_flags(flags: InodeFlags) -> u32 {
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
