// SPDX-License-Identifier: GPL-2.0

//! Changing the records of a directory block, or of one part of an inline directory.
//!
//! A change has two halves. [`DirArea`] looks for the place and checks what will be written to:
//! that may fail. [`DirAreaMut`] then changes the same bytes and cannot fail. Each change stays
//! within records that were checked on the way, so damage elsewhere in the block neither stops it
//! nor grows by it.
//!
//! Both see the records only: where a block ends with a checksum record, the caller leaves that
//! out, so that nothing here can reach it.
//!
//! Bytes of a name that is gone are overwritten with zeros: what is free holds nothing old.

use zerocopy::little_endian::{U16, U32};

use super::{
    encode_rec_len, head, rec_len_for, same_name, DirArea, DirError, RawDirEntry, RawDirTail,
    HEADER_LEN, MIN_REC_LEN, TAIL_FILE_TYPE, TAIL_LEN,
};
use crate::ondisk::raw::FromBytes;
use crate::ondisk::Ino;

/// An entry that is to be written.
#[derive(Clone, Copy, Debug)]
pub struct NewEntry<'a> {
    name: &'a [u8],
    name_len: u8,
    ino: Ino,
    file_type: u8,
}

impl<'a> NewEntry<'a> {
    /// `file_type` is the byte to store: 0 without the `filetype` feature. `None` for a name
    /// without bytes or with more than 255.
    #[inline]
    pub fn new(name: &'a [u8], ino: Ino, file_type: u8) -> Option<Self> {
        let name_len = u8::try_from(name.len()).ok().filter(|len| *len != 0)?;
        Some(Self {
            name,
            name_len,
            ino,
            file_type,
        })
    }

    /// The name.
    #[inline]
    pub fn name(&self) -> &'a [u8] {
        self.name
    }

    /// The shortest record that holds it, in bytes.
    #[inline]
    pub fn rec_len(&self) -> usize {
        rec_len_for(self.name_len)
    }
}

/// A record that has room for a new one behind what it uses itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Where the record starts, in bytes.
    pub offset: usize,
    /// How many of its bytes it uses: 0 for a free record.
    pub used: usize,
    /// Its length in bytes.
    pub rec_len: usize,
}

/// What a search for room found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Room, in the first record that has enough of it.
    At(Slot),
    /// An entry of the new one's name, in front of any room.
    Exists,
    /// No room, and no such name.
    Full,
}

/// What the entries of an area need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Entries in use.
    pub live: usize,
    /// Bytes that they fill when they are packed.
    pub bytes: usize,
}

/// An entry that is to be erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Victim {
    /// Offset and length of the record in front of it.
    before: Option<(usize, usize)>,
    slot: Slot,
    /// Whether no other entry of the area is in use.
    pub alone: bool,
}

/// How many bytes of its record an entry needs; 0 for a free one.
#[inline(always)]
fn used(head: &RawDirEntry) -> usize {
    if head.inode.get() == 0 {
        0
    } else {
        rec_len_for(head.name_len)
    }
}

impl DirArea<'_> {
    /// Looks for the first record with room for `new`, and on the way for its name: only the
    /// records that are passed are compared, which costs next to nothing. (That a name is new has
    /// been found by a lookup under the lock that is still held; this is a second net, as wide as
    /// ext4's.)
    ///
    /// Errors: a record that cannot be stepped over, or the one with room is bad.
    pub fn find_room(&self, new: &NewEntry<'_>) -> Result<Room, DirError> {
        match new.name.last_chunk::<8>() {
            Some(end) => self.scan_room(new, |candidate| {
                candidate.last_chunk::<8>() == Some(end) && same_name(candidate, new.name)
            }),
            None => self.scan_room(new, |candidate| same_name(candidate, new.name)),
        }
    }

    #[inline(always)]
    fn scan_room(
        &self,
        new: &NewEntry<'_>,
        matches: impl Fn(&[u8]) -> bool,
    ) -> Result<Room, DirError> {
        let need = new.rec_len();
        let name_end = usize::from(new.name_len).wrapping_add(HEADER_LEN);
        let mut rest = self.bytes;
        while let Some(head) = head(rest)? {
            let rec_len = self.rec_len(head)?;
            if head.name_len == new.name_len {
                let name = rest.get(HEADER_LEN..name_end);
                if name.is_some_and(&matches) && head.inode.get() != 0 {
                    return Ok(Room::Exists);
                }
            }
            // No less than there is room behind the name; a record that is too short for its name
            // seems to have a lot.
            let room = rec_len.wrapping_sub(usize::from(head.name_len).wrapping_add(HEADER_LEN));
            if room >= need || head.inode.get() == 0 {
                if let Some(slot) = self.room_at(rest, need)? {
                    return Ok(Room::At(slot));
                }
            }
            rest = rest.get(rec_len..).ok_or(DirError::Overrun)?;
        }
        Ok(Room::Full)
    }

    /// The room of the record at the start of `rest`, if that is `need` bytes.
    ///
    /// Errors: the record is bad.
    #[inline(never)]
    fn room_at(&self, rest: &[u8], need: usize) -> Result<Option<Slot>, DirError> {
        let Some(head) = head(rest)? else {
            return Ok(None);
        };
        let rec_len = self.rec_len(head)?;
        let used = used(head);
        let Some(room) = rec_len.checked_sub(used) else {
            return Err(DirError::NameOverflow);
        };
        if room < need {
            return Ok(None);
        }
        let entry = DirArea::new(rest, self.limits).check(rest)?;
        // `..` has to follow `.`, however long that one's record is.
        if entry.name == b"." && entry.ino.is_some() {
            return Ok(None);
        }
        Ok(Some(Slot {
            offset: self.bytes.len().wrapping_sub(rest.len()),
            used,
            rec_len,
        }))
    }

    /// Checks every record, and adds up what the entries in use need.
    pub fn usage(&self) -> Result<Usage, DirError> {
        let mut usage = Usage { live: 0, bytes: 0 };
        for entry in self.entries() {
            let entry = entry?;
            if entry.ino.is_some() {
                // Each is at most its record's length, and those fit the area.
                let need = rec_len_for(u8::try_from(entry.name.len()).unwrap_or(u8::MAX));
                usage.bytes = usage.bytes.wrapping_add(need);
                usage.live = usage.live.wrapping_add(1);
            }
        }
        Ok(usage)
    }

    /// The entry called `name` at `offset`, to be erased; `None` if that is not what is there.
    ///
    /// Errors: a record in front of it that cannot be stepped over, or the entry's own is bad.
    pub fn victim(&self, offset: usize, name: &[u8]) -> Result<Option<Victim>, DirError> {
        let mut rest = self.bytes;
        let mut before = None;
        let mut alone = true;
        let mut at = 0usize;
        while at < offset {
            let Some(head) = head(rest)? else {
                return Ok(None);
            };
            let rec_len = self.rec_len(head)?;
            alone &= head.inode.get() == 0;
            before = Some((at, rec_len));
            rest = rest.get(rec_len..).ok_or(DirError::Overrun)?;
            // Inside the area, as the slice just taken shows.
            at = at.wrapping_add(rec_len);
        }
        if at != offset {
            return Ok(None);
        }
        self.victim_here(rest, offset, before, alone, name)
    }

    /// As [`victim`](Self::victim), where the record in front is known to start at `before` (`None`
    /// for the first one): without a look at all the others. `None` also if that is not so.
    pub fn victim_behind(
        &self,
        before: Option<usize>,
        offset: usize,
        name: &[u8],
    ) -> Result<Option<Victim>, DirError> {
        let rest = self.bytes.get(offset..).unwrap_or_default();
        let Some(at) = before else {
            return if offset == 0 {
                self.victim_here(rest, offset, None, true, name)
            } else {
                Ok(None)
            };
        };
        let front = self.bytes.get(at..).unwrap_or_default();
        let Some(head) = head(front)? else {
            return Ok(None);
        };
        let rec_len = self.rec_len(head)?;
        if head.inode.get() == 0 || at.checked_add(rec_len) != Some(offset) {
            // With a free one in front it takes all of them to tell whether it is alone.
            return self.victim(offset, name);
        }
        self.victim_here(rest, offset, Some((at, rec_len)), false, name)
    }

    /// The entry at the start of `rest`, which is at `offset`, if it is called `name`. `alone`:
    /// whether no entry in front of it is in use.
    #[inline]
    fn victim_here(
        &self,
        rest: &[u8],
        offset: usize,
        before: Option<(usize, usize)>,
        alone: bool,
        name: &[u8],
    ) -> Result<Option<Victim>, DirError> {
        if rest.is_empty() {
            return Ok(None);
        }
        let entry = DirArea::new(rest, self.limits).check(rest)?;
        if entry.ino.is_none() || !same_name(entry.name, name) {
            return Ok(None);
        }
        let behind = || rest.get(entry.rec_len..).unwrap_or_default();
        let alone = alone && DirArea::new(behind(), self.limits).is_blank();
        let slot = Slot {
            offset,
            used: entry.name.len().wrapping_add(HEADER_LEN),
            rec_len: entry.rec_len,
        };
        Ok(Some(Victim {
            before,
            slot,
            alone,
        }))
    }

    /// Whether all records are good and none is in use.
    #[inline]
    pub fn is_blank(&self) -> bool {
        self.entries()
            .all(|entry| matches!(entry, Ok(entry) if entry.ino.is_none()))
    }

    /// The name of the first entry in use.
    #[inline]
    pub fn first_name(&self) -> Option<&[u8]> {
        self.entries()
            .filter_map(Result::ok)
            .find(|entry| entry.ino.is_some())
            .map(|entry| entry.name)
    }
}

/// A run of directory records that is being changed. What is done to it must follow from what
/// [`DirArea`] found in the same bytes; anything else is left undone, without a word.
pub struct DirAreaMut<'a> {
    pub(super) bytes: &'a mut [u8],
    block_size: u32,
}

/// A record as it is stepped over.
#[derive(Clone, Copy)]
pub(super) struct Step {
    /// See [`Slot::used`].
    pub(super) used: usize,
    pub(super) rec_len: usize,
    name_len: u8,
}

impl<'a> DirAreaMut<'a> {
    /// Views `bytes`: the records of a block, without its checksum record.
    #[inline]
    pub fn new(bytes: &'a mut [u8], block_size: u32) -> Self {
        Self { bytes, block_size }
    }

    /// The record at `offset`; `None` at the end.
    #[inline]
    pub(super) fn step(&self, offset: usize) -> Option<Step> {
        let head = head(self.bytes.get(offset..)?).ok()??;
        let rec_len = super::decode_rec_len(head.rec_len.get(), self.block_size) as usize;
        (rec_len >= MIN_REC_LEN).then(|| Step {
            used: used(head),
            rec_len,
            name_len: head.name_len,
        })
    }

    /// The name in the record at `offset`.
    #[inline]
    pub(super) fn name(&self, offset: usize, step: Step) -> &[u8] {
        let start = offset.wrapping_add(HEADER_LEN);
        let end = start.wrapping_add(step.name_len.into());
        self.bytes.get(start..end).unwrap_or_default()
    }

    #[inline]
    pub(super) fn head_mut(&mut self, offset: usize) -> Option<&mut RawDirEntry> {
        let rest = self.bytes.get_mut(offset..)?;
        RawDirEntry::mut_from_prefix(rest)
            .ok()
            .map(|(head, _)| head)
    }

    #[inline]
    pub(super) fn set_rec_len(&mut self, offset: usize, len: usize) {
        let stored = stored_len(len, self.block_size);
        if let (Some(stored), Some(head)) = (stored, self.head_mut(offset)) {
            head.rec_len = U16::new(stored);
        }
    }

    /// Has the record at `offset` end `len` bytes further on.
    #[inline]
    pub fn set_len(&mut self, offset: usize, len: usize) {
        self.set_rec_len(offset, len);
    }

    /// Has the last of the records between `offset` and `end` take all that is behind it.
    pub fn stretch_last(&mut self, offset: usize, end: usize) {
        let (mut at, mut last) = (offset, offset);
        while at < end {
            let Some(step) = self.step(at) else {
                break;
            };
            last = at;
            at = at.wrapping_add(step.rec_len);
        }
        self.set_rec_len(last, self.bytes.len().wrapping_sub(last));
    }

    /// Makes all of it one free record.
    pub fn clear(&mut self) {
        self.bytes.fill(0);
        self.set_rec_len(0, self.bytes.len());
    }

    /// Fills an area of zeros with whole records from elsewhere, which leave room for one more:
    /// that becomes a free one.
    pub fn fill_from(&mut self, records: &[u8]) {
        put(self.bytes, records);
        let rest = self.bytes.len().saturating_sub(records.len());
        if let Some(head) = self.head_mut(records.len()) {
            head.inode = U32::new(0);
            head.name_len = 0;
        }
        self.set_rec_len(records.len(), rest);
    }

    /// Writes `new` where there is room; returns the offset of its record.
    pub fn insert(&mut self, slot: Slot, new: &NewEntry<'_>) -> usize {
        if slot.used != 0 {
            self.set_rec_len(slot.offset, slot.used);
        }
        let at = slot.offset.wrapping_add(slot.used);
        let len = slot.rec_len.wrapping_sub(slot.used);
        let Some(stored) = stored_len(len, self.block_size) else {
            return at;
        };
        let rest = self.bytes.get_mut(at..).unwrap_or_default();
        if let Ok((head, body)) = RawDirEntry::mut_from_prefix(rest) {
            *head = RawDirEntry {
                inode: U32::new(new.ino.get()),
                rec_len: U16::new(stored),
                name_len: new.name_len,
                file_type: new.file_type,
            };
            put(body, new.name);
        }
        at
    }

    /// Erases an entry: the record in front grows over it, or it becomes a free one.
    pub fn erase(&mut self, victim: &Victim) {
        let Slot {
            offset,
            used,
            rec_len,
        } = victim.slot;
        let end = offset.wrapping_add(used);
        if let Some(record) = self.bytes.get_mut(offset..end) {
            record.fill(0);
        }
        match victim.before {
            Some((before, len)) => self.set_rec_len(before, len.wrapping_add(rec_len)),
            None => self.set_rec_len(offset, rec_len),
        }
    }

    /// Has the record at `offset` stand for another file.
    #[inline]
    pub fn set_target(&mut self, offset: usize, ino: Ino, file_type: u8) {
        if let Some(head) = self.head_mut(offset) {
            head.inode = U32::new(ino.get());
            head.file_type = file_type;
        }
    }

    /// Moves the entries in use together, in their order. All the room is behind the last one
    /// then, which is returned.
    pub fn pack(&mut self) -> Slot {
        let (mut from, mut to) = (0usize, 0usize);
        let mut last = None;
        // Ends, because each step is at least 12 bytes.
        while let Some(step) = self.step(from) {
            if step.used != 0 {
                self.move_down(from, to, step.used);
                self.set_rec_len(to, step.used);
                last = Some((to, step.used));
                to = to.wrapping_add(step.used);
            }
            from = from.wrapping_add(step.rec_len);
        }
        self.end(last, to)
    }

    /// Gives what is behind `to` to the last record, `last` (offset and bytes used), or makes all
    /// of it free.
    pub(super) fn end(&mut self, last: Option<(usize, usize)>, to: usize) -> Slot {
        if let Some(rest) = self.bytes.get_mut(to..) {
            rest.fill(0);
        }
        let (offset, used) = last.unwrap_or((0, 0));
        let rec_len = self.bytes.len().wrapping_sub(offset);
        self.set_rec_len(offset, rec_len);
        Slot {
            offset,
            used,
            rec_len,
        }
    }

    /// Copies `len` bytes from `from` down to `to`; the two may overlap.
    #[inline]
    fn move_down(&mut self, from: usize, to: usize, len: usize) {
        if to >= from {
            return;
        }
        let Some(span) = self.bytes.get_mut(to..from.wrapping_add(len)) else {
            return;
        };
        // `from - to` bytes, then the record, up to the end of the span.
        let skip = from.wrapping_sub(to);
        if skip <= span.len() {
            span.copy_within(skip.., 0);
        }
    }
}

#[inline]
pub(super) fn stored_len(len: usize, block_size: u32) -> Option<u16> {
    encode_rec_len(u32::try_from(len).ok()?, block_size)
}

/// Copies as much of `from` as fits to the start of `to`.
#[inline]
pub(in crate::ondisk) fn put(to: &mut [u8], from: &[u8]) {
    let n = from.len().min(to.len());
    if let (Some(to), Some(from)) = (to.get_mut(..n), from.get(..n)) {
        to.copy_from_slice(from);
    }
}

/// The records of a block: all of it but the checksum record, if there is one.
#[inline]
pub fn records(bytes: &[u8], checksums: bool) -> &[u8] {
    let end = if checksums {
        bytes.len().saturating_sub(TAIL_LEN)
    } else {
        bytes.len()
    };
    bytes.get(..end).unwrap_or_default()
}

/// As [`records`], for changing them.
#[inline]
pub fn records_mut(bytes: &mut [u8], checksums: bool) -> &mut [u8] {
    let end = if checksums {
        bytes.len().saturating_sub(TAIL_LEN)
    } else {
        bytes.len()
    };
    bytes.get_mut(..end).unwrap_or_default()
}

/// Writes the checksum record at a new block's end; the checksum itself comes with its seal.
pub fn init_tail(bytes: &mut [u8]) {
    let Some(tail) = bytes.last_chunk_mut::<TAIL_LEN>() else {
        return;
    };
    if let Ok(tail) = RawDirTail::mut_from_bytes(tail) {
        *tail = RawDirTail {
            fake: RawDirEntry {
                inode: U32::new(0),
                rec_len: U16::new(TAIL_LEN as u16),
                name_len: 0,
                file_type: TAIL_FILE_TYPE,
            },
            checksum: U32::new(0),
        };
    }
}

/// Makes a block of zeros an empty leaf.
pub fn init_leaf(bytes: &mut [u8], block_size: u32, checksums: bool) {
    let area = records_mut(bytes, checksums);
    let len = area.len();
    DirAreaMut::new(area, block_size).set_rec_len(0, len);
    if checksums {
        init_tail(bytes);
    }
}

/// Makes a block of zeros the first block of directory `ino` with nothing but `.` and `..`.
/// `file_type` is the byte to store for a directory.
pub fn init_first(
    bytes: &mut [u8],
    ino: Ino,
    parent: Ino,
    file_type: u8,
    block_size: u32,
    checksums: bool,
) {
    init_leaf(bytes, block_size, checksums);
    let area = records_mut(bytes, checksums);
    let mut slot = Slot {
        offset: 0,
        used: 0,
        rec_len: area.len(),
    };
    let mut area = DirAreaMut::new(area, block_size);
    for (name, ino) in [(&b"."[..], ino), (b"..", parent)] {
        if let Some(new) = NewEntry::new(name, ino, file_type) {
            slot = Slot {
                offset: area.insert(slot, &new),
                used: MIN_REC_LEN,
                rec_len: slot.rec_len.wrapping_sub(slot.used),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{verify_leaf, EntryLimits};
    use super::*;

    fn limits(block_size: u32) -> EntryLimits {
        EntryLimits {
            block_size,
            inodes_count: 1000,
        }
    }

    fn ino(n: u32) -> Ino {
        Ino::new(n).unwrap()
    }

    fn new(name: &[u8], n: u32) -> NewEntry<'_> {
        NewEntry::new(name, ino(n), 1).unwrap()
    }

    fn add(block: &mut [u8], name: &[u8], n: u32) -> Result<Room, DirError> {
        let bs = block.len() as u32;
        let new = new(name, n);
        let room = DirArea::new(block, limits(bs)).find_room(&new)?;
        if let Room::At(slot) = room {
            let at = DirAreaMut::new(block, bs).insert(slot, &new);
            let entry = DirArea::new(block, limits(bs)).entry_at(at)?;
            assert_eq!((entry.name, entry.ino), (name, Some(ino(n))));
        }
        Ok(room)
    }

    fn erase(block: &mut [u8], name: &[u8]) -> bool {
        let bs = block.len() as u32;
        let area = DirArea::new(block, limits(bs));
        let offset = area.find(name).unwrap().unwrap().offset;
        let victim = area.victim(offset, name).unwrap().unwrap();
        assert_eq!(area.victim(offset, b"other"), Ok(None));
        assert_eq!(area.victim(offset + 4, name), Ok(None));
        DirAreaMut::new(block, bs).erase(&victim);
        victim.alone
    }

    #[test]
    fn a_block_fills_empties_and_packs() {
        for bs in [1024u32, 4096, 65536] {
            let mut b = vec![0; bs as usize];
            init_leaf(&mut b, bs, false);
            assert!(DirArea::new(&b, limits(bs)).is_blank());
            let mut names = Vec::new();
            loop {
                let name = format!("name {}", names.len());
                match add(&mut b, name.as_bytes(), 7).unwrap() {
                    Room::At(_) => names.push(name),
                    Room::Full => break,
                    Room::Exists => unreachable!(),
                }
                verify_leaf(&b, limits(bs), None).unwrap();
            }
            assert_eq!(add(&mut b, b"name 3", 7), Ok(Room::Exists));
            for name in names.iter().step_by(2) {
                assert!(!erase(&mut b, name.as_bytes()));
                verify_leaf(&b, limits(bs), None).unwrap();
            }
            let usage = DirArea::new(&b, limits(bs)).usage().unwrap();
            assert_eq!(usage.live, names.len() / 2);
            let last = DirAreaMut::new(&mut b, bs).pack();
            assert_eq!(last.offset + last.used, usage.bytes);
            assert_eq!(last.offset + last.rec_len, bs as usize);
            assert!(b[usage.bytes..].iter().all(|&b| b == 0));
            verify_leaf(&b, limits(bs), None).unwrap();
            let count = names.len() / 2;
            for (i, name) in names.iter().skip(1).step_by(2).enumerate() {
                let alone = erase(&mut b, name.as_bytes());
                assert_eq!(alone, i + 1 == count);
            }
            assert!(DirArea::new(&b, limits(bs)).is_blank());
            assert_eq!(
                b.iter().filter(|&&b| b != 0).count(),
                usize::from(bs != 65536) + usize::from(bs == 65536) * 2
            );
        }
    }

    #[test]
    fn first_block() {
        for (bs, checksums) in [(1024u32, true), (4096, false), (65536, true)] {
            let mut b = vec![0; bs as usize];
            init_first(&mut b, ino(12), ino(2), 2, bs, checksums);
            let entries: Vec<_> = DirArea::new(&b, limits(bs))
                .entries()
                .map(|e| e.unwrap())
                .map(|e| (e.ino.map(Ino::get), e.name.to_vec(), e.rec_len))
                .collect();
            let tail = if checksums { 12 } else { 0 };
            assert_eq!(entries[0], (Some(12), b".".to_vec(), 12));
            assert_eq!(
                entries[1],
                (Some(2), b"..".to_vec(), bs as usize - 12 - tail)
            );
            assert_eq!(entries.len(), 2 + usize::from(checksums));
            assert_eq!(super::super::checksum_offset(&b).is_some(), checksums);
        }
    }

    #[test]
    fn nothing_goes_between_the_dots() {
        let mut b = vec![0; 1024];
        init_first(&mut b, ino(12), ino(2), 2, 1024, false);
        b.copy_within(12..24, 100);
        b[12..24].fill(0);
        b[4] = 100;
        b[104..106].copy_from_slice(&924u16.to_le_bytes());
        let Ok(Room::At(slot)) = add(&mut b, b"x", 9) else {
            panic!();
        };
        assert_eq!(slot.offset, 100);
    }

    #[test]
    fn damage_stops_a_change() {
        let mut b = vec![0; 1024];
        init_first(&mut b, ino(12), ino(2), 2, 1024, false);
        for i in 0..5 {
            add(&mut b, format!("n{i}").as_bytes(), 7).unwrap();
        }
        let at = 24 + 12;
        let mut bad = b.clone();
        bad[at + 4] = 8;
        assert_eq!(add(&mut bad, b"new", 7), Err(DirError::ShortRecord));
        let area = DirArea::new(&bad, limits(1024));
        assert_eq!(area.victim(60, b"n3"), Err(DirError::ShortRecord));
        assert!(area.victim(24, b"n0").unwrap().is_some());
        let mut bad = b.clone();
        bad[at + 6] = 200;
        assert_eq!(add(&mut bad, b"new", 7), Err(DirError::NameOverflow));
    }
}
