// SPDX-License-Identifier: GPL-2.0

//! Writing nodes of an extent tree.
//!
//! [`NodeMut`] is the only way to change a node. Both kinds of entry are 12 bytes and begin with
//! their key, so that everything here works on [`Entry`] and does not ask which kind it is: one
//! primitive, [`NodeMut::splice`], replaces a range of entries by others, and
//! [`NodeMut::split`] does the same for a node that runs over, with the result cut in two.
//!
//! What an operation must know before it changes anything is the node's [`Shape`]; taking it is
//! what can fail. The writing itself cannot: a request that does not fit the node, which the
//! shape has excluded, is left undone, as the bytes may have been changed by somebody who writes
//! to the device.
//!
//! A node's capacity (`eh_max`) is raised to what the block has room for when entries are added,
//! since e2fsck insists on it (it allows two less) and a smaller one has no meaning.

use super::*;

/// An entry of either kind, as it stands on disk; its first four bytes are its key.
pub type Entry = [u8; 12];
const _: () = assert!(size_of::<Entry>() == size_of::<RawExtent>());
const _: () = assert!(size_of::<Entry>() == size_of::<RawIndex>());

/// How many entries the root has room for.
pub const ROOT_CAPACITY: u16 = 4;
const _: () = assert!(ROOT_SIZE == size_of::<RawHeader>() + 12 * ROOT_CAPACITY as usize);

/// The root of a file without blocks, for a new inode.
pub const EMPTY_ROOT: [u8; super::ROOT_SIZE] = {
    let mut root = [0; super::ROOT_SIZE];
    let [a, b, _, _, c, ..] = &mut root;
    [*a, *b] = super::MAGIC.to_le_bytes();
    // Fits a byte.
    *c = ROOT_CAPACITY as u8;
    root
};

/// The least capacity with which nodes can be made: what the root holds, and the two entries that
/// a change can add at most, fit one node, so that growing in depth never splits at once.
pub const MIN_CAPACITY: u16 = ROOT_CAPACITY + 2;

/// The longest extent in blocks that an entry can express.
#[inline]
pub const fn max_len(unwritten: bool) -> u32 {
    // A length of 32768 means a written extent, so that an unwritten one ends one short of it.
    if unwritten {
        MAX_WRITTEN_LEN as u32 - 1
    } else {
        MAX_WRITTEN_LEN as u32
    }
}

/// How many entries a node in a block of `block_size` bytes (1 KiB to 64 KiB) has room for. What
/// the division leaves is the room of the checksum, see [`RawTail`].
#[inline]
pub const fn block_capacity(block_size: usize) -> u16 {
    let room = block_size.saturating_sub(size_of::<RawHeader>());
    (room / size_of::<Entry>()) as u16
}
const _: () = assert!(block_capacity(1024) == 84 && block_capacity(65536) == 5460);

impl Extent {
    /// The extent as it stands in a leaf.
    ///
    /// Errors: [`ExtentError::ZeroLength`], [`ExtentError::TooLong`], [`ExtentError::PastEnd`] or
    /// [`ExtentError::BadRun`] if no entry can say that.
    #[inline]
    pub fn entry(&self) -> Result<Entry, ExtentError> {
        if self.len == 0 {
            return Err(ExtentError::ZeroLength);
        }
        if self.len > max_len(self.unwritten) {
            return Err(ExtentError::TooLong);
        }
        if self.first.get().checked_add(self.len).is_none() {
            return Err(ExtentError::PastEnd);
        }
        let (hi, lo) = split48(self.start).ok_or(ExtentError::BadRun)?;
        let mark = if self.unwritten { MAX_WRITTEN_LEN } else { 0 };
        let raw = RawExtent {
            block: self.first.get().into(),
            // At most 32767 + 32768.
            len: (self.len as u16).wrapping_add(mark).into(),
            start_hi: hi,
            start_lo: lo,
        };
        Ok(zerocopy::transmute!(raw))
    }

    /// `self` and `next` as one extent, if `next` goes on where `self` ends, in the file and on
    /// the device, both are written or both are not, and one entry can express it.
    #[inline]
    pub fn join(&self, next: &Self) -> Option<Self> {
        let len = self.len.checked_add(next.len)?;
        let joins = self.unwritten == next.unwritten
            && self.end() == next.first
            && self.start.checked_add(self.len.into()) == Some(next.start)
            && len <= max_len(self.unwritten);
        joins.then_some(Self { len, ..*self })
    }

    /// The part of the extent in `from..to`; `None` if that is empty.
    #[inline]
    pub fn clip(&self, from: FileBlock, to: FileBlock) -> Option<Self> {
        let first = self.first.max(from);
        let len = first.distance_to(self.end().min(to));
        let start = self
            .start
            .checked_add(self.first.distance_to(first).into())?;
        (len != 0).then_some(Self {
            first,
            len,
            start,
            unwritten: self.unwritten,
        })
    }
}

impl Index {
    /// The index as it stands in a node.
    ///
    /// Errors: [`ExtentError::BadTarget`] if the block's number is wider than 48 bits.
    #[inline]
    pub fn entry(&self) -> Result<Entry, ExtentError> {
        let (hi, lo) = split48(self.child).ok_or(ExtentError::BadTarget)?;
        let raw = RawIndex {
            block: self.first.get().into(),
            leaf_lo: lo,
            leaf_hi: hi,
            unused: 0.into(),
        };
        Ok(zerocopy::transmute!(raw))
    }
}

/// The reverse of [`join48`].
#[inline]
fn split48(block: FsBlock) -> Option<(U16, U32)> {
    let hi = u16::try_from(block.get() >> 32).ok()?;
    Some((hi.into(), (block.get() as u32).into()))
}

/// What has to be known of a node before it is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// How many entries there are.
    pub count: u16,
    /// How many there is room for.
    pub capacity: u16,
}

impl Shape {
    /// Of the root.
    #[inline]
    pub fn of_root(root: &[u8; ROOT_SIZE]) -> Result<Self, ExtentError> {
        let (header, _) = parse_header(root)?;
        let count = header.entries.get();
        if count > ROOT_CAPACITY {
            return Err(ExtentError::TooManyEntries);
        }
        Ok(Self {
            count,
            capacity: ROOT_CAPACITY,
        })
    }

    /// Of the node in `block`, whose capacity may be raised to `least`.
    #[inline]
    pub fn of_block(block: &[u8], least: u16) -> Result<Self, ExtentError> {
        let (header, _) = parse_header(block)?;
        check_capacity(header, block.len().saturating_sub(size_of::<RawTail>()))?;
        Ok(Self {
            count: header.entries.get(),
            capacity: header.max.get().max(least),
        })
    }
}

/// A node that is being changed.
pub struct NodeMut<'a> {
    header: &'a mut RawHeader,
    /// As many as the node's capacity.
    slots: &'a mut [Entry],
}

impl<'a> NodeMut<'a> {
    /// The root.
    #[inline]
    pub fn root(root: &'a mut [u8; ROOT_SIZE]) -> Option<Self> {
        Self::open(root, ROOT_CAPACITY)
    }

    /// The node in `bytes`, its capacity raised to `least` where it is lower. `None` for what is
    /// no node: never if [`Shape::of_block`] had no objection.
    #[inline]
    pub fn open(bytes: &'a mut [u8], least: u16) -> Option<Self> {
        let (header, body) = RawHeader::mut_from_prefix(bytes).ok()?;
        let capacity = header.max.get().max(least);
        let count = header.entries.get();
        let (slots, _) = <[Entry]>::mut_from_prefix_with_elems(body, usize::from(capacity)).ok()?;
        if header.magic.get() != MAGIC || count > capacity {
            return None;
        }
        header.max = capacity.into();
        Some(Self { header, slots })
    }

    /// Makes an empty node of `bytes`, all of which are 0. `None` if there is no room.
    pub fn format(bytes: &'a mut [u8], depth: u16, capacity: u16) -> Option<Self> {
        let (header, _) = RawHeader::mut_from_prefix(bytes).ok()?;
        header.magic = MAGIC.into();
        header.entries = 0.into();
        header.max = capacity.into();
        header.depth = depth.into();
        header.generation = 0.into();
        Self::open(bytes, capacity)
    }

    /// How many entries there are.
    #[inline]
    pub fn count(&self) -> usize {
        usize::from(self.header.entries.get())
    }

    /// How many entries there is room for.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// The depth that the header claims.
    #[inline]
    pub fn depth(&self) -> u16 {
        self.header.depth.get()
    }

    /// The key of the first entry; `None` in an empty node.
    #[inline]
    pub fn first(&self) -> Option<FileBlock> {
        let entry = self.slots.get(..self.count())?.first()?;
        let key = entry.first_chunk::<4>()?;
        Some(FileBlock::new(u32::from_le_bytes(*key)))
    }

    /// Changes the key of entry `slot`. Only for index nodes: an extent's key is not all that
    /// would have to change.
    #[inline]
    pub fn set_key(&mut self, slot: usize, key: FileBlock) {
        if let Some(place) = self.slots.get_mut(slot).and_then(|e| e.first_chunk_mut()) {
            *place = key.get().to_le_bytes();
        }
    }

    /// Changes the key of every entry from `slot` on to what `f` makes of it, where it makes anything of
    /// it. Of an extent that is its first logical block, so that it comes to lie elsewhere in the file.
    pub fn move_keys(&mut self, slot: usize, f: impl Fn(FileBlock) -> Option<FileBlock>) {
        let count = self.count();
        for entry in self.slots.iter_mut().take(count).skip(slot) {
            let Some(place) = entry.first_chunk_mut() else {
                continue;
            };
            if let Some(key) = f(FileBlock::new(u32::from_le_bytes(*place))) {
                *place = key.get().to_le_bytes();
            }
        }
    }

    /// Replaces `remove` entries from `at` on by `new`.
    #[inline]
    pub fn splice(&mut self, at: usize, remove: usize, new: &[Entry]) {
        let count = self.count();
        let Some(tail) = count.checked_sub(at).and_then(|n| n.checked_sub(remove)) else {
            return;
        };
        // Sums of counts that fit 16 bits each.
        let to = at.wrapping_add(new.len());
        let total = to.wrapping_add(tail);
        if total > self.slots.len() {
            return;
        }
        if remove != new.len() {
            shift(self.slots, at.wrapping_add(remove), tail, to);
            self.set_count(total);
        }
        copy(self.slots.get_mut(at..), new);
    }

    /// Replaces `remove` entries from `at` on by `new`, keeps the first `keep` entries of what
    /// comes of it, and puts the others into `right`, which is empty.
    pub fn split(
        &mut self,
        right: &mut NodeMut<'_>,
        at: usize,
        remove: usize,
        new: &[Entry],
        keep: usize,
    ) {
        let count = self.count();
        let Some(tail) = count.checked_sub(at).and_then(|n| n.checked_sub(remove)) else {
            return;
        };
        let to = at.wrapping_add(new.len());
        let total = to.wrapping_add(tail);
        let moved = total.saturating_sub(keep);
        if keep > total || keep > self.slots.len() || moved > right.slots.len() {
            return;
        }
        // What goes to the right is at most a part of each of three pieces: the entries before
        // `at`, the new ones, and those behind what is removed.
        let head = keep.min(at);
        let fresh = keep.min(to).saturating_sub(at);
        let rest = at.wrapping_add(remove);
        let back = rest.wrapping_add(keep.saturating_sub(to));
        let pieces = [
            self.slots.get(head..at),
            new.get(fresh..),
            self.slots.get(back..count),
        ];
        let mut place = 0usize;
        for piece in pieces.into_iter().flatten() {
            copy(right.slots.get_mut(place..), piece);
            place = place.wrapping_add(piece.len());
        }
        right.set_count(moved);
        if keep > to {
            shift(self.slots, rest, keep.wrapping_sub(to), to);
        }
        copy(self.slots.get_mut(head..keep), new);
        self.set_count(keep);
    }

    /// Makes this node, the root, the parent of the node that has taken its entries.
    #[inline]
    pub fn become_parent(&mut self, only: Entry) {
        self.set_count(0);
        self.header.depth = self.depth().saturating_add(1).into();
        self.splice(0, 0, &[only]);
    }

    /// Makes this node, the root, take the place of its only child.
    #[inline]
    pub fn become_child(&mut self, child: &Node<'_>) {
        self.set_count(0);
        self.header.depth = self.depth().saturating_sub(1).into();
        match child {
            Node::Leaf(Entries(entries)) => self.fill(entries),
            Node::Index(Entries(entries)) => self.fill(entries),
        }
    }

    #[inline]
    fn fill<E: IntoBytes + Immutable>(&mut self, entries: &[E]) {
        let Ok(entries) = <[Entry]>::ref_from_bytes(entries.as_bytes()) else {
            return;
        };
        self.splice(0, 0, entries);
    }

    /// Makes this node, the root, the map of a file without blocks.
    #[inline]
    pub fn become_empty(&mut self) {
        self.set_count(0);
        self.header.depth = 0.into();
    }

    #[inline]
    fn set_count(&mut self, count: usize) {
        // At most the capacity, which has 16 bits.
        self.header.entries = (count as u16).into();
    }
}

/// Copies as many entries as both have.
#[inline]
fn copy(to: Option<&mut [Entry]>, from: &[Entry]) {
    for (to, from) in to.into_iter().flatten().zip(from) {
        *to = *from;
    }
}

/// Moves `count` entries from `from` to `to`; the two places may overlap.
#[inline(never)] // With one caller, `copy_within` becomes part of it, and sees the conditions.
fn shift(slots: &mut [Entry], from: usize, count: usize, to: usize) {
    let len = slots.len();
    let (Some(end), Some(last)) = (from.checked_add(count), len.checked_sub(count)) else {
        return;
    };
    // The conditions of `copy_within`, in its own words, so that none is left to check.
    if end <= len && to <= last {
        slots.copy_within(from..end, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: u16 = 8;
    const LEN: usize = 12 + 12 * CAPACITY as usize + 4;

    fn entry(n: u32) -> Entry {
        let mut e = [0xee; 12];
        e[..4].copy_from_slice(&n.to_le_bytes());
        e
    }

    fn node(keys: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; LEN];
        let mut node = NodeMut::format(&mut bytes, 0, CAPACITY).unwrap();
        let entries: Vec<Entry> = keys.iter().map(|k| entry(*k)).collect();
        node.splice(0, 0, &entries);
        bytes
    }

    fn keys(node: &NodeMut<'_>) -> Vec<u32> {
        let slots = &node.slots[..node.count()];
        assert!(slots.iter().all(|e| e[4..] == [0xee; 8]));
        let key = |e: &Entry| u32::from_le_bytes(e[..4].try_into().unwrap());
        slots.iter().map(key).collect()
    }

    /// Every splice of every node, cut at every place, against a vector.
    #[test]
    fn splices_and_splits_as_a_vector_does() {
        for count in 0..=CAPACITY as usize {
            let old: Vec<u32> = (0..count as u32).collect();
            for at in 0..=count {
                for remove in 0..=count - at {
                    for new in 0..=3usize {
                        let fresh: Vec<u32> = (100..).take(new).collect();
                        let entries: Vec<Entry> = fresh.iter().map(|k| entry(*k)).collect();
                        let mut want = old.clone();
                        want.splice(at..at + remove, fresh);
                        let mut bytes = node(&old);
                        let mut one = NodeMut::open(&mut bytes, 0).unwrap();
                        one.splice(at, remove, &entries);
                        if want.len() <= CAPACITY.into() {
                            assert_eq!(keys(&one), want);
                        } else {
                            assert_eq!(keys(&one), old, "what does not fit is left undone");
                        }
                        for keep in 0..=want.len() {
                            let mut bytes = node(&old);
                            let mut other = node(&[]);
                            let mut left = NodeMut::open(&mut bytes, 0).unwrap();
                            let mut right = NodeMut::open(&mut other, 0).unwrap();
                            left.split(&mut right, at, remove, &entries, keep);
                            if keep <= CAPACITY.into() && want.len() - keep <= CAPACITY.into() {
                                assert_eq!(keys(&left), want[..keep]);
                                assert_eq!(keys(&right), want[keep..]);
                            } else {
                                assert_eq!(keys(&left), old);
                                assert_eq!(keys(&right), []);
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn requests_out_of_range_change_nothing() {
        let sound = node(&[1, 2, 3]);
        for (at, remove) in [(4, 0), (3, 1), (0, 4), (usize::MAX, 1), (1, usize::MAX)] {
            let (mut bytes, mut other) = (sound.clone(), node(&[]));
            let mut one = NodeMut::open(&mut bytes, 0).unwrap();
            let mut right = NodeMut::open(&mut other, 0).unwrap();
            one.splice(at, remove, &[entry(9)]);
            one.split(&mut right, at, remove, &[entry(9)], 1);
            one.set_key(99, FileBlock::new(7));
            assert_eq!(bytes, sound);
            assert_eq!(other, node(&[]));
        }
        assert!(NodeMut::open(&mut [], 0).is_none());
        assert!(NodeMut::open(&mut [0; 60], 4).is_none());
        let mut short = node(&[1]);
        assert!(NodeMut::open(&mut short, CAPACITY + 1).is_none());
        short[2] = CAPACITY as u8 + 1;
        assert!(NodeMut::open(&mut short, 0).is_none());
    }

    #[test]
    fn entries_come_back_as_they_went() {
        struct Any;
        impl BlockBounds for Any {
            fn check_run(&self, first: u64, _: u32) -> Option<FsBlock> {
                Some(FsBlock::new(first))
            }
        }
        let extent = |first, len, start, unwritten| Extent {
            first: FileBlock::new(first),
            len,
            start: FsBlock::new(start),
            unwritten,
        };
        for e in [
            extent(0, 1, 1, false),
            extent(7, 32768, (1 << 48) - 1, false),
            extent(7, 32767, 0x1234_5678_9abc, true),
            extent(u32::MAX - 1, 1, 9, true),
        ] {
            let bytes = e.entry().unwrap();
            let raw = RawExtent::ref_from_bytes(&bytes).unwrap();
            assert_eq!(raw.check(&Any), Ok(e));
        }
        for (e, error) in [
            (extent(0, 0, 1, false), ExtentError::ZeroLength),
            (extent(0, 32769, 1, false), ExtentError::TooLong),
            (extent(0, 32768, 1, true), ExtentError::TooLong),
            (extent(u32::MAX - 1, 2, 1, true), ExtentError::PastEnd),
            (extent(0, 1, 1 << 48, true), ExtentError::BadRun),
        ] {
            assert_eq!(e.entry(), Err(error));
        }
        let index = Index {
            first: FileBlock::new(77),
            child: FsBlock::new(0x9abc_def0_1234),
        };
        let bytes = index.entry().unwrap();
        assert_eq!(
            RawIndex::ref_from_bytes(&bytes).unwrap().check(&Any),
            Ok(index)
        );
    }
}
