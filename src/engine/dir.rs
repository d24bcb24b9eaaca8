// SPDX-License-Identifier: GPL-2.0

//! A directory as lookup and readdir see it.
//!
//! [`Directory`] gathers what is known of one directory; its blocks come from a [`DirBlocks`],
//! by their logical number in the directory file. A block has to pass a check each time it comes
//! into memory, and which check depends on what the block is meant to be:
//! - a leaf that the index leads to: the checksum record at its end;
//! - an index block: its own checksum, then the order of its hashes and its block numbers;
//! - a block met while reading from front to back, which may be either. To such a reader an
//!   index block is free space, and the state of the index does not matter.
//!
//! A leaf's records are checked one by one as they are used (see `ondisk::dir`).

use crate::ondisk::dir::{self, DirArea, DirError, EntryLimits, FileType};
use crate::ondisk::dx::{self, DxError, DxFormat, DxIndex, RootInfo};
use crate::ondisk::features::{Compat, Incompat};
use crate::ondisk::inline::InlineDir;
use crate::ondisk::{Corrupt, FileBlock, Geometry, Ino};

use super::dirhash::DirHash;

/// What is at a logical block of a directory.
#[derive(Debug)]
pub enum DirBlock<B> {
    /// The block, held.
    Mapped(B),
    /// Nothing, from the block asked for on for this many blocks (at least 1). Blocks that are
    /// allocated but not written count as holes.
    Hole(u32),
}

/// What a block's check found, if not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The block is good: it need not be checked again while it stays in memory.
    Passed,
    /// The block may be used this time; the next reader, who may want more of it, checks again.
    Usable,
}

/// A supplier of one directory's blocks: the buffer cache behind the directory's block map in
/// the module, a byte array in tests.
pub trait DirBlocks {
    /// A held block: derefs to exactly one block's bytes.
    type Block: core::ops::Deref<Target = [u8]>;
    /// Carries [`Corrupt`] or an I/O error.
    type Error: From<Corrupt>;

    /// Reads logical block `lblk` and, unless this very buffer has passed before, runs `verify`
    /// over its bytes. Only [`Verdict::Passed`] is to be remembered. May sleep.
    ///
    /// Errors: the I/O error, or what `verify` returned. Nothing is to be logged here for a failed check: the
    /// engine either returns the error or passes it to [`report`](Self::report).
    fn read<V>(&self, lblk: FileBlock, verify: V) -> Result<DirBlock<Self::Block>, Self::Error>
    where
        V: FnOnce(&[u8]) -> Result<Verdict, Corrupt>;

    /// Takes note of damage in block `lblk` that the operation carries on in spite of.
    fn report(&self, what: Corrupt, lblk: FileBlock);

    /// Called between blocks in loops whose length the disk decides. May reschedule; an error
    /// (a fatal signal) ends the operation.
    fn relax(&self) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Suggests that `blocks` blocks from `lblk` on will be read soon.
    fn readahead(&self, lblk: FileBlock, blocks: u32) {
        let _ = (lblk, blocks);
    }
}

/// Facts about directories that are the same all over a file system.
#[derive(Clone, Copy, Debug)]
pub struct DirFormat {
    /// Bounds of entries; holds the block size.
    pub limits: EntryLimits,
    /// Shape of index blocks.
    pub dx: DxFormat,
    /// Whether indexes may be used (`dir_index`).
    pub dir_index: bool,
    /// Whether entries record file types (`filetype`).
    pub file_types: bool,
    /// Whether hash versions 0 to 2 treat bytes as unsigned.
    pub hash_unsigned: bool,
    /// The superblock's hash secret.
    pub hash_seed: [u32; 4],
    /// The hash of directories that have no index (yet); `None` if the superblock names one that
    /// does not exist.
    pub default_hash: Option<DirHash>,
}

impl DirFormat {
    /// Collects the facts from a mounted file system's geometry.
    pub fn new(geometry: &Geometry) -> Self {
        let block_size = geometry.block_size();
        let hash_unsigned = geometry.hash_unsigned();
        let hash_seed = *geometry.hash_seed();
        Self {
            limits: EntryLimits {
                block_size,
                inodes_count: geometry.inodes_count(),
            },
            dx: DxFormat {
                block_size,
                checksums: geometry.csum_seed().is_some(),
                large_dir: geometry.has(Incompat::LARGEDIR),
            },
            dir_index: geometry.has(Compat::DIR_INDEX),
            file_types: geometry.has(Incompat::FILETYPE),
            hash_unsigned,
            hash_seed,
            default_hash: DirHash::new(geometry.def_hash_version(), hash_unsigned, &hash_seed),
        }
    }

    /// The hash that an index root's version stands for; `None` for one that needs a key.
    #[inline]
    pub fn hash(&self, version: u8) -> Option<DirHash> {
        DirHash::new(version, self.hash_unsigned, &self.hash_seed)
    }

    /// The file type that an entry's stored one stands for.
    #[inline]
    pub fn file_type(&self, stored: u8) -> FileType {
        if self.file_types {
            FileType::from_disk(stored)
        } else {
            FileType::Unknown
        }
    }

    /// log2 of the block size.
    #[inline]
    fn block_bits(&self) -> u32 {
        self.limits.block_size.trailing_zeros()
    }
}

/// One directory. Sizes and flags are the inode's at the time of the call, which runs under the
/// directory's lock, so that they do not change.
pub struct Directory<'a, D: DirBlocks> {
    /// Where its blocks come from.
    pub blocks: &'a D,
    /// Facts of the file system.
    pub format: &'a DirFormat,
    /// Its inode.
    pub ino: Ino,
    /// Its size in bytes.
    pub size: u64,
    /// What its blocks' checksums start from (`Geometry::inode_seed`).
    pub seed: Option<u32>,
    /// Whether the inode has the index flag.
    pub indexed: bool,
    /// A number that changes whenever the directory does (`i_version`).
    pub version: u64,
    /// The contents of an inline directory, which has no blocks.
    pub inline: Option<InlineDir<'a>>,
}

impl<D: DirBlocks> Clone for Directory<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: DirBlocks> Copy for Directory<'_, D> {}

/// Why a block could not be had.
pub(super) enum Failure<E> {
    /// Its contents are bad.
    Bad(Corrupt),
    /// Anything else.
    Other(E),
}

impl<E: From<Corrupt>> Failure<E> {
    /// The caller's error type, for damage that ends the operation.
    #[inline]
    pub(super) fn into_error(self) -> E {
        match self {
            Self::Bad(what) => what.into(),
            Self::Other(e) => e,
        }
    }
}

/// Why an index could not be followed.
pub(super) enum IndexFailure<E> {
    /// The index makes no sense, or leads to a leaf that does not. As with ext4, the directory's
    /// entries can still be had by reading it from front to back.
    Unusable(Corrupt),
    /// An error that ends the operation: I/O, a bad checksum, a hole, a leaf in the place of an
    /// index block.
    Fatal(E),
}

/// Sorts the ways in which an index can be bad as ext4 does: a checksum that is missing or wrong
/// and a leaf where an index block should be are errors, anything else makes the index unusable.
pub(super) fn index_failure<E: From<Corrupt>>(e: DxError) -> IndexFailure<E> {
    match e {
        DxError::Checksum | DxError::NoTail | DxError::NotAnIndex => {
            IndexFailure::Fatal(Corrupt::from(e).into())
        }
        _ => IndexFailure::Unusable(e.into()),
    }
}

impl<D: DirBlocks> Directory<'_, D> {
    /// Number of whole blocks, clamped to the block space.
    #[inline]
    pub fn block_count(&self) -> FileBlock {
        let blocks = self.size.checked_shr(self.format.block_bits());
        FileBlock::new(u32::try_from(blocks.unwrap_or(0)).unwrap_or(u32::MAX))
    }

    /// log2 of the block size.
    #[inline]
    pub(super) fn block_bits(&self) -> u32 {
        self.format.block_bits()
    }

    /// Whether there is an index to use.
    #[inline]
    pub fn has_index(&self) -> bool {
        self.indexed && self.format.dir_index && self.inline.is_none()
    }

    /// Views bytes of this directory as records.
    #[inline]
    pub(super) fn area<'b>(&self, bytes: &'b [u8]) -> DirArea<'b> {
        DirArea::new(bytes, self.format.limits)
    }

    /// The inode of `..` of an inline directory, if it can be one.
    #[inline]
    pub(super) fn inline_parent(&self, inline: &InlineDir<'_>) -> Result<Ino, DirError> {
        let parent = inline.raw_parent();
        match Ino::new(parent) {
            Some(ino) if parent <= self.format.limits.inodes_count => Ok(ino),
            _ => Err(DirError::BadInode),
        }
    }

    /// Reads a block and tells bad contents from other errors.
    #[inline]
    fn read<V>(&self, lblk: FileBlock, verify: V) -> Result<DirBlock<D::Block>, Failure<D::Error>>
    where
        V: FnOnce(&[u8]) -> Result<Verdict, Corrupt>,
    {
        let mut verdict = None;
        let result = self.blocks.read(lblk, |bytes| {
            verify(bytes).inspect_err(|&what| {
                verdict = Some(what);
            })
        });
        result.map_err(|e| match verdict {
            Some(what) => Failure::Bad(what),
            None => Failure::Other(e),
        })
    }

    /// Reads a leaf that an index leads to, or block 0 of a directory without one: neither may be
    /// missing.
    #[inline]
    pub(super) fn read_leaf(&self, lblk: FileBlock) -> Result<D::Block, Failure<D::Error>> {
        if lblk >= self.block_count() {
            return Err(Failure::Bad(DirError::PastEnd.into()));
        }
        let seed = self.seed;
        match self.read(lblk, |bytes| verify_leaf(bytes, seed))? {
            DirBlock::Mapped(block) => Ok(block),
            DirBlock::Hole(_) => Err(Failure::Bad(DirError::Hole.into())),
        }
    }

    /// Reads a block on the way from front to back.
    #[inline]
    pub(super) fn read_any(
        &self,
        lblk: FileBlock,
    ) -> Result<DirBlock<D::Block>, Failure<D::Error>> {
        let seed = self.seed;
        if !self.has_index() {
            return self.read(lblk, |bytes| verify_leaf(bytes, seed));
        }
        let (format, end) = (&self.format.dx, self.block_count());
        self.read(lblk, |bytes| {
            if lblk == FileBlock::ZERO {
                if let Some(seed) = seed {
                    dx::verify_checksum(bytes, true, format, seed)?;
                }
                Ok(match dx::verify_root(bytes, format, end) {
                    Ok(()) => Verdict::Passed,
                    Err(_) => Verdict::Usable,
                })
            } else if dx::looks_like_node(bytes, format.block_size) {
                Ok(Verdict::Usable)
            } else {
                verify_leaf(bytes, seed)
            }
        })
    }

    /// Reads an index block: block 0 if `is_root`.
    fn read_index(
        &self,
        lblk: FileBlock,
        is_root: bool,
    ) -> Result<D::Block, IndexFailure<D::Error>> {
        let end = self.block_count();
        if lblk >= end {
            return Err(IndexFailure::Fatal(Corrupt::from(DxError::PastEnd).into()));
        }
        let (seed, format) = (self.seed, &self.format.dx);
        let block = self.read(lblk, |bytes| {
            if let Some(seed) = seed {
                dx::verify_checksum(bytes, is_root, format, seed)?;
            }
            if is_root {
                dx::verify_root(bytes, format, end)?;
            } else {
                dx::verify_node(bytes, format, end)?;
            }
            Ok(Verdict::Passed)
        });
        match block {
            Ok(DirBlock::Mapped(block)) => Ok(block),
            Ok(DirBlock::Hole(_)) => Err(IndexFailure::Fatal(Corrupt::from(DirError::Hole).into())),
            Err(Failure::Bad(Corrupt::Dx(e))) => Err(index_failure(e)),
            Err(e) => Err(IndexFailure::Fatal(e.into_error())),
        }
    }

    /// Reads the root of the index, and views it.
    #[inline]
    pub(super) fn read_root(
        &self,
    ) -> Result<(D::Block, RootInfo, DirHash), IndexFailure<D::Error>> {
        let block = self.read_index(FileBlock::ZERO, true)?;
        let (info, _) = dx::root(&block, &self.format.dx).map_err(index_failure)?;
        match self.format.hash(info.hash_version) {
            Some(hash) => Ok((block, info, hash)),
            None => Err(index_failure(DxError::HashVersion)),
        }
    }

    /// Reads an interior node.
    #[inline]
    pub(super) fn read_node(&self, lblk: FileBlock) -> Result<D::Block, IndexFailure<D::Error>> {
        self.read_index(lblk, false)
    }

    /// Views the pairs of an index block that was read before.
    #[inline]
    pub(super) fn pairs<'b>(
        &self,
        bytes: &'b [u8],
        is_root: bool,
    ) -> Result<DxIndex<'b>, IndexFailure<D::Error>> {
        let index = if is_root {
            dx::root(bytes, &self.format.dx).map(|(_, index)| index)
        } else {
            dx::node(bytes, &self.format.dx)
        };
        index.map_err(index_failure)
    }
}

/// What a leaf has to pass when it comes into memory.
#[inline]
fn verify_leaf(bytes: &[u8], seed: Option<u32>) -> Result<Verdict, Corrupt> {
    if let Some(seed) = seed {
        dir::verify_checksum(bytes, seed)?;
    }
    Ok(Verdict::Passed)
}
