// SPDX-License-Identifier: GPL-2.0

//! The block of multiple mount protection: who has the file system mounted for writing.
//!
//! The owner increases a sequence number every few seconds; who wants to mount watches whether it
//! moves. A read-only mount only needs to know that the block makes sense.
//!
//! Format: `Documentation/filesystems/ext4/mmp.rst`.

use crate::ondisk::raw::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};
use core::mem::{offset_of, size_of};
use zerocopy::little_endian::{U16, U32, U64};

use super::crc::crc32c;

const MAGIC: u32 = 0x004d_4d50;
const SEQ_CLEAN: u32 = 0xff4d_4d50;
const SEQ_FSCK: u32 = 0xe24d_4d50;
/// The highest sequence number of a mounted file system.
const SEQ_MAX: u32 = 0xe24d_4d4f;

/// Least and most seconds between two looks at the block.
pub const MIN_CHECK_INTERVAL: u16 = 5;
/// See [`MIN_CHECK_INTERVAL`].
pub const MAX_CHECK_INTERVAL: u16 = 300;

crate::corrupt_area! {
    /// Why the MMP block cannot be used.
    MmpError {
        Truncated = "MMP block is cut short",
        BadMagic = "MMP block: bad magic",
        BadChecksum = "MMP block: bad checksum" [checksum],
    }
}

/// What the sequence number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MmpState {
    /// Not mounted.
    Clean,
    /// e2fsck is, or was, at work.
    Fsck,
    /// Mounted, or crashed while mounted; the number increases while the owner lives.
    InUse(u32),
    /// A number that no one writes.
    Unknown(u32),
}

/// The structure at the start of the MMP block.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MmpBlock {
    magic: U32,
    seq: U32,
    time: U64,
    nodename: [u8; 64],
    bdevname: [u8; 32],
    check_interval: U16,
    pad1: U16,
    pad2: [u8; 904],
    checksum: U32,
}

const _: () = assert!(size_of::<MmpBlock>() == 1024);

impl MmpBlock {
    /// Verifies the block; `seed` is the file system's checksum seed, `None` without checksums.
    ///
    /// Errors: [`MmpError`].
    pub fn verify(seed: Option<u32>, bytes: &[u8]) -> Result<&Self, MmpError> {
        let (mmp, _) = Self::ref_from_prefix(bytes).map_err(|_| MmpError::Truncated)?;
        if mmp.magic.get() != MAGIC {
            return Err(MmpError::BadMagic);
        }
        if seed.is_some_and(|seed| mmp.compute_checksum(seed) != mmp.checksum.get()) {
            return Err(MmpError::BadChecksum);
        }
        Ok(mmp)
    }

    /// The checksum that belongs to the present contents.
    pub fn compute_checksum(&self, seed: u32) -> u32 {
        let covered = self
            .as_bytes()
            .get(..offset_of!(Self, checksum))
            .unwrap_or(&[]);
        crc32c(seed, covered)
    }

    /// What the sequence number says.
    pub fn state(&self) -> MmpState {
        match self.seq.get() {
            SEQ_CLEAN => MmpState::Clean,
            SEQ_FSCK => MmpState::Fsck,
            seq if seq <= SEQ_MAX => MmpState::InUse(seq),
            seq => MmpState::Unknown(seq),
        }
    }

    /// When the block was last written, in seconds since 1970.
    #[inline]
    pub fn time(&self) -> u64 {
        self.time.get()
    }

    /// The host that last wrote the block, without padding.
    pub fn nodename(&self) -> &[u8] {
        self.nodename.split(|b| *b == 0).next().unwrap_or(&[])
    }

    /// The device's name on that host, without padding.
    pub fn bdevname(&self) -> &[u8] {
        self.bdevname.split(|b| *b == 0).next().unwrap_or(&[])
    }

    /// Seconds that a reader should wait for the number to move, as stored.
    #[inline]
    pub fn check_interval(&self) -> u16 {
        self.check_interval.get()
    }
}
