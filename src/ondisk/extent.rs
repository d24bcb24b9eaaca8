// SPDX-License-Identifier: GPL-2.0

//! Nodes of an extent tree.
//!
//! A node is a 12-byte header and an array of 12-byte entries: extents in a leaf (depth 0),
//! indexes elsewhere. The root sits in the 60 bytes of `i_block`; every other node fills a block
//! and ends in a checksum. Format: `Documentation/filesystems/ext4/ifork.rst`.
//!
//! Two levels of trust:
//! - [`verify_root`] and [`verify_block`] look at everything in a node that can be judged from
//!   the node alone, and are meant to run once while the node stays in memory;
//! - [`Node`] is the view that each lookup constructs anew. It relies on none of that: the
//!   buffer belongs to the device's page cache, and whoever may write the device can change it
//!   after it has been verified. So the header is parsed again (four compares), and an entry
//!   becomes an [`Extent`] or an [`Index`] only through a check of its own. A node that changed
//!   behind our back yields wrong answers or errors, never a panic or a block number out of
//!   bounds.
//!
//! What a node's parent says about it (its depth, its first block, where its range ends) is
//! checked per lookup by the walk, because the parent is not at hand when a buffer is verified.

use super::search::partition_point;
use crate::ondisk::raw::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};
use zerocopy::little_endian::{U16, U32};

use super::bounds::BlockBounds;
use super::crc::crc32c;
use super::error::Corrupt;
use super::ids::{FileBlock, FsBlock};

pub mod edit;

/// Size in bytes of `i_block`, which holds the root.
pub const ROOT_SIZE: usize = 60;

/// The greatest depth of a root: five levels of blocks below `i_block` reach 2^32 file blocks
/// even with 1 KiB blocks.
pub const MAX_DEPTH: u16 = 5;

/// `eh_magic`.
const MAGIC: u16 = 0xf30a;

/// The longest written extent in blocks; a greater `ee_len` marks an unwritten extent that is
/// this much shorter.
const MAX_WRITTEN_LEN: u16 = 1 << 15;

crate::corrupt_area! {
    /// What can be wrong with an extent tree.
    ExtentError {
        Truncated = "extent node: shorter than its header",
        BadMagic = "extent node: bad magic",
        BadDepth = "extent node: depth differs from its place in the tree",
        TooDeep = "extent root: deeper than 5 levels",
        BadMax = "extent node: capacity is zero or larger than the node",
        TooManyEntries = "extent node: more entries than its capacity",
        EmptyNode = "extent node: no entries",
        ZeroLength = "extent: length is zero",
        TooLong = "extent: longer than an entry can express",
        PastEnd = "extent: runs past the largest file block",
        BadRun = "extent: physical blocks outside the file system or inside its metadata",
        BadTarget = "extent index: child outside the file system or inside its metadata",
        Unsorted = "extent node: entries overlap or are not sorted",
        OutsideParent = "extent node: entries outside the range of the parent index",
        Checksum = "extent node: bad checksum" [checksum],
    }
}

/// `struct ext4_extent_header`: opens every node.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawHeader {
    magic: U16,
    entries: U16,
    max: U16,
    depth: U16,
    /// Used by Lustre only.
    generation: U32,
}
const _: () = assert!(size_of::<RawHeader>() == 12);

/// `struct ext4_extent_idx`: an entry of a node above the leaves.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawIndex {
    block: U32,
    leaf_lo: U32,
    leaf_hi: U16,
    unused: U16,
}
const _: () = assert!(size_of::<RawIndex>() == 12);

/// `struct ext4_extent`: an entry of a leaf.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawExtent {
    block: U32,
    len: U16,
    start_hi: U16,
    start_lo: U32,
}
const _: () = assert!(size_of::<RawExtent>() == 12);

/// `struct ext4_extent_tail`: follows the capacity (not the entries) of a node in a block. The
/// entries leave room for it: no power of two from 1 KiB up is a multiple of 12 plus less than 4.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawTail {
    checksum: U32,
}
const _: () = assert!(size_of::<RawTail>() == 4);
const _: () = assert!(ROOT_SIZE == size_of::<RawHeader>() + 4 * size_of::<RawExtent>());

/// A checked extent: `len` file blocks from `first` lie in the physical blocks from `start`.
///
/// Invariants: `len` is 1..=32768 (32767 if unwritten), `first + len` does not exceed
/// [`FileBlock::END`], and the run has passed [`BlockBounds::check_run`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First logical block.
    pub first: FileBlock,
    /// Length in blocks.
    pub len: u32,
    /// First physical block.
    pub start: FsBlock,
    /// Allocated but never written: reads as zeros.
    pub unwritten: bool,
}

impl Extent {
    /// One past the last logical block.
    #[inline]
    pub const fn end(&self) -> FileBlock {
        self.first.saturating_add(self.len)
    }
}

/// A checked index entry: the subtree under physical block `child` maps file blocks from `first`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    /// First logical block of the subtree.
    pub first: FileBlock,
    /// The block that holds the next node down; has passed [`BlockBounds::check_run`].
    pub child: FsBlock,
}

/// An entry as far as it needs no check: its key. Lets both kinds share search and order.
pub trait RawEntry: FromBytes + Immutable + Unaligned {
    /// The first logical block that the entry speaks of.
    fn first(&self) -> FileBlock;
}

impl RawEntry for RawIndex {
    #[inline]
    fn first(&self) -> FileBlock {
        FileBlock::new(self.block.get())
    }
}

impl RawEntry for RawExtent {
    #[inline]
    fn first(&self) -> FileBlock {
        FileBlock::new(self.block.get())
    }
}

impl RawIndex {
    /// Checks the entry's target.
    #[inline]
    pub fn check<B: BlockBounds>(&self, bounds: &B) -> Result<Index, ExtentError> {
        let child = join48(self.leaf_hi, self.leaf_lo);
        match bounds.check_run(child, 1) {
            Some(child) => Ok(Index {
                first: self.first(),
                child,
            }),
            None => Err(ExtentError::BadTarget),
        }
    }
}

impl RawExtent {
    /// Checks the entry's length, logical range and physical run.
    #[inline]
    pub fn check<B: BlockBounds>(&self, bounds: &B) -> Result<Extent, ExtentError> {
        let raw_len = self.len.get();
        let unwritten = raw_len > MAX_WRITTEN_LEN;
        let len = if unwritten {
            raw_len.wrapping_sub(MAX_WRITTEN_LEN)
        } else {
            raw_len
        };
        let len = u32::from(len);
        if len == 0 {
            return Err(ExtentError::ZeroLength);
        }
        // The sum may be END itself, one past the last block.
        if self.block.get().checked_add(len).is_none() {
            return Err(ExtentError::PastEnd);
        }
        match bounds.check_run(join48(self.start_hi, self.start_lo), len) {
            Some(start) => Ok(Extent {
                first: self.first(),
                len,
                start,
                unwritten,
            }),
            None => Err(ExtentError::BadRun),
        }
    }
}

/// Physical block numbers are 48 bits wide, split in two.
#[inline]
fn join48(hi: U16, lo: U32) -> u64 {
    (u64::from(hi.get()) << 32) | u64::from(lo.get())
}

/// The entries of one node, in the order of their first blocks if the node is sound.
#[derive(Clone, Copy)]
pub struct Entries<'a, T>(&'a [T]);

impl<'a, T: RawEntry> Entries<'a, T> {
    /// The `n`th entry.
    #[inline]
    pub fn get(&self, n: usize) -> Option<&'a T> {
        self.0.get(n)
    }

    /// The first logical block of the first entry.
    #[inline]
    pub fn first(&self) -> Option<FileBlock> {
        self.0.first().map(T::first)
    }

    /// The entries in order.
    #[inline]
    pub fn iter(&self) -> core::slice::Iter<'a, T> {
        self.0.iter()
    }

    /// How many entries there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none, as only a root may be.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many entries begin at or before `at`. What is written at the end of a file is looked
    /// for here, so the last entry is asked first.
    #[inline]
    pub fn up_to(&self, at: FileBlock) -> usize {
        match self.0.last() {
            Some(last) if last.first() > at => partition_point(self.0, |e| e.first() <= at),
            _ => self.0.len(),
        }
    }

    /// The last entry that begins at or before `at`, with the first block of the entry after it.
    /// `None` when all entries begin after `at`.
    #[inline]
    pub fn at_or_before(&self, at: FileBlock) -> Option<(&'a T, Option<FileBlock>)> {
        let after = partition_point(self.0, |e| e.first() <= at);
        let entry = self.0.get(after.checked_sub(1)?)?;
        Some((entry, self.0.get(after).map(T::first)))
    }
}

/// A view of one node: sound in shape, its entries still to be checked one by one.
#[derive(Clone, Copy)]
pub enum Node<'a> {
    /// Depth 0.
    Leaf(Entries<'a, RawExtent>),
    /// Depth 1 and more.
    Index(Entries<'a, RawIndex>),
}

impl<'a> Node<'a> {
    /// Views the root in `i_block`; the second value is its depth, at most [`MAX_DEPTH`].
    ///
    /// A root without entries is an empty file if it is a leaf, and corrupt otherwise.
    #[inline]
    pub fn root(i_block: &'a [u8; ROOT_SIZE]) -> Result<(Self, u16), ExtentError> {
        let (header, body) = parse_header(i_block)?;
        let depth = header.depth.get();
        if depth > MAX_DEPTH {
            return Err(ExtentError::TooDeep);
        }
        Ok((Self::of(header, body, depth)?, depth))
    }

    /// Views the node in `block` (one whole block), which its parent says has depth `depth`.
    #[inline]
    pub fn child(block: &'a [u8], depth: u16) -> Result<Self, ExtentError> {
        let (header, body) = parse_header(block)?;
        // Each level must be one less deep than the one above: this is what ends a descent, and
        // what makes a tree that leads back into itself an error.
        if header.depth.get() != depth {
            return Err(ExtentError::BadDepth);
        }
        if header.entries.get() == 0 {
            return Err(ExtentError::EmptyNode);
        }
        Self::of(header, body, depth)
    }

    #[inline]
    fn of(header: &RawHeader, body: &'a [u8], depth: u16) -> Result<Self, ExtentError> {
        let n = header.entries.get();
        if depth == 0 {
            Ok(Self::Leaf(entries(body, n)?))
        } else if n == 0 {
            Err(ExtentError::EmptyNode)
        } else {
            Ok(Self::Index(entries(body, n)?))
        }
    }

    /// The first logical block of the first entry; `None` for an empty root.
    #[inline]
    pub fn first(&self) -> Option<FileBlock> {
        match self {
            Self::Leaf(e) => e.first(),
            Self::Index(e) => e.first(),
        }
    }

    /// Checks every entry, their order, and that they do not overlap.
    fn check_entries<B: BlockBounds>(&self, bounds: &B) -> Result<(), ExtentError> {
        let mut free_from = FileBlock::ZERO;
        match self {
            Self::Leaf(e) => {
                for raw in e.iter() {
                    let extent = raw.check(bounds)?;
                    if extent.first < free_from {
                        return Err(ExtentError::Unsorted);
                    }
                    free_from = extent.end();
                }
            }
            Self::Index(e) => {
                for raw in e.iter() {
                    let index = raw.check(bounds)?;
                    if index.first < free_from {
                        return Err(ExtentError::Unsorted);
                    }
                    if index.first == FileBlock::END {
                        return Err(ExtentError::PastEnd);
                    }
                    free_from = index.first.saturating_add(1);
                }
            }
        }
        Ok(())
    }
}

#[inline]
fn parse_header(node: &[u8]) -> Result<(&RawHeader, &[u8]), ExtentError> {
    let (header, body) = RawHeader::ref_from_prefix(node).map_err(|_| ExtentError::Truncated)?;
    if header.magic.get() != MAGIC {
        return Err(ExtentError::BadMagic);
    }
    Ok((header, body))
}

/// Where the checksum of a node that fills `block` is, in bytes; `None` if that is no node.
pub fn checksum_offset(block: &[u8]) -> Option<usize> {
    let (header, _) = parse_header(block).ok()?;
    let at = node_len(header.max.get());
    (at.checked_add(size_of::<RawTail>())? <= block.len()).then_some(at)
}

/// The checksum of a node that fills `block`; `seed` is the inode's.
pub fn checksum(block: &[u8], seed: u32) -> Option<u32> {
    Some(crc32c(seed, block.get(..checksum_offset(block)?)?))
}

#[inline]
fn entries<T>(body: &[u8], n: u16) -> Result<Entries<'_, T>, ExtentError>
where
    T: RawEntry + KnownLayout<PointerMetadata = ()>,
{
    match <[T]>::ref_from_prefix_with_elems(body, usize::from(n)) {
        Ok((entries, _)) => Ok(Entries(entries)),
        Err(_) => Err(ExtentError::TooManyEntries),
    }
}

/// How many bytes of the node `capacity` entries take, header included.
#[inline]
fn node_len(capacity: u16) -> usize {
    // At most 12 + 12 * 65535.
    usize::from(capacity)
        .wrapping_mul(size_of::<RawExtent>())
        .wrapping_add(size_of::<RawHeader>())
}

/// Checks what holds for a header anywhere, `room` being the bytes open to header and entries.
fn check_capacity(header: &RawHeader, room: usize) -> Result<(), ExtentError> {
    let max = header.max.get();
    if max == 0 || node_len(max) > room {
        return Err(ExtentError::BadMax);
    }
    if header.entries.get() > max {
        return Err(ExtentError::TooManyEntries);
    }
    Ok(())
}

/// Verifies the root of an extent tree: everything that can be told from `i_block` alone.
///
/// To be run when an inode with the extents flag is read. The inode's own checksum covers it.
pub fn verify_root<B: BlockBounds>(
    i_block: &[u8; ROOT_SIZE],
    bounds: &B,
) -> Result<(), ExtentError> {
    let (header, _) = parse_header(i_block)?;
    check_capacity(header, ROOT_SIZE)?;
    let (node, _) = Node::root(i_block)?;
    node.check_entries(bounds)
}

/// Verifies a node that fills a block: everything that can be told from the block alone.
///
/// `seed` is the inode's checksum seed (file system seed, inode number, generation), or `None`
/// where the file system has no metadata checksums. The checksum comes before the entries, so
/// that a block spoiled in transit is reported as such. Depends on nothing but the block, the
/// inode's identity and the mount, as [`BlockSource::read`] demands.
///
/// [`BlockSource::read`]: crate::engine::source::BlockSource::read
pub fn verify_block<B: BlockBounds>(
    block: &[u8],
    seed: Option<u32>,
    bounds: &B,
) -> Result<(), Corrupt> {
    let (header, _) = parse_header(block)?;
    let depth = header.depth.get();
    if depth >= MAX_DEPTH {
        // Only the root can have the full depth.
        return Err(ExtentError::BadDepth.into());
    }
    check_capacity(header, block.len().saturating_sub(size_of::<RawTail>()))?;
    if let Some(seed) = seed {
        let (covered, tail) = block
            .split_at_checked(node_len(header.max.get()))
            .ok_or(ExtentError::BadMax)?;
        let (tail, _) = RawTail::ref_from_prefix(tail).map_err(|_| ExtentError::BadMax)?;
        if crc32c(seed, covered) != tail.checksum.get() {
            return Err(ExtentError::Checksum.into());
        }
    }
    Ok(Node::child(block, depth)?.check_entries(bounds)?)
}
