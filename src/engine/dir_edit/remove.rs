// SPDX-License-Identifier: GPL-2.0

//! Removing an entry, and having one stand for another file.
//!
//! Both come after a lookup under the same lock and use the place that it found. The place is
//! looked at again: an entry of that name has to be there.

use crate::ondisk::dir::FileType;
use crate::ondisk::{FileBlock, Ino};

use super::super::change::DirChange;
use super::super::dir::Directory;
use super::super::dir_lookup::{Held, Place};
use super::{is_dot, shrink, EditError};

/// The block and offset of a place that is in a block.
fn in_block<E>(place: Place) -> Result<(FileBlock, usize), EditError<E>> {
    match place {
        Place::Block { lblk, offset } => Ok((lblk, offset as usize)),
        _ => Err(EditError::Gone),
    }
}

/// Removes the entry `name` from `place`, where a lookup has found it. Returns how many blocks
/// the directory has lost by that, from its end: none as a rule, at most [`REMOVE_DROPS`].
///
/// [`REMOVE_DROPS`]: super::REMOVE_DROPS
///
/// Errors: [`EditError::Gone`] if the entry is not there; [`EditError::Name`] for `.` and `..`;
/// damage, I/O. What goes wrong after the entry's removal is no error: the blocks stay.
pub fn remove<D: DirChange>(
    dir: &Directory<'_, D>,
    name: &[u8],
    place: Place,
) -> Result<u32, EditError<D::Error>> {
    remove_from(dir, name, place, None)
}

/// As [`remove`], with the block that the lookup has found the entry in ([`locate`]).
///
/// [`locate`]: super::super::dir_lookup::locate
///
/// Errors: as there.
pub fn remove_held<D: DirChange>(
    dir: &Directory<'_, D>,
    name: &[u8],
    place: Place,
    held: Held<D::Block>,
) -> Result<u32, EditError<D::Error>> {
    remove_from(dir, name, place, Some(held))
}

#[inline]
fn remove_from<D: DirChange>(
    dir: &Directory<'_, D>,
    name: &[u8],
    place: Place,
    held: Option<Held<D::Block>>,
) -> Result<u32, EditError<D::Error>> {
    if is_dot(name) {
        return Err(EditError::Name);
    }
    let (lblk, offset) = in_block(place)?;
    let (block, victim) = match held {
        Some(Held { block, before }) => {
            let before = before.map(|before| before as usize);
            let victim = dir.records(&block).victim_behind(before, offset, name);
            (block, victim)
        }
        None => {
            let block = dir
                .read_leaf(lblk)
                .map_err(|e| EditError::Store(e.into_error()))?;
            let victim = dir.records(&block).victim(offset, name);
            (block, victim)
        }
    };
    let Some(victim) = victim.map_err(EditError::corrupt)? else {
        return Err(EditError::Gone);
    };
    let mut edit = dir.blocks.edit(block).map_err(EditError::Store)?;
    dir.records_mut(&mut edit).erase(&victim);
    dir.blocks.dirty(edit, dir.leaf_seal());
    Ok(if victim.alone && lblk != FileBlock::ZERO {
        u32::from(shrink::shrink(dir, name, lblk))
    } else {
        0
    })
}

/// Has the entry `name` at `place`, where a lookup has found it, stand for inode `ino`.
///
/// Errors: as [`remove`].
pub fn replace<D: DirChange>(
    dir: &Directory<'_, D>,
    name: &[u8],
    place: Place,
    ino: Ino,
    file_type: FileType,
) -> Result<(), EditError<D::Error>> {
    if is_dot(name) {
        return Err(EditError::Name);
    }
    let (lblk, offset) = in_block(place)?;
    let block = dir
        .read_leaf(lblk)
        .map_err(|e| EditError::Store(e.into_error()))?;
    let entry = dir.records(&block).entry_at(offset);
    let entry = entry.map_err(EditError::corrupt)?;
    if entry.ino.is_none() || entry.name != name {
        return Err(EditError::Gone);
    }
    let mut edit = dir.blocks.edit(block).map_err(EditError::Store)?;
    let file_type = dir.stored_type(file_type);
    dir.records_mut(&mut edit)
        .set_target(offset, ino, file_type);
    dir.blocks.dirty(edit, dir.leaf_seal());
    Ok(())
}
