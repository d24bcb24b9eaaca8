// SPDX-License-Identifier: GPL-2.0

//! Looking up a name in a directory.
//!
//! An indexed directory is searched through its index; if the index is unusable that is reported
//! and the directory is searched from front to back, as ext4 does. Inline directories and those
//! without an index are searched from front to back anyway. `.` and `..` are always in block 0,
//! in front of the index, and are not part of it.
//!
//! Which damage ends a search: a block that cannot be read, fails its checksum or is a hole in
//! the index; and, on the way from front to back, a record that cannot be stepped over, since
//! the name may be behind it. A hole on the way from front to back is just skipped.

use crate::ondisk::dir::{DirError, Entry, FileType, NAME_MAX};
use crate::ondisk::{Corrupt, FileBlock, Ino};

use super::dir::{DirBlock, DirBlocks, Directory, IndexFailure};
use super::htree::{Next, Walk};

/// Blocks that a search from front to back asks for ahead of time.
const READAHEAD: u32 = 8;

/// Where an entry is, for whoever wants to change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a block of the directory.
    Block {
        /// The logical block.
        lblk: FileBlock,
        /// Offset of the record in the block, in bytes.
        offset: u32,
    },
    /// In an inline directory's first area, behind the parent's inode number in `i_block`.
    InlineFirst {
        /// Offset of the record in the area, in bytes.
        offset: u32,
    },
    /// In an inline directory's second area, the value of `system.data`.
    InlineSecond {
        /// Offset of the record in the area, in bytes.
        offset: u32,
    },
    /// `.` or `..` of an inline directory, which have no record.
    Implied,
}

/// A directory entry that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The inode; it exists as a number, but may be reserved, free or the directory itself.
    pub ino: Ino,
    /// The type, if the file system records types.
    pub file_type: FileType,
    /// Where the entry is.
    pub place: Place,
}

/// The block of an entry that was found, for whoever changes the entry under the same lock.
pub struct Held<B> {
    pub(super) block: B,
    /// Where the record in front of the entry starts.
    pub(super) before: Option<u32>,
}

type Located<D> = Option<(Found, Option<Held<<D as DirBlocks>::Block>>)>;

/// Looks up `name` in `dir`; `None` if there is no such entry.
///
/// Without an index the search starts at block `hint` and wraps around: pass the block in which
/// the last search in this directory succeeded, or 0. A name of more than 255 bytes is not found
/// (the caller answers ENAMETOOLONG before asking).
///
/// Errors: see the module's head.
pub fn lookup<D: DirBlocks>(
    dir: &Directory<'_, D>,
    name: &[u8],
    hint: FileBlock,
) -> Result<Option<Found>, D::Error> {
    Ok(locate(dir, name, hint)?.map(|(found, _)| found))
}

/// As [`lookup`], with the entry's block, where there is one.
///
/// Errors: as there.
pub fn locate<D: DirBlocks>(
    dir: &Directory<'_, D>,
    name: &[u8],
    hint: FileBlock,
) -> Result<Located<D>, D::Error> {
    if name.len() > NAME_MAX {
        return Ok(None);
    }
    if dir.inline.is_some() {
        let found = lookup_inline(dir, name)?;
        return Ok(found.map(|found| (found, None)));
    }
    if matches!(name, b"." | b"..") {
        return match search_block(dir, FileBlock::ZERO, name)? {
            Search::Found(found, held) => Ok(Some((found, Some(held)))),
            Search::Missing | Search::Hole(_) => Ok(None),
        };
    }
    if dir.has_index() {
        match lookup_indexed(dir, name) {
            Ok(found) => return Ok(found),
            Err(IndexFailure::Fatal(e)) => return Err(e),
            Err(IndexFailure::Unusable(e)) => dir.blocks.report(e, FileBlock::ZERO),
        }
    }
    lookup_linear(dir, name, hint)
}

/// The entry of `name` in `bytes`, which are those of block `lblk`, and where the record in front of
/// it starts.
#[inline]
fn find<D: DirBlocks>(
    dir: &Directory<'_, D>,
    bytes: &[u8],
    lblk: FileBlock,
    name: &[u8],
) -> Result<Option<(Found, Option<u32>)>, DirError> {
    let Some((entry, before)) = dir.area(bytes).find_behind(name)? else {
        return Ok(None);
    };
    let offset = offset(&entry);
    let found = found(dir, &entry, Place::Block { lblk, offset });
    // As an offset, it fits.
    Ok(found.map(|found| (found, before.map(|before| before as u32))))
}

fn found<D: DirBlocks>(dir: &Directory<'_, D>, entry: &Entry<'_>, place: Place) -> Option<Found> {
    Some(Found {
        ino: entry.ino?,
        file_type: dir.format.file_type(entry.file_type),
        place,
    })
}

/// Offsets fit: areas are at most 64 KiB.
#[inline]
fn offset(entry: &Entry<'_>) -> u32 {
    entry.offset as u32
}

fn lookup_inline<D: DirBlocks>(
    dir: &Directory<'_, D>,
    name: &[u8],
) -> Result<Option<Found>, Corrupt> {
    let Some(inline) = &dir.inline else {
        return Ok(None);
    };
    let implied = match name {
        b"." => Some(dir.ino),
        b".." => Some(dir.inline_parent(inline)?),
        _ => None,
    };
    if let Some(ino) = implied {
        return Ok(Some(Found {
            ino,
            file_type: FileType::Directory,
            place: Place::Implied,
        }));
    }
    let (first, second) = inline.areas();
    if let Some(entry) = dir.area(first).find(name)? {
        let offset = offset(&entry);
        return Ok(found(dir, &entry, Place::InlineFirst { offset }));
    }
    let entry = dir.area(second).find(name)?;
    Ok(entry.and_then(|entry| {
        let offset = offset(&entry);
        found(dir, &entry, Place::InlineSecond { offset })
    }))
}

fn lookup_indexed<D: DirBlocks>(
    dir: &Directory<'_, D>,
    name: &[u8],
) -> Result<Located<D>, IndexFailure<D::Error>> {
    let mut walk = Walk::new(dir)?;
    let target = walk.hash().hash(name).major;
    walk.seek(target)?;
    // Bounded by the walk, which visits no more leaves than the directory has blocks.
    loop {
        let lblk = walk.leaf();
        let block = dir
            .read_leaf(lblk)
            .map_err(|e| IndexFailure::Fatal(e.into_error()))?;
        match find(dir, &block, lblk, name) {
            Ok(Some((found, before))) => return Ok(Some((found, Some(Held { block, before })))),
            Ok(None) => {}
            // ext4 tries once more from front to back: the name may be elsewhere.
            Err(e) => return Err(IndexFailure::Unusable(e.into())),
        }
        match walk.advance_within(target)? {
            Next::Leaf(_) => dir.blocks.relax().map_err(IndexFailure::Fatal)?,
            Next::End => return Ok(None),
        }
    }
}

/// The outcome of searching one block.
enum Search<B> {
    Found(Found, Held<B>),
    Missing,
    /// No block, for so many blocks.
    Hole(u32),
}

fn search_block<D: DirBlocks>(
    dir: &Directory<'_, D>,
    lblk: FileBlock,
    name: &[u8],
) -> Result<Search<D::Block>, D::Error> {
    let block = match dir.read_any(lblk) {
        Ok(DirBlock::Mapped(block)) => block,
        Ok(DirBlock::Hole(len)) => return Ok(Search::Hole(len.max(1))),
        Err(e) => return Err(e.into_error()),
    };
    Ok(
        match find(dir, &block, lblk, name).map_err(Corrupt::from)? {
            Some((found, before)) => Search::Found(found, Held { block, before }),
            None => Search::Missing,
        },
    )
}

fn lookup_linear<D: DirBlocks>(
    dir: &Directory<'_, D>,
    name: &[u8],
    hint: FileBlock,
) -> Result<Located<D>, D::Error> {
    let end = dir.block_count();
    let hint = if hint < end { hint } else { FileBlock::ZERO };
    // Twice at most: from the hint to the end, then from the start to the hint.
    for (from, to) in [(hint, end), (FileBlock::ZERO, hint)] {
        let mut lblk = from;
        let mut ahead = from;
        while lblk < to {
            if lblk >= ahead {
                let run = READAHEAD.min(lblk.distance_to(to));
                dir.blocks.readahead(lblk, run);
                ahead = lblk.saturating_add(run);
            }
            lblk = match search_block(dir, lblk, name)? {
                Search::Found(found, held) => return Ok(Some((found, Some(held)))),
                Search::Missing => lblk.saturating_add(1),
                Search::Hole(len) => lblk.saturating_add(len),
            };
            dir.blocks.relax()?;
        }
    }
    Ok(None)
}
