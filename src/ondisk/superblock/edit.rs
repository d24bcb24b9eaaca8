// SPDX-License-Identifier: GPL-2.0

//! What is changed in a superblock.
//!
//! At mount and unmount: state, times, counters, flags of the journal and of the orphan file. In
//! between: features that come into use, the head of the orphan list, what an administrator sets,
//! and the record of errors. Every setter is for a copy in memory whose checksum is stored at the
//! end ([`Superblock::update_checksum`]), at once or with a transaction; the caller holds the lock
//! of that copy.
//!
//! A replay brings back the superblock as it was when the last transaction was committed. Errors
//! that were recorded after that, which goes past the journal, have to be put back; the flag that
//! asks for the replay has to go. The free counts are never journalled with what they count.

use super::{SuperError, Superblock};
use crate::ondisk::features::{Compat, Incompat, RoCompat};
use crate::ondisk::mount_state::{ErrorEntry, State};
use crate::ondisk::raw::{FromBytes, IntoBytes};
use crate::ondisk::Ino;
use zerocopy::little_endian::U32;

/// `s_rev_level` of file systems with features and inodes of other sizes than 128 bytes.
const DYNAMIC_REV: u32 = 1;
/// The last second that the times of the superblock hold.
const TIME_MAX: u64 = (1 << 40) - 1;

impl Superblock {
    /// As [`Superblock::verify`], of a copy that is to be changed. Each change leaves the checksum
    /// behind: see [`Superblock::update_checksum`].
    ///
    /// Errors: [`SuperError`].
    pub fn verify_mut(bytes: &mut [u8]) -> Result<&mut Self, SuperError> {
        Self::verify(bytes)?;
        let (sb, _) = Self::mut_from_prefix(bytes).map_err(|_| SuperError::Truncated)?;
        Ok(sb)
    }

    /// The structure as it goes to the disk.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }

    /// Says that the journal has been replayed.
    pub fn clear_needs_recovery(&mut self) {
        let bits = self.features().incompat.without(Incompat::RECOVER).bits();
        self.feature_incompat = bits.into();
    }

    /// Says that the journal may hold what is not in place yet. Goes to the disk before anything
    /// is journalled.
    pub fn set_needs_recovery(&mut self) {
        let bits = self.features().incompat.union(Incompat::RECOVER).bits();
        self.feature_incompat = bits.into();
    }

    /// Says whether the orphan file may hold orphans.
    pub fn set_orphan_present(&mut self, present: bool) {
        let bits = self.features().ro_compat;
        let bits = if present {
            bits.union(RoCompat::ORPHAN_PRESENT)
        } else {
            bits.without(RoCompat::ORPHAN_PRESENT)
        };
        self.feature_ro_compat = bits.bits().into();
    }

    /// Says that there are files of 2 GiB and more; returns whether that was news.
    pub fn add_large_file(&mut self) -> bool {
        let bits = self.features().ro_compat.union(RoCompat::LARGE_FILE).bits();
        let news = bits != self.feature_ro_compat.get() || self.rev_level.get() < DYNAMIC_REV;
        self.feature_ro_compat = bits.into();
        self.make_dynamic();
        news
    }

    /// Says that there are extended attributes; returns whether that was news.
    pub fn add_ext_attr(&mut self) -> bool {
        let bits = self.features().compat.union(Compat::EXT_ATTR).bits();
        let news = bits != self.feature_compat.get();
        self.feature_compat = bits.into();
        news
    }

    /// Raises revision 0, whose superblocks have no features, and stores what it stood for.
    fn make_dynamic(&mut self) {
        if self.rev_level.get() < DYNAMIC_REV {
            self.rev_level = DYNAMIC_REV.into();
            self.first_ino = 11.into();
            self.inode_size = 128.into();
        }
    }

    /// Says whether the file system is unmounted cleanly. With a journal it stays so.
    pub fn set_valid(&mut self, valid: bool) {
        self.set_state(State::VALID, valid);
    }

    /// Says whether orphans are being recovered.
    pub fn set_orphan_recovery(&mut self, on: bool) {
        self.set_state(State::ORPHAN, on);
    }

    fn set_state(&mut self, bit: u16, on: bool) {
        let others = self.state.get() & !bit;
        self.state = (others | if on { bit } else { 0 }).into();
    }

    /// Counts a mount. A limit of 0, which no tool sets, becomes ext4's default of 20.
    pub fn count_mount(&mut self) {
        self.mnt_count = self.mnt_count.get().wrapping_add(1).into();
        if self.max_mnt_count.get() == 0 {
            self.max_mnt_count = 20.into();
        }
    }

    /// When the file system was last mounted, in seconds since 1970 (40 bits).
    pub fn set_mtime(&mut self, secs: u64) {
        (self.mtime, self.mtime_hi) = split(secs);
    }

    /// When the superblock was last written, in seconds since 1970 (40 bits).
    pub fn set_wtime(&mut self, secs: u64) {
        (self.wtime, self.wtime_hi) = split(secs);
    }

    /// Where the file system is mounted. Cut off at 63 bytes, so that a NUL follows.
    pub fn set_last_mounted(&mut self, path: &[u8]) {
        let path = path.get(..63).unwrap_or(path);
        fill(&mut self.last_mounted, path);
    }

    /// The label. Returns whether it fits: 16 bytes. If not, the old one stays.
    #[must_use]
    pub fn set_volume_name(&mut self, name: &[u8]) -> bool {
        let fits = name.len() <= self.volume_name.len();
        if fits {
            fill(&mut self.volume_name, name);
        }
        fits
    }

    /// The UUID. Whatever has been derived from the old one (checksums, without `metadata_csum_seed`)
    /// does not fit the new one.
    pub fn set_uuid(&mut self, uuid: &[u8; 16]) {
        self.uuid = *uuid;
    }

    /// Blocks reserved for one user and one group. Returns whether the number can be stored: it
    /// needs `64bit` above 32 bits.
    #[must_use]
    pub fn set_r_blocks_count(&mut self, blocks: u64) -> bool {
        let fits = blocks <= u32::MAX.into() || self.features().has(Incompat::BIT64);
        if fits {
            self.r_blocks_count_lo = (blocks as u32).into();
            self.r_blocks_count_hi = ((blocks >> 32) as u32).into();
        }
        fits
    }

    /// The user and the group that may use reserved blocks.
    pub fn set_reserved_for(&mut self, uid: u32, gid: u32) {
        self.def_resuid = (uid as u16).into();
        self.def_resuid_hi = ((uid >> 16) as u16).into();
        self.def_resgid = (gid as u16).into();
        self.def_resgid_hi = ((gid >> 16) as u16).into();
    }

    /// The first inode of the orphan list, `None` for an empty one.
    pub fn set_last_orphan(&mut self, ino: Option<Ino>) {
        self.last_orphan = ino.map_or(0, Ino::get).into();
    }

    /// Kibibytes written over the file system's life.
    pub fn set_kbytes_written(&mut self, kbytes: u64) {
        self.kbytes_written = kbytes.into();
    }

    /// Adds errors to the record: `count` of them, of which these were the first and the last.
    /// The first since e2fsck last ran stays what it is.
    pub fn record_errors(&mut self, first: &ErrorEntry<'_>, last: &ErrorEntry<'_>, count: u32) {
        self.mark_errors();
        if self.first_error().time == 0 {
            (self.first_error_time, self.first_error_time_hi) = split(first.time);
            self.first_error_ino = first.ino.into();
            self.first_error_block = first.block.into();
            fill(&mut self.first_error_func, first.func);
            self.first_error_line = first.line.into();
            self.first_error_errcode = first.errcode;
        }
        (self.last_error_time, self.last_error_time_hi) = split(last.time);
        self.last_error_ino = last.ino.into();
        self.last_error_block = last.block.into();
        fill(&mut self.last_error_func, last.func);
        self.last_error_line = last.line.into();
        self.last_error_errcode = last.errcode;
        // C ext4 wraps, and a file system full of errors looks like one without any.
        self.error_count = self.error_count.get().saturating_add(count).into();
    }

    /// Stores how many blocks and inodes are free, which nothing relies on.
    pub fn set_free_counts(&mut self, blocks: u64, inodes: u32) {
        self.free_blocks_count_lo = (blocks as u32).into();
        self.free_blocks_count_hi = ((blocks >> 32) as u32).into();
        self.free_inodes_count = inodes.into();
    }

    /// Says that errors have been detected.
    pub fn mark_errors(&mut self) {
        self.state = (self.state.get() | State::ERROR).into();
    }

    /// Takes over what `from` knows about errors: the record of the first and the latest, how many
    /// there were, and that the file system has any.
    pub fn restore_errors(&mut self, from: &Self) {
        self.error_count = from.error_count;
        self.first_error_time = from.first_error_time;
        self.first_error_time_hi = from.first_error_time_hi;
        self.first_error_ino = from.first_error_ino;
        self.first_error_block = from.first_error_block;
        self.first_error_func = from.first_error_func;
        self.first_error_line = from.first_error_line;
        self.first_error_errcode = from.first_error_errcode;
        self.last_error_time = from.last_error_time;
        self.last_error_time_hi = from.last_error_time_hi;
        self.last_error_ino = from.last_error_ino;
        self.last_error_block = from.last_error_block;
        self.last_error_func = from.last_error_func;
        self.last_error_line = from.last_error_line;
        self.last_error_errcode = from.last_error_errcode;
        if from.state().has_errors() {
            self.mark_errors();
        }
    }
}

/// Seconds since 1970 as the low 32 bits and the 8 bits above; the latest there is for later ones.
fn split(secs: u64) -> (U32, u8) {
    let secs = secs.min(TIME_MAX);
    ((secs as u32).into(), (secs >> 32) as u8)
}

/// Fills a fixed field with as much of `text` as fits, and zeros.
fn fill(field: &mut [u8], text: &[u8]) {
    let padded = text.iter().copied().chain(core::iter::repeat(0));
    for (to, from) in field.iter_mut().zip(padded) {
        *to = from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ondisk::features::Features;

    const ERROR_COUNT: usize = 0x194;
    const LAST_ERROR_ERRCODE: usize = 0x27b;

    fn image() -> [u8; 1024] {
        let mut b = [0u8; 1024];
        b[0x38..0x3a].copy_from_slice(&super::super::MAGIC.to_le_bytes());
        b[0x60..0x64].copy_from_slice(
            &Incompat::RECOVER
                .union(Incompat::EXTENTS)
                .bits()
                .to_le_bytes(),
        );
        b[0x64..0x68].copy_from_slice(&RoCompat::METADATA_CSUM.bits().to_le_bytes());
        b[0x175] = 1;
        let csum = crate::ondisk::crc::crc32c(!0, &b[..1020]);
        b[1020..].copy_from_slice(&csum.to_le_bytes());
        b
    }

    #[test]
    fn a_changed_superblock_verifies_again() {
        let mut b = image();
        let sb = Superblock::verify_mut(&mut b).unwrap();
        sb.clear_needs_recovery();
        sb.mark_errors();
        sb.set_free_counts(0x5_0000_0004, 77);
        sb.update_checksum();
        let sb = Superblock::verify(&b).unwrap();
        assert_eq!(
            sb.features(),
            Features {
                incompat: Incompat::EXTENTS,
                ro_compat: RoCompat::METADATA_CSUM,
                ..Default::default()
            }
        );
        assert!(sb.state().has_errors());
        assert_eq!(sb.free_inodes_count(), 77);
        // Without `64bit` the upper half has no meaning.
        assert_eq!(sb.free_blocks_count(), 4);
        assert_eq!(sb.bytes(), b);
    }

    #[test]
    fn the_whole_error_record_comes_back_and_nothing_else() {
        // A superblock of ones, and one of zeroes that takes over its errors.
        let ones = [0xffu8; 1024];
        let from = Superblock::ref_from_bytes(&ones).unwrap();
        let mut b = [0u8; 1024];
        Superblock::mut_from_bytes(&mut b)
            .unwrap()
            .restore_errors(from);
        // From s_error_count up to s_mount_opts, the upper halves of the times and the codes.
        for (at, byte) in b.iter().enumerate() {
            let expected = match at {
                ERROR_COUNT..=0x1ff => 0xff,
                0x278..=LAST_ERROR_ERRCODE => 0xff,
                0x3a => State::ERROR as u8,
                _ => 0,
            };
            assert_eq!(*byte, expected, "offset {at:#x}");
        }
    }

    #[test]
    fn bad_bytes_are_not_changed() {
        let mut b = image();
        b[3] ^= 1;
        assert_eq!(
            Superblock::verify_mut(&mut b).err(),
            Some(SuperError::BadChecksum)
        );
        assert!(Superblock::verify_mut(&mut [0; 100]).is_err());
    }
}
