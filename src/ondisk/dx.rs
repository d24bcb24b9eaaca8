// SPDX-License-Identifier: GPL-2.0

//! The blocks of a directory's hash index (htree).
//!
//! The root is block 0 of the directory, behind the entries `.` and `..`; interior nodes look
//! like a block with one free record. Both hold an array of (hash, block) pairs in ascending
//! order of hash, where the hash of the first pair is implied (it is the parent's) and its place
//! holds the array's limit and count instead. A pair leads to the block that holds the hashes
//! from its own up to the next pair's. Bit 0 of a pair's hash says that names with that hash
//! have already begun in the previous leaf.
//!
//! Invariant of [`DxIndex`]: the limit is the one that the block size dictates and the count is
//! between 1 and the limit, so that all pairs lie in front of the checksum. That much is checked
//! each time a block is looked at, because it is cheap; the checksum and the order of the hashes
//! are for the moment when the block comes into memory ([`verify_root`], [`verify_node`]).
//!
//! Format: `Documentation/filesystems/ext4/directory.rst`, "Hash Tree Directories".

use super::search::partition_point;
use crate::ondisk::raw::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};
use zerocopy::little_endian::{U16, U32};

use super::crc::crc32c;
use super::dir::{decode_rec_len, RawDirEntry};
use super::FileBlock;

pub mod edit;

crate::corrupt_area! {
    /// What can be wrong with a directory's index.
    DxError {
        Checksum = "directory index block fails its checksum" [checksum],
        NoTail = "directory index block has no room for its checksum",
        NotAnIndex = "directory leaf block found instead of index block",
        HashVersion = "directory index: unrecognised hash version",
        Flags = "directory index: unimplemented flags",
        TooDeep = "directory index: more levels than supported",
        Limit = "directory index: wrong limit",
        Count = "directory index: count beyond limit",
        Order = "directory index: hashes are not in order",
        Cycle = "directory index: block points back to an ancestor",
        PastEnd = "directory index: block beyond the end of the directory",
    }
}

/// A (hash, block) pair (`dx_entry`).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawDxEntry {
    /// The lowest hash below this pair; bit 0 is the continuation mark.
    pub hash: U32,
    /// Logical block of the directory; the top four bits are reserved.
    pub block: U32,
}

/// What stands in the place of the first pair's hash (`dx_countlimit`).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawCountLimit {
    /// Pairs that there is room for, the first one included.
    pub limit: U16,
    /// Pairs in use, the first one included.
    pub count: U16,
}

/// Description of the tree in the root (`dx_root_info`).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawRootInfo {
    /// 0.
    pub reserved_zero: U32,
    /// 0 legacy, 1 half MD4, 2 TEA, 6 SipHash.
    pub hash_version: u8,
    /// Length of this structure; the pairs follow.
    pub info_length: u8,
    /// Levels of interior nodes between the root and the leaves.
    pub indirect_levels: u8,
    /// Bit 0 is reserved for a format that was never made.
    pub unused_flags: u8,
}

/// The start of the root block (`dx_root`).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawRoot {
    /// The entry `.`, with a record length of 12.
    pub dot: RawDirEntry,
    /// `.` and padding.
    pub dot_name: [u8; 4],
    /// The entry `..`, whose record covers the rest of the block.
    pub dotdot: RawDirEntry,
    /// `..` and padding.
    pub dotdot_name: [u8; 4],
    /// The tree's description.
    pub info: RawRootInfo,
}

/// The checksum behind the room for pairs (`dx_tail`).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawDxTail {
    /// Not used, but covered by the checksum.
    pub reserved: U32,
    /// CRC-32C of the block up to and including the last pair in use, and this tail with 0 here.
    pub checksum: U32,
}

const _: () = assert!(size_of::<RawDxEntry>() == 8);
const _: () = assert!(size_of::<RawCountLimit>() == 4);
const _: () = assert!(size_of::<RawRoot>() == 32);
const _: () = assert!(size_of::<RawDxTail>() == TAIL_LEN);

/// Length of the checksum, in bytes.
const TAIL_LEN: usize = 8;
/// Length of a pair, in bytes.
const PAIR_LEN: usize = 8;
/// Offset of `..` in the root: where `.` ends.
pub const DOTDOT_OFFSET: usize = 12;
/// Offset of the tree's description in the root.
const INFO_OFFSET: usize = 24;
/// Length of the tree's description, as far as it is defined.
const INFO_LEN: u8 = 8;
/// Offset of the pairs in an interior node.
const NODE_PAIRS: usize = 8;
/// Block numbers are 28 bits wide.
const BLOCK_MASK: u32 = 0x0fff_ffff;

/// Most levels of index blocks (root included) that any file system may have.
pub const MAX_LEVELS: usize = 3;

/// The shape of the index blocks of a file system.
#[derive(Clone, Copy, Debug)]
pub struct DxFormat {
    /// Block size in bytes.
    pub block_size: u32,
    /// Whether blocks end with a checksum (`metadata_csum`).
    pub checksums: bool,
    /// Whether three levels of index blocks are allowed, rather than two (`large_dir`).
    pub large_dir: bool,
}

impl DxFormat {
    /// Bytes behind the room for pairs.
    #[inline]
    fn tail(&self) -> usize {
        if self.checksums {
            TAIL_LEN
        } else {
            0
        }
    }

    /// Pairs that fit a block from offset `start`.
    #[inline]
    fn limit(&self, start: usize) -> usize {
        (self.block_size as usize)
            .saturating_sub(start)
            .saturating_sub(self.tail())
            / PAIR_LEN
    }

    /// Pairs that the root (`is_root`) or another index block has room for, if it is this code or
    /// ext4 that has made it.
    #[inline]
    pub fn most_pairs(&self, is_root: bool) -> usize {
        self.limit(if is_root {
            size_of::<RawRoot>()
        } else {
            NODE_PAIRS
        })
    }

    /// Levels of index blocks, root included.
    #[inline]
    pub fn max_levels(&self) -> u8 {
        if self.large_dir {
            MAX_LEVELS as u8
        } else {
            2
        }
    }
}

/// What the root says about the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootInfo {
    /// The stored hash version: 0, 1, 2 or 6.
    pub hash_version: u8,
    /// Levels of interior nodes between root and leaves: 0 to 2.
    pub levels: u8,
}

/// The pairs of one index block.
#[derive(Clone, Copy, Debug)]
pub struct DxIndex<'a> {
    first: FileBlock,
    /// The pairs from the second on.
    rest: &'a [RawDxEntry],
}

impl<'a> DxIndex<'a> {
    /// Takes the pairs at `start` bytes, where there must be room for exactly `limit` of them.
    #[inline]
    fn at(bytes: &'a [u8], start: usize, limit: usize) -> Result<Self, DxError> {
        let rest = bytes.get(start..).unwrap_or_default();
        let Ok((head, _)) = RawCountLimit::ref_from_prefix(rest) else {
            return Err(DxError::Limit);
        };
        if usize::from(head.limit.get()) != limit {
            return Err(DxError::Limit);
        }
        let count = usize::from(head.count.get());
        if count > limit {
            return Err(DxError::Count);
        }
        let Ok((pairs, _)) = <[RawDxEntry]>::ref_from_prefix_with_elems(rest, count) else {
            return Err(DxError::Count);
        };
        let Some((first, rest)) = pairs.split_first() else {
            return Err(DxError::Count);
        };
        Ok(Self {
            first: first.block(),
            rest,
        })
    }

    /// Number of pairs, at least 1.
    #[inline]
    pub fn count(&self) -> usize {
        self.rest.len().wrapping_add(1)
    }

    /// Which pair leads to `hash`: the last whose hash is not above it.
    #[inline]
    pub fn search(&self, hash: u32) -> usize {
        partition_point(self.rest, |pair| pair.hash.get() <= hash)
    }

    /// Where pair `nr` leads; `None` beyond the last.
    #[inline]
    pub fn block(&self, nr: usize) -> Option<FileBlock> {
        match nr.checked_sub(1) {
            None => Some(self.first),
            Some(i) => self.rest.get(i).map(RawDxEntry::block),
        }
    }

    /// The hash of pair `nr` with its continuation mark in bit 0; `None` beyond the last, and for
    /// the first, whose hash is its parent's.
    #[inline]
    pub fn hash(&self, nr: usize) -> Option<u32> {
        self.rest
            .get(nr.checked_sub(1)?)
            .map(|pair| pair.hash.get())
    }

    /// Checks what a search relies on: hashes do not descend, and all blocks are below `end` and
    /// none is block 0, the root.
    fn check_pairs(&self, end: FileBlock) -> Result<(), DxError> {
        let mut last = 0u32;
        let check = |block: FileBlock| {
            if block >= end {
                Err(DxError::PastEnd)
            } else if block == FileBlock::ZERO {
                Err(DxError::Cycle)
            } else {
                Ok(())
            }
        };
        check(self.first)?;
        for pair in self.rest {
            check(pair.block())?;
            if pair.hash.get() < last {
                return Err(DxError::Order);
            }
            last = pair.hash.get();
        }
        Ok(())
    }
}

impl RawDxEntry {
    #[inline]
    fn block(&self) -> FileBlock {
        FileBlock::new(self.block.get() & BLOCK_MASK)
    }
}

/// Views block 0 of an indexed directory. The error says why the index cannot be used; the
/// directory can still be read block by block then.
#[inline]
pub fn root<'a>(bytes: &'a [u8], format: &DxFormat) -> Result<(RootInfo, DxIndex<'a>), DxError> {
    let Ok((root, _)) = RawRoot::ref_from_prefix(bytes) else {
        return Err(DxError::NotAnIndex);
    };
    let info = &root.info;
    // Versions 3 to 5 are for the superblock and for memory only.
    if !matches!(info.hash_version, 0..=2 | 6) {
        return Err(DxError::HashVersion);
    }
    if info.unused_flags & 1 != 0 {
        return Err(DxError::Flags);
    }
    if info.indirect_levels >= format.max_levels() {
        return Err(DxError::TooDeep);
    }
    if info.info_length < INFO_LEN {
        return Err(DxError::Limit);
    }
    let start = INFO_OFFSET.wrapping_add(info.info_length.into());
    let index = DxIndex::at(bytes, start, format.limit(start))?;
    let info = RootInfo {
        hash_version: info.hash_version,
        levels: info.indirect_levels,
    };
    Ok((info, index))
}

/// Views an interior node.
#[inline]
pub fn node<'a>(bytes: &'a [u8], format: &DxFormat) -> Result<DxIndex<'a>, DxError> {
    if !looks_like_node(bytes, format.block_size) {
        return Err(DxError::NotAnIndex);
    }
    DxIndex::at(bytes, NODE_PAIRS, format.limit(NODE_PAIRS))
}

/// Whether a block other than block 0 of an indexed directory is an interior node rather than a
/// leaf: one free record that covers all of it. With checksums no leaf looks like that, because
/// the last record of a leaf is its checksum.
#[inline]
pub fn looks_like_node(bytes: &[u8], block_size: u32) -> bool {
    match RawDirEntry::ref_from_prefix(bytes) {
        Ok((fake, _)) => {
            fake.inode.get() == 0 && decode_rec_len(fake.rec_len.get(), block_size) == block_size
        }
        Err(_) => false,
    }
}

/// Checks the checksum of the root (`is_root`) or of an interior node. `seed` is the directory's
/// inode seed.
///
/// Covered are the block up to and including the last pair in use, and the tail; the pairs
/// between count and limit are not.
pub fn verify_checksum(
    bytes: &[u8],
    is_root: bool,
    format: &DxFormat,
    seed: u32,
) -> Result<(), DxError> {
    let block_size = format.block_size;
    let start = if is_root {
        let Ok((root, _)) = RawRoot::ref_from_prefix(bytes) else {
            return Err(DxError::NotAnIndex);
        };
        let rest = block_size.saturating_sub(DOTDOT_OFFSET as u32);
        if usize::from(root.dot.rec_len.get()) != DOTDOT_OFFSET
            || decode_rec_len(root.dotdot.rec_len.get(), block_size) != rest
            || root.info.reserved_zero.get() != 0
            || root.info.info_length != INFO_LEN
        {
            return Err(DxError::NotAnIndex);
        }
        INFO_OFFSET.wrapping_add(INFO_LEN.into())
    } else {
        if !looks_like_node(bytes, block_size) {
            return Err(DxError::NotAnIndex);
        }
        NODE_PAIRS
    };
    let Ok((head, _)) = RawCountLimit::ref_from_prefix(bytes.get(start..).unwrap_or_default())
    else {
        return Err(DxError::NoTail);
    };
    let limit = pairs_end(start, head.limit.get());
    let tail = bytes.get(limit..).unwrap_or_default();
    let Ok((tail, _)) = RawDxTail::ref_from_prefix(tail) else {
        return Err(DxError::NoTail);
    };
    let Some(covered) = bytes.get(..pairs_end(start, head.count.get())) else {
        return Err(DxError::Count);
    };
    if sum(covered, tail, seed) == tail.checksum.get() {
        Ok(())
    } else {
        Err(DxError::Checksum)
    }
}

/// Where `n` pairs that begin at `start` end. 16-bit numbers of 8-byte pairs: nothing here can
/// overflow.
#[inline]
fn pairs_end(start: usize, n: u16) -> usize {
    usize::from(n).wrapping_mul(PAIR_LEN).wrapping_add(start)
}

fn sum(covered: &[u8], tail: &RawDxTail, seed: u32) -> u32 {
    let sum = crc32c(seed, covered);
    let sum = crc32c(sum, tail.reserved.as_bytes());
    crc32c(sum, &[0; 4])
}

/// What the checksum of an index block covers, where its tail is, in bytes, and the tail. The
/// block is one that has been verified.
fn parts(bytes: &[u8], is_root: bool) -> Option<(&[u8], usize, &RawDxTail)> {
    let start = if is_root {
        INFO_OFFSET.wrapping_add(INFO_LEN.into())
    } else {
        NODE_PAIRS
    };
    let (head, _) = RawCountLimit::ref_from_prefix(bytes.get(start..)?).ok()?;
    let at = pairs_end(start, head.limit.get());
    let (tail, _) = RawDxTail::ref_from_prefix(bytes.get(at..)?).ok()?;
    let covered = bytes.get(..pairs_end(start, head.count.get()))?;
    Some((covered, at, tail))
}

/// Where the checksum of the root (`is_root`) or of an interior node is, in bytes.
pub fn checksum_offset(bytes: &[u8], is_root: bool) -> Option<usize> {
    let (_, at, _) = parts(bytes, is_root)?;
    at.checked_add(core::mem::offset_of!(RawDxTail, checksum))
}

/// The checksum of the root (`is_root`) or of an interior node; `seed` is the directory's.
pub fn checksum(bytes: &[u8], is_root: bool, seed: u32) -> Option<u32> {
    let (covered, _, tail) = parts(bytes, is_root)?;
    Some(sum(covered, tail, seed))
}

/// Checks the root's structure, the order of its hashes, and that its blocks are below `end`, the
/// directory's size in blocks. The checksum is [`verify_checksum`]'s business.
pub fn verify_root(bytes: &[u8], format: &DxFormat, end: FileBlock) -> Result<(), DxError> {
    root(bytes, format)?.1.check_pairs(end)
}

/// As [`verify_root`], for an interior node.
pub fn verify_node(bytes: &[u8], format: &DxFormat, end: FileBlock) -> Result<(), DxError> {
    node(bytes, format)?.check_pairs(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: DxFormat = DxFormat {
        block_size: 1024,
        checksums: true,
        large_dir: false,
    };
    const END: FileBlock = FileBlock::new(100);

    fn put(block: &mut [u8], at: usize, bytes: &[u8]) {
        block[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn sample_root() -> Vec<u8> {
        let mut b = vec![0u8; 1024];
        put(&mut b, 0, &[12, 0, 0, 0, 12, 0, 1, 2, b'.']);
        put(&mut b, 12, &[2, 0, 0, 0, 0xf4, 3, 2, 2, b'.', b'.']);
        put(&mut b, 28, &[1, 8, 0, 0]);
        let limit = ((1024 - 32 - 8) / 8) as u16;
        put(&mut b, 32, &limit.to_le_bytes());
        put(&mut b, 34, &3u16.to_le_bytes());
        put(&mut b, 36, &1u32.to_le_bytes());
        for (i, (hash, block)) in [(0x1000u32, 2u32), (0x2001, 0xf000_0003)]
            .iter()
            .enumerate()
        {
            put(&mut b, 40 + i * 8, &hash.to_le_bytes());
            put(&mut b, 44 + i * 8, &block.to_le_bytes());
        }
        b
    }

    #[test]
    fn root_and_search() {
        let b = sample_root();
        let (info, index) = root(&b, &FORMAT).unwrap();
        assert_eq!((info.hash_version, info.levels), (1, 0));
        assert_eq!(index.count(), 3);
        for (hash, nr, block) in [(0, 0, 1), (0xfff, 0, 1), (0x1000, 1, 2), (0x2000, 1, 2)] {
            assert_eq!(index.search(hash), nr);
            assert_eq!(index.block(nr), Some(FileBlock::new(block)));
        }
        assert_eq!(index.search(0x2002), 2);
        assert_eq!(index.block(2), Some(FileBlock::new(3)));
        assert_eq!(index.block(3), None);
        assert_eq!(index.hash(0), None);
        assert_eq!(index.hash(2), Some(0x2001));
        assert_eq!(verify_root(&b, &FORMAT, END), Ok(()));
        assert_eq!(
            verify_root(&b, &FORMAT, FileBlock::new(3)),
            Err(DxError::PastEnd)
        );
    }

    #[test]
    fn root_damage() {
        let cases: [(usize, &[u8], DxError); 9] = [
            (28, &[3], DxError::HashVersion),
            (28, &[7], DxError::HashVersion),
            (29, &[0], DxError::Limit),
            (30, &[2], DxError::TooDeep),
            (31, &[1], DxError::Flags),
            (32, &[9, 0], DxError::Limit),
            (34, &[0, 0], DxError::Count),
            (34, &[200, 0], DxError::Count),
            (48, &[0, 8, 0, 0], DxError::Order),
        ];
        for (at, new, error) in cases {
            let mut b = sample_root();
            put(&mut b, at, new);
            assert_eq!(verify_root(&b, &FORMAT, END), Err(error), "{at}");
        }
        assert!(root(&[0; 20], &FORMAT).is_err());
    }

    #[test]
    fn checksum_covers_used_pairs_and_tail() {
        let mut b = sample_root();
        let mut sum = crc32c(5, &b[..32 + 3 * 8]);
        sum = crc32c(sum, &[0; 8]);
        put(&mut b, 1020, &sum.to_le_bytes());
        assert_eq!(verify_checksum(&b, true, &FORMAT, 5), Ok(()));
        assert_eq!(
            verify_checksum(&b, true, &FORMAT, 6),
            Err(DxError::Checksum)
        );
        b[100] = 1; // behind the pairs in use
        assert_eq!(verify_checksum(&b, true, &FORMAT, 5), Ok(()));
        b[1016] = 1; // the reserved word
        assert_eq!(
            verify_checksum(&b, true, &FORMAT, 5),
            Err(DxError::Checksum)
        );
        b[1016] = 0;
        put(&mut b, 32, &124u16.to_le_bytes());
        assert_eq!(verify_checksum(&b, true, &FORMAT, 5), Err(DxError::NoTail));
        assert_eq!(
            verify_checksum(&b, false, &FORMAT, 5),
            Err(DxError::NotAnIndex)
        );
    }

    #[test]
    fn interior_node() {
        let mut b = vec![0u8; 1024];
        put(&mut b, 4, &1024u16.to_le_bytes());
        put(&mut b, 8, &126u16.to_le_bytes());
        put(&mut b, 10, &1u16.to_le_bytes());
        put(&mut b, 12, &9u32.to_le_bytes());
        assert!(looks_like_node(&b, 1024));
        assert_eq!(node(&b, &FORMAT).unwrap().block(0), Some(FileBlock::new(9)));
        assert_eq!(verify_node(&b, &FORMAT, END), Ok(()));
        b[12] = 0;
        assert_eq!(verify_node(&b, &FORMAT, END), Err(DxError::Cycle));
        b[0] = 1;
        assert_eq!(verify_node(&b, &FORMAT, END), Err(DxError::NotAnIndex));
    }
}
