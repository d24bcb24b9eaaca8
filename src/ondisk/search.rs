// SPDX-License-Identifier: GPL-2.0

//! Binary search without a panic path: `slice::partition_point` brings an overflow check along.

/// The index of the first element of `sorted` for which `before` does not hold, its length if
/// there is none. For a slice that is not partitioned, as a damaged block may be, any index.
#[inline]
pub fn partition_point<T>(sorted: &[T], mut before: impl FnMut(&T) -> bool) -> usize {
    let mut start = 0usize;
    let mut len = sorted.len();
    // `start..start + len` holds the answer or ends at it; each turn at least halves `len`.
    while len > 0 {
        let half = len >> 1;
        let middle = start.wrapping_add(half);
        match sorted.get(middle) {
            Some(element) if before(element) => {
                start = middle.wrapping_add(1);
                len = len.wrapping_sub(half).wrapping_sub(1);
            }
            _ => len = half,
        }
    }
    start
}

#[cfg(test)]
mod tests {
    use super::partition_point;

    #[test]
    fn agrees_with_the_standard_library() {
        for len in 0..40u32 {
            let sorted: Vec<u32> = (0..len).map(|n| n / 3).collect();
            for key in 0..16 {
                assert_eq!(
                    partition_point(&sorted, |n| *n < key),
                    sorted.partition_point(|n| *n < key)
                );
            }
        }
    }

    #[test]
    fn ends_on_any_slice() {
        let wild = [5, 1, 9, 0, 7, 7, 2];
        for key in 0..10 {
            assert!(partition_point(&wild, |n| *n < key) <= wild.len());
        }
    }
}
