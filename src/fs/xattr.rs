// SPDX-License-Identifier: GPL-2.0

//! Extended attributes: values and lists, from an inode's body, its block, and EA inodes.
//!
//! The body is looked at first, as ext4 does, and in lists its attributes come first. It is read
//! from the inode table when it is asked for, and verified as a whole each time: it is small, and
//! most inodes' attributes are never asked for. A block may belong to several inodes; it is
//! verified once per time in memory.
//!
//! An EA inode is read without the VFS: its slot is verified for that purpose, and its contents
//! come through the buffer cache like other metadata. So no inode has to be locked or evicted
//! while another one's attribute is read.

use super::{
    fault::Fault,
    inode::{number, read_slot, Slot, XattrPlaces},
    meta::{FileBounds, Meta},
    options::Toggles,
    super_info::SuperInfo,
    Rext4Fs, Sb, VfsInode,
};
use crate::{
    engine::{
        extent_walk::ExtentTree,
        indirect_walk::IndirectMap,
        mapping::{MapKind, Mapping},
        source::BlockSource,
        xattr_find,
    },
    linux::{
        buffer::{Buffer, Verified},
        capability,
        iomap::{Iomap, IomapOps, Placed, Request},
        xattr::{ListBuffer, Prefix, ValueBuffer, XattrOps},
    },
    ondisk::{
        extent, indirect,
        inode::{Inode, InodeFlags, Purpose, Refused},
        xattr::{
            index, verify_block, verify_inode, EaInode, EaKind, EaReference, XattrArea, XattrError,
            XattrRules, XattrValue,
        },
        Corrupt, FileBlock,
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

/// How rext4 reads attributes.
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
            XattrValue::EaInode(reference) => read_ea_inode(inode, reference, out)?,
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
struct Body<'a> {
    slot: Slot<'a>,
    /// Where the space begins in the slot, in bytes.
    start: usize,
}

impl<'a> Body<'a> {
    /// Reads the space; `None` if there are no attributes in it.
    fn read(inode: &'a VfsInode, places: &XattrPlaces) -> Result<Option<Self>, Fault> {
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
    fn area(&self, rules: XattrRules) -> Result<Option<XattrArea<'_>>, XattrError> {
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
    let Some(number) = places.block else {
        return Ok(None);
    };
    let sb = inode.super_block();
    let seed = sb.info().geometry.csum_seed();
    let block = Meta::new(sb, Verified::Xattr).read(number, |block| {
        Ok(verify_block(block, number, rules, seed)?)
    })?;
    Ok(Some(block))
}

/// Appends the value that `reference`, an attribute of inode `owner`, refers to.
///
/// Errors: ERANGE if it does not fit; damage, EIO.
fn read_ea_inode(
    owner: &VfsInode,
    reference: &EaReference<'_>,
    out: &mut ValueBuffer<'_>,
) -> Result<(), Fault> {
    let sb = owner.super_block();
    let info = sb.info();
    let owner_ino = number(owner)?;
    reference.check_owner(owner_ino)?;
    // Before anything is read: the size may be up to 16 MiB.
    let size = reference.size as usize;
    if size > out.room() {
        return Err(Fault::Errno(ERANGE));
    }
    let slot = read_slot(sb, reference.ino)?;
    let verify = if sb.is_rdonly() {
        Inode::verify
    } else {
        // Other owners of the value may be counting themselves in or out, which changes the
        // checksum. What must be right is checked by other means: the number of owners, the size,
        // and the value's hash.
        Inode::verify_shape
    };
    let raw =
        verify(&info.geometry, reference.ino, &slot, Purpose::EaInode).map_err(|e| match e {
            Refused::Stale => XattrError::UnusedEaInode.into(),
            Refused::Corrupt(e) => Fault::Corrupt(e.into()),
        })?;
    let ea = EaInode {
        links: raw.links_count().into(),
        size: raw.size(),
        hash: raw.ea_hash(),
        references: raw.ea_ref_count(),
        parent: raw.ea_parent(),
        generation: raw.generation(),
    };
    let kind = reference.check_inode(&ea, owner_ino, owner.generation())?;
    let contents = Contents::new(sb, &raw, FileBounds::new(info, reference.ino.get().into()))?;
    contents.copy(size, out)?;
    if kind == EaKind::Hashed {
        let value = out.filled();
        let start = value.len().saturating_sub(size);
        let value = value.get(start..).unwrap_or(&[]);
        reference.verify_value(value, &ea, info.geometry.ea_hash_seed())?;
    }
    Ok(())
}

/// The contents of an EA inode.
struct Contents<'a> {
    sb: &'a Sb,
    root: &'a [u8; extent::ROOT_SIZE],
    extents: bool,
    seed: Option<u32>,
    bounds: FileBounds<'a>,
}

impl<'a> Contents<'a> {
    fn new(sb: &'a Sb, inode: &Inode<'a>, bounds: FileBounds<'a>) -> Result<Self, Fault> {
        let flags = inode.flags();
        if flags.contains(InodeFlags::INLINE_DATA) || !inode.file_type().has_map() {
            return Err(XattrError::EaInodeHole.into());
        }
        let root = inode.i_block();
        let extents = flags.contains(InodeFlags::EXTENTS);
        if extents {
            extent::verify_root(root, &bounds).map_err(Corrupt::from)?;
        } else {
            indirect::verify_root(root, &bounds).map_err(Corrupt::from)?;
        }
        Ok(Self {
            sb,
            root,
            extents,
            seed: inode.csum_seed(),
            bounds,
        })
    }

    fn map(&self, at: FileBlock) -> Result<Mapping, Fault> {
        if self.extents {
            ExtentTree::new(self.root, self.seed, &self.bounds)
                .lookup(&Meta::new(self.sb, Verified::Extent), at)
        } else {
            IndirectMap::new(self.root, self.sb.info().pointer_bits, &self.bounds)
                .lookup(&Meta::new(self.sb, Verified::Indirect), at)
        }
    }

    /// Appends the first `size` bytes, which have been found to fit.
    fn copy(&self, size: usize, out: &mut ValueBuffer<'_>) -> Result<(), Fault> {
        let device = self.sb.device();
        let block_size = self.sb.block_size();
        let mut at = FileBlock::ZERO;
        let mut left = size;
        // Each turn reads at least one block, and there are no more than the size says.
        while left != 0 {
            let m = self.map(at)?;
            let (MapKind::Written(start), true) = (m.kind, m.end() > at) else {
                return Err(XattrError::EaInodeHole.into());
            };
            let skip = m.lblk.distance_to(at);
            let first = start.get().wrapping_add(skip.into());
            let run = m.len.saturating_sub(skip);
            let wanted = u32::try_from(left.div_ceil(block_size.max(1))).unwrap_or(u32::MAX);
            let run = run.min(wanted);
            device.read_ahead(first, run);
            for n in 0..run {
                let block = device.read(first.wrapping_add(n.into()))?;
                let part = block.get(..left).unwrap_or(&block);
                out.push(part)?;
                left = left.saturating_sub(part.len());
            }
            at = at.saturating_add(run);
        }
        Ok(())
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
        _request: Request,
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
