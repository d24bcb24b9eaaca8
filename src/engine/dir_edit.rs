// SPDX-License-Identifier: GPL-2.0

//! Changing directories: adding, removing and redirecting entries.
//!
//! The functions take the [`Directory`] that lookups take; its blocks come from a [`DirChange`].
//! Sizes and flags in it are those from before the operation. The caller holds the directory's
//! i_rwsem exclusively, gives the directory another version (`i_version`) and new times after a
//! change, and never comes here with encrypted or casefolded directories.
//!
//! Every operation prepares first and applies then (see [`change`](super::change)): it fails
//! without a trace or succeeds. Giving back blocks after a removal is the one thing that is tried
//! behind a success: each block that goes is an operation of its own, which may fail without harm.
//!
//! # Positions of readers
//!
//! In hash order, positions are hashes, and entries may move as they like. From front to back,
//! positions are offsets: there an entry never moves, and only blocks at the end go. No change
//! takes a directory from one order to the other, except where C ext4 does the same: a directory
//! of one block that gets a second one stays in hash order only with an index.
//!
//! # Unusable indexes
//!
//! As in C ext4: with metadata checksums, an index that makes no sense is an error, as its blocks
//! would not pass for leaves. Without them the entry goes where there is room, by reading from
//! front to back, and the index is given up ([`Inserted::indexed`]), since the entry is not in
//! its place.
//!
//! # What is different from C ext4
//!
//! - Blocks are given back: a leaf that loses its last entry leaves the index and takes the
//!   directory's last block along (see [`shrink`]). C ext4 keeps all that a directory ever had.
//! - A leaf that is full of holes is packed rather than split.
//! - A tree that grows at several levels does so in one go, not level by level from the start.

use crate::ondisk::dir::edit::{self, DirAreaMut, NewEntry};
use crate::ondisk::dir::{DirArea, FileType};
use crate::ondisk::dx::MAX_LEVELS;
use crate::ondisk::seal::Seal;
use crate::ondisk::{Corrupt, FileBlock, Ino};

use super::change::DirChange;
use super::dir::{DirBlocks, Directory};

mod first;
mod grow;
mod insert;
mod remove;
mod shrink;

pub use first::{convert_inline, create, is_empty, set_parent};
pub use insert::{insert, Inserted};
pub use remove::{remove, remove_held, replace};

/// Most blocks of a directory that an insertion changes, not counting new ones, where an index has
/// at most `levels` levels: the leaf, and an index block of each level.
pub const fn insert_changes(levels: u32) -> u32 {
    levels.saturating_add(1)
}

/// Most blocks that an insertion adds to the directory, where an index has at most `levels`
/// levels (2 at least): a leaf, and an index block of each level below the root. (An index that
/// gets deeper has had a level less: its root hands its pairs down to a new block.) A directory of
/// one block that gets an index has two new leaves.
pub const fn insert_adds(levels: u32) -> u32 {
    levels
}

/// [`insert_adds`] of the deepest index.
pub const INSERT_ADDS: u32 = insert_adds(MAX_LEVELS as u32);
/// Most blocks that a removal changes: the leaf, to whose place the last block moves if it goes,
/// and an index block each that led to the two.
pub const REMOVE_CHANGES: u32 = 3;
/// Most blocks that a removal takes from the directory. One by one is enough, as each removal
/// empties one leaf at most, and with every more a removal would have to ask for credits that it
/// hardly ever needs.
pub const REMOVE_DROPS: u32 = 1;
/// Most blocks that [`replace`] or [`set_parent`] changes.
pub const REPLACE_CHANGES: u32 = 1;

/// Why a directory was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditError<E> {
    /// There is an entry of this name (EEXIST).
    Exists,
    /// The index has as many levels as it may have, and all its blocks are full (ENOSPC).
    IndexFull,
    /// The name is empty or longer than 255 bytes, or `.` or `..` where that cannot be (EINVAL).
    Name,
    /// The entry is not where it is said to be (ENOENT).
    Gone,
    /// What the directory's blocks gave, damage included.
    Store(E),
}

impl<E: From<Corrupt>> EditError<E> {
    /// An error for damage.
    #[inline]
    fn corrupt(what: impl Into<Corrupt>) -> Self {
        Self::Store(what.into().into())
    }
}

impl<D: DirBlocks> Directory<'_, D> {
    /// Whether leaves end with a checksum record.
    #[inline]
    fn tails(&self) -> bool {
        self.seed.is_some()
    }

    /// Views the records of a leaf, without its checksum.
    #[inline]
    fn records<'b>(&self, bytes: &'b [u8]) -> DirArea<'b> {
        self.area(edit::records(bytes, self.tails()))
    }

    /// As [`records`](Self::records), for changing them.
    #[inline]
    fn records_mut<'b>(&self, bytes: &'b mut [u8]) -> DirAreaMut<'b> {
        let records = edit::records_mut(bytes, self.tails());
        DirAreaMut::new(records, self.format.limits.block_size)
    }

    /// Views all of a block as records, for changing them.
    #[inline]
    fn all_mut<'b>(&self, bytes: &'b mut [u8]) -> DirAreaMut<'b> {
        DirAreaMut::new(bytes, self.format.limits.block_size)
    }

    /// The byte that stands for a file type.
    #[inline]
    fn stored_type(&self, file_type: FileType) -> u8 {
        if self.format.file_types {
            file_type.to_disk()
        } else {
            0
        }
    }

    #[inline]
    fn leaf_seal(&self) -> Seal {
        self.seed.map_or(Seal::Plain, Seal::DirLeaf)
    }

    /// The seal of an index block.
    #[inline]
    fn index_seal(&self, is_root: bool) -> Seal {
        match self.seed {
            None => Seal::Plain,
            Some(seed) if is_root => Seal::DxRoot(seed),
            Some(seed) => Seal::DxNode(seed),
        }
    }
}

/// A new entry, or why there cannot be one.
fn new_entry<'a, D: DirBlocks>(
    dir: &Directory<'_, D>,
    name: &'a [u8],
    ino: Ino,
    file_type: FileType,
) -> Result<NewEntry<'a>, EditError<D::Error>> {
    if is_dot(name) {
        return Err(EditError::Name);
    }
    NewEntry::new(name, ino, dir.stored_type(file_type)).ok_or(EditError::Name)
}

/// Whether this is one of the two names that come with the directory.
#[inline]
fn is_dot(name: &[u8]) -> bool {
    matches!(name, b"." | b"..")
}

/// Blocks that an operation has added to a directory. Until it has been decided that they stay,
/// whoever drops this takes them back.
struct Added<'d, D: DirChange> {
    blocks: &'d D,
    /// In the order in which they were added.
    list: [Option<(FileBlock, D::Edit)>; INSERT_ADDS as usize],
}

impl<'d, D: DirChange> Added<'d, D> {
    fn new(blocks: &'d D) -> Self {
        Self {
            blocks,
            list: [None, None, None],
        }
    }

    /// Adds one more block, or fills a hole; returns its number. Nothing happens once there are
    /// [`INSERT_ADDS`].
    fn add(&mut self, hole: Option<FileBlock>) -> Result<FileBlock, EditError<D::Error>> {
        for slot in self.list.iter_mut() {
            if slot.is_none() {
                let added = self.blocks.append(hole).map_err(EditError::Store)?;
                let lblk = added.0;
                *slot = Some(added);
                return Ok(lblk);
            }
        }
        Err(EditError::IndexFull)
    }

    /// The block that was added as the `nr`-th, which stays from here on.
    #[inline]
    fn keep(&mut self, nr: usize) -> Option<(FileBlock, D::Edit)> {
        self.list.get_mut(nr)?.take()
    }
}

impl<D: DirChange> Drop for Added<'_, D> {
    #[inline]
    fn drop(&mut self) {
        for slot in self.list.iter_mut().rev() {
            if let Some((lblk, edit)) = slot.take() {
                drop(edit);
                self.blocks.take_back(lblk);
            }
        }
    }
}
