// SPDX-License-Identifier: GPL-2.0

//! Hashes of extended attributes, by which equal blocks and equal values are found and shared.

/// The hash of an attribute in a block: of its name and its value, padded with zeros to words.
/// For a value in an inode of its own, the value's hash (little-endian) stands for the value.
pub fn entry_hash(name: &[u8], value: &[u8]) -> u32 {
    hash_value(hash_name(name, 0), value)
}

/// As [`entry_hash`], with the bytes of the name taken as signed, as some kernels did.
pub fn entry_hash_signed(name: &[u8], value: &[u8]) -> u32 {
    hash_value(hash_name(name, 0x80), value)
}

fn hash_name(name: &[u8], sign: u32) -> u32 {
    name.iter().fold(0u32, |hash, &byte| {
        let byte = u32::from(byte);
        hash.rotate_left(5) ^ byte.wrapping_sub((byte & sign) << 1)
    })
}

fn hash_value(hash: u32, value: &[u8]) -> u32 {
    let words = value.chunks_exact(4);
    let mut last = [0u8; 4];
    for (to, &from) in last.iter_mut().zip(words.remainder()) {
        *to = from;
    }
    let whole = words.len();
    let hash = words.fold(hash, |hash, word| {
        let word = word.first_chunk().map_or(0, |w| u32::from_le_bytes(*w));
        hash.rotate_left(16) ^ word
    });
    if whole.wrapping_mul(4) == value.len() {
        hash
    } else {
        hash.rotate_left(16) ^ u32::from_le_bytes(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_pad_with_zeros() {
        assert_eq!(entry_hash(b"a", b"xyz"), entry_hash(b"a", b"xyz\0"));
        assert_ne!(entry_hash(b"a", b"xyz"), entry_hash(b"a", b"xyz\0\0\0\0\0"));
        assert_eq!(entry_hash(b"ab", b""), (0x61 << 5) ^ 0x62);
        assert_eq!(entry_hash(b"a", b"\x01\0\0\0"), (0x61 << 16) ^ 1);
        assert_eq!(entry_hash_signed(b"\xff", b""), u32::MAX);
    }
}
