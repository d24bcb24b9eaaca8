// SPDX-License-Identifier: GPL-2.0

//! From a VFS inode to its slot in the inode table.
//!
//! An inode is changed in memory, under the locks that its fields have, and then its slot is
//! written in the same handle, as often as the operation likes: the journal takes the block once.
//! Two steps, so that an operation can have behind it what may fail before it changes anything:
//! [`prepare`] reads the block and takes write access to it, [`Prepared::store`] writes the slot.
//! [`store`] does both.
//!
//! What is written is the VFS's fields, the flags, `i_block` and the attribute block
//! (`engine::inode_fields`, which also says what is not). Some are protected by sleeping locks,
//! which `store` takes for reading. Whoever holds one of these for writing uses
//! [`Prepared::store_mapped`] or [`Prepared::store_attributed`]: these take none of them, and leave
//! what the other lock protects as it is in the slot, which is right, since every change of it is
//! stored by whoever makes it. What is not among these fields is changed in the slot itself
//! ([`Prepared::edit`]).
//!
//! Locking: the slot's spinlock excludes other writers of the slot. The fields are read inside it,
//! so that the last one to write has seen the latest values: two tasks may store an inode at the
//! same time, without any lock in common (a reader's access time, say, and a chmod). Order: handle,
//! xattr_sem, data_sem, the slot. C ext4 copies `i_block` without its lock; here a root that is
//! being changed is never seen half-way.

use super::{
    fault::Fault,
    inode::{number, MapKind, Root, XattrPlaces},
    options::Toggles,
    orphan::SlotRight,
    super_info,
    tx::Handle,
    xattr_expand, VfsInode,
};
use crate::{
    engine::inode_fields::{Fields, IBlock, Stamps, Stored},
    linux::{
        inode_edit::{InodeEdit as _, Time},
        jbd2::{Access, SlotKey},
        super_block::{message, Level},
    },
    ondisk::{
        inode::{dtime, InodeError, InodeFlags},
        inode_edit::{needs_large_file, InodeEdit, NotExpanded, Unstorable},
        time::Timestamp,
        Corrupt,
    },
};
use core::sync::atomic::Ordering::Relaxed;
use kernel::prelude::*;

/// What stands for ids that do not fit 16 bits, under `nouid32`: the kernel's default for
/// `fs_overflowuid` and `fs_overflowgid`.
const OVERFLOW_IDS: (u16, u16) = (65534, 65534);

/// How many attributes move out of an inode's body at most to make room for extra fields.
const MOST_ATTRIBUTES: u32 = 32;

/// Writes `inode` to its slot, in `handle`. Neither xattr_sem nor data_sem is held. May sleep.
///
/// Errors: those of [`prepare`] and [`Prepared::store`].
pub(crate) fn store(handle: &Handle<'_>, inode: &VfsInode) -> Result {
    prepare(handle, inode)?.store()
}

/// Gets the block with the slot of `inode`, and write access to it. May sleep.
///
/// Errors: EIO; EROFS when the journal has been given up; ESTALE for an inode that is gone (see
/// [`super::delete`]).
#[inline]
pub(crate) fn prepare<'h, 'j>(
    handle: &'h Handle<'j>,
    inode: &'h VfsInode,
) -> Result<Prepared<'h, 'j>> {
    if inode.data().deletion.is_gone() {
        return Err(ESTALE);
    }
    let device = inode.super_block().device();
    let block = inode.data().slot_block;
    let buffer = match device.cached(block) {
        Some(buffer) => buffer,
        None => device.read(block)?,
    };
    Ok(Prepared {
        access: handle.access(buffer)?,
        handle,
        inode,
    })
}

/// An inode whose slot can be written.
#[must_use = "to be stored"]
pub(crate) struct Prepared<'h, 'j> {
    access: Access<'h>,
    handle: &'h Handle<'j>,
    inode: &'h VfsInode,
}

impl Prepared<'_, '_> {
    /// Writes the inode. Neither xattr_sem nor data_sem is held. May sleep.
    ///
    /// Errors: EUCLEAN (reported) for a slot that has become damaged in memory; EFBIG, EOVERFLOW,
    /// EINVAL (reported as well: a mistake of ours) for a value that the inode cannot hold, when
    /// all other fields have been written.
    pub(crate) fn store(self) -> Result {
        self.store_with(|_| ())
    }

    /// As [`store`](Self::store), after counting a change of the inode, which happens now.
    ///
    /// Errors: as there.
    pub(crate) fn store_changed(self) -> Result {
        self.inode.inc_version();
        self.inode.touch_ctime();
        self.store()
    }

    /// As [`store`](Self::store), and changes the slot by `f` before (see [`edit`](Self::edit)).
    ///
    /// Errors: as there.
    #[inline]
    pub(crate) fn store_with(self, f: impl FnOnce(&mut InodeEdit<'_>)) -> Result {
        let info = self.inode.data();
        if info.may_expand.load(Relaxed) {
            // Later then, or never: the inode is as good as it was.
            let _ = self.expand();
        }
        let places = info.xattr_sem.read();
        if info.map_kind() == MapKind::None {
            // A fast symlink's target and a device's number do not change, inline data is in the
            // slot only.
            return self.put(false, IBlock::Keep, Some(&places), f);
        }
        let root = info.data_sem.read();
        self.put(false, IBlock::Root(&root.block), Some(&places), f)
    }

    /// As [`store`](Self::store), with data_sem held, which protects `root`. The attribute block
    /// stays as it is in the slot.
    pub(crate) fn store_mapped(self, root: &Root) -> Result {
        self.put(false, IBlock::Root(&root.block), None, |_| ())
    }

    /// As [`store`](Self::store), with xattr_sem held, which protects `places`. `i_block` stays as
    /// it is in the slot.
    pub(crate) fn store_attributed(self, places: &XattrPlaces) -> Result {
        self.store_attributed_with(places, |_| ())
    }

    /// As [`store_attributed`](Self::store_attributed), and changes the slot by `f` before: the
    /// attributes in the inode's body, for which xattr_sem is held for writing.
    ///
    /// Errors: as [`store`](Self::store).
    #[inline]
    pub(crate) fn store_attributed_with(
        self,
        places: &XattrPlaces,
        f: impl FnOnce(&mut InodeEdit<'_>),
    ) -> Result {
        self.put(false, IBlock::Keep, Some(places), f)
    }

    /// As [`store`](Self::store), with both locks held, for a change of where the contents are. `f`
    /// changes the slot before: the attributes in the inode's body, for which xattr_sem is held for
    /// writing.
    ///
    /// Errors: as [`store`](Self::store).
    pub(crate) fn store_all_with(
        self,
        places: &XattrPlaces,
        root: &Root,
        f: impl FnOnce(&mut InodeEdit<'_>),
    ) -> Result {
        self.put(false, IBlock::Root(&root.block), Some(places), f)
    }

    /// Changes the slot by `f`, and stores mode, change time and version: for a change of the
    /// attributes in the inode's body, for which xattr_sem is held for writing. What else is in memory
    /// is in the slot already, since whoever changes it stores it. (With `lazytime` times may not be;
    /// they are due later.)
    ///
    /// Errors: EUCLEAN (reported).
    #[inline]
    pub(crate) fn store_stamped_with(
        self,
        places: &XattrPlaces,
        f: impl FnOnce(&mut InodeEdit<'_>),
    ) -> Result {
        let inode = self.inode;
        let info = inode.data();
        if info.unstored.load(Relaxed) {
            return self.store_attributed_with(places, f);
        }
        let stored = self.with_slot(false, |edit| {
            f(edit);
            edit.set_mode(inode.mode());
            if !info.flags().contains(InodeFlags::EA_INODE) {
                edit.set_ctime(stamp(inode.ctime()));
                edit.set_version(inode.version());
            }
        });
        stored.map_err(|e| e.report_inode(inode, "inode slot"))?;
        self.done(false);
        Ok(())
    }

    /// The slot's bytes: for who holds the lock of what it looks at. Others may change meanwhile.
    pub(crate) fn bytes(&self) -> &[u8] {
        let geo = &self.inode.super_block().info().geometry;
        let start = match number(self.inode) {
            Ok(ino) => geo.inode_location(ino).offset as usize,
            Err(_) => return &[],
        };
        let end = start.saturating_add(geo.inode_size().into());
        self.access.buffer().get(start..end).unwrap_or(&[])
    }

    /// Changes the slot by `f`: attributes in the inode's body and inline data (xattr_sem is held
    /// for writing), the next orphan, the time of deletion. The slot's spinlock is held meanwhile:
    /// `f` does not sleep.
    ///
    /// Errors: EUCLEAN (reported).
    pub(crate) fn edit<R>(self, f: impl FnOnce(&mut InodeEdit<'_>) -> R) -> Result<R> {
        let inode = self.inode;
        let result = self.try_edit(f);
        result.map_err(|e| e.report_inode(inode, "inode slot"))
    }

    /// As [`edit`](Self::edit), for a caller that reports damage itself.
    ///
    /// Errors: damage of the slot.
    pub(crate) fn try_edit<R>(self, f: impl FnOnce(&mut InodeEdit<'_>) -> R) -> Result<R, Fault> {
        let result = self.with_slot(false, f)?;
        self.done(false);
        Ok(result)
    }

    /// Writes a new inode: all else that is in its slot becomes 0. `rdev` is that of a device. Its
    /// private data is as `InodeInfo::set_up` has made it.
    ///
    /// Errors: as [`store`](Self::store).
    pub(crate) fn store_fresh(self, rdev: Option<(u32, u32)>) -> Result {
        let info = self.inode.data();
        let places = info.xattr_sem.read();
        let root = info.data_sem.read();
        let i_block = match rdev {
            Some((major, minor)) => IBlock::Device(major, minor),
            None => IBlock::Root(&root.block),
        };
        self.put(true, i_block, Some(&places), |_| ())
    }

    /// Takes as much of the extra fields into use as the superblock asks for (`want_extra_isize`), or
    /// at least must be (`min_extra_isize`), if attributes leave room or can be moved; whether that
    /// has come off. To be followed by [`store`](Self::store), which tries it itself once per time in
    /// memory: it hardly ever becomes possible later. xattr_sem is not held.
    ///
    /// Errors: EUCLEAN (reported), EIO, ENOMEM, EROFS.
    #[cold]
    pub(crate) fn expand(&self) -> Result<bool> {
        self.inode.data().may_expand.store(false, Relaxed);
        let geo = &self.inode.super_block().info().geometry;
        let (want, least) = (geo.want_extra_isize(), geo.min_extra_isize());
        Ok(self.expand_to(want)? || (least < want && self.expand_to(least)?))
    }

    /// Takes `size` bytes of the extra fields into use if that can be done, as [`expand`](Self::expand).
    fn expand_to(&self, size: u16) -> Result<bool> {
        // A body has no more attributes.
        for _ in 0..MOST_ATTRIBUTES {
            let Some(missing) = self.try_expand(size)? else {
                return Ok(true);
            };
            let moved = xattr_expand::move_out(self.handle, self.inode, missing);
            if !moved.map_err(|e| e.report_inode(self.inode, "expand"))? {
                break;
            }
        }
        Ok(false)
    }

    /// Takes `want` bytes of the extra fields into use, or says how many bytes among the attributes
    /// would have to be free for that.
    fn try_expand(&self, want: u16) -> Result<Option<u16>> {
        let mut places = self.inode.data().xattr_sem.write();
        let expanded = self.with_slot(false, |edit| {
            let result = edit.expand(want);
            (edit.extra_isize(), result)
        });
        let (size, result) = expanded.map_err(|e| e.report_inode(self.inode, "inode slot"))?;
        places.extra_isize = size;
        match result {
            Ok(()) => Ok(None),
            Err(NotExpanded::NoRoom { missing }) => Ok(Some(missing)),
            Err(NotExpanded::Corrupt(e)) => {
                Err(Fault::from(e).report_inode(self.inode, "inode slot"))
            }
        }
    }

    /// Runs `f` over the slot, which is emptied before if `fresh`, under its lock.
    #[inline]
    fn with_slot<R>(
        &self,
        fresh: bool,
        f: impl FnOnce(&mut InodeEdit<'_>) -> R,
    ) -> Result<R, Fault> {
        let info = self.inode.data();
        let geo = &self.inode.super_block().info().geometry;
        let change = |key: &mut SlotKey| {
            let Some(mut slot) = self.access.open(key) else {
                return Err(self.no_slot());
            };
            let edit = if fresh {
                InodeEdit::fresh(geo, &mut slot)
            } else {
                InodeEdit::open(geo, &mut slot)
            };
            let mut edit = edit.map_err(Corrupt::from)?;
            let result = f(&mut edit);
            edit.finish(info.csum_seed());
            Ok(result)
        };
        match &mut *info.slot_key.lock() {
            SlotRight::Own(key) => change(key),
            SlotRight::Listed(listed) => listed.with_key(change),
        }
    }

    /// Why a slot cannot be opened.
    #[cold]
    fn no_slot(&self) -> Fault {
        if self.inode.data().deletion.is_claimed() {
            // It has gone since the access was taken.
            return ESTALE.into();
        }
        Corrupt::from(InodeError::Truncated).into()
    }

    /// The time of deletion that is in the slot, which only the caller changes.
    ///
    /// Errors: damage of the slot.
    pub(crate) fn dtime(&self) -> Result<u32, Fault> {
        let info = self.inode.data();
        let read = |key: &SlotKey| key.read(self.access.buffer()).and_then(dtime);
        let found = match &mut *info.slot_key.lock() {
            SlotRight::Own(key) => read(key),
            SlotRight::Listed(listed) => listed.with_key(|key| read(key)),
        };
        Ok(found.ok_or(Corrupt::from(InodeError::Truncated))?)
    }

    fn put(
        self,
        fresh: bool,
        i_block: IBlock<'_>,
        places: Option<&XattrPlaces>,
        f: impl FnOnce(&mut InodeEdit<'_>),
    ) -> Result {
        let inode = self.inode;
        let info = inode.data();
        let sb = inode.super_block();
        let size = || {
            if inode.is_regular() {
                info.disksize()
            } else {
                inode.size()
            }
        };
        // Whoever makes it larger meanwhile stores it as well, and asks again.
        if needs_large_file(size()) {
            super_info::need_large_file(sb, self.handle)?;
        }
        let ids16 = sb.info().has(Toggles::NO_UID32).then_some(OVERFLOW_IDS);
        let stored = self.with_slot(fresh, |edit| {
            f(edit);
            let flags = info.flags();
            let stamps = || Stamps {
                atime: stamp(inode.atime()),
                mtime: stamp(inode.mtime()),
                ctime: stamp(inode.ctime()),
                version: inode.version(),
            };
            let stored = Fields {
                mode: inode.mode(),
                uid: inode.raw_uid(),
                gid: inode.raw_gid(),
                ids16,
                nlink: inode.nlink(),
                size: size(),
                sectors: inode.sectors(),
                flags,
                generation: inode.generation(),
                stamps: (!flags.contains(InodeFlags::EA_INODE)).then(stamps),
                projid: info.projid(),
                i_block,
                xattr_block: places.map(|places| places.block),
            }
            .store(edit);
            if fresh {
                if let Some(time) = info.crtime {
                    edit.set_crtime(time);
                }
            }
            stored
        });
        let Stored { resized, result } = stored.map_err(|e| e.report_inode(inode, "inode slot"))?;
        info.unstored.store(false, Relaxed);
        self.done(resized || fresh);
        result.map_err(|e| unstorable(inode, e))
    }

    /// The slot has been changed, and fdatasync waits for it or not.
    fn done(self, datasync: bool) {
        self.access.dirty();
        note_change(self.handle, self.inode, datasync);
    }
}

/// `inode`, or what belongs to it (its block map, with `datasync`), has been changed in `handle`:
/// fsync waits for that, and fdatasync does if `datasync`.
#[inline]
pub(crate) fn note_change(handle: &Handle<'_>, inode: &VfsInode, datasync: bool) {
    if !handle.is_journalled() {
        inode.set_metadata_writeback();
        return;
    }
    // None when the journal has been given up: then fsync fails anyway.
    if let Some(tid) = handle.tid() {
        let info = inode.data();
        info.sync_tid.store(tid, Relaxed);
        if datasync {
            info.datasync_tid.store(tid, Relaxed);
        }
    }
}

#[inline]
fn stamp((secs, nanos): Time) -> Timestamp {
    Timestamp { secs, nanos }
}

/// Reports a value that somebody should have refused.
#[cold]
fn unstorable(inode: &VfsInode, what: Unstorable) -> Error {
    let sb = inode.super_block();
    sb.info().errors.count_warning();
    if sb.info().errors.may_print() {
        message(
            Level::Warning,
            sb.id(),
            fmt!(
                "warning: inode #{}: cannot be stored: {:?}\n",
                inode.ino(),
                what
            ),
        );
    }
    match what {
        Unstorable::Size | Unstorable::Blocks => EFBIG,
        Unstorable::Project => EOVERFLOW,
        Unstorable::Device => EINVAL,
    }
}
