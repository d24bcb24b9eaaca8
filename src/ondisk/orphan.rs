// SPDX-License-Identifier: GPL-2.0

//! Blocks of the orphan file: inodes that have lost their last link, or are being truncated, and
//! must be dealt with after a crash.
//!
//! With the `orphan_file` feature, the file `s_orphan_file_inum` takes the place of the list that
//! runs through `s_last_orphan` and `i_dtime`. Each of its blocks is an array of inode numbers
//! (0 for a free slot) and a tail with a magic number and a checksum. The checksum is seeded with
//! the orphan inode's seed and the physical block number.
//!
//! Format: `Documentation/filesystems/ext4/orphan.rst`.

use crate::ondisk::raw::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};
use core::mem::size_of;
use zerocopy::little_endian::U32;

use super::crc::crc32c;
use super::{FsBlock, Geometry, Ino};

/// The most blocks that an orphan file may have. An artificial limit: its blocks are held in
/// memory while the file system is mounted.
pub const MAX_FILE_BLOCKS: u32 = 512;

const MAGIC: u32 = 0x0b10_ca04;

crate::corrupt_area! {
    /// Why the orphan file cannot be used.
    OrphanError {
        Truncated = "orphan file block is cut short",
        TooBig = "orphan file too big",
        BadMagic = "orphan file block: bad magic",
        BadChecksum = "orphan file block: bad checksum" [checksum],
        BadInode = "bad orphan inode number",
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Tail {
    magic: U32,
    checksum: U32,
}

const _: () = assert!(size_of::<Tail>() == 8);

/// A verified block of the orphan file.
#[derive(Clone, Copy)]
pub struct OrphanBlock<'a> {
    slots: &'a [U32],
}

/// The number of blocks of an orphan file of `size` bytes.
///
/// Errors: [`OrphanError::TooBig`].
pub fn file_blocks(geo: &Geometry, size: u64) -> Result<u32, OrphanError> {
    match u32::try_from(size.wrapping_shr(geo.block_bits())) {
        Ok(blocks) if blocks <= MAX_FILE_BLOCKS => Ok(blocks),
        _ => Err(OrphanError::TooBig),
    }
}

/// Slots in a block of the orphan file.
#[inline]
pub fn slots_per_block(geo: &Geometry) -> u32 {
    geo.block_size().saturating_sub(size_of::<Tail>() as u32) / size_of::<U32>() as u32
}

impl<'a> OrphanBlock<'a> {
    /// Verifies a block; `seed` is the orphan inode's checksum seed, `None` without checksums.
    ///
    /// Errors: [`OrphanError`].
    pub fn verify(seed: Option<u32>, block: FsBlock, bytes: &'a [u8]) -> Result<Self, OrphanError> {
        let at = tail_offset(bytes).ok_or(OrphanError::Truncated)?;
        let (slots, tail) = bytes.split_at_checked(at).ok_or(OrphanError::Truncated)?;
        let tail = Tail::ref_from_bytes(tail).map_err(|_| OrphanError::Truncated)?;
        if tail.magic.get() != MAGIC {
            return Err(OrphanError::BadMagic);
        }
        if seed.is_some_and(|seed| numbered(seed, block, slots) != tail.checksum.get()) {
            return Err(OrphanError::BadChecksum);
        }
        let slots = <[U32]>::ref_from_bytes(slots).map_err(|_| OrphanError::Truncated)?;
        Ok(Self { slots })
    }

    /// What is in the slots that are used, with their numbers. It may be no inode's number.
    pub fn used(self) -> impl Iterator<Item = (u32, u32)> + 'a {
        // A range with an end: one without would check for overflow at every step.
        (0..u32::MAX)
            .zip(self.slots)
            .map(|(slot, ino)| (slot, ino.get()))
            .filter(|(_, ino)| *ino != 0)
    }

    /// The orphans with the numbers of their slots. A number that no inode can have is passed on
    /// as an error in its place, so that the others can be dealt with.
    pub fn orphans(
        self,
        geo: &'a Geometry,
    ) -> impl Iterator<Item = (u32, Result<Ino, OrphanError>)> + 'a {
        self.used().map(|(slot, ino)| {
            let ino = geo.check_ino(ino).filter(|ino| !geo.is_special_ino(*ino));
            (slot, ino.ok_or(OrphanError::BadInode))
        })
    }

    /// The number of free slots.
    pub fn free_slots(self) -> usize {
        let free = self.slots.iter().filter(|ino| ino.get() == 0);
        // `count` would check for overflow.
        free.fold(0usize, |n, _| n.wrapping_add(1))
    }
}

fn numbered(seed: u32, block: FsBlock, slots: &[u8]) -> u32 {
    crc32c(crc32c(seed, &block.get().to_le_bytes()), slots)
}

/// The checksum of a block of the orphan file; `seed` has taken in the block's number. `None` for
/// bytes that are no such block.
pub fn checksum(bytes: &[u8], seed: u32) -> Option<u32> {
    checksum_offset(bytes)?;
    Some(crc32c(seed, bytes.get(..tail_offset(bytes)?)?))
}

/// Where the checksum of a block of the orphan file is, in bytes; `None` for bytes that are no
/// such block.
pub fn checksum_offset(bytes: &[u8]) -> Option<usize> {
    let at = tail_offset(bytes)?;
    let (tail, _) = Tail::ref_from_prefix(bytes.get(at..)?).ok()?;
    (tail.magic.get() == MAGIC).then_some(at.saturating_add(4))
}

/// Where the tail of a block begins.
#[inline]
pub(super) fn tail_offset(bytes: &[u8]) -> Option<usize> {
    bytes.len().checked_sub(size_of::<Tail>())
}

/// Stores the checksum of the block's present contents.
pub fn update_checksum(seed: u32, block: FsBlock, bytes: &mut [u8]) {
    let halves = tail_offset(bytes).and_then(|at| bytes.split_at_mut_checked(at));
    if let Some((slots, tail)) = halves {
        if let Ok(tail) = Tail::mut_from_bytes(tail) {
            tail.checksum = numbered(seed, block, slots).into();
        }
    }
}
