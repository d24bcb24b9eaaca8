// SPDX-License-Identifier: GPL-2.0

//! What is changed in a superblock after a journal has been replayed.
//!
//! A replay brings back the superblock as it was when the last transaction was committed. Errors
//! that were recorded after that, which goes past the journal, have to be put back; the flag that
//! asks for the replay has to go. The free counts are never journalled with what they count.

use super::{SuperError, Superblock};
use crate::ondisk::features::Incompat;
use crate::ondisk::mount_state::State;
use crate::ondisk::raw::{FromBytes, IntoBytes};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ondisk::features::{Features, RoCompat};

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
