// SPDX-License-Identifier: GPL-2.0

//! EA inodes that are made, with the value that they are to hold.
//!
//! Such an inode is a regular file of the owner's whose first attribute refers to it, which no
//! directory leads to. Its blocks are metadata: they go with the transaction, like all of the
//! attribute.
//!
//! Locking: nobody else knows the inode before [`make`] returns.

use super::{
    alloc,
    fault::Fault,
    file::{File, FileInode},
    inode::{number, InodeInfo, MapKind, NewFacts, Pages},
    inode_write, map_change, orphan,
    tx::Handle,
    xattr_release::Dropped,
    xattr_sharing as sharing, Rext4Fs, Sb, VfsInode,
};
use crate::{
    engine::alloc::orlov::Parent,
    linux::{
        inode_edit::InodeEdit as _,
        inode_new::{FreshInode, ReadyInode},
        random::random_u32,
    },
    ondisk::{
        extent::edit::EMPTY_ROOT,
        features::Incompat,
        inode::{InodeFlags, I_BLOCK_SIZE},
        raw::copy_to_start,
        time::Timestamp,
        FileBlock, Ino,
    },
};
use kernel::{prelude::*, sync::aref::ARef};

/// A regular file that only its owner may read and write.
const MODE: u16 = 0o100600;

/// Makes an EA inode for an attribute of `owner` that holds `bytes`, whose hash is `hash`, with one
/// reference. Inside of a handle. May sleep.
///
/// Errors: ENOSPC, EIO, ENOMEM, EROFS; nothing is left of it then.
pub(super) fn make(
    handle: &Handle<'_>,
    owner: &VfsInode,
    bytes: &[u8],
    hash: u32,
    dropped: &mut Dropped,
) -> Result<ARef<VfsInode>, Fault> {
    let sb = owner.super_block();
    dropped.reserve()?;
    let fresh = sb.new_inode()?;
    let near = number(owner)?;
    let group = sb.info().geometry.inode_location(near).group;
    let parent = Parent {
        ino: near,
        group,
        last: Some(group),
        spreads: false,
    };
    let ino = alloc::take_inode(sb, handle, &parent, false, 0)?;
    let inode = begin(handle, owner, fresh, ino, hash).inspect_err(|_| {
        let _ = alloc::free_inode(sb, handle, ino, false);
    })?;
    let inode = inode.finish();
    dropped.keep(inode.clone());
    if let Err(e) = fill(handle, &inode, bytes, hash) {
        // It goes when it is evicted; if this fails the journal has been given up.
        inode.clear_nlink();
        let _ = orphan::add(handle, &inode);
        let _ = inode_write::store(handle, &inode);
        return Err(e);
    }
    sharing::of(sb)?.remember_value(hash, inode.ino());
    Ok(inode)
}

/// Writes the slot of an inode without contents.
fn begin(
    handle: &Handle<'_>,
    owner: &VfsInode,
    mut fresh: FreshInode<Rext4Fs>,
    ino: Ino,
    hash: u32,
) -> Result<ReadyInode<Rext4Fs>, Fault> {
    let sb = owner.super_block();
    fresh.set_mode(MODE);
    fresh.set_raw_uid(owner.raw_uid());
    fresh.set_raw_gid(owner.raw_gid());
    let now = fresh.touch();
    // What `ea_inode::forget` looks for. CAST: the same bits.
    fresh.set_atime((i64::from(hash as i32), 0));
    let facts = facts(sb, now);
    let generation = facts.generation;
    fresh.data_mut().set_up(sb, ino, &facts)?;
    fresh.set_generation(generation);
    let mut new = fresh.insert(ino.get().into())?;
    new.set_regular::<FileInode, File, Pages>(sb.info().min_folio_order);
    new.has_no_acl();
    let mut inode = new.seal();
    inode_write::prepare(handle, &inode)?.store_fresh(None)?;
    inode.set_allocated();
    Ok(inode)
}

fn facts(sb: &Sb, (secs, nanos): (i64, u32)) -> NewFacts {
    let extents = sb.info().geometry.has(Incompat::EXTENTS);
    let (map_kind, flags, root) = if extents {
        (MapKind::Extents, InodeFlags::EXTENTS, EMPTY_ROOT)
    } else {
        (
            MapKind::Indirect,
            InodeFlags::from_bits(0),
            [0; I_BLOCK_SIZE],
        )
    };
    NewFacts {
        map_kind,
        flags: flags.union(InodeFlags::EA_INODE),
        generation: random_u32(),
        crtime: Timestamp { secs, nanos },
        projid: 0,
        root,
        may_inline: false,
    }
}

/// Gives it its contents, its hash, and its first reference.
fn fill(handle: &Handle<'_>, inode: &VfsInode, bytes: &[u8], hash: u32) -> Result<(), Fault> {
    let device = inode.super_block().device();
    let slot = inode_write::prepare(handle, inode)?;
    let mut at = FileBlock::ZERO;
    // A block size is not 0.
    for part in bytes.chunks((device.block_size() as usize).max(1)) {
        let block = map_change::map_new(handle, inode, at)?;
        let mut edit = handle.create(device, block.get())?;
        copy_to_start(&mut edit, part);
        edit.dirty(None);
        at = at.saturating_add(1);
    }
    let size = bytes.len() as u64;
    inode.set_size(size);
    let info: &InodeInfo = inode.data();
    {
        let _root = info.data_sem.write();
        info.set_disksize(size);
    }
    let (secs, nanos) = inode.mtime();
    slot.store_with(|edit| {
        edit.set_ea_hash(hash);
        edit.set_ea_ref_count(1);
        edit.set_mtime(Timestamp { secs, nanos });
    })?;
    Ok(())
}
