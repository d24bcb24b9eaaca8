// SPDX-License-Identifier: GPL-2.0

//! Sorting in place, without recursion, and without the panics that the standard sorts keep for a
//! comparison that contradicts itself: a heap sort.

/// Puts `items` in the order of their keys. Those with the same key may change places.
pub fn sort_by_key<T: Copy>(items: &mut [T], key: impl Fn(&T) -> u64) {
    // Already in order more often than not: a pass over it costs less than a heap.
    let ordered = items
        .iter()
        .zip(items.iter().skip(1))
        .all(|(a, b)| key(a) <= key(b));
    if ordered {
        return;
    }
    let len = items.len();
    for root in (0..len / 2).rev() {
        sift_down(items, root, len, &key);
    }
    for end in (1..len).rev() {
        swap(items, 0, end);
        sift_down(items, 0, end, &key);
    }
}

/// Restores the heap below `root`, in the first `end` items.
fn sift_down<T: Copy>(items: &mut [T], mut root: usize, end: usize, key: &impl Fn(&T) -> u64) {
    let key_at = |items: &[T], i: usize| items.get(i).map_or(0, key);
    loop {
        let left = root.saturating_mul(2).saturating_add(1);
        if left >= end {
            return;
        }
        let right = left.saturating_add(1);
        let larger = if right < end && key_at(items, right) > key_at(items, left) {
            right
        } else {
            left
        };
        if key_at(items, root) >= key_at(items, larger) {
            return;
        }
        swap(items, root, larger);
        root = larger;
    }
}

fn swap<T: Copy>(items: &mut [T], a: usize, b: usize) {
    if let (Some(first), Some(second)) = (items.get(a).copied(), items.get(b).copied()) {
        for (at, item) in [(a, second), (b, first)] {
            if let Some(slot) = items.get_mut(at) {
                *slot = item;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sorting_sorts(mut items in prop::collection::vec(0u64..1000, 0..200)) {
            let mut sorted = items.clone();
            sort_by_key(&mut sorted, |item| *item);
            items.sort_unstable();
            prop_assert_eq!(sorted, items);
        }
    }
}
