// SPDX-License-Identifier: GPL-2.0

//! Regular files whose contents are in the inode (`inline_data`): writing them, and giving them a block.
//!
//! A write that fits goes into the slot in a transaction of its own, and after that to the page cache:
//! nobody sees what could not be stored. (iomap's way for such data shows it first, and forgets what
//! goes wrong afterwards.) Pages of such a file are never dirty. A new file comes to be one with its
//! first write, if that fits.
//!
//! What does not fit any more leaves the inode for good ([`to_blocks`]), and is written like any
//! other data from then on: so does what is going to be written through a mapping. The contents are
//! written to a block that was found for them, which is in use in memory only; when they are there,
//! one transaction changes the form of the inode. A crash leaves it in the one form or in the other.
//!
//! Locking: the invalidate lock is held for writing by everybody who writes here or changes the form,
//! so that the page cache is not filled meanwhile, and of two who want to neither misses what the
//! other did; who writes holds i_rwsem as well. Then the folio with the contents, if there is one, a
//! handle, xattr_sem, data_sem. The form itself changes under both of these: whoever has one
//! of them sees flags, map and slot agree.

use super::{
    alloc::{self, Allocation, InFlight, Place, Wanted},
    fault::Fault,
    handle,
    inode::{with_inline, InodeInfo, MapKind, XattrPlaces},
    inode_write::{self, Prepared},
    map_change::{self, remember},
    meta::FileBounds,
    tx::{Handle, Tx},
    vec, Sb, VfsInode,
};
use crate::{
    engine::{
        credits::Op,
        extent_edit::{ExtentEditor, Inserted},
        indirect_edit::IndirectEditor,
        mapping::{self, Mapping},
    },
    linux::{
        buffer::Verified, inode_edit::InodeEdit as _, jbd2::NoHandle, page_cache::CachedFolio,
    },
    ondisk::{
        extent::{edit::EMPTY_ROOT, Extent, ExtentError},
        features::Incompat,
        inline::{file::Contents, InlineData, InlineError},
        inode::{InodeFlags, BASE_SIZE, I_BLOCK_SIZE},
        raw::copy_to_start,
        xattr::{XattrArea, XattrRules},
        Corrupt, FileBlock, FsBlock,
    },
};
use core::sync::atomic::Ordering::Relaxed;
use kernel::prelude::*;

/// More bytes than contents in the inode of this file can have, if there are any or may be; 0 for a
/// file with blocks.
#[inline]
pub(crate) fn room(inode: &VfsInode) -> usize {
    let info = inode.data();
    if !is_inline(info) && !info.may_inline.load(Relaxed) {
        return 0;
    }
    let sb = inode.super_block();
    let most = sb.block_size().min(kernel::page::PAGE_SIZE);
    usize::from(sb.info().geometry.inode_size()).min(most)
}

fn is_inline(info: &InodeInfo) -> bool {
    info.flags().contains(InodeFlags::INLINE_DATA)
}

/// Writes `bytes` to the file from byte `pos` on, if that is to be in the inode: `false`, and nothing
/// has changed, if there is no room. i_rwsem and the invalidate lock are held for writing; not inside
/// a handle. May sleep.
///
/// Errors: EUCLEAN (reported), EIO, ENOMEM, EROFS; nothing has changed then.
pub(crate) fn write(inode: &VfsInode, pos: u64, bytes: &[u8]) -> Result<bool> {
    let mut outside = NoHandle::here()?;
    let info = inode.data();
    let size = inode.size();
    let fresh = !is_inline(info);
    if fresh && !(info.may_inline.load(Relaxed) && size == 0) {
        return Ok(false);
    }
    let end = pos.saturating_add(bytes.len() as u64);
    let Some(whole) = whole(inode, fresh, size, pos, bytes, size.max(end))? else {
        return Ok(false);
    };
    let folio = CachedFolio::first(inode, &outside);
    let handle = handle::begin(inode.super_block(), &mut outside, Op::UpdateInode)?;
    let stored = store(&handle, inode, fresh, &whole);
    let stored = stored.map_err(|e| e.report_inode(inode, "inline data"))?;
    handle.stop()?;
    if stored {
        if let Some(folio) = folio {
            folio.write(pos, bytes);
        }
        if end > size {
            inode.set_size(end);
        }
    }
    Ok(stored)
}

/// All `len` bytes of the file when `bytes` have been written to it; `None` if they are too many.
fn whole(
    inode: &VfsInode,
    fresh: bool,
    size: u64,
    pos: u64,
    bytes: &[u8],
    len: u64,
) -> Result<Option<KVec<u8>>> {
    let Some(len) = usize::try_from(len).ok().filter(|len| *len <= room(inode)) else {
        return Ok(None);
    };
    let mut whole = vec::filled(0u8, len)?;
    if !fresh {
        read(inode, size, &mut whole)?;
    }
    let at = usize::try_from(pos).map_err(|_| EFBIG)?;
    copy_to_start(whole.get_mut(at..).unwrap_or_default(), bytes);
    Ok(Some(whole))
}

/// Reads the contents, `size` bytes, as many as `out` takes; what is not stored is left alone.
fn read(inode: &VfsInode, size: u64, out: &mut [u8]) -> Result {
    with_inline(inode, |i_block, value| {
        let data = InlineData::new(i_block, value, size).map_err(Corrupt::from)?;
        data.copy_to(0, out);
        Ok(())
    })
    .map_err(|e: Fault| e.report_inode(inode, "inline data"))
}

/// Stores `whole`, all bytes of the file, which is one with blocks until now if it is `fresh`: then it
/// has none. `false`, and nothing has changed, if there is no room.
fn store(handle: &Handle<'_>, inode: &VfsInode, fresh: bool, whole: &[u8]) -> Result<bool, Fault> {
    let info = inode.data();
    let slot = inode_write::prepare(handle, inode)?;
    let mut places = info.xattr_sem.write();
    let found = survey(inode, &slot, &places)?;
    let Some(found) = found.filter(|found| found.most().is_some_and(|most| whole.len() <= most))
    else {
        return Ok(false);
    };
    if found.exist() == fresh {
        return Err(Corrupt::from(InlineError::MissingAttribute).into());
    }
    let mut root = info.data_sem.write();
    let (kind, disksize, map) = (info.map_kind(), info.disksize(), root.block);
    let flags = info.flags().intersection(FORM);
    if fresh {
        if (map != EMPTY_ROOT && map != [0; I_BLOCK_SIZE]) || !info.extent_map().settled() {
            return Ok(false);
        }
        root.block = [0; I_BLOCK_SIZE];
        info.set_map_kind(MapKind::None);
        info.change_flags(FORM, InodeFlags::INLINE_DATA);
        forget(inode);
    }
    info.set_disksize(whole.len() as u64);
    let stored = slot.store_attributed_with(&places, |edit| {
        Contents::put_head(edit.i_block(), whole);
        if let Some(space) = edit.xattr_space() {
            found.put_value(space, whole);
        }
    });
    if let Err(e) = stored {
        info.set_disksize(disksize);
        if fresh {
            root.block = map;
            info.set_map_kind(kind);
            info.change_flags(FORM, flags);
            forget(inode);
        }
        return Err(e.into());
    }
    places.in_body = true;
    inode_write::note_change(handle, inode, true);
    Ok(true)
}

/// The flags that say where the contents are.
const FORM: InodeFlags = InodeFlags::INLINE_DATA.union(InodeFlags::EXTENTS);

/// Nothing is known of the map any more, of which nothing was anywhere but on disk; `data_sem` is held
/// for writing.
fn forget(inode: &VfsInode) {
    remember(inode, |cache| {
        cache.clear();
        Ok(())
    });
}

/// What room there is for contents; `None` in a slot without attributes.
fn survey(
    inode: &VfsInode,
    slot: &Prepared<'_, '_>,
    places: &XattrPlaces,
) -> Result<Option<Contents>, Fault> {
    let rules = XattrRules::new(&inode.super_block().info().geometry);
    let start = BASE_SIZE.saturating_add(places.extra_isize.into());
    Ok(match slot.bytes().get(start..) {
        // Without extra fields there is no saying where the space begins.
        Some(space) if places.extra_isize != 0 && space.len() >= 4 => Some(if places.in_body {
            Contents::survey(space, rules)?
        } else {
            Contents::in_blank_body(space.len())
        }),
        _ => None,
    })
}

/// Sees to it that the contents of a regular file are in blocks and stay there. The invalidate lock is
/// held for writing; not inside a handle. May sleep, and wait for a commit.
///
/// Errors: ENOSPC, EIO, ENOMEM, EROFS, EUCLEAN (reported); nothing has changed then.
pub(crate) fn to_blocks(inode: &VfsInode, outside: &mut NoHandle) -> Result {
    let info = inode.data();
    let sb = inode.super_block();
    let mut tries = 0;
    while is_inline(info) {
        match move_out(inode, outside) {
            Err(e) if e == ENOSPC && handle::may_retry(sb, &mut tries) => {}
            moved => moved?,
        }
    }
    info.may_inline.store(false, Relaxed);
    Ok(())
}

/// As [`to_blocks`], once, for contents that are in the inode.
#[cold]
fn move_out(inode: &VfsInode, outside: &mut NoHandle) -> Result {
    let sb = inode.super_block();
    let size = inode.size();
    let mut flight = None;
    if size != 0 {
        let mut bytes = KVVec::from_elem(0u8, sb.block_size(), GFP_KERNEL)?;
        // Behind the first block there is nothing but zeros.
        read(inode, size, &mut bytes)?;
        let found = find_block(inode)?;
        if let Err(e) = sb.device().overwrite(found.start().get(), &bytes) {
            found.give_back(sb);
            return Err(e);
        }
        flight = Some(found);
    }
    let changed = change_form(inode, outside, &mut flight);
    if let Some(unused) = flight {
        unused.give_back(sb);
    }
    changed.map_err(|e| e.report_inode(inode, "inline data"))
}

/// Finds a block for the contents, in memory.
fn find_block(inode: &VfsInode) -> Result<InFlight> {
    let sb = inode.super_block();
    let reservation = alloc::reserve_some(sb, 1)?;
    let wanted = Wanted {
        lblk: FileBlock::ZERO,
        len: 1,
        dirty: 1,
        hole: FileBlock::END.get(),
        goal: None,
    };
    match Place::take(inode, &wanted) {
        Ok(place) if fits_map(sb, place.start()) => Ok(place.backed_by(sb, reservation)),
        Ok(place) => {
            place.give_back(sb);
            alloc::release(sb, reservation);
            Err(ENOSPC)
        }
        Err(lack) => {
            alloc::release(sb, reservation);
            Err(lack.errno())
        }
    }
}

/// Whether the map that a file gets can name this block.
fn fits_map(sb: &Sb, block: FsBlock) -> bool {
    sb.info().geometry.has(Incompat::EXTENTS) || u32::try_from(block.get()).is_ok()
}

/// Makes an inode with its contents inside one with a map, in which block 0 is what is in `flight`, if
/// that is anything: it has the contents. It is left there if it is not needed.
fn change_form(
    inode: &VfsInode,
    outside: &mut NoHandle,
    flight: &mut Option<InFlight>,
) -> Result<(), Fault> {
    let sb = inode.super_block();
    let info = inode.data();
    let handle = handle::begin(sb, outside, Op::Allocate(map_change::shape(inode), 1))?;
    handle.need_data_flush();
    let slot = inode_write::prepare(&handle, inode)?;
    let mut places = info.xattr_sem.write();
    let found = survey(inode, &slot, &places)?.filter(Contents::exist);
    let found = found.ok_or(Corrupt::from(InlineError::MissingAttribute))?;
    let mut root = info.data_sem.write();
    let (kind, mut map) = if sb.info().geometry.has(Incompat::EXTENTS) {
        (MapKind::Extents, EMPTY_ROOT)
    } else {
        (MapKind::Indirect, [0; I_BLOCK_SIZE])
    };
    let mut settled = None;
    if let Some(found) = flight.take() {
        if let Err(e) = map_first(&handle, inode, kind, &mut map, found.start()) {
            *flight = Some(found);
            return Err(e);
        }
        settled = match found.settle(sb, &handle) {
            Ok(settled) => Some(settled),
            Err((found, e)) => {
                *flight = Some(found);
                return Err(e.into());
            }
        };
    }

    let sectors = settled.as_ref().map_or(0, |settled| settled.sectors(sb));
    inode.add_sectors(sectors);
    let extents = if kind == MapKind::Extents {
        InodeFlags::EXTENTS
    } else {
        InodeFlags::from_bits(0)
    };
    info.change_flags(FORM, extents);
    info.set_map_kind(kind);
    root.block = map;
    remember(inode, |cache| {
        cache.clear();
        settled.as_ref().map_or(Ok(()), |settled| {
            cache.set(&Mapping {
                lblk: FileBlock::ZERO,
                len: settled.blocks(),
                kind: mapping::MapKind::Written(settled.start()),
            })
        })
    });
    let rules = XattrRules::new(&sb.info().geometry);
    let mut in_body = places.in_body;
    let stored = slot.store_all_with(&places, &root, |edit| {
        if let Some(space) = edit.xattr_space() {
            found.remove(space);
            in_body = XattrArea::in_inode(space, rules).is_some();
        }
    });
    if let Err(e) = stored {
        inode.sub_sectors(sectors);
        info.change_flags(FORM, InodeFlags::INLINE_DATA);
        info.set_map_kind(MapKind::None);
        root.block = [0; I_BLOCK_SIZE];
        forget(inode);
        *flight = settled.and_then(|settled| settled.undo(sb, &handle).ok());
        return Err(e.into());
    }
    if let Some(settled) = settled {
        settled.mapped(sb);
    }
    places.in_body = in_body;
    inode_write::note_change(&handle, inode, true);
    Ok(handle.stop()?)
}

/// Puts block 0 of the file into `map`, an empty one. Only these bytes change.
fn map_first(
    handle: &Handle<'_>,
    inode: &VfsInode,
    kind: MapKind,
    map: &mut [u8; I_BLOCK_SIZE],
    start: FsBlock,
) -> Result<(), Fault> {
    let sb = inode.super_block();
    let bounds = FileBounds::new(sb.info(), inode.ino());
    let allocation = Allocation::of_promised(inode, handle);
    let mapped = if kind == MapKind::Extents {
        let tx = Tx::new(handle, sb.device(), Verified::Extent);
        let extent = Extent {
            first: FileBlock::ZERO,
            len: 1,
            start,
            unwritten: false,
        };
        let seed = inode.data().csum_seed();
        ExtentEditor::new(&tx, &allocation, &bounds, seed, sb.block_size()).insert(map, &extent)?
            == Inserted::Done
    } else {
        let tx = Tx::new(handle, sb.device(), Verified::Indirect);
        let bits = sb.info().pointer_bits;
        IndirectEditor::new(&tx, &allocation, &bounds, bits).insert(
            map,
            FileBlock::ZERO,
            1,
            start,
        )? == 1
    };
    if mapped {
        Ok(())
    } else {
        Err(Corrupt::from(ExtentError::Unsorted).into())
    }
}
