// SPDX-License-Identifier: GPL-2.0

//! rext4's kernel-free rooms as an ordinary library, for `cargo test`, Miri and fuzzing.
//!
//! The module's own root is `main.rs`; both roots provide `platform`, the two checksum
//! routines that `ondisk` needs.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod engine;
pub mod fuzz;
pub mod ondisk;

/// Checksums for the host build, from the `crc` crate; in the module the kernel's take this place.
pub mod platform {
    use crc::{Algorithm, Crc, Table};

    const CRC32C: Algorithm<u32> = Algorithm {
        width: 32,
        poly: 0x1edc_6f41,
        init: 0,
        refin: true,
        refout: true,
        xorout: 0,
        check: 0,
        residue: 0,
    };
    const CRC16: Algorithm<u16> = Algorithm {
        width: 16,
        poly: 0x8005,
        init: 0,
        refin: true,
        refout: true,
        xorout: 0,
        check: 0,
        residue: 0,
    };
    static TABLE32: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC32C);
    static TABLE16: Crc<u16, Table<1>> = Crc::<u16, Table<1>>::new(&CRC16);

    /// See [`crate::ondisk::crc::crc32c`].
    pub fn crc32c(seed: u32, data: &[u8]) -> u32 {
        // The crate takes the initial value unreflected.
        let mut digest = TABLE32.digest_with_initial(seed.reverse_bits());
        digest.update(data);
        digest.finalize()
    }

    /// See [`crate::ondisk::crc::crc16`].
    pub fn crc16(seed: u16, data: &[u8]) -> u16 {
        let mut digest = TABLE16.digest_with_initial(seed.reverse_bits());
        digest.update(data);
        digest.finalize()
    }
}
