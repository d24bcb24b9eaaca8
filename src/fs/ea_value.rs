// SPDX-License-Identifier: GPL-2.0

//! Values in EA inodes: read, and compared.
//!
//! The contents are read without the VFS's help: the slot is verified for that purpose, and the
//! blocks come through the buffer cache like other metadata. So no inode has to be locked or
//! evicted while another one's attribute is read. They never change: an EA inode is made with its
//! value, and freed with it.

use super::{
    fault::Fault,
    inode::{number, read_slot, Slot},
    meta::{FileBounds, Meta},
    Sb, VfsInode,
};
use crate::{
    engine::{
        extent_walk::ExtentTree,
        indirect_walk::IndirectMap,
        mapping::{MapKind, Mapping},
    },
    linux::{buffer::Verified, xattr::ValueBuffer},
    ondisk::{
        extent, indirect,
        inode::{Inode, InodeFlags, Purpose, Refused},
        xattr::{EaKind, EaReference, XattrError},
        Corrupt, FileBlock, Ino,
    },
};
use kernel::prelude::*;

/// The inode in `slot`, as an EA inode.
///
/// Errors: damage, and an inode that is not in use is that.
pub(super) fn verify<'a>(sb: &Sb, ino: Ino, slot: &'a Slot<'_>) -> Result<Inode<'a>, Fault> {
    let verify = if sb.is_rdonly() {
        Inode::verify
    } else {
        // Other owners of the value may be counting themselves in or out, which changes the
        // checksum. What must be right is checked by other means: the number of owners, the size,
        // and the value's hash.
        Inode::verify_shape
    };
    verify(&sb.info().geometry, ino, slot, Purpose::EaInode).map_err(|e| match e {
        Refused::Stale => XattrError::UnusedEaInode.into(),
        Refused::Corrupt(e) => Fault::Corrupt(e.into()),
    })
}

/// Appends the value that `reference`, an attribute of inode `owner`, refers to. May sleep.
///
/// Errors: ERANGE if it does not fit; damage, EIO.
pub(crate) fn read(
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
    let raw = verify(sb, reference.ino, &slot)?;
    let ea = raw.ea_facts();
    let kind = reference.check_inode(&ea, owner_ino, owner.generation())?;
    Contents::new(sb, &raw, reference.ino)?.each(size, |part| Ok(out.push(part)?))?;
    if kind == EaKind::Hashed {
        let value = out.filled();
        let start = value.len().saturating_sub(size);
        let value = value.get(start..).unwrap_or(&[]);
        reference.verify_value(value, &ea, info.geometry.ea_hash_seed())?;
    }
    Ok(())
}

/// Whether EA inode `ino` holds `value`, whose hash is `hash`. May sleep.
///
/// Errors: damage, EIO.
pub(crate) fn is(sb: &Sb, ino: Ino, value: &[u8], hash: u32) -> Result<bool, Fault> {
    let slot = read_slot(sb, ino)?;
    let raw = verify(sb, ino, &slot)?;
    let ea = raw.ea_facts();
    // Lustre's have no hash in this place, and belong to one inode.
    if ea.hash != hash || ea.size != value.len() as u64 || ea.links != 1 {
        return Ok(false);
    }
    let mut rest = value;
    Contents::new(sb, &raw, ino)?.each(value.len(), |part| {
        match rest.split_at_checked(part.len()) {
            Some((same, behind)) if same == part => rest = behind,
            // Not the end, for `rest` does not get shorter any more.
            _ => {}
        }
        Ok(())
    })?;
    Ok(rest.is_empty())
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
    fn new(sb: &'a Sb, inode: &Inode<'a>, ino: Ino) -> Result<Self, Fault> {
        let flags = inode.flags();
        if flags.contains(InodeFlags::INLINE_DATA) || !inode.file_type().has_map() {
            return Err(XattrError::EaInodeHole.into());
        }
        let bounds = FileBounds::new(sb.info(), ino.get().into());
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

    /// Calls `f` with the first `size` bytes, part by part.
    fn each(
        &self,
        size: usize,
        mut f: impl FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let device = self.sb.device();
        let bits = self.sb.info().geometry.block_bits() & 31;
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
            let last = u32::try_from(left.saturating_sub(1) >> bits).unwrap_or(u32::MAX);
            let wanted = last.saturating_add(1);
            let run = run.min(wanted);
            device.read_ahead(first, run);
            for n in 0..run {
                let block = device.read(first.wrapping_add(n.into()))?;
                let part = block.get(..left).unwrap_or(&block);
                f(part)?;
                left = left.saturating_sub(part.len());
            }
            at = at.saturating_add(run);
        }
        Ok(())
    }
}
