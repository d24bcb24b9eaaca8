// SPDX-License-Identifier: GPL-2.0

//! Adding an entry.
//!
//! With an index, the entry goes to the leaf that its hash leads to; one pass over that leaf
//! finds the room. Without one, it goes to the first block with room, from the front. What
//! happens when there is none is `grow`'s part.

use crate::ondisk::dir::edit::{NewEntry, Room, Slot};
use crate::ondisk::dir::FileType;
use crate::ondisk::dx::{self, DxError};
use crate::ondisk::{Corrupt, FileBlock, Ino};

use super::super::change::DirChange;
use super::super::dir::{DirBlock, Directory, IndexFailure};
use super::super::dir_lookup::Place;
use super::super::htree::Walk;
use super::{grow, new_entry, EditError};

/// Blocks that a search for room asks for ahead of time.
const READAHEAD: u32 = 8;

/// What an insertion did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inserted {
    /// Where the entry is.
    pub place: Place,
    /// Whether the inode has to have the index flag from now on: it gets it when a directory of
    /// one block is indexed, and loses it when an index is given up.
    pub indexed: bool,
}

/// Why an entry could not be added by way of the index.
pub(super) enum Stop<E> {
    /// The index makes no sense; nothing has been changed.
    Unusable(Corrupt),
    /// An error that ends the operation.
    Error(EditError<E>),
}

impl<E> From<EditError<E>> for Stop<E> {
    fn from(e: EditError<E>) -> Self {
        Self::Error(e)
    }
}

impl<E> From<IndexFailure<E>> for Stop<E> {
    fn from(e: IndexFailure<E>) -> Self {
        match e {
            IndexFailure::Unusable(what) => Self::Unusable(what),
            IndexFailure::Fatal(e) => Self::Error(EditError::Store(e)),
        }
    }
}

/// Adds the entry `name` for inode `ino`. The directory is not inline, and a lookup under the
/// same lock has not found the name.
///
/// Errors: [`EditError::Exists`] if the name turns up on the way all the same (not every record
/// is looked at); [`EditError::IndexFull`]; [`EditError::Name`]; no space, damage, I/O.
pub fn insert<D: DirChange>(
    dir: &Directory<'_, D>,
    name: &[u8],
    ino: Ino,
    file_type: FileType,
) -> Result<Inserted, EditError<D::Error>> {
    let new = new_entry(dir, name, ino, file_type)?;
    if !dir.has_index() {
        return insert_linear(dir, &new, true);
    }
    match insert_indexed(dir, &new) {
        Ok(place) => Ok(Inserted {
            place,
            indexed: true,
        }),
        Err(Stop::Error(e)) => Err(e),
        Err(Stop::Unusable(what)) if dir.tails() => Err(EditError::corrupt(what)),
        Err(Stop::Unusable(what)) => {
            dir.blocks.report(what, FileBlock::ZERO);
            let linear = Directory {
                indexed: false,
                ..*dir
            };
            insert_linear(&linear, &new, false)
        }
    }
}

fn insert_indexed<D: DirChange>(
    dir: &Directory<'_, D>,
    new: &NewEntry<'_>,
) -> Result<Place, Stop<D::Error>> {
    let mut walk = Walk::new(dir)?;
    let hash = walk.hash().hash(new.name()).major;
    walk.seek(hash)?;
    let lblk = walk.leaf();
    let leaf = dir
        .read_leaf(lblk)
        .map_err(|e| EditError::Store(e.into_error()))?;
    match dir
        .records(&leaf)
        .find_room(new)
        .map_err(EditError::corrupt)?
    {
        Room::At(slot) => {
            // Without checksums, an index block that a bad index takes for a leaf looks like an
            // empty one.
            if slot.used == 0 && !dir.tails() && dx::node(&leaf, &dir.format.dx).is_ok() {
                return Err(EditError::corrupt(DxError::Cycle).into());
            }
            drop(walk);
            Ok(write(dir, lblk, leaf, slot, new)?)
        }
        Room::Exists => Err(EditError::Exists.into()),
        Room::Full => grow::leaf(dir, walk, lblk, leaf, hash, new),
    }
}

/// Puts the entry where there is room.
fn write<D: DirChange>(
    dir: &Directory<'_, D>,
    lblk: FileBlock,
    block: D::Block,
    slot: Slot,
    new: &NewEntry<'_>,
) -> Result<Place, EditError<D::Error>> {
    let mut edit = dir.blocks.edit(block).map_err(EditError::Store)?;
    let offset = dir.records_mut(&mut edit).insert(slot, new);
    dir.blocks.dirty(edit, dir.leaf_seal());
    Ok(place(lblk, offset))
}

/// Offsets fit: blocks have at most 64 KiB.
#[inline]
pub(super) fn place(lblk: FileBlock, offset: usize) -> Place {
    Place::Block {
        lblk,
        offset: offset as u32,
    }
}

/// Puts the entry in the first block with room, in a hole on the way, or in a new block at the
/// end. A directory of one block may get an index instead (`may_index`).
fn insert_linear<D: DirChange>(
    dir: &Directory<'_, D>,
    new: &NewEntry<'_>,
    may_index: bool,
) -> Result<Inserted, EditError<D::Error>> {
    let inserted = |place| Inserted {
        place,
        indexed: false,
    };
    let end = dir.block_count();
    let (mut lblk, mut ahead) = (FileBlock::ZERO, FileBlock::new(1));
    while lblk < end {
        if lblk >= ahead {
            let run = READAHEAD.min(lblk.distance_to(end));
            dir.blocks.readahead(lblk, run);
            ahead = lblk.saturating_add(run);
        }
        let block = match dir.read_any(lblk) {
            Ok(DirBlock::Mapped(block)) => block,
            Ok(DirBlock::Hole(_)) => return grow::append(dir, Some(lblk), new).map(inserted),
            Err(e) => return Err(EditError::Store(e.into_error())),
        };
        let room = dir.records(&block).find_room(new);
        match room.map_err(EditError::corrupt)? {
            Room::At(slot) => return write(dir, lblk, block, slot, new).map(inserted),
            Room::Exists => return Err(EditError::Exists),
            Room::Full => {}
        }
        if end == FileBlock::new(1) && may_index {
            if let Some(indexed) = grow::first(dir, block, new)? {
                return Ok(indexed);
            }
        }
        lblk = lblk.saturating_add(1);
        dir.blocks.relax().map_err(EditError::Store)?;
    }
    grow::append(dir, None, new).map(inserted)
}
