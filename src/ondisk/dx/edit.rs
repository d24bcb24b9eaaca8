// SPDX-License-Identifier: GPL-2.0

//! Changing the blocks of a directory's hash index.
//!
//! As with records, what may fail comes before: the block has been viewed as a [`super::DxIndex`],
//! so its limit is the one that its size dictates and its count is within; what is not possible
//! is left undone. Pairs behind the count hold zeros where they were written by this code; the
//! checksum does not cover them.

use zerocopy::little_endian::{U16, U32};

use super::{
    DxFormat, RawDxEntry, RawRoot, RawRootInfo, BLOCK_MASK, DOTDOT_OFFSET, INFO_LEN, INFO_OFFSET,
    NODE_PAIRS,
};
use crate::ondisk::dir::{encode_rec_len, RawDirEntry};
use crate::ondisk::raw::FromBytes;
use crate::ondisk::FileBlock;

/// The largest block number that a pair can hold.
pub const MAX_BLOCK: FileBlock = FileBlock::new(BLOCK_MASK);

/// The pairs of an index block that is being changed.
pub struct DxPairs<'a> {
    /// As many as there is room for. The first one's hash is the place of limit and count: the
    /// limit is its low half and the count its high half.
    pairs: &'a mut [RawDxEntry],
}

impl<'a> DxPairs<'a> {
    fn at(bytes: &'a mut [u8], start: usize, limit: usize) -> Option<Self> {
        let rest = bytes.get_mut(start..)?;
        let (pairs, _) = <[RawDxEntry]>::mut_from_prefix_with_elems(rest, limit).ok()?;
        Some(Self { pairs })
    }

    /// The pairs of the root (`is_root`) or of another index block.
    pub fn new(bytes: &'a mut [u8], is_root: bool, format: &DxFormat) -> Option<Self> {
        let start = if is_root {
            let (root, _) = RawRoot::ref_from_prefix(bytes).ok()?;
            INFO_OFFSET.wrapping_add(root.info.info_length.into())
        } else {
            NODE_PAIRS
        };
        Self::at(bytes, start, format.limit(start))
    }

    #[inline]
    fn count(&self) -> usize {
        let head = self.pairs.first().map_or(0, |pair| pair.hash.get());
        (head >> 16) as usize
    }

    /// Writes limit and count. Both fit 16 bits: a block of 64 KiB has 8191 pairs.
    #[inline]
    fn set_count(&mut self, count: usize) {
        let limit = self.pairs.len() as u32 & 0xffff;
        if let Some(first) = self.pairs.first_mut() {
            first.hash = U32::new(((count as u32) << 16) | limit);
        }
    }

    /// Puts a pair at place `nr`, 1 to the count; there is room.
    pub fn insert(&mut self, nr: usize, hash: u32, block: FileBlock) {
        let count = self.count();
        let end = count.wrapping_add(1);
        if nr == 0 {
            return;
        }
        let Some(run) = self.pairs.get_mut(nr..end) else {
            return;
        };
        if let Some(moved) = run.len().checked_sub(1) {
            run.copy_within(..moved, 1);
        }
        if let Some(first) = run.first_mut() {
            *first = RawDxEntry {
                hash: U32::new(hash),
                block: U32::new(block.get()),
            };
        }
        self.set_count(end);
    }

    /// Takes pair `nr` out; it is not the only one. Its hashes fall to the pair on the left. The
    /// first pair's fall to the one on the right, which becomes the first: its own hash is implied
    /// from then on.
    pub fn remove(&mut self, nr: usize) {
        let count = self.count();
        let Some(left) = count.checked_sub(1).filter(|left| *left != 0) else {
            return;
        };
        let nr = if nr == 0 {
            let right = self.pairs.get(1).map(|pair| pair.block);
            if let (Some(right), Some(first)) = (right, self.pairs.first_mut()) {
                first.block = right;
            }
            1
        } else {
            nr
        };
        let Some(run) = self.pairs.get_mut(nr..count) else {
            return;
        };
        if !run.is_empty() {
            run.copy_within(1.., 0);
        }
        if let Some(last) = run.last_mut() {
            *last = RawDxEntry {
                hash: U32::new(0),
                block: U32::new(0),
            };
        }
        self.set_count(left);
    }

    /// Has pair `nr` lead to `block`.
    pub fn set_block(&mut self, nr: usize, block: FileBlock) {
        if let Some(pair) = self.pairs.get_mut(nr) {
            pair.block = U32::new(block.get());
        }
    }

    /// Moves the pairs from `first` on to `to`, which has none yet; returns the hash of the first
    /// of them, with its mark.
    fn move_to(&mut self, first: usize, to: &mut DxPairs<'_>) -> u32 {
        let count = self.count();
        let moving = self.pairs.get_mut(first..count).unwrap_or_default();
        let hash = moving.first().map_or(0, |pair| pair.hash.get());
        let len = moving.len();
        for (to, from) in to.pairs.iter_mut().zip(moving) {
            *to = *from;
            *from = RawDxEntry {
                hash: U32::new(0),
                block: U32::new(0),
            };
        }
        to.set_count(len);
        self.set_count(first);
        hash
    }

    /// Moves the upper half of a full node's pairs to `upper`, a new node, and puts a pair at place
    /// `nr` of what used to be one. Returns the hash that leads to `upper`.
    pub fn split(
        &mut self,
        upper: &mut DxPairs<'_>,
        nr: usize,
        hash: u32,
        block: FileBlock,
    ) -> u32 {
        let middle = self.count() >> 1;
        let above = self.move_to(middle, upper);
        // A pair at the border belongs to the lower node: its hash is below the upper's first.
        match nr.checked_sub(middle) {
            Some(nr) if nr != 0 => upper.insert(nr, hash, block),
            _ => self.insert(nr, hash, block),
        }
        above
    }
}

/// Makes a block of zeros an index node without pairs; the block has to be given some at once.
pub fn init_node(bytes: &mut [u8], format: &DxFormat) {
    let Some(stored) = encode_rec_len(format.block_size, format.block_size) else {
        return;
    };
    if let Ok((fake, _)) = RawDirEntry::mut_from_prefix(bytes) {
        fake.rec_len = U16::new(stored);
    }
    if let Some(mut pairs) = DxPairs::new(bytes, false, format) {
        pairs.set_count(0);
    }
}

/// Makes block 0 of a directory, which begins with `.` in 12 bytes and `..`, the root of an index
/// with a single leaf. What was behind `..` is lost.
pub fn init_root(bytes: &mut [u8], format: &DxFormat, hash_version: u8, leaf: FileBlock) {
    let rest = format.block_size.saturating_sub(DOTDOT_OFFSET as u32);
    let Some(stored) = encode_rec_len(rest, format.block_size) else {
        return;
    };
    if let Some(behind) = bytes.get_mut(INFO_OFFSET..) {
        behind.fill(0);
    }
    if let Ok((root, _)) = RawRoot::mut_from_prefix(bytes) {
        root.dotdot.rec_len = U16::new(stored);
        root.info = RawRootInfo {
            reserved_zero: U32::new(0),
            hash_version,
            info_length: INFO_LEN,
            indirect_levels: 0,
            unused_flags: 0,
        };
    }
    if let Some(mut pairs) = DxPairs::new(bytes, true, format) {
        pairs.set_block(0, leaf);
        pairs.set_count(1);
    }
}

/// Adds a level to the index: all pairs of the full root move to `node`, which has been
/// initialised and is block `at`, and a pair is put at place `nr` there.
pub fn deepen(
    root: &mut [u8],
    node: &mut [u8],
    format: &DxFormat,
    at: FileBlock,
    nr: usize,
    hash: u32,
    block: FileBlock,
) {
    if let (Some(mut pairs), Some(mut below)) = (
        DxPairs::new(root, true, format),
        DxPairs::new(node, false, format),
    ) {
        pairs.move_to(0, &mut below);
        below.insert(nr, hash, block);
        pairs.set_block(0, at);
        pairs.set_count(1);
    }
    if let Ok((root, _)) = RawRoot::mut_from_prefix(root) {
        root.info.indirect_levels = root.info.indirect_levels.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{node, root, verify_node, verify_root};
    use super::*;
    use crate::ondisk::dir::edit::init_first;
    use crate::ondisk::Ino;

    const FORMAT: DxFormat = DxFormat {
        block_size: 1024,
        checksums: true,
        large_dir: false,
    };
    const END: FileBlock = FileBlock::new(10_000);

    fn pairs_of(bytes: &[u8], is_root: bool) -> Vec<(u32, u32)> {
        let index = if is_root {
            verify_root(bytes, &FORMAT, END).unwrap();
            root(bytes, &FORMAT).unwrap().1
        } else {
            verify_node(bytes, &FORMAT, END).unwrap();
            node(bytes, &FORMAT).unwrap()
        };
        (0..index.count())
            .map(|nr| (index.hash(nr).unwrap_or(0), index.block(nr).unwrap().get()))
            .collect()
    }

    fn full_root() -> (Vec<u8>, Vec<(u32, u32)>) {
        let mut b = vec![0; 1024];
        let ino = |n| Ino::new(n).unwrap();
        init_first(&mut b, ino(12), ino(2), 2, 1024, true);
        b[24..].fill(0xaa);
        init_root(&mut b, &FORMAT, 1, FileBlock::new(1));
        let mut model = vec![(0, 1)];
        assert_eq!(pairs_of(&b, true), model);
        for i in 2..=123u32 {
            // Now at the front, now at the end, now in the middle.
            let nr = [1, model.len(), model.len() / 2 + 1][i as usize % 3].min(model.len());
            let low = model[nr - 1].0;
            let high = model.get(nr).map_or(0xffff_0000, |p| p.0);
            let hash = low + (high - low) / 2;
            DxPairs::new(&mut b, true, &FORMAT)
                .unwrap()
                .insert(nr, hash, FileBlock::new(i));
            model.insert(nr, (hash, i));
            assert_eq!(pairs_of(&b, true), model);
        }
        (b, model)
    }

    #[test]
    fn insert_and_remove() {
        let (mut b, mut model) = full_root();
        let full = b.clone();
        DxPairs::new(&mut b, true, &FORMAT)
            .unwrap()
            .insert(5, 1, FileBlock::new(1));
        assert_eq!(b, full, "no room");
        for i in 0..122usize {
            let nr = [0, model.len() - 1, model.len() / 2][i % 3];
            let mut pairs = DxPairs::new(&mut b, true, &FORMAT).unwrap();
            pairs.remove(nr);
            model.remove(nr);
            model[0].0 = 0;
            assert_eq!(pairs_of(&b, true), model);
        }
        DxPairs::new(&mut b, true, &FORMAT).unwrap().remove(0);
        assert_eq!(pairs_of(&b, true), model, "the only one stays");
    }

    #[test]
    fn deeper_and_wider() {
        for nr in 1..=123usize {
            let (mut top, mut model) = full_root();
            let mut below = vec![0; 1024];
            init_node(&mut below, &FORMAT);
            let hash = model[nr - 1].0;
            let (at, new) = (FileBlock::new(500), FileBlock::new(501));
            deepen(&mut top, &mut below, &FORMAT, at, nr, hash, new);
            model.insert(nr, (hash, 501));
            assert_eq!(pairs_of(&top, true), [(0, 500)]);
            assert_eq!(root(&top, &FORMAT).unwrap().0.levels, 1);
            assert_eq!(pairs_of(&below, false), model);
            while model.len() < 126 {
                let (last, _) = model[model.len() - 1];
                let mut pairs = DxPairs::new(&mut below, false, &FORMAT).unwrap();
                pairs.insert(model.len(), last, FileBlock::new(600));
                model.push((last, 600));
            }
            let mut upper = vec![0; 1024];
            init_node(&mut upper, &FORMAT);
            let hash = model[nr - 1].0;
            let above = DxPairs::new(&mut below, false, &FORMAT).unwrap().split(
                &mut DxPairs::new(&mut upper, false, &FORMAT).unwrap(),
                nr,
                hash,
                FileBlock::new(700),
            );
            model.insert(nr, (hash, 700));
            let mut got = pairs_of(&below, false);
            assert!(got.len() == 63 || got.len() == 64);
            let border = got.len();
            got.extend(pairs_of(&upper, false));
            assert_eq!(got.len(), 127);
            assert_eq!(got[border].0, 0);
            got[border].0 = above;
            assert_eq!(got, model);
        }
    }
}
