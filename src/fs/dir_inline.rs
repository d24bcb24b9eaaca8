// SPDX-License-Identifier: GPL-2.0

//! Changing directories that are in their inodes (`inline_data`).
//!
//! The two parts, `i_block` and the value of `system.data`, are copied out of the slot, changed,
//! and put back in one go: xattr_sem, held for writing, keeps them as they are meanwhile, and the
//! slot's spinlock is held for the copy back only. A directory that is full makes the value as long
//! as the inode allows; then it gets a block like any other ([`dir_change::convert`]).
//!
//! Locking: i_rwsem of the directory exclusively, a handle; xattr_sem is taken here.

use super::{
    dir_change,
    fault::Fault,
    inode::{number, read_slot, MapKind, XattrPlaces},
    inode_write,
    tx::Handle,
    vec, Sb, VfsInode,
};
use crate::{
    engine::dir_lookup::Place,
    linux::{inode_edit::InodeEdit as _, insist::insist},
    ondisk::{
        dir::{edit::NewEntry, DirError, FileType},
        extent::edit::EMPTY_ROOT,
        features::Incompat,
        inline::{
            edit::{grow, init_head, InlineDirMut, InlinePlace, InlineRoom},
            file::DATA,
            InlineDir,
        },
        inode::{InodeError, InodeFlags, BASE_SIZE, I_BLOCK_SIZE},
        inode_edit::fresh_extra_isize,
        xattr::{index, XattrArea, XattrError, XattrRules},
        xattr_edit::{self, put_body, remove_body, survey_body, NewValue, OldValue, Spot},
        Corrupt, Ino,
    },
};
use kernel::prelude::*;

/// What an area of attributes takes beside them: the magic number, and the end of the names.
const OVERHEAD: usize = 8;

/// `i_block` of a new directory that is in its inode; `None` where directories get a block.
pub(super) fn new_head(sb: &Sb, parent: Ino) -> Option<[u8; I_BLOCK_SIZE]> {
    let geo = &sb.info().geometry;
    if !geo.has(Incompat::INLINE_DATA) {
        return None;
    }
    let fields = BASE_SIZE.saturating_add(fresh_extra_isize(geo).into());
    let needed = OVERHEAD.saturating_add(xattr_edit::room(DATA.len(), 0));
    if usize::from(geo.inode_size()) < fields.saturating_add(needed) {
        return None;
    }
    let mut head = [0; I_BLOCK_SIZE];
    init_head(&mut head, parent, geo.block_size());
    Some(head)
}

/// The two parts of an inline directory, copied out of its slot.
struct Parts {
    head: [u8; I_BLOCK_SIZE],
    /// The space behind the inode's fields, with all its attributes.
    space: KVec<u8>,
    rules: XattrRules,
}

impl Parts {
    /// Copies them; xattr_sem, of which these are the places, is held.
    fn read(dir: &VfsInode, places: &XattrPlaces) -> Result<Self, Fault> {
        let sb = dir.super_block();
        let slot = read_slot(sb, number(dir)?)?;
        let head = slot
            .get(I_BLOCK_OFFSET..)
            .and_then(|bytes| bytes.first_chunk())
            .ok_or(Corrupt::from(InodeError::Truncated))?;
        let start = BASE_SIZE.saturating_add(places.extra_isize.into());
        let bytes = slot.get(start..).unwrap_or(&[]);
        // What has failed half-way is taken back by these functions as well.
        let mut space = insist(|| vec::filled(0u8, bytes.len()))?;
        for (to, from) in space.iter_mut().zip(bytes) {
            *to = *from;
        }
        Ok(Self {
            head: *head,
            space,
            rules: XattrRules::new(&sb.info().geometry),
        })
    }

    /// Where `system.data` is, or would be.
    fn spot(&self) -> Result<Spot, XattrError> {
        survey_body(&self.space, self.rules, index::SYSTEM, DATA)
    }

    /// The value of `system.data` in the space: where it begins, and its length.
    ///
    /// Errors: there is none, or it is in an inode of its own.
    fn value(&self) -> Result<(usize, usize), XattrError> {
        match self.spot()?.old() {
            // Offsets count from behind the magic number.
            Some(OldValue::Here { offset, size }) => {
                Ok((usize::from(offset).saturating_add(4), size as usize))
            }
            _ => Err(XattrError::BadEaInode),
        }
    }

    /// Runs `f` over the directory.
    fn with<R>(
        &mut self,
        dir: &VfsInode,
        f: impl FnOnce(&mut InlineDirMut<'_>) -> Result<R, DirError>,
    ) -> Result<R, Fault> {
        let (at, len) = self.value()?;
        let end = at.saturating_add(len);
        let value = self.space.get_mut(at..end);
        let mut inline = InlineDirMut {
            head: &mut self.head,
            value: value.ok_or(XattrError::BadEaInode)?,
            limits: dir.super_block().info().dir_format.limits,
        };
        Ok(f(&mut inline).map_err(Corrupt::from)?)
    }

    /// Makes the value as long as the inode allows; its length then, or `None` if it cannot be
    /// made longer to any use.
    fn grow(&mut self, dir: &VfsInode) -> Result<Option<usize>, Fault> {
        let spot = self.spot()?;
        let (at, old) = self.value()?;
        let mut len = old;
        while spot.fits(DATA.len(), len.saturating_add(4)) && len < self.space.len() {
            len = len.saturating_add(4);
        }
        let mut value = vec::filled(0u8, len)?;
        let bytes = self.space.get(at..at.saturating_add(old)).unwrap_or(&[]);
        for (to, from) in value.iter_mut().zip(bytes) {
            *to = *from;
        }
        let limits = dir.super_block().info().dir_format.limits;
        if !grow(&mut value, old, limits).map_err(Corrupt::from)? {
            return Ok(None);
        }
        let value = NewValue::Here(&value);
        put_body(&mut self.space, &spot, index::SYSTEM, DATA, &value);
        Ok(Some(len))
    }
}

/// Where `i_block` is in a slot, in bytes.
const I_BLOCK_OFFSET: usize = 40;

/// Changes the parts by `f`, and stores them.
///
/// Errors: those of `f`, when nothing has changed; EIO, ENOMEM, and those of a journal that has
/// been given up.
fn change<R>(
    handle: &Handle<'_>,
    dir: &VfsInode,
    f: impl FnOnce(&mut Parts) -> Result<R, Fault>,
) -> Result<R, Fault> {
    let slot = inode_write::prepare(handle, dir)?;
    let mut places = dir.data().xattr_sem.write();
    let mut parts = Parts::read(dir, &places)?;
    let result = f(&mut parts)?;
    store(slot, &mut places, &parts)?;
    Ok(result)
}

/// Puts the parts back into the slot.
fn store(
    slot: inode_write::Prepared<'_, '_>,
    places: &mut XattrPlaces,
    parts: &Parts,
) -> Result<(), Fault> {
    slot.edit(|edit| {
        edit.set_i_block(&parts.head);
        if let Some(space) = edit.xattr_space() {
            for (to, from) in space.iter_mut().zip(parts.space.iter()) {
                *to = *from;
            }
        }
    })?;
    places.in_body = XattrArea::in_inode(&parts.space, parts.rules).is_some();
    Ok(())
}

/// Gives `dir`, a new directory whose `i_block` is [`new_head`], its second part, which is empty.
///
/// Errors: ENOSPC if the inode has no room left for it; those of [`change`].
pub(super) fn create(handle: &Handle<'_>, dir: &VfsInode) -> Result<(), Fault> {
    change(handle, dir, |parts| {
        let spot = parts.spot()?;
        if !spot.fits(DATA.len(), 0) {
            return Err(ENOSPC.into());
        }
        let empty = NewValue::Here(&[]);
        put_body(&mut parts.space, &spot, index::SYSTEM, DATA, &empty);
        Ok(())
    })?;
    dir.set_size(I_BLOCK_SIZE as u64);
    Ok(inode_write::store(handle, dir)?)
}

/// Adds an entry. `false` if there was no room for it, and the directory, otherwise unchanged, has a
/// block now.
///
/// Errors: EEXIST, EINVAL, ENOSPC, and those of [`change`]; nothing has changed then.
pub(super) fn add(
    handle: &Handle<'_>,
    dir: &VfsInode,
    name: &[u8],
    ino: Ino,
    file_type: FileType,
) -> Result<bool, Fault> {
    let stored_type = stored_type(dir, file_type);
    let new = NewEntry::new(name, ino, stored_type).ok_or(EINVAL)?;
    let mut grown = None;
    let done = change(handle, dir, |parts| {
        let mut room = parts.with(dir, |d| d.insert(&new))?;
        if room == InlineRoom::Full {
            let Some(len) = parts.grow(dir)? else {
                return Err(ENOSPC.into());
            };
            grown = Some(len);
            room = parts.with(dir, |d| d.insert(&new))?;
        }
        match room {
            InlineRoom::At(_) => Ok(()),
            InlineRoom::Exists => Err(Fault::from(EEXIST)),
            InlineRoom::Full => Err(ENOSPC.into()),
        }
    });
    match done {
        Ok(()) => {
            if let Some(len) = grown {
                dir.set_size(I_BLOCK_SIZE.saturating_add(len) as u64);
            }
            Ok(true)
        }
        Err(Fault::Errno(e)) if e == ENOSPC => convert(handle, dir).map(|()| false),
        Err(e) => Err(e),
    }
}

/// Gives the directory a block.
///
/// Errors: ENOSPC, damage, EIO, ENOMEM; the directory is as it was then.
#[cold]
fn convert(handle: &Handle<'_>, dir: &VfsInode) -> Result<(), Fault> {
    let slot = inode_write::prepare(handle, dir)?;
    let info = dir.data();
    let geo = &dir.super_block().info().geometry;
    // To the end: who stores the inode meanwhile would see it half-way.
    let mut places = info.xattr_sem.write();
    let mut parts = Parts::read(dir, &places)?;
    let (at, len) = parts.value()?;
    let mut value = vec::filled(0u8, len)?;
    let bytes = parts.space.get(at..at.saturating_add(len)).unwrap_or(&[]);
    for (to, from) in value.iter_mut().zip(bytes) {
        *to = *from;
    }
    let head = parts.head;
    let inline = InlineDir::new(&head, Some(&value)).map_err(Corrupt::from)?;

    let (flags, size) = (info.flags(), dir.size());
    let mut bits = flags.bits() & !InodeFlags::INLINE_DATA.bits();
    let kind = if geo.has(Incompat::EXTENTS) {
        bits |= InodeFlags::EXTENTS.bits();
        info.data_sem.write().block = EMPTY_ROOT;
        MapKind::Extents
    } else {
        info.data_sem.write().block = [0; I_BLOCK_SIZE];
        MapKind::Indirect
    };
    info.set_map_kind(kind);
    info.set_flags(InodeFlags::from_bits(bits));
    dir.set_size(0);
    if let Err(e) = dir_change::convert(handle, dir, &inline) {
        dir.set_size(size);
        info.set_flags(flags);
        info.set_map_kind(MapKind::None);
        super::map::forget_all(dir);
        return Err(e);
    }
    let spot = parts.spot()?;
    remove_body(&mut parts.space, &spot);
    parts.head = info.data_sem.read().block;
    store(slot, &mut places, &parts)
}

fn stored_type(dir: &VfsInode, file_type: FileType) -> u8 {
    if dir.super_block().info().dir_format.file_types {
        file_type.to_disk()
    } else {
        0
    }
}

/// The place of an entry, as `ondisk` has it.
fn inline_place(place: Place) -> Result<InlinePlace, Fault> {
    match place {
        Place::InlineFirst { offset } => Ok(InlinePlace::First(offset as usize)),
        Place::InlineSecond { offset } => Ok(InlinePlace::Second(offset as usize)),
        Place::Block { .. } | Place::Implied => Err(ENOENT.into()),
    }
}

/// Removes the entry `name` from `place`.
///
/// Errors: ENOENT if it is not there, and those of [`change`]; nothing has changed then.
pub(super) fn remove(
    handle: &Handle<'_>,
    dir: &VfsInode,
    name: &[u8],
    place: Place,
) -> Result<(), Fault> {
    let place = inline_place(place)?;
    change(handle, dir, |parts| {
        if parts.with(dir, |d| d.remove(name, place))? {
            Ok(())
        } else {
            Err(ENOENT.into())
        }
    })
}

/// Has the entry `name` at `place` stand for inode `ino`.
///
/// Errors: as [`remove`].
pub(super) fn replace(
    handle: &Handle<'_>,
    dir: &VfsInode,
    name: &[u8],
    place: Place,
    ino: Ino,
    file_type: FileType,
) -> Result<(), Fault> {
    let place = inline_place(place)?;
    let file_type = stored_type(dir, file_type);
    change(handle, dir, |parts| {
        if parts.with(dir, |d| d.replace(name, place, ino, file_type))? {
            Ok(())
        } else {
            Err(ENOENT.into())
        }
    })
}

/// Has `..` lead to `parent`.
///
/// Errors: those of [`change`].
pub(super) fn set_parent(handle: &Handle<'_>, dir: &VfsInode, parent: Ino) -> Result<(), Fault> {
    change(handle, dir, |parts| {
        parts.with(dir, |d| {
            d.set_parent(parent);
            Ok(())
        })
    })
}
