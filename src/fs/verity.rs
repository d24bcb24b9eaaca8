// SPDX-License-Identifier: GPL-2.0

//! fs-verity: where a file's Merkle tree and descriptor are.
//!
//! Both are in the file's own blocks, behind its end: the tree from the next multiple of 64 KiB
//! on, then the descriptor from a block boundary on, and the descriptor's size in the last four
//! bytes of the last block that is mapped. Format: `Documentation/filesystems/ext4/verity.rst`.

use super::{fault::Fault, inode::MapKind, map, Rext4Fs, VfsInode};
use crate::{
    engine::mapping::MapKind as Kind,
    linux::verity::VerityOps,
    ondisk::{inode::InodeError, Corrupt, FileBlock},
};
use kernel::prelude::*;

/// Alignment of the Merkle tree in bytes, whatever the sizes of blocks and pages.
const METADATA_ALIGN: u64 = 65536;
/// Size of the descriptor's size, in bytes.
const SIZE_LEN: u64 = 4;

/// rext4's verity operations.
pub(crate) struct Verity;

/// The file offset of the Merkle tree of `inode`, in bytes.
#[inline]
pub(crate) fn metadata_pos(inode: &VfsInode) -> u64 {
    inode.size().saturating_add(METADATA_ALIGN - 1) & !(METADATA_ALIGN - 1)
}

impl VerityOps for Verity {
    type Fs = Rext4Fs;

    fn metadata_pos(inode: &VfsInode) -> u64 {
        metadata_pos(inode)
    }

    fn descriptor(inode: &VfsInode, out: &mut [u8]) -> Result<usize> {
        let (pos, len) = locate(inode)?.ok_or_else(|| {
            Fault::from(Corrupt::from(InodeError::BadVerityDescriptor))
                .report_inode(inode, "verity")
        })?;
        if !out.is_empty() {
            inode.read_cached(pos, out.get_mut(..len).ok_or(ERANGE)?)?;
        }
        Ok(len)
    }
}

/// The position and length of the descriptor in bytes, `None` if there cannot be one.
///
/// Errors: those of reading the block map and the file.
fn locate(inode: &VfsInode) -> Result<Option<(u64, usize)>> {
    if inode.data().map_kind() != MapKind::Extents {
        return Ok(None);
    }
    let block_size = inode.super_block().block_size() as u64;
    let Some(last) = end_of_map(inode)? else {
        return Ok(None);
    };
    let end = u64::from(last.get()).saturating_mul(block_size);
    let Some(size_pos) = end.checked_sub(SIZE_LEN) else {
        return Ok(None);
    };
    let mut size = [0u8; SIZE_LEN as usize];
    inode.read_cached(size_pos, &mut size)?;
    let size = u32::from_le_bytes(size);
    let Some(start) = size_pos.checked_sub(size.into()) else {
        return Ok(None);
    };
    let pos = start & !block_size.wrapping_sub(1);
    // fs/verity takes an `int`.
    if size > i32::MAX as u32 || pos < metadata_pos(inode) {
        return Ok(None);
    }
    Ok(Some((pos, size as usize)))
}

/// One past the last mapped block; `None` for a file without any.
fn end_of_map(inode: &VfsInode) -> Result<Option<FileBlock>> {
    // The hole at the end of the block space begins behind the last extent.
    let top = FileBlock::new(FileBlock::END.get().wrapping_sub(1));
    let (m, _) = map::lookup(inode, top, false)?;
    Ok(match m.kind {
        Kind::Hole => Some(m.lblk).filter(|b| *b > FileBlock::ZERO),
        _ => Some(m.end()),
    })
}
