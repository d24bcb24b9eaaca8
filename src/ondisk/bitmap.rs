// SPDX-License-Identifier: GPL-2.0

//! Bitmaps as they stand in a block: bit `n` is bit `n % 8` of byte `n / 8`.
//!
//! Changing a run of bits first looks at all of it: a bit that already has the value it is to get
//! means that two owners claim the same cluster or inode, and then nothing is changed. Whole words
//! are compared and whole bytes filled, so that a long run costs what a memset does.
//!
//! Locking: who changes a bitmap holds its group's lock.

use core::ops::Range;

use super::group::GroupError;

/// Bits in the word that searches go by.
const WORD: u32 = u64::BITS;

/// A run of bits as bytes: a first byte and a last one with the bits that count, and whole bytes
/// between. For a run inside one byte the last one's mask is 0.
struct Span {
    head: (usize, u8),
    middle: Range<usize>,
    tail: (usize, u8),
}

impl Span {
    /// The `len` (> 0) bits from `first` of a bitmap of `bytes` bytes; `None` if they are not all
    /// in it.
    #[inline]
    fn new(bytes: usize, first: u32, len: u32) -> Option<Self> {
        let last = first.checked_add(len.checked_sub(1)?)?;
        let (head, tail) = ((first >> 3) as usize, (last >> 3) as usize);
        if tail >= bytes {
            return None;
        }
        let head_mask = 0xffu8.wrapping_shl(first & 7);
        let tail_mask = 0xffu8.wrapping_shr(7 ^ (last & 7));
        Some(if head == tail {
            Self {
                head: (head, head_mask & tail_mask),
                middle: 0..0,
                tail: (tail, 0),
            }
        } else {
            Self {
                head: (head, head_mask),
                // Below `tail`, which is an index.
                middle: head.wrapping_add(1)..tail,
                tail: (tail, tail_mask),
            }
        })
    }

    /// Whether all bits of the run have the value that `byte` (0 or 0xff) has.
    #[inline]
    fn all(&self, bitmap: &[u8], byte: u8) -> bool {
        let edge = |(at, mask): (usize, u8)| bitmap.get(at).is_some_and(|b| (b ^ byte) & mask == 0);
        edge(self.head)
            && edge(self.tail)
            && bitmap
                .get(self.middle.clone())
                .is_some_and(|middle| filled(middle, byte))
    }

    /// Gives all bits of the run the value that `byte` (0 or 0xff) has.
    #[inline]
    fn fill(&self, bitmap: &mut [u8], byte: u8) {
        for (at, mask) in [self.head, self.tail] {
            if let Some(b) = bitmap.get_mut(at) {
                *b = (*b & !mask) | (byte & mask);
            }
        }
        if let Some(middle) = bitmap.get_mut(self.middle.clone()) {
            middle.fill(byte);
        }
    }
}

/// Whether every byte is `byte`.
fn filled(bytes: &[u8], byte: u8) -> bool {
    let pattern = [byte; 8];
    let mut words = bytes.chunks_exact(8);
    let whole = words.all(|word| word == pattern);
    whole && words.remainder().iter().all(|b| *b == byte)
}

/// Sets the `len` bits from `first`.
///
/// Errors: [`GroupError::BitsOutside`] if they are not all in the bitmap,
/// [`GroupError::BitsSet`] if one of them is set; nothing has changed then.
#[inline]
pub fn set_run(bitmap: &mut [u8], first: u32, len: u32) -> Result<(), GroupError> {
    change(bitmap, first, len, 0xff, GroupError::BitsSet)
}

/// Clears the `len` bits from `first`.
///
/// Errors: [`GroupError::BitsOutside`] if they are not all in the bitmap,
/// [`GroupError::BitsClear`] if one of them is clear; nothing has changed then.
#[inline]
pub fn clear_run(bitmap: &mut [u8], first: u32, len: u32) -> Result<(), GroupError> {
    change(bitmap, first, len, 0, GroupError::BitsClear)
}

fn change(
    bitmap: &mut [u8],
    first: u32,
    len: u32,
    byte: u8,
    twice: GroupError,
) -> Result<(), GroupError> {
    if len == 0 {
        return Ok(());
    }
    let span = Span::new(bitmap.len(), first, len).ok_or(GroupError::BitsOutside)?;
    if !span.all(bitmap, !byte) {
        return Err(twice);
    }
    span.fill(bitmap, byte);
    Ok(())
}

/// Bit `at`; `None` if it is not in the bitmap.
#[inline]
pub fn bit(bitmap: &[u8], at: u32) -> Option<bool> {
    let byte = bitmap.get((at >> 3) as usize)?;
    Some(byte.wrapping_shr(at & 7) & 1 != 0)
}

/// Flips bit `at`, if that is in the bitmap.
#[inline]
pub fn flip(bitmap: &mut [u8], at: u32) {
    if let Some(byte) = bitmap.get_mut((at >> 3) as usize) {
        *byte ^= 1u8.wrapping_shl(at & 7);
    }
}

/// Sets the `len` bits from `first`, whatever they are; for a bitmap that is being made. Bits
/// beyond its end are left out.
pub fn mark_run(bitmap: &mut [u8], first: u32, len: u32) {
    let bits = u32::try_from(bitmap.len()).map_or(u32::MAX, |n| n.saturating_mul(8));
    let len = len.min(bits.saturating_sub(first));
    if let Some(span) = Span::new(bitmap.len(), first, len) {
        span.fill(bitmap, 0xff);
    }
}

/// Whether all of the `len` bits from `first` are set; false if they are not all in the bitmap.
#[inline]
pub fn is_set(bitmap: &[u8], first: u32, len: u32) -> bool {
    len == 0 || Span::new(bitmap.len(), first, len).is_some_and(|span| span.all(bitmap, 0xff))
}

/// Whether all of the `len` bits from `first` are clear; false if they are not all in the bitmap.
#[inline]
pub fn is_clear(bitmap: &[u8], first: u32, len: u32) -> bool {
    len == 0 || Span::new(bitmap.len(), first, len).is_some_and(|span| span.all(bitmap, 0))
}

/// The first clear bit in `from..end`.
#[inline]
pub fn next_clear(bitmap: &[u8], from: u32, end: u32) -> Option<u32> {
    next(bitmap, from, end, !0)
}

/// The first set bit in `from..end`.
#[inline]
pub fn next_set(bitmap: &[u8], from: u32, end: u32) -> Option<u32> {
    next(bitmap, from, end, 0)
}

/// The first bit in `from..end` that is set once `flip` has been applied to its word.
fn next(bitmap: &[u8], from: u32, end: u32, flip: u64) -> Option<u32> {
    let bytes = u32::try_from(bitmap.len()).map_or(u32::MAX, |n| n.saturating_mul(8));
    let end = end.min(bytes);
    let mut mask = u64::MAX.wrapping_shl(from % WORD);
    let mut base = from & !(WORD - 1);
    while base < end {
        let bits = (word(bitmap, (base >> 3) as usize) ^ flip) & mask;
        if bits != 0 {
            let found = base.saturating_add(bits.trailing_zeros());
            return (found < end).then_some(found);
        }
        mask = u64::MAX;
        base = base.saturating_add(WORD);
    }
    None
}

/// How many of the first `end` bits are clear; bits beyond the bitmap do not count.
pub fn count_clear(bitmap: &[u8], end: u32) -> u32 {
    let bytes = u32::try_from(bitmap.len()).map_or(u32::MAX, |n| n.saturating_mul(8));
    let end = end.min(bytes);
    let (mut base, mut clear) = (0u32, 0u32);
    while base < end {
        let bits = !word(bitmap, (base >> 3) as usize);
        let left = end.saturating_sub(base);
        let mask = if left < WORD {
            u64::MAX.wrapping_shr(WORD.wrapping_sub(left))
        } else {
            u64::MAX
        };
        clear = clear.saturating_add((bits & mask).count_ones());
        base = base.saturating_add(WORD);
    }
    clear
}

/// The 64 bits from byte `at`; what lies beyond the bitmap reads as 0.
#[inline]
pub fn word(bitmap: &[u8], at: usize) -> u64 {
    let rest = bitmap.get(at..).unwrap_or(&[]);
    if let Some(whole) = rest.first_chunk() {
        return u64::from_le_bytes(*whole);
    }
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(rest) {
        *to = *from;
    }
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bits(bitmap: &[u8]) -> Vec<bool> {
        (0..bitmap.len() * 8)
            .map(|n| (bitmap[n / 8] >> (n % 8)) & 1 == 1)
            .collect()
    }

    proptest! {
        #[test]
        fn runs_change_as_single_bits_do(
            mut bitmap in prop::collection::vec(prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 1..70),
            first in 0u32..600,
            len in 0u32..600,
            set in any::<bool>(),
        ) {
            let before = bits(&bitmap);
            let (start, end) = (first as usize, (first + len) as usize);
            let result = if set {
                set_run(&mut bitmap, first, len)
            } else {
                clear_run(&mut bitmap, first, len)
            };
            let mut want = before.clone();
            let expected = match before.get(start..end) {
                _ if len == 0 => Ok(()),
                None => Err(GroupError::BitsOutside),
                Some(run) if run.contains(&set) => {
                    Err(if set { GroupError::BitsSet } else { GroupError::BitsClear })
                }
                Some(_) => {
                    want[start..end].fill(set);
                    Ok(())
                }
            };
            prop_assert_eq!(result, expected);
            prop_assert_eq!(bits(&bitmap), want);
        }

        #[test]
        fn marking_and_searching(
            mut bitmap in prop::collection::vec(prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 1..70),
            first in 0u32..600,
            len in 0u32..600,
        ) {
            let model = bits(&bitmap);
            let end = (first + len) as usize;
            let range = model.get(first as usize..end.min(model.len())).unwrap_or(&[]);
            let nth = |n: usize| first + n as u32;
            prop_assert_eq!(next_clear(&bitmap, first, first + len), range.iter().position(|b| !b).map(nth));
            prop_assert_eq!(next_set(&bitmap, first, first + len), range.iter().position(|b| *b).map(nth));
            let clear = model.iter().take(first as usize).filter(|b| !**b).count();
            prop_assert_eq!(count_clear(&bitmap, first) as usize, clear);
            let inside = len == 0 || end <= model.len();
            prop_assert_eq!(is_set(&bitmap, first, len), inside && (len == 0 || range.iter().all(|b| *b)));
            prop_assert_eq!(is_clear(&bitmap, first, len), inside && (len == 0 || range.iter().all(|b| !b)));
            mark_run(&mut bitmap, first, len);
            for (n, (got, was)) in bits(&bitmap).into_iter().zip(model).enumerate() {
                prop_assert_eq!(got, was || (first as usize..end).contains(&n));
            }
        }
    }
}
