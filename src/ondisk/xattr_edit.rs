// SPDX-License-Identifier: GPL-2.0

//! Changing the attributes of one place: an inode's body, or a block.
//!
//! A change has two steps. [`survey_body`] and [`survey_block`] walk the entries once and yield a
//! [`Spot`]: where the attribute is or would be inserted, and what room there is. All that can be
//! wrong with the area or with the request shows here. [`put_body`], [`put_block`],
//! [`remove_body`] and [`remove_block`] then change the same bytes (or a copy of them) and cannot
//! fail. Given other bytes they write nonsense into them, but stay inside.
//!
//! What comes out is what C ext4 and e2fsprogs make: values packed without gaps from the end in
//! the order in which they came, everything between names and values 0, a block's entries in the
//! order of index, length and name, its hashes up to date. Entries of a body are in no order and
//! have no hash, but for values in inodes of their own. A body without attributes has no magic
//! number; a block without any is not written but given up, which is for the caller to see.
//!
//! Locking: the caller holds the lock of the inode's attributes exclusively, from the survey on.

use zerocopy::FromBytes;

use super::ea_inode::EaReference;
use super::inode_edit::NotExpanded;
use super::xattr::{
    entry_hash, RawXattrEntry, XattrArea, XattrError, XattrRules, ENTRY_LEN, HEADER_LEN, MAGIC, PAD,
};
use super::xattr_block;
use super::Ino;

/// The longest name, in bytes, without the prefix that the index stands for.
pub const NAME_MAX: usize = 255;

/// The value that an attribute is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewValue<'a> {
    /// Beside the entries.
    Here(&'a [u8]),
    /// In an inode of its own, which exists.
    EaInode {
        /// The EA inode.
        ino: Ino,
        /// The hash of the value (`ea_inode::value_hash`).
        hash: u32,
        /// Length of the value, in bytes: not 0.
        size: u32,
    },
}

/// Where the value of an attribute is that is to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldValue {
    /// Beside the entries: offset and length in bytes. No offset counts without a length.
    Here {
        /// From where the area counts.
        offset: u16,
        /// Length, in bytes.
        size: u32,
    },
    /// In an inode of its own.
    EaInode(OldEaInode),
}

/// An entry's reference to an EA inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldEaInode {
    /// The EA inode; its number exists and is not reserved.
    pub ino: Ino,
    /// Length of the value, in bytes.
    pub size: u32,
    /// The entry's hash, which tells who made the EA inode (`EaReference::check_inode`).
    pub hash: u32,
}

impl From<EaReference<'_>> for OldEaInode {
    #[inline]
    fn from(reference: EaReference<'_>) -> Self {
        Self {
            ino: reference.ino,
            size: reference.size,
            hash: reference.hash(),
        }
    }
}

/// What a walk over an area has found out about one attribute; see the module's head.
///
/// Positions are in bytes from where the area's offsets count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The attribute's entry, or where it is to be inserted.
    at: u32,
    /// The four zero bytes behind the last entry.
    names_end: u32,
    /// The lowest value, or the end of the area.
    values: u32,
    old: Option<OldValue>,
    /// Whether there is no other attribute.
    alone: bool,
    /// Whether the area has no header yet.
    empty: bool,
}

impl Spot {
    /// The value that the attribute has; `None` if it does not exist.
    #[inline]
    pub fn old(&self) -> Option<OldValue> {
        self.old
    }

    /// Whether the attribute does not exist.
    #[inline]
    pub fn is_new(&self) -> bool {
        self.old.is_none()
    }

    /// Whether it is the only attribute here, or would be.
    #[inline]
    pub fn is_alone(&self) -> bool {
        self.alone
    }

    /// The spot of an attribute in an inode's body that has none: `len` bytes, whatever they are.
    #[inline]
    pub fn in_blank_body(len: usize) -> Self {
        Self {
            at: 0,
            names_end: 0,
            values: len.saturating_sub(PAD) as u32,
            old: None,
            alone: true,
            empty: true,
        }
    }

    /// The spot of an attribute in a block that [`xattr_block::init`] will make.
    #[inline]
    pub fn in_new_block(block_size: u32) -> Self {
        Self {
            at: HEADER_LEN as u32,
            names_end: HEADER_LEN as u32,
            values: block_size,
            old: None,
            alone: true,
            empty: false,
        }
    }

    /// Bytes that the old value takes here.
    #[inline]
    fn old_room(&self) -> usize {
        match self.old {
            Some(OldValue::Here { size, .. }) => padded(size as usize),
            _ => 0,
        }
    }

    /// Bytes between names and values that can be used.
    #[inline]
    pub fn free(&self) -> usize {
        let gap = self.values.saturating_sub(self.names_end) as usize;
        gap.saturating_sub(PAD)
    }

    /// Whether the attribute fits with a value of `size` bytes beside the entries (0 for one in
    /// an inode of its own). `name_len` is the name's, with which the survey was made.
    #[inline]
    pub fn fits(&self, name_len: usize, size: usize) -> bool {
        // The entry that is there is used again.
        let name = if self.is_new() {
            entry_len(name_len)
        } else {
            0
        };
        let need = padded(size).saturating_add(name);
        need <= self.free().saturating_add(self.old_room())
    }

    /// The longest value beside the entries with which the attribute fits, to whole units of 4;
    /// `None` if it does not fit with an empty one either. `name_len` as for [`fits`](Self::fits).
    #[inline]
    pub fn most(&self, name_len: usize) -> Option<usize> {
        let name = if self.is_new() {
            entry_len(name_len)
        } else {
            0
        };
        let room = self.free().saturating_add(self.old_room());
        Some(room.checked_sub(name)? & !(PAD - 1))
    }

    /// Whether a value of `size` bytes beside the entries leaves `reserve` bytes of the area
    /// below the values, or takes exactly the place of the old one.
    #[inline]
    pub fn leaves(&self, size: usize, reserve: usize) -> bool {
        let (new, old) = (padded(size), self.old_room());
        let values = (self.values as usize).saturating_add(old);
        new == old || new == 0 || values.saturating_sub(new) >= reserve
    }
}

/// Bytes that an attribute takes with its value beside the entries.
#[inline]
pub const fn room(name_len: usize, size: usize) -> usize {
    entry_len(name_len).saturating_add(padded(size))
}

/// Bytes that an entry takes whose name has `name_len`.
#[inline]
const fn entry_len(name_len: usize) -> usize {
    padded(name_len.saturating_add(ENTRY_LEN))
}

/// Bytes that a value takes.
#[inline]
const fn padded(size: usize) -> usize {
    size.saturating_add(PAD - 1) & !(PAD - 1)
}

/// Looks for an attribute in an inode's body, to change it; `space` is what follows the extra
/// fields (`InodeEdit::xattr_space`). A body without attributes is one with room for them.
///
/// Errors: the area is damaged.
pub fn survey_body(
    space: &[u8],
    rules: XattrRules,
    index: u8,
    name: &[u8],
) -> Result<Spot, XattrError> {
    match XattrArea::in_inode(space, rules) {
        Some(area) => survey(&area, index, name, false),
        None => Ok(Spot::in_blank_body(space.len())),
    }
}

/// Looks for an attribute in a block, to change it. The block has been verified, or is as
/// [`xattr_block::init`] leaves one.
///
/// Errors: the block is damaged.
pub fn survey_block(
    block: &[u8],
    rules: XattrRules,
    index: u8,
    name: &[u8],
) -> Result<Spot, XattrError> {
    survey(&XattrArea::in_block(block, rules)?, index, name, true)
}

fn survey(area: &XattrArea<'_>, index: u8, name: &[u8], sorted: bool) -> Result<Spot, XattrError> {
    let mut at = area.first;
    let mut values = area.bytes.len();
    let mut old = None;
    let mut place = None;
    let mut others = false;
    // An entry has 16 bytes at least, so this ends with the area.
    while let Some((raw, next)) = area.entry_at(at)? {
        let xattr = area.check(&raw, next)?;
        let entry = raw.entry;
        let (size, offset) = (entry.value_size.get(), entry.value_offs.get());
        let inode = Ino::new(entry.value_inum.get());
        if inode.is_none() && size != 0 {
            values = values.min(offset.into());
        }
        let order = xattr_block::order(index, name, xattr.index, xattr.name);
        if order.is_eq() && old.is_none() {
            place = Some(at);
            let hash = entry.hash.get();
            old = Some(match inode {
                Some(ino) => OldValue::EaInode(OldEaInode { ino, size, hash }),
                None => OldValue::Here { offset, size },
            });
        } else {
            others = true;
            // The first of those that come behind the name in question.
            if sorted && place.is_none() && order.is_lt() {
                place = Some(at);
            }
        }
        at = next;
    }
    if values < at.saturating_add(PAD) {
        return Err(XattrError::ValueOverlap);
    }
    if let Some(OldValue::Here { offset, size: 1.. }) = old {
        check_movable(area, offset)?;
    }
    Ok(Spot {
        // An area has at most 2^16 bytes.
        at: place.unwrap_or(at) as u32,
        names_end: at as u32,
        values: values as u32,
        old,
        alone: !others,
        empty: false,
    })
}

/// Checks that the values below the one at `offset` end where it begins: they move up when it
/// goes, and one that reached into it would leave the area.
fn check_movable(area: &XattrArea<'_>, offset: u16) -> Result<(), XattrError> {
    let mut at = area.first;
    while let Some((raw, next)) = area.entry_at(at)? {
        let (start, size) = (raw.entry.value_offs.get(), raw.entry.value_size.get());
        if raw.entry.value_inum.get() == 0 && size != 0 && start < offset {
            let end = usize::from(start).saturating_add(padded(size as usize));
            if end > offset.into() {
                return Err(XattrError::ValueOverlap);
            }
        }
        at = next;
    }
    Ok(())
}

/// Gives an attribute of an inode's body this value. The spot comes from a survey of the same
/// bytes for the same name, and [`Spot::fits`].
pub fn put_body(space: &mut [u8], spot: &Spot, index: u8, name: &[u8], value: &NewValue<'_>) {
    if spot.empty {
        // Bytes that are not attributes are not known to be 0. (C ext4 takes them for entries.) The
        // value comes to stand at the end.
        let room = match value {
            NewValue::Here(value) => padded(value.len()),
            NewValue::EaInode { .. } => 0,
        };
        let unused = space.len().saturating_sub(room);
        space.get_mut(..unused).unwrap_or_default().fill(0);
    }
    let Some((magic, bytes)) = space.split_first_chunk_mut::<PAD>() else {
        return;
    };
    *magic = MAGIC.to_le_bytes();
    let hash = match value {
        NewValue::Here(_) => 0,
        NewValue::EaInode { hash, .. } => entry_hash(name, &hash.to_le_bytes()),
    };
    put(bytes, 0, spot, index, name, value, hash);
}

/// As [`put_body`], in a block, whose hash is stored as well.
pub fn put_block(block: &mut [u8], spot: &Spot, index: u8, name: &[u8], value: &NewValue<'_>) {
    let hash = match value {
        NewValue::Here(value) => entry_hash(name, value),
        NewValue::EaInode { hash, .. } => entry_hash(name, &hash.to_le_bytes()),
    };
    put(block, HEADER_LEN, spot, index, name, value, hash);
    xattr_block::rehash(block);
}

/// Removes an attribute from an inode's body. The spot comes from a survey of the same bytes that
/// has found it.
pub fn remove_body(space: &mut [u8], spot: &Spot) {
    let Some((magic, bytes)) = space.split_first_chunk_mut::<PAD>() else {
        return;
    };
    remove(bytes, 0, spot);
    if spot.alone {
        *magic = [0; PAD];
    }
}

/// As [`remove_body`], from a block, whose hash is stored as well.
pub fn remove_block(block: &mut [u8], spot: &Spot) {
    remove(block, HEADER_LEN, spot);
    xattr_block::rehash(block);
}

fn put(
    bytes: &mut [u8],
    first: usize,
    spot: &Spot,
    index: u8,
    name: &[u8],
    value: &NewValue<'_>,
    hash: u32,
) {
    let at = spot.at as usize;
    let (contents, size, inum) = match *value {
        NewValue::Here(contents) => (contents, contents.len() as u32, 0),
        NewValue::EaInode { ino, size, .. } => (&[][..], size, ino.get()),
    };
    let room = padded(contents.len());
    let mut offset = 0usize;
    if room != 0 && room == spot.old_room() {
        // Into the old value's place.
        if let Some(OldValue::Here { offset: old, .. }) = spot.old {
            offset = old.into();
        }
    } else {
        let values = drop_value(bytes, first, spot);
        if room != 0 {
            offset = values.saturating_sub(room);
        }
        if spot.is_new() {
            let len = entry_len(name.len());
            let behind = (spot.names_end as usize).saturating_add(PAD);
            move_bytes(bytes, at, behind, at.saturating_add(len));
            let names = bytes.get_mut(at..).unwrap_or_default();
            if let Some((head, rest)) = names.split_at_mut_checked(ENTRY_LEN) {
                head.fill(0);
                let rest = rest.get_mut(..len.wrapping_sub(ENTRY_LEN));
                write_padded(rest.unwrap_or_default(), name);
            }
        }
    }
    if let Some(place) = bytes.get_mut(offset..offset.saturating_add(room)) {
        write_padded(place, contents);
    }
    if let Ok((entry, _)) = RawXattrEntry::mut_from_prefix(bytes.get_mut(at..).unwrap_or_default())
    {
        entry.name_len = name.len() as u8;
        entry.name_index = index;
        entry.value_offs = (offset as u16).into();
        entry.value_inum = inum.into();
        entry.value_size = size.into();
        entry.hash = hash.into();
    }
}

fn remove(bytes: &mut [u8], first: usize, spot: &Spot) {
    if spot.is_new() {
        return;
    }
    drop_value(bytes, first, spot);
    let at = spot.at as usize;
    let entry = RawXattrEntry::ref_from_prefix(bytes.get(at..).unwrap_or_default());
    let len = entry.map_or(0, |(entry, _)| entry_len(entry.name_len.into()));
    let behind = (spot.names_end as usize).saturating_add(PAD);
    move_bytes(bytes, at.saturating_add(len), behind, at);
    if let Some(freed) = bytes.get_mut(behind.saturating_sub(len)..behind) {
        freed.fill(0);
    }
}

/// Takes out the old value, if it is here; returns where the lowest value is then.
fn drop_value(bytes: &mut [u8], first: usize, spot: &Spot) -> usize {
    let values = spot.values as usize;
    let Some(OldValue::Here { offset, size: 1.. }) = spot.old else {
        return values;
    };
    let room = spot.old_room();
    let up = values.saturating_add(room);
    move_bytes(bytes, values, offset.into(), up);
    if let Some(freed) = bytes.get_mut(values..up) {
        freed.fill(0);
    }
    // Not for the value itself, whose entry is written or removed by the caller.
    shift_offsets(bytes, first, spot.names_end as usize, |old| {
        if old < offset {
            old.wrapping_add(room as u16)
        } else {
            old
        }
    });
    up
}

/// Changes the offset of each value that is beside the entries.
fn shift_offsets(bytes: &mut [u8], first: usize, names_end: usize, new: impl Fn(u16) -> u16) {
    let mut at = first;
    while at < names_end {
        let rest = bytes.get_mut(at..).unwrap_or_default();
        let Ok((entry, _)) = RawXattrEntry::mut_from_prefix(rest) else {
            return;
        };
        if entry.value_inum.get() == 0 && entry.value_size.get() != 0 {
            entry.value_offs = new(entry.value_offs.get()).into();
        }
        at = at.saturating_add(entry_len(entry.name_len.into()));
    }
}

/// Moves the attributes of an inode's body up by `by` bytes (a multiple of 4), to leave room for
/// more extra fields, which is filled with 0. Values stay where they are.
pub(super) fn shift_body(space: &mut [u8], by: u16) -> Result<(), NotExpanded> {
    let up = usize::from(by);
    let has = space.first_chunk() == Some(&MAGIC.to_le_bytes());
    if !has || space.len() < PAD + PAD {
        // What comes to stand behind the fields was nobody's, and must not be read as a header.
        let end = space.len().min(up.saturating_add(PAD));
        space.get_mut(..end).unwrap_or_default().fill(0);
        return Ok(());
    }
    // What an EA inode's number may be does not matter here.
    let rules = XattrRules {
        ea_inode: true,
        first_ino: 1,
        inodes_count: u32::MAX,
    };
    let spot = survey_body(space, rules, 0, &[]).map_err(NotExpanded::Corrupt)?;
    if let Some(missing @ 1..) = up.checked_sub(spot.free()) {
        return Err(NotExpanded::NoRoom {
            missing: missing as u16,
        });
    }
    let names_end = spot.names_end as usize;
    if let Some(bytes) = space.get_mut(PAD..) {
        shift_offsets(bytes, 0, names_end, |old| old.wrapping_sub(by));
    }
    // The header, the names and the four bytes behind them.
    move_bytes(space, 0, names_end.saturating_add(PAD + PAD), up);
    space.get_mut(..up).unwrap_or_default().fill(0);
    Ok(())
}

/// Moves `bytes[from..end]` to `to`. Does nothing if that is not inside.
#[inline]
fn move_bytes(bytes: &mut [u8], from: usize, end: usize, to: usize) {
    let Some(len) = end.checked_sub(from) else {
        return;
    };
    // First what the move covers: in its terms, the compiler sees that `copy_within` cannot panic.
    let up = to >= from;
    let covered = if up {
        bytes.get_mut(from..to.saturating_add(len))
    } else {
        bytes.get_mut(to..end)
    };
    let covered = covered.unwrap_or_default();
    let Some(rest) = covered.len().checked_sub(len) else {
        return;
    };
    if up {
        covered.copy_within(..len, rest);
    } else {
        covered.copy_within(rest.., 0);
    }
}

/// Fills `place` with `contents` and zeros.
#[inline]
fn write_padded(place: &mut [u8], contents: &[u8]) {
    if let Some((head, rest)) = place.split_at_mut_checked(contents.len()) {
        head.copy_from_slice(contents);
        rest.fill(0);
    }
}
