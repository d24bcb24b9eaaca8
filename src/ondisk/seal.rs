// SPDX-License-Identifier: GPL-2.0

//! Checksums of blocks that have been changed.
//!
//! [`Seal`] says how a block ends up with the right checksum. [`Seal::close`] computes it on the
//! spot. With a journal it is enough to do that once per commit, on the bytes that go to the log:
//! [`Seal::defer`] leaves the seed in the checksum's place when the block is changed, and
//! [`Seal::settle`], which knows the block's kind only, replaces it by the checksum then. The
//! inode that the seed came from may be gone by that time.
//!
//! Nothing here fails: a block that does not have the shape that its seal supposes (which its
//! verification excludes) is left alone, and its next reader finds it damaged.

use super::{dir, dx, extent, orphan, xattr, FsBlock};

/// Which kind of checksum a block has, and what it begins with (the inode's seed, for attributes
/// the file system's with the block's number, for orphans the orphan file's with it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    /// None: the file system has no metadata checksums, or the block is a file's contents.
    Plain,
    /// A node of an extent tree.
    Extent(u32),
    /// A directory's leaf, or one of its blocks read from front to back.
    DirLeaf(u32),
    /// Block 0 of an indexed directory.
    DxRoot(u32),
    /// Another block of a directory's index.
    DxNode(u32),
    /// Attributes; the number has been taken into the seed, see [`Seal::xattr`].
    Xattr(u32),
    /// A block of the orphan file; the number has been taken into the seed, see [`Seal::orphan`].
    Orphan(u32),
}

/// A [`Seal`] without its seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealKind {
    /// See [`Seal::Extent`].
    Extent,
    /// See [`Seal::DirLeaf`].
    DirLeaf,
    /// See [`Seal::DxRoot`].
    DxRoot,
    /// See [`Seal::DxNode`].
    DxNode,
    /// See [`Seal::Xattr`].
    Xattr,
    /// See [`Seal::Orphan`].
    Orphan,
}

impl Seal {
    /// The seal of an attribute block, physical block `number`; `seed` is the file system's
    /// (`Geometry::csum_seed`).
    pub fn xattr(seed: Option<u32>, number: FsBlock) -> Self {
        seed.map_or(Self::Plain, |seed| Self::Xattr(with_number(seed, number)))
    }

    /// The seal of the orphan file's physical block `number`; `seed` is the orphan file's inode's.
    /// It is the same for as long as the file system is mounted, so it can be kept.
    pub fn orphan(seed: Option<u32>, number: FsBlock) -> Self {
        seed.map_or(Self::Plain, |seed| Self::Orphan(with_number(seed, number)))
    }

    /// Its kind and its seed; `None` for a block without a checksum.
    #[inline]
    pub fn parts(self) -> Option<(SealKind, u32)> {
        Some(match self {
            Self::Plain => return None,
            Self::Extent(seed) => (SealKind::Extent, seed),
            Self::DirLeaf(seed) => (SealKind::DirLeaf, seed),
            Self::DxRoot(seed) => (SealKind::DxRoot, seed),
            Self::DxNode(seed) => (SealKind::DxNode, seed),
            Self::Xattr(seed) => (SealKind::Xattr, seed),
            Self::Orphan(seed) => (SealKind::Orphan, seed),
        })
    }

    /// Stores the checksum of the block's present contents.
    pub fn close(self, bytes: &mut [u8]) {
        if let Some((kind, seed)) = self.parts() {
            if let Some(sum) = kind.checksum(bytes, seed) {
                kind.store(bytes, sum);
            }
        }
    }

    /// Leaves the seed in the checksum's place, for [`SealKind::settle`].
    pub fn defer(self, bytes: &mut [u8]) {
        if let Some((kind, seed)) = self.parts() {
            kind.store(bytes, seed);
        }
    }
}

/// A seed that a block's number has been taken into.
fn with_number(seed: u32, number: FsBlock) -> u32 {
    super::crc::crc32c(seed, &number.get().to_le_bytes())
}

impl SealKind {
    /// Replaces the seed that [`Seal::defer`] has left by the checksum.
    pub fn settle(self, bytes: &mut [u8]) {
        let sum = self
            .place(bytes)
            .map(|place| u32::from_le_bytes(*place))
            .and_then(|seed| self.checksum(bytes, seed));
        if let Some(sum) = sum {
            self.store(bytes, sum);
        }
    }

    fn store(self, bytes: &mut [u8], value: u32) {
        if let Some(place) = self.place(bytes) {
            *place = value.to_le_bytes();
        }
    }

    /// Where the checksum is.
    fn place(self, bytes: &mut [u8]) -> Option<&mut [u8; 4]> {
        let at = match self {
            Self::Extent => extent::checksum_offset(bytes)?,
            Self::DirLeaf => dir::checksum_offset(bytes)?,
            Self::DxRoot => dx::checksum_offset(bytes, true)?,
            Self::DxNode => dx::checksum_offset(bytes, false)?,
            Self::Xattr => xattr::CHECKSUM_OFFSET,
            Self::Orphan => orphan::checksum_offset(bytes)?,
        };
        bytes.get_mut(at..)?.first_chunk_mut()
    }

    /// The checksum of the block's present contents.
    fn checksum(self, bytes: &[u8], seed: u32) -> Option<u32> {
        match self {
            Self::Extent => extent::checksum(bytes, seed),
            Self::DirLeaf => dir::checksum(bytes, seed),
            Self::DxRoot => dx::checksum(bytes, true, seed),
            Self::DxNode => dx::checksum(bytes, false, seed),
            Self::Xattr => Some(xattr::checksum(bytes, seed)),
            Self::Orphan => orphan::checksum(bytes, seed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ondisk::bounds::BlockBounds;

    struct Any;

    impl BlockBounds for Any {
        fn check_run(&self, first: u64, _: u32) -> Option<FsBlock> {
            Some(FsBlock::new(first))
        }
    }

    fn put(block: &mut [u8], at: usize, bytes: &[u8]) {
        block[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn extent_node() -> Vec<u8> {
        let mut b = vec![0u8; 1024];
        put(&mut b, 0, &[0x0a, 0xf3, 1, 0, 84, 0, 0, 0]);
        put(&mut b, 12, &[7, 0, 0, 0, 3, 0, 0, 0, 100, 0, 0, 0]);
        b
    }

    fn leaf() -> Vec<u8> {
        let mut b = vec![0u8; 1024];
        put(&mut b, 4, &1012u16.to_le_bytes());
        put(&mut b, 1012, &[0, 0, 0, 0, 12, 0, 0, 0xde]);
        b
    }

    fn dx_node() -> Vec<u8> {
        let mut b = vec![0u8; 1024];
        put(&mut b, 4, &1024u16.to_le_bytes());
        put(&mut b, 8, &[126, 0, 1, 0, 1, 0, 0, 0]);
        b
    }

    fn dx_root() -> Vec<u8> {
        let mut b = vec![0u8; 1024];
        put(&mut b, 0, &[12, 0, 0, 0, 12, 0, 1, 2, b'.']);
        put(&mut b, 12, &[2, 0, 0, 0, 0xf4, 3, 2, 2, b'.', b'.']);
        put(&mut b, 28, &[1, 8, 0, 0, 123, 0, 1, 0, 1, 0, 0, 0]);
        b
    }

    fn xattrs() -> Vec<u8> {
        let mut b = vec![0u8; 1024];
        put(&mut b, 0, &xattr::MAGIC.to_le_bytes());
        put(&mut b, 4, &[1, 0, 0, 0, 1]);
        b
    }

    fn orphans() -> Vec<u8> {
        let mut b = vec![0u8; 1024];
        put(&mut b, 8, &[99, 0, 0, 0]);
        put(&mut b, 1016, &0x0b10_ca04u32.to_le_bytes());
        b
    }

    fn verify(seal: Seal, bytes: &[u8]) -> bool {
        let dx_format = dx::DxFormat {
            block_size: 1024,
            checksums: true,
            large_dir: false,
        };
        match seal {
            Seal::Plain => true,
            Seal::Extent(seed) => extent::verify_block(bytes, Some(seed), &Any).is_ok(),
            Seal::DirLeaf(seed) => dir::verify_checksum(bytes, seed).is_ok(),
            Seal::DxRoot(seed) => dx::verify_checksum(bytes, true, &dx_format, seed).is_ok(),
            Seal::DxNode(seed) => dx::verify_checksum(bytes, false, &dx_format, seed).is_ok(),
            Seal::Xattr(seed) => {
                xattr::header(bytes).unwrap().checksum.get() == xattr::checksum(bytes, seed)
            }
            Seal::Orphan(_) => {
                orphan::OrphanBlock::verify(Some(5), FsBlock::new(99), bytes).is_ok()
            }
        }
    }

    #[test]
    fn closed_at_once_or_later_is_the_same_and_verifies() {
        let seed = 0x1234_5678;
        for (seal, block) in [
            (Seal::Extent(seed), extent_node()),
            (Seal::DirLeaf(seed), leaf()),
            (Seal::DxRoot(seed), dx_root()),
            (Seal::DxNode(seed), dx_node()),
            (Seal::xattr(Some(seed), FsBlock::new(99)), xattrs()),
            (Seal::orphan(Some(5), FsBlock::new(99)), orphans()),
        ] {
            let (mut at_once, mut later) = (block.clone(), block.clone());
            seal.close(&mut at_once);
            assert!(verify(seal, &at_once), "{seal:?}");
            seal.defer(&mut later);
            assert!(!verify(seal, &later), "{seal:?}");
            seal.parts().unwrap().0.settle(&mut later);
            assert_eq!(at_once, later, "{seal:?}");
            let changed = (0..block.len()).filter(|&i| block[i] != later[i]);
            assert!(changed.count() <= 4, "{seal:?}");
        }
    }

    #[test]
    fn attribute_seal_takes_in_the_number() {
        let mut block = xattrs();
        let number = FsBlock::new(0x1_0000_0001);
        Seal::xattr(Some(7), number).close(&mut block);
        let stored = xattr::header(&block).unwrap().checksum.get();
        assert_eq!(stored, xattr::block_checksum(&block, number, 7));
        assert_eq!(Seal::xattr(None, number), Seal::Plain);
    }

    #[test]
    fn shapeless_blocks_are_left_alone() {
        for len in [0, 3, 11, 12, 40, 1024] {
            for seal in [
                Seal::Plain,
                Seal::Extent(1),
                Seal::DirLeaf(1),
                Seal::DxRoot(1),
                Seal::DxNode(1),
                Seal::Orphan(1),
            ] {
                let mut block = vec![0xffu8; len];
                seal.close(&mut block);
                seal.defer(&mut block);
                assert!(block.iter().all(|&b| b == 0xff), "{seal:?} {len}");
            }
        }
    }
}
