// SPDX-License-Identifier: GPL-2.0

//! Free runs in one word of a bitmap, and what a node of the [tree](super::runs) says of its part.

use super::runs::MAX_BITS;

/// Bits of a word.
pub(super) const WORD: u32 = u64::BITS;

/// Bits of a length in a node: 0 to `MAX_BITS`.
const LEN_BITS: u32 = 21;
const LEN_MASK: u64 = (1 << LEN_BITS) - 1;
const _: () = assert!((MAX_BITS as u64) <= LEN_MASK && 3 * LEN_BITS <= 64);

/// What is free in a part of the bitmap, as stored in one word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) longest: u32,
    pub(super) prefix: u32,
    pub(super) suffix: u32,
}

impl Node {
    /// Nothing is free.
    pub(super) const FULL: Self = Self::all_free(0);

    /// All of `len` bits are free.
    pub(super) const fn all_free(len: u32) -> Self {
        Self {
            longest: len,
            prefix: len,
            suffix: len,
        }
    }

    #[inline]
    pub(super) fn unpack(word: u64) -> Self {
        let field = |n: u32| ((word >> (n & 63)) & LEN_MASK) as u32;
        Self {
            longest: field(0),
            prefix: field(LEN_BITS),
            suffix: field(2 * LEN_BITS),
        }
    }

    #[inline]
    pub(super) fn pack(self) -> u64 {
        u64::from(self.longest)
            | (u64::from(self.prefix) << LEN_BITS)
            | (u64::from(self.suffix) << (2 * LEN_BITS))
    }

    /// `self` and then `right`, each of `half` bits. Lengths are at most `MAX_BITS`, so no sum
    /// wraps.
    #[inline]
    pub(super) fn join(self, right: Self, half: u32) -> Self {
        let whole = |run: u32, more: u32| if run == half { more } else { 0 };
        Self {
            longest: self
                .longest
                .max(right.longest)
                .max(self.suffix.wrapping_add(right.prefix)),
            prefix: self.prefix.wrapping_add(whole(self.prefix, right.prefix)),
            suffix: right.suffix.wrapping_add(whole(right.suffix, self.suffix)),
        }
    }
}

/// The first `want` ones in a row in a word; `want` > 0.
#[inline]
pub(super) fn run_in_word(ones: u64, want: u32) -> Option<u32> {
    if want > WORD {
        return None;
    }
    let starts = starts_of(ones, want);
    (starts != 0).then(|| starts.trailing_zeros())
}

/// The length of the longest run of ones in a word, if it is longer than `than`. Words without one
/// that would count cost a few instructions.
#[inline]
pub(super) fn longer_run(ones: u64, than: u32) -> Option<u32> {
    if than >= WORD {
        return None;
    }
    let mut len = than.wrapping_add(1);
    // Where `len` ones in a row begin; where another such run begins `step` bits (at most `len`)
    // later, there are `len + step`.
    let mut starts = starts_of(ones, len);
    if starts == 0 {
        return None;
    }
    let mut step = len;
    while step < WORD && starts & starts.wrapping_shr(step) != 0 {
        starts &= starts.wrapping_shr(step);
        len = len.wrapping_add(step);
        step = len;
    }
    // Fewer than `step` are missing.
    while step > 1 {
        step = step.wrapping_add(1) >> 1;
        let more = starts & starts.wrapping_shr(step);
        if step < WORD && more != 0 {
            starts = more;
            len = len.wrapping_add(step);
        }
    }
    Some(len)
}

/// The bits at which `want` (1 to 64) ones in a row begin.
#[inline]
fn starts_of(mut ones: u64, want: u32) -> u64 {
    // `ones` marks where `have` ones begin.
    let mut have = 1u32;
    while ones != 0 && have < want {
        let more = have.min(want.wrapping_sub(have));
        ones &= ones.wrapping_shr(more);
        have = have.wrapping_add(more);
    }
    ones
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_in_words() {
        for ones in [
            0,
            1,
            u64::MAX,
            0b0111_0110,
            0xf000_0000_0000_0000,
            0x00ff_ff00_0ff0_0f07,
        ] {
            let bit = |n: u32| n < 64 && (ones >> n) & 1 == 1;
            let len_at = |n: u32| (n..=64).take_while(|n| bit(*n)).count() as u32;
            let longest = (0..64).map(len_at).max().unwrap();
            for want in 1..=65 {
                assert_eq!(
                    run_in_word(ones, want),
                    (0..64).find(|n| len_at(*n) >= want)
                );
                let longer = longer_run(ones, want - 1);
                assert_eq!(
                    longer,
                    (longest >= want).then_some(longest),
                    "{ones:#x} {want}"
                );
            }
        }
    }
}
