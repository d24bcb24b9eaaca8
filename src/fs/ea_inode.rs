// SPDX-License-Identifier: GPL-2.0

//! EA inodes: inodes that hold one value, for all entries that refer to it.
//!
//! The number of these entries is in the slot of the EA inode and nowhere else; it changes under one
//! lock (see [`super::xattr_sharing`]). An EA inode that loses its last reference becomes an orphan
//! in the same transaction, and is freed when it is evicted.
//!
//! # References of the VFS
//!
//! The last reference to an EA inode must not be put inside of a handle, since its eviction starts
//! one, and waits. Somebody else may have taken the last entry away at any time, so every reference
//! that is taken inside of a handle goes into a [`Dropped`], whose owner puts them all afterwards.

use super::{
    ea_new, ea_value,
    fault::Fault,
    inode::{iget, number, read_slot},
    inode_write, orphan,
    tx::Handle,
    xattr_release::Dropped,
    xattr_sharing as sharing, Sb, VfsInode,
};
use crate::{
    linux::{inode_edit::InodeEdit as _, inode_new::Peek, insist::insist},
    ondisk::{
        ea_inode::{add_reference, drop_reference, value_hash, EaKind, EaLife},
        inode::{InodeFlags, Purpose},
        inode_edit::ea_ref_count,
        xattr::XattrError,
        xattr_edit::{NewValue, OldEaInode},
        Ino,
    },
};
use kernel::{prelude::*, sync::aref::ARef};

/// What an owner is charged for a value of `size` bytes, in 512-byte sectors: whole clusters,
/// whoever else refers to it.
pub(crate) fn charge(sb: &Sb, size: u32) -> u64 {
    let geo = &sb.info().geometry;
    let bits = geo.block_bits().saturating_add(geo.cluster_bits()) & 31;
    let cluster = 1u64 << bits;
    let bytes = u64::from(size).saturating_add(cluster.wrapping_sub(1)) & !cluster.wrapping_sub(1);
    bytes >> 9
}

/// A reference that an attribute of some inode has to an EA inode.
pub(crate) struct Referred {
    inode: ARef<VfsInode>,
    /// Who made the EA inode. Its owner is not charged for one of Lustre's.
    pub(crate) kind: EaKind,
}

/// Gets the EA inode that `old`, an attribute of `owner`, refers to; checks that the reference can
/// be one. Inside of a handle. May sleep.
///
/// Errors: damage, EIO, ENOMEM.
pub(crate) fn open(
    owner: &VfsInode,
    old: &OldEaInode,
    dropped: &mut Dropped,
) -> Result<Referred, Fault> {
    let sb = owner.super_block();
    let owner_ino = number(owner)?;
    // Its eviction, or reading it, would wait for us.
    if old.ino == owner_ino {
        return Err(XattrError::OwnEaInode.into());
    }
    if let Peek::Deleted = sb.peek_inode(old.ino.get().into()) {
        return Err(XattrError::UnusedEaInode.into());
    }
    let inode = get(sb, old.ino, dropped)?;
    let slot = read_slot(sb, old.ino)?;
    let ea = ea_value::verify(sb, old.ino, &slot)?.ea_facts();
    let lustre = ea.made_by_lustre(old.hash, owner_ino, owner.generation());
    if ea.links != 1 || (ea.references == 0 && !lustre) {
        return Err(XattrError::UnusedEaInode.into());
    }
    Ok(Referred {
        inode,
        kind: if lustre {
            EaKind::Lustre
        } else {
            EaKind::Hashed
        },
    })
}

/// One reference less to the EA inode that `old`, an attribute of `owner`, refers to, which goes. A
/// reference that makes no sense is reported, and there is nothing to count: e2fsck counts anew.
pub(crate) fn release(
    handle: &Handle<'_>,
    owner: &VfsInode,
    old: &OldEaInode,
    dropped: &mut Dropped,
) {
    let result = insist(|| open(owner, old, dropped)).and_then(|ea| ea.drop_reference(handle));
    if let Err(e) = result {
        let _ = e.report_inode(owner, "EA inode");
    }
}

/// The inode itself; `dropped` has a reference to it as well.
fn get(sb: &Sb, ino: Ino, dropped: &mut Dropped) -> Result<ARef<VfsInode>, Fault> {
    dropped.reserve()?;
    let inode = iget(sb, ino, Purpose::EaInode).map_err(|e| match e {
        e if e == ESTALE => XattrError::UnusedEaInode.into(),
        e => Fault::Errno(e),
    })?;
    dropped.keep(inode.clone());
    Ok(inode)
}

impl Referred {
    /// Counts one reference more.
    ///
    /// May sleep. Errors: damage, EIO, EROFS; nothing has changed then.
    pub(crate) fn add_reference(&self, handle: &Handle<'_>) -> Result<(), Fault> {
        count(handle, &self.inode, |now| match add_reference(now)? {
            // Its owner has one.
            EaLife::Begins | EaLife::Ends => Err(XattrError::UnusedEaInode.into()),
            life => Ok(life),
        })
    }

    /// Counts one reference less. With the last one the EA inode becomes an orphan.
    ///
    /// May sleep. Errors: damage, EIO, EROFS; nothing has changed then.
    pub(crate) fn drop_reference(&self, handle: &Handle<'_>) -> Result<(), Fault> {
        count(handle, &self.inode, |now| match self.kind {
            EaKind::Hashed => Ok(drop_reference(now)?),
            // There is no count.
            EaKind::Lustre => Ok(EaLife::Ends),
        })
    }
}

/// Changes the count of references to `ea`.
fn count(
    handle: &Handle<'_>,
    ea: &VfsInode,
    change: impl FnOnce(u64) -> Result<EaLife, Fault>,
) -> Result<(), Fault> {
    let sb = ea.super_block();
    let _lock = sharing::of(sb)?.lock_references();
    let now = ea_ref_count(&read_slot(sb, number(ea)?)?).ok_or(EUCLEAN)?;
    let life = change(now)?;
    if life == EaLife::Ends {
        orphan::add(handle, ea)?;
        ea.clear_nlink();
    }
    inode_write::prepare(handle, ea)?.edit(|edit| {
        edit.set_ea_ref_count(life.references());
        edit.set_links(u16::from(life != EaLife::Ends));
    })?;
    Ok(())
}

/// A value that is in an EA inode, where a reference has been counted for it.
pub(crate) struct Value {
    inode: ARef<VfsInode>,
    ino: Ino,
    hash: u32,
    size: u32,
}

impl Value {
    /// What an entry says of it.
    pub(crate) fn as_new<'a>(&self) -> NewValue<'a> {
        NewValue::EaInode {
            ino: self.ino,
            hash: self.hash,
            size: self.size,
        }
    }

    /// Its length in bytes.
    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    /// Counts one reference less: there is no entry for it, or one that has been counted already.
    ///
    /// May sleep. Errors: EIO, EROFS.
    pub(crate) fn give_up(&self, handle: &Handle<'_>) -> Result<(), Fault> {
        count(handle, &self.inode, |now| Ok(drop_reference(now)?))
    }
}

/// Finds an EA inode with `bytes`, of an attribute of `owner`, or makes one, and counts a reference.
/// Inside of a handle. May sleep.
///
/// Errors: ENOSPC, EIO, ENOMEM, EROFS; nothing has changed then.
pub(crate) fn find_or_make(
    handle: &Handle<'_>,
    owner: &VfsInode,
    bytes: &[u8],
    dropped: &mut Dropped,
) -> Result<Value, Fault> {
    let sb = owner.super_block();
    let hash = value_hash(sb.info().geometry.ea_hash_seed(), bytes);
    let inode = match find(handle, sb, bytes, hash, dropped)? {
        Some(inode) => inode,
        None => ea_new::make(handle, owner, bytes, hash, dropped)?,
    };
    Ok(Value {
        ino: number(&inode)?,
        inode,
        hash,
        // No value is longer than what a call passes.
        size: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
    })
}

/// How many entries of the cache are looked at.
const TRIES: u32 = 16;

/// Finds an EA inode in memory that holds `bytes`, and counts a reference to it.
fn find(
    handle: &Handle<'_>,
    sb: &Sb,
    bytes: &[u8],
    hash: u32,
    dropped: &mut Dropped,
) -> Result<Option<ARef<VfsInode>>, Fault> {
    let mut next = sharing::of(sb)?.find_value(hash);
    for _ in 0..TRIES {
        let Some(entry) = next else {
            break;
        };
        dropped.reserve()?;
        // Its eviction waits for us to put the entry, so it must not be waited for.
        if let Peek::Here(inode) = sb.peek_inode(entry.value()) {
            dropped.keep(inode.clone());
            let equal = inode.data().flags().contains(InodeFlags::EA_INODE)
                && ea_value::is(sb, number(&inode)?, bytes, hash).unwrap_or(false);
            // It may lose its last reference, and is not to be brought back from there.
            let live = |now| match add_reference(now)? {
                EaLife::Goes(n) => Ok(EaLife::Goes(n)),
                EaLife::Begins | EaLife::Ends => Err(ENOENT.into()),
            };
            if equal {
                match count(handle, &inode, live) {
                    Ok(()) => {
                        entry.touch();
                        return Ok(Some(inode));
                    }
                    Err(Fault::Errno(e)) if e == ENOENT => {}
                    Err(e) => return Err(e),
                }
            }
        }
        next = entry.next();
    }
    Ok(None)
}

/// `inode` is being evicted: if it is an EA inode, it cannot be found by its value any more.
pub(crate) fn forget(inode: &VfsInode) {
    if !inode.data().flags().contains(InodeFlags::EA_INODE) {
        return;
    }
    if let Some(sharing) = inode.super_block().info().sharing.as_ref() {
        // What is the access time of others is the hash, of which the VFS knows the low 32 bits.
        let (hash, _) = inode.atime();
        sharing.forget_value(hash as u32, inode.ino());
    }
}
