// SPDX-License-Identifier: GPL-2.0

//! Timestamps of inodes.
//!
//! An inode has 32 bits of signed seconds per timestamp in its first 128 bytes. Where there is
//! room beyond, an extra word holds nanoseconds in its upper 30 bits and two *epoch* bits below:
//! they are added as multiples of 2^32 seconds to the signed value. Epoch 0 thus means what the
//! 32 bits alone mean (1901 to 2038), and the range ends in May 2446.
//!
//! Format: `Documentation/filesystems/ext4/inodes.rst`, "Inode Timestamps".

/// Bits of the extra word that extend the seconds.
const EPOCH_BITS: u32 = 2;
const EPOCH_MASK: u32 = 3;

/// The earliest time that an inode can hold, in seconds since 1970.
pub const MIN: i64 = i32::MIN as i64;
/// The latest time where the inode has no extra word.
pub const MAX_PLAIN: i64 = i32::MAX as i64;
/// The latest time where it has one.
pub const MAX_EXTRA: i64 = (1 << 34) - 1 + MIN;

/// A point in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since 1970, negative before.
    pub secs: i64,
    /// Nanoseconds. Up to 2^30 - 1 when read from disk: ext4 passes on what it finds, too.
    pub nanos: u32,
}

impl Timestamp {
    /// From the 32 bits alone.
    #[inline]
    pub const fn decode_plain(base: u32) -> Self {
        Self {
            secs: base as i32 as i64,
            nanos: 0,
        }
    }

    /// From the 32 bits and the extra word.
    #[inline]
    pub const fn decode(base: u32, extra: u32) -> Self {
        let epoch = ((extra & EPOCH_MASK) as i64) << 32;
        // -2^31 + 3 * 2^32 + 2^31 at most: no overflow, but `+` would carry the check.
        Self {
            secs: (base as i32 as i64).wrapping_add(epoch),
            nanos: extra >> EPOCH_BITS,
        }
    }

    /// The 32 bits for an inode without the extra word, clamped to what they can hold.
    #[inline]
    pub const fn encode_plain(self) -> u32 {
        let secs = if self.secs < MIN {
            MIN
        } else if self.secs > MAX_PLAIN {
            MAX_PLAIN
        } else {
            self.secs
        };
        secs as u32
    }

    /// The 32 bits and the extra word. Times outside `MIN..=MAX_EXTRA` lose their upper bits:
    /// the VFS clamps times to the range that the superblock announces.
    #[inline]
    pub const fn encode(self) -> (u32, u32) {
        let base = self.secs as u32;
        let epoch = self.secs.wrapping_sub(base as i32 as i64) >> 32;
        (
            base,
            (epoch as u32 & EPOCH_MASK) | self.nanos.wrapping_shl(EPOCH_BITS),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the format description: epoch bits, sign of the 32 bits, first and last time.
    const RANGES: [(u32, bool, i64, i64); 8] = [
        (0, true, -0x8000_0000, -1),
        (0, false, 0, 0x7fff_ffff),
        (1, true, 0x8000_0000, 0xffff_ffff),
        (1, false, 0x1_0000_0000, 0x1_7fff_ffff),
        (2, true, 0x1_8000_0000, 0x1_ffff_ffff),
        (2, false, 0x2_0000_0000, 0x2_7fff_ffff),
        (3, true, 0x2_8000_0000, 0x2_ffff_ffff),
        (3, false, 0x3_0000_0000, 0x3_7fff_ffff),
    ];

    #[test]
    fn every_epoch_decodes_as_documented() {
        for (epoch, negative, first, last) in RANGES {
            let (lo, hi) = if negative {
                (1 << 31, u32::MAX)
            } else {
                (0, (1 << 31) - 1)
            };
            assert_eq!(Timestamp::decode(lo, epoch).secs, first);
            assert_eq!(Timestamp::decode(hi, epoch).secs, last);
        }
    }

    #[test]
    fn encoding_is_the_inverse_over_the_whole_range() {
        for (_, _, first, last) in RANGES {
            for secs in [first, first + 1, (first + last) / 2, last] {
                for nanos in [0, 1, 999_999_999] {
                    let t = Timestamp { secs, nanos };
                    let (base, extra) = t.encode();
                    assert_eq!(Timestamp::decode(base, extra), t);
                }
            }
        }
        assert_eq!(RANGES[0].2, MIN);
        assert_eq!(RANGES[7].3, MAX_EXTRA);
    }

    #[test]
    fn plain_times_are_clamped_not_wrapped() {
        let at = |secs| Timestamp { secs, nanos: 5 }.encode_plain();
        assert_eq!(at(-1), u32::MAX);
        assert_eq!(at(MAX_PLAIN + 1), 0x7fff_ffff);
        assert_eq!(at(MIN - 1), 0x8000_0000);
        assert_eq!(
            Timestamp::decode_plain(0xffff_ffff),
            Timestamp { secs: -1, nanos: 0 }
        );
    }
}
