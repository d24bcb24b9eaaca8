// SPDX-License-Identifier: GPL-2.0

//! Taking and freeing inodes in a transaction.
//!
//! Which group an inode goes to is `engine::alloc::orlov`'s choice; within the group it is the
//! lowest that is free, which keeps the part of the table that was never used large, and the
//! inodes of files that are made together in the same blocks.
//!
//! Without a journal nobody knows in which order blocks are written. If a number were had again
//! at once, a crash could leave the name of a file that was deleted with the inode of another that was
//! made: its contents, and its permissions. So numbers that were freed rest until all that
//! belonged to them has been written for sure ([`Resting`]), as far as there are others in the group; it
//! is a preference, and no space is denied for it.
//!
//! Locking: as in [`super`].

use super::groups;
use crate::{
    engine::alloc::{
        disk::GroupBuffers,
        inode_bits::find_free_inode,
        orlov::{self, GroupStats, Parent},
    },
    fs::{fault::Fault, groups::Locked, tunables::Number, tx::Handle, Sb},
    linux::{
        buffer::{Buffer, Verified},
        time::monotonic_ms,
    },
    ondisk::{
        bitmap,
        group::{GroupDesc, GroupError},
        inode::InodeError,
        Corrupt, Geometry, Ino,
    },
};
use kernel::prelude::*;

/// Takes an inode into use, for a directory or something else, near `parent`. `hash` spreads
/// directories (a hash of the name).
///
/// May sleep. Errors: ENOSPC when there is none; EIO, and those of a journal that has been given up.
pub(crate) fn take_inode(
    sb: &Sb,
    handle: &Handle<'_>,
    parent: &Parent,
    is_dir: bool,
    hash: u32,
) -> Result<Ino, Fault> {
    let groups = groups(sb)?;
    let geo = &sb.info().geometry;
    let totals = groups.totals();
    // An administrator's wish comes first.
    let wish = geo.check_ino(sb.info().tunables.get(Number::InodeGoal));
    let wish = wish.map(|ino| geo.inode_location(ino));
    let mut from = wish.map_or(0, |wish| wish.index);
    let mut next = if let Some(wish) = wish {
        Some(wish.group)
    } else if is_dir {
        orlov::place_directory(geo, groups, &totals, parent, hash)
    } else {
        orlov::place_file(geo, groups, &totals, parent)
    };
    let mut failed = None;
    // Each turn but the first goes one group on, or waits for a table.
    for _ in 0..=geo.groups_count().saturating_mul(2) {
        let Some(number) = next else {
            break;
        };
        if groups.free_inodes(number) != 0 {
            let mut locked = groups.lock(number).ok_or(EUCLEAN)?;
            match take_from(sb, handle, &mut locked, is_dir, from) {
                Ok(Found::Inode(ino)) => return Ok(ino),
                Ok(Found::None) => {}
                Ok(Found::BeingZeroed) => {
                    drop(locked);
                    drop(groups.tables.lock());
                    continue;
                }
                Err(e @ Fault::Corrupt(_)) => {
                    let e = locked.distrust_inodes(e);
                    drop(locked);
                    let _ = e.report(sb, 0, "inode bitmap");
                }
                Err(e) if e.is_of_the_journal() => return Err(e),
                // A bitmap that cannot be read. Others may have inodes.
                Err(e) => {
                    failed.get_or_insert(e);
                }
            }
        }
        from = 0;
        next = orlov::next_group(geo, groups, number);
    }
    Err(failed.unwrap_or(ENOSPC.into()))
}

/// What a group has.
enum Found {
    /// An inode, which has been taken.
    Inode(Ino),
    /// No free inode.
    None,
    /// Only inodes in a part of the table that is being zeroed.
    BeingZeroed,
}

/// Takes an inode of a group, at `from` or behind it.
fn take_from(
    sb: &Sb,
    handle: &Handle<'_>,
    locked: &mut Locked<'_>,
    is_dir: bool,
    from: u32,
) -> Result<Found, Fault> {
    if !locked.trusts_inodes() {
        return Ok(Found::None);
    }
    let geo = &sb.info().geometry;
    let number = locked.number;
    if let Some(lowest) = locked.state.resting.end(monotonic_ms()) {
        locked.state.first_inode = locked.state.first_inode.min(lowest);
    }
    // Whether free ones may have been passed over.
    let passed;
    let desc = locked.read_desc(sb)?;
    let (index, bitmap) = {
        let desc = locked.desc(geo, &desc)?;
        let bitmap = locked.inode_bitmap(sb, &desc)?;
        let bytes = bitmap.as_deref().unwrap_or(&[]);
        let first = locked.state.first_inode;
        let find = |at: u32| find_free_inode(geo, number, &desc, bytes, at);
        let found = locked.state.resting.choose(from.max(first), find);
        let Some(index) = found else {
            if from <= first {
                locked.state.first_inode = geo.inodes_per_group().get();
            }
            return Ok(Found::None);
        };
        passed = from > first;
        if locked.state.zeroing && !was_used(geo, &desc, index) {
            return Ok(Found::BeingZeroed);
        }
        (index, bitmap)
    };
    let mut alone = false;
    change(sb, handle, locked, desc, bitmap, |buffers| {
        buffers.init_inodes()?;
        alone = is_alone(geo, buffers.bitmap, index);
        buffers.take_inode(index, is_dir)
    })?;
    if !passed {
        locked.state.first_inode = index.saturating_add(1);
    }
    locked.count_inode(is_dir, true);
    if alone {
        // Its block has nothing that anybody needs. If this fails it is read like any other.
        let table = sb.info().inode_tables.get(number.get() as usize);
        let nr = index.wrapping_shr(geo.inodes_per_block_bits());
        let block = table.map(|table| table.saturating_add(nr.into()));
        let _ = block.map(|block| sb.device().fill_unread(block));
    }
    Ok(geo.ino_at(number, index).map_or(Found::None, Found::Inode))
}

/// Whether an inode is in the part of the table that the descriptor says has been used.
fn was_used(geo: &Geometry, desc: &GroupDesc<'_>, index: u32) -> bool {
    let used = geo
        .inodes_per_group()
        .get()
        .saturating_sub(desc.itable_unused());
    !desc.inode_uninit() && index < used
}

/// Whether no inode in the table's block of `index` is in use.
fn is_alone(geo: &Geometry, bitmap: &[u8], index: u32) -> bool {
    let in_block = 1u32.wrapping_shl(geo.inodes_per_block_bits());
    let first = index & !in_block.wrapping_sub(1);
    let end = geo
        .inodes_per_group()
        .get()
        .min(first.saturating_add(in_block));
    bitmap::is_clear(bitmap, first, end.saturating_sub(first))
}

/// Whether an inode's number is in use, as far as the bitmap says. May sleep.
///
/// Errors: EUCLEAN for a group that is damaged, EIO.
pub(crate) fn is_inode_used(sb: &Sb, ino: Ino) -> Result<bool, Fault> {
    let geo = &sb.info().geometry;
    let number = geo.inode_location(ino).group;
    let mut locked = groups(sb)?.lock(number).ok_or(EUCLEAN)?;
    if !locked.trusts_inodes() {
        return Err(EUCLEAN.into());
    }
    let index = index_of(geo, ino).ok_or(EUCLEAN)?;
    let desc = locked.read_desc(sb)?;
    let found = {
        let parsed: GroupDesc<'_> = locked.desc(geo, &desc)?;
        locked.inode_bitmap(sb, &parsed)
    };
    match found {
        Ok(found) => Ok(found.is_some_and(|bytes| bitmap::is_set(&bytes, index, 1))),
        Err(e) => {
            let e = locked.distrust_inodes(e);
            drop(locked);
            Err(e.report(sb, ino.get().into(), "inode bitmap").into())
        }
    }
}

/// The bitmap has handed out a number that is in use: its group is out of use for inodes from now on,
/// and the damage is reported. What is wrong with the bitmap may be wrong with other numbers too.
#[cold]
pub(crate) fn distrust_inode(sb: &Sb, ino: Ino) {
    let e = Fault::from(Corrupt::from(InodeError::DoublyAllocated));
    let number = sb.info().geometry.inode_location(ino).group;
    if let Some(mut locked) = groups(sb).ok().and_then(|groups| groups.lock(number)) {
        if locked.trusts_inodes() {
            locked.distrust_inodes(e);
        }
    }
    let _ = e.report(sb, ino.get().into(), "inode bitmap");
}

/// Frees an inode's number. In a group that is damaged it is lost until e2fsck has repaired that.
///
/// May sleep. Errors: EIO, and those of a journal that has been given up; nothing has changed then.
/// Damage is reported, and is none.
pub(crate) fn free_inode(sb: &Sb, handle: &Handle<'_>, ino: Ino, is_dir: bool) -> Result {
    let geo = &sb.info().geometry;
    let number = geo.inode_location(ino).group;
    let mut locked = groups(sb)?.lock(number).ok_or(EUCLEAN)?;
    if !locked.trusts_inodes() {
        return Ok(());
    }
    match clear(sb, handle, &mut locked, ino, is_dir) {
        Ok(()) => Ok(()),
        Err(Fault::Errno(e)) => Err(e),
        Err(e) => {
            let e = locked.distrust_inodes(e);
            drop(locked);
            let _ = e.report(sb, ino.get().into(), "inode bitmap");
            Ok(())
        }
    }
}

fn clear(
    sb: &Sb,
    handle: &Handle<'_>,
    locked: &mut Locked<'_>,
    ino: Ino,
    is_dir: bool,
) -> Result<(), Fault> {
    let geo = &sb.info().geometry;
    let index = index_of(geo, ino).ok_or(EUCLEAN)?;
    let desc = locked.read_desc(sb)?;
    let bitmap = match locked.known_inode_bitmap(sb) {
        Some(bitmap) => Some(bitmap),
        None => {
            let parsed: GroupDesc<'_> = locked.desc(geo, &desc)?;
            locked.inode_bitmap(sb, &parsed)?
        }
    };
    // Where none was ever in use, this one is not.
    let bitmap = bitmap.ok_or_else(|| damage(GroupError::BitsClear))?;
    change(sb, handle, locked, desc, Some(bitmap), |buffers| {
        buffers.free_inode(index, is_dir)
    })?;
    if sb.journal().is_some() {
        locked.state.first_inode = locked.state.first_inode.min(index);
    } else {
        locked.state.resting.add(index, monotonic_ms());
    }
    locked.count_inode(is_dir, false);
    Ok(())
}

/// The number of an inode within its group.
fn index_of(geo: &Geometry, ino: Ino) -> Option<u32> {
    let before = ino.get().checked_sub(1)?;
    before.checked_rem(geo.inodes_per_group().get())
}

#[cold]
fn damage(e: GroupError) -> Fault {
    Corrupt::from(e).into()
}

/// Changes the inode bitmap (`None` for one that is to be made) and the descriptor, in `desc`, of a
/// group. An error means that nothing has changed.
fn change(
    sb: &Sb,
    handle: &Handle<'_>,
    locked: &mut Locked<'_>,
    desc: Buffer<'_>,
    bitmap: Option<Buffer<'_>>,
    f: impl FnOnce(&mut GroupBuffers<'_>) -> Result<(), GroupError>,
) -> Result<(), Fault> {
    let mut bitmap = match bitmap {
        Some(bitmap) => handle.edit(bitmap)?,
        None => handle.create(sb.device(), locked.state.inode_bitmap)?,
    };
    let access = handle.access(desc)?;
    let group = locked.number;
    {
        let mut desc = access.open(&mut locked.state.desc).ok_or(EUCLEAN)?;
        let mut buffers = GroupBuffers {
            geo: &sb.info().geometry,
            group,
            desc: &mut desc,
            bitmap: &mut bitmap,
        };
        f(&mut buffers).map_err(Corrupt::from)?;
    }
    bitmap.dirty_as(Verified::InodeBitmap, None);
    access.dirty();
    Ok(())
}
