// SPDX-License-Identifier: GPL-2.0

//! POSIX ACLs: from attribute values to what the VFS works with.

use super::{fault::Fault, xattr, VfsInode};
use crate::{
    linux::{
        acl::{AclBuilder, AclKind, AclTag, PosixAcl},
        nofs::NoFs,
        xattr::ValueBuffer,
    },
    ondisk::{
        acl::{self, Acl},
        xattr::index,
        Corrupt,
    },
};
use kernel::prelude::*;

/// The access or default ACL of `inode`; `None` if it has none. May sleep.
///
/// Errors: EINVAL for a value that is no ACL, as ext4 has it; EUCLEAN (reported), EIO, ENOMEM.
pub(crate) fn get(inode: &VfsInode, kind: AclKind) -> Result<Option<PosixAcl>> {
    let index = match kind {
        AclKind::Access => index::POSIX_ACL_ACCESS,
        AclKind::Default => index::POSIX_ACL_DEFAULT,
    };
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
