// SPDX-License-Identifier: GPL-2.0

//! Giving up all attributes of an inode that is deleted.
//!
//! The attribute block loses an owner, or is freed; EA inodes lose a reference, whether it is the
//! inode's body that names them or its block. An EA inode has no attributes itself, so that no
//! chain of them hangs on one another.

use super::{
    ea_inode,
    fault::Fault,
    handle,
    inode::XattrPlaces,
    inode_write,
    tx::Handle,
    vec,
    xattr::Body,
    xattr_block,
    xattr_set::{self, Failure, Touch},
    VfsInode,
};
use crate::{
    engine::{
        credits::Op,
        xattr_edit::{Existing, Request},
    },
    linux::{inode_edit::InodeEdit as _, jbd2::NoHandle},
    ondisk::{
        features::Incompat,
        inode::InodeFlags,
        xattr::{XattrArea, XattrRules, XattrValue},
        xattr_block::ea_references,
        xattr_edit::OldEaInode,
    },
};
use kernel::{prelude::*, sync::aref::ARef};

/// References to EA inodes that were taken inside of a handle, to be put when it has been stopped.
/// (To be declared before the handle, so that this holds on every path.)
#[derive(Default)]
pub(crate) struct Dropped(KVec<ARef<VfsInode>>);

impl Dropped {
    /// None. No memory is taken for that.
    pub(crate) fn new() -> Self {
        Self(KVec::new())
    }

    /// Makes room for one more.
    ///
    /// Errors: ENOMEM.
    pub(super) fn reserve(&mut self) -> Result {
        vec::make_room(&mut self.0)
    }

    /// Keeps `inode`; there has been [made room](Self::reserve) for it.
    pub(super) fn keep(&mut self, inode: ARef<VfsInode>) {
        // Never full; if it were, this reference is not the last one, which the caller has.
        let _ = self.0.push_within_capacity(inode);
    }

    /// Puts all references: inodes that have lost their last entry go.
    pub(crate) fn put(self, _outside: &NoHandle) {
        drop(self);
    }
}

/// How many EA inodes may lose a reference in the handle that frees an inode.
pub(crate) const VALUES_AT_ONCE: u32 = 16;

/// How many values of the attributes of `inode`, which is being evicted, are in EA inodes: what
/// [`release_all`] needs credits for. May sleep.
///
/// Errors: damage, EIO.
pub(crate) fn ea_inodes(inode: &VfsInode) -> Result<u32, Fault> {
    let geo = &inode.super_block().info().geometry;
    if !has_values(inode) {
        return Ok(0);
    }
    let rules = XattrRules::new(geo);
    let places = inode.data().xattr_sem.read();
    let mut count = 0u32;
    let mut tally = |area: &XattrArea<'_>| {
        for reference in ea_references(area) {
            reference?;
            count = count.saturating_add(1);
        }
        Ok::<_, Fault>(())
    };
    if let Some(body) = Body::read(inode, &places)? {
        if let Some(area) = body.area(rules)? {
            tally(&area)?;
        }
    }
    if let Some(number) = places.block {
        let block = xattr_block::read(inode.super_block(), number, rules)?;
        tally(&XattrArea::in_block(&block, rules)?)?;
    }
    Ok(count)
}

/// Whether there may be values in EA inodes.
fn has_values(inode: &VfsInode) -> bool {
    let geo = &inode.super_block().info().geometry;
    geo.has(Incompat::EA_INODE) && !inode.data().flags().contains(InodeFlags::EA_INODE)
}

/// Gives up all attributes of `inode`, which is being deleted: in memory, on disk but for the slot's
/// field for the block, which the caller stores or clears with the inode. To be called in the handle
/// that frees the inode. `dropped` is to be put when that has been stopped. May sleep.
///
/// Errors: damage, EIO, ENOMEM, EROFS; what has been given up by then is not given up once more if
/// this is called again.
pub(crate) fn release_all(
    handle: &Handle<'_>,
    inode: &VfsInode,
    dropped: &mut Dropped,
) -> Result<(), Fault> {
    let mut places = inode.data().xattr_sem.write();
    if places.in_body && has_values(inode) {
        release_body(handle, inode, &mut places, dropped)?;
    }
    if let Some(block) = places.block {
        xattr_block::leave(handle, inode, block, dropped)?;
        places.block = None;
        inode.sub_sectors(xattr_block::charge(inode.super_block()));
    }
    Ok(())
}

/// Gives up values in EA inodes until there are no more than [`VALUES_AT_ONCE`], each in a transaction
/// of its own if need be: a block may name more than a transaction can change. For [`release_all`] to
/// do the rest. xattr_sem is not held; what is open of `handle` is consistent. May sleep.
///
/// Errors: damage, EIO, ENOMEM, EROFS.
#[cold]
pub(crate) fn shed(
    handle: &mut Handle<'_>,
    inode: &VfsInode,
    dropped: &mut Dropped,
) -> Result<(), Fault> {
    let sb = inode.super_block();
    // Each turn takes one away, and a count has an end.
    while ea_inodes(inode)? > VALUES_AT_ONCE {
        handle::make_room(sb, handle, Op::SetXattr { len: 0, others: 0 })?;
        if leave_block(handle, inode)? {
            continue;
        }
        let Some((index, name)) = first_value(inode)? else {
            break;
        };
        let request = Request {
            index,
            name: &name,
            value: None,
            existing: Existing::Required,
            outside: false,
        };
        xattr_set::apply(handle, inode, &request, Touch::Ending, dropped)
            .map_err(Failure::into_fault)?;
    }
    Ok(())
}

/// Gives up the block if others have it as well, which takes no reference from anything; whether it
/// did. If not, the block is the inode's alone.
fn leave_block(handle: &Handle<'_>, inode: &VfsInode) -> Result<bool, Fault> {
    let sb = inode.super_block();
    let rules = XattrRules::new(&sb.info().geometry);
    let mut places = inode.data().xattr_sem.write();
    let Some(number) = places.block else {
        return Ok(false);
    };
    let slot = inode_write::prepare(handle, inode)?;
    let block = xattr_block::read(sb, number, rules)?;
    if !xattr_block::leave_to_others(handle, sb, &block)? {
        return Ok(false);
    }
    places.block = None;
    inode.sub_sectors(xattr_block::charge(sb));
    slot.store_attributed(&places)?;
    Ok(true)
}

/// Index and name of the first attribute whose value is in an EA inode.
fn first_value(inode: &VfsInode) -> Result<Option<(u8, KVVec<u8>)>, Fault> {
    let rules = XattrRules::new(&inode.super_block().info().geometry);
    let places = inode.data().xattr_sem.read();
    let find = |area: &XattrArea<'_>| {
        for xattr in area.iter() {
            let xattr = xattr?;
            if let XattrValue::EaInode(_) = xattr.value {
                let name = vec::copy(xattr.name)?;
                return Ok::<_, Fault>(Some((xattr.index, name)));
            }
        }
        Ok(None)
    };
    if let Some(body) = Body::read(inode, &places)? {
        if let Some(area) = body.area(rules)? {
            if let Some(found) = find(&area)? {
                return Ok(Some(found));
            }
        }
    }
    match places.block {
        Some(number) => {
            let block = xattr_block::read(inode.super_block(), number, rules)?;
            find(&XattrArea::in_block(&block, rules)?)
        }
        None => Ok(None),
    }
}

/// One reference less to each EA inode that the body names. The attributes in the body are gone
/// after that: their inode goes as well.
fn release_body(
    handle: &Handle<'_>,
    inode: &VfsInode,
    places: &mut XattrPlaces,
    dropped: &mut Dropped,
) -> Result<(), Fault> {
    let rules = XattrRules::new(&inode.super_block().info().geometry);
    let Some(body) = Body::read(inode, places)? else {
        return Ok(());
    };
    let Some(area) = body.area(rules)? else {
        return Ok(());
    };
    let mut any = false;
    for reference in ea_references(&area) {
        let old = OldEaInode::from(reference?);
        any = true;
        ea_inode::release(handle, inode, &old, dropped);
    }
    if any {
        places.in_body = false;
        inode_write::prepare(handle, inode)?.edit(|edit| {
            if let Some(magic) = edit.xattr_space().and_then(|s| s.first_chunk_mut::<4>()) {
                *magic = [0; 4];
            }
        })?;
    }
    Ok(())
}
