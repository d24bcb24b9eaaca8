// SPDX-License-Identifier: GPL-2.0

//! POSIX ACLs: from attribute values to what the VFS works with, and back.

use super::{fault::Fault, xattr, xattr_set, Sb, VfsInode};
use crate::{
    engine::xattr_edit::{Existing, Request},
    linux::{
        acl::{self as vfs, AclBuilder, AclKind, AclTag, PosixAcl},
        acl_change,
        idmap::Idmap,
        inode_edit::InodeEdit as _,
        nofs::NoFs,
        xattr::ValueBuffer,
    },
    ondisk::{
        acl::{self, Acl, AclEntry},
        xattr::index,
        Corrupt,
    },
};
use kernel::prelude::*;

/// The access or default ACL of `inode`; `None` if it has none. May sleep.
///
/// Errors: EINVAL for a value that is no ACL, as ext4 has it; EUCLEAN (reported), EIO, ENOMEM.
pub(crate) fn get(inode: &VfsInode, kind: AclKind) -> Result<Option<PosixAcl>> {
    let index = index_of(kind);
    let len = match xattr::get(inode, index, b"", None) {
        Ok(0) => return Ok(None),
        Ok(len) => len,
        Err(e) if e == ENODATA => return Ok(None),
        Err(e) => return Err(e),
    };
    // Larger than any call can pass: not made by this or another kernel, and not to be allocated.
    if len > xattr::SIZE_MAX {
        return Err(EINVAL);
    }
    // The VFS may ask while it walks a path on behalf of reclaim.
    let _nofs = NoFs::new();
    let mut memory = KVVec::from_elem(0u8, len, GFP_KERNEL)?;
    let mut value = ValueBuffer::new(&mut memory);
    xattr::get(inode, index, b"", Some(&mut value))?;
    let acl = Acl::parse(value.filled()).map_err(|e| {
        // Worth a line in the log; the errno is the one that tools know.
        let _ = Fault::Corrupt(Corrupt::from(e)).report_inode(inode, "get_acl");
        EINVAL
    })?;
    let Some(acl) = acl else {
        return Ok(None);
    };
    let mut list = AclBuilder::new(inode.super_block(), acl.count())?;
    for entry in acl.iter() {
        list.push(tag(entry.tag), entry.perm)?;
    }
    list.finish().map(Some)
}

/// Gives `inode` an access or default ACL, or takes it away, and with an access ACL the mode that
/// goes with it, in one transaction. i_rwsem is held for writing. May sleep.
///
/// Errors: EACCES for a default ACL of something else than a directory; EINVAL for a list that makes
/// no sense; ENOSPC, EUCLEAN (reported), EIO, EROFS, ENOMEM.
pub(crate) fn set(
    idmap: Idmap<'_>,
    inode: &VfsInode,
    list: Option<&vfs::Acl>,
    kind: AclKind,
) -> Result {
    let mut list = list;
    let mut mode = None;
    match (kind, list) {
        (AclKind::Default, Some(_)) if !inode.is_dir() => return Err(EACCES),
        (AclKind::Default, None) if !inode.is_dir() => return Ok(()),
        (AclKind::Access, Some(given)) => {
            let (new, says_more) = acl_change::update_mode(idmap, inode, given)?;
            mode = (new != inode.mode()).then_some(new);
            list = Some(given).filter(|_| says_more);
        }
        _ => {}
    }
    let value = match list {
        Some(list) => Some(to_value(inode.super_block(), list)?),
        None => None,
    };
    let request = Request {
        index: index_of(kind),
        name: b"",
        value: value.as_deref(),
        existing: Existing::Any,
        outside: false,
    };
    xattr_set::set(inode, &request, mode)?;
    inode.set_cached_acl(kind, list);
    Ok(())
}

/// A list as an attribute's value.
///
/// Errors: EINVAL for a list that could not be read back; ENOMEM.
pub(super) fn to_value(sb: &Sb, list: &vfs::Acl) -> Result<KVVec<u8>> {
    let mut value = KVVec::from_elem(0u8, acl::max_len(list.count()), GFP_KERNEL)?;
    let mut unknown = Ok(());
    let entries = list.entries(sb).map_while(|entry| match entry {
        Ok((tag, perm)) => Some(AclEntry {
            tag: stored_tag(tag),
            perm,
        }),
        Err(e) => {
            unknown = Err(e);
            None
        }
    });
    let len = acl::encode(entries, &mut value);
    unknown?;
    value.truncate(len.map_err(|_| EINVAL)?);
    Ok(value)
}

/// The attribute that holds the list.
pub(super) fn index_of(kind: AclKind) -> u8 {
    match kind {
        AclKind::Access => index::POSIX_ACL_ACCESS,
        AclKind::Default => index::POSIX_ACL_DEFAULT,
    }
}

fn tag(tag: acl::AclTag) -> AclTag {
    match tag {
        acl::AclTag::UserObj => AclTag::UserObj,
        acl::AclTag::User(id) => AclTag::User(id),
        acl::AclTag::GroupObj => AclTag::GroupObj,
        acl::AclTag::Group(id) => AclTag::Group(id),
        acl::AclTag::Mask => AclTag::Mask,
        acl::AclTag::Other => AclTag::Other,
    }
}

fn stored_tag(tag: AclTag) -> acl::AclTag {
    match tag {
        AclTag::UserObj => acl::AclTag::UserObj,
        AclTag::User(id) => acl::AclTag::User(id),
        AclTag::GroupObj => acl::AclTag::GroupObj,
        AclTag::Group(id) => acl::AclTag::Group(id),
        AclTag::Mask => acl::AclTag::Mask,
        AclTag::Other => acl::AclTag::Other,
    }
}
