// SPDX-License-Identifier: GPL-2.0

//! EXT4_IOC_SWAP_BOOT: a file exchanges its contents with the boot loader's inode, which has no name.
//!
//! What is exchanged is where the contents are (the root of the map, the space, the size) and the times of
//! the contents; owner, mode, attributes and names stay. Both get new generations, since a file handle is
//! one of contents. The checksums of a map's nodes begin with the inode, so that all of them change with
//! it, in the same transaction: a file whose map is too large for that keeps its contents. (C ext4 leaves
//! the nodes as they are, and cannot read them afterwards.)
//!
//! An inode that was never the boot loader's is an empty file; it comes to be on disk with the exchange.
//!
//! The ioctl does not end before the transaction has been committed: until then each file's blocks are the
//! other's on disk, and nobody may write to them.
//!
//! Locking: i_rwsem and the invalidate lock of both; a handle; `data_sem` of both, which nobody else wants
//! then, since nothing of either file is dirty or in flight.

use super::{
    alloc,
    fault::Fault,
    file::{File, FileInode},
    file_inline, handle,
    inode::{self, number, InodeInfo, MapKind, NewFacts, Pages, Root, XattrPlaces},
    inode_write,
    meta::{FileBounds, Meta},
    tx::{Handle, Tx},
    xattr_release, Rext4Fs, Sb, VfsInode,
};
use crate::{
    engine::{change::Transaction as _, extent_walk::ExtentTree},
    linux::{
        buffer::Verified,
        capability,
        idmap::Idmap,
        inode::{Attributes, Got},
        inode_edit::InodeEdit as _,
        jbd2::{NoHandle, Owner},
        nofs::NoFs,
        open_file::OpenFile,
        random::random_u32,
        rwsem::WriteGuard,
        sched::relax,
    },
    ondisk::{
        extent::{edit::EMPTY_ROOT, ROOT_SIZE},
        features::Incompat,
        inode::{Inode, InodeError, InodeFlags, Purpose, Refused, BOOT_LOADER_INO},
        seal::Seal,
        time::Timestamp,
        Corrupt, Ino,
    },
};
use core::sync::atomic::Ordering::Relaxed;
use kernel::{prelude::*, sync::aref::ARef};

/// Answers the ioctl.
///
/// Errors: EBADF for a file that is not open for writing; EINVAL for one that is no regular file with one
/// name, or whose contents are in the inode, journalled, encrypted or in use for swap; EPERM for who may not,
/// and for a protected file; EOPNOTSUPP for attributes in inodes of their own; EBUSY for one that is being cut; ENOSPC for a map that does not fit a
/// transaction; EROFS, EIO, ENOMEM, EUCLEAN (reported).
pub(super) fn swap_boot(file: &OpenFile<Rext4Fs>) -> Result<isize> {
    if !file.is_writable() {
        return Err(EBADF);
    }
    let _write = file.want_write()?;
    let inode = file.inode();
    let sb = inode.super_block();
    // Put when everything is over: the last reference evicts it.
    let boot = boot_inode(sb).map_err(|e| e.report(sb, BOOT_LOADER_INO.into(), "iget"))?;
    if !inode.is_regular() || inode.ino() == boot.ino() {
        return Err(EINVAL);
    }
    let mut outside = NoHandle::here()?;
    inode.with_both_locked(&boot, || {
        check(file.idmap(), inode)?;
        locked(inode, &boot, &mut outside)
    })?;
    Ok(0)
}

/// Files of these kinds cannot be exchanged.
const UNFIT: InodeFlags = InodeFlags::JOURNAL_DATA
    .union(InodeFlags::ENCRYPT)
    .union(InodeFlags::INLINE_DATA);

/// Whether the file can become the boot loader, and the task may have it so.
fn check(idmap: Idmap<'_>, inode: &VfsInode) -> Result {
    if inode.nlink() != 1 || inode.is_swap_file() || inode.data().flags().intersects(UNFIT) {
        return Err(EINVAL);
    }
    let protected = inode.is_append_only() || inode.is_immutable();
    if protected || !idmap.owner_or_capable(inode) || !capability::sys_admin() {
        return Err(EPERM);
    }
    Ok(())
}

/// The boot loader's inode; one that was never used is an empty file, in memory.
fn boot_inode(sb: &Sb) -> Result<ARef<VfsInode>, Fault> {
    let ino = Ino::new(BOOT_LOADER_INO).ok_or(EUCLEAN)?;
    let geo = &sb.info().geometry;
    let unused = || {
        let slot = inode::read_slot(sb, ino)?;
        let unused = is_unused(&slot)
            && matches!(
                Inode::verify(geo, ino, &slot, Purpose::Special),
                // Its checksum is right, if there is one, and all that is wrong is that it is no file.
                Err(Refused::Corrupt(InodeError::BadMode))
            );
        Ok::<_, Fault>(unused)
    };
    if !unused()? {
        let inode = inode::iget(sb, ino, Purpose::Special)?;
        if inode.nlink() == 0 {
            // It is not to go with the last reference.
            inode.set_nlink(1);
        }
        let unfit = UNFIT.union(InodeFlags::VERITY);
        if !inode.is_regular() || inode.data().flags().intersects(unfit) {
            return Err(Corrupt::from(InodeError::BadMode).into());
        }
        return Ok(inode);
    }
    let mut new = match sb.iget(BOOT_LOADER_INO.into())? {
        Got::Cached(inode) => return Ok(inode),
        Got::New(new) => new,
    };
    if !unused()? {
        // Somebody else has used it, and it has been forgotten again, since it was looked at.
        return Err(EAGAIN.into());
    }
    let now = new.now();
    let trees = geo.has(Incompat::EXTENTS);
    new.set_attributes(&Attributes {
        mode: REGULAR,
        uid: 0,
        gid: 0,
        nlink: 1,
        size: 0,
        sectors: 0,
        generation: 0,
        atime: now,
        mtime: now,
        ctime: now,
        flags: 0,
        version: 1,
    });
    let facts = NewFacts {
        map_kind: if trees {
            MapKind::Extents
        } else {
            MapKind::Indirect
        },
        flags: if trees {
            InodeFlags::EXTENTS
        } else {
            InodeFlags::default()
        },
        generation: 0,
        crtime: Timestamp {
            secs: now.0,
            nanos: now.1,
        },
        projid: 0,
        root: if trees { EMPTY_ROOT } else { [0; ROOT_SIZE] },
        may_inline: false,
    };
    new.data_mut().set_up(sb, ino, &facts)?;
    new.has_no_acl();
    new.set_regular::<FileInode, File, Pages>(sb.info().min_folio_order);
    Ok(new.finish())
}

/// `S_IFREG`, and nobody may do anything with it.
const REGULAR: u16 = 0o100_000;

/// Whether a slot's mode says that it was never used.
fn is_unused(slot: &[u8]) -> bool {
    slot.first_chunk() == Some(&[0u8; 2])
}

/// The exchange, with i_rwsem of both held.
fn locked(inode: &VfsInode, boot: &VfsInode, outside: &mut NoHandle) -> Result {
    let sb = inode.super_block();
    handle::may_write(sb)?;
    let both = [inode, boot];
    let _invalidate = inode.lock_both_invalidate(boot);
    // An empty one is not to be in the inode with what it gets.
    file_inline::to_blocks(inode, outside)?;
    for inode in both {
        inode.wait_for_direct_io(outside);
        inode.write_and_wait(outside, 0, u64::MAX)?;
        inode.truncate_page_cache(outside, 0);
        if let Ok(ino) = number(inode) {
            alloc::give_up(sb, ino);
        }
    }
    let unsettled = |info: &InodeInfo| {
        let _lock = info.data_sem.read();
        info.orphan.is_some() || info.delayed() != 0 || !info.extent_map().settled()
    };
    if both.iter().any(|inode| unsettled(inode.data())) {
        return Err(EBUSY);
    }
    for inode in both {
        let values = xattr_release::ea_inodes(inode);
        if values.map_err(|e| e.report_inode(inode, "swap boot"))? != 0 {
            // The space of such values is counted with the contents'.
            return Err(EOPNOTSUPP);
        }
    }
    let most = (sb.journal()).map_or(u32::MAX, |journal| journal.max_credits());
    let mut nodes = 0u32;
    for inode in both {
        let counted = count_nodes(inode, most);
        let counted = counted.map_err(|e| e.report_inode(inode, "block map"))?;
        nodes = nodes.saturating_add(counted);
    }
    // Both inodes, and the superblock, should one of them be the first large file.
    let handle = handle::begin_blocks(sb, outside, nodes.saturating_add(3))?;
    if inode.is_sync() {
        handle.sync();
    }
    let exchanged = exchange(&handle, inode, boot);
    let exchanged = exchanged.map_err(|e| e.report_inode(inode, "swap boot"));
    exchanged.and(handle.stop())?;
    (sb.journal()).map_or(Ok(()), |journal| journal.force_commit(outside))
}

/// How many nodes the map of `inode` has that say whose they are.
///
/// Errors: ENOSPC for more than `most`; damage, EIO, ENOMEM; ERESTARTSYS.
fn count_nodes(inode: &VfsInode, most: u32) -> Result<u32, Fault> {
    let (sb, info) = (inode.super_block(), inode.data());
    let root = info.data_sem.read();
    if !has_seals(info) {
        return Ok(0);
    }
    let _nofs = NoFs::new();
    let bounds = FileBounds::new(sb.info(), inode.ino());
    let tree = ExtentTree::new(&root.block, info.csum_seed(), &bounds);
    let mut nodes = 0u32;
    tree.each_node(&Meta::new(sb, Verified::Extent), &mut |_| {
        relax()?;
        nodes = nodes.saturating_add(1);
        if nodes > most {
            return Err(ENOSPC.into());
        }
        Ok(())
    })?;
    Ok(nodes)
}

/// Whether the map's nodes have checksums that begin with the inode.
fn has_seals(info: &InodeInfo) -> bool {
    info.map_kind() == MapKind::Extents && info.csum_seed().is_some()
}

/// What of an inode is exchanged.
struct Contents {
    root: [u8; ROOT_SIZE],
    kind: MapKind,
    disksize: u64,
    reached: u64,
    size: u64,
    /// Space, in sectors, without that of attributes.
    sectors: u64,
    atime: (i64, u32),
    mtime: (i64, u32),
}

/// An inode with its locks.
struct Side<'a> {
    inode: &'a VfsInode,
    root: WriteGuard<'a, Root>,
    places: WriteGuard<'a, XattrPlaces>,
}

impl Side<'_> {
    /// What of the space is not the contents': that of the attribute block.
    fn other_sectors(&self) -> u64 {
        let geo = &self.inode.super_block().info().geometry;
        let bits = geo.block_bits().saturating_add(geo.cluster_bits());
        let cluster = 1u64.wrapping_shl(bits.saturating_sub(9));
        self.places.block.map_or(0, |_| cluster)
    }

    fn contents(&self) -> Contents {
        let info = self.inode.data();
        Contents {
            root: self.root.block,
            kind: info.map_kind(),
            disksize: info.disksize(),
            reached: info.reached.load(Relaxed),
            size: self.inode.size(),
            sectors: self.inode.sectors().saturating_sub(self.other_sectors()),
            atime: self.inode.atime(),
            mtime: self.inode.mtime(),
        }
    }

    /// Gives the inode `contents`, and a generation.
    fn put(&mut self, contents: &Contents, generation: u32, seed: Option<u32>) {
        let (inode, info) = (self.inode, self.inode.data());
        let other_sectors = self.other_sectors();
        let root = &mut self.root;
        info.seq.write(|| {
            info.extent_map().clear();
            root.block = contents.root;
            info.set_map_kind(contents.kind);
        });
        info.stored.store(0, Relaxed);
        let flags = match contents.kind {
            MapKind::Extents => InodeFlags::EXTENTS,
            _ => InodeFlags::default(),
        };
        info.change_flags(InodeFlags::EXTENTS, flags);
        info.set_disksize(contents.disksize);
        info.reached.store(contents.reached, Relaxed);
        inode.set_size(contents.size);
        inode.set_sectors(contents.sectors.saturating_add(other_sectors));
        inode.set_atime(contents.atime);
        inode.set_mtime(contents.mtime);
        inode.touch_ctime();
        inode.inc_version();
        inode.set_generation(generation);
        info.set_csum_seed(seed);
    }

    /// Takes write access to all nodes of the map: nothing but a journal that has been given up makes
    /// [`reseal`] fail then.
    fn claim(&self, tx: &Tx<'_, impl Owner>) -> Result<(), Fault> {
        let info = self.inode.data();
        if !has_seals(info) {
            return Ok(());
        }
        let bounds = FileBounds::new(self.inode.super_block().info(), self.inode.ino());
        let tree = ExtentTree::new(&self.root.block, info.csum_seed(), &bounds);
        // Dropped again: the transaction has the block from now on.
        tree.each_node(tx, &mut |block| tx.edit(block).map(drop))
    }
}

/// Gives all nodes of the map `root` of an inode with the seed `old` the checksums that they have in `inode`.
fn reseal(
    tx: &Tx<'_, impl Owner>,
    inode: &VfsInode,
    root: &[u8; ROOT_SIZE],
    old: Option<u32>,
) -> Result<(), Fault> {
    let info = inode.data();
    if !has_seals(info) {
        return Ok(());
    }
    let bounds = FileBounds::new(inode.super_block().info(), inode.ino());
    let seal = info.csum_seed().map_or(Seal::Plain, Seal::Extent);
    ExtentTree::new(root, old, &bounds).each_node(tx, &mut |block| {
        let edit = tx.edit(block)?;
        tx.dirty(edit, seal);
        Ok(())
    })
}

/// Exchanges the contents, and stores both inodes.
///
/// Errors: EIO, ENOMEM, damage, and those of a journal that has been given up. It is given up if they come
/// when part of this has been done.
fn exchange(handle: &Handle<'_>, inode: &VfsInode, boot: &VfsInode) -> Result<(), Fault> {
    let sb = inode.super_block();
    let geo = &sb.info().geometry;
    let slots = (
        inode_write::prepare(handle, inode)?,
        inode_write::prepare(handle, boot)?,
    );
    let unused = is_unused(slots.1.bytes());
    let generations = (random_u32(), random_u32());
    let seeds = (
        geo.inode_seed(number(inode)?, generations.0),
        geo.inode_seed(number(boot)?, generations.1),
    );
    let old_seeds = (inode.data().csum_seed(), boot.data().csum_seed());
    let tx = Tx::new(handle, sb.device(), Verified::Extent);
    let done = {
        let (info, other) = (inode.data(), boot.data());
        let places = info.xattr_sem.write_both(&other.xattr_sem);
        let roots = info.data_sem.write_both(&other.data_sem);
        let mut mine = Side {
            inode,
            root: roots.0,
            places: places.0,
        };
        let mut theirs = Side {
            inode: boot,
            root: roots.1,
            places: places.1,
        };
        mine.claim(&tx)?;
        theirs.claim(&tx)?;
        let (from, to) = (mine.contents(), theirs.contents());
        mine.put(&to, generations.0, seeds.0);
        theirs.put(&from, generations.1, seeds.1);
        reseal(&tx, boot, &from.root, old_seeds.0).and(reseal(&tx, inode, &to.root, old_seeds.1))
    };
    let done = done.and_then(|()| {
        slots.0.store()?;
        if unused {
            slots.1.store_fresh(None)?;
        } else {
            slots.1.store()?;
        }
        Ok(())
    });
    if done.is_err() {
        if let Some(journal) = sb.journal() {
            journal.abort(EIO);
        }
    }
    for inode in [inode, boot] {
        inode_write::note_change(handle, inode, true);
    }
    done
}
