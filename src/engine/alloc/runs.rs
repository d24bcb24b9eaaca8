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

use core::ops::{Deref, DerefMut, Range};

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
        self.contains(run) && (run.len == 0 || Span::new(run).all(&self.words, 0))
    }

    /// Whether all clusters of a run are in use; false for a run that is not in the group.
    #[inline]
    pub fn is_used(&self, run: Run) -> bool {
        self.contains(run) && (run.len == 0 || Span::new(run).all(&self.words, u64::MAX))
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

    /// All free runs, in order.
    pub fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        let mut from = 0;
        core::iter::from_fn(move || {
            let start = self.find(from, 1)?.start;
            let run = Run::new(start, self.run_at(start, u32::MAX));
            from = run.end();
            Some(run)
        })
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

    #[inline]
    fn word(&self, index: u32) -> u64 {
        self.words.get(index as usize).copied().unwrap_or(u64::MAX)
    }

    #[inline]
    fn node(&self, index: u32) -> Node {
        let at = bitmap_words(self.bits).wrapping_add(index as usize);
        Node::unpack(self.words.get(at).copied().unwrap_or(0))
    }
}

/// What [`RunTree::scan`] sees.
enum Scan {
    /// The run begins at this bit.
    Found(u32),
    /// There is none; the chunk ends with this many free bits.
    Suffix(u32),
}

/// A run of bits as words: a first one and a last one with the bits that count, and whole words
/// between. For a run inside one word the last one's mask is 0.
struct Span {
    head: (usize, u64),
    tail: (usize, u64),
}

impl Span {
    /// The words of a run that is not empty.
    #[inline]
    fn new(run: Run) -> Self {
        let last = run.end().wrapping_sub(1);
        let (first_word, last_word) = (run.start >> WORD_SHIFT, last >> WORD_SHIFT);
        let head = u64::MAX.wrapping_shl(run.start & (WORD - 1));
        let tail = u64::MAX.wrapping_shr((WORD - 1) ^ (last & (WORD - 1)));
        let (head, tail) = if first_word == last_word {
            (head & tail, 0)
        } else {
            (head, tail)
        };
        Self {
            head: (first_word as usize, head),
            tail: (last_word as usize, tail),
        }
    }

    #[inline]
    fn middle(&self) -> Range<usize> {
        self.head.0.wrapping_add(1)..self.tail.0
    }

    /// Whether all bits are as those of `word`, 0 or all ones.
    #[inline]
    fn all(&self, bitmap: &[u64], word: u64) -> bool {
        let edge =
            |(at, mask): (usize, u64)| bitmap.get(at).is_some_and(|w| (w ^ word) & mask == 0);
        let middle = bitmap.get(self.middle()).unwrap_or(&[]);
        edge(self.head) && edge(self.tail) && middle.iter().all(|w| *w == word)
    }

    /// Makes all bits as those of `word`, 0 or all ones.
    #[inline]
    fn fill(&self, bitmap: &mut [u64], word: u64) {
        for (at, mask) in [self.head, self.tail] {
            if let Some(w) = bitmap.get_mut(at) {
                *w = (*w & !mask) | (word & mask);
            }
        }
        if let Some(middle) = bitmap.get_mut(self.middle()) {
            middle.fill(word);
        }
    }

    /// How many bits are clear.
    fn count_clear(&self, bitmap: &[u64]) -> u32 {
        let edge =
            |(at, mask): (usize, u64)| bitmap.get(at).map_or(0, |w| (!w & mask).count_ones());
        let middle = bitmap.get(self.middle()).unwrap_or(&[]);
        let mut clear = edge(self.head).wrapping_add(edge(self.tail));
        for word in middle {
            clear = clear.wrapping_add(word.count_zeros());
        }
        clear
    }
}

/// The triple of a chunk, from its bits.
fn summarize(bitmap: &[u64], chunk: u32) -> Node {
    let first = (chunk << CHUNK_WORDS_SHIFT) as usize;
    let words = bitmap.get(first..).and_then(|words| words.first_chunk());
    let Some(words) = words else {
        return Node::FULL;
    };
    let words: &[u64; CHUNK_WORDS] = words;
    // `open` is the free run that ends where the next word begins; the first one to be closed is
    // the prefix.
    let (mut open, mut longest) = (0u32, 0u32);
    let mut prefix = None;
    for word in words {
        let word = *word;
        if word == 0 {
            open = open.wrapping_add(WORD);
            continue;
        }
        let (low, high) = (word.trailing_zeros(), word.leading_zeros());
        open = open.wrapping_add(low);
        prefix.get_or_insert(open);
        longest = longest.max(open);
        open = high;
        // Runs with a used cluster on either side of them in the word itself.
        let inside = !word & u64::MAX.wrapping_shl(low) & u64::MAX.wrapping_shr(high);
        if inside != 0 {
            if let Some(longer) = longer_run(inside, longest) {
                longest = longer;
            }
        }
    }
    Node {
        longest: longest.max(open),
        prefix: prefix.unwrap_or(open),
        suffix: open,
    }
}

/// Brings the nodes above bits `first..=last` up to date. The chunks between those of `first` and
/// `last` are `whole`, if that is known.
fn refresh(bitmap: &[u64], nodes: &mut [u64], first: u32, last: u32, whole: Option<Node>) {
    // The second half of the nodes are those of the chunks.
    let leaves = (nodes.len() >> 1) as u32;
    let mut low = leaves.wrapping_add(first >> CHUNK_SHIFT);
    let mut high = leaves.wrapping_add(last >> CHUNK_SHIFT);
    let mut len = CHUNK;
    if low == high {
        let node = summarize(bitmap, low.wrapping_sub(leaves));
        climb(nodes, low, node, len);
        return;
    }
    for index in low..=high {
        let node = match whole {
            Some(whole) if index > low && index < high => whole,
            _ => summarize(bitmap, index.wrapping_sub(leaves)),
        };
        if let Some(slot) = nodes.get_mut(index as usize) {
            *slot = node.pack();
        }
    }
    while low != high {
        (low, high) = (low >> 1, high >> 1);
        for index in low..=high {
            let node = join_below(nodes, index, len);
            if low == high {
                climb(nodes, index, node, len << 1);
            } else if let Some(slot) = nodes.get_mut(index as usize) {
                *slot = node.pack();
            }
        }
        len <<= 1;
    }
}

/// The node that follows from the two below it, each of `half` bits.
fn join_below(nodes: &[u64], index: u32, half: u32) -> Node {
    let below = nodes.get((index as usize) << 1..);
    let Some([left, right]) = below.and_then(|below| below.first_chunk()) else {
        return Node::FULL;
    };
    Node::unpack(*left).join(Node::unpack(*right), half)
}

/// Stores a node, of `len` bits, and those above it. What a node says is all that the ones above
/// know of its bits: where nothing changes, it ends.
fn climb(nodes: &mut [u64], mut index: u32, mut node: Node, mut len: u32) {
    while let Some(slot) = nodes.get_mut(index as usize) {
        let packed = node.pack();
        if *slot == packed {
            return;
        }
        *slot = packed;
        if index <= 1 {
            return;
        }
        let sibling = nodes.get((index ^ 1) as usize).copied();
        let sibling = Node::unpack(sibling.unwrap_or(0));
        node = if index & 1 == 0 {
            node.join(sibling, len)
        } else {
            sibling.join(node, len)
        };
        index >>= 1;
        len <<= 1;
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
        let (bitmap, nodes) = self.parts();
        for (index, slot) in (0u32..).zip(bitmap.iter_mut()) {
            let left = bits.saturating_sub(index.wrapping_mul(WORD));
            let mut used = word(index);
            if left < WORD {
                used |= u64::MAX.wrapping_shl(left);
            }
            *slot = used;
            // Counting takes a while where the machine cannot.
            free = free.wrapping_add(match used {
                0 => WORD,
                u64::MAX => 0,
                mixed => mixed.count_zeros(),
            });
        }
        refresh(bitmap, nodes, 0, bits.wrapping_sub(1), None);
        self.free = free;
    }

    /// The bitmap and the nodes.
    #[inline]
    fn parts(&mut self) -> (&mut [u64], &mut [u64]) {
        let (words, leaves) = (bitmap_words(self.bits), self.leaves as usize);
        match self.words.split_at_mut_checked(words) {
            // The storage was seen to be large enough, twice as many nodes as leaves.
            Some((bitmap, rest)) => (bitmap, rest.get_mut(..leaves << 1).unwrap_or(&mut [])),
            None => (&mut [], &mut []),
        }
    }

    /// Marks the clusters of a run as in use, whatever they are.
    pub fn mark(&mut self, run: Run) {
        if self.contains(run) && run.len != 0 {
            let clear = Span::new(run).count_clear(&self.words);
            self.free = self.free.wrapping_sub(clear);
            self.change(&Span::new(run), run, u64::MAX);
        }
    }

    /// Takes a run of free clusters into use.
    ///
    /// Errors: [`GroupError::BitsOutside`]; [`GroupError::BitsSet`] if one is in use already.
    /// Nothing has changed then.
    pub fn take(&mut self, run: Run) -> Result<(), GroupError> {
        let Some(span) = self.checked(run, 0, GroupError::BitsSet)? else {
            return Ok(());
        };
        self.free = self.free.wrapping_sub(run.len);
        self.change(&span, run, u64::MAX);
        Ok(())
    }

    /// Frees a run of clusters in use.
    ///
    /// Errors: [`GroupError::BitsOutside`]; [`GroupError::BitsClear`] if one is free already.
    /// Nothing has changed then.
    pub fn release(&mut self, run: Run) -> Result<(), GroupError> {
        let Some(span) = self.checked(run, u64::MAX, GroupError::BitsClear)? else {
            return Ok(());
        };
        self.free = self.free.wrapping_add(run.len);
        self.change(&span, run, 0);
        Ok(())
    }

    /// The words of a run, `None` for an empty one, whose bits must all be as those of `word`.
    #[inline]
    fn checked(&self, run: Run, word: u64, twice: GroupError) -> Result<Option<Span>, GroupError> {
        if !self.contains(run) {
            return Err(GroupError::BitsOutside);
        }
        if run.len == 0 {
            return Ok(None);
        }
        let span = Span::new(run);
        if span.all(&self.words, word) {
            Ok(Some(span))
        } else {
            Err(twice)
        }
    }

    /// Makes all bits of a run as those of `word`.
    fn change(&mut self, span: &Span, run: Run, word: u64) {
        let (bitmap, nodes) = self.parts();
        span.fill(bitmap, word);
        let whole = if word == 0 {
            Node::all_free(CHUNK)
        } else {
            Node::FULL
        };
        let last = run.end().wrapping_sub(1);
        refresh(bitmap, nodes, run.start, last, Some(whole));
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
