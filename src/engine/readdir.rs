// SPDX-License-Identifier: GPL-2.0

//! Reading a directory, with positions that stay good.
//!
//! With `dir_index`, directories that have an index, or could get one (a single block, inline),
//! are read in the order of their names' hashes, and positions are made from the hash. All
//! others are read from front to back, and positions are offsets in bytes. Order, positions and
//! the position after each entry are those of C ext4, so that a position survives a change of
//! driver.
//!
//! # Damage
//!
//! As in C ext4: in hash order, a leaf that is missing, cannot be read or fails its checksum
//! ends reading with an error, and behind a bad record the rest of a leaf is ignored. From front
//! to back, a block with a bad checksum is skipped, and so is the rest of a block behind a bad
//! record; only I/O errors end reading. What is passed over is reported. An index that is
//! unusable from the start is reported, and the directory is read from front to back; one that
//! turns out so later, when positions made from hashes are out already, gives an error.

use crate::ondisk::dir::FileType;
use crate::ondisk::{FileBlock, Ino};

use super::dir::{DirBlocks, Directory, IndexFailure};
use super::dir_batch::Record;
use super::dir_cookie::CookieWidth;
use super::readdir_hash::Hashed;
use super::readdir_linear;

/// An entry on its way to the reader.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// The name as it is on disk: up to 255 bytes, possibly none, possibly any.
    pub name: &'a [u8],
    /// The inode.
    pub ino: Ino,
    /// The type, if the file system records types.
    pub file_type: FileType,
    /// This entry's own position: what a reader who stops in front of it continues from.
    pub position: u64,
}

/// What the next entry to hand out is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    /// Entries with smaller keys are done.
    pub(super) key: u64,
    /// So many with exactly this key are done, too.
    pub(super) emitted: u32,
    /// Whether there are more of them than a batch holds, so that they come in the order of the
    /// chain.
    pub(super) large: bool,
}

impl Point {
    #[inline]
    pub(super) fn at_key(key: u64) -> Self {
        Self {
            key,
            emitted: 0,
            large: false,
        }
    }
}

/// How positions are to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Not known yet: nothing has been handed out since the position was set.
    Fresh,
    /// As hashes.
    Hashed,
    /// As offsets.
    Linear,
}

/// The state of one open directory between calls of [`fill`]. Starts at position 0.
#[derive(Clone, Debug)]
pub struct Cursor {
    pub(super) mode: Mode,
    pub(super) position: u64,
    /// The directory's version when the batch was filled or `position` was found to be good.
    pub(super) version: u64,
    pub(super) at: Point,
    /// The part of the caller's records that is still to be handed out.
    pub(super) next: usize,
    pub(super) len: usize,
    /// Where to go on behind them; `None` for the end.
    pub(super) after: Option<Point>,
    /// See [`Cursor::is_crowded`].
    pub(super) crowded: bool,
}

impl Default for Cursor {
    fn default() -> Self {
        Self::new()
    }
}

impl Cursor {
    /// A cursor at the start.
    pub const fn new() -> Self {
        Self {
            mode: Mode::Fresh,
            position: 0,
            version: 0,
            at: Point {
                key: 0,
                emitted: 0,
                large: false,
            },
            next: 0,
            len: 0,
            after: None,
            crowded: false,
        }
    }

    /// Whether a chain of several leaves has had more entries than the records have room for.
    /// Each further pass reads all of the chain again, so more room is worth having: the next
    /// call may come with more records, the first of them those of this call.
    #[inline]
    pub fn is_crowded(&self) -> bool {
        self.crowded
    }

    /// The position to continue from: that of the first entry that was not handed out, or the
    /// end's.
    #[inline]
    pub fn position(&self) -> u64 {
        self.position
    }

    fn seek(&mut self, position: u64, width: CookieWidth) {
        *self = Self {
            position,
            at: Point::at_key(width.key(position)),
            ..Self::new()
        };
    }
}

impl<D: DirBlocks> Directory<'_, D> {
    /// Whether the directory is read in hash order: it has an index or could get one. Then the
    /// largest position, for `llseek`, is [`CookieWidth::end`].
    #[inline]
    pub fn hash_order(&self) -> bool {
        if !self.format.dir_index {
            return false;
        }
        // What has no index is sorted by the default hash, if there is such a function.
        let small = self.inline.is_some() || self.size >> self.block_bits() == 1;
        self.has_index() || (small && self.format.default_hash.is_some())
    }
}

/// Hands entries to `emit` from `position` on, until it returns `false` or all are done;
/// afterwards [`Cursor::position`] is where the reader continues. If `position` is not what the
/// cursor was left at, the reader has sought there: any value is allowed.
///
/// `records` is scratch memory that belongs to `cursor` from one call to the next (its contents
/// may change only in here; if it is another slice, give it a new cursor). Room for a 16th of the
/// block size makes nearly every leaf a single pass.
///
/// Errors: see the module's head. Entries handed out before an error stay handed out.
pub fn fill<D, F>(
    dir: &Directory<'_, D>,
    cursor: &mut Cursor,
    records: &mut [Record],
    position: u64,
    width: CookieWidth,
    mut emit: F,
) -> Result<(), D::Error>
where
    D: DirBlocks,
    F: FnMut(&Item<'_>) -> bool,
{
    if cursor.position != position {
        cursor.seek(position, width);
    }
    if cursor.mode != Mode::Linear && dir.hash_order() {
        let failure = match Hashed::new(dir, width, &mut emit).fill(cursor, records) {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        cursor.len = 0;
        let error = match failure {
            IndexFailure::Unusable(what) if cursor.mode == Mode::Fresh && position <= dir.size => {
                dir.blocks.report(what, FileBlock::ZERO);
                None
            }
            IndexFailure::Unusable(what) => Some(what.into()),
            IndexFailure::Fatal(e) => Some(e),
        };
        if let Some(error) = error {
            cursor.position = width.position(cursor.at.key);
            return Err(error);
        }
    }
    let trusted = cursor.mode == Mode::Linear && cursor.version == dir.version;
    cursor.mode = Mode::Linear;
    cursor.version = dir.version;
    readdir_linear::fill(dir, &mut cursor.position, trusted, &mut emit)
}
