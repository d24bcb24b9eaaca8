// SPDX-License-Identifier: GPL-2.0

//! The journal's superblock, as far as a mount looks at it before jbd2 does.
//!
//! jbd2 owns the journal: it reads, checks and replays it. rext4 needs to know beforehand whether
//! there is anything to replay (`s_start` is not 0), and whether the journal uses fast commits:
//! jbd2 hands those to the file system, and a file system that does not take them would lose them
//! without a word. The checks are those of jbd2, so that what passes here loads there.
//!
//! All fields are big-endian. Format: `Documentation/filesystems/ext4/journal.rst`.

use crate::ondisk::raw::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};
use core::mem::{offset_of, size_of};
use zerocopy::big_endian::U32;

use super::crc::crc32c;

const MAGIC: u32 = 0xc03b_3998;
const BLOCKTYPE_V1: u32 = 3;
const BLOCKTYPE_V2: u32 = 4;
const CHECKSUM_CRC32C: u8 = 4;
/// Fewer blocks make no journal.
const MIN_BLOCKS: u32 = 1024;
/// Blocks for fast commits where the field is 0.
const DEFAULT_FC_BLOCKS: u32 = 256;

/// `s_feature_compat`: checksums of the first kind.
const COMPAT_CHECKSUM: u32 = 0x0001;
/// `s_feature_incompat`.
pub mod incompat {
    /// Revoke records exist.
    pub const REVOKE: u32 = 0x0001;
    /// Block numbers have 64 bits.
    pub const BIT64: u32 = 0x0002;
    /// Commit blocks are written without waiting.
    pub const ASYNC_COMMIT: u32 = 0x0004;
    /// Checksums of the second kind.
    pub const CSUM_V2: u32 = 0x0008;
    /// Checksums of the third kind.
    pub const CSUM_V3: u32 = 0x0010;
    /// There is an area for fast commits.
    pub const FAST_COMMIT: u32 = 0x0020;
    /// All that jbd2 knows.
    pub const KNOWN: u32 = REVOKE | BIT64 | ASYNC_COMMIT | CSUM_V2 | CSUM_V3 | FAST_COMMIT;
}

crate::corrupt_area! {
    /// Why a journal cannot be used.
    JournalError {
        Truncated = "journal superblock is cut short",
        NoSuperblock = "no valid journal superblock found",
        UnknownFormat = "unrecognised journal superblock format",
        TooShort = "journal file too short",
        BadFirst = "invalid start block of journal",
        UnknownFeatures = "unrecognised features on journal",
        ConflictingChecksums = "journal has checksums of several kinds at the same time",
        UnknownChecksumType = "unknown journal checksum type",
        BadChecksum = "journal checksum error" [checksum],
    }
}

/// The structure at the start of the journal.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct JournalSuper {
    magic: U32,
    blocktype: U32,
    header_sequence: U32,
    blocksize: U32,
    maxlen: U32,
    first: U32,
    sequence: U32,
    start: U32,
    errno: U32,
    feature_compat: U32,
    feature_incompat: U32,
    feature_ro_compat: U32,
    uuid: [u8; 16],
    nr_users: U32,
    dynsuper: U32,
    max_transaction: U32,
    max_trans_data: U32,
    checksum_type: u8,
    padding2: [u8; 3],
    num_fc_blks: U32,
    head: U32,
    padding: [u8; 160],
    checksum: U32,
    users: [u8; 768],
}

const _: () = assert!(size_of::<JournalSuper>() == 1024);
const _: () = assert!(offset_of!(JournalSuper, uuid) == 0x30);
const _: () = assert!(offset_of!(JournalSuper, checksum) == 0xfc);

impl JournalSuper {
    /// Verifies the superblock at the start of `bytes`, of a journal that has `blocks` blocks of
    /// `block_size` bytes (the size of the journal's file or device).
    ///
    /// Errors: [`JournalError`].
    pub fn verify(bytes: &[u8], block_size: u32, blocks: u32) -> Result<&Self, JournalError> {
        let (sb, _) = Self::ref_from_prefix(bytes).map_err(|_| JournalError::Truncated)?;
        if sb.magic.get() != MAGIC || sb.blocksize.get() != block_size {
            return Err(JournalError::NoSuperblock);
        }
        let v2 = match sb.blocktype.get() {
            BLOCKTYPE_V1 => false,
            BLOCKTYPE_V2 => true,
            _ => return Err(JournalError::UnknownFormat),
        };
        if sb.maxlen.get() > blocks {
            return Err(JournalError::TooShort);
        }
        if sb.first.get() == 0 || sb.first.get() >= blocks {
            return Err(JournalError::BadFirst);
        }
        if v2 {
            sb.verify_v2()?;
        }
        Ok(sb)
    }

    /// The fields that version 1 does not have.
    fn verify_v2(&self) -> Result<(), JournalError> {
        let incompat = self.feature_incompat.get();
        if self.feature_ro_compat.get() != 0 || incompat & !incompat::KNOWN != 0 {
            return Err(JournalError::UnknownFeatures);
        }
        let fc_blocks = if self.has_fast_commit() {
            self.fast_commit_blocks()
        } else {
            0
        };
        match self.maxlen.get().checked_sub(MIN_BLOCKS) {
            Some(rest) if rest >= fc_blocks => {}
            _ => return Err(JournalError::TooShort),
        }
        let v2 = incompat & incompat::CSUM_V2 != 0;
        let v3 = incompat & incompat::CSUM_V3 != 0;
        let v1 = self.feature_compat.get() & COMPAT_CHECKSUM != 0;
        if (v2 && v3) || (v1 && (v2 || v3)) {
            return Err(JournalError::ConflictingChecksums);
        }
        if v2 || v3 {
            if self.checksum_type != CHECKSUM_CRC32C {
                return Err(JournalError::UnknownChecksumType);
            }
            if self.compute_checksum() != self.checksum.get() {
                return Err(JournalError::BadChecksum);
            }
        }
        Ok(())
    }

    /// The checksum that belongs to the present contents, its own field counting as zero.
    fn compute_checksum(&self) -> u32 {
        let bytes = self.as_bytes();
        let at = offset_of!(Self, checksum);
        let csum = crc32c(!0, bytes.get(..at).unwrap_or(&[]));
        crc32c(
            crc32c(csum, &[0; 4]),
            bytes.get(at + size_of::<U32>()..).unwrap_or(&[]),
        )
    }

    /// Whether there are transactions to replay.
    #[inline]
    pub fn needs_recovery(&self) -> bool {
        self.start.get() != 0
    }

    /// The block where the log starts, 0 for an empty log.
    #[inline]
    pub fn start(&self) -> u32 {
        self.start.get()
    }

    /// The first transaction to expect there.
    #[inline]
    pub fn sequence(&self) -> u32 {
        self.sequence.get()
    }

    /// The first block of the log.
    #[inline]
    pub fn first(&self) -> u32 {
        self.first.get()
    }

    /// Blocks of the journal that are in use for it.
    #[inline]
    pub fn maxlen(&self) -> u32 {
        self.maxlen.get()
    }

    /// The error that made the last mount give up the journal, 0 for none.
    #[inline]
    pub fn errno(&self) -> i32 {
        self.errno.get() as i32
    }

    /// The journal's UUID; an external journal is found by it.
    #[inline]
    pub fn uuid(&self) -> &[u8; 16] {
        &self.uuid
    }

    /// File systems that share the journal; jbd2 supports one.
    #[inline]
    pub fn nr_users(&self) -> u32 {
        self.nr_users.get()
    }

    /// The incompat features ([`incompat`]), 0 for version 1.
    #[inline]
    pub fn incompat(&self) -> u32 {
        match self.blocktype.get() {
            BLOCKTYPE_V2 => self.feature_incompat.get(),
            _ => 0,
        }
    }

    /// Whether the journal has an area for fast commits. A journal that needs recovery and has
    /// one must not be replayed by a file system that cannot replay those.
    #[inline]
    pub fn has_fast_commit(&self) -> bool {
        self.incompat() & incompat::FAST_COMMIT != 0
    }

    /// Blocks of that area.
    #[inline]
    pub fn fast_commit_blocks(&self) -> u32 {
        match self.num_fc_blks.get() {
            0 => DEFAULT_FC_BLOCKS,
            n => n,
        }
    }
}
