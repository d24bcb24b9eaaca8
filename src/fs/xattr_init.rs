// SPDX-License-Identifier: GPL-2.0

//! The attributes that a new inode starts with: ACLs that its directory hands on, and labels that
//! security modules ask for.
//!
//! Most inodes have none, which costs nothing here. Those that have some usually have them in their
//! bodies, all of which are stored in one change of the slot; what does not fit goes the way of
//! every attribute ([`super::xattr_set`]).

use super::{
    acl,
    fault::Fault,
    inode_write,
    tx::Handle,
    vec,
    xattr_release::Dropped,
    xattr_set::{self, Touch},
    Rext4Fs, Sb, VfsInode,
};
use crate::{
    engine::{
        credits,
        xattr_edit::{Existing, Request},
    },
    linux::{
        acl::{AclKind, PosixAcl},
        acl_change::Inherited,
        dentry::Dentry,
        inode_edit::InodeEdit as _,
        inode_new::FreshInode,
        security,
    },
    ondisk::{
        features::{Compat, Incompat},
        inode::BASE_SIZE,
        inode_edit::{fresh_extra_isize, InodeEdit},
        xattr::{index, XattrError, XattrRules},
        xattr_edit::{put_body, room, survey_body, NewValue},
    },
};
use core::cell::Cell;
use kernel::prelude::*;

/// Bytes of a body that are not for attributes: its header, and the end of the names.
const BODY_OVERHEAD: usize = 8;

/// An attribute.
struct Attribute {
    index: u8,
    name: KVVec<u8>,
    value: KVVec<u8>,
    stored: Cell<bool>,
}

impl Attribute {
    /// Whether it vouches for the others and for the inode that it is an attribute of.
    fn is_evm(&self) -> bool {
        self.index == index::SECURITY && &*self.name == b"evm"
    }
}

/// Adds what security modules want `inode`, a new one in `dir`, to be labelled with.
fn label(
    attributes: &mut KVVec<Attribute>,
    inode: &impl security::Unlabelled,
    dir: &VfsInode,
    name: Option<&Dentry<Rext4Fs>>,
) -> Result {
    security::label_new(inode, dir, name, |name, value| {
        let attribute = Attribute {
            index: index::SECURITY,
            name: vec::copy(name)?,
            value: vec::copy(value)?,
            stored: Cell::new(false),
        };
        push(attributes, attribute)
    })
}

/// The attributes that a new inode starts with.
pub(crate) struct Initial {
    access: Option<PosixAcl>,
    default: Option<PosixAcl>,
    /// All of them, ACLs first, in the order in which C ext4 stores them.
    attributes: KVVec<Attribute>,
    credits: credits::Initial,
    /// To be put when the handle has been stopped: with this.
    dropped: Cell<Option<Dropped>>,
}

impl Initial {
    /// Collects them, for `inode` in `dir`, which is going to have `name`: `inherited` is what the
    /// directory's default ACL makes of the inode. Not in a handle. May sleep.
    ///
    /// Errors: ENOMEM; EINVAL for an ACL that makes no sense; what security modules say.
    pub(crate) fn gather(
        dir: &VfsInode,
        inode: &FreshInode<Rext4Fs>,
        name: Option<&Dentry<Rext4Fs>>,
        inherited: Inherited,
    ) -> Result<Self> {
        let sb = dir.super_block();
        let mut attributes = KVVec::new();
        let lists = [
            (AclKind::Default, &inherited.default),
            (AclKind::Access, &inherited.access),
        ];
        for (kind, list) in lists {
            if let Some(list) = list {
                let attribute = Attribute {
                    index: acl::index_of(kind),
                    name: KVVec::new(),
                    value: acl::to_value(sb, list)?,
                    stored: Cell::new(false),
                };
                push(&mut attributes, attribute)?;
            }
        }
        label(&mut attributes, inode, dir, name)?;
        Ok(Self {
            access: inherited.access,
            default: inherited.default,
            credits: needs(sb, &attributes),
            attributes,
            dropped: Cell::new(None),
        })
    }

    /// Has the inode's labels be those of `inode`, which has its number and its generation now: EVM's
    /// is computed from all the others and from these. Without EVM nothing depends on them, and the
    /// labels stay. In the handle that makes the inode, before anybody else knows it. May sleep.
    ///
    /// Errors: ENOMEM; what security modules say; EAGAIN when they want to store more than before.
    pub(crate) fn seal(
        &mut self,
        dir: &VfsInode,
        inode: &impl security::Unlabelled,
        name: Option<&Dentry<Rext4Fs>>,
    ) -> Result {
        if !self.attributes.iter().any(Attribute::is_evm) {
            return Ok(());
        }
        let mut attributes = KVVec::new();
        for attribute in &self.attributes {
            if attribute.index != index::SECURITY {
                let copy = Attribute {
                    index: attribute.index,
                    name: vec::copy(&attribute.name)?,
                    value: vec::copy(&attribute.value)?,
                    stored: Cell::new(false),
                };
                push(&mut attributes, copy)?;
            }
        }
        label(&mut attributes, inode, dir, name)?;
        // A policy that has been loaded meanwhile. The handle has the credits that were asked for.
        if needs(dir.super_block(), &attributes) != self.credits {
            return Err(EAGAIN);
        }
        self.attributes = attributes;
        Ok(())
    }

    /// What the credits of making the inode depend on.
    pub(crate) fn credits(&self) -> credits::Initial {
        self.credits
    }

    /// Whether there is no ACL among them.
    pub(crate) fn has_no_acl(&self) -> bool {
        self.access.is_none() && self.default.is_none()
    }

    /// Stores them, in a new inode that nobody else knows. Its slot has been written, in `handle`.
    /// May sleep.
    ///
    /// Errors: ENOSPC, EIO, ENOMEM, EROFS; some may have been stored then.
    pub(crate) fn store(&self, handle: &Handle<'_>, inode: &VfsInode) -> Result<(), Fault> {
        if self.attributes.is_empty() {
            return Ok(());
        }
        xattr_set::use_ext_attr(inode.super_block(), handle)?;
        self.store_in_body(handle, inode)?;
        let left = self.attributes.iter().filter(|x| !x.stored.get());
        let mut dropped = Dropped::new();
        let mut result = Ok(());
        for attribute in left {
            let request = Request {
                index: attribute.index,
                name: &attribute.name,
                value: Some(&attribute.value),
                existing: Existing::Any,
                outside: false,
            };
            result = xattr_set::apply(handle, inode, &request, Touch::Changed, &mut dropped);
            if result.is_err() {
                break;
            }
        }
        self.dropped.set(Some(dropped));
        result.map_err(xattr_set::Failure::into_fault)?;
        if !self.has_no_acl() {
            inode.set_cached_acl(AclKind::Access, self.access.as_deref());
            inode.set_cached_acl(AclKind::Default, self.default.as_deref());
        }
        Ok(())
    }

    /// Stores what fits the inode's body.
    fn store_in_body(&self, handle: &Handle<'_>, inode: &VfsInode) -> Result<(), Fault> {
        let rules = XattrRules::new(&inode.super_block().info().geometry);
        let mut places = inode.data().xattr_sem.write();
        let stored = inode_write::prepare(handle, inode)?.edit(|edit| self.put(edit, rules))?;
        places.in_body = stored?;
        Ok(())
    }

    /// Puts what fits into the body; whether there is anything.
    fn put(&self, edit: &mut InodeEdit<'_>, rules: XattrRules) -> Result<bool, XattrError> {
        let Some(space) = edit.xattr_space() else {
            return Ok(false);
        };
        let mut any = false;
        for attribute in &self.attributes {
            let (index, name) = (attribute.index, &*attribute.name);
            // All of it is 0 to begin with: nothing stands there that could be damaged.
            let spot = survey_body(space, rules, index, name)?;
            if spot.fits(name.len(), attribute.value.len()) {
                let value = NewValue::Here(&attribute.value);
                put_body(space, &spot, index, name, &value);
                attribute.stored.set(true);
                any = true;
            }
        }
        Ok(any)
    }
}

/// What storing `attributes` may take.
fn needs(sb: &Sb, attributes: &KVVec<Attribute>) -> credits::Initial {
    if attributes.is_empty() {
        return credits::Initial::InBody;
    }
    let geo = &sb.info().geometry;
    let extra = usize::from(fresh_extra_isize(geo));
    let fields = BASE_SIZE.saturating_add(extra);
    let body = match extra {
        0 => 0,
        _ => usize::from(geo.inode_size()).saturating_sub(fields),
    };
    let (mut size, mut longest) = (BODY_OVERHEAD, 0);
    for attribute in attributes {
        size = size.saturating_add(room(attribute.name.len(), attribute.value.len()));
        longest = attribute.value.len().max(longest);
    }
    let in_word = |n| u32::try_from(n).unwrap_or(u32::MAX);
    if size <= body && geo.has(Compat::EXT_ATTR) {
        credits::Initial::InBody
    } else if geo.has(Incompat::EA_INODE) {
        credits::Initial::EaInodes {
            count: in_word(attributes.len()),
            len: in_word(longest),
        }
    } else {
        credits::Initial::Block
    }
}

fn push(attributes: &mut KVVec<Attribute>, attribute: Attribute) -> Result {
    vec::make_room(attributes)?;
    vec::push(attributes, attribute)
}
