// SPDX-License-Identifier: GPL-2.0

//! Making room for more extra fields in inodes whose bodies are full of attributes: these move to the
//! attribute block, as in C ext4.
//!
//! It is no use to anybody right now, and never worth a failure: what goes wrong ends it, and the
//! inode is as good as it was.
//!
//! Locking: as [`Prepared::store`](super::inode_write::Prepared::store), from which it comes: also
//! without i_rwsem. xattr_sem is not held.

use super::{
    fault::Fault,
    handle,
    tx::Handle,
    vec,
    xattr::Body,
    xattr_release::Dropped,
    xattr_set::{self, Failure, Touch},
    VfsInode,
};
use crate::{
    engine::{
        credits::Op,
        xattr_edit::{to_move_out, Existing, Request},
        xattr_find,
    },
    linux::jbd2::Room,
    ondisk::{
        features::Incompat,
        xattr::{XattrRules, XattrValue},
    },
};
use kernel::prelude::*;

/// Moves an attribute of `inode` out of its body, so that at least `missing` bytes more come free
/// there if that can be done with one; whether one has moved. In `handle`, which is given the credits
/// for it, if there is room for them. May sleep.
///
/// Errors: damage, EIO, ENOMEM, EROFS.
pub(super) fn move_out(handle: &Handle<'_>, inode: &VfsInode, missing: u16) -> Result<bool, Fault> {
    let sb = inode.super_block();
    let geo = &sb.info().geometry;
    // References to EA inodes could not be put in this handle, whoever's it is.
    if geo.has(Incompat::EA_INODE) {
        return Ok(false);
    }
    let Some(Chosen { index, name, value }) = choose(inode, missing)? else {
        return Ok(false);
    };
    let op = Op::SetXattr {
        len: u32::try_from(value.len()).unwrap_or(u32::MAX),
        others: 0,
    };
    if handle::ensure(sb, handle, op)? != Room::Granted {
        return Ok(false);
    }
    let request = Request {
        index,
        name: &name,
        value: Some(&value),
        existing: Existing::Required,
        outside: true,
    };
    let mut none = Dropped::new();
    match xattr_set::apply(handle, inode, &request, Touch::Quiet, &mut none) {
        Ok(()) => Ok(true),
        Err(Failure::NoRoom) => Ok(false),
        Err(Failure::Fault(e)) => Err(e),
    }
}

/// An attribute that is to move.
struct Chosen {
    index: u8,
    name: KVVec<u8>,
    value: KVVec<u8>,
}

/// The attribute to move, if there is one.
fn choose(inode: &VfsInode, missing: u16) -> Result<Option<Chosen>, Fault> {
    let rules = XattrRules::new(&inode.super_block().info().geometry);
    let places = inode.data().xattr_sem.read();
    let Some(body) = Body::read(inode, &places)? else {
        return Ok(None);
    };
    let Some(area) = body.area(rules)? else {
        return Ok(None);
    };
    let Some((index, name)) = to_move_out(&area, missing.into())? else {
        return Ok(None);
    };
    match xattr_find::find(&area, index, name)?.map(|found| found.value) {
        Some(XattrValue::Here(value)) => Ok(Some(Chosen {
            index,
            name: vec::copy(name)?,
            value: vec::copy(value)?,
        })),
        _ => Ok(None),
    }
}
