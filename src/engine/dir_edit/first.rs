// SPDX-License-Identifier: GPL-2.0

//! A directory's first block: making it, `..`, and whether there is anything but the two dots.

use crate::ondisk::dir::edit::init_first;
use crate::ondisk::dir::FileType;
use crate::ondisk::inline::edit::{fill_block, fits_block};
use crate::ondisk::inline::InlineDir;
use crate::ondisk::{Corrupt, FileBlock, Ino};

use super::super::change::DirChange;
use super::super::dir::{DirBlock, DirBlocks, Directory};
use super::super::dir_lookup::{self, Place};
use super::EditError;

/// Gives a new directory, which has no blocks yet, its first one: `.` and `..`, nothing else.
///
/// Errors: no space, I/O.
pub fn create<D: DirChange>(
    dir: &Directory<'_, D>,
    parent: Ino,
) -> Result<(), EditError<D::Error>> {
    let (_, mut edit) = dir.blocks.append(None).map_err(EditError::Store)?;
    let file_type = dir.stored_type(FileType::Directory);
    let block_size = dir.format.limits.block_size;
    init_first(
        &mut edit,
        dir.ino,
        parent,
        file_type,
        block_size,
        dir.tails(),
    );
    dir.blocks.dirty(edit, dir.leaf_seal());
    Ok(())
}

/// Gives a directory that was inline its first block, with all its entries at the offsets that
/// readers know them by. `inline` is a copy of what the inode held: the caller has made the inode
/// one with a block map and no blocks by now, or does so if this succeeds.
///
/// Errors: damage in the inline entries, no space, I/O.
pub fn convert_inline<D: DirChange>(
    dir: &Directory<'_, D>,
    inline: &InlineDir<'_>,
) -> Result<(), EditError<D::Error>> {
    let parent = dir.inline_parent(inline).map_err(EditError::corrupt)?;
    fits_block(inline, dir.format.limits, dir.tails()).map_err(EditError::Store)?;
    let (_, mut edit) = dir.blocks.append(None).map_err(EditError::Store)?;
    let file_type = dir.stored_type(FileType::Directory);
    let block_size = dir.format.limits.block_size;
    init_first(
        &mut edit,
        dir.ino,
        parent,
        file_type,
        block_size,
        dir.tails(),
    );
    fill_block(inline, &mut edit, block_size, dir.tails());
    dir.blocks.dirty(edit, dir.leaf_seal());
    Ok(())
}

/// Has `..` lead to `parent`: the directory has been moved. It is not inline (for those see
/// `ondisk::inline::edit`).
///
/// Errors: [`EditError::Gone`] if block 0 has no such entry; damage, I/O.
pub fn set_parent<D: DirChange>(
    dir: &Directory<'_, D>,
    parent: Ino,
) -> Result<(), EditError<D::Error>> {
    let found = dir_lookup::lookup(dir, b"..", FileBlock::ZERO).map_err(EditError::Store)?;
    let Some(Place::Block { offset, .. }) = found.map(|found| found.place) else {
        return Err(EditError::Gone);
    };
    let block = match dir.read_any(FileBlock::ZERO) {
        Ok(DirBlock::Mapped(block)) => block,
        Ok(DirBlock::Hole(_)) => return Err(EditError::Gone),
        Err(e) => return Err(EditError::Store(e.into_error())),
    };
    let mut edit = dir.blocks.edit(block).map_err(EditError::Store)?;
    let file_type = dir.stored_type(FileType::Directory);
    // All of the block: the record of the root's `..` covers it to the end.
    let offset = offset as usize;
    dir.all_mut(&mut edit).set_target(offset, parent, file_type);
    let seal = if dir.has_index() {
        dir.index_seal(true)
    } else {
        dir.leaf_seal()
    };
    dir.blocks.dirty(edit, seal);
    Ok(())
}

/// Whether there is nothing in the directory but `.` and `..`, which have to be its first two
/// entries. All its blocks are read, index or not; holes are stepped over as wholes.
///
/// Errors: damage (of which C ext4 makes "not empty"), I/O, a signal.
pub fn is_empty<D: DirBlocks>(dir: &Directory<'_, D>) -> Result<bool, D::Error> {
    let corrupt = |e| D::Error::from(Corrupt::Dir(e));
    if let Some(inline) = &dir.inline {
        dir.inline_parent(inline).map_err(corrupt)?;
        let (first, second) = inline.areas();
        for area in [first, second] {
            for entry in dir.area(area).entries() {
                if entry.map_err(corrupt)?.ino.is_some() {
                    return Ok(false);
                }
            }
        }
        return Ok(true);
    }
    let end = dir.block_count();
    let mut lblk = FileBlock::ZERO;
    while lblk < end {
        let block = match dir.read_any(lblk) {
            Ok(DirBlock::Mapped(block)) => block,
            Ok(DirBlock::Hole(len)) if lblk != FileBlock::ZERO => {
                lblk = lblk.saturating_add(len.max(1));
                dir.blocks.relax()?;
                continue;
            }
            Ok(DirBlock::Hole(_)) => return Ok(false),
            Err(e) => return Err(e.into_error()),
        };
        let mut dots = [&b"."[..], b".."].into_iter();
        for entry in dir.area(&block).entries() {
            let entry = entry.map_err(corrupt)?;
            if lblk == FileBlock::ZERO {
                if let Some(dot) = dots.next() {
                    let good = match entry.ino {
                        Some(ino) => dot == b".." || ino == dir.ino,
                        None => false,
                    };
                    if good && entry.name == dot {
                        continue;
                    }
                    return Ok(false);
                }
            }
            if entry.ino.is_some() {
                return Ok(false);
            }
        }
        if dots.len() != 0 && lblk == FileBlock::ZERO {
            return Ok(false);
        }
        lblk = lblk.saturating_add(1);
        dir.blocks.relax()?;
    }
    // Without a block there are no dots.
    Ok(end != FileBlock::ZERO)
}
