// SPDX-License-Identifier: GPL-2.0

//! Regular files: attributes, and what an open file can do beside reading.

use super::{
    alloc,
    delayed::Write,
    direct::Direct,
    file_inline, fileattr, handle,
    inode::{number, InodeInfo},
    io::{Read, Report},
    map,
    options::Toggles,
    set_size, setattr, super_write, Rext4Fs, Sb, VfsInode,
};
use crate::{
    linux::{
        acl::{Acl, AclKind, PosixAcl},
        dentry::Dentry,
        fallocate::Fallocate,
        fiemap::FiemapInfo,
        file::{FileOps, Fsync, UserArg},
        fileattr::FileAttr,
        idmap::Idmap,
        inode_ops::InodeOps,
        iomap,
        jbd2::NoHandle,
        open_file::OpenFile,
        setattr::SetAttr,
        stat::{self, KStat},
        xattr::ListBuffer,
    },
    ondisk::{
        features::{Incompat, RoCompat},
        inode::InodeFlags,
    },
};
use core::sync::atomic::Ordering::Relaxed;
use kernel::prelude::*;

/// Operations on an open regular file.
pub(crate) struct File;

#[vtable]
impl FileOps for File {
    type Fs = Rext4Fs;
    type Read = Read;
    type Report = Report;
    type Write = Write;
    type DirectWrite = Direct;

    fn has_verity(inode: &VfsInode) -> bool {
        let geo = &inode.super_block().info().geometry;
        geo.has(RoCompat::VERITY)
    }

    fn max_bytes(inode: &VfsInode) -> i64 {
        let geo = &inode.super_block().info().geometry;
        // Also for contents in the inode, which will need a block map when they grow.
        let max = if inode.data().flags().contains(InodeFlags::EXTENTS) {
            geo.max_extent_bytes()
        } else {
            geo.max_indirect_bytes()
        };
        i64::try_from(max).unwrap_or(i64::MAX)
    }

    fn untorn_size(inode: &VfsInode) -> Option<u32> {
        untorn_size(inode)
    }

    #[inline]
    fn direct(inode: &VfsInode) -> bool {
        takes_direct_io(inode.data())
    }

    fn open(file: &OpenFile<Rext4Fs>) -> Result {
        let sb = file.inode().super_block();
        let emergency = &sb.info().emergency;
        if emergency.is_shut_down() {
            return Err(EIO);
        }
        if file.is_writable() && emergency.is_readonly() {
            return Err(EROFS);
        }
        let mut path = [0u8; 64];
        super_write::store_path(sb, || file.mount_path(&mut path));
        Ok(())
    }

    fn release(file: &OpenFile<Rext4Fs>) {
        if file.is_writable() {
            closed(file);
        }
    }

    fn may_write(inode: &VfsInode) -> Result {
        handle::may_write(inode.super_block())?;
        if inode.data().flags().contains(InodeFlags::IMMUTABLE) {
            return Err(EPERM);
        }
        Ok(())
    }

    #[inline]
    fn inline_room(inode: &VfsInode) -> usize {
        file_inline::room(inode)
    }

    fn write_inline(inode: &VfsInode, pos: u64, bytes: &[u8]) -> Result<bool> {
        file_inline::write(inode, pos, bytes)
    }

    fn leave_inode(inode: &VfsInode) -> Result {
        file_inline::to_blocks(inode, &mut NoHandle::here()?)
    }

    fn skip_to(inode: &VfsInode, pos: u64) -> Result {
        set_size::skip_to(inode, pos)
    }

    fn may_retry(inode: &VfsInode, tries: &mut u32) -> bool {
        handle::may_retry(inode.super_block(), tries)
    }

    fn ioctl(file: &OpenFile<Rext4Fs>, cmd: u32, arg: UserArg) -> Result<isize> {
        super::ioctl::ioctl(file, cmd, arg)
    }

    fn fallocate(file: &OpenFile<Rext4Fs>, what: Fallocate) -> Result {
        super::fallocate::fallocate(file, what)
    }

    fn fsync(file: &OpenFile<Rext4Fs>, what: Fsync) -> Result {
        super::inode_sync::fsync(file, what)
    }
}

/// A file that was open for writing is closed.
fn closed(file: &OpenFile<Rext4Fs>) {
    let inode = file.inode();
    let sb = inode.super_block();
    let replaced = inode.data().was_replaced.swap(false, Relaxed);
    let soon = !sb.info().has(Toggles::DELALLOC) && inode.data().delayed() != 0;
    if soon || (replaced && !sb.info().has(Toggles::NO_AUTO_DA_ALLOC)) {
        // Its old contents are gone: applications count on the new ones' being on disk soon.
        inode.start_writeback();
    }
    if inode.has_one_writer() && inode.data().delayed() == 0 {
        if let Ok(ino) = number(inode) {
            alloc::give_up(sb, ino);
        }
    }
}

/// Whether direct I/O reaches the device. Inline data has no block of its own, and data that is
/// verified (fs-verity) goes through the page cache. The flag for journalled data means nothing
/// here, as in C ext4 with delayed allocation: no data is ever journalled.
#[inline]
fn takes_direct_io(info: &InodeInfo) -> bool {
    !info
        .flags()
        .intersects(InodeFlags::INLINE_DATA.union(InodeFlags::VERITY))
}

/// How long a write to `inode` that is not to be torn (RWF_ATOMIC) is, in bytes: one block, if the device
/// writes that whole. (With bigalloc C ext4 takes up to a cluster, whose blocks it first makes all alike by
/// writing zeroes.)
fn untorn_size(inode: &VfsInode) -> Option<u32> {
    let info = inode.data();
    if !takes_direct_io(info) || !info.flags().contains(InodeFlags::EXTENTS) {
        return None;
    }
    untorn_block(inode.super_block())
}

/// The size of a block, if the device writes that whole, and files can have untorn writes.
pub(super) fn untorn_block(sb: &Sb) -> Option<u32> {
    if !sb.info().geometry.has(Incompat::EXTENTS) {
        return None;
    }
    let block = u32::try_from(sb.block_size()).ok()?;
    let (min, max) = sb.untorn_units()?;
    (min..=max).contains(&block).then_some(block)
}

/// Inode operations of devices, FIFOs and sockets.
pub(crate) struct SpecialInode;

#[vtable]
impl InodeOps for SpecialInode {
    type Fs = Rext4Fs;

    fn getattr(inode: &VfsInode, stat: &mut KStat<'_>) {
        getattr(inode, stat);
    }

    fn listxattr(inode: &VfsInode, out: &mut ListBuffer<'_>) -> Result {
        super::xattr::list(inode, out)
    }

    fn get_acl(inode: &VfsInode, kind: AclKind) -> Result<Option<PosixAcl>> {
        super::acl::get(inode, kind)
    }

    fn set_acl(
        idmap: Idmap<'_>,
        _name: &Dentry<Rext4Fs>,
        inode: &VfsInode,
        acl: Option<&Acl>,
        kind: AclKind,
    ) -> Result {
        super::acl::set(idmap, inode, acl, kind)
    }

    fn setattr(attr: &mut SetAttr<'_, Rext4Fs>) -> Result {
        setattr::setattr::<Self>(attr)
    }
}

/// Inode operations of regular files.
pub(crate) struct FileInode;

#[vtable]
impl InodeOps for FileInode {
    type Fs = Rext4Fs;

    fn getattr(inode: &VfsInode, stat: &mut KStat<'_>) {
        getattr(inode, stat);
        let info = inode.data();
        if stat.wants(stat::DIOALIGN) {
            let (memory, offset) = if takes_direct_io(info) {
                inode.super_block().dio_alignment()
            } else {
                (0, 0)
            };
            stat.set_dio_align(memory, offset);
        }
        if stat.wants(stat::WRITE_ATOMIC) {
            stat.set_untorn(untorn_size(inode).unwrap_or(0));
        }
        let delayed = info.delayed();
        if delayed != 0 {
            // As if it were on disk: some tools take a file without blocks for a hole.
            let geo = &inode.super_block().info().geometry;
            let bits = geo.block_bits().saturating_add(geo.cluster_bits());
            stat.add_sectors(delayed << (bits.saturating_sub(9) & 31));
        }
        if info.flags().contains(InodeFlags::INLINE_DATA) {
            // Lest tools take a file without blocks for a hole.
            stat.add_sectors(inode.size().saturating_add(511) >> 9);
        }
    }

    fn listxattr(inode: &VfsInode, out: &mut ListBuffer<'_>) -> Result {
        super::xattr::list(inode, out)
    }

    fn get_acl(inode: &VfsInode, kind: AclKind) -> Result<Option<PosixAcl>> {
        super::acl::get(inode, kind)
    }

    fn set_acl(
        idmap: Idmap<'_>,
        _name: &Dentry<Rext4Fs>,
        inode: &VfsInode,
        acl: Option<&Acl>,
        kind: AclKind,
    ) -> Result {
        super::acl::set(idmap, inode, acl, kind)
    }

    fn fiemap(inode: &VfsInode, info: &mut FiemapInfo<'_>, start: u64, len: u64) -> Result {
        fiemap(inode, info, start, len)
    }

    fn fileattr_get(inode: &VfsInode, out: &mut FileAttr<'_>) -> Result {
        fileattr::get(inode, out)
    }

    fn fileattr_set(idmap: Idmap<'_>, inode: &VfsInode, wanted: &FileAttr<'_>) -> Result {
        fileattr::set(idmap, inode, wanted)
    }

    fn setattr(attr: &mut SetAttr<'_, Rext4Fs>) -> Result {
        setattr::setattr::<Self>(attr)
    }
}

/// What stat shows for every kind of file.
pub(crate) fn getattr(inode: &VfsInode, stat: &mut KStat<'_>) {
    let info = inode.data();
    if stat.wants(stat::BTIME) {
        if let Some(t) = info.crtime {
            stat.set_btime(t.secs, t.nanos);
        }
    }
    let shown = [
        (InodeFlags::APPEND, stat::ATTR_APPEND),
        (InodeFlags::COMPR, stat::ATTR_COMPRESSED),
        (InodeFlags::ENCRYPT, stat::ATTR_ENCRYPTED),
        (InodeFlags::IMMUTABLE, stat::ATTR_IMMUTABLE),
        (InodeFlags::NODUMP, stat::ATTR_NODUMP),
    ];
    let mut attributes = 0;
    let mut known = 0;
    for (disk, attr) in shown {
        known |= attr;
        if info.flags().contains(disk) {
            attributes |= attr;
        }
    }
    stat.set_attributes(attributes, known);
}

/// FIEMAP, of the file's data or of its extended attributes.
pub(crate) fn fiemap(inode: &VfsInode, info: &mut FiemapInfo<'_>, start: u64, len: u64) -> Result {
    if i64::try_from(start).is_ok_and(|start| start > <File as FileOps>::max_bytes(inode)) {
        return Err(EFBIG);
    }
    if info.take_cache_flag() {
        map::precache(inode)?;
    }
    if info.take_xattr_flag() {
        return iomap::fiemap::<super::xattr::XattrExtents>(inode, info, start, len);
    }
    iomap::fiemap::<Report>(inode, info, start, len)
}
