// SPDX-License-Identifier: GPL-2.0

//! Dividing a leaf of an indexed directory by the hashes of its names.
//!
//! The table of hashes that this takes has no memory of its own: it stands at the end of the new
//! block, 8 bytes for each entry, and is eaten up from its start while the entries with the
//! larger hashes fill that block from the front. They never meet: the part of the table that is
//! still needed and the entries moved so far take less than the block, as entries have 12 bytes
//! at least and about half of them move.

use zerocopy::little_endian::{U32, U64};

use super::edit::{DirAreaMut, Slot};
use crate::ondisk::raw::FromBytes;

/// How a leaf was divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// The lowest hash of the upper half; bit 0 is set if the lower half has names of that hash,
    /// too.
    pub hash: u32,
    /// The record with all the room of the lower half.
    pub lower: Slot,
    /// The same of the upper half.
    pub upper: Slot,
}

/// An entry in the table: hash, offset in the leaf and length, the last two in words of 4 bytes,
/// which makes 16 bits enough for blocks of 64 KiB.
#[inline]
fn key(hash: u32, offset: usize, len: usize) -> u64 {
    (u64::from(hash) << 32) | (((offset >> 2) as u64 & 0xffff) << 16) | ((len >> 2) as u64 & 0xffff)
}

#[inline]
fn key_hash(key: u64) -> u32 {
    (key >> 32) as u32
}

#[inline]
fn key_offset(key: u64) -> usize {
    ((key >> 16) as usize & 0xffff) << 2
}

#[inline]
fn key_len(key: u64) -> usize {
    (key as usize & 0xffff) << 2
}

/// The table at the end of a block.
fn table(bytes: &mut [u8], len: usize) -> &mut [U64] {
    let start = bytes.len().wrapping_sub(len.wrapping_mul(size_of::<U64>()));
    let bytes = bytes.get_mut(start..).unwrap_or_default();
    <[U64]>::mut_from_bytes(bytes).unwrap_or_default()
}

/// Shell sort with Ciura's gaps: short, in place, and without a path to a panic.
fn sort(keys: &mut [U64]) {
    const GAPS: [usize; 10] = [3548, 1577, 701, 301, 132, 57, 23, 10, 4, 1];
    for gap in GAPS {
        for start in gap..keys.len() {
            let Some(moving) = keys.get(start).map(|key| key.get()) else {
                break;
            };
            let mut hole = start;
            while let Some(below) = hole.checked_sub(gap) {
                let Some(key) = keys.get(below).map(|key| key.get()) else {
                    break;
                };
                if key <= moving {
                    break;
                }
                if let Some(slot) = keys.get_mut(hole) {
                    slot.set(key);
                }
                hole = below;
            }
            if let Some(slot) = keys.get_mut(hole) {
                slot.set(moving);
            }
        }
    }
}

/// Where the upper half starts in the sorted table: the halves differ by less than the longest
/// record. Neither is empty, given two entries.
fn middle(keys: &[U64]) -> usize {
    let sizes = keys.iter().map(|key| key_len(key.get()));
    let half = sizes.fold(0usize, usize::wrapping_add) >> 1;
    let mut moved = 0usize;
    let mut middle = keys.len();
    for (nr, key) in keys.iter().enumerate().skip(1).rev() {
        let len = key_len(key.get());
        if moved.wrapping_add(len >> 1) > half {
            break;
        }
        moved = moved.wrapping_add(len);
        middle = nr;
    }
    middle
}

impl DirAreaMut<'_> {
    /// Moves the entries with the larger hashes to `upper`, a block of its own of which nothing
    /// is in use, and packs both. `live` is how many entries are in use ([`super::edit::Usage`]),
    /// at least two; all records have been checked.
    pub fn split(
        &mut self,
        upper: &mut DirAreaMut<'_>,
        live: usize,
        hash: impl Fn(&[u8]) -> u32,
    ) -> Split {
        let keys = table(upper.bytes, live);
        let mut slots = keys.iter_mut();
        let mut from = 0usize;
        while let Some(step) = self.step(from) {
            if step.used != 0 {
                if let Some(slot) = slots.next() {
                    slot.set(key(hash(self.name(from, step)), from, step.used));
                }
            }
            from = from.wrapping_add(step.rec_len);
        }
        sort(keys);
        let middle = middle(keys);
        let hash_at = |nr: usize| keys.get(nr).map_or(0, |key| key_hash(key.get()));
        let first = hash_at(middle);
        let continued = first == hash_at(middle.wrapping_sub(1));

        let (mut to, mut last) = (0usize, None);
        for nr in middle..live {
            let Some(key) = table(upper.bytes, live).get(nr).map(|key| key.get()) else {
                break;
            };
            let (from, len) = (key_offset(key), key_len(key));
            let source = self.bytes.get(from..from.wrapping_add(len));
            let target = upper.bytes.get_mut(to..);
            if let (Some(source), Some(target)) = (source, target) {
                super::edit::put(target, source);
            }
            upper.set_rec_len(to, len);
            last = Some((to, len));
            to = to.wrapping_add(len);
            if let Some(head) = self.head_mut(from) {
                head.inode = U32::new(0);
            }
        }
        Split {
            hash: first | u32::from(continued),
            upper: upper.end(last, to),
            lower: self.pack(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::edit::{init_leaf, NewEntry, Room};
    use super::super::{verify_leaf, DirArea, EntryLimits};
    use super::*;
    use crate::ondisk::Ino;

    fn check(bs: u32, mut len: impl FnMut(u32) -> usize, hash: impl Fn(&[u8]) -> u32 + Copy) {
        let limits = EntryLimits {
            block_size: bs,
            inodes_count: 1 << 20,
        };
        let mut lower = vec![0; bs as usize];
        init_leaf(&mut lower, bs, false);
        let mut all = Vec::new();
        loop {
            let n = all.len() as u32 + 1;
            let mut name = format!("{n:x}").into_bytes();
            name.resize(len(n).max(name.len()), b'x');
            let new = NewEntry::new(&name, Ino::new(n).unwrap(), 1).unwrap();
            let Ok(Room::At(slot)) = DirArea::new(&lower, limits).find_room(&new) else {
                break;
            };
            DirAreaMut::new(&mut lower, bs).insert(slot, &new);
            all.push((hash(&name), n, name));
        }
        let usage = DirArea::new(&lower, limits).usage().unwrap();
        assert_eq!(usage.live, all.len());
        let mut upper = vec![0; bs as usize];
        let mut area = DirAreaMut::new(&mut upper, bs);
        let split = DirAreaMut::new(&mut lower, bs).split(&mut area, usage.live, hash);
        let mut got = Vec::new();
        for (block, slot, is_upper) in [(&lower, split.lower, false), (&upper, split.upper, true)] {
            verify_leaf(block, limits, None).unwrap();
            assert_eq!(slot.offset + slot.rec_len, bs as usize);
            // Room for any name.
            assert!(slot.rec_len - slot.used >= 264, "{bs}: {slot:?}");
            let before = got.len();
            for entry in DirArea::new(block, limits).entries().map(Result::unwrap) {
                let h = hash(entry.name);
                if is_upper {
                    assert!(h >= split.hash & !1);
                } else {
                    assert!(h <= split.hash, "{h:x} {split:?}");
                    assert!(h < split.hash & !1 || split.hash & 1 != 0);
                }
                got.push((h, entry.ino.unwrap().get(), entry.name.to_vec()));
            }
            assert_ne!(got.len(), before);
            let used = slot.offset + slot.used;
            assert!(block[used..].iter().all(|&b| b == 0));
        }
        got.sort();
        all.sort();
        assert_eq!(got, all);
    }

    #[test]
    fn halves() {
        let mix = |name: &[u8]| {
            name.iter()
                .fold(17u32, |h, b| h.wrapping_mul(0x9e37_79b1) ^ u32::from(*b))
                & !1
        };
        for bs in [1024, 2048, 4096, 65536] {
            check(bs, |_| 1, mix);
            check(bs, |_| 255, mix);
            check(bs, |n| (n * 7919 % 255) as usize, mix);
            check(bs, |n| if n % 2 == 0 { 255 } else { 4 }, mix);
            check(bs, |n| (n % 13) as usize, |_| 8);
            check(
                bs,
                |n| (n % 13) as usize,
                |name| (name.len() as u32 % 3) * 2,
            );
            check(bs, |_| 4, |name| u32::from(name[0] == b'1') * 2);
        }
    }
}
