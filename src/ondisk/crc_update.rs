// SPDX-License-Identifier: GPL-2.0

//! The checksum of a block of which a few bytes have changed, without reading the block.
//!
//! A CRC is linear over GF(2). The format's CRC-32C has no final inversion, so for two blocks of
//! one length `crc(a ^ b) = crc(a) ^ crc0(b)`, where `crc0` starts from 0: what a change does to
//! the checksum depends on the bits that changed alone. Zeroes in front of them do not count for
//! `crc0`; `n` bytes of zeroes behind them multiply by x^(8n). And since the change is *added* to
//! the stored value, a checksum that was wrong stays wrong: nothing is laundered.
//!
//! The product of two 32-bit polynomials is taken with integer multiplications that leave room for
//! the carries, and reduced by the CRC itself: `crc0` of the eight bytes of the product is the
//! product times x^33. The tables take that factor back. Two such steps do for any change of a
//! 4 KiB block.

use super::crc::crc32c;

/// The polynomial, reflected: bit 31 stands for x^0.
const POLY: u32 = 0x82f6_3b78;

/// x^0.
const ONE: u32 = 1 << 31;

/// Bits of a length that one table stands for.
const DIGIT: u32 = 6;

/// x^(8d - 33), x^(8 * 64d - 33) and x^(8 * 4096d - 33), for d below 64.
static POWERS: [[u32; 1 << DIGIT]; 3] = {
    let byte = times_x(ONE, 8);
    let digit = power_64(byte);
    [powers(byte), powers(digit), powers(power_64(digit))]
};

/// How far from a bitmap's end [`SINGLES`] goes, in bytes: all of it in a block of 4 KiB.
const NEAR: usize = 4096;

/// What a byte of 0x80 adds to the checksum when so many bytes follow: a bitmap changes by single
/// bits most of the time.
static SINGLES: [u32; NEAR] = {
    let mut table = [0; NEAR];
    let mut crc = times_x(ONE, 32);
    let mut n = 0;
    while n < NEAR {
        table[n] = crc;
        crc = times_x(crc, 8);
        n += 1;
    }
    table
};

/// x^(8 * 2^18 - 33): a whole turn of the three.
const TURN: u32 = {
    let byte = times_x(ONE, 8);
    over_x(power_64(power_64(power_64(byte))), 33)
};

/// `v` times x^n.
#[inline]
const fn times_x(mut v: u32, n: u32) -> u32 {
    let mut i = 0u32;
    while i < n {
        v = (v >> 1) ^ (POLY & (v & 1).wrapping_neg());
        i = i.wrapping_add(1);
    }
    v
}

/// `v` over x^n. The reflected polynomial's top bit tells which values have been reduced.
const fn over_x(mut v: u32, n: u32) -> u32 {
    let mut i = 0u32;
    while i < n {
        let reduced = v >> 31;
        v = ((v ^ (POLY & reduced.wrapping_neg())) << 1) | reduced;
        i = i.wrapping_add(1);
    }
    v
}

/// `a` times `b`, bit by bit: for the tables.
const fn multiply_slowly(a: u32, mut b: u32) -> u32 {
    let (mut product, mut i) = (0, 0u32);
    while i < 32 {
        product ^= b & ((a >> (31 ^ i)) & 1).wrapping_neg();
        b = times_x(b, 1);
        i = i.wrapping_add(1);
    }
    product
}

/// `v`^64.
const fn power_64(mut v: u32) -> u32 {
    let mut i = 0u32;
    while i < DIGIT {
        v = multiply_slowly(v, v);
        i = i.wrapping_add(1);
    }
    v
}

/// `base`^d over x^33, for each d. Evaluated at compile time only.
const fn powers(base: u32) -> [u32; 1 << DIGIT] {
    let mut table = [0; 1 << DIGIT];
    let mut power = over_x(ONE, 33);
    let mut d = 0;
    while d < table.len() {
        table[d] = power;
        power = multiply_slowly(power, base);
        d += 1;
    }
    table
}

/// The product of two polynomials of 32 bits, without reduction. Every fourth bit at a time: at
/// most eight ones meet in a column, and their sum stays inside the three bits left free above it.
#[inline]
fn carryless(a: u32, b: u32) -> u64 {
    const LANE: u64 = 0x1111_1111_1111_1111;
    let lanes = |v: u32| {
        let v = u64::from(v);
        [v & LANE, v & (LANE << 1), v & (LANE << 2), v & (LANE << 3)]
    };
    let [a0, a1, a2, a3] = lanes(a);
    let [b0, b1, b2, b3] = lanes(b);
    let m = |a: u64, b: u64| a.wrapping_mul(b);
    ((m(a0, b0) ^ m(a1, b3) ^ m(a2, b2) ^ m(a3, b1)) & LANE)
        | ((m(a0, b1) ^ m(a1, b0) ^ m(a2, b3) ^ m(a3, b2)) & (LANE << 1))
        | ((m(a0, b2) ^ m(a1, b1) ^ m(a2, b0) ^ m(a3, b3)) & (LANE << 2))
        | ((m(a0, b3) ^ m(a1, b2) ^ m(a2, b1) ^ m(a3, b0)) & (LANE << 3))
}

/// `crc` times a power from the tables.
#[inline]
fn multiply(crc: u32, power: u32) -> u32 {
    crc32c(0, &carryless(crc, power).to_le_bytes())
}

/// What `crc` becomes when `zeroes` bytes of 0 follow. A few dozen instructions up to 256 KiB.
pub fn crc32c_zeroes(mut crc: u32, zeroes: u32) -> u32 {
    let mut rest = zeroes;
    for table in &POWERS {
        let digit = rest & ((1 << DIGIT) - 1);
        if digit != 0 {
            if let Some(power) = table.get(digit as usize) {
                crc = multiply(crc, *power);
            }
        }
        rest >>= DIGIT;
    }
    // No block is that long.
    for _ in 0..rest {
        crc = multiply(crc, TURN);
    }
    crc
}

/// The checksum, formerly `old`, of `total_len` bytes of which those from `offset` have been
/// exclusive-ored with `delta`. What lies beyond `total_len` does not count.
///
/// Of a checksum of which only some bits are stored, these bits come out right.
pub fn crc32c_update(old: u32, total_len: u32, offset: u32, delta: &[u8]) -> u32 {
    let room = total_len.saturating_sub(offset);
    let len = u32::try_from(delta.len()).map_or(room, |len| len.min(room));
    let delta = delta.get(..len as usize).unwrap_or(delta);
    old ^ crc32c_zeroes(crc32c(0, delta), room.saturating_sub(len))
}

/// The checksum, formerly `old`, of a bitmap of `total_len` bytes in which the `bits` bits from
/// `first` have been flipped. What lies beyond `total_len` does not count.
pub fn crc32c_flip(old: u32, total_len: u32, first: u32, bits: u32) -> u32 {
    const ONES: [u8; 64] = [0xff; 64];
    let end = first.saturating_add(bits).min(total_len.saturating_mul(8));
    if first >= end {
        return old;
    }
    let last = end.saturating_sub(1);
    let behind = total_len.saturating_sub(last >> 3).saturating_sub(1);
    if first == last {
        if let Some(crc) = SINGLES.get(behind as usize) {
            // A bit further to the front for each bit below the top one.
            return old ^ times_x(*crc, 7 ^ (last & 7));
        }
    }
    let head = 0xffu8.wrapping_shl(first & 7);
    let tail = 0xffu8.wrapping_shr(7 ^ (last & 7));
    let between = (last >> 3).saturating_sub(first >> 3);
    let crc = if between == 0 {
        crc32c(0, &[head & tail])
    } else {
        let mut crc = crc32c(0, &[head]);
        let mut whole = between.saturating_sub(1) as usize;
        while whole != 0 {
            let piece = ONES.get(..whole).unwrap_or(&ONES);
            crc = crc32c(crc, piece);
            whole = whole.saturating_sub(piece.len());
        }
        crc32c(crc, &[tail])
    };
    old ^ crc32c_zeroes(crc, behind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn products_are_those_of_long_multiplication() {
        let samples = [
            0,
            1,
            ONE,
            POLY,
            0xffff_ffff,
            0x1234_5678,
            0x8888_8888,
            0x1111_1111,
        ];
        for a in samples {
            for b in samples {
                let long = (0..32).fold(0, |sum, i| {
                    sum ^ ((u64::from((a >> i) & 1) * u64::from(b)) << i)
                });
                assert_eq!(carryless(a, b), long, "{a:#x} {b:#x}");
                assert_eq!(multiply(a, over_x(b, 33)), multiply_slowly(a, b));
            }
            assert_eq!(times_x(over_x(a, 77), 77), a);
        }
    }

    #[test]
    fn zeroes_of_every_digit() {
        let zeroes = vec![0u8; 3 << 18];
        for n in [
            0,
            1,
            63,
            64,
            65,
            4095,
            4096,
            65536,
            (1 << 18) - 1,
            1 << 18,
            (2 << 18) + 5,
        ] {
            let want = crc32c(0xdead_beef, &zeroes[..n]);
            assert_eq!(crc32c_zeroes(0xdead_beef, n as u32), want, "{n}");
        }
    }

    proptest! {
        #[test]
        fn changes_add_up(
            mut block in prop::collection::vec(any::<u8>(), 0..5000),
            seed in any::<u32>(),
            offset in 0usize..5000,
            delta in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let len = block.len() as u32;
            let old = crc32c(seed, &block);
            for (byte, change) in block.iter_mut().skip(offset).zip(&delta) {
                *byte ^= change;
            }
            let new = crc32c(seed, &block);
            prop_assert_eq!(crc32c_update(old, len, offset as u32, &delta), new);
            // The lower half alone, as a small descriptor has it.
            let half = crc32c_update(old & 0xffff, len, offset as u32, &delta);
            prop_assert_eq!(half & 0xffff, new & 0xffff);
        }

        #[test]
        fn runs_of_bits_flip(
            len in 0u32..9000,
            seed in any::<u32>(),
            first in 0u32..72000,
            bits in prop_oneof![0u32..20, 0u32..72000],
        ) {
            let mut block: Vec<u8> = (0..len).map(|n| (n * 7) as u8).collect();
            let old = crc32c(seed, &block);
            for bit in (first..first + bits).take_while(|bit| *bit < len * 8) {
                block[(bit / 8) as usize] ^= 1 << (bit % 8);
            }
            prop_assert_eq!(crc32c_flip(old, len, first, bits), crc32c(seed, &block));
        }
    }
}
