// SPDX-License-Identifier: GPL-2.0

//! Positions in directories that are read in hash order.
//!
//! What `telldir`, `d_off` and NFS see is made from the entry's hash, so that it stays good
//! while other entries come and go. The major hash is even and its lowest bit is dropped, which
//! leaves 63 bits in all. Readers that can only take 32 bits get the major hash alone.

/// How wide a position the reader can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieWidth {
    /// 31 bits: major hash only (`FMODE_32BITHASH`, or a 32-bit task that did not say).
    Bits32,
    /// 63 bits: major and minor hash.
    Bits64,
}

impl CookieWidth {
    /// The position of the end of a directory in hash order.
    #[inline]
    pub const fn end(self) -> u64 {
        match self {
            Self::Bits32 => (1 << 31) - 1,
            Self::Bits64 => (1 << 63) - 1,
        }
    }

    /// The position of the entries with this key (`NameHash::key`).
    #[inline]
    pub const fn position(self, key: u64) -> u64 {
        let major = key >> 33;
        match self {
            Self::Bits32 => major,
            Self::Bits64 => (major << 32) | (key & 0xffff_ffff),
        }
    }

    /// The lowest key at a position.
    #[inline]
    pub const fn key(self, position: u64) -> u64 {
        match self {
            Self::Bits32 => (position & 0x7fff_ffff) << 33,
            Self::Bits64 => (((position >> 32) & 0x7fff_ffff) << 33) | (position & 0xffff_ffff),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        for key in [0u64, 2 << 32, 0x1234_5678_9abc_def0, 0xffff_fffc_ffff_ffff] {
            let wide = CookieWidth::Bits64;
            assert_eq!(wide.key(wide.position(key)), key);
            assert!(wide.position(key) < wide.end());
            let narrow = CookieWidth::Bits32;
            assert_eq!(narrow.key(narrow.position(key)), key & !0xffff_ffff);
            assert!(narrow.position(key) < narrow.end());
        }
        assert_eq!(CookieWidth::Bits64.position(2 << 32), 1 << 32);
        assert_eq!(CookieWidth::Bits32.position(2 << 32), 1);
        assert_eq!(CookieWidth::Bits64.end(), i64::MAX as u64);
        assert_eq!(CookieWidth::Bits32.end(), i32::MAX as u64);
    }
}
