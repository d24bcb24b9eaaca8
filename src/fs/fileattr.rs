// SPDX-License-Identifier: GPL-2.0

//! The flags of chattr(1) and lsattr(1), and project ids.

use super::{handle, inode::InodeInfo, inode_write, migrate, VfsInode};
use crate::{
    engine::credits::Op,
    linux::{
        capability, fileattr::FileAttr, idmap::Idmap, inode::vfs_flags::*,
        inode_edit::InodeEdit as _, jbd2::NoHandle,
    },
    ondisk::{
        features::RoCompat,
        inode::{InodeFlags, BASE_SIZE},
    },
};
use kernel::prelude::*;

/// Flags that only directories have.
const DIRECTORY: InodeFlags = InodeFlags::DIRSYNC
    .union(InodeFlags::TOPDIR)
    .union(InodeFlags::CASEFOLD)
    .union(InodeFlags::PROJINHERIT);
/// All that devices and the like have. (They cannot be opened for an ioctl, but by path.)
const OTHERS: InodeFlags = InodeFlags::NODUMP.union(InodeFlags::NOATIME);
/// Flags whose change takes more than a change of the inode, which is not implemented.
const FIXED: InodeFlags = InodeFlags::JOURNAL_DATA
    .union(InodeFlags::CASEFOLD)
    .union(InodeFlags::DAX);

/// Where the project's field ends in the extra fields.
const PROJID_END: u16 = 32;

/// The flags of lsattr.
pub(crate) fn get(inode: &VfsInode, out: &mut FileAttr<'_>) -> Result {
    let info = inode.data();
    let mut flags = info.flags().bits() & InodeFlags::USER_VISIBLE.bits();
    if inode.is_regular() {
        flags &= !InodeFlags::PROJINHERIT.bits();
    }
    out.set_flags(flags);
    if inode.super_block().info().geometry.has(RoCompat::PROJECT) {
        out.set_project(info.projid());
    }
    Ok(())
}

/// Sets flags and project, in one transaction; the kind of the block map comes after that. The VFS has filled in what the caller did not give,
/// and has checked the owner and who may change IMMUTABLE and APPEND. i_rwsem is held for writing.
/// May sleep.
///
/// Errors: EPERM; EOPNOTSUPP for flags that this type of file does not have or that cannot be
/// changed, and for a project on a file system without; EOVERFLOW for one in an inode without room
/// for it; EIO, EROFS, ENOMEM; those of [`migrate`] when the rest has been set.
pub(crate) fn set(_idmap: Idmap<'_>, inode: &VfsInode, wanted: &FileAttr<'_>) -> Result {
    let sb = inode.super_block();
    let info = inode.data();
    handle::may_write(sb)?;
    let old = info.flags();
    let project = (!wanted.by_flags()).then(|| wanted.project());
    let wanted_flags = InodeFlags::from_bits(wanted.flags());
    let flags = checked_flags(inode, old, wanted_flags)?;
    let extents = wanted_flags.contains(InodeFlags::EXTENTS);
    let other_map = extents != old.contains(InodeFlags::EXTENTS);
    let project = changed_project(inode, info, project)?;
    let immutable = InodeFlags::IMMUTABLE;
    let changes = flags != old || project.is_some() || other_map;
    if old.contains(immutable) && flags.contains(immutable) && changes {
        return Err(EPERM);
    }

    let mut outside = NoHandle::here()?;
    if inode.is_regular() && flags.contains(immutable) && !old.contains(immutable) {
        // Pages that are mapped and dirty would take stores still.
        inode.wait_for_direct_io(&outside);
        inode.write_and_wait(&outside, 0, u64::MAX)?;
    }
    let handle = handle::begin(sb, &mut outside, Op::UpdateInode)?;
    if inode.is_sync() {
        handle.sync();
    }
    let slot = inode_write::prepare(&handle, inode)?;
    if project.is_some() && !has_project_field(info) {
        let _ = slot.expand()?;
        if !has_project_field(info) {
            // What fields have been added stays: it says the same as before.
            slot.store()?;
            handle.stop()?;
            return Err(EOVERFLOW);
        }
    }
    info.change_flags(InodeFlags::from_bits(old.bits() ^ flags.bits()), flags);
    inode.set_vfs_flags(super::inode::vfs_flags(flags), SHOWN);
    if let Some(project) = project {
        info.set_projid(project);
    }
    inode.touch_ctime();
    inode.inc_version();
    slot.store()?;
    handle.stop()?;
    match (other_map, extents) {
        (false, _) => Ok(()),
        (true, true) => migrate::with_lock(inode, &mut outside),
        (true, false) => migrate::to_blocks(inode, &mut outside),
    }
}

/// The VFS's flags for what can be changed here.
const SHOWN: u32 = S_SYNC | S_APPEND | S_IMMUTABLE | S_NOATIME | S_DIRSYNC;

/// All flags of the inode when those that users can change are as `wanted`, but for the kind of the block
/// map.
fn checked_flags(inode: &VfsInode, old: InodeFlags, wanted: InodeFlags) -> Result<InodeFlags> {
    let known = InodeFlags::USER_VISIBLE;
    if !known.contains(wanted) {
        return Err(EOPNOTSUPP);
    }
    let mine = InodeFlags::USER_MODIFIABLE;
    let wanted = wanted.intersection(mine);
    let possible = if inode.is_dir() {
        true
    } else if inode.is_regular() {
        !wanted.intersects(DIRECTORY)
    } else {
        OTHERS.contains(wanted)
    };
    if !possible {
        return Err(EOPNOTSUPP);
    }
    let changed = InodeFlags::from_bits(old.bits() ^ wanted.bits()).intersection(mine);
    if changed.contains(InodeFlags::JOURNAL_DATA) && !capability::sys_resource() {
        return Err(EPERM);
    }
    if changed.intersects(FIXED) {
        return Err(EOPNOTSUPP);
    }
    let changed = changed.bits() & !InodeFlags::EXTENTS.bits();
    Ok(InodeFlags::from_bits(old.bits() ^ changed))
}

/// The project, if it becomes another one.
fn changed_project(inode: &VfsInode, info: &InodeInfo, wanted: Option<u32>) -> Result<Option<u32>> {
    let Some(wanted) = wanted.filter(|wanted| *wanted != info.projid()) else {
        return Ok(None);
    };
    let geo = &inode.super_block().info().geometry;
    if !geo.has(RoCompat::PROJECT) || usize::from(geo.inode_size()) <= BASE_SIZE {
        return Err(EOPNOTSUPP);
    }
    Ok(Some(wanted))
}

fn has_project_field(info: &InodeInfo) -> bool {
    info.xattr_sem.read().extra_isize >= PROJID_END
}
