// SPDX-License-Identifier: GPL-2.0

//! What iomap asks: where the bytes of a file are.

use super::{
    fault::Fault,
    inode, map,
    trace::{self, RangeEvent},
    vec, verity, Rext4Fs, VfsInode,
};
use crate::{
    engine::mapping,
    linux::{
        iomap::{Iomap, IomapOps, Placed, Request},
        nofs::NoFs,
    },
    ondisk::{inline::InlineData, inode::InodeFlags, Corrupt, FileBlock},
};
use kernel::prelude::*;

/// Mappings for reading.
pub(crate) struct Read;

/// Mappings for reports: fiemap, SEEK_HOLE, FIBMAP.
pub(crate) struct Report;

impl IomapOps for Read {
    type Fs = Rext4Fs;

    #[inline]
    fn begin(
        inode: &VfsInode,
        pos: u64,
        _len: u64,
        request: Request,
        out: &mut Iomap<'_>,
    ) -> Result {
        if request.writes() {
            return Err(EROFS);
        }
        if inode.data().flags().contains(InodeFlags::INLINE_DATA) {
            if inline_contents(inode, pos, out)? {
                return Ok(());
            }
        }
        blocks(inode, pos, request, false, out)?;
        if inode.data().flags().contains(InodeFlags::VERITY) && pos >= verity::metadata_pos(inode) {
            out.set_verity();
        }
        Ok(())
    }
}

impl IomapOps for Report {
    type Fs = Rext4Fs;

    fn begin(
        inode: &VfsInode,
        pos: u64,
        _len: u64,
        request: Request,
        out: &mut Iomap<'_>,
    ) -> Result {
        if inode.data().flags().contains(InodeFlags::INLINE_DATA) {
            let size = inode.size();
            if pos >= size {
                out.hole(pos, u64::MAX >> 1);
            } else {
                out.inline_report(inode::block_address(inode), size);
            }
            return Ok(());
        }
        blocks(inode, pos, request, true, out)?;
        if inode.data().map_kind() == inode::MapKind::Indirect {
            // Runs of pointers are put together here; on disk each block stands alone.
            out.set_merged();
        }
        Ok(())
    }
}

/// A mapping of a file whose data is in blocks.
#[inline]
fn blocks(
    inode: &VfsInode,
    pos: u64,
    request: Request,
    reports: bool,
    out: &mut Iomap<'_>,
) -> Result {
    let bits = inode.super_block().info().geometry.block_bits() & 31;
    let Ok(at) = u32::try_from(pos >> bits) else {
        out.hole(pos, u64::MAX >> 1);
        return Ok(());
    };
    let (m, cookie) = map::lookup(inode, FileBlock::new(at), request.nowait())?;
    if reports {
        trace::mapping(RangeEvent::MapReport, inode, &m);
    } else {
        trace::mapping(RangeEvent::MapRead, inode, &m);
    }
    // What has been reported already is not to be so again: a run may have come to be known as part of a
    // longer one meanwhile, such as goes on in another leaf of the tree.
    let m = match m.clip(FileBlock::new(at), FileBlock::END) {
        Some(rest) if reports => rest,
        _ => m,
    };
    let offset = u64::from(m.lblk.get()) << bits;
    let len = u64::from(m.len) << bits;
    match m.kind {
        mapping::MapKind::Delayed | mapping::MapKind::InFlight if reports => {
            out.delayed(offset, len, false)
        }
        // What is delayed or in flight is in the page cache, and asked for where it is not.
        mapping::MapKind::Hole | mapping::MapKind::Delayed | mapping::MapKind::InFlight => {
            out.hole(offset, len)
        }
        mapping::MapKind::Written(b) => out.placed(Placed::Mapped, b.get() << bits, offset, len),
        mapping::MapKind::Unwritten(b) => {
            out.placed(Placed::Unwritten, b.get() << bits, offset, len)
        }
    }
    out.set_cookie(cookie);
    Ok(())
}

/// The byte address on the device of `pos..pos + len` (bytes) of a file, if that is written data
/// in one extent, below the end of the file and not verified by fs-verity.
///
/// May sleep. Errors: those of [`map::lookup`].
#[inline]
pub(crate) fn run(inode: &VfsInode, pos: u64, len: u64) -> Result<Option<u64>> {
    if inode
        .data()
        .flags()
        .intersects(InodeFlags::INLINE_DATA.union(InodeFlags::VERITY))
    {
        return Ok(None);
    }
    let geometry = &inode.super_block().info().geometry;
    let bits = geometry.block_bits() & 31;
    let end = pos.saturating_add(len);
    let (Ok(at), true) = (
        u32::try_from(pos >> bits),
        // Whole blocks behind the end of the file are zeroes, whatever the device has there.
        end <= inode.size().saturating_add((1 << bits) - 1),
    ) else {
        return Ok(None);
    };
    let (m, _) = map::lookup(inode, FileBlock::new(at), false)?;
    let mapping::MapKind::Written(block) = m.kind else {
        return Ok(None);
    };
    if end > u64::from(m.end().get()) << bits {
        return Ok(None);
    }
    trace::mapping(RangeEvent::MapRead, inode, &m);
    let into = pos.wrapping_sub(u64::from(m.lblk.get()) << bits);
    Ok((block.get() << bits).checked_add(into))
}

/// The contents of an inline file. iomap copies them into the folio, whose tail it zeroes; they
/// are in two places on disk (i_block and an attribute), so they are put together here first. `false` if
/// they have left the inode meanwhile.
#[cold]
fn inline_contents(inode: &VfsInode, pos: u64, out: &mut Iomap<'_>) -> Result<bool> {
    let size = inode.size();
    if pos >= size {
        out.hole(pos, u64::MAX >> 1);
        return Ok(true);
    }
    let Some(contents) = try_read_inline(inode, size)? else {
        return Ok(false);
    };
    out.inline(inode::block_address(inode), contents);
    Ok(true)
}

/// The `size` bytes of an inline file or symbolic link; what is not stored reads as zeroes.
///
/// Errors: EUCLEAN (reported) when the inode cannot hold that much; EIO, ENOMEM.
pub(crate) fn read_inline(inode: &VfsInode, size: u64) -> Result<KVec<u8>> {
    try_read_inline(inode, size)?.ok_or(EUCLEAN)
}

/// As [`read_inline`]; `None` for a file that is not inline any more.
fn try_read_inline(inode: &VfsInode, size: u64) -> Result<Option<KVec<u8>>> {
    let sb = inode.super_block();
    // Inline data is bounded by the inode, and that by the block; iomap wants it in one page.
    let len = usize::try_from(size).map_err(|_| EUCLEAN)?;
    // Whoever has contents leave the inode says so before anybody else can look, or the file grows.
    let has_left = || !inode.data().flags().contains(InodeFlags::INLINE_DATA);
    if len > sb.block_size().min(kernel::page::PAGE_SIZE) {
        if has_left() {
            return Ok(None);
        }
        return Err(
            Fault::from(Corrupt::from(crate::ondisk::inline::InlineError::TooLarge))
                .report_inode(inode, "inline data"),
        );
    }
    // A folio may be locked: reclaim must not wait for it.
    let _nofs = NoFs::new();
    let mut contents = vec::filled(0u8, len)?;
    let read = inode::with_inline(inode, |i_block, value| {
        let data = InlineData::new(i_block, value, size).map_err(Corrupt::from)?;
        data.copy_to(0, &mut contents);
        Ok(())
    });
    match read {
        Ok(()) => Ok(Some(contents)),
        Err(_) if has_left() => Ok(None),
        Err(e) => Err(e.report_inode(inode, "inline data")),
    }
}
