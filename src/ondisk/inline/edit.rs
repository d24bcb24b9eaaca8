// SPDX-License-Identifier: GPL-2.0

//! Changing an inline directory.
//!
//! Its entries are in two areas, the first behind the parent's number in `i_block`, the second in
//! the value of `system.data`; each is a directory block of its own without `.` and `..`. The
//! caller holds both (and what protects the inode's attributes) and stores them afterwards. If
//! there is no room in either, it may make the value longer ([`grow`]) or turn the directory into
//! one with a block ([`fill_block`]).

use zerocopy::little_endian::U32;
use zerocopy::IntoBytes;

use super::{InlineDir, HEAD_SIZE};
use crate::ondisk::dir::edit::{put, records_mut, DirAreaMut, NewEntry, Room};
use crate::ondisk::dir::{DirArea, DirError, EntryLimits, MIN_REC_LEN};
use crate::ondisk::{Corrupt, Ino};

/// Length of the parent's number, in bytes.
const PARENT_LEN: usize = 4;
/// Where the first area's entries come to be in a block: behind `.` and `..`.
const FIRST: usize = 24;
/// The same for the second area.
const SECOND: usize = FIRST + HEAD_SIZE - PARENT_LEN;

/// Which of the two areas an entry is in, and its offset there, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InlinePlace {
    /// In `i_block`.
    First(usize),
    /// In the value of `system.data`.
    Second(usize),
}

/// What became of a new entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InlineRoom {
    /// It is in.
    At(InlinePlace),
    /// The name is there already.
    Exists,
    /// There is no room.
    Full,
}

/// The two parts of an inline directory that is being changed.
pub struct InlineDirMut<'a> {
    /// `i_block`.
    pub head: &'a mut [u8; HEAD_SIZE],
    /// The value of `system.data`.
    pub value: &'a mut [u8],
    /// What entries are checked against.
    pub limits: EntryLimits,
}

impl InlineDirMut<'_> {
    #[inline]
    fn first(&mut self) -> &mut [u8] {
        self.head.get_mut(PARENT_LEN..).unwrap_or_default()
    }

    fn area(&mut self, place: InlinePlace) -> (&mut [u8], usize) {
        match place {
            InlinePlace::First(offset) => (self.first(), offset),
            InlinePlace::Second(offset) => (&mut *self.value, offset),
        }
    }

    /// Adds an entry where there is room: in the first area, else in the second.
    ///
    /// Errors: damage; nothing has been changed then.
    pub fn insert(&mut self, new: &NewEntry<'_>) -> Result<InlineRoom, DirError> {
        for place in [InlinePlace::First(0), InlinePlace::Second(0)] {
            let limits = self.limits;
            let (area, _) = self.area(place);
            match DirArea::new(area, limits).find_room(new)? {
                Room::At(slot) => {
                    let at = DirAreaMut::new(area, limits.block_size).insert(slot, new);
                    return Ok(InlineRoom::At(match place {
                        InlinePlace::First(_) => InlinePlace::First(at),
                        InlinePlace::Second(_) => InlinePlace::Second(at),
                    }));
                }
                Room::Exists => return Ok(InlineRoom::Exists),
                Room::Full => {}
            }
        }
        Ok(InlineRoom::Full)
    }

    /// Removes the entry `name` from `place`; `false` if it is not there.
    ///
    /// Errors: damage; nothing has been changed then.
    pub fn remove(&mut self, name: &[u8], place: InlinePlace) -> Result<bool, DirError> {
        let limits = self.limits;
        let (area, offset) = self.area(place);
        let Some(victim) = DirArea::new(area, limits).victim(offset, name)? else {
            return Ok(false);
        };
        DirAreaMut::new(area, limits.block_size).erase(&victim);
        Ok(true)
    }

    /// Has the entry `name` at `place` stand for inode `ino`; `false` if it is not there.
    ///
    /// Errors: damage; nothing has been changed then.
    pub fn replace(
        &mut self,
        name: &[u8],
        place: InlinePlace,
        ino: Ino,
        file_type: u8,
    ) -> Result<bool, DirError> {
        let limits = self.limits;
        let (area, offset) = self.area(place);
        let entry = DirArea::new(area, limits).entry_at(offset)?;
        if entry.ino.is_none() || entry.name != name {
            return Ok(false);
        }
        DirAreaMut::new(area, limits.block_size).set_target(offset, ino, file_type);
        Ok(true)
    }

    /// Has `..` lead to `parent`.
    pub fn set_parent(&mut self, parent: Ino) {
        put(self.head, U32::new(parent.get()).as_bytes());
    }
}

/// Makes `i_block` that of a new directory without entries; its `system.data` is empty.
pub fn init_head(head: &mut [u8; HEAD_SIZE], parent: Ino, block_size: u32) {
    put(head, U32::new(parent.get()).as_bytes());
    let area = head.get_mut(PARENT_LEN..).unwrap_or_default();
    DirAreaMut::new(area, block_size).clear();
}

/// Has the entries of a `system.data` value that has been made longer than `old_len` bytes fill
/// it: the last record takes what is new, or all becomes a free one. Less than 12 bytes for a
/// first record are of no use: then this does nothing, and the value must not be stored.
///
/// Errors: damage; nothing has been changed then.
pub fn grow(value: &mut [u8], old_len: usize, limits: EntryLimits) -> Result<bool, DirError> {
    let old = value.get(..old_len).unwrap_or_default();
    let last = last_record(old, limits)?;
    if value.len() < old_len.saturating_add(4) || value.len() < MIN_REC_LEN || value.len() & 3 != 0
    {
        return Ok(false);
    }
    if let Some(new) = value.get_mut(old_len..) {
        new.fill(0);
    }
    let len = value.len().wrapping_sub(last);
    DirAreaMut::new(value, limits.block_size).set_len(last, len);
    Ok(true)
}

/// Offset of an area's last record, 0 if it has none. Checks all of them.
fn last_record(area: &[u8], limits: EntryLimits) -> Result<usize, DirError> {
    let mut last = 0;
    for entry in DirArea::new(area, limits).entries() {
        last = entry?.offset;
    }
    Ok(last)
}

/// Checks that an inline directory can become a block: that its records are good, and that they
/// fit, which they do in any inode.
pub fn fits_block<E: From<Corrupt>>(
    inline: &InlineDir<'_>,
    limits: EntryLimits,
    checksums: bool,
) -> Result<(), E> {
    let (first, second) = inline.areas();
    for area in [first, second] {
        last_record(area, limits).map_err(Corrupt::from)?;
    }
    let tail = if checksums { MIN_REC_LEN } else { 0 };
    let len = SECOND.saturating_add(second.len()).saturating_add(tail);
    if len > limits.block_size as usize {
        return Err(Corrupt::from(super::InlineError::TooLarge).into());
    }
    Ok(())
}

/// Puts the entries of an inline directory ([`fits_block`]) into its first block, which has been
/// made with `.` and `..` (`ondisk::dir::edit::init_first`). Each keeps the position that readers
/// have known it by, so the two areas follow each other as they are.
pub fn fill_block(inline: &InlineDir<'_>, block: &mut [u8], block_size: u32, checksums: bool) {
    let (first, second) = inline.areas();
    let bytes = records_mut(block, checksums);
    for (at, area) in [(FIRST, first), (SECOND, second)] {
        put(bytes.get_mut(at..).unwrap_or_default(), area);
    }
    let mut area = DirAreaMut::new(bytes, block_size);
    // `..` has had all of the block.
    area.set_len(MIN_REC_LEN, FIRST - MIN_REC_LEN);
    let used = if second.is_empty() {
        SECOND
    } else {
        SECOND.saturating_add(second.len())
    };
    area.stretch_last(FIRST, used);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ondisk::dir::edit::init_first;
    use crate::ondisk::dir::verify_leaf;

    const LIMITS: EntryLimits = EntryLimits {
        block_size: 1024,
        inodes_count: 100,
    };

    fn ino(n: u32) -> Ino {
        Ino::new(n).unwrap()
    }

    #[test]
    fn from_nothing_to_a_block() {
        let mut head = [0xaa; HEAD_SIZE];
        init_head(&mut head, ino(2), 1024);
        let mut value = Vec::new();
        let mut names = Vec::new();
        // Value lengths as the inode lets them grow.
        for len in [0usize, 8, 12, 40, 44, 96] {
            let old = value.len();
            let mut longer = value.clone();
            longer.resize(len, 0xaa);
            if grow(&mut longer, old, LIMITS).unwrap() {
                value = longer;
            } else {
                assert!(len < 12);
            }
            loop {
                let name = format!("n{}", names.len());
                let mut dir = InlineDirMut {
                    head: &mut head,
                    value: &mut value,
                    limits: LIMITS,
                };
                let new = NewEntry::new(name.as_bytes(), ino(20), 1).unwrap();
                match dir.insert(&new).unwrap() {
                    InlineRoom::At(place) => {
                        assert_eq!(dir.insert(&new), Ok(InlineRoom::Exists));
                        assert_eq!(dir.replace(name.as_bytes(), place, ino(21), 1), Ok(true));
                        assert_eq!(dir.replace(b"other", place, ino(21), 1), Ok(false));
                        names.push((name, place));
                    }
                    InlineRoom::Full => break,
                    InlineRoom::Exists => unreachable!(),
                }
            }
            let inline = InlineDir::new(&head, Some(&value)).unwrap();
            fits_block::<Corrupt>(&inline, LIMITS, true).unwrap();
            for checksums in [false, true] {
                let mut block = vec![0; 1024];
                init_first(&mut block, ino(12), ino(2), 2, 1024, checksums);
                fill_block(&inline, &mut block, 1024, checksums);
                verify_leaf(&block, LIMITS, None).unwrap();
                let area = DirArea::new(&block, LIMITS);
                assert_eq!(area.find(b"..").unwrap().unwrap().ino, Some(ino(2)));
                for (name, place) in &names {
                    let at = match place {
                        InlinePlace::First(offset) => 24 + offset,
                        InlinePlace::Second(offset) => 80 + offset,
                    };
                    let entry = area.find(name.as_bytes()).unwrap().unwrap();
                    assert_eq!((entry.offset, entry.ino), (at, Some(ino(21))));
                }
            }
        }
        assert!(names.len() > 8);
        let mut dir = InlineDirMut {
            head: &mut head,
            value: &mut value,
            limits: LIMITS,
        };
        dir.set_parent(ino(7));
        for (name, place) in &names {
            assert_eq!(dir.remove(b"other", *place), Ok(false));
            assert_eq!(dir.remove(name.as_bytes(), *place), Ok(true));
            assert_eq!(dir.remove(name.as_bytes(), *place), Ok(false));
        }
        let inline = InlineDir::new(&head, Some(&value)).unwrap();
        assert_eq!(inline.raw_parent(), 7);
        let (first, second) = inline.areas();
        assert!(DirArea::new(first, LIMITS).is_blank());
        assert!(DirArea::new(second, LIMITS).is_blank());
        assert_eq!(head[4..].iter().filter(|&&b| b != 0).count(), 1);
    }
}
