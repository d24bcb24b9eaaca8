// SPDX-License-Identifier: GPL-2.0

//! The end of an inode: in memory, and if it has no links left, on disk.
//!
//! An inode that is deleted was put among the orphans when it lost its last link. Here its blocks
//! are freed, in as many transactions as that takes, and then, in one, its attributes go, its slot
//! gets the time of its deletion, it is no orphan any more and its number is free. (Attributes with
//! values in EA inodes go before.) What fails on
//! the way leaves it an orphan, for the next mount to try again.
//!
//! Locking: nobody else has the inode. Not inside a handle: it waits for commits, and for a freeze
//! to end.

use super::{
    alloc, ea_inode, handle,
    inode::number,
    inode_write, map, orphan, truncate,
    tx::Handle,
    xattr_release::{self, Dropped, VALUES_AT_ONCE},
    VfsInode,
};
use crate::{
    engine::credits::Op,
    linux::{
        inode::Eviction,
        inode_edit::InodeEdit as _,
        insist::insist,
        jbd2::NoHandle,
        super_block::{message, Level},
        time::real_seconds,
    },
    ondisk::FileBlock,
};
use kernel::prelude::*;

/// `inode` leaves memory.
pub(crate) fn evict(inode: &VfsInode, why: Eviction) {
    ea_inode::forget(inode);
    if let (true, Ok(ino)) = (inode.is_regular(), number(inode)) {
        alloc::give_up(inode.super_block(), ino);
    }
    // A file system that is read-only or has been shut down frees nothing.
    let gone = inode.data().deletion.is_gone();
    if why == Eviction::Deleted && !gone && handle::may_write(inode.super_block()).is_ok() {
        // Nobody would try again: what has run out of memory goes on where it was.
        if let Err(e) = insist(|| delete(inode)) {
            complain(inode, e);
        }
    }
    orphan::leave(inode);
    map::forget(inode);
}

/// Frees what `inode` has on disk.
fn delete(inode: &VfsInode) -> Result {
    let mut outside = NoHandle::here()?;
    let sb = inode.super_block();
    let ea_inodes = xattr_release::ea_inodes(inode);
    let ea_inodes = ea_inodes.map_err(|e| e.report_inode(inode, "extended attributes"))?;
    if ea_inodes != 0 {
        let mut dropped = Dropped::new();
        let result = release_values(inode, &mut outside, ea_inodes, &mut dropped);
        // Their ends are operations of their own, for which a freeze may have to end as well.
        dropped.put(&outside);
        result?;
    }
    let _unfrozen = sb.start_intwrite();
    let blocks = !truncate::is_empty(inode);
    let end = Op::FreeInode { ea_inodes: 0 };
    let first = if blocks {
        truncate::step_op(inode)
    } else {
        end
    };
    let mut handle = handle::begin(sb, &mut outside, first)?;
    let mut result = Ok(());
    if blocks {
        result = free_blocks(&mut handle, inode);
    }
    if result.is_ok() {
        result = free_inode(&mut handle, inode, end);
    }
    result.and(handle.stop())
}

/// Gives up the attributes of `inode`, some of which have values in EA inodes; `dropped` is given
/// references to those that nobody else has.
///
/// In a transaction of its own (or several, if they are many), before the number of `inode` is free: whoever takes that waits, in
/// a handle, for this eviction to end, and it could not if it had handles to start by then.
#[cold]
fn release_values(
    inode: &VfsInode,
    outside: &mut NoHandle,
    ea_inodes: u32,
    dropped: &mut Dropped,
) -> Result {
    let sb = inode.super_block();
    let _unfrozen = sb.start_intwrite();
    let end = Op::FreeInode {
        ea_inodes: ea_inodes.min(VALUES_AT_ONCE),
    };
    let mut handle = handle::begin(sb, outside, end)?;
    if ea_inodes > VALUES_AT_ONCE {
        let shed = xattr_release::shed(&mut handle, inode, dropped);
        shed.map_err(|e| e.report_inode(inode, "extended attributes"))?;
        handle::make_room(sb, &mut handle, end)?;
    }
    let slot = inode_write::prepare(&handle, inode)?;
    let released = xattr_release::release_all(&handle, inode, dropped);
    released.map_err(|e| e.report_inode(inode, "extended attributes"))?;
    slot.store()?;
    handle.stop()
}

fn free_blocks(handle: &mut Handle<'_>, inode: &VfsInode) -> Result {
    let info = inode.data();
    if !info.orphan.is_some() {
        // One that could not be made: nobody knows of it yet.
        handle::make_room(inode.super_block(), handle, Op::OrphanAdd)?;
        orphan::add(handle, inode)?;
    }
    {
        let _root = info.data_sem.write();
        info.set_disksize(0);
        inode.set_size(0);
    }
    truncate::free_from(handle, inode, FileBlock::ZERO)
}

/// Frees the inode itself. Nothing that waits may come after that, see [`release_values`]; so the
/// handle is not a synchronous one either. (C ext4's is; the orphan that a crash leaves in its place
/// does no harm.)
fn free_inode(handle: &mut Handle<'_>, inode: &VfsInode, op: Op) -> Result {
    let sb = inode.super_block();
    let ino = number(inode).map_err(|e| e.report_inode(inode, "evict"))?;
    handle::make_room(sb, handle, op)?;
    let slot = inode_write::prepare(handle, inode)?;
    // No EA inode is among them any more.
    let mut none = Dropped::new();
    let released = xattr_release::release_all(handle, inode, &mut none);
    let released = released.map_err(|e| e.report_inode(inode, "extended attributes"));
    if let Err(e) = released.and_then(|()| orphan::del(handle, inode)) {
        // What has been given up must not be given up once more by the next mount.
        let block = inode.data().xattr_sem.read().block;
        let _ = slot.edit(|slot| slot.set_xattr_block(block));
        return Err(e);
    }
    slot.edit(|slot| {
        // CAST: the field has 32 bits; what matters is that it is not 0.
        slot.set_dtime(real_seconds() as u32);
        slot.set_xattr_block(None);
        // Sizes that any inode can have.
        let _ = slot.set_size(0);
        let _ = slot.set_blocks(0);
        slot.forget_owner_high();
    })?;
    alloc::free_inode(sb, handle, ino, inode.is_dir())
}

#[cold]
fn complain(inode: &VfsInode, error: Error) {
    let sb = inode.super_block();
    // Damage has been reported, and after the end of a file system there is no news.
    if error != EUCLEAN && handle::may_write(sb).is_ok() && sb.info().errors.may_print() {
        message(
            Level::Warning,
            sb.id(),
            fmt!(
                "warning: inode #{}: could not be deleted: error {}\n",
                inode.ino(),
                error.to_errno()
            ),
        );
    }
}
