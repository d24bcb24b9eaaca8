// SPDX-License-Identifier: GPL-2.0

//! Extended attributes: values and lists, from an inode's body, its block, and EA inodes.
//!
//! The body is looked at first, as ext4 does, and in lists its attributes come first. It is read
//! from the inode table when it is asked for, and verified as a whole each time: it is small, and
//! most inodes' attributes are never asked for. A block may belong to several inodes; it is
//! verified once per time in memory.
//!
//! Values in EA inodes are read by [`super::ea_value`]. How attributes are set is in
//! [`super::xattr_set`].

use super::{
    ea_value,
    fault::Fault,
    inode::{number, read_slot, Slot, XattrPlaces},
    options::Toggles,
    super_info::SuperInfo,
    xattr_block, xattr_set, Rext4Fs, VfsInode,
};
use crate::{
    engine::{
        xattr_edit::{self, Request},
        xattr_find,
    },
    linux::{
        buffer::Buffer,
        capability,
        idmap::Idmap,
        iomap::{self, Iomap, IomapOps, Placed},
        xattr::{Existing, ListBuffer, Prefix, ValueBuffer, XattrOps},
    },
    ondisk::{
        inode::Inode,
        xattr::{index, verify_inode, XattrArea, XattrError, XattrRules, XattrValue},
    },
};
use kernel::prelude::*;

/// The largest value that a system call passes, in bytes (`XATTR_SIZE_MAX`).
pub(crate) const SIZE_MAX: usize = 65536;

/// Size of an inode's fields in front of the extra ones, in bytes.
const BASE_SIZE: usize = 128;
/// The longest name that an entry can hold, in bytes and without the prefix.
const NAME_MAX: usize = 255;

impl From<XattrError> for Fault {
    fn from(e: XattrError) -> Self {
        Self::Corrupt(e.into())
    }
}

/// How rext4 reads and sets attributes.
pub(crate) struct Xattr;

#[vtable]
impl XattrOps for Xattr {
    type Fs = Rext4Fs;

    const PREFIXES: &'static [Prefix] = &[
        Prefix {
            prefix: c"user.",
            index: index::USER,
        },
        Prefix {
            prefix: c"trusted.",
            index: index::TRUSTED,
        },
        Prefix {
            prefix: c"security.",
            index: index::SECURITY,
        },
        Prefix {
            prefix: c"gnu.",
            index: index::HURD,
        },
    ];

    fn get(
        inode: &VfsInode,
        index: u8,
        name: &[u8],
        out: Option<&mut ValueBuffer<'_>>,
    ) -> Result<usize> {
        if matches!(index, index::USER | index::HURD) && !has_user_xattrs(inode) {
            return Err(EOPNOTSUPP);
        }
        get(inode, index, name, out)
    }

    fn set(
        _idmap: Idmap<'_>,
        inode: &VfsInode,
        index: u8,
        name: &[u8],
        value: Option<&[u8]>,
        existing: Existing,
    ) -> Result {
        if matches!(index, index::USER | index::HURD) && !has_user_xattrs(inode) {
            return Err(EOPNOTSUPP);
        }
        let request = Request {
            index,
            name,
            value,
            existing: match existing {
                Existing::Any => xattr_edit::Existing::Any,
                Existing::Forbidden => xattr_edit::Existing::Forbidden,
                Existing::Required => xattr_edit::Existing::Required,
            },
            outside: false,
        };
        xattr_set::set(inode, &request, None)
    }
}

fn has_user_xattrs(inode: &VfsInode) -> bool {
    inode.super_block().info().has(Toggles::USER_XATTR)
}

/// The length of the value of an attribute, by name index and the rest of its name. If there is
/// an `out`, the value has been appended to it. May sleep.
///
/// Errors: ENODATA if there is no such attribute; ERANGE if the value does not fit, or the name
/// is too long for any; EUCLEAN (reported), EIO.
pub(crate) fn get(
    inode: &VfsInode,
    index: u8,
    name: &[u8],
    out: Option<&mut ValueBuffer<'_>>,
) -> Result<usize> {
    if name.len() > NAME_MAX {
        return Err(ERANGE);
    }
    try_get(inode, index, name, out).map_err(|e| e.report_inode(inode, "getxattr"))
}

fn try_get(
    inode: &VfsInode,
    index: u8,
    name: &[u8],
    out: Option<&mut ValueBuffer<'_>>,
) -> Result<usize, Fault> {
    let rules = XattrRules::new(&inode.super_block().info().geometry);
    let places = inode.data().xattr_sem.read();
    if let Some(body) = Body::read(inode, &places)? {
        if let Some(area) = body.area(rules)? {
            if let Some(found) = xattr_find::find(&area, index, name)? {
                return value(inode, &found.value, out);
            }
        }
    }
    if let Some(block) = read_block(inode, &places, rules)? {
        let area = XattrArea::in_block(&block, rules)?;
        if let Some(found) = xattr_find::find(&area, index, name)? {
            return value(inode, &found.value, out);
        }
    }
    Err(Fault::Errno(ENODATA))
}

/// Copies a value, or only measures it.
fn value(
    inode: &VfsInode,
    value: &XattrValue<'_>,
    out: Option<&mut ValueBuffer<'_>>,
) -> Result<usize, Fault> {
    if let Some(out) = out {
        match value {
            XattrValue::Here(bytes) => out.push(bytes)?,
            XattrValue::EaInode(reference) => ea_value::read(inode, reference, out)?,
        }
    }
    Ok(value.len())
}

/// The names of all attributes that the calling task may see. May sleep.
///
/// Errors: ERANGE if they do not fit; EUCLEAN (reported), EIO.
pub(crate) fn list(inode: &VfsInode, out: &mut ListBuffer<'_>) -> Result {
    try_list(inode, out).map_err(|e| e.report_inode(inode, "listxattr"))
}

fn try_list(inode: &VfsInode, out: &mut ListBuffer<'_>) -> Result<(), Fault> {
    let info = inode.super_block().info();
    let rules = XattrRules::new(&info.geometry);
    let mut add = |index, prefix: &'static str, name: &[u8]| {
        let visible = match index {
            index::USER | index::HURD => info.has(Toggles::USER_XATTR),
            index::POSIX_ACL_ACCESS | index::POSIX_ACL_DEFAULT => info.has(Toggles::POSIX_ACL),
            index::TRUSTED => capability::sys_admin(),
            _ => true,
        };
        if visible {
            out.add(prefix.as_bytes(), name)?;
        }
        Ok::<(), Fault>(())
    };
    let places = inode.data().xattr_sem.read();
    if let Some(body) = Body::read(inode, &places)? {
        if let Some(area) = body.area(rules)? {
            xattr_find::list(&area, &mut add)?;
        }
    }
    if let Some(block) = read_block(inode, &places, rules)? {
        xattr_find::list(&XattrArea::in_block(&block, rules)?, &mut add)?;
    }
    Ok(())
}

/// The space behind the fields of an inode, in the inode table.
pub(super) struct Body<'a> {
    slot: Slot<'a>,
    /// Where the space begins in the slot, in bytes.
    start: usize,
}

impl<'a> Body<'a> {
    /// Reads the space; `None` if there are no attributes in it.
    pub(super) fn read(inode: &'a VfsInode, places: &XattrPlaces) -> Result<Option<Self>, Fault> {
        if !places.in_body {
            return Ok(None);
        }
        Ok(Some(Self {
            slot: read_slot(inode.super_block(), number(inode)?)?,
            start: BASE_SIZE.saturating_add(places.extra_isize.into()),
        }))
    }

    fn space(&self) -> &[u8] {
        self.slot.get(self.start..).unwrap_or(&[])
    }

    /// The attributes there, verified; `None` if there are none.
    pub(super) fn area(&self, rules: XattrRules) -> Result<Option<XattrArea<'_>>, XattrError> {
        verify_inode(self.space(), rules)?;
        Ok(XattrArea::in_inode(self.space(), rules))
    }
}

/// Reads the block of attributes, verified; `None` if the inode has none.
fn read_block<'a>(
    inode: &'a VfsInode,
    places: &XattrPlaces,
    rules: XattrRules,
) -> Result<Option<Buffer<'a>>, Fault> {
    match places.block {
        Some(number) => Ok(Some(xattr_block::read(inode.super_block(), number, rules)?)),
        None => Ok(None),
    }
}

/// The value of `system.data`, the second part of an inline file, from the space behind an
/// inode's fields; `None` if there is no such attribute.
///
/// Errors: damage; a value that is not in this place is.
pub(crate) fn inline_value<'a>(
    info: &SuperInfo,
    space: Option<&'a [u8]>,
) -> Result<Option<&'a [u8]>, Fault> {
    let rules = XattrRules::new(&info.geometry);
    let space = space.unwrap_or(&[]);
    verify_inode(space, rules)?;
    let Some(area) = XattrArea::in_inode(space, rules) else {
        return Ok(None);
    };
    match xattr_find::find(&area, index::SYSTEM, b"data")?.map(|x| x.value) {
        Some(XattrValue::Here(value)) => Ok(Some(value)),
        Some(XattrValue::EaInode(_)) => Err(XattrError::BadEaInode.into()),
        None => Ok(None),
    }
}

/// What an inode knows about its attributes from the start, so that most questions about them can
/// be answered without reading anything.
#[derive(Clone, Copy)]
pub(crate) struct Summary {
    /// There are attributes in the inode's body.
    pub(crate) in_body: bool,
    /// There may be an ACL, which the VFS would otherwise ask for at each step of each path.
    pub(crate) may_have_acl: bool,
}

impl Summary {
    /// Looks at an inode that is being read.
    #[inline]
    pub(crate) fn of(info: &SuperInfo, inode: &Inode<'_>) -> Self {
        let area = inode
            .xattr_space()
            .and_then(|space| XattrArea::in_inode(space, XattrRules::new(&info.geometry)));
        let acl_in_body = area.as_ref().is_some_and(|area| {
            area.iter().any(|x| match x {
                Ok(x) => matches!(x.index, index::POSIX_ACL_ACCESS | index::POSIX_ACL_DEFAULT),
                // To be reported when somebody asks for it.
                Err(_) => true,
            })
        });
        Self {
            in_body: area.is_some(),
            may_have_acl: acl_in_body || inode.xattr_block().is_some(),
        }
    }
}

/// Where extended attributes are on the device, for FIEMAP_FLAG_XATTR: one extent, in the inode's
/// body if there are any there, else the block.
pub(crate) struct XattrExtents;

impl IomapOps for XattrExtents {
    type Fs = Rext4Fs;

    /// Errors: ENOENT if there is nothing at `pos`.
    fn begin(
        inode: &VfsInode,
        pos: u64,
        _len: u64,
        _request: iomap::Request,
        out: &mut Iomap<'_>,
    ) -> Result {
        let place = locate(inode).map_err(|e| e.report_inode(inode, "fiemap"))?;
        match place {
            Some(Place::Body { address, len }) if pos < len => out.inline_report(address, len),
            Some(Place::Block { address, len }) if pos < len => {
                out.placed(Placed::Mapped, address, 0, len)
            }
            _ => return Err(ENOENT),
        }
        Ok(())
    }
}

/// Where attributes are, in bytes on the device.
enum Place {
    Body { address: u64, len: u64 },
    Block { address: u64, len: u64 },
}

fn locate(inode: &VfsInode) -> Result<Option<Place>, Fault> {
    let sb = inode.super_block();
    let rules = XattrRules::new(&sb.info().geometry);
    let places = inode.data().xattr_sem.read();
    if let Some(body) = Body::read(inode, &places)? {
        if body.area(rules)?.is_some() {
            let start = body.start as u64;
            // As ext4 reports it: the inode table's block plus the offset within the inode. Where
            // the inode is in that block is left out, which nobody sees who thinks in blocks.
            let block = body.slot.address() & !(sb.block_size() as u64).wrapping_sub(1);
            return Ok(Some(Place::Body {
                address: block.wrapping_add(start),
                len: body.space().len() as u64,
            }));
        }
    }
    Ok(places.block.map(|block| {
        let len = sb.block_size() as u64;
        Place::Block {
            address: block.get().wrapping_mul(len),
            len,
        }
    }))
}
