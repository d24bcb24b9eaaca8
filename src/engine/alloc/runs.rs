// SPDX-License-Identifier: GPL-2.0

//! The free runs of one group: a bitmap, and a tree over it that knows where runs are.
//!
//! The bitmap has one bit per cluster, set for those in use. It is cut into chunks of 512 bits.
//! Above the chunks stands a binary tree, each node of which holds three lengths about its part
//! of the bitmap: the longest free run, the free run that it begins with and the one that it ends
//! with. Two such triples give that of both parts together, so a change costs one chunk and one
//! path to the root, and a search goes down one path: O(log n), whatever the fragmentation. The
//! memory is fixed by the number of clusters; nothing can fail while the group's lock is held.
//!
//! C ext4's buddy bitmaps count runs in powers of two, split a run that is not aligned to its
//! size, and need a walk to find the run that suits; the tree sees runs as they are.
//!
//! Invariants:
//! - bits from [`bits`](RunTree::bits) up to the end of the last chunk are set;
//! - node `i` describes nodes `2i` and `2i + 1`, nodes from `leaves` on the chunks; chunks that do
//!   not exist have nothing free;
//! - `free` is the number of clear bits.
//!
//! Locking: the group's lock, for all of it.

use core::ops::{Deref, DerefMut};

use super::node::{longer_run, run_in_word, Node, WORD};
use super::Run;
use crate::ondisk::group::GroupError;

/// log2 of the bits of a word.
const WORD_SHIFT: u32 = WORD.trailing_zeros();
/// log2 of the bits of a chunk.
const CHUNK_SHIFT: u32 = 9;
/// Bits of a chunk.
const CHUNK: u32 = 1 << CHUNK_SHIFT;
/// log2 of the words of a chunk.
const CHUNK_WORDS_SHIFT: u32 = CHUNK_SHIFT - WORD_SHIFT;
/// Words of a chunk.
const CHUNK_WORDS: usize = 1 << CHUNK_WORDS_SHIFT;

/// The most bits a tree can have: those of a bitmap block of 64 KiB.
pub const MAX_BITS: u32 = 1 << 19;

/// Words of bitmap, a whole number of chunks.
const fn bitmap_words(bits: u32) -> usize {
    (bits.div_ceil(CHUNK) << CHUNK_WORDS_SHIFT) as usize
}

/// Leaves of the tree: the chunks, rounded up to a power of two.
const fn leaves(bits: u32) -> u32 {
    let chunks = bits.div_ceil(CHUNK);
    // At most MAX_BITS / CHUNK where it matters.
    match chunks.checked_next_power_of_two() {
        Some(leaves) => leaves,
        None => chunks,
    }
}

/// How many words of storage a tree of `bits` bits needs: 640 for the 32768 clusters of a group
/// with 4 KiB blocks, 10240 at most.
pub const fn storage_len(bits: u32) -> usize {
    bitmap_words(bits).saturating_add((leaves(bits) as usize).saturating_mul(2))
}

/// See the module's head. `S` is storage of at least [`storage_len`] words.
#[derive(Debug)]
pub struct RunTree<S> {
    words: S,
    bits: u32,
    leaves: u32,
    free: u32,
}

impl<S: Deref<Target = [u64]>> RunTree<S> {
    /// How many clusters there are.
    #[inline]
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// How many clusters are free.
    #[inline]
    pub fn free(&self) -> u32 {
        self.free
    }

    /// The length of the longest free run, 0 if nothing is free.
    #[inline]
    pub fn longest(&self) -> u32 {
        self.node(1).longest
    }

    /// Whether all clusters of a run are free; false for a run that is not in the group.
    #[inline]
    pub fn is_free(&self, run: Run) -> bool {
        self.contains(run) && self.each_word(run, |word, mask| word & mask == 0)
    }

    /// Whether all clusters of a run are in use; false for a run that is not in the group.
    #[inline]
    pub fn is_used(&self, run: Run) -> bool {
        self.contains(run) && self.each_word(run, |word, mask| word & mask == mask)
    }

    /// How many clusters from `start` on are free without a gap, at most `max`.
    pub fn run_at(&self, start: u32, max: u32) -> u32 {
        let max = max.min(self.bits.saturating_sub(start));
        if max == 0 {
            return 0;
        }
        // To the end of the chunk by words, then by nodes: what a node begins with is either all
        // of it, or where the run ends.
        let chunk_end = (start | (CHUNK - 1)).wrapping_add(1);
        let mut mask = u64::MAX.wrapping_shl(start & (WORD - 1));
        for index in (start >> WORD_SHIFT)..(chunk_end >> WORD_SHIFT) {
            let used = self.word(index) & mask;
            mask = u64::MAX;
            if used != 0 {
                let end = (index << WORD_SHIFT).wrapping_add(used.trailing_zeros());
                return max.min(end.saturating_sub(start));
            }
        }
        let mut len = chunk_end.wrapping_sub(start);
        for (_, node, node_len) in self.subtrees(chunk_end) {
            len = len.wrapping_add(node.prefix);
            if node.prefix != node_len || len >= max {
                break;
            }
        }
        max.min(len)
    }

    /// The first `len` free clusters in a row that begin at or after `from`.
    pub fn find(&self, from: u32, len: u32) -> Option<Run> {
        if len == 0 || len > self.longest() || from >= self.bits {
            return None;
        }
        let chunk = from >> CHUNK_SHIFT;
        let mut open = match self.scan(chunk, from & (CHUNK - 1), len) {
            Scan::Found(start) => return Some(Run::new(start, len)),
            Scan::Suffix(open) => open,
        };
        // `open` free bits lie in front of each subtree.
        let at = chunk.wrapping_add(1) << CHUNK_SHIFT;
        for (index, node, node_len) in self.subtrees(at) {
            let start = self.first_bit(index, node_len);
            if open.wrapping_add(node.prefix) >= len {
                return Some(Run::new(start.wrapping_sub(open), len));
            }
            if node.longest >= len {
                return self.descend(index, start, node_len, len);
            }
            open = if node.suffix == node_len {
                open.wrapping_add(node_len)
            } else {
                node.suffix
            };
        }
        None
    }

    /// The first free run of `len` below a node whose longest run is that long, and whose first
    /// run is not unless it is inside.
    fn descend(&self, mut index: u32, mut start: u32, mut len: u32, want: u32) -> Option<Run> {
        while index < self.leaves {
            let half = len >> 1;
            let (left, right) = (index << 1, (index << 1) | 1);
            let l = self.node(left);
            if l.longest >= want {
                index = left;
            } else {
                let middle = start.wrapping_add(half);
                if l.suffix.wrapping_add(self.node(right).prefix) >= want {
                    return Some(Run::new(middle.wrapping_sub(l.suffix), want));
                }
                start = middle;
                index = right;
            }
            len = half;
        }
        match self.scan(index.wrapping_sub(self.leaves), 0, want) {
            Scan::Found(start) => Some(Run::new(start, want)),
            Scan::Suffix(_) => None,
        }
    }

    /// Looks for `want` (> 0) free bits in a row inside a chunk, from bit `offset` of it.
    fn scan(&self, chunk: u32, offset: u32, want: u32) -> Scan {
        let first = chunk << CHUNK_WORDS_SHIFT;
        let end = first.wrapping_add(CHUNK_WORDS as u32);
        let mut mask = u64::MAX.wrapping_shl(offset & (WORD - 1));
        let mut open = 0u32;
        for index in first.wrapping_add(offset >> WORD_SHIFT)..end {
            let free = !self.word(index) & mask;
            mask = u64::MAX;
            let start = index << WORD_SHIFT;
            let prefix = (!free).trailing_zeros();
            if open.wrapping_add(prefix) >= want {
                return Scan::Found(start.wrapping_sub(open));
            }
            if prefix == WORD {
                open = open.wrapping_add(WORD);
                continue;
            }
            if let Some(inside) = run_in_word(free, want) {
                return Scan::Found(start.wrapping_add(inside));
            }
            open = (!free).leading_zeros();
        }
        Scan::Suffix(open)
    }

    /// The largest subtrees that together make up everything from `at`, the first bit of a chunk
    /// other than the first, to the end: index, node and length of each. At most two for each level.
    #[inline]
    fn subtrees(&self, at: u32) -> impl Iterator<Item = (u32, Node, u32)> + '_ {
        // A power of two is the first node of its level: what comes after the last one.
        let mut index = self.leaves.wrapping_add(at >> CHUNK_SHIFT);
        let mut len = CHUNK;
        core::iter::from_fn(move || {
            if index.is_power_of_two() {
                return None;
            }
            let up = index.trailing_zeros();
            index = index.wrapping_shr(up);
            len = len.wrapping_shl(up);
            let found = (index, self.node(index), len);
            index = index.wrapping_add(1);
            Some(found)
        })
    }

    /// The first bit below node `index`, which stands for `len` bits.
    #[inline]
    fn first_bit(&self, index: u32, len: u32) -> u32 {
        // Its place in its level, whose first index is the power of two.
        let level = 1u32.wrapping_shl((u32::BITS - 1).saturating_sub(index.leading_zeros()));
        index.wrapping_sub(level).wrapping_mul(len)
    }

    #[inline]
    fn contains(&self, run: Run) -> bool {
        run.start
            .checked_add(run.len)
            .is_some_and(|end| end <= self.bits)
    }

    /// Whether `check` holds for all words that a run is in, each with the run's bits of it.
    #[inline]
    fn each_word(&self, run: Run, mut check: impl FnMut(u64, u64) -> bool) -> bool {
        let mut pieces = Pieces::new(run);
        pieces.all(|(index, mask)| check(self.word(index), mask))
    }

    #[inline]
    fn word(&self, index: u32) -> u64 {
        self.words.get(index as usize).copied().unwrap_or(u64::MAX)
    }

    #[inline]
    fn node(&self, index: u32) -> Node {
        let at = bitmap_words(self.bits).wrapping_add(index as usize);
        Node::unpack(self.words.get(at).copied().unwrap_or(0))
    }

    /// The triple of a chunk, from its bits.
    fn summarize(&self, chunk: u32) -> Node {
        let first = (chunk << CHUNK_WORDS_SHIFT) as usize;
        let words = self.words.get(first..).and_then(|w| w.first_chunk());
        let Some(words) = words else {
            return Node::FULL;
        };
        let words: &[u64; CHUNK_WORDS] = words;
        // `open` is the free run that ends where the next word begins; the first one to be closed
        // is the prefix.
        let (mut open, mut longest) = (0u32, 0u32);
        let mut prefix = None;
        for word in words {
            if *word == 0 {
                open = open.wrapping_add(WORD);
                continue;
            }
            open = open.wrapping_add(word.trailing_zeros());
            prefix.get_or_insert(open);
            longest = longest.max(open);
            if let Some(longer) = longer_run(!word, longest) {
                longest = longer;
            }
            open = word.leading_zeros();
        }
        Node {
            longest: longest.max(open),
            prefix: prefix.unwrap_or(open),
            suffix: open,
        }
    }
}

/// What [`RunTree::scan`] sees.
enum Scan {
    /// The run begins at this bit.
    Found(u32),
    /// There is none; the chunk ends with this many free bits.
    Suffix(u32),
}

/// The words that a run is in, each with the run's bits of it.
struct Pieces {
    at: u32,
    end: u32,
}

impl Pieces {
    #[inline]
    fn new(run: Run) -> Self {
        Self {
            at: run.start,
            end: run.end(),
        }
    }
}

impl Iterator for Pieces {
    type Item = (u32, u64);

    #[inline]
    fn next(&mut self) -> Option<(u32, u64)> {
        if self.at >= self.end {
            return None;
        }
        let index = self.at >> WORD_SHIFT;
        let mut mask = u64::MAX.wrapping_shl(self.at & (WORD - 1));
        self.at = index.wrapping_add(1) << WORD_SHIFT;
        if self.at > self.end {
            mask &= u64::MAX.wrapping_shr(self.at.wrapping_sub(self.end));
        }
        Some((index, mask))
    }
}

impl<S: DerefMut<Target = [u64]>> RunTree<S> {
    /// A tree of `bits` bits, all in use. `None` if there are none or too many of them, or the
    /// storage is too small.
    pub fn new(mut storage: S, bits: u32) -> Option<Self> {
        if bits == 0 || bits > MAX_BITS {
            return None;
        }
        let words = bitmap_words(bits);
        let (bitmap, nodes) = storage.split_at_mut_checked(words)?;
        let nodes = nodes.get_mut(..(leaves(bits) as usize).saturating_mul(2))?;
        bitmap.fill(u64::MAX);
        nodes.fill(Node::FULL.pack());
        Some(Self {
            words: storage,
            bits,
            leaves: leaves(bits),
            free: 0,
        })
    }

    /// Takes over a bitmap from disk, a whole number of words; bits that it does not have are in
    /// use.
    pub fn load(&mut self, bitmap: &[u8]) {
        self.fill(|index| {
            let word = bitmap.get((index as usize) << 3..);
            word.and_then(|rest| rest.first_chunk())
                .map_or(u64::MAX, |word| u64::from_le_bytes(*word))
        });
    }

    /// Frees everything.
    pub fn clear(&mut self) {
        self.fill(|_| 0);
    }

    /// Makes the bitmap anew, word by word.
    fn fill(&mut self, mut word: impl FnMut(u32) -> u64) {
        let bits = self.bits;
        let mut free = 0u32;
        let words = self.words.get_mut(..bitmap_words(bits)).unwrap_or(&mut []);
        for (index, slot) in (0u32..).zip(words) {
            let left = bits.saturating_sub(index.wrapping_mul(WORD));
            let beyond = if left < WORD {
                u64::MAX.wrapping_shl(left)
            } else {
                0
            };
            *slot = word(index) | beyond;
            free = free.wrapping_add(slot.count_zeros());
        }
        self.free = free;
        self.refresh(0, bits.saturating_sub(1));
    }

    /// Marks the clusters of a run as in use, whatever they are.
    pub fn mark(&mut self, run: Run) {
        if !self.contains(run) || run.len == 0 {
            return;
        }
        for (index, mask) in Pieces::new(run) {
            if let Some(word) = self.words.get_mut(index as usize) {
                self.free = self.free.wrapping_sub((mask & !*word).count_ones());
                *word |= mask;
            }
        }
        self.refresh(run.start, run.end().wrapping_sub(1));
    }

    /// Takes a run of free clusters into use.
    ///
    /// Errors: [`GroupError::BitsOutside`]; [`GroupError::BitsSet`] if one is in use already.
    /// Nothing has changed then.
    pub fn take(&mut self, run: Run) -> Result<(), GroupError> {
        if !self.contains(run) {
            return Err(GroupError::BitsOutside);
        }
        if !self.is_free(run) {
            return Err(GroupError::BitsSet);
        }
        self.free = self.free.wrapping_sub(run.len);
        self.change(run, |word, mask| word | mask);
        Ok(())
    }

    /// Frees a run of clusters in use.
    ///
    /// Errors: [`GroupError::BitsOutside`]; [`GroupError::BitsClear`] if one is free already.
    /// Nothing has changed then.
    pub fn release(&mut self, run: Run) -> Result<(), GroupError> {
        if !self.contains(run) {
            return Err(GroupError::BitsOutside);
        }
        if !self.is_used(run) {
            return Err(GroupError::BitsClear);
        }
        self.free = self.free.wrapping_add(run.len);
        self.change(run, |word, mask| word & !mask);
        Ok(())
    }

    #[inline]
    fn change(&mut self, run: Run, new: impl Fn(u64, u64) -> u64) {
        if run.len == 0 {
            return;
        }
        for (index, mask) in Pieces::new(run) {
            if let Some(word) = self.words.get_mut(index as usize) {
                *word = new(*word, mask);
            }
        }
        self.refresh(run.start, run.end().wrapping_sub(1));
    }

    /// Brings the nodes above bits `first..=last` up to date.
    fn refresh(&mut self, first: u32, last: u32) {
        let mut low = self.leaves.wrapping_add(first >> CHUNK_SHIFT);
        let mut high = self.leaves.wrapping_add(last >> CHUNK_SHIFT);
        let mut changed = false;
        for index in low..=high {
            let node = self.summarize(index.wrapping_sub(self.leaves));
            changed |= self.set_node(index, node);
        }
        let mut half = CHUNK;
        // What a node says is all that the nodes above know of the bits: if none has changed,
        // neither have they.
        while changed && low > 1 {
            (low, high) = (low >> 1, high >> 1);
            changed = false;
            for index in low..=high {
                let (left, right) = (self.node(index << 1), self.node((index << 1) | 1));
                changed |= self.set_node(index, left.join(right, half));
            }
            half <<= 1;
        }
    }

    /// Stores a node; whether it is another than before.
    #[inline]
    fn set_node(&mut self, index: u32, node: Node) -> bool {
        let at = bitmap_words(self.bits).wrapping_add(index as usize);
        let packed = node.pack();
        match self.words.get_mut(at) {
            Some(slot) if *slot != packed => {
                *slot = packed;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_is_what_the_documentation_says() {
        assert_eq!(storage_len(32768), 640);
        assert_eq!(storage_len(MAX_BITS), 10240);
        assert_eq!(storage_len(8), 8 + 2);
        for bits in [0, MAX_BITS + 1, u32::MAX] {
            assert!(RunTree::new(vec![0; 20000], bits).is_none(), "{bits}");
        }
        assert!(RunTree::new(vec![0; 639], 32768).is_none());
        assert!(RunTree::new(vec![0; 640], 32768).is_some());
    }
}
