// SPDX-License-Identifier: GPL-2.0

//! Changing metadata blocks inside a transaction.
//!
//! The engine's half of the write path is written against these traits, as its read path is
//! written against [`BlockSource`]: the module implements them with a jbd2 handle (or without a
//! journal), the host tests with a byte array that can fail at any call.
//!
//! The rule that every operation of the engine follows: **prepare, then apply**. All that can fail
//! (reading and verifying blocks, allocating, taking write access) happens before the first byte
//! changes; what follows cannot fail. So an error leaves the tree, in memory and on disk, as it
//! was, and there is no undo code. What was allocated meanwhile is given back by
//! [`Blocks::give_back`], which cannot fail either.
//!
//! Locking: the caller holds the lock that protects the structure being changed (i_rwsem
//! exclusive for a directory, the data lock for a block map, the xattr lock for attributes) for
//! the whole operation; nothing else may read or write the bytes of an edit meanwhile.

use super::source::BlockSource;
use crate::ondisk::seal::Seal;
use crate::ondisk::{FileBlock, FsBlock};
use core::ops::DerefMut;

/// Takes write access to metadata blocks and puts the changed ones into a transaction.
pub trait Transaction: BlockSource {
    /// A block that may be changed: derefs to exactly one block's bytes.
    ///
    /// Dropped without [`dirty`](Self::dirty), it must not have been written to, and the block is
    /// as it was.
    type Edit: DerefMut<Target = [u8]>;

    /// Takes write access to a block that has been read and verified. Taking it again to a block
    /// that the transaction has already is cheap, but two edits of one block must not live at the
    /// same time.
    ///
    /// May sleep. Errors: no memory, an aborted journal; nothing has changed then.
    fn edit(&self, block: Self::Block) -> Result<Self::Edit, Self::Error>;

    /// Takes write access to block `at`, which this transaction has allocated; what was there
    /// before is not read. All its bytes are 0.
    ///
    /// May sleep. Errors: as [`edit`](Self::edit).
    fn create(&self, at: FsBlock) -> Result<Self::Edit, Self::Error>;

    /// The block has been changed and goes with the transaction, with the checksum that `seal`
    /// stands for; it counts as verified. Cannot fail: that a journal has been aborted shows when
    /// the handle is stopped.
    fn dirty(&self, edit: Self::Edit, seal: Seal);
}

/// What a block that is being freed was used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Was {
    /// Contents of a file, which the journal has not seen.
    Data,
    /// Metadata, which may stand in the journal: it is revoked, so that no replay brings it back
    /// over what comes to be there next.
    Metadata,
}

/// Allocates and frees blocks in a transaction. Who implements it also counts them (i_blocks,
/// quota, free space).
pub trait Blocks {
    /// Carries corruption, I/O errors, and the lack of space.
    type Error;

    /// Allocates one block for metadata of the object at hand, near `goal`.
    ///
    /// May sleep. Errors: no space; what the bitmaps' reading gives.
    fn allocate(&self, goal: FsBlock) -> Result<FsBlock, Self::Error>;

    /// Takes back what [`allocate`](Self::allocate) returned in this transaction and nobody has
    /// used (or only through an edit that was dropped).
    fn give_back(&self, block: FsBlock);

    /// Frees blocks at the **end** of the run of `len` (> 0) blocks from `start`, as many as can
    /// be freed in one step (those of one group, say), and returns how many: 1 to `len`. To be
    /// called again for what is left. They can be allocated again once the transaction has been
    /// committed.
    ///
    /// May sleep. Errors: I/O, corruption; nothing has been freed then.
    fn free(&self, start: FsBlock, len: u32, was: Was) -> Result<u32, Self::Error>;
}

/// Changes a directory's blocks by their logical number. Reading is
/// [`DirBlocks`](super::dir::DirBlocks)' part.
pub trait DirChange: super::dir::DirBlocks {
    /// As [`Transaction::Edit`].
    type Edit: DerefMut<Target = [u8]>;

    /// As [`Transaction::edit`].
    fn edit(&self, block: Self::Block) -> Result<Self::Edit, Self::Error>;

    /// As [`Transaction::dirty`].
    fn dirty(&self, edit: Self::Edit, seal: Seal);

    /// Adds a block behind the directory's last one, or fills the hole at `hole`; all its bytes
    /// are 0. The directory's size grows with it.
    ///
    /// May sleep. Errors: no space, and as [`edit`](Self::edit). An error after a successful call
    /// in the same operation is handled by [`take_back`](Self::take_back).
    fn append(&self, hole: Option<FileBlock>) -> Result<(FileBlock, Self::Edit), Self::Error>;

    /// Undoes the [`append`](Self::append) of `lblk` in this transaction, whose edit was dropped.
    /// Several are undone in reverse order. Cannot fail.
    fn take_back(&self, lblk: FileBlock);

    /// Frees the directory's last block, `lblk`; its size shrinks by it. Whatever refers to it is
    /// changed right afterwards, which cannot fail: so an error, which leaves the block where it
    /// is, does no harm. If the block is being held, it can still be read.
    fn remove_last(&self, lblk: FileBlock) -> Result<(), Self::Error>;
}
