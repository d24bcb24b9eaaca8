// SPDX-License-Identifier: GPL-2.0

//! A look through a journal's log before jbd2 replays it.
//!
//! jbd2 trusts a log in two ways that a damaged or hostile one can abuse. Its walk ends where the
//! log ends, and nothing else ends it: a log whose blocks lead round in a circle keeps the mount
//! busy for ever. And it writes each block to wherever its tag says, also over the log itself or
//! the journal's superblock, after which nothing that was checked before holds.
//!
//! So the log is walked here first, over the same blocks in the same way (only headers and tags
//! are looked at: checksums of the data and commit blocks, revoke records and the replay itself
//! are jbd2's business). What passes has an end within the length of the log, and no transaction
//! of it writes to the journal or beyond the device; hence the walk that jbd2 then does is this
//! one, and ends.
//!
//! A transaction without a commit block is not replayed, so what its tags say does not matter; nor
//! does it when a descriptor's checksum is wrong, which is how blocks of an older file system on
//! the same device look where mkfs left them alone.
//!
//! Format: `Documentation/filesystems/ext4/journal.rst`.

use core::mem::size_of;
use zerocopy::big_endian::{U16, U32};

use crate::ondisk::crc::crc32c;
use crate::ondisk::journal::{incompat, JournalSuper};
use crate::ondisk::raw::{FromBytes, Immutable, KnownLayout, Unaligned};

const MAGIC: u32 = 0xc03b_3998;
const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
const REVOKE: u32 = 5;
/// Fewer blocks from the first one on make no log.
const MIN_BLOCKS: u32 = 1024;

/// Tag flags: the tag has no UUID behind it; it is the last one.
const SAME_UUID: u16 = 0x2;
const LAST_TAG: u16 = 0x8;
/// Size of the UUID that follows a tag without `SAME_UUID`, in bytes.
const UUID_SIZE: usize = 16;
/// Size of the checksum at the end of a descriptor block, in bytes.
const TAIL_SIZE: usize = 4;

crate::corrupt_area! {
    /// Why a log must not be replayed.
    LogError {
        Truncated = "journal block is cut short",
        TooShort = "journal is too short",
        BadStart = "journal's log starts outside of it",
        Endless = "journal's log has no end",
        WritesItself = "journal would overwrite itself",
        BeyondDevice = "journal would write beyond the end of the device",
    }
}

/// What descriptor, commit and revoke blocks begin with.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    magic: U32,
    blocktype: U32,
    sequence: U32,
}

/// The part of a tag that all its forms have in common; `flags` is the lower half of a wider
/// field in one of them.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Tag {
    block: U32,
    checksum: U16,
    flags: U16,
}

const _: () = assert!(size_of::<Header>() == 12);
const _: () = assert!(size_of::<Tag>() == 8);

/// A walk through a log.
///
/// Positions are blocks of the journal, counted from its start.
pub struct LogScan {
    /// The log is `first..end`; the walk wraps around.
    first: u32,
    end: u32,
    block_size: usize,
    /// Size of a tag in bytes.
    tag_size: usize,
    wide: bool,
    /// What checksums of descriptor blocks start from.
    csum_seed: Option<u32>,
    device_blocks: u64,
    /// The next block to look at.
    position: u32,
    /// Blocks walked over.
    walked: u32,
    /// The transaction that the next block must belong to.
    sequence: u32,
    /// The block before ended that transaction.
    committed: bool,
    /// A descriptor block failed its checksum: the next commit block ends the walk.
    stale: bool,
    /// A commit block may have failed its checksum: nothing from here on is replayed.
    dead: bool,
    /// What is wrong with the transaction, should it be committed.
    wrong: Option<LogError>,
}

impl LogScan {
    /// A walk through the log that `sb` describes, of blocks of `block_size` bytes; `None` when
    /// the log is empty. `device_blocks` is the size of the file system's device in blocks.
    ///
    /// Errors: [`LogError`] when the log is not inside the journal.
    pub fn new(
        sb: &JournalSuper,
        block_size: u32,
        device_blocks: u64,
    ) -> Result<Option<Self>, LogError> {
        let first = sb.first();
        let mut end = sb.maxlen();
        if sb.has_fast_commit() {
            end = end.saturating_sub(sb.fast_commit_blocks());
        }
        // jbd2 checks the length after the replay, when it is too late to refuse it.
        if end.saturating_sub(first) < MIN_BLOCKS.saturating_sub(1) {
            return Err(LogError::TooShort);
        }
        if !sb.needs_recovery() {
            return Ok(None);
        }
        if sb.start() < first || sb.start() >= end {
            return Err(LogError::BadStart);
        }
        let features = sb.incompat();
        let wide = features & incompat::BIT64 != 0;
        let tag_size = if features & incompat::CSUM_V3 != 0 {
            16
        } else {
            let csum = if features & incompat::CSUM_V2 != 0 {
                2
            } else {
                0
            };
            if wide {
                12 + csum
            } else {
                8 + csum
            }
        };
        let has_csum = features & (incompat::CSUM_V2 | incompat::CSUM_V3) != 0;
        Ok(Some(Self {
            first,
            end,
            block_size: usize::try_from(block_size).map_err(|_| LogError::Truncated)?,
            tag_size,
            wide,
            csum_seed: has_csum.then(|| crc32c(!0, sb.uuid())),
            device_blocks,
            position: sb.start(),
            walked: 0,
            sequence: sb.sequence(),
            committed: false,
            stale: false,
            dead: false,
            wrong: None,
        }))
    }

    /// The block that [`step`](Self::step) wants to see next, inside the log.
    pub fn position(&self) -> u32 {
        self.position
    }

    /// Looks at the block at [`position`](Self::position); `false` when the log ends with it.
    /// `is_journal` says whether a block of the device belongs to the journal.
    ///
    /// Errors: [`LogError`] when jbd2 must not see this log.
    pub fn step(
        &mut self,
        block: &[u8],
        is_journal: impl FnMut(u64) -> bool,
    ) -> Result<bool, LogError> {
        let block = block.get(..self.block_size).ok_or(LogError::Truncated)?;
        let (header, _) = Header::ref_from_prefix(block).map_err(|_| LogError::Truncated)?;
        self.advance(1)?;
        if header.magic.get() != MAGIC || !self.follows(header.sequence.get()) {
            return Ok(false);
        }
        match header.blocktype.get() {
            DESCRIPTOR => {
                self.stale |= !self.checksum_matches(block);
                let tags = self.walk_tags(block, is_journal);
                self.advance(tags)?;
                Ok(true)
            }
            COMMIT if self.stale => Ok(false),
            COMMIT => {
                self.committed = true;
                self.wrong.map_or(Ok(true), Err)
            }
            REVOKE => Ok(true),
            _ => Ok(false),
        }
    }

    /// Whether a block of transaction `sequence` continues the walk.
    ///
    /// After a commit block comes the next transaction. But a commit block with a wrong checksum
    /// makes jbd2 walk on (though it will not replay anything from there on), and then blocks of
    /// the same number continue the walk, too.
    fn follows(&mut self, sequence: u32) -> bool {
        if self.committed {
            self.committed = false;
            if sequence == self.sequence.wrapping_add(1) {
                self.sequence = sequence;
                self.wrong = None;
                return true;
            }
            self.dead = true;
        }
        sequence == self.sequence
    }

    /// Moves on by `blocks`, around the end of the log if need be.
    fn advance(&mut self, blocks: u32) -> Result<(), LogError> {
        let length = self.end.saturating_sub(self.first);
        self.walked = self.walked.saturating_add(blocks);
        // All transactions together fit the log; the block after them may be looked at, too.
        if self.walked > length.saturating_add(1) {
            return Err(LogError::Endless);
        }
        let next = self.position.saturating_add(blocks);
        self.position = if next >= self.end {
            next.saturating_sub(length)
        } else {
            next
        };
        if self.position < self.first || self.position >= self.end {
            // `blocks` was a whole round and one more.
            return Err(LogError::Endless);
        }
        Ok(())
    }

    fn checksum_matches(&self, block: &[u8]) -> bool {
        let Some(seed) = self.csum_seed else {
            return true;
        };
        let Some((covered, tail)) = block.split_last_chunk::<TAIL_SIZE>() else {
            return false;
        };
        let csum = crc32c(crc32c(seed, covered), &[0; TAIL_SIZE]);
        csum == u32::from_be_bytes(*tail)
    }

    /// The number of tags in a descriptor block, each of which stands for one block of the log
    /// behind it. Notes targets that are out of bounds.
    fn walk_tags(&mut self, block: &[u8], mut is_journal: impl FnMut(u64) -> bool) -> u32 {
        let tail = if self.csum_seed.is_some() {
            TAIL_SIZE
        } else {
            0
        };
        let mut rest = block
            .get(size_of::<Header>()..block.len().saturating_sub(tail))
            .unwrap_or(&[]);
        let mut count = 0u32;
        // Each round consumes `tag_size` bytes, 8 at least.
        while let Some((tag, behind)) = rest.split_at_checked(self.tag_size) {
            let Ok((fields, high)) = Tag::ref_from_prefix(tag) else {
                break;
            };
            count = count.saturating_add(1);
            let mut target = u64::from(fields.block.get());
            if self.wide {
                if let Some(high) = high.first_chunk::<4>() {
                    target |= u64::from(u32::from_be_bytes(*high)) << 32;
                }
            }
            if target >= self.device_blocks {
                self.note(LogError::BeyondDevice);
            } else if is_journal(target) {
                self.note(LogError::WritesItself);
            }
            let flags = fields.flags.get();
            if flags & LAST_TAG != 0 {
                break;
            }
            let skip = if flags & SAME_UUID == 0 { UUID_SIZE } else { 0 };
            rest = behind.get(skip..).unwrap_or(&[]);
        }
        count
    }

    /// Notes what is wrong with the present transaction, unless it is not replayed.
    fn note(&mut self, what: LogError) {
        if !self.stale && !self.dead {
            self.wrong = self.wrong.or(Some(what));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BS: usize = 1024;
    const FIRST: u32 = 1;
    const MAXLEN: u32 = 1100;
    const LENGTH: u32 = MAXLEN - FIRST;
    const DEVICE: u64 = 1 << 20;
    /// Where the journal is: `JOURNAL..JOURNAL + MAXLEN`.
    const JOURNAL: u64 = 5000;

    #[derive(Clone, Copy)]
    struct Format {
        incompat: u32,
    }

    const PLAIN: Format = Format { incompat: 0 };
    const WIDE: Format = Format {
        incompat: incompat::BIT64,
    };
    const CSUM2: Format = Format {
        incompat: incompat::CSUM_V2,
    };
    const CSUM2_WIDE: Format = Format {
        incompat: incompat::CSUM_V2 | incompat::BIT64,
    };
    const CSUM3: Format = Format {
        incompat: incompat::CSUM_V3 | incompat::BIT64,
    };
    const ALL: [Format; 5] = [PLAIN, WIDE, CSUM2, CSUM2_WIDE, CSUM3];
    const UUID: [u8; 16] = *b"the journal's id";

    /// A journal in memory: block 0 is its superblock.
    struct Log {
        blocks: Vec<[u8; BS]>,
        format: Format,
        at: u32,
        start: u32,
        sequence: u32,
    }

    impl Log {
        fn new(format: Format, start: u32, sequence: u32) -> Self {
            Self {
                blocks: vec![[0; BS]; MAXLEN as usize],
                format,
                at: start,
                start,
                sequence,
            }
        }

        fn put(&mut self, block: [u8; BS]) {
            self.blocks[self.at as usize] = block;
            self.at += 1;
            if self.at == MAXLEN {
                self.at = FIRST;
            }
        }

        fn header(kind: u32, sequence: u32) -> [u8; BS] {
            let mut b = [0; BS];
            b[0..4].copy_from_slice(&MAGIC.to_be_bytes());
            b[4..8].copy_from_slice(&kind.to_be_bytes());
            b[8..12].copy_from_slice(&sequence.to_be_bytes());
            b
        }

        fn seal(&self, b: &mut [u8; BS]) {
            if self.format.incompat & (incompat::CSUM_V2 | incompat::CSUM_V3) != 0 {
                b[BS - 4..].fill(0);
                let csum = crc32c(crc32c(!0, &UUID), b);
                b[BS - 4..].copy_from_slice(&csum.to_be_bytes());
            }
        }

        /// A descriptor block for `targets`, and a block of data for each.
        fn descriptor(&mut self, sequence: u32, targets: &[u64]) {
            let mut b = Self::header(DESCRIPTOR, sequence);
            let mut at = 12;
            for (i, t) in targets.iter().enumerate() {
                let mut flags = if i == 0 { 0 } else { SAME_UUID };
                if i + 1 == targets.len() {
                    flags |= LAST_TAG;
                }
                b[at..at + 4].copy_from_slice(&(*t as u32).to_be_bytes());
                b[at + 6..at + 8].copy_from_slice(&flags.to_be_bytes());
                let mut size = 8;
                if self.format.incompat & incompat::BIT64 != 0 {
                    b[at + 8..at + 12].copy_from_slice(&((*t >> 32) as u32).to_be_bytes());
                    size = 12;
                }
                if self.format.incompat & incompat::CSUM_V2 != 0 {
                    size += 2;
                }
                if self.format.incompat & incompat::CSUM_V3 != 0 {
                    size = 16;
                }
                at += size;
                if i == 0 {
                    at += 16;
                }
            }
            self.seal(&mut b);
            self.put(b);
            for _ in targets {
                self.put([0xda; BS]);
            }
        }

        fn commit(&mut self, sequence: u32) {
            self.put(Self::header(COMMIT, sequence));
        }

        fn super_bytes(&self) -> [u8; BS] {
            let mut b = [0; BS];
            let csum = self.format.incompat & (incompat::CSUM_V2 | incompat::CSUM_V3) != 0;
            for (at, value) in [
                (0, MAGIC),
                (4, 4),
                (12, BS as u32),
                (16, MAXLEN),
                (20, FIRST),
                (24, self.sequence),
                (28, self.start),
                (40, self.format.incompat | incompat::REVOKE),
            ] {
                b[at..at + 4].copy_from_slice(&value.to_be_bytes());
            }
            b[48..64].copy_from_slice(&UUID);
            if csum {
                b[80] = 4;
                let csum = crc32c(!0, &b);
                b[0xfc..0x100].copy_from_slice(&csum.to_be_bytes());
            }
            b
        }

        /// Walks the log; the number of blocks that were looked at.
        fn scan(&self) -> Result<u32, LogError> {
            let sb = self.super_bytes();
            let sb = JournalSuper::verify(&sb, BS as u32, MAXLEN).unwrap();
            let mut scan = LogScan::new(sb, BS as u32, DEVICE)?.expect("a log");
            let mut looked = 0;
            loop {
                let block = &self.blocks[scan.position() as usize];
                looked += 1;
                assert!(looked <= LENGTH + 2, "the walk is bounded");
                let more = scan.step(block, |b| {
                    (JOURNAL..JOURNAL + u64::from(MAXLEN)).contains(&b)
                })?;
                if !more {
                    return Ok(looked);
                }
            }
        }
    }

    #[test]
    fn walks_every_format_to_its_end() {
        for format in ALL {
            for start in [FIRST, 700, MAXLEN - 3] {
                let mut log = Log::new(format, start, 7);
                log.descriptor(7, &[100, 101, 102]);
                log.descriptor(7, &[200]);
                log.commit(7);
                log.descriptor(8, &[300, 301]);
                log.put(Log::header(REVOKE, 8));
                log.commit(8);
                // Descriptors, revokes, commits, and the block that ends the walk.
                assert_eq!(log.scan(), Ok(7));
            }
        }
    }

    #[test]
    fn a_full_log_has_an_end() {
        let mut log = Log::new(PLAIN, 500, 1);
        for sequence in 1..=LENGTH / 3 {
            log.descriptor(sequence, &[100]);
            log.commit(sequence);
        }
        assert_eq!(LENGTH % 3, 1);
        log.put(Log::header(REVOKE, LENGTH / 3 + 1));
        assert_eq!(log.at, 500);
        assert!(log.scan().is_ok());
    }

    #[test]
    fn circles_are_refused() {
        // Nothing but revoke blocks of one transaction.
        let mut log = Log::new(PLAIN, 10, 1);
        for _ in 0..LENGTH {
            log.put(Log::header(REVOKE, 1));
        }
        assert_eq!(log.scan(), Err(LogError::Endless));

        // Descriptors that lead over their data back to themselves.
        let mut log = Log::new(PLAIN, 1, 1);
        for _ in 0..LENGTH / 7 {
            log.descriptor(1, &[100, 101, 102, 103, 104, 105]);
        }
        assert_eq!(log.scan(), Err(LogError::Endless));

        // The same where commit blocks (wrong ones, for all we know) stand between them.
        let mut log = Log::new(CSUM3, 1, 1);
        for _ in 0..LENGTH / 3 {
            log.descriptor(1, &[100]);
            log.commit(1);
        }
        log.put(Log::header(REVOKE, 1));
        assert_eq!(log.at, 1);
        assert_eq!(log.scan(), Err(LogError::Endless));
    }

    #[test]
    fn committed_writes_must_stay_in_bounds() {
        for format in ALL {
            for (target, error) in [
                (JOURNAL, LogError::WritesItself),
                (JOURNAL + u64::from(MAXLEN) - 1, LogError::WritesItself),
                (DEVICE, LogError::BeyondDevice),
            ] {
                let mut log = Log::new(format, 50, 3);
                log.descriptor(3, &[100, target, 101]);
                // Without a commit block nothing of it is replayed.
                assert_eq!(log.scan(), Ok(2));
                log.commit(3);
                assert_eq!(log.scan(), Err(error));
            }
        }
        let mut log = Log::new(WIDE, 50, 3);
        log.descriptor(3, &[1 << 40]);
        log.commit(3);
        assert_eq!(log.scan(), Err(LogError::BeyondDevice));
        let mut log = Log::new(PLAIN, 50, 3);
        log.descriptor(3, &[JOURNAL - 1, JOURNAL + u64::from(MAXLEN), DEVICE - 1]);
        log.commit(3);
        assert_eq!(log.scan(), Ok(3));
    }

    #[test]
    fn blocks_of_an_older_file_system_do_not_count() {
        for format in [CSUM2, CSUM2_WIDE, CSUM3] {
            let mut log = Log::new(format, 50, 3);
            log.descriptor(3, &[100]);
            log.commit(3);
            let stale = log.at as usize;
            log.descriptor(4, &[JOURNAL + 5]);
            log.blocks[stale][BS - 1] ^= 1;
            log.commit(4);
            log.descriptor(5, &[JOURNAL + 5]);
            log.commit(5);
            assert_eq!(log.scan(), Ok(4));
        }
    }

    #[test]
    fn sequence_numbers_wrap() {
        let mut log = Log::new(PLAIN, 50, u32::MAX);
        log.descriptor(u32::MAX, &[100]);
        log.commit(u32::MAX);
        log.descriptor(0, &[100]);
        log.commit(0);
        assert_eq!(log.scan(), Ok(5));
    }

    #[test]
    fn the_log_must_be_inside_the_journal() {
        let mut log = Log::new(PLAIN, MAXLEN, 1);
        assert_eq!(log.scan(), Err(LogError::BadStart));
        log.start = 0;
        let sb = log.super_bytes();
        let sb = JournalSuper::verify(&sb, BS as u32, MAXLEN).unwrap();
        assert!(LogScan::new(sb, BS as u32, DEVICE).unwrap().is_none());
        let mut bytes = log.super_bytes();
        bytes[20..24].copy_from_slice(&100u32.to_be_bytes());
        let sb = JournalSuper::verify(&bytes, BS as u32, MAXLEN).unwrap();
        assert_eq!(
            LogScan::new(sb, BS as u32, DEVICE).err(),
            Some(LogError::TooShort)
        );
    }

    #[test]
    fn garbage_ends_the_walk() {
        let log = Log::new(PLAIN, 50, 1);
        assert_eq!(log.scan(), Ok(1));
        let mut log = Log::new(PLAIN, 50, 1);
        log.put(Log::header(9, 1));
        assert_eq!(log.scan(), Ok(1));
        let mut log = Log::new(PLAIN, 50, 1);
        // All tags in use and none of them the last.
        let mut b = Log::header(DESCRIPTOR, 1);
        for tag in b[12..].chunks_mut(8).filter(|t| t.len() == 8) {
            tag.copy_from_slice(&[0, 0, 0, 9, 0, 0, 0, 2]);
        }
        log.put(b);
        assert_eq!(log.scan(), Ok(2));
    }
}
