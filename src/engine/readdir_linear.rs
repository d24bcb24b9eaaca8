// SPDX-License-Identifier: GPL-2.0

//! Reading a directory from front to back.
//!
//! Positions are offsets in bytes of the directory file. An inline directory has no `.` and
//! `..` on disk; its positions are those that its entries would have in a block that begins with
//! those two, so 24 for the first entry.
//!
//! A position that the reader made up, or from before a change of the directory, may be in the
//! middle of a record; then reading goes on with the next record of that block.

use crate::ondisk::dir::{DirArea, FileType};
use crate::ondisk::inline::{InlineDir, HEAD_SIZE};
use crate::ondisk::{Corrupt, FileBlock};

use super::dir::{DirBlock, DirBlocks, Directory, Failure};
use super::readdir::Item;

/// Blocks that are read ahead.
const READAHEAD: u32 = 8;

/// Positions of inline directories: `..`, and the starts of the two areas.
const DOTDOT: u64 = 12;
const FIRST: u64 = 24;
const SECOND: u64 = FIRST + HEAD_SIZE as u64 - 4;

/// Hands entries to `emit` from `position` on; see `readdir::fill`. `trusted` says that the
/// position is known to be that of a record.
pub(super) fn fill<D, F>(
    dir: &Directory<'_, D>,
    position: &mut u64,
    trusted: bool,
    emit: &mut F,
) -> Result<(), D::Error>
where
    D: DirBlocks,
    F: FnMut(&Item<'_>) -> bool,
{
    match &dir.inline {
        Some(inline) => {
            fill_inline(dir, inline, position, emit);
            Ok(())
        }
        None => fill_blocks(dir, position, trusted, emit),
    }
}

fn fill_blocks<D, F>(
    dir: &Directory<'_, D>,
    position: &mut u64,
    mut trusted: bool,
    emit: &mut F,
) -> Result<(), D::Error>
where
    D: DirBlocks,
    F: FnMut(&Item<'_>) -> bool,
{
    let bits = dir.block_bits();
    let block_size = 1u64.wrapping_shl(bits);
    let mask = block_size.wrapping_sub(1);
    let end = dir.block_count();
    let mut ahead = FileBlock::ZERO;
    // Each round moves to a later block; holes are passed as wholes.
    while *position < dir.size {
        let Ok(lblk) = u32::try_from(position.wrapping_shr(bits)).map(FileBlock::new) else {
            break;
        };
        if lblk >= end {
            break;
        }
        if lblk >= ahead {
            let run = READAHEAD.min(lblk.distance_to(end));
            dir.blocks.readahead(lblk, run);
            ahead = lblk.saturating_add(run);
        }
        let start = *position & !mask;
        let block = match dir.read_any(lblk) {
            Ok(DirBlock::Mapped(block)) => block,
            Ok(DirBlock::Hole(len)) => {
                let len = u64::from(len.max(1)).wrapping_shl(bits);
                *position = start.saturating_add(len);
                trusted = true;
                dir.blocks.relax()?;
                continue;
            }
            Err(Failure::Bad(what)) => {
                dir.blocks.report(what, lblk);
                *position = start.saturating_add(block_size);
                trusted = true;
                dir.blocks.relax()?;
                continue;
            }
            Err(Failure::Other(e)) => return Err(e),
        };
        let area = dir.area(&block);
        let mut offset = (*position & mask) as usize;
        if !trusted {
            offset = area.boundary(offset);
            trusted = true;
        }
        if !fill_area(dir, area, lblk, start, offset, position, emit) {
            return Ok(());
        }
        dir.blocks.relax()?;
    }
    Ok(())
}

/// Hands out the entries of one area, whose first record has position `base`, from `offset` on.
/// Afterwards `position` is behind the area, or at the entry that the reader did not take
/// (`false`).
fn fill_area<D, F>(
    dir: &Directory<'_, D>,
    area: DirArea<'_>,
    lblk: FileBlock,
    base: u64,
    mut offset: usize,
    position: &mut u64,
    emit: &mut F,
) -> bool
where
    D: DirBlocks,
    F: FnMut(&Item<'_>) -> bool,
{
    while offset < area.len() {
        let entry = match area.entry_at(offset) {
            Ok(entry) => entry,
            Err(e) => {
                dir.blocks.report(Corrupt::from(e), lblk);
                break;
            }
        };
        if let Some(ino) = entry.ino {
            *position = base.saturating_add(offset as u64);
            let item = Item {
                name: entry.name,
                ino,
                file_type: dir.format.file_type(entry.file_type),
                position: *position,
            };
            if !emit(&item) {
                return false;
            }
        }
        offset = offset.saturating_add(entry.rec_len);
    }
    *position = base.saturating_add(area.len() as u64);
    true
}

fn fill_inline<D, F>(
    dir: &Directory<'_, D>,
    inline: &InlineDir<'_>,
    position: &mut u64,
    emit: &mut F,
) where
    D: DirBlocks,
    F: FnMut(&Item<'_>) -> bool,
{
    let implied = [
        (0, DOTDOT, &b"."[..], Ok(dir.ino)),
        (DOTDOT, FIRST, b"..", dir.inline_parent(inline)),
    ];
    for (at, next, name, ino) in implied {
        if *position > at {
            continue;
        }
        *position = at;
        match ino {
            Ok(ino) => {
                let item = Item {
                    name,
                    ino,
                    file_type: FileType::Directory,
                    position: at,
                };
                if !emit(&item) {
                    return;
                }
            }
            Err(e) => dir.blocks.report(Corrupt::from(e), FileBlock::ZERO),
        }
        *position = next;
    }
    let (first, second) = inline.areas();
    for (base, bytes) in [(FIRST, first), (SECOND, second)] {
        let area = dir.area(bytes);
        // Small, or beyond any area.
        let offset = usize::try_from(position.saturating_sub(base)).unwrap_or(usize::MAX);
        if offset >= area.len() {
            continue;
        }
        let offset = area.boundary(offset);
        if !fill_area(dir, area, FileBlock::ZERO, base, offset, position, emit) {
            return;
        }
    }
}
